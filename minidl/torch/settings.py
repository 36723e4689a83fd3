"""What torch sets for the whole program, and asks of tensors and dtypes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import numpy as np

from . import creation, dtypes
from .dtypes import Size, as_numpy, dtype
from .methods import TYPES
from .tensor import Tensor


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    return input.is_complex()


def is_nonzero(input: Tensor) -> bool:
    return bool(input)


def result_type(a: Any, b: Any) -> dtype:
    return dtypes.BY_NUMPY[dtypes.result_type(*[x.value if isinstance(x, Tensor) else x for x in (a, b)])]


def promote_types(a: Any, b: Any) -> dtype:
    return dtypes.BY_NUMPY[dtypes.promoted(as_numpy(a), as_numpy(b))]


def can_cast(a: Any, b: Any) -> bool:
    return dtypes.CATEGORY[as_numpy(a).kind] <= dtypes.CATEGORY[as_numpy(b).kind]


def broadcast_shapes(*shapes: Any) -> Size:
    return Size(np.broadcast_shapes(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))


def broadcast_tensors(*tensors: Tensor) -> tuple:
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return tuple([t.expand(shape) for t in tensors])


def set_num_threads(n: int) -> None:
    """Accepted; MINIDL_NUM_THREADS sets the threads before minidl is imported."""


def get_num_threads() -> int:
    from ..kernels.cpu.workers import thread_count

    return thread_count()


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: they always are."""


def are_deterministic_algorithms_enabled() -> bool:
    return True


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: it is always full."""


def set_default_device(device: Any) -> None:
    """Accepted: there is one."""


def set_default_tensor_type(kind: Any) -> None:
    names = {name: of for of, name in TYPES.items()}
    dtypes.set_default_dtype(names[kind] if isinstance(kind, str) else kind)


def _assert(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def compile(model: Any = None, **options: Any) -> Any:
    """The model itself: md.record is what makes a step a program here."""
    return model if model is not None else lambda f: f


def typename(obj: Any) -> str:
    return obj.type() if isinstance(obj, Tensor) else f"{type(obj).__module__}.{type(obj).__name__}"


@contextmanager
def autocast(*arguments: Any, **options: Any) -> Any:
    """Nothing is cast: float32 stays."""
    yield


def _of_type(kind: str) -> Any:
    """torch.FloatTensor and the like; `x.type(torch.FloatTensor)` knows it by its dtype."""

    def make(*data: Any) -> Tensor:
        if len(data) == 1 and not isinstance(data[0], int):
            return creation.tensor(data[0], dtype=kind)
        return creation.zeros(*data, dtype=kind)

    make.dtype = np.dtype(kind)
    return make


FUNCTIONS = (
    is_tensor, numel, is_floating_point, is_complex, is_nonzero, result_type, promote_types, can_cast, broadcast_shapes,
    broadcast_tensors, set_num_threads, get_num_threads, use_deterministic_algorithms, set_float32_matmul_precision,
    are_deterministic_algorithms_enabled, set_default_device, set_default_tensor_type, compile, _assert, typename,
    autocast,
)  # fmt: skip
PUBLIC: dict[str, Any] = {f.__name__: f for f in FUNCTIONS}
PUBLIC["set_num_interop_threads"] = set_num_threads
PUBLIC |= {name.removeprefix("torch."): _of_type(kind) for kind, name in TYPES.items()}
