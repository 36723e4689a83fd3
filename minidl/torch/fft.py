"""torch.fft: NumPy's transforms, by their values; they are not differentiated here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import advice, creation
from .dtypes import as_numpy
from .tensor import Tensor, wrap
from .values import Plain


def _transform(name: str, several: bool) -> Callable:
    on_arrays = getattr(np.fft, name)
    default = {"fft2": (-2, -1), "ifft2": (-2, -1), "rfft2": (-2, -1), "irfft2": (-2, -1)}.get(name)

    def function(input: Tensor, n: Any = None, dim: Any = None, norm: str | None = None, *, s: Any = None) -> Tensor:
        if input.requires_grad:
            raise NotImplementedError(f"torch.fft.{name} has no derivative here; detach() its input, or multiply by "
                                      "the matrix of the transform")  # fmt: skip
        array, size = input.value.data, n if s is None else s
        array = array if array.dtype.kind in "fc" else array.astype(creation.default())
        axes = (default if dim is None else dim) if several else (-1 if dim is None else dim)
        if several and size is not None and axes is None:
            axes = tuple(range(-len(size), 0))
        return wrap(Plain(np.asarray(on_arrays(array, size, axes, norm))))

    function.__name__ = name
    return function


def _shift(name: str) -> Callable:
    return lambda input, dim=None: wrap(Plain(getattr(np.fft, name)(input.detach().value.data, dim)))


def _frequencies(name: str) -> Callable:
    def function(n: int, d: float = 1.0, **options: Any) -> Tensor:
        kind = as_numpy(options.get("dtype")) or creation.default()
        return wrap(Plain(getattr(np.fft, name)(n, d).astype(kind)))

    return function


PUBLIC: dict[str, Callable] = {
    **{n: _transform(n, False) for n in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")},
    **{n: _transform(n, True) for n in ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn")},
    **{n: _shift(n) for n in ("fftshift", "ifftshift")},
    **{n: _frequencies(n) for n in ("fftfreq", "rfftfreq")},
}
globals().update(PUBLIC)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(advice.unknown(f"torch.fft.{name}", name, PUBLIC))
