"""What a plan takes for granted: that it still holds is looked up before each replay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.context import Context
from ..core.tensor import Tensor
from .contents import NUMBERS, contents
from .program import attribute
from .trace import Trace

MISSING = object()


class Guards:
    """The attributes of the modules that ran, and what the parameters are like: as a step left them, so the next one
    may change them for a while."""

    def __init__(self, trace: Trace):
        self.modules = [
            (module, len(vars(module)), [(n, x, contents(x)) for n, x in vars(module).items() if n not in names])
            for module in trace.modules
            for names in [module.buffer_names]
        ]
        self.containers = [(x, then) for _, _, own in self.modules for _, x, then in own if type(x) in (list, dict)]
        self.absent = [(m, n, attribute(m, n) is None) for m in trace.modules for n in m.buffer_names]
        self.parameters = [(p, p.node is not None, p.dtype, p.shape, p.data.strides) for p in trace.parameters]
        self.without_gradient: list[bool] | None = None  # of each parameter, before the step

    def look_at_gradients(self) -> list[bool]:
        return [p.node is None or p.node.grad is None for p, *_ in self.parameters]

    def other_gradients(self) -> list[bool]:
        """What is to be seen of them, if it is not what it was before the step."""
        now = self.look_at_gradients() if self.without_gradient is not None else None
        return [] if now == self.without_gradient else now

    def hold(self) -> bool:
        for module, size, attributes in self.modules:
            now = vars(module)
            if len(now) != size:
                return False
            for name, value, then in attributes:
                other = now.get(name, MISSING)
                if other is not value and contents(other) != then:
                    return False
        for container, then in self.containers:
            if contents(container) != then:
                return False
        for module, name, absent in self.absent:
            if (vars(module).get(name) is None) is not absent:
                return False
        for p, needs, dtype, shape, strides in self.parameters:
            array = p.data
            if (p.node is not None) is not needs or type(array) is not np.ndarray:
                return False
            if array.dtype != dtype or array.shape != shape or array.strides != strides:
                return False
        return True


def recordable(now: Context) -> bool:
    """Is nothing set that looks at single operations, or changes them?"""
    return not (
        now.watched or now.definitions or now.overrides or now.watchers or now.algorithm or now.drawn or now.repeating
        or now.shard
    )


def key_of(structure: Any, arrays: list[Any]) -> Any:
    """What arguments are like, hashable; their arrays are added to `arrays`, and count by shape, dtype and layout.

    Raises TypeError for what has no hash.
    """
    if isinstance(structure, Tensor):
        array = structure.data
        return (Tensor, structure.requires_grad, *key_of(array, arrays))
    if isinstance(structure, np.ndarray):
        first = next((i for i, a in enumerate(arrays) if a is structure), len(arrays))
        arrays.append(structure)
        return first, type(structure), structure.shape, structure.dtype, structure.strides
    if isinstance(structure, (tuple, list)):
        return (type(structure), *[key_of(part, arrays) for part in structure])
    if isinstance(structure, dict):
        return (dict, *[(name, key_of(part, arrays)) for name, part in structure.items()])
    if type(structure).__module__.partition(".")[0] == "cupy":
        raise TypeError("arrays on a GPU are not recorded")
    hash(structure)
    return type(structure), repr(structure) if isinstance(structure, NUMBERS) else structure


def distinct(arrays: list[Any]) -> list[Any]:
    """Each array once."""
    return list({id(a): a for a in arrays}.values())
