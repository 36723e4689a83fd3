"""What NumPy's own functions do with a Tensor: they compute on its array, and refuse to cut a graph in silence."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.context import current
from ..core.tensor import Tensor, as_tensor, weak

OPERATORS = {  # what NumPy calls for ``array * tensor``
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.divide: operator.truediv,
    np.power: operator.pow, np.matmul: operator.matmul, np.less: operator.lt, np.less_equal: operator.le,
    np.greater: operator.gt, np.greater_equal: operator.ge, np.equal: operator.eq, np.not_equal: operator.ne,
    np.bitwise_and: operator.and_, np.bitwise_or: operator.or_, np.bitwise_xor: operator.xor,
}  # fmt: skip
BY_METHODS = {np.flip, np.moveaxis, np.rollaxis, np.squeeze, np.swapaxes}  # of a Tensor, which record
OF_FORM = {np.zeros_like, np.ones_like, np.empty_like, np.full_like}  # the values do not count
RENAMED = {"concatenate": "F.concat", "dot": "@", "amax": "tensor.max()", "amin": "tensor.min()"}


def array_function(self: Tensor, function: Any, types: Any, inputs: tuple, options: dict) -> Any:
    """NumPy's protocol for functions such as ``np.where(tensor > 0, tensor, 0)``."""
    if function in BY_METHODS:
        return function._implementation(*inputs, **options)
    return _on_arrays(function, f"{function.__module__}.{function.__name__}", inputs, options, function in OF_FORM)


def array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's protocol for functions of single numbers, which its operators call, too."""
    if method == "__call__" and ufunc in OPERATORS and not options:
        a, b = map(weak, inputs)
        return OPERATORS[ufunc](a if isinstance(a, (int, float, complex)) else as_tensor(a), b)
    name = f"numpy.{ufunc.__name__}" if hasattr(np, ufunc.__name__) else ufunc.__name__
    name += "" if method == "__call__" else f".{method}"
    return _on_arrays(getattr(ufunc, method), name, inputs, options)


class ArrayUfunc:
    """``Tensor.__array_ufunc__``. NumPy asks the type; CuPy asks the tensor, and leaves ``array * tensor`` to one that
    has None."""

    def __get__(self, tensor: Tensor | None, owner: type) -> Callable | None:
        return array_ufunc if tensor is None else None


def _on_arrays(function: Callable, name: str, inputs: tuple, options: dict, harmless: bool = False) -> Any:
    """The function of the arrays. Raises TypeError if real numbers come out of a tensor that requires a gradient."""
    tensors: list[Tensor] = []
    inputs, options = _arrays(inputs, tensors), _arrays(options, tensors)
    tracked = current().recording and not harmless and any(t.node for t in tensors)
    result = None if tracked and "out" in options else function(*inputs, **options)
    if tracked and ("out" in options or _has_numbers(result)):
        raise TypeError(_advice(name))
    return result


def _arrays(value: Any, tensors: list[Tensor]) -> Any:
    """`value` with an array in the place of each Tensor in it, which is added to `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return value.data
    if type(value) in (list, tuple):
        return type(value)([_arrays(v, tensors) for v in value])
    return {name: _arrays(v, tensors) for name, v in value.items()} if type(value) is dict else value


def _has_numbers(result: Any) -> bool:
    """Are there real or complex numbers in it? Truths, counts, indices and text have no gradient anyway."""
    if isinstance(result, (list, tuple)):
        return any(map(_has_numbers, result))
    return isinstance(result, (float, complex)) or getattr(getattr(result, "dtype", None), "kind", "") in ("f", "c")


def _advice(name: str) -> str:
    from .. import functional

    short = name.removesuffix(".reduce").rpartition(".")[2]
    ours = RENAMED.get(short) or next(
        (text for text, where in ((f"F.{short}", functional), (f"tensor.{short}()", Tensor)) if hasattr(where, short)),
        "minidl's own functions",
    )
    name = name.replace("numpy", "np", 1)
    return f"{name} of a tensor that requires a gradient would lose it; use {ours}, or .detach() for the value alone"


Tensor.__array_function__ = array_function
Tensor.__array_ufunc__ = ArrayUfunc()
