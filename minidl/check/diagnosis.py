"""What kind of mistake a wrong gradient is.

Each known mistake is a pair of adjoint moves: "the rule flips its result" means <got, v> = u . J (flip v) for all v.
So each is tried with one slope in one direction, at any size: two random directions must agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compare import Comparison, jacobian
from .problem import Arrays

AGREES = 1e-6  # relative difference at which an explanation holds; less if the error itself is smaller
ROWS = 24  # rows of a Jacobian that is too large to look at whole,
LARGE = 4_000_000  # and entries beyond which it is not examined

ADVICE = {
    "not finite": "The rule divides by zero or overflows here; guard that entry with where.",
    "zero": "The gradient never arrives: look for detach(), .data, or a rule that returns zeros.",
    "sign": "The rule has the wrong sign.",
    "factor": "The rule is off by a constant; check the powers, and whether a mean should be a sum.",
    "swapped": "The rules of two arguments seem exchanged.",
    "transposed": "Transpose the factor in the rule: A' stands where A is, or the other way about.",
    "flipped": "Reverse the kernel: correlation in one direction is convolution in the other.",
    "shifted": "Check the padding and the offset: everything arrives one entry off.",
    "border": "The inside is right: check padding, the last window and what lies outside.",
    "missing term": "A contribution is dropped: a gradient is a sum over every path and position its input acts by.",
    "extra term": "Too much gets through: look for a mask, a condition or a window that is left out.",
    "missing factor": "A factor of the chain rule is dropped.",
    "nonlinear": "A rule must be linear in g: no abs(g), no g * g, no constant added.",
    "stale": "The rule or the forward keeps something from an earlier call; compute it from its arguments.",
    "shape": "The rule's result must have its argument's shape: transpose it back, or sum what was broadcast.",
    "dtype": "Keep the argument's dtype: Python numbers are weak, float64 arrays are not.",
    "mutated": "Work on a copy: inputs and cotangents belong to the caller.",
    "nondeterministic": "Draw random numbers from a generator made inside the function from a fixed seed.",
    "forward": "The rules agree with the forward, so the value itself is wrong.",
    "definition": "The kernel and the composition that defines it must give the same; one of them is wrong.",
    "formula": "The formula in the decorator is what a student reads: correct it, or the code.",
    "layout": "Do not read memory behind the array's back: no .base, no assumption of C order.",
    "kink": "Choose other inputs.",
    "unknown": "It differs, and no known mistake matches; derive the rule again at the worst index.",
}


@dataclass
class Finding:
    """One thing that is wrong: where, what kind of mistake, and what to do."""

    kind: str  # a key of ADVICE, or "metadata", "error", "inconclusive"
    where: str
    message: str
    index: tuple[int, ...] | None = None
    expected: float | None = None
    got: float | None = None

    @property
    def advice(self) -> str:
        return ADVICE.get(self.kind, "")

    def text(self) -> str:
        values = ""
        if self.index is not None:
            values = f" at {list(self.index)}: expected {self.expected:.9g}, got {self.got:.9g}"
        return f"{self.where}{values}\n  {self.kind}: {self.message}. {self.advice}".rstrip()

    def content(self) -> dict[str, Any]:
        return {
            "diagnosis": self.kind,
            "where": self.where,
            "message": self.message,
            "advice": self.advice,
            "index": None if self.index is None else list(self.index),
            "expected": self.expected,
            "got": self.got,
        }


class Suspect:
    """A wrong gradient: of input `k`, under the cotangent `u`, in a form that questions can be put to."""

    def __init__(self, comparison: Comparison, rng: np.random.Generator, agrees: float = AGREES):
        self.problem, self.xs, self.slope = comparison.problem, comparison.xs, comparison.slope
        self.k, self.u, self.inside = comparison.argument, comparison.cotangent, comparison.inside
        self.got = np.where(self.inside[self.k], comparison.gradient, 0.0)
        self.rng, self.agrees = rng, agrees

    def true(self, v: np.ndarray, u: np.ndarray | None = None, xs: Arrays | None = None, k: int | None = None) -> float:
        """``u . J v``: what a right gradient would give in the direction v of input k."""
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


def diagnose(comparison: Comparison, rng: np.random.Generator) -> tuple[str, str]:
    """(kind of mistake, one clause that says which)."""
    got = comparison.gradient[comparison.inside[comparison.argument]]
    if not np.isfinite(got).all():
        return "not finite", f"{int((~np.isfinite(got)).sum())} of {got.size} entries of the gradient are not finite"
    if not got.any():
        return "zero", "the gradient is zero everywhere and should not be"
    suspect = Suspect(comparison, rng, min(AGREES, 1e-2 * comparison.error))
    for test in (_constant, _swapped, _moved_result, _moved_cotangent, _moved_other, _border):
        for kind, message in test(suspect):
            return kind, message
    for kind, message in _support(suspect, comparison.jacobian):
        return kind, message
    return "unknown", "the gradient differs, no known mistake matches"


def _constant(s: Suspect) -> Iterator[tuple[str, str]]:
    v = s.rng.standard_normal(s.got.shape)
    right = s.true(v)
    if not right:
        return
    c = float((s.got * v).sum() / right)
    if c and s.explained_by(lambda v: c * s.true(v)):
        if abs(c + 1) < s.agrees:
            yield "sign", "the gradient is the negative of the right one"
        else:
            yield "factor", f"the gradient is {name_of(c, s.got.shape, s.u.shape)} times the right one"


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


def _swapped(s: Suspect) -> Iterator[tuple[str, str]]:
    for j, x in enumerate(s.xs):
        if j != s.k and x.shape == s.got.shape and s.explained_by(lambda v, j=j: s.true(v, k=j)):
            yield "swapped", f"it is the gradient of input {j}"


def _moves(shape: tuple[int, ...]) -> Iterator[tuple[str, str, Callable, Callable]]:
    """(kind, words, move, its adjoint) for arrays of this shape."""
    axes = [a for a, n in enumerate(shape) if n > 1]
    for a, b in itertools.combinations(axes, 2):
        if shape[a] == shape[b]:
            swap = lambda t, a=a, b=b: t.swapaxes(a, b)  # noqa: E731
            yield "transposed", f"with axes {a} and {b} exchanged", swap, swap
    for count in range(1, min(len(axes), 5) + 1):
        for chosen in itertools.combinations(axes, count):
            flip = lambda t, chosen=chosen: np.flip(t, chosen)  # noqa: E731
            words = f"reversed along {'axis' if count == 1 else 'axes'} {', '.join(map(str, chosen))}"
            yield "flipped", words, flip, flip
    for a in axes:
        for by in (1, -1):
            if shape[a] > 2:
                yield (
                    "shifted",
                    f"shifted by {by} along axis {a}",
                    lambda t, a=a, by=by: np.roll(t, by, a),
                    lambda t, a=a, by=by: np.roll(t, -by, a),
                )


def _moved_result(s: Suspect) -> Iterator[tuple[str, str]]:
    for kind, words, _, back in _moves(s.got.shape):
        mask = inside(s.got.shape) if kind == "shifted" else 1.0  # what falls over the edge is not compared
        if s.explained_by(lambda v, back=back: s.true(back(v)), mask):
            yield kind, f"the gradient is the right one {words}"


def _moved_cotangent(s: Suspect) -> Iterator[tuple[str, str]]:
    for kind, words, move, _ in _moves(s.u.shape):
        if s.explained_by(lambda v, move=move: s.true(v, u=move(s.u))):
            yield kind, f"the rule uses g {words}"


def _moved_other(s: Suspect) -> Iterator[tuple[str, str]]:
    for j, x in enumerate(s.xs):
        if j == s.k or x.size < 2:
            continue
        for kind, words, move, _ in _moves(x.shape):
            xs = list(s.xs)
            xs[j] = np.ascontiguousarray(move(x))
            if not np.array_equal(xs[j], x) and s.explained_by(lambda v, xs=xs: s.true(v, xs=xs)):
                yield kind, f"the rule uses input {j} {words}"


def _border(s: Suspect) -> Iterator[tuple[str, str]]:
    shape = s.got.shape
    axes = [a for a in range(len(shape)) if shape[a] > 2 and (a > 1 or len(shape) < 3)]
    for chosen in [(a,) for a in axes] + ([tuple(axes)] if len(axes) > 1 else []):
        if s.explained_by(s.true, inside(shape, chosen)):
            where = f"{'axis' if len(chosen) == 1 else 'axes'} {', '.join(map(str, chosen))}"
            yield "border", f"wrong only at the border of {where}"


def inside(shape: tuple[int, ...], axes: tuple[int, ...] | None = None) -> np.ndarray:
    """1 inside, 0 at both ends of these axes (of all that are longer than 2)."""
    mask = np.zeros(shape)
    chosen = range(len(shape)) if axes is None else axes
    mask[tuple(slice(1, -1) if a in chosen and n > 2 else slice(None) for a, n in enumerate(shape))] = 1.0
    return mask


def _support(s: Suspect, J: np.ndarray | None) -> Iterator[tuple[str, str]]:
    """Entries of the Jacobian that are wrongly zero or wrongly not, or an error of low rank: a dropped sum or mean.

    Of a large Jacobian, a few rows are examined.
    """
    rows = np.arange(s.u.size) if J is not None else s.rng.permutation(s.u.size)[:ROWS]
    if J is None:
        if s.u.size * s.got.size > LARGE:
            return
        J = jacobian(s.problem, s.xs, s.slope, s.k, s.inside[s.k].ravel())[0][rows]
    pull = s.problem.pullback(s.xs)
    G = np.zeros(J.shape)  # (outputs, entries), as the rules have it
    for i, row in enumerate(rows):
        unit = np.zeros(s.u.size, s.u.dtype)
        unit[row] = 1
        G[i] = pull(unit.reshape(s.u.shape))[s.k].ravel()
    J, G = J[:, s.inside[s.k].ravel()], G[:, s.inside[s.k].ravel()]
    small = 1e-9 * abs(J).max()
    missing, extra = (abs(G) <= small) & (abs(J) > small), (abs(G) > small) & (abs(J) <= small)
    if missing.any() and not extra.any():
        right = int((abs(J) > small).sum())
        yield "missing term", f"{int(missing.sum())} of the {right} non-zero entries of the Jacobian are zero"
        return
    if extra.any() and not missing.any():
        yield "extra term", f"{int(extra.sum())} entries of the Jacobian should be zero and are not"
        return
    rank = np.linalg.matrix_rank(J - G, tol=1e-7 * abs(J).max())
    if 0 < rank <= min(J.shape) / 3 and rank < np.linalg.matrix_rank(J):
        size = f"{J.shape[0]} x {J.shape[1]}"
        yield "missing term", f"the error has rank {rank} in a Jacobian of {size}, as a sum or a mean over an axis has"


def locate(s: Suspect) -> tuple[tuple[int, ...], float, float]:
    """A wrong entry of a gradient too large to compare whole: (index, expected, got), by halving."""

    def error(low: int, high: int) -> float:
        """In a random direction of these entries, relatively."""
        v = np.zeros(s.got.size)
        v[low:high] = s.rng.standard_normal(high - low)
        v = v.reshape(s.got.shape)
        return abs(s.true(v) - (s.got * v).sum()) / (abs(s.got * v).sum() + abs(s.true(v)) + 1e-300)

    low, high = 0, s.got.size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if error(low, middle) >= error(middle, high) else (middle, high)
    unit = np.zeros(s.got.size)
    unit[low] = 1.0
    index = tuple(int(i) for i in np.unravel_index(low, s.got.shape))
    return index, s.true(unit.reshape(s.got.shape)), float(s.got.flat[low])
