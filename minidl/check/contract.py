"""The contract of every primitive besides a right derivative, checked on each sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.context import definitions
from ..core.primitive import Primitive
from . import formulas
from .compare import compare, cotangent
from .diagnosis import Finding
from .kinks import find_place
from .samples import Sample
from .slopes import Slope
from .trial import Trial

CLOSE = 1e-12  # values computed two ways in float64, relative to the largest
SINGLE = 1e-4  # values computed in float32 and in float64


def derived(p: Primitive, drawn: list[Sample]) -> list[Sample]:
    """Elementwise primitives: an empty, a batch-1 and a broadcast case, cut from a sample that was drawn."""
    for s in drawn if p.elementwise else ():
        arrays = [i for i, x in enumerate(s.inputs) if isinstance(x, np.ndarray)]
        shapes = {s.inputs[i].shape for i in arrays}
        fits = len(shapes) == 1 and len(next(iter(shapes))) > 1
        if not fits or any(isinstance(v, np.ndarray) for v in s.parameters.values()):
            continue

        def cut(part: Any, chosen: list[int], s: Sample = s) -> Sample:
            inputs = tuple(x[part] if i in chosen else x for i, x in enumerate(s.inputs))
            return Sample(inputs, s.parameters, s.differentiate)

        cases = [cut(slice(0), arrays), cut(slice(1), arrays)]
        if len(arrays) > 1:
            cases += [cut(slice(1), arrays[:1]), cut((Ellipsis, slice(1)), arrays[1:]), cut(0, arrays[1:])]
        return cases
    return []


def forward(trial: Trial, xs: list[np.ndarray]) -> tuple[float, Finding | None]:
    """The value against the oracle: (relative error, what is wrong)."""
    y = trial.problem.value(xs) if trial.slots else trial.call().numpy()
    with np.errstate(all="ignore"):
        truth = np.asarray(trial.oracle(*trial.arguments(xs), **trial.parameters))
    if y.shape != truth.shape:
        return np.inf, Finding("forward", trial.where, f"the value has shape {y.shape}, the oracle's {truth.shape}")
    if y.dtype.kind != truth.dtype.kind:
        return np.inf, Finding("forward", trial.where, f"the value is {y.dtype}, the oracle's {truth.dtype}")
    error, index = _difference(y, truth)
    if error <= CLOSE:
        return error, None
    message = f"the value is not the oracle's: off by {error:.1e} of the largest"
    return error, Finding("forward", trial.where, message, index, float(truth[index]), float(y[index]))


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The largest difference relative to the largest entry, and where; the same NaN or infinity is no difference."""
    if not a.size:
        return 0.0, ()
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        off = np.where(same, 0.0, abs(a.astype(float) - b.astype(float)))
    off = np.where(np.isnan(off), np.inf, off)
    largest = float(abs(b[np.isfinite(b)]).max(initial=0.0)) or 1.0
    index = np.unravel_index(int(np.argmax(off)), off.shape)
    return float(off[index]) / largest, tuple(int(i) for i in index)


def untouched(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """The forward and the rules leave inputs and cotangent as they are."""
    xs = [x.copy() for x in trial.xs]
    held = [np.array(x) for x in trial.inputs if isinstance(x, np.ndarray)]
    pull = trial.problem.pullback(xs)
    if not _same(xs, trial.xs) or not _same(held, [x for x in trial.inputs if isinstance(x, np.ndarray)]):
        yield Finding("mutated", trial.where, "the forward changes an input in place")
        return
    u = cotangent(trial.problem.value(xs), rng)
    before = u.copy()
    pull(u)
    if not _same(xs, trial.xs):
        yield Finding("mutated", trial.where, "a rule changes an input in place")
    elif not np.array_equal(u, before):
        yield Finding("mutated", trial.where, "a rule changes the cotangent in place")


def _same(many: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(many, others, strict=True))


def linear_in_g(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """``rule(2 g - 3 h) = 2 rule(g) - 3 rule(h)``."""
    y = trial.problem.value(trial.xs)
    pull = trial.problem.pullback(trial.xs)
    g, h = cotangent(y, rng), cotangent(y, rng)
    for slot, whole, a, b in zip(trial.slots, pull(2 * g - 3 * h), pull(g), pull(h), strict=True):
        size = 2 * abs(a) + 3 * abs(b)
        if whole.size and not (abs(whole - (2 * a - 3 * b)) <= 1e-10 * size.max() + 1e-300).all():
            yield Finding("nonlinear", trial.where, f"the rule for input {slot} is not linear in g")


def repeatable(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """The same inputs give the same bits, forward and backward."""
    y = trial.problem.value(trial.xs)
    u = cotangent(y, rng)
    if not _same([trial.problem.value(trial.xs)], [y]):
        yield Finding("nondeterministic", trial.where, "two runs of the forward differ")
    elif not _same(trial.problem.pullback(trial.xs)(u), trial.problem.pullback(trial.xs)(u)):
        yield Finding("nondeterministic", trial.where, "two runs of the rules differ")


def fresh_value(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """The value of a later call is right too: no state of the first call remains."""
    if forward(trial, _close_by(trial, rng))[1]:
        yield Finding("stale", trial.where, "the value is right in a first call, wrong in a later one")


def fresh_gradient(trial: Trial, slope: Slope, rng: np.random.Generator) -> Iterator[Finding]:
    """The gradient of a later call is right too."""
    place = find_place(trial.problem, _close_by(trial, rng), rng)
    if not place.stuck and compare(trial.problem, place.xs, slope, rng, 1e-9, 0, directions=2).verdict == "FAIL":
        yield Finding("stale", trial.where, "the gradient is right in a first call, wrong in a later one")


def _close_by(trial: Trial, rng: np.random.Generator) -> list[np.ndarray]:
    """Other inputs of the same shapes, signs and domains."""
    return [x * (1 + 1e-3 * rng.uniform(-1, 1, x.shape)) for x in trial.xs]


def layout(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """Inputs and cotangents that are not contiguous give the same result."""
    y = trial.problem.value(trial.xs)
    spread = [_spread(x) for x in trial.xs]
    u = cotangent(y, rng)
    if _difference(trial.problem.value(spread), y)[0] > CLOSE:
        yield Finding("layout", trial.where, "the value depends on the memory layout of the inputs")
    pairs = [(trial.problem.pullback(spread)(_spread(u)), trial.problem.pullback(trial.xs)(u))]
    flat = np.broadcast_to(y.dtype.type(0.7), y.shape)  # as it comes from a sum
    pull = trial.problem.pullback(trial.xs)
    pairs.append((pull(flat), pull(flat.copy())))
    for odd, plain in pairs:
        if not all(np.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(odd, plain, strict=True)):
            yield Finding("layout", trial.where, "the gradient depends on the memory layout of the inputs or of g")
            return


def _spread(x: np.ndarray) -> np.ndarray:
    """The same values, in Fortran order and with gaps between them."""
    buffer = np.full((*x.shape[::-1], 2), np.nan, x.dtype)
    buffer[..., 0] = x.T
    return buffer[..., 0].T


def linear(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """A primitive that is declared linear is: f(x + v) - f(x) = f(v) - f(0) in each input."""
    value = trial.problem.value
    for k, x in enumerate(trial.xs):
        v = rng.standard_normal(x.shape)

        def at(new: np.ndarray, k: int = k) -> np.ndarray:
            return value([new if j == k else other for j, other in enumerate(trial.xs)])

        here, there = at(x + v) - at(x), at(v) - at(np.zeros_like(x))
        if _difference(here, there)[0] > 1e-10 and abs(here - there).max() > 1e-10:
            yield Finding("metadata", trial.where, f"it is declared linear and is not, in input {trial.slots[k]}")


def single_precision(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """float32 stays float32, forward and backward, and agrees with float64."""
    xs = [x.astype(np.float32) for x in trial.xs]
    parameters = {k: _single(v) for k, v in trial.parameters.items()}
    sample = Sample(tuple(map(_single, trial.inputs)), parameters, tuple(trial.slots))
    problem = Trial(trial.primitive, sample, trial.oracle, trial.number).problem
    y64, y32 = trial.problem.value(trial.xs), problem.value(xs)
    if y64.dtype == np.float64 and y32.dtype != np.float32:
        yield Finding("dtype", trial.where, f"float32 inputs give a value of {y32.dtype}")
        return
    if not np.allclose(y32, y64, rtol=SINGLE, atol=SINGLE * (abs(y64).max(initial=0.0) or 1.0), equal_nan=True):
        yield Finding("dtype", trial.where, "the value in float32 disagrees with float64")
    u = cotangent(y64, rng)
    pairs = zip(problem.pullback(xs)(u.astype(y32.dtype)), trial.problem.pullback(trial.xs)(u), strict=True)
    for slot, (g32, g64) in zip(trial.slots, pairs, strict=True):
        if g32.dtype != np.float32:
            yield Finding("dtype", trial.where, f"the gradient of float32 input {slot} is {g32.dtype}")
            continue
        largest = abs(g64).max(initial=0.0) + abs(u).max(initial=0.0)
        if not np.allclose(g32, g64, rtol=SINGLE, atol=SINGLE * largest):
            yield Finding("dtype", trial.where, f"the gradient of input {slot} in float32 disagrees with float64")


def _single(x: Any) -> Any:
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x


def kernel_is_definition(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """A fused kernel gives what the composition that defines it gives, forward and backward."""
    y = trial.problem.value(trial.xs)
    u = cotangent(y, rng)
    kernel = trial.problem.pullback(trial.xs)(u)
    with definitions():
        truth = trial.problem.value(trial.xs)
        composed = trial.problem.pullback(trial.xs)(u)
    if y.shape != truth.shape or y.dtype != truth.dtype:
        message = f"the kernel gives {y.dtype}{list(y.shape)}, the definition {truth.dtype}{list(truth.shape)}"
        yield Finding("definition", trial.where, message)
        return
    error, index = _difference(y, truth)
    if error > CLOSE:
        message = "the forward kernel is not its definition"
        yield Finding("definition", trial.where, message, index, float(truth[index]), float(y[index]))
    for slot, a, b in zip(trial.slots, kernel, composed, strict=True):
        error, index = _difference(a, b)
        if error > 1e-10 and abs(a - b).max() > 1e-12 * abs(u).max(initial=1.0):
            message = f"the backward kernel is not that of the definition, for input {slot}"
            yield Finding("definition", trial.where, message, index, float(b[index]), float(a[index]))


def formulas_can_run(trial: Trial) -> bool:
    """A parameter that is None (an open side of clip) stands in no expression."""
    return all(v is not None for v in trial.parameters.values())


def values_of(trial: Trial, xs: list[np.ndarray]) -> dict[str, Any]:
    """What the names in a formula stand for."""
    return dict(zip(trial.primitive.arguments, trial.arguments(xs), strict=True)) | trial.parameters


def formulas_hold(trial: Trial, rng: np.random.Generator) -> Iterator[Finding]:
    """The formulas of the value and of each rule, evaluated, give the value and the gradients."""
    p, xs = trial.primitive, trial.xs
    y = trial.problem.value(xs)
    values = values_of(trial, xs)
    if not _holds(np.broadcast_to(formulas.evaluate(p.formula, values), y.shape), y):
        yield Finding("formula", trial.where, f"the value is not its formula, {p.formula}")
    u = cotangent(y, rng)
    for slot, got in zip(trial.slots, trial.problem.pullback(xs)(u), strict=True):
        formula = p.rule_formulas.get(p.arguments[slot], "")
        if not formula:
            continue
        expected = formulas.evaluate(formula, values | {"g": u, "y": y})
        expected = formulas.sum_to(np.broadcast_to(expected, y.shape), got.shape)
        if not _holds(expected, got):
            yield Finding("formula", trial.where, f"the rule for {p.arguments[slot]!r} is not its formula, {formula}")


def _holds(expected: np.ndarray, got: np.ndarray) -> bool:
    """Does a formula, written for reading, give these values wherever it does not overflow?"""
    finite = np.isfinite(expected) | ~np.isfinite(got)
    return bool(finite.any() or not got.size) and _difference(got[finite], expected[finite])[0] <= 1e-10
