"""A wrong gradient, in a form that questions can be put to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from .compare import Comparison
from .problem import Arrays

Found = Iterator[tuple[str, str]]  # (kind of mistake, one clause that says which)
AGREES = 1e-6  # relative difference at which an explanation holds; less if the error itself is smaller


class Suspect:
    """A wrong gradient: of input `k`, under the cotangent `u`."""

    def __init__(self, comparison: Comparison, rng: np.random.Generator, agrees: float = AGREES):
        self.problem, self.xs, self.slope = comparison.problem, comparison.xs, comparison.slope
        self.k, self.u, self.inside = comparison.argument, comparison.cotangent, comparison.inside
        self.got = np.where(self.inside[self.k], comparison.gradient, 0.0)
        self.rng, self.agrees = rng, agrees
        self.jacobian = comparison.jacobian
        self.held: dict[int, Any] = self.problem.held

    def true(self, v: np.ndarray, u: np.ndarray | None = None, xs: Arrays | None = None, k: int | None = None) -> float:
        """``u . J v``: what a right gradient would give in the direction v of input k."""
        if xs is None and self.jacobian is not None and k in (None, self.k):
            return float((self.right_for(self.u if u is None else u) * v).sum())
        xs = self.xs if xs is None else xs
        k = self.k if k is None else k
        vs = [np.zeros_like(x) for x in xs]
        vs[k] = v * self.inside[k]
        return float(((self.u if u is None else u) * self.slope(self.problem, xs, vs)[0]).sum())

    def explained_by(self, expected: Callable[[np.ndarray], float], mask: np.ndarray | float = 1.0) -> bool:
        """Does ``<got, v> = expected(v)`` hold in two random directions?"""
        for _ in range(2):
            v = self.rng.standard_normal(self.got.shape) * mask
            claimed, size = (self.got * v).sum(), abs(self.got * v).sum()
            if not size or not abs(claimed - expected(v)) <= self.agrees * size:
                return False
        return True

    def is_right(self, g: np.ndarray) -> bool:
        """Is this the right gradient, in two random directions?"""
        vs = [self.random_v() for _ in range(2)]
        return all(abs((g * v).sum() - self.true(v)) <= self.agrees * abs(g * v).sum() for v in vs)

    # --- the whole gradient, where the Jacobian is known

    @cached_property
    def right(self) -> np.ndarray:
        return self.right_for(self.u)

    def right_for(self, u: np.ndarray) -> np.ndarray:
        """What a right gradient would be under this cotangent."""
        rows = np.nan_to_num(self.jacobian).T @ u.ravel()
        return np.where(self.inside[self.k], rows.reshape(self.got.shape), 0.0)

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and bool(abs(a - b).max(initial=0.0) <= self.agrees * abs(b).max(initial=0.0))

    # --- what else is known

    def claimed(self, u: np.ndarray) -> np.ndarray:
        """What the rules give under another cotangent."""
        return np.where(self.inside[self.k], self.problem.pullback(self.xs)(u)[self.k], 0.0)

    def random_g(self) -> np.ndarray:
        return self.rng.standard_normal(self.u.shape).astype(self.u.dtype)

    def random_v(self) -> np.ndarray:
        return self.rng.standard_normal(self.got.shape)

    def name(self, j: int) -> str:
        """Of the j-th input that moves."""
        return self.problem.name(self.problem.slots[j] if self.problem.slots else j)

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, values) of what a rule could multiply by: the inputs, the output, and simple functions of these."""
        known = [(self.name(j), x) for j, x in enumerate(self.xs)] + [("y", self.problem.value(self.xs))]
        for name, a in known:
            if a.size > 1:
                yield name, a
                yield f"1 - {name}", 1 - a
                yield f"1 - {name}²", 1 - a * a
                yield f"{name}²", a * a
                yield f"sign({name})", np.sign(a)


def name_of(c: float, *shapes: tuple[int, ...]) -> str:
    """A factor as a person would write it: 2, -1/2, 1/12 (12 = the number of entries)."""
    sizes = {n: "the length of an axis" for shape in shapes for n in shape}
    sizes |= {int(np.prod(shape)): "the number of entries" for shape in shapes}
    sign = "-" if c < 0 else ""
    for n in [2, 3, 4, *sizes]:
        why = f" ({n} is {sizes[n]})" if n in sizes and n > 1 else ""
        if n > 1 and abs(abs(c) - n) < AGREES * n:
            return f"{sign}{n}{why}"
        if n > 1 and abs(abs(c) * n - 1) < AGREES:
            return f"{sign}1/{n}{why}"
    return f"{c:.12g}" if abs(abs(c) - 1) < 1e-4 else f"{c:.6g}"


def inside(shape: tuple[int, ...], axes: tuple[int, ...] | None = None) -> np.ndarray:
    """1 inside, 0 at both ends of these axes (of all that are longer than 2)."""
    mask = np.zeros(shape)
    chosen = range(len(shape)) if axes is None else axes
    mask[tuple(slice(1, -1) if a in chosen and n > 2 else slice(None) for a, n in enumerate(shape))] = 1.0
    return mask


def fits(c: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Can it be broadcast to this shape?"""
    return c.ndim <= len(shape) and all(a in (1, b) for a, b in zip(c.shape[::-1], shape[::-1]))
