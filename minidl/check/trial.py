"""One sample of one primitive, ready to be questioned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.primitive import Primitive
from ..core.tensor import Tensor
from .problem import Problem, placed
from .samples import Sample


class Trial:
    """A call of a primitive in which the inputs at `slots`, the arrays `xs`, vary and the rest is held."""

    def __init__(self, primitive: Primitive, sample: Sample, oracle: Callable, number: int):
        self.primitive = primitive
        self.inputs = sample.inputs
        self.parameters = sample.parameters
        self.oracle = oracle
        self.number = number
        floating = [i for i, x in enumerate(sample.inputs) if getattr(x, "dtype", np.dtype(int)).kind == "f"]
        self.slots = floating if sample.differentiate is None else list(sample.differentiate)
        self.xs = [np.array(sample.inputs[i]) for i in self.slots]
        self.problem = Problem(self.call)

    @property
    def where(self) -> str:
        return f"{self.primitive.name}, sample {self.number}"

    def call(self, *chosen: Any) -> Tensor:
        return self.primitive(*self.arguments(chosen), **self.parameters)

    def arguments(self, chosen: Any) -> list[Any]:
        """All inputs, with these at the slots."""
        return placed(self.inputs, self.slots, chosen)
