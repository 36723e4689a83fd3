"""The methods and operators of Tensor that are primitives or made of them: one table."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from .. import device
from ..core.array_function import ArrayFunction
from ..core.backward import backward
from ..core.context import current
from ..core.primitive import LARGE, NUMBERS, Primitive
from ..core.tensor import Node, Operand, Tensor, as_array, as_tensor, computed, weak
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

PLAIN = {int, float}
Operator = Callable[[Tensor, Operand], Tensor]


def _method(function: Primitive) -> Callable[[Tensor], Tensor]:
    """A primitive as a method; a function whose first argument is the tensor is one as it stands."""

    def method(self: Tensor) -> Tensor:
        return function(self)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    return method


def _operator(function: Primitive, on_arrays: Callable) -> tuple[Operator, Operator]:
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


def _comparison(name: str) -> Operator:
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


class Methods:
    """What a Tensor is given, by type checkers too: see core/tensor.py."""

    __add__, __radd__ = _operator(arithmetic.add, operator.add)
    __sub__, __rsub__ = _operator(arithmetic.subtract, operator.sub)
    __mul__, __rmul__ = _operator(arithmetic.multiply, operator.mul)
    __truediv__, __rtruediv__ = _operator(arithmetic.divide, operator.truediv)
    __pow__, __rpow__ = _operator(arithmetic.power, operator.pow)
    __matmul__ = linear.matmul
    __neg__ = _negative
    __getitem__ = indexing.getitem
    __abs__ = _method(elementwise.absolute)
    __hash__ = Tensor.__hash__

    backward = backward

    def __rmatmul__(self: Tensor, other: Operand) -> Tensor:
        return linear.matmul(as_tensor(other), self)

    def __pos__(self: Tensor) -> Tensor:
        return self

    def __invert__(self: Tensor) -> Tensor:
        return Tensor(inverted(self.data))

    __lt__ = _comparison("lt")
    __le__ = _comparison("le")
    __gt__ = _comparison("gt")
    __ge__ = _comparison("ge")
    __eq__: ClassVar[Operator] = _comparison("eq")
    __ne__: ClassVar[Operator] = _comparison("ne")
    __and__ = __rand__ = _comparison("and")  # of masks; an array on the left
    __or__ = __ror__ = _comparison("or")
    __xor__ = __rxor__ = _comparison("xor")

    exp = _method(elementwise.exp)
    log = _method(elementwise.log)
    sqrt = _method(elementwise.sqrt)
    abs = _method(elementwise.absolute)
    tanh = _method(elementwise.tanh)
    sigmoid = _method(elementwise.sigmoid)
    relu = _method(elementwise.relu)
    clip = elementwise.clip
    erf = _method(special.erf)
    expm1 = _method(special.expm1)
    log1p = _method(special.log1p)
    sign = _method(rounding.sign)
    floor = _method(rounding.floor)
    ceil = _method(rounding.ceil)
    round = rounding.round
    trunc = _method(rounding.trunc)
    sum = reduce.sum
    mean = reduce.mean
    max = reduce.max
    min = reduce.min
    prod = reduce.prod
    var = reduce.var
    std = reduce.std
    norm = distance.norm
    any = reduce.any
    all = reduce.all
    cumsum = reduce.cumsum
    logsumexp = reduce.logsumexp
    argmax = ordering.argmax
    argmin = ordering.argmin
    argsort = ordering.argsort
    sort = ordering.sort
    topk = ordering.topk
    scatter = gather.scatter
    scatter_add = gather.scatter_add
    masked_fill = gather.masked_fill
    gather = gather.gather  # the module's name ends here
    split = rearrange.split
    chunk = rearrange.chunk
    roll = rearrange.roll
    tile = rearrange.tile
    reshape = shape.reshape
    transpose = shape.transpose
    swapaxes = shape.swapaxes
    squeeze = shape.squeeze
    expand_dims = shape.expand_dims
    broadcast_to = shape.broadcast_to
    sum_to = shape.sum_to
    flip = indexing.flip

    @property
    def T(self: Tensor) -> Tensor:
        """The tensor with its axes reversed."""
        return shape.transpose(self)

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


for _name, _value in vars(Methods).items():
    if _name not in ("__module__", "__doc__", "__annotations__", "__dict__", "__weakref__"):
        setattr(Tensor, _name, _value)
