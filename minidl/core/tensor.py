"""Tensor: an array, and where it came from."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..device import device_of, to_device
from .advice import TENSOR, missing
from .array_function import ArrayFunction
from .context import current

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .methods import Methods  # what ops/methods.py gives a tensor

    Operand: TypeAlias = "Tensor | ArrayLike"  # of an operation: a tensor, or a constant
else:
    Methods, Operand = object, Any

_ONE_ENTRY = np.zeros(2, np.complex256 if hasattr(np, "complex256") else np.complex128)  # of any dtype

clock = itertools.count(1)  # stamps nodes and updates of parameters in the order in which they happen


class Node:
    """Where a tensor came from: a primitive, its inputs, its parameters, and the output array if a rule needs it.

    `order` grows with time, so every consumer of a node has a larger order than the node itself.
    A node holds its input tensors, never its output tensor: no cycles, reference counting frees a graph. A backward
    pass takes away what a node holds as it goes.
    """

    __slots__ = ("inputs", "order", "output", "parameters", "primitive", "where")

    def __init__(self, primitive: Any, inputs: tuple | None, parameters: dict | None, output: Any):
        self.primitive = primitive
        self.inputs = inputs
        self.parameters = parameters
        self.output = output
        self.order = next(clock)

    def existed_at(self, order: float) -> bool:
        """Did the tensor require a gradient when the node of that order was recorded?"""
        return self.order < order


class Leaf(Node):
    """The start of a graph: a tensor that the user asked gradients for. Gradients are added up here.

    `order` is the last time at which it was asked for; `changes` are all times at which it was, and was not any more.
    """

    __slots__ = ("changes", "grad")

    def __init__(self) -> None:
        super().__init__(None, (), {}, None)
        self.grad: Tensor | None = None
        self.changes = [self.order]

    def existed_at(self, order: float) -> bool:
        return bisect(self.changes, order) % 2 == 1

    def stop(self) -> None:
        """The tensor requires no gradient from now on."""
        self.changes.append(next(clock))

    def go_on(self) -> None:
        """It does again."""
        self.order = next(clock)
        self.changes = [*self.changes[-1000:], self.order]  # who keeps a graph for longer than that?


class Tensor(Methods):
    """An immutable array that remembers which operation made it.

    ``Tensor(array)`` wraps a NumPy or CuPy array without copying it; `md.tensor` copies. There are no
    in-place operators: ``t += 1`` makes a new tensor, ``t[0] = 1`` is an error.

    Attributes: ``data`` the array; ``node`` where it came from, None for a constant;
    ``requires_grad``; ``grad`` the gradient a backward pass has left, for leaves only.

        >>> x = md.Tensor(np.arange(6.0).reshape(2, 3))
        >>> x.sum(axis=1)
        tensor([ 3., 12.])
        >>> (x @ x.T).shape
        (2, 2)
    """

    __slots__ = ("__weakref__", "data", "frozen", "node")  # frozen: the Leaf of one that requires no gradient now
    data: np.ndarray  # CuPy's, on a GPU
    updated = 0  # when the value was last changed: never, except for a Parameter

    def __init__(self, data: Any, requires_grad: bool = False):
        if type(data) is not np.ndarray:
            data = _as_array(data)
        self.data = data
        self.node: Node | None = None
        if requires_grad:
            self.requires_grad = True

    # --- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        return device_of(self.data)

    @property
    def form(self) -> Any:
        """An array of this shape, dtype and device, whose values do not count."""
        return self.data

    # --- gradients

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        leaf = self._leaf()
        if not value:
            if leaf is not None and leaf is self.node:
                leaf.stop()
                self.frozen = leaf
            self.node = None
        elif self.node is None:
            if self.dtype.kind not in "fc":
                raise TypeError(f"a tensor of dtype {self.dtype} cannot require a gradient; use .astype(float) first")
            if leaf is not None:
                leaf.go_on()
            self.node = leaf or Leaf()

    def _leaf(self) -> Leaf | None:
        """Where gradients are added up, or were until ``requires_grad = False``."""
        return self.node if type(self.node) is Leaf else getattr(self, "frozen", None) if self.node is None else None

    @property
    def is_leaf(self) -> bool:
        return self.node is None or type(self.node) is Leaf

    @property
    def grad(self) -> Tensor | None:
        leaf = self.node if type(self.node) is Leaf else self._leaf()
        return None if leaf is None else leaf.grad

    @grad.setter
    def grad(self, value: Any) -> None:
        leaf = self._leaf()
        if (trace := current().trace) is not None:
            trace.assigned(self, value)
        if leaf is None:
            if value is None:
                return
            raise TypeError("only a leaf that requires a gradient has a .grad")
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            if value.shape != self.shape:
                raise ValueError(f"grad has shape {value.shape}, the tensor {self.shape}")
        leaf.grad = value

    def detach(self) -> Tensor:
        """The same array, without its history."""
        return computed(self.data)

    # --- leaving the graph

    def numpy(self) -> np.ndarray:
        """The value as a NumPy array (shared, if it is on the CPU already)."""
        _about_to_read("numpy()")
        return to_device(self.data, "cpu")

    def item(self) -> float:
        """The value of a tensor of one element, as a Python number: an int, a bool or a complex one of such a dtype."""
        if self.size != 1:
            raise ValueError(f"item() needs a tensor of one element, this one has shape {self.shape}")
        _about_to_read("item()")
        return self.data.item()

    def tolist(self) -> Any:
        _about_to_read("tolist()")
        return self.data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.device != "cpu":
            raise TypeError('the tensor is on the gpu; use .to("cpu") or .numpy()')
        _about_to_read("NumPy")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor is an index, this one is {self.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"a tensor of shape {self.shape} is neither true nor false; use .data.any() or .all()")
        _about_to_read("bool(), in an `if` or a `while`,")
        return bool(self.data.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a tensor without axes has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        _about_to_read("`in`")
        return bool((self.data == getattr(value, "data", value)).any())

    __hash__ = object.__hash__

    def __reduce__(self) -> tuple:
        if not self.is_leaf:
            raise TypeError(f"a tensor made by {self.node.primitive.name} cannot be copied or pickled; detach() it")
        return type(self), (self.data, self.requires_grad)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("tensors are immutable; build a new one with F.where, F.concat or F.stack")

    if not TYPE_CHECKING:  # for a type checker there is no other name

        def __getattr__(self, name: str) -> Any:
            raise missing("a tensor", name, TENSOR)

    def __repr__(self) -> str:
        prefix = type(self).__name__.lower() + "("
        body = np.array2string(self.numpy(), separator=", ", prefix=prefix, precision=5, threshold=60)
        tail = "" if self.dtype == np.float64 else f", dtype={self.dtype}"
        if self.device != "cpu":
            tail += f", device={self.device!r}"
        if not self.is_leaf:
            tail += f", from={self.node.primitive.name}"
        elif self.requires_grad:
            tail += ", requires_grad=True"
        return f"{prefix}{body}{tail})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)


def _about_to_read(reader: str) -> None:
    """A value is about to leave the graph: what is done with it there, a recorded step cannot repeat."""
    if (trace := current().trace) is not None:
        trace.refuse(f"{reader} reads the value of a tensor")


_new = object.__new__


def computed(array: Any) -> Tensor:
    """``Tensor(array)`` of what an array function gave: operations of few numbers notice how long that takes."""
    y = _new(Tensor)
    y.data = array if type(array) is np.ndarray else _as_array(array)
    y.node = None
    return y


class Placeholder(Tensor):
    """Stands in a graph for a value that was not saved for the backward pass: its shape, its dtype and its node.

    The array itself is freed as soon as nobody else holds it. Whoever asks for the value all the same (a rule that the
    user has put in place of the primitive's, say) gets it computed anew from where it came.
    """

    __slots__ = ("form",)

    def __init__(self, array: np.ndarray, node: Node):
        self.form = np.ndarray(array.shape, array.dtype, _ONE_ENTRY, 0, (0,) * array.ndim)  # takes no memory
        self.node = node

    @staticmethod
    def is_form(array: Any) -> bool:
        """Is this the `form` of one, whose values do not count?"""
        return array.base is _ONE_ENTRY

    shape = property(lambda self: self.form.shape)
    ndim = property(lambda self: self.form.ndim)
    size = property(lambda self: self.form.size)
    dtype = property(lambda self: self.form.dtype)
    device = property(lambda self: device_of(self.form))

    @property
    def data(self) -> Any:
        node = self.node
        if node.inputs is None:
            raise RuntimeError(f"the value that {node.primitive.name!r} gave was released by a backward pass")
        if node.output is not None:
            return node.output
        arrays = [x.data if isinstance(x, Tensor) else x for x in node.inputs]
        return node.primitive.run(np, arrays, node.parameters)


class Parameter(Tensor):
    """A leaf that an optimiser may change: the one mutable tensor.

    Assigning ``data`` stamps the parameter, so that a backward pass through a value that has been
    replaced since the forward pass is an error that names it. ``name`` is set by the module that owns it.

        >>> w = md.Parameter(np.ones(2))
        >>> (3 * w).sum().backward()
        >>> w.grad
        tensor([3., 3.])
    """

    __slots__ = ("name", "updated")

    def __init__(self, data: Any, requires_grad: bool = True, name: str = "parameter"):
        super().__init__(data)
        self.name = name
        self.requires_grad = requires_grad

    def __setattr__(self, field: str, value: Any) -> None:
        if field == "data":
            value = value if type(value) is np.ndarray else _as_array(value)
            if value.dtype.kind not in "fc" and getattr(self, "node", None) is not None:
                raise TypeError(f"data of dtype {value.dtype} cannot require a gradient; use .astype(float) first")
            if (trace := current().trace) is not None:
                trace.refuse(f"it assigns the data of {getattr(self, 'name', 'a parameter')}")
            object.__setattr__(self, "updated", next(clock))
        object.__setattr__(self, field, value)

    def __reduce__(self) -> tuple:
        return type(self), (self.data, self.requires_grad, self.name)


@ArrayFunction
def copied(xp: Any, x: Any, *, dtype: np.dtype) -> Any:
    """A copy of x in this dtype."""
    return x.astype(dtype, copy=True)


def tensor(
    data: Operand | Sequence[Tensor], requires_grad: bool = False, dtype: Any = None, device: str | None = None
) -> Tensor:
    """A tensor with a copy of `data` (anything `numpy.asarray` takes, or a Tensor).

    The dtype is what NumPy would make of it (Python floats: float64) unless `dtype` says otherwise.

        >>> x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4., 6.])
    """
    array = data.data if isinstance(data, Tensor) else data
    if not hasattr(array, "dtype") and isinstance(array, (list, tuple)):
        array = [np.asarray(a) if isinstance(a, Tensor) else a for a in array]
    array = _as_array(array, dtype)
    array = copied(array, dtype=np.dtype(dtype or array.dtype))
    if device is not None:
        array = to_device(array, device)
    return Tensor(array, requires_grad)


def as_tensor(x: Any) -> Tensor:
    """`x` itself if it is a Tensor, else a constant that wraps it."""
    return x if isinstance(x, Tensor) else Tensor(x)


def weak(x: Any) -> Any:
    """NumPy's scalars and arrays without axes as the Python number they hold, which does not widen a float32 tensor;
    anything else as it is."""
    return x.item() if getattr(x, "ndim", None) == 0 and not isinstance(x, Tensor) else x


def as_array(x: Any) -> Any:
    """The array of a Tensor, or what NumPy makes of anything else (a CuPy array stays one)."""
    return x.data if isinstance(x, Tensor) else _as_array(x)


def _as_array(data: Any, dtype: Any = None) -> Any:
    if isinstance(data, np.generic) and dtype is None:  # what NumPy gives for an array without axes
        return np.asarray(data)
    if isinstance(data, Tensor):
        return data.data
    if type(data).__module__.partition(".")[0] == "cupy":
        return data
    try:
        array = np.asarray(data, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"cannot make a tensor of {type(data).__name__}: {error}") from None
    if array.dtype.kind not in "fciub":
        raise TypeError(f"cannot make a tensor of {type(data).__name__} with dtype {array.dtype}")
    return array
