"""Central differences over a wide range of steps: does a wrong rule speak, or an imprecise difference?

Differences are too coarse at large steps (truncation) and too noisy at small ones (rounding), so that their error makes
a U. Against a wrong gradient the same differences stay away by what is wrong, at every step: flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kinks import crossed
from .problem import Arrays, Problem
from .slopes import Slope, central

STEPS = np.logspace(-1, -12, 23)
APART = 3.0  # the gap is that many times what differences can see: flat
LINEAR = 1e-10  # differences at the largest step that are as close as this have no truncation error
SEEN = 1e-12  # a gap smaller than this, relatively, is rounding
ROUGH = 1e-4  # differences that come no closer than this, relatively, prove nothing


@dataclass(frozen=True)
class SweepPoint:
    """One step: how far the central difference is from what the rules say, and from what the oracle says."""

    step: float
    rules: float
    oracle: float


@dataclass(frozen=True)
class Sweep:
    """The points, one random direction; ``gap`` is what lies between rules and oracle, ``scale`` their size."""

    points: tuple[SweepPoint, ...]
    gap: float
    scale: float

    @property
    def floor(self) -> float:
        """The closest that differences come to the oracle, two lucky hits aside."""
        errors = sorted(p.oracle for p in self.points)
        return errors[min(2, len(errors) - 1)] if errors else np.inf

    @property
    def shape(self) -> str:
        """What the curve of the rules looks like.

        flat: the same error at most steps, the rules are wrong. floor: the error falls, and stops too early, the rules
        are a little wrong. U: as it should be. rough: no step is good enough to tell.
        """
        if self.floor > ROUGH * self.scale:
            return "rough"
        if self.gap <= max(APART * self.floor, SEEN * self.scale):
            return "U"
        errors = sorted(p.rules for p in self.points)
        return "flat" if errors[len(errors) // 2] <= APART * errors[0] else "floor"

    def sentence(self) -> str:
        """What the shape says."""
        if not self.points:
            return "every step crosses a kink or leaves the domain, so there is no curve"
        low = min(p.rules for p in self.points)
        if self.shape == "rough":
            return f"no step brings differences closer than {self.floor:.1e}: the function is too rough, or too steep"
        if self.shape == "flat":
            return (
                f"the error is flat at {low:.1e} at every step, so the rule is wrong, not the step: against the oracle "
                f"the same differences fall to {self.floor:.1e}"
            )
        if self.shape == "floor":
            return (
                f"the error stops at {self.gap:.1e}, where the same differences fall to {self.floor:.1e} against the "
                "oracle: the rule is wrong, by little"
            )
        if self.points[0].oracle <= LINEAR * self.scale:
            text = f"the error is {low:.1e} at best and grows as the step shrinks: only rounding, f is linear here"
        else:
            text = f"the error falls to {low:.1e} and rises again, a U-curve, as rounding and truncation make it"
        if self.gap > SEEN * self.scale:
            text += f"; rules and oracle are {self.gap:.1e} apart, less than differences can see"
        return text


def sweep(
    problem: Problem,
    xs: Arrays,
    k: int,
    u: np.ndarray,
    gradient: np.ndarray,
    slope: Slope,
    chosen: np.ndarray,
    seed: int,
) -> Sweep:
    """Differences of ``<u, f>`` along a random direction of the `chosen` entries of input k,
    against its `gradient` and against the slope."""
    vs = [np.zeros_like(x) for x in xs]
    vs[k] = np.random.default_rng(seed).standard_normal(xs[k].shape) * chosen
    claimed = float((vs[k] * gradient).sum())
    column, _ = slope(problem, xs, vs)
    true = float((column * u).sum())
    points = []
    with np.errstate(all="ignore"):
        for h in STEPS:
            near, _ = central(problem, xs, vs, h)
            value = float((near * u).sum())
            if np.isfinite(value) and not crossed(problem, xs, vs, h):
                points.append(SweepPoint(float(h), abs(value - claimed), abs(value - true)))
        scale = float(abs(column * u).sum() + abs(vs[k] * gradient).sum()) or 1.0
    return Sweep(tuple(points), abs(claimed - true), scale)
