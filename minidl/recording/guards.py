"""What a plan takes for granted: that it still holds is looked up before each replay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.context import Context
from ..core.tensor import Tensor
from .trace import Trace

PLAIN = (bool, int, float, str, tuple, type(None))  # told apart by value; all else by identity
MISSING = object()


class Guards:
    """The attributes of the modules that ran, and what the parameters are like."""

    def __init__(self, trace: Trace):
        self.modules = [
            (module, len(attributes), {n: v for n, v in attributes.items() if n not in module.buffer_names})
            for module, attributes in trace.modules.items()
        ]
        self.parameters = [(p, needs, p.dtype, p.shape, p.data.strides) for p, needs in trace.parameters.items()]
        self.without_gradient: list[bool] | None = None  # of each parameter, before the step

    def look_at_gradients(self) -> list[bool]:
        return [p.node is None or p.node.grad is None for p, *_ in self.parameters]

    def hold(self) -> bool:
        for module, size, attributes in self.modules:
            now = vars(module)
            if len(now) != size:
                return False
            for name, value in attributes.items():
                other = now.get(name, MISSING)
                if other is not value and not (type(other) in PLAIN and type(other) is type(value) and other == value):
                    return False
        for p, needs, dtype, shape, strides in self.parameters:
            array = p.data
            if (p.node is not None) is not needs or type(array) is not np.ndarray:
                return False
            if array.dtype != dtype or array.shape != shape or array.strides != strides:
                return False
        return self.without_gradient is None or self.without_gradient == self.look_at_gradients()


def recordable(now: Context) -> bool:
    """Is nothing set that looks at single operations, or changes them?"""
    return not (
        now.watched or now.definitions or now.overrides or now.watchers or now.algorithm or now.drawn or now.repeating
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
        return first, structure.shape, structure.dtype, structure.strides
    if isinstance(structure, (tuple, list)):
        return (type(structure), *[key_of(part, arrays) for part in structure])
    if isinstance(structure, dict):
        return (dict, *[(name, key_of(part, arrays)) for name, part in structure.items()])
    if type(structure).__module__.partition(".")[0] == "cupy":
        raise TypeError("arrays on a GPU are not recorded")
    hash(structure)
    return type(structure), structure


def distinct(arrays: list[Any]) -> list[Any]:
    """Each array once."""
    return list({id(a): a for a in arrays}.values())
