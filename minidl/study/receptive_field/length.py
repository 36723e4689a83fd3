"""How long an input must be for a network over one axis to show all of a pixel's field."""

from __future__ import annotations

import numpy as np

from ...core.tensor import Tensor
from ...nn.module import Module
from ...ops.reach import gathered
from .graph import Recording

ROOM = 9  # outputs that a network given as text has at least


def length(network: Module) -> int:
    """A length at which the pixel in the middle sees no border; one that no stride cuts short, if there is one."""
    n = 8
    while not (run := _tried(network, n)) or not _roomy(run, n):
        n += max(1, n // 4)
        if n > 20_000:
            raise ValueError(
                "receptive_field: no input of up to 20000 cells leaves the middle pixel free of borders; "
                "give input_shape=(1, 1, length)"
            )
    exact = (m for m in range(n, n + 64) if (run := _tried(network, m)) and _roomy(run, m) and _divides(run))
    return next(exact, n)


def _tried(network: Module, n: int) -> Recording | None:
    try:
        return Recording(network, Tensor(np.zeros((1, 1, n))))
    except ValueError:
        return None


def _roomy(run: Recording, n: int) -> bool:
    known = run.theory()
    (axis,) = known[run.output.node]
    count = run.output.shape[2]
    middle = axis.moved(count // 2)
    deepest = max(axes[0].jump for axes in known.values() if axes)
    return count >= max(ROOM, deepest / axis.jump) and middle.first >= 0 and middle.last <= n - 1


def _divides(run: Recording) -> bool:
    windows = [node.parameters["window"] for node in run.nodes if node.primitive.reach is gathered]
    return all((w.padded[0] - w.span[0]) % w.stride[0] == 0 for w in windows)
