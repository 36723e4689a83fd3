"""What kind of mistake a wrong gradient is.

Each known mistake is a pair of adjoint moves: "the rule flips its result" means <got, v> = u . J (flip v) for all v.
So each is tried with one slope in one direction, at any size: two random directions must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import hypotheses
from .compare import Comparison, jacobian
from .suspect import AGREES, Suspect

AWAY = 0.03  # relative distance to the second place where a hypothesis must hold

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
    "extra factor": "A factor stands there twice, or does not belong there.",
    "inverse factor": "Divide in place of multiplying, or the other way about.",
    "missing mask": "Where the function is constant the gradient is zero: multiply by the mask.",
    "inverted mask": "Turn the condition of the mask round.",
    "sign of a term": "Turn its sign round.",
    "factor of a term": "The other terms are right: derive this one again.",
    "term of a sum": "What comes through a sum (a mean, a variance, a norm) is missing, or has another factor or axis.",
    "another input": "That other one is right: the factor by which the two differ is dropped here.",
    "at the targets": "Look at the line that treats the right class: x[np.arange(N), t].",
    "forgotten g": "Multiply by g: the chain rule goes on from what comes back.",
    "input for output": "Put the output into the formula, or write it for the input.",
    "output for input": "Take the derivative at the input, or write the formula for the output.",
    "setting": "Read the same settings backward as forward.",
    "eps": "Take the denominator from forward, eps and all.",
    "reordered": "reshape reads axes as they are: transpose before it as forward does, and back after it.",
    "rounded": "Return all digits.",
    "single precision": "Compute in float64, or check with float32 results as they are.",
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
    "ties": "Give the gradient of a maximum to one of the equal entries (argmax), or share it among them.",
    "not summed": "What was broadcast forwards is summed backwards, over every axis along which it was broadcast.",
    "padding": "Cut it off: the padding is no part of the input.",
    "summed": "Sum only over the axes that were broadcast.",
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


def diagnose(comparison: Comparison, rng: np.random.Generator) -> tuple[str, str]:
    """(kind of mistake, one clause that says which): the first hypothesis that gives these numbers, in two places."""
    got = comparison.gradient[comparison.inside[comparison.argument]]
    if not np.isfinite(got).all():
        return "not finite", f"{int((~np.isfinite(got)).sum())} of {got.size} entries of the gradient are not finite"
    if not got.any():
        return "zero", "the gradient is zero everywhere and should not be"
    agrees = min(AGREES, 1e-2 * comparison.error)
    here = Suspect(comparison, rng, agrees)
    there: Suspect | None = None
    tests = [*hypotheses.ALWAYS, *(hypotheses.WHOLE if here.jacobian is not None else ()), *hypotheses.LAST]
    for test in tests:
        for kind, message in _tried(test, here):
            there = there or elsewhere(comparison, rng, agrees)
            if any(k == kind and (m == message or test is hypotheses.support) for k, m in _tried(test, there)):
                return kind, message
    return "unknown", "the gradient differs, no known mistake matches"


def _tried(test: Callable, s: Suspect) -> Iterator[tuple[str, str]]:
    """What a hypothesis finds, up to where f refuses the inputs that it tries."""
    try:
        yield from test(s)
    except (ValueError, ArithmeticError):
        return


def elsewhere(c: Comparison, rng: np.random.Generator, agrees: float) -> Suspect:
    """The same gradient at inputs close by, under another cotangent; at the same inputs if f refuses those."""
    u = rng.standard_normal(c.cotangent.shape).astype(c.cotangent.dtype)
    k, J = c.argument, c.jacobian
    for away in (AWAY, 0.0):
        xs = [x * (1 + away * rng.uniform(-1, 1, x.shape)) for x in c.xs]
        try:
            gradient = c.problem.pullback(xs)(u)[k]
            J = J if J is None else jacobian(c.problem, xs, c.slope, k, c.inside[k].ravel())[0]
            break
        except (ValueError, ArithmeticError):
            continue
    return Suspect(replace(c, xs=xs, cotangent=u, gradient=gradient, jacobian=J), rng, agrees)


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
