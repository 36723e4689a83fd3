"""torch.nn.functional, of torch's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import advice
from ..functional import INPLACE, VALUES
from ..tensor import Tensor, lifted


def _inplace(function: Callable, before: int) -> Callable:
    """With ``inplace=True``, after so many arguments, the tensor itself gets the result."""
    plain = lifted(function)

    def of_tensor(input: Tensor, *arguments: Any, inplace: bool = False, **options: Any) -> Tensor:
        y = plain(input, *arguments[:before], **options)
        inplace = inplace or (len(arguments) > before and arguments[before])
        return input.change(y.value, "inplace=True") if inplace and y.value is not input.value else y

    of_tensor.__name__ = getattr(function, "__name__", "activation")
    return of_tensor


PUBLIC: dict[str, Callable] = {n: _inplace(f, INPLACE[n]) if n in INPLACE else lifted(f) for n, f in VALUES.items()}
PUBLIC |= {
    f"{name}_": (lambda input, *arguments, f=PUBLIC[name], **options: f(input, *arguments, **options, inplace=True))
    for name in INPLACE
}
__all__ = list(PUBLIC)
globals().update(PUBLIC)


def __getattr__(name: str) -> Any:
    raise AttributeError(advice.unknown(f"torch.nn.functional.{name}", name, globals()))
