"""Points without a derivative: find them, and move away from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .problem import Arrays, Problem, scale

REACHES = (1e-4, 1e-6)  # a point is near a kink if a relative step of this size may cross it
ATTEMPTS = 8  # moves tried at each reach
NOISE = 1e-14  # a distance that changes by less does not change
EDGE = 1e-9  # an entry is on the edge of the domain if a relative step of this size leaves it
BUDGET = 400  # values asked for in the search of such entries
UNSEEN = (1e-5, 1e-6)  # relative steps at which the slopes to both sides are compared where no operation is known;
BEND = 1e-4  # slopes that differ by more than that, relatively, at both, are those of a kink


@dataclass
class Place:
    """Where a problem is checked, and how many of its points had been near a kink."""

    xs: list[np.ndarray]
    near: int = 0  # points near a kink where the user put the inputs
    points: int = 0  # points that have a kink at all
    stuck: bool = False  # no move led away


def find_place(problem: Problem, xs: Arrays, rng: np.random.Generator) -> Place:
    """The inputs themselves if no point is near a kink, else inputs close by where none is."""
    near, points, finite = _count(problem, list(xs), REACHES[-1], rng)
    place = Place(list(xs), near, points)
    if not near or not finite:  # not finite to begin with: another check says so
        return place
    for reach in REACHES:
        for attempt in range(ATTEMPTS):
            candidate = [_jitter(x, rng, attempt) for x in xs]
            near, _, finite = _count(problem, candidate, reach, rng)
            if finite and not near:
                place.xs = candidate
                return place
    place.stuck = True
    return place


def _jitter(x: np.ndarray, rng: np.random.Generator, attempt: int) -> np.ndarray:
    """A small move, within the spread of the array. Signs and domains such as x > 0 stay; what is close to zero moves
    away from it."""
    size = 0.02 * (1 + attempt)
    usual = scale(x)
    with np.errstate(invalid="ignore"):
        spread = min(float(usual.max(initial=0.0)), float(x.std()) or np.inf) if x.size else 0.0
    sign = np.where(x == 0, rng.choice([-1.0, 1.0], x.shape), np.sign(x))
    away = sign * size * np.minimum(usual, 1.0) * rng.uniform(0.1, 1, x.shape)
    around = size * np.minimum(abs(x), spread) * rng.uniform(-1, 1, x.shape)
    return x + np.where(abs(x) < 0.01 * usual, away, around)


def _count(problem: Problem, xs: Arrays, reach: float, rng: np.random.Generator) -> tuple[int, int, bool]:
    """Points near a kink, points with a kink, and whether all values are finite."""
    here = problem.graph(xs).distances
    finite = bool(np.isfinite(problem.value(xs)).all())
    if not here.size:
        return 0, 0, finite
    near = np.zeros(here.size, bool)
    for _ in range(2):
        vs = [scale(x) * rng.choice([-1.0, 1.0], x.shape) * rng.uniform(0.5, 1, x.shape) for x in xs]
        for sign in (1, -1):
            there = problem.graph([x + sign * reach * v for x, v in zip(xs, vs, strict=True)]).distances
            near |= _crossing(here, there)
    return int(near.sum()), here.size, finite


def _crossing(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """May the kink have been crossed between two places? Yes where the distance changed by half or more.

    A distance that does not change at all is no danger: the entry does not move (relu of a relu that is off).
    """
    if here.shape != there.shape:
        return np.ones(here.shape, bool)  # the program took another path
    with np.errstate(invalid="ignore"):
        change = abs(there - here)
    return (change > here / 2) & (change > NOISE)


def crossed(problem: Problem, xs: Arrays, vs: Arrays, h: float) -> bool:
    """Does a step of ``h`` to either side come near a kink, or leave where the function is finite?"""
    here = problem.origin(xs).graph.distances
    with np.errstate(all="ignore"):
        for step in ([x + s * h * v for x, v in zip(xs, vs, strict=True)] for s in (1, -1)):
            if not here.size:
                outside = not np.isfinite(problem.value_or_nan(step)).all()
            else:
                there = problem.graph(step)
                outside = not there.finite or _crossing(here, there.distances).any()
            if outside:
                return True
    return False


def safe_step(problem: Problem, xs: Arrays, vs: Arrays, h: float = 0.125) -> float:
    """The first of h, h/4, h/16, ... that crosses no kink and stays where the function is finite."""
    size = max((float((abs(v) / scale(x)).max()) for x, v in zip(xs, vs, strict=True) if x.size), default=1.0)
    h = h / (size or 1.0)
    for _ in range(20):
        if not crossed(problem, xs, vs, h):
            break
        h /= 4
    return h


def inner(problem: Problem, xs: Arrays, k: int) -> np.ndarray:
    """Which entries of input k are inside the domain of the function; on its edge no oracle has a value.

    0 is on the edge of sqrt and log, 1 of sqrt(1 - x^2). Found by halving: a step of all entries leaves the domain if
    that of one does. What is not found within the budget counts as on the edge.
    """
    known = problem.origin(xs).inside
    if k in known:
        return known[k]
    x = xs[k]
    inside = np.ones(x.size, bool)
    with np.errstate(invalid="ignore"):
        step = (EDGE * np.where((x == 0) | ~np.isfinite(x), scale(x), abs(x))).ravel()
    groups, asked = [(0, x.size)] if x.size else [], 0
    while groups:
        low, high = groups.pop()
        v = np.zeros(x.size)
        v[low:high] = step[low:high]
        vs = [np.zeros_like(other) for other in xs]
        vs[k] = v.reshape(x.shape)
        asked += 1
        with np.errstate(all="ignore"):
            sides = [[a + sign * b for a, b in zip(xs, vs, strict=True)] for sign in (1, -1)]
        if asked <= BUDGET and all(np.isfinite(problem.value_or_nan(side)).all() for side in sides):
            continue
        if high - low == 1 or asked > BUDGET:
            inside[low:high] = False
        else:
            groups += [(low, (low + high) // 2), ((low + high) // 2, high)]
    known[k] = inside.reshape(x.shape)
    return known[k]


# --- functions whose operations are not known: the slopes to both sides tell


def find_unseen(problem: Problem, xs: Arrays, rng: np.random.Generator) -> Place:
    """As `find_place`, by entries of the inputs."""
    points = sum(x.size for x in xs)
    place = Place(list(xs), _bent_entries(problem, xs, rng), points)
    for attempt in range(ATTEMPTS if place.near else 0):
        candidate = [_jitter(x, rng, attempt) for x in xs]
        finite = np.isfinite(problem.value_or_nan(candidate)).all()
        if finite and not _bent_entries(problem, candidate, rng):
            place.xs = candidate
            return place
    place.stuck = bool(place.near)
    return place


def bent(problem: Problem, xs: Arrays, vs: Arrays) -> np.ndarray:
    """Which outputs have a kink here along a direction: to both sides the slope differs, however small the step."""
    here, found, before = problem.value(xs), True, np.inf
    most = max((float((abs(v) / scale(x)).max()) for x, v in zip(xs, vs, strict=True) if x.size), default=1.0) or 1.0
    for step in UNSEEN:
        h = step / most
        high, low = (problem.value_or_nan([x + s * h * v for x, v in zip(xs, vs, strict=True)]) for s in (1, -1))
        with np.errstate(all="ignore"):
            right, left = (high - here) / h, (here - low) / h
            rounding = 1e-14 * (1 + abs(here).max(initial=0.0)) / h
            gap, size = abs(right - left), (abs(right) + abs(left)).max(initial=0.0)
            found = found & (gap > BEND * size + rounding) & (gap < 3 * before)  # noise would grow
            before = gap
    return np.broadcast_to(found, here.shape)


def _bent_entries(problem: Problem, xs: Arrays, rng: np.random.Generator) -> int:
    """How many entries of the inputs are at a kink, found by halving; at least those within the budget."""
    sizes = [x.size for x in xs]
    groups, count, asked = [(0, sum(sizes))], 0, 0
    v = rng.choice([-1.0, 1.0], sum(sizes)) * rng.uniform(0.5, 1, sum(sizes))
    v *= np.concatenate([scale(x).ravel() for x in xs])
    while groups and asked < BUDGET:
        low, high = groups.pop()
        part = np.zeros(v.size)
        part[low:high] = v[low:high]
        vs = [p.reshape(x.shape) for p, x in zip(np.split(part, np.cumsum(sizes)[:-1]), xs, strict=True)]
        asked += 1
        if not bent(problem, xs, vs).any():
            continue
        if high - low == 1:
            count += 1
        else:
            groups += [(low, (low + high) // 2), ((low + high) // 2, high)]
    return count


def unequal(problem: Problem, xs: Arrays, rng: np.random.Generator) -> str | None:
    """Does the gradient fit in directions that keep equal inputs equal? There a maximum has a slope, ties or not.

    The directions are functions of the values, some of them odd, so that zero stays zero. Outputs that have a kink all
    the same are left out.
    """
    for moved_zero in (0.0, 1.0, 0.0, 1.0):
        low, high = rng.uniform(0.3, 1.5, 2)
        size = max(scale(x).max(initial=0.0) for x in xs)
        vs = [moved_zero + np.sin(low * x / size) + np.sin(high * x / size) for x in xs]
        u = rng.standard_normal(problem.value(xs).shape) * ~bent(problem, xs, vs)
        h = UNSEEN[0]
        high_side, low_side = (problem.value([x + s * h * v for x, v in zip(xs, vs, strict=True)]) for s in (1, -1))
        slope = (u * (high_side - low_side)).sum() / (2 * h)
        claimed = sum((g * v).sum() for g, v in zip(problem.pullback(xs)(u), vs, strict=True))
        if not abs(claimed - slope) <= BEND * (abs(claimed) + abs(slope)) + 1e-12:
            return (
                f"moved so that equal inputs stay equal, f changes by {slope:.6g}, and by the gradient it should by "
                f"{claimed:.6g}"
            )
    return None
