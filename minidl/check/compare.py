"""The comparison: what the rules say against what a slope says, under random cotangents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .kinks import inner
from .problem import EPS, Arrays, Problem
from .slopes import BAR, Slope

COTANGENTS = 3  # random cotangents per comparison: a wrong entry cannot hide from one, let alone three
DIRECTIONS = 8  # random directions where the Jacobian is too large to compare whole
NOISE = 10.0  # times what changes in a gradient when the inputs change in their last bit
FLOOR = 1e-3  # of the largest scale: entries that are zero by cancellation carry rounding errors of others
WIDE = 1e-4  # an error bar wider than this, relatively, proves nothing


class Answers:
    """What the rules say under several cotangents: the gradient of each input, and how uncertain rounding makes it."""

    def __init__(self, problem: Problem, xs: Arrays, cotangents: list[np.ndarray]):
        self.problem, self.xs, self.cotangents = problem, xs, cotangents
        pull = problem.pullback(xs)
        self.gradients = [pull(u) for u in cotangents]

    @cached_property
    def noise(self) -> list[list[np.ndarray]]:
        """By how much each gradient changes when the inputs change in their last bit."""
        noise = [[np.zeros(g.shape) for g in grads] for grads in self.gradients]
        for nearby in self.problem.origin(self.xs).nearby:
            try:
                pull = self.problem.pullback(nearby)
                others = [pull(u) for u in self.cotangents]
            except (ValueError, ArithmeticError):
                continue  # outside of the domain
            with np.errstate(invalid="ignore"):
                for mine, here, there in zip(noise, self.gradients, others, strict=True):
                    mine[:] = [np.fmax(n, abs(a - b)) for n, a, b in zip(mine, here, there, strict=True)]
        return noise

    def slack(self, i: int, k: int) -> np.ndarray:
        """What rounding may make of each entry: its noise, at least a little of the noise of the others."""
        noise = np.where(np.isfinite(self.noise[i][k]), self.noise[i][k], 0.0)
        return NOISE * (noise + FLOOR * noise.max(initial=0.0))


@dataclass(frozen=True)
class Entries:
    """A gradient entry by entry, under one cotangent: the slope's, the rules', and their relative distance."""

    expected: np.ndarray
    got: np.ndarray
    error: np.ndarray


@dataclass
class Comparison:
    """How far the rules are from the slope. Errors are relative to ``sum over outputs of |J u|``.

    An entry is unknown where the slope has no finite value or too wide an error bar; the others are compared.
    """

    problem: Problem
    xs: Arrays
    slope: Slope
    tolerance: float
    inside: list[np.ndarray]  # which entries of each input are inside the domain of the function
    extent: str = ""  # "full Jacobian 4 x 12", "8 directions of 4 x 100000"
    error: float = 0.0  # worst |got - expected|
    excess: float = 0.0  # worst error over what tolerance and error bar allow: more than 1 is wrong
    bar: float = 0.0  # widest error bar
    unknown: tuple[int, tuple[int, ...] | None] | None = None  # the first input and entry of it without an oracle
    argument: int = 0  # where the worst excess is: which input,
    index: tuple[int, ...] = ()  # which entry of it,
    expected: float = 0.0
    got: float = 0.0
    cotangent: np.ndarray = field(default_factory=lambda: np.zeros(0))
    gradient: np.ndarray = field(default_factory=lambda: np.zeros(0))  # what the rules gave for it
    jacobian: np.ndarray | None = None  # (outputs, entries of that input), if it was compared whole
    entries: dict[int, Entries] = field(default_factory=dict)  # of each input, then, under the worst cotangent

    @property
    def verdict(self) -> str:
        if not self.excess <= 1:
            return "FAIL"
        return "PASS" if self.unknown is None else "INCONCLUSIVE"

    def add_jacobian(self, k: int, answers: Answers) -> None:
        """Compare the whole Jacobian with respect to input k."""
        shape, inside = self.xs[k].shape, self.inside[k].ravel()
        J, bars = jacobian(self.problem, self.xs, self.slope, k, inside)
        for i, u in enumerate(answers.cotangents):
            weights, got = abs(u.ravel()), answers.gradients[i][k].ravel()
            expected, bar = np.where(inside, J.T @ u.ravel(), np.nan), bars.T @ weights
            size = abs(J).T @ weights
            size = size + FLOOR * size[np.isfinite(size)].max(initial=0.0) + self.rounding(u)
            error = self._keep(k, expected, got, bar, size, lambda i=i: answers.slack(i, k).ravel(), answers, i, J)
            if k not in self.entries or np.nansum(error) > np.nansum(self.entries[k].error):
                self.entries[k] = Entries(*(a.reshape(shape) for a in (expected, got, error)))
        if not inside.all():
            self._add_unknown(k, np.unravel_index(int(np.argmin(inside)), shape))

    def add_direction(self, k: int, answers: Answers, i: int, v: np.ndarray) -> None:
        """Compare along the direction v of input k, which has no part in entries that are not inside the domain."""
        vs = [np.zeros_like(x) for x in self.xs]
        v = vs[k] = v * self.inside[k]
        u, gradient = answers.cotangents[i], np.where(self.inside[k], answers.gradients[i][k], 0.0)
        column, bars = self.slope(self.problem, self.xs, vs)
        expected, got = (u * column).sum(), (v * gradient).sum()
        size = abs(u * column).sum() + abs(v * gradient).sum() + self.rounding(u)
        bar = 3 * np.sqrt(((u * bars) ** 2).sum())  # rounding errors of many entries: they add in squares
        numbers = (np.atleast_1d(a) for a in (expected, got, bar, size))
        self._keep(k, *numbers, lambda: np.sqrt(((v * answers.slack(i, k)) ** 2).sum()), answers, i, None)
        if not self.inside[k].all():
            self._add_unknown(k, np.unravel_index(int(np.argmin(self.inside[k])), v.shape))

    def rounding(self, u: np.ndarray) -> float:
        """What rounding alone may leave where a gradient is exactly zero, from the largest number on the way."""
        here = max((float(abs(x[np.isfinite(x)]).max(initial=0.0)) for x in self.xs), default=1.0)
        largest = self.problem.origin(self.xs).largest
        share = min(FLOOR, 4 * EPS / self.tolerance) if self.tolerance else 0.0
        return share * largest * float(abs(u).max(initial=0.0)) / max(here, 1.0) + 1e-300

    def _add_unknown(self, k: int, index: Sequence[int] | None) -> None:
        if self.unknown is None:
            self.unknown = k, None if index is None else tuple(int(i) for i in index)

    def _keep(self, k, expected, got, bar, size, slack, answers, i, J) -> np.ndarray:
        """Remember the worst; returns the relative error of each entry, NaN where it is unknown."""
        shape = self.xs[k].shape if J is not None else (1,)
        with np.errstate(invalid="ignore"):
            known = np.isfinite(expected) & np.isfinite(bar) & np.isfinite(size)
            wide = known & (bar / size > max(WIDE, 100 * self.tolerance))
            deviation = np.where(np.isfinite(got), abs(got - expected), np.inf)
            beyond = np.where(known, deviation - BAR * bar, 0.0)
            if (beyond > self.tolerance * size).any():
                beyond = beyond - slack()
            excess = np.maximum(beyond, 0.0) / (self.tolerance * size)
            error = np.where(known, deviation / size, np.nan)
            excess = np.where(known, excess, 0.0)
        self.error = max(self.error, float(error[known].max(initial=0.0)))
        self.bar = max(self.bar, float((bar[known] / size[known]).max(initial=0.0)))
        if not known.all() or wide.any():
            first = np.unravel_index(int(np.argmax(~known | wide)), shape)
            self._add_unknown(k, first if J is not None else None)
        at = int(np.argmax(excess))
        if excess[at] > self.excess:
            self.excess = float(excess[at])
            self.argument, self.index = k, tuple(int(j) for j in np.unravel_index(at, shape))
            self.expected, self.got = float(expected[at]), float(got[at])
            self.cotangent, self.gradient, self.jacobian = answers.cotangents[i], answers.gradients[i][k], J
        return error


def compare(
    problem: Problem,
    xs: Arrays,
    slope: Slope,
    rng: np.random.Generator,
    tolerance: float,
    entries: int,
    directions: int = DIRECTIONS,
) -> Comparison:
    """The whole Jacobian if it has at most `entries` entries (and few rows and columns), else random directions."""
    y, n = problem.origin(xs).value, sum(x.size for x in xs)
    answers = Answers(problem, xs, [cotangent(y, rng) for _ in range(COTANGENTS)])
    result = Comparison(problem, xs, slope, tolerance, [inner(problem, xs, k) for k in range(len(xs))])
    if y.size * n <= entries and n <= entries**0.5 * 2:
        result.extent = f"full Jacobian {y.size} x {n}"
        for k, x in enumerate(xs):
            if x.size and y.size:
                result.add_jacobian(k, answers)
        return result
    result.extent = f"{directions} directions of {y.size} x {n}"
    for k, x in enumerate(xs):
        for d in range(directions):
            result.add_direction(k, answers, d % COTANGENTS, rng.standard_normal(x.shape))
    return result


def cotangent(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random, never ones: ones hide whatever sums to nothing, as a softmax's gradient does."""
    return rng.standard_normal(y.shape).astype(y.dtype)


def jacobian(
    problem: Problem, xs: Arrays, slope: Slope, k: int, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All columns with respect to input k, (outputs, entries), and their error bars; NaN where not `chosen`."""
    columns, bars = [], []
    missing = np.full(problem.origin(xs).value.size, np.nan)
    for i in range(xs[k].size):
        if chosen is not None and not chosen[i]:
            columns.append(missing)
            bars.append(missing)
            continue
        vs = [np.zeros_like(x) for x in xs]
        vs[k].flat[i] = 1.0
        column, bar = slope(problem, xs, vs)
        columns.append(column.ravel())
        bars.append(bar.ravel())
    if not columns:
        return np.zeros((0, 0)), np.zeros((0, 0))
    return np.stack(columns, axis=1), np.stack(bars, axis=1)
