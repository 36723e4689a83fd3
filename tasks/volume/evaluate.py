"""How good a segmentation is, and the lecture's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

import numpy as np

from .data import masks
from .pipeline import ORGANS, Pipeline, segment
from .speckle import Volume
from .train import CONTROL, ROWS


@dataclass
class RowScores:
    """Dice of each test volume and organ, and the seconds that each volume took."""

    dice: list[tuple[float, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def means(self) -> tuple[float, ...]:
        """The mean Dice of the small and of the large organ, and the median of the seconds."""
        return *map(float, np.mean(self.dice, axis=0)), float(np.median(self.seconds))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """``2 |A and B| / (|A| + |B|)`` of two masks; 1 if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def evaluate(model: Pipeline, volumes: Sequence[Volume], *, refine: bool, device: str) -> RowScores:
    """Segment each volume, a probability above 1/2 being the organ, and compare."""
    result = RowScores()
    for volume in volumes:
        start = perf_counter()
        found = segment(model, volume.image, refine=refine, device=device) > 0.5
        result.seconds.append(perf_counter() - start)
        truth = masks(volume.labels)[0] > 0.5
        result.dice.append(tuple(dice(found[i], truth[i]) for i in range(len(ORGANS))))
    return result


def table(results: Mapping[str, RowScores]) -> str:
    """A line per row: the mean Dice of both organs and the time for a volume."""
    lines = [f"{'':<40}{'small organ':>12}{'large organ':>12}{'time':>10}"]
    for row in (*ROWS, CONTROL):
        small, large, seconds = results[row.name].means()
        label = f"({row.label})" if row is CONTROL else row.label
        lines.append(f"{label:<40}{small:>12.3f}{large:>12.3f}{seconds:>8.3f} s")
    return "\n".join(lines)


def order(results: Mapping[str, RowScores]) -> str:
    """Whether each row is above the one before it, as in the lecture, for each organ."""
    parts = []
    for i, organ in enumerate(ORGANS):
        values = [results[row.name].means()[i] for row in ROWS]
        steps = [f"{b - a:+.3f}" for a, b in pairwise(values)]
        kept = all(a < b for a, b in pairwise(values))
        parts.append(f"{organ} organ {'kept' if kept else 'NOT kept'} ({', '.join(steps)})")
    return "order of the lecture's rows: " + "; ".join(parts)
