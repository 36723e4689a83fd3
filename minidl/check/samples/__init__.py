"""For every primitive: inputs to try it on, and an independent oracle for its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.primitive import Primitive


@dataclass(frozen=True)
class Sample:
    """One call of a primitive: its inputs (float64 arrays; numbers and None stay as they are), its parameters."""

    inputs: tuple
    parameters: dict[str, Any] = field(default_factory=dict)
    differentiate: tuple[int, ...] | None = None  # which inputs; None: every float array


@dataclass(frozen=True)
class Entry:
    primitive: Primitive
    draw: Callable[[np.random.Generator], Iterator[Sample]]
    oracle: Callable[..., np.ndarray]
    keeps_dtype: bool = True  # float32 in, float32 out: all but a cast


SAMPLES: dict[str, Entry] = {}  # by name of the primitive


def samples(primitive: Primitive, oracle: Callable[..., Any], keeps_dtype: bool = True) -> Callable:
    """Decorator of a generator ``f(rng) -> Sample, Sample, ...`` for one primitive.

    `oracle(*inputs, **parameters)` gives the value by other means: SciPy, a naive loop, a closed form.
    """

    def register(draw: Callable) -> Callable:
        SAMPLES[primitive.name] = Entry(primitive, draw, oracle, keeps_dtype)
        return draw

    return register
