"""Between torch's tensors and the engine's: a torch tensor is a *variable*, what it holds is a *value* of the engine.

Values never change. An in-place operation on a tensor in a graph gives the variable another value,
which the graph records as any other; one on plain data writes into the array that the tensor and its views share, and
notes when.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..core.tensor import Leaf, clock
from ..core.tensor import Parameter as EngineParameter
from ..core.tensor import Tensor as Value

_writes: dict[int, tuple[Any, int]] = {}  # id of an array with memory -> (it, weakly; when it was written)


def owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one shows."""
    while type(array.base) is np.ndarray:
        array = array.base
    return array


def written(array: np.ndarray) -> None:
    """Note that the memory of the array has other numbers from now on."""
    whole = owner(array)
    key = id(whole)
    _writes[key] = (weakref.ref(whole, lambda _: _writes.pop(key, None)), next(clock))


def last_write(array: np.ndarray) -> int:
    """When `written` was called for this memory last: a time of the engine's clock; 0 if never."""
    if not _writes:
        return 0
    return _writes.get(id(owner(array)), (None, 0))[1]


class Plain(Value):
    """A value that no operation made, whose array may be written to: a graph that used it then refuses to go back."""

    __slots__ = ()
    name = "a tensor"
    updated = property(lambda self: last_write(self.data))


class ParameterValue(EngineParameter):
    """A parameter of the engine that knows the variable which holds it."""

    __slots__ = ("_variable",)
    assigned = EngineParameter.updated
    make: Any = None  # torch.Parameter, which makes the variable

    @property
    def updated(self) -> int:
        return max(ParameterValue.assigned.__get__(self), last_write(self.data))

    @updated.setter
    def updated(self, time: int) -> None:
        ParameterValue.assigned.__set__(self, time)

    @property
    def variable(self) -> Any:
        try:
            return self._variable
        except AttributeError:
            return ParameterValue.make(self)


class Family:
    """A tensor and its views: each member but the first has its path, a function from the first's value to its own."""

    def __init__(self, whole: Any):
        self.value = whole.value
        self.members = weakref.WeakSet([whole])

    def recorded(self) -> bool:
        """Does a graph hold the numbers of one of them, other than as a leaf?"""
        return not self.value.is_leaf or any(not t.value.is_leaf for t in self.members)


class Removable:
    """What registering a hook gives: ``remove()`` takes it away again."""

    def __init__(self, hooks: Any, hook: Any):
        self.hooks, self.hook = hooks, hook

    def remove(self) -> None:
        if self.hook in self.hooks:
            self.hooks.pop(self.hook) if isinstance(self.hooks, dict) else self.hooks.remove(self.hook)

    def __enter__(self) -> Removable:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Made:
    """What ``grad_fn`` shows: the operation that a tensor comes from."""

    def __init__(self, node: Any):
        self.node = node

    def name(self) -> str:
        return f"{self.node.primitive.name.title().replace('_', '')}Backward0"

    @property
    def next_functions(self) -> tuple:
        inputs = [x for x in self.node.inputs or () if isinstance(x, Value)]
        return tuple((None if x.node is None or type(x.node) is Leaf else Made(x.node), 0) for x in inputs)

    def __repr__(self) -> str:
        return f"<{self.name()}>"
