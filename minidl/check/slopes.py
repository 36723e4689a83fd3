"""Directional derivatives that ask no rule: differences of a linear map, complex step, central differences.

Each one is called ``slope(problem, xs, vs) -> (J v, error bar)``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from ..core.context import definitions
from .kinks import safe_step
from .problem import Arrays, Problem

Slope = Callable[[Problem, Arrays, Arrays], tuple[np.ndarray, np.ndarray]]

TINY = 1e-20  # the complex step: its square is lost in rounding, so no difference is taken and none cancels
HALVINGS = 8  # steps in a table
COLUMNS = 5  # columns of the extrapolation table: errors h^2, h^4, ... h^10
RESTARTS = 7  # tables at smaller and smaller steps,
SMALLER = 32.0  # each so many times smaller;
PROBE = 1024.0  # and the step so many times smaller that tells whether one is needed
GOOD = 1e-7  # an error bar that is good enough, relatively
BAR = 10.0  # error bars within which two slopes agree


class NotAnalytic(Exception):
    """The function cannot be run on complex numbers."""


def linear(problem: Problem, xs: Arrays, vs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """``A v`` for a map that is linear in all inputs together, or in each one alone: f(v) - f(0).

    Inputs that do not move (v = 0) are held where they are.
    """
    moving = [bool(np.any(v)) for v in vs]
    there = [v if m else x for x, v, m in zip(xs, vs, moving, strict=True)]
    origin = [np.zeros_like(x) if m else x for x, m in zip(xs, moving, strict=True)]
    y = problem.value(there) - problem.value(origin)
    return y, np.zeros(y.shape)


def complex_step(problem: Problem, xs: Arrays, vs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """``Im f(x + i h v) / h``, exact to rounding for analytic f (Squire and Trapp, SIAM Review 40, 1998).

    Fused primitives run as their definitions: their kernels are real. Raises NotAnalytic.
    """
    with definitions(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            y = problem.value([x + 1j * TINY * v for x, v in zip(xs, vs, strict=True)])
        except (TypeError, ValueError, np.exceptions.ComplexWarning) as error:
            raise NotAnalytic(f"{error}") from error
    if y.dtype.kind != "c":
        raise NotAnalytic("the imaginary part was dropped on the way")
    return y.imag / TINY, np.zeros(y.shape)


def differences(problem: Problem, xs: Arrays, vs: Arrays, enough: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Central differences at many step sizes, extrapolated to step 0, with an error bar for each entry.

    Neville's table on ``(f(x + h v) - f(x - h v)) / 2h``, whose error is a series in h^2 (Ridders, Advances in
    Engineering Software 4, 1982). For each entry, the value in the table that agrees best with its neighbours;
    the bar is that disagreement plus the rounding error. A second table, on steps in between, guards against
    agreement by luck: the bar is at least what the two differ by. No step is so large that it crosses a kink.

    Steps start at the size of the input. A far smaller step tells whether the function varies on a smaller scale than
    that (a batch norm of data with a large mean, sin(1e6 x)): if it disagrees, the tables start again at smaller steps.

    enough: the relative error bar at which a table may stop.
    """
    h = safe_step(problem, xs, vs)
    value, bar = _two_tables(problem, xs, vs, h, enough)
    for _ in range(RESTARTS):
        with np.errstate(all="ignore"):
            slope, noise = central(problem, xs, vs, h / PROBE)
            away = abs(slope - value) - BAR * noise
            wrong = away > BAR * bar
            wide = (bar > GOOD * abs(value).max(initial=0.0)) & (noise / SMALLER < bar)
        if not (wrong | wide).any():
            break
        h /= SMALLER
        again, narrow = _two_tables(problem, xs, vs, h, enough)
        value, bar = np.where(wrong | (narrow < bar), again, value), np.where(wrong, narrow, np.fmin(narrow, bar))
    else:
        with np.errstate(all="ignore"):
            bar = np.where(wrong, np.fmax(bar, away), bar)
    return value, bar


def _two_tables(problem: Problem, xs: Arrays, vs: Arrays, h: float, enough: float) -> tuple[np.ndarray, np.ndarray]:
    first, bar, rows = _table(problem, xs, vs, h, enough)
    if rows == 2:
        return first, bar  # linear: nothing was extrapolated, so nothing agrees by luck
    second, other, _ = _table(problem, xs, vs, h / 2**0.5, enough)
    with np.errstate(invalid="ignore"):
        return np.where(other < bar, second, first), np.maximum(np.minimum(bar, other), abs(second - first))


def _table(problem: Problem, xs: Arrays, vs: Arrays, h: float, enough: float) -> tuple[np.ndarray, np.ndarray, int]:
    """The best value of one table and its error, for each entry, and how many rows it took, at most COLUMNS."""
    best = bar = None
    previous: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        for _ in range(HALVINGS):
            slope, noise = central(problem, xs, vs, h)
            row = [slope]
            if best is None:
                best, bar = slope, np.full(slope.shape, np.inf)
            for j, coarser in enumerate(previous[: COLUMNS - 1], start=1):
                row.append(row[-1] + (row[-1] - coarser) / (4**j - 1))
                error = np.maximum(abs(row[j] - row[j - 1]), abs(row[j] - coarser)) + noise
                better = error < bar
                best, bar = np.where(better, row[j], best), np.where(better, error, bar)
            if (bar <= np.maximum(2 * noise, enough * abs(best).max(initial=0.0))).all():
                break  # rounding doubles with each halving: no later row can be better
            previous, h = row, h / 2
    return best, bar, len(row)


def central(problem: Problem, xs: Arrays, vs: Arrays, h: float) -> tuple[np.ndarray, np.ndarray]:
    """``(f(x + h v) - f(x - h v)) / 2h`` and the size of its rounding error."""
    high = problem.value([x + h * v for x, v in zip(xs, vs, strict=True)])
    low = problem.value([x - h * v for x, v in zip(xs, vs, strict=True)])
    slope = (high - low) / (2 * h)
    eps = np.finfo(high.dtype).eps
    return slope, (eps * (abs(high) + abs(low)) + 2 * problem.origin(xs).noise) / h
