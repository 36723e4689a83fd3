"""torch.Tensor: a variable that holds a value of the engine.

Its methods stand in tables (`pointwise`, `reductions`, `shaping` ...), which `minidl.torch` also has as functions. Here
is what makes it a variable: conversion, views, in-place changes, gradients.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..core.backward import seed, walk
from ..core.context import current, setting
from ..core.tensor import Leaf, computed
from ..core.tensor import Tensor as Value
from ..ops.hook import hooked
from . import advice, dtypes
from .display import shown
from .dtypes import Size
from .parts import with_view
from .values import Family, Made, ParameterValue, Plain, Removable, owner, written


class Tensor:
    """A tensor as torch has it. `value` is the engine's, which changes of this tensor replace or write into."""

    __slots__ = ("__dict__", "__weakref__", "family", "path", "value")
    __hash__ = object.__hash__
    __array_priority__ = 1000

    def __init__(self, data: Any = (), *more: Any):
        if isinstance(data, int) or more:  # torch.Tensor(2, 3): not initialised
            data = np.zeros((data, *more), dtypes.default())
        held(self, Plain(np.array(unwrap(data), dtypes.default())))

    # --- what it is

    @property
    def shape(self) -> Size:
        return Size(self.value.data.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.value.data.shape[dim]

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of(self.value.data)

    @property
    def device(self) -> dtypes.device:
        return dtypes.device("cpu")

    @property
    def ndim(self) -> int:
        return self.value.data.ndim

    # --- leaving

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array, whose memory this tensor shares."""
        if self.value.node is not None and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.value.numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None or array.dtype == dtype else array.astype(dtype)

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Tensor:
        return wrap(Plain(np.asarray(array)))

    def item(self) -> Any:
        if self.value.data.size != 1:
            raise RuntimeError(f"a Tensor with {self.value.data.size} elements cannot be converted to Scalar")
        return self.value.item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.value.__index__()

    def __bool__(self) -> bool:
        if self.value.data.size != 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self.value)

    def __len__(self) -> int:
        if not self.value.data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self.value.data)

    def __iter__(self) -> Any:
        if not self.value.data.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    __repr__ = shown

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.ndim else object.__format__(self, spec)

    def __reduce__(self) -> tuple:
        if not self.is_leaf:
            raise RuntimeError("a tensor in a graph cannot be copied or pickled; detach() it")
        return _again, (type(self), self.value)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol; detach() it")
        if id(self) not in memo:
            value = Plain(self.value.data.copy(), self.value.node is not None)
            memo[id(self)] = wrap(value)
        return memo[id(self)]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(advice.unknown(f"torch.Tensor.{name}", name, dir(type(self))), name=name)

    # --- gradients

    @property
    def requires_grad(self) -> bool:
        return self.value.node is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if requires_grad and self.value.data.dtype.kind not in "fc":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if not requires_grad and not self.is_leaf:
            raise RuntimeError("you can only change requires_grad flags of leaf variables. Use detach() instead.")
        if requires_grad != (self.value.node is not None):
            self.value.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        return self.value.is_leaf

    @property
    def grad(self) -> Tensor | None:
        g = self.value.grad if self.value.is_leaf else self.__dict__.get("retained")
        if g is None:
            return None
        known = self.__dict__.get("grad_variable")
        if known is None or known.value is not g:
            known = self.__dict__["grad_variable"] = wrap(g)
        return known

    @grad.setter
    def grad(self, g: Tensor | None) -> None:
        self.value.grad = None if g is None else unwrap(g)
        self.__dict__["grad_variable"] = g

    @property
    def data(self) -> Tensor:
        """The same numbers without history. Changes of them are not recorded."""
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        array = unwrap(new).data
        if isinstance(self.value, ParameterValue):
            self.value.data = array
        elif self.is_leaf:
            self.value.data = array
            written(array)
        else:
            raise RuntimeError(advice.IN_GRAPH.format("x.data = ..."))

    @property
    def grad_fn(self) -> Any:
        return None if self.is_leaf else Made(self.value.node)

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add the derivatives of this tensor to the ``.grad`` of the leaves below (or of `inputs`)."""
        backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor, which is no leaf, in ``.grad``."""
        if not self.is_leaf and "retained" not in self.__dict__:
            self.__dict__["retained"] = None
            self.register_hook(self._retain)

    def _retain(self, g: Tensor) -> None:
        before = self.__dict__["retained"]
        self.__dict__["retained"] = g.value if before is None else before + g.value

    def register_hook(self, hook: Callable[[Tensor], Any]) -> Removable:
        """Call ``hook(gradient)`` when the gradient of this tensor is known; what it returns takes its place."""
        if self.value.node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        hooks: list = [hook]
        if self.is_leaf:
            hooks = self.__dict__.setdefault("hooks", [])
            hooks.append(hook)
            with_hooks.add(self)
        else:
            self.value = hooked(self.value, hook=lambda g: _through(hooks, g))
        return Removable(hooks, hook)

    # --- views and changes

    def view_by(self, f: Callable[[Value], Value]) -> Tensor:
        """The tensor of ``f(value)``; if it shows the same memory, then changes of one are changes of the other."""
        y = wrap(f(self.value))
        a, b = y.value.data, self.value.data
        if owner(a) is owner(b) or np.may_share_memory(a, b):
            if self.family is None:
                self.family = Family(self)
            path = self.path
            y.family, y.path = self.family, f if path is None else lambda value: f(path(value))
            self.family.members.add(y)
        return y

    def change(self, new: Any, what: str = "an in-place operation") -> Tensor:
        """Give this tensor and its views the numbers of `new`, a value of its shape, or one that broadcasts to it."""
        value, recording = self.value, current().recording
        if not isinstance(new, Value):
            new = Value(np.asarray(new))
        if new.data.shape != value.data.shape:
            new = new.broadcast_to(value.data.shape)
        if new.data.dtype != value.data.dtype:
            if dtypes.CATEGORY[new.data.dtype.kind] > max(1, dtypes.CATEGORY[value.data.dtype.kind]):
                raise RuntimeError(f"result type {new.dtype} can't be cast to the desired output type {value.dtype}")
            new = new.astype(value.data.dtype)
        if self.writable(new, what):
            value.data[...] = new.data
            written(value.data)
        elif recording:
            self._replace(new)
        else:  # not recorded: the history stays, the numbers do not
            y = computed(new.data)
            y.node = value.node
            self._replace(y)
        return self

    def writable(self, new: Any, what: str) -> bool:
        """May the numbers of `new` be written into the array? If not, the tensor is to have another value.

        Raises RuntimeError where a graph holds the array, and for a leaf whose gradient is asked for.
        """
        value, recording, trace = self.value, current().recording, current().trace
        leaf = type(value.node) is Leaf
        if leaf and recording:
            raise RuntimeError(advice.LEAF.format(what))
        if not leaf and (value.node is not None or (recording and getattr(new, "node", None) is not None)):
            return False
        if trace is not None and (trace.made(value.data) or trace.made(getattr(new, "data", None))):
            return False  # a program repeats operations, not what is written into arrays
        if self.family is not None and self.family.recorded():
            raise RuntimeError(advice.IN_GRAPH.format(what))
        if not value.data.flags.writeable:
            if 0 in value.data.strides and value.data.size > 1 and self.family is not None:
                raise RuntimeError("more than one element of the tensor refers to one memory location; clone() it")
            value.data = value.data.copy()
        return True

    def _replace(self, new: Value) -> None:
        """Another value for this tensor; its views, and what it is a view of, follow."""
        family, self.family = self.family, None
        others = [] if family is None else [t for t in family.members if t is not self]
        path, self.path = self.path, None
        self.value = new
        if not others:
            return
        whole = family.value
        if path is not None:
            whole = with_view(whole, path, new)
        else:
            whole = new
        self.family, self.path, family.value = family, path, whole
        for t in others:
            t.value = whole if t.path is None else t.path(whole)


class Parameter(Tensor):
    """A tensor that is a parameter of the module which it is made an attribute of."""

    __slots__ = ()

    def __init__(self, data: Any = (), requires_grad: bool = True):
        value = data if isinstance(data, ParameterValue) else ParameterValue(unwrap(data), requires_grad)
        held(self, value)
        value._variable = self

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = copy.deepcopy(self.value, memo).variable
        return memo[id(self)]


ParameterValue.make = Parameter
with_hooks: weakref.WeakSet[Tensor] = weakref.WeakSet()  # leaves with hooks
_new = object.__new__


def held(tensor: Tensor, value: Value) -> Tensor:
    tensor.value, tensor.family, tensor.path = value, None, None
    return tensor


def wrap(result: Any) -> Any:
    """What the engine gives as torch has it: tensors of values, in tuples and lists, too."""
    if isinstance(result, Value):
        if type(result) is Value and (result.node is None or type(result.node) is Leaf):
            result.__class__ = Plain
        elif isinstance(result, ParameterValue):
            return result.variable
        t = _new(Tensor)
        t.value, t.family, t.path = result, None, None
        return t
    if type(result) in (tuple, list):
        return type(result)(map(wrap, result))
    return type(result)(*map(wrap, result)) if isinstance(result, tuple) and hasattr(result, "_fields") else result


def unwrap(x: Any) -> Any:
    """The engine's values in the place of tensors, in tuples, lists and dicts, too."""
    if isinstance(x, Tensor):
        return x.value
    if isinstance(x, (tuple, list)) and type(x) is not Size:
        inner = [unwrap(y) for y in x]
        return type(x)(*inner) if hasattr(x, "_fields") else type(x)(inner)
    if type(x) is dict:
        return {name: unwrap(y) for name, y in x.items()}
    return x


NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim", "x": "input"}


def lifted(f: Callable) -> Callable:
    """A function of the engine's values as one of torch's tensors, with `out=`."""

    @wraps(f)
    def function(*inputs: Any, **options: Any) -> Any:
        if not options:
            return wrap(f(*[x.value if isinstance(x, Tensor) else unwrap(x) for x in inputs]))
        out = options.pop("out", None)
        options = {NUMPY_NAMES.get(name, name): unwrap(x) for name, x in options.items()}
        result = wrap(f(*[unwrap(x) for x in inputs], **options))
        if out is None:
            return result
        for into, t in zip(out, result) if isinstance(out, tuple) else [(out, result)]:
            into.change(t.value.astype(into.value.data.dtype)) if into.shape == t.shape else held(into, t.value)
        return out

    return function


def backward(
    output: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    inputs: Any = None,
) -> None:  # fmt: skip
    """As the engine's backward pass, with the hooks of leaves. No two gradients share memory: they may be changed."""
    value = output.value
    if value.node is None:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None and value.data.size != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    g = seed(value, unwrap(gradient))
    wanted = None if inputs is None else {t.value.node for t in ([inputs] if isinstance(inputs, Tensor) else inputs)}
    retain = create_graph if retain_graph is None else retain_graph
    with setting(recording=create_graph):
        found = walk(value, g, wanted, not retain)
        hooks = {t.value.node: t.__dict__["hooks"] for t in with_hooks} if with_hooks else {}
        taken = {id(owner(g.data))}
        for leaf, d in found.items():
            if leaf in hooks:
                d = _through(hooks[leaf], d)
            if leaf.grad is not None:
                d = leaf.grad + d
            elif not create_graph and (id(owner(d.data)) in taken or not d.data.flags.writeable):
                d = computed(d.data.copy())
            taken.add(id(owner(d.data)))
            leaf.grad = d


def _through(hooks: list, g: Value) -> Value:
    for hook in list(hooks):
        new = hook(wrap(g))
        g = g if new is None else unwrap(new)
    return g


def _again(kind: type, value: Value) -> Tensor:
    """What a copied or pickled tensor is made of."""
    return kind(value) if issubclass(kind, Parameter) else wrap(value)
