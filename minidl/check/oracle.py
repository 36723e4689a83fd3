"""Which slope is the oracle: the complex step where differences confirm it, else differences themselves."""

from __future__ import annotations

import numpy as np

from . import slopes
from .kinks import inner
from .problem import Arrays, Problem, scale

TOLERANCE = 1e-9  # within which a slope and differences agree, relatively, in addition to the error bar
CONFIRMS = 0.02  # an error bar wider than this, relatively, confirms nothing
SMALL = 1e-2  # entries that are smaller than that, relatively, are also moved by their own size
ENOUGH = 1e-8  # error bar at which differences have confirmed enough, relatively
BARS = 3.0  # error bars within which both agree: more would let a term pass

NOT_ANALYTIC = "complex step and differences disagree: f is not analytic (.data, abs or NumPy in it)"
TOO_ROUGH = "differences are too rough to confirm the complex step"


def doubt(problem: Problem, xs: Arrays, rng: np.random.Generator) -> str:
    """Why the complex step is no oracle here; empty if differences confirm it, with respect to every input.

    The complex step of a function that is not analytic is wrong in just the way of a rule that forgets a term: the
    imaginary part is lost in `abs`, `.real`, `np.var` and their like, and both agree. It is compared along a random
    direction of each input in which all entries move alike, and one in which each moves by its own size.
    """
    for k, x in enumerate(xs):
        if not x.size:
            continue
        inside = inner(problem, xs, k)
        for size in [scale(x)] + [abs(x)] * bool((abs(x) < SMALL * scale(x)).any()):
            vs = [np.zeros_like(other) for other in xs]
            vs[k] = np.where(inside, rng.standard_normal(x.shape) * size, 0.0)
            if not vs[k].any():
                continue
            try:
                why = _compare(problem, xs, vs)
            except slopes.NotAnalytic as error:
                return f"f cannot be run on complex numbers ({error})"
            if why:
                return why
    return ""


def _compare(problem: Problem, xs: Arrays, vs: Arrays) -> str:
    exact, _ = slopes.complex_step(problem, xs, vs)
    near, bar = slopes.differences(problem, xs, vs, ENOUGH)
    origin = problem.origin(xs)
    precision = max(TOLERANCE, 100 * origin.graph.precision)
    size = abs(exact) + abs(near)
    flat = origin.largest * TOLERANCE  # the slope of a function that does not change here
    if not (np.isfinite(size) & np.isfinite(bar)).all() or (bar > CONFIRMS * (size.max(initial=0.0) + flat)).any():
        return TOO_ROUGH
    return "" if (abs(exact - near) <= BARS * bar + precision * size).all() else NOT_ANALYTIC
