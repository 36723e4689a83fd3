"""The methods and operators of Tensor that are primitives or made of them: one table."""

from __future__ import annotations

import operator
from typing import Any

from .. import device
from ..core.array_function import ArrayFunction
from ..core.context import current
from ..core.primitive import LARGE, NUMBERS, Primitive
from ..core.tensor import Node, Tensor, as_array, computed, weak
from . import (
    arithmetic,
    distance,
    elementwise,
    gather,
    indexing,
    linear,
    ordering,
    rearrange,
    reduce,
    rounding,
    shape,
    special,
)

OPERATORS = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "truediv": arithmetic.divide,
    "pow": arithmetic.power,
}

METHODS = {
    "exp": elementwise.exp,
    "log": elementwise.log,
    "sqrt": elementwise.sqrt,
    "abs": elementwise.absolute,
    "tanh": elementwise.tanh,
    "sigmoid": elementwise.sigmoid,
    "relu": elementwise.relu,
    "clip": elementwise.clip,
    "erf": special.erf,
    "expm1": special.expm1,
    "log1p": special.log1p,
    "sign": rounding.sign,
    "floor": rounding.floor,
    "ceil": rounding.ceil,
    "round": rounding.round,
    "trunc": rounding.trunc,
    "sum": reduce.sum,
    "mean": reduce.mean,
    "max": reduce.max,
    "min": reduce.min,
    "prod": reduce.prod,
    "var": reduce.var,
    "std": reduce.std,
    "norm": distance.norm,
    "any": reduce.any,
    "all": reduce.all,
    "cumsum": reduce.cumsum,
    "logsumexp": reduce.logsumexp,
    "argmax": ordering.argmax,
    "argmin": ordering.argmin,
    "argsort": ordering.argsort,
    "sort": ordering.sort,
    "topk": ordering.topk,
    "gather": gather.gather,
    "scatter": gather.scatter,
    "scatter_add": gather.scatter_add,
    "masked_fill": gather.masked_fill,
    "split": rearrange.split,
    "chunk": rearrange.chunk,
    "roll": rearrange.roll,
    "tile": rearrange.tile,
    "reshape": shape.reshape,
    "transpose": shape.transpose,
    "swapaxes": shape.swapaxes,
    "squeeze": shape.squeeze,
    "expand_dims": shape.expand_dims,
    "broadcast_to": shape.broadcast_to,
    "sum_to": shape.sum_to,
    "flip": indexing.flip,
    "__getitem__": indexing.getitem,
    "__abs__": elementwise.absolute,
    "__matmul__": linear.matmul,
    "__rmatmul__": lambda b, a: linear.matmul(a, b),
}

PLAIN = {int, float}
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
LOGIC = ("and", "or", "xor")  # of masks


def _method(function: Any) -> Any:
    """A function whose first argument is the tensor is a method as it stands; a primitive needs a function around."""
    if not isinstance(function, Primitive):
        return function

    def method(self: Tensor) -> Tensor:
        return function(self)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    return method


def _operator(function: Any, on_arrays: Any) -> tuple[Any, Any]:
    """``a * b`` and ``b * a``: calls of the primitive. Two tensors, or a number and a tensor that is in a graph, take a
    short way to the same result; where two do not go together, the primitive says why."""

    def left(self: Tensor, other: Any) -> Tensor:
        now = current()
        if isinstance(other, Tensor) and not now.watched:
            try:
                y = computed(on_arrays(self.data, other.data))
            except (TypeError, ValueError):
                return function(self, other)
            return _recorded(y, function, (self, other)) if now.recording and (self.node or other.node) else y
        if now.passive:
            return computed(on_arrays(self.data, other if type(other) in NUMBERS else weak(other)))
        if self.node and type(other) in PLAIN and not now.watched:
            return _recorded(computed(on_arrays(self.data, other)), function, (self, other))
        return function(self, other)

    def right(self: Tensor, other: Any) -> Tensor:
        now = current()
        if now.passive:
            return computed(on_arrays(other if type(other) in NUMBERS else weak(other), self.data))
        if self.node and type(other) in PLAIN and not now.watched:
            return _recorded(computed(on_arrays(other, self.data)), function, (other, self))
        return function(other, self)

    return left, right


def _recorded(y: Tensor, function: Primitive, inputs: tuple) -> Tensor:
    y.node = (Node if y.data.nbytes < LARGE else Primitive.saving)(function, inputs, {}, y.data)
    return y


@ArrayFunction
def inverted(xp: Any, x: Any) -> Any:
    """A mask where it was False, the bits of an integer that were 0."""
    return ~x


def _negative(self: Tensor) -> Tensor:
    now = current()
    if now.passive:
        return computed(-self.data)
    if self.node and not now.watched:
        return _recorded(computed(-self.data), arithmetic.negative, (self,))
    return arithmetic.negative(self)


def _comparison(name: str) -> Any:
    on_arrays = getattr(operator, f"__{name}__")
    compare = ArrayFunction(lambda xp, a, b: on_arrays(a, b), name)

    def method(self: Tensor, other: Any) -> Tensor:
        if other is None:
            return NotImplemented
        try:
            other = weak(other)
            other = other if isinstance(other, (int, float)) else as_array(other)
        except TypeError:
            raise TypeError(f"a tensor compares with a number, an array or a tensor, got {other!r}") from None
        return Tensor(compare(self.data, other))  # a constant: neither comparisons nor masks have a derivative

    return method


def astype(self: Tensor, dtype: Any) -> Tensor:
    """The tensor in another dtype. Gradients come back in this one's; integers and booleans carry none."""
    return shape.astype_p(self, dtype=dtype)


def to(self: Tensor, target: Any) -> Tensor:
    """The tensor on another device ("cpu", "gpu") or in another dtype; gradients come back."""
    if isinstance(target, str) and target in ("cpu", "gpu"):
        return self if self.device == target else shape.to_p(self, device_name=target)
    return self.astype(device.as_dtype(target))


def zeros_like(self: Tensor) -> Tensor:
    """A constant of zeros: same shape, dtype and device."""
    return Tensor(shape.full_like(self.form, 0))


def ones_like(self: Tensor) -> Tensor:
    """A constant of ones: same shape, dtype and device."""
    return Tensor(shape.full_like(self.form, 1))


for _name, _function in METHODS.items():
    setattr(Tensor, _name, _method(_function))
for _name, _function in OPERATORS.items():
    _left, _right = _operator(_function, getattr(operator, _name))
    setattr(Tensor, f"__{_name}__", _left)
    setattr(Tensor, f"__r{_name}__", _right)
Tensor.__neg__ = _negative
Tensor.__pos__ = lambda self: self
Tensor.__invert__ = lambda self: Tensor(inverted(self.data))
for _name in COMPARISONS + LOGIC:
    setattr(Tensor, f"__{_name}__", _comparison(_name))
for _name in LOGIC:  # an array on the left
    setattr(Tensor, f"__r{_name}__", _comparison(_name))
for _function in (astype, to, zeros_like, ones_like):
    setattr(Tensor, _function.__name__, _function)
Tensor.T = property(lambda self: shape.transpose(self), doc="The tensor with its axes reversed.")
