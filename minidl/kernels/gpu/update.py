"""Steps of optimisers on flat arrays: see update.cu."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .source import BLOCK, launch

ENTRIES = 1024  # of a block
ALIGNED = 64  # entries: where each parameter starts is a multiple of this, as matrix products like it


@dataclass(frozen=True)
class Step:
    """What a kernel is to do."""

    kernel: str
    buffers: tuple[str, ...]  # the arrays of the state in the order of the arguments; "": not needed
    scalars: list[tuple[float, ...]]  # of each parameter
    numbers: tuple[float | int, ...]  # of all


def sgd(states: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Step:
    """A step of SGD, for parameters with these states."""
    momentum = float(options["momentum"])
    shares = [(1 - options["dampening"] if "momentum_buffer" in s else 1.0,) for s in states]
    numbers = float(options["lr"]), momentum, float(options["weight_decay"]), int(options["nesterov"])
    return Step("sgd", ("momentum_buffer" if momentum else "",), shares, numbers)


def adam(states: Sequence[Mapping[str, Any]], options: Mapping[str, Any], decoupled: bool) -> Step:
    """A step of Adam or, `decoupled`, of AdamW."""
    lr, decay, (b1, b2) = options["lr"], options["weight_decay"], options["betas"]
    scalars = [(lr / (1 - b1**t), math.sqrt(1 - b2**t)) for t in (s["step"] for s in states)]
    kept, decay = (1 - lr * decay, 0) if decoupled else (1, decay)
    numbers = *map(float, (b1, b2, options["eps"], kept, decay)), int(options["amsgrad"])
    return Step("adam", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if options["amsgrad"] else ""), scalars, numbers)


class Layout:
    """Where the parameters of these sizes lie in a flat array, and what each block of threads takes of them."""

    def __init__(self, sizes: Sequence[int]):
        ends = np.cumsum([-(-size // ALIGNED) * ALIGNED for size in sizes]).tolist()
        self.slices = [slice(start, start + size) for start, size in zip([0, *ends], sizes)]
        self.total = ends[-1]
        rows = [
            (i, part.start + first, first, min(ENTRIES, size - first))
            for i, (part, size) in enumerate(zip(self.slices, sizes))
            for first in range(0, size, ENTRIES)
        ]
        self.blocks = len(rows)
        self.table = sys.modules["cupy"].asarray(np.array(rows, np.int64).reshape(-1, 4))


def run(step: Step, layout: Layout, w: Any, buffers: Mapping[str, Any], grads: Sequence[Any]) -> Any:
    """The new weights, flat as w is; the buffers are changed in place. `grads`: arrays as the parameters, or None."""
    cupy = sys.modules["cupy"]
    new, nothing = cupy.empty_like(w), cupy.empty(0, w.dtype)
    grads = [g if g is None else cupy.ascontiguousarray(g, w.dtype) for g in grads]  # held until the launch
    addresses = cupy.asarray(np.array([0 if g is None else g.data.ptr for g in grads], np.int64))
    scalars = cupy.asarray(np.array(step.scalars, np.float64))
    if layout.blocks:
        arrays = [buffers.get(name, nothing) for name in step.buffers]
        arguments = w, new, *arrays, addresses, scalars, layout.table, *step.numbers
        launch("update", step.kernel, w.dtype, {}, (layout.blocks,), (BLOCK,), *arguments)
    return new
