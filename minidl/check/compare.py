"""The comparison: what the rules say against what a slope says, under random cotangents."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .problem import Arrays, Problem
from .slopes import Slope

COTANGENTS = 3  # random cotangents per comparison: a wrong entry cannot hide from one, let alone three
DIRECTIONS = 8  # random directions where the Jacobian is too large to compare whole
BAR = 10.0  # error bars allowed
FLOOR = 1e-3  # of the largest scale: entries that are zero by cancellation carry rounding errors of others
WIDE = 1e-4  # an error bar wider than this, relatively, proves nothing

Answers = list[tuple[np.ndarray, list[np.ndarray]]]  # cotangents, and the gradient of each input under them


@dataclass(frozen=True)
class Entries:
    """A gradient entry by entry, under one cotangent: the slope's, the rules', and their relative distance."""

    expected: np.ndarray
    got: np.ndarray
    error: np.ndarray


@dataclass
class Comparison:
    """How far the rules are from the slope. Errors are relative to ``sum over outputs of |J u|``."""

    problem: Problem
    xs: Arrays
    slope: Slope
    tolerance: float
    extent: str = ""  # "full Jacobian 4 x 12", "8 directions of 4 x 100000"
    error: float = 0.0  # worst |got - expected|
    excess: float = 0.0  # worst error over what tolerance and error bar allow: more than 1 is wrong
    bar: float = 0.0  # widest error bar
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
        return "INCONCLUSIVE" if self.bar > max(WIDE, 100 * self.tolerance) else "PASS"

    def add_jacobian(self, k: int, answers: Answers, largest: float) -> None:
        """Compare the whole Jacobian with respect to input k."""
        shape = self.xs[k].shape
        J, bars = jacobian(self.problem, self.xs, self.slope, k)
        for u, grads in answers:
            weights = abs(u.ravel())
            expected, got = J.T @ u.ravel(), grads[k].ravel()
            size = abs(J).T @ weights
            size = size + FLOOR * size.max() + rounding(self.xs, largest, u)
            error = np.nan_to_num(abs(got - expected) / size, nan=np.inf)
            if k not in self.entries or error.max() > self.entries[k].error.max():
                self.entries[k] = Entries(*(a.reshape(shape) for a in (expected, got, error)))
            self._keep(k, shape, expected, got, bars.T @ weights, size, u, grads[k], J)

    def add_direction(self, k: int, u: np.ndarray, gradient: np.ndarray, v: np.ndarray, largest: float) -> None:
        """Compare along the direction v of input k."""
        vs = [np.zeros_like(x) for x in self.xs]
        vs[k] = v
        column, bars = self.slope(self.problem, self.xs, vs)
        expected, got = (u * column).sum(), (v * gradient).sum()
        size = abs(u * column).sum() + abs(v * gradient).sum() + rounding(self.xs, largest, u)
        bar = 3 * np.sqrt(((u * bars) ** 2).sum())  # rounding errors of many entries: they add in squares
        self._keep(k, (1,), expected, got, bar, size, u, gradient, None)

    def _keep(self, k, shape, expected, got, bar, size, u, gradient, J) -> None:
        expected, got, bar = np.atleast_1d(expected), np.atleast_1d(got), np.atleast_1d(bar)
        with np.errstate(invalid="ignore"):
            deviation = abs(got - expected)
            excess = np.maximum(deviation - BAR * bar, 0) / (self.tolerance * size)
        deviation, excess = (np.where(np.isfinite(got), a, np.inf) for a in (deviation, excess))
        unknown = ~np.isfinite(expected) | ~np.isfinite(bar)
        excess = np.where(unknown, 0.0, excess)
        bar = np.where(unknown, np.inf, bar)
        error = np.where(unknown, 0.0, deviation / size)
        self.error = max(self.error, float(error.max()))
        self.bar = max(self.bar, float((bar / size).max()))
        i = int(np.argmax(excess))
        if excess[i] > self.excess:
            self.excess = float(excess[i])
            self.argument, self.index = k, tuple(int(j) for j in np.unravel_index(i, shape))
            self.expected, self.got = float(expected[i]), float(got[i])
            self.cotangent, self.gradient, self.jacobian = u, gradient, J


def compare(
    problem: Problem, xs: Arrays, slope: Slope, rng: np.random.Generator, tolerance: float, entries: int
) -> Comparison:
    """The whole Jacobian if it has at most `entries` entries (and few rows and columns), else random directions."""
    y, n = problem.value(xs), sum(x.size for x in xs)
    pull = problem.pullback(xs)
    us = [cotangent(y, rng) for _ in range(COTANGENTS)]
    answers = [(u, pull(u)) for u in us]
    largest = problem.graph(xs).largest
    result = Comparison(problem, xs, slope, tolerance)
    if y.size * n <= entries and n <= entries**0.5 * 2:
        result.extent = f"full Jacobian {y.size} x {n}"
        for k, x in enumerate(xs):
            if x.size and y.size:
                result.add_jacobian(k, answers, largest)
        return result
    result.extent = f"{DIRECTIONS} directions of {y.size} x {n}"
    for k, x in enumerate(xs):
        for d in range(DIRECTIONS):
            u, grads = answers[d % COTANGENTS]
            result.add_direction(k, u, grads[k], rng.standard_normal(x.shape), largest)
    return result


def cotangent(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random, never ones: ones hide whatever sums to nothing, as a softmax's gradient does."""
    return rng.standard_normal(y.shape).astype(y.dtype)


def rounding(xs: Arrays, largest: float, u: np.ndarray) -> float:
    """What rounding alone may leave where a gradient is exactly zero; `largest` is the largest number on the way."""
    here = max((float(abs(x).max()) for x in xs if x.size), default=1.0)
    return FLOOR * largest * float(abs(u).max(initial=0.0)) / max(here, 1.0) + 1e-300


def jacobian(problem: Problem, xs: Arrays, slope: Slope, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All columns with respect to input k, (outputs, entries), and their error bars."""
    columns, bars = [], []
    for i in range(xs[k].size):
        vs = [np.zeros_like(x) for x in xs]
        vs[k].flat[i] = 1.0
        column, bar = slope(problem, xs, vs)
        columns.append(column.ravel())
        bars.append(bar.ravel())
    if not columns:
        return np.zeros((0, 0)), np.zeros((0, 0))
    return np.stack(columns, axis=1), np.stack(bars, axis=1)
