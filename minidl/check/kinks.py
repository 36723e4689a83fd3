"""Points without a derivative: find them, and move away from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .problem import Arrays, Problem

REACHES = (1e-4, 1e-6)  # a point is near a kink if a relative step of this size may cross it
ATTEMPTS = 8  # moves tried at each reach
NOISE = 1e-14  # a distance that changes by less does not change


@dataclass
class Place:
    """Where a problem is checked, and how many of its points had been near a kink."""

    xs: list[np.ndarray]
    near: int = 0  # points near a kink where the user put the inputs
    points: int = 0  # points that have a kink at all
    stuck: bool = False  # no move led away


def scale(x: np.ndarray) -> np.ndarray:
    """The length of a step of relative size 1 at each entry."""
    return np.maximum(abs(x), 1.0)


def find_place(problem: Problem, xs: Arrays, rng: np.random.Generator) -> Place:
    """The inputs themselves if no point is near a kink, else inputs close by where none is."""
    xs = list(xs)
    place = Place(xs)
    first = True
    for reach in REACHES:
        for attempt in range(ATTEMPTS):
            candidate = xs if first else [_jitter(x, rng, attempt) for x in xs]
            near, points, finite = _count(problem, candidate, reach, rng)
            if first:
                place.near, place.points, first = near, points, False
            if finite and not near:
                place.xs = candidate
                return place
            if not finite and candidate is xs:
                return place  # not finite to begin with: another check says so
    place.stuck = True
    return place


def _jitter(x: np.ndarray, rng: np.random.Generator, attempt: int) -> np.ndarray:
    """A small move. Signs and domains such as x > 0 stay; what is close to zero moves away from it."""
    size = 0.02 * (1 + attempt)
    sign = np.where(x == 0, rng.choice([-1.0, 1.0], x.shape), np.sign(x))
    away = sign * size * rng.uniform(0.1, 1, x.shape)
    return x + np.where(abs(x) < 0.01, away, size * x * rng.uniform(-1, 1, x.shape))


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
    """Does a step of ``h`` to either side come near a kink?"""
    here = problem.graph(xs).distances
    if not here.size:
        return False
    steps = ([x + s * h * v for x, v in zip(xs, vs, strict=True)] for s in (1, -1))
    return any(_crossing(here, problem.graph(step).distances).any() for step in steps)


def safe_step(problem: Problem, xs: Arrays, vs: Arrays, h: float = 0.125) -> float:
    """The first of h, h/4, h/16, ... that crosses no kink and stays where the function is finite."""
    size = max((float((abs(v) / scale(x)).max()) for x, v in zip(xs, vs, strict=True) if x.size), default=1.0)
    h = h / (size or 1.0)
    for _ in range(14):
        steps = ([x + s * h * v for x, v in zip(xs, vs, strict=True)] for s in (1, -1))
        with np.errstate(all="ignore"):
            if all(np.isfinite(problem.value(step)).all() for step in steps) and not crossed(problem, xs, vs, h):
                break
        h /= 4
    return h
