"""check_rules: every rule of every primitive, against oracles that ask no rule."""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..core.fused import Fused
from ..core.primitive import Primitive, registry
from . import contract, formulas, slopes
from . import samples as samples_package
from .compare import Comparison, compare
from .diagnosis import Finding, diagnose
from .function import EXACT, argument_of, kind_of, refuse_overrides
from .kinks import find_place
from .oracle import TOLERANCE as DIFFERENCES
from .oracle import doubt
from .problem import Gradient, Problem
from .report import Report
from .samples import SAMPLES, Entry
from .trial import Trial

COLUMNS = ("primitive", "kind", "samples", "forward", "order 1", "order 2", "moved", "verdict")
ENTRIES = 2500  # Jacobians up to this size are compared whole
CAUSES = ("mutated", "metadata", "stale", "forward", "nonlinear", "dtype")  # these make derivatives look wrong, too
SHOWN = 4  # findings shown per primitive

SLOPES = {"linear": slopes.linear, "analytic": slopes.complex_step, "piecewise": slopes.differences}


@dataclass
class Failure:
    """A comparison that failed, and of what."""

    order: int
    comparison: Comparison
    trial: Trial


@dataclass
class Outcome:
    """What the samples of one primitive showed."""

    primitive: Primitive
    samples: int = 0
    forward: float = 0.0
    errors: dict[int, float] = field(default_factory=dict)  # order -> worst error
    near: int = 0
    points: int = 0
    findings: list[Finding] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    formulas_run: int = 0

    @property
    def verdict(self) -> str:
        if not self.findings:
            return "PASS"
        kinds = {f.kind for f in self.findings}
        if kinds <= {"kink", "inconclusive"}:
            return "KINK" if kinds == {"kink"} else "INCONCLUSIVE"
        return "FAIL"

    def row(self) -> tuple[str, ...]:
        def error(order: int) -> str:
            return f"{self.errors[order]:.0e}" if order in self.errors else "-"

        p = self.primitive
        kind = f"fused, {p.kind}" if isinstance(p, Fused) else p.kind
        moved = f"{self.near}/{self.points}" if self.points else "-"
        return p.name, kind, str(self.samples), f"{self.forward:.0e}", error(1), error(2), moved, self.verdict


def check_rules(primitive: Any = None, seed: int = 0) -> Report:
    """Check the value and the rules of one primitive, or of all there are.

    For each sample of each primitive: the value against an independent oracle; the first derivative by the oracle its
    kind asks for (adjoint identity for linear, complex step for analytic, extrapolated differences with an error bar
    for piecewise); the second through the rules themselves; the contract (rules linear in g, inputs untouched, the
    same bits twice, float32 stays float32, any memory layout); a fused kernel against its definition; the formulas, by
    running them. A primitive without samples, oracle, formula or the formula of a rule fails.

    primitive: a primitive, its public function, its name, or None for the whole registry.
    """
    refuse_overrides("check_rules")
    load()
    chosen = [find(primitive)] if primitive is not None else [registry[name] for name in sorted(registry)]
    outcomes = [check_primitive(p, seed) for p in chosen]
    verdicts = {outcome.verdict for outcome in outcomes}
    verdict = next((v for v in ("FAIL", "INCONCLUSIVE", "KINK") if v in verdicts), "PASS")
    title = f"check_rules of {chosen[0].name}" if len(chosen) == 1 else f"check_rules of {len(chosen)} primitives"
    findings = [f for outcome in outcomes for f in outcome.findings[:SHOWN]]
    return Report(title, verdict, COLUMNS, [outcome.row() for outcome in outcomes], findings)


def load() -> None:
    """Import every file of primitives and of samples, so that the registry is complete."""
    for package in (ops, samples_package):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def find(primitive: Any) -> Primitive:
    """The primitive itself, that of a public function, or the one of this name."""
    if isinstance(primitive, str):
        if primitive not in registry:
            raise KeyError(f"no primitive is called {primitive!r}: one of {', '.join(sorted(registry))}")
        return registry[primitive]
    target = getattr(primitive, "primitive", primitive)
    if not isinstance(target, Primitive):
        raise TypeError(f"check_rules needs a primitive, its public function or its name; got {primitive!r}")
    return target


def check_primitive(p: Primitive, seed: int = 0) -> Outcome:
    """All checks of one primitive. The draws depend on the seed and its name alone."""
    outcome = Outcome(p)
    entry = SAMPLES.get(p.name)
    outcome.findings += metadata(p, entry)
    if entry is None:
        return outcome
    rng = np.random.default_rng([seed, zlib.crc32(p.name.encode())])
    drawn = list(entry.draw(rng))
    drawn += contract.derived(p, drawn)
    outcome.samples = len(drawn)
    covered: set[str] = set()
    for number, sample in enumerate(drawn):
        trial = Trial(p, sample, entry.oracle, number)
        covered |= {argument_of(p, i).partition("[")[0] for i in trial.slots}
        try:
            _check_sample(trial, entry, outcome, rng)
        except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError, slopes.NotAnalytic) as error:
            outcome.findings.append(Finding(kind_of(error), trial.where, str(error)))
    outcome.findings += metadata_of_arguments(p, covered)
    outcome.findings = _once([*_diagnosed(outcome.failures, rng), *outcome.findings])
    if outcome.near and outcome.near == outcome.points:
        message = f"all {outcome.points} points are near a kink: nothing was checked"
        outcome.findings.append(Finding("kink", p.name, message))
    if p.elementwise and drawn and not outcome.formulas_run and not isinstance(p, Fused):
        message = "no sample could run its formulas: a parameter is None in each"
        outcome.findings.append(Finding("metadata", p.name, message))
    return outcome


def metadata(p: Primitive, entry: Entry | None) -> Iterator[Finding]:
    """What every primitive must say of itself."""
    if entry is None:
        yield Finding("metadata", p.name, "it has no samples and no oracle in minidl.check.samples")
    elif not callable(entry.oracle):
        yield Finding("metadata", p.name, "it has no oracle for its value")
    if not p.formula:
        yield Finding("metadata", p.name, "it has no formula")
    if isinstance(p, Fused) and p.reverse is None:
        yield Finding("metadata", p.name, "it is fused and has no backward kernel")
    if p.kind == "piecewise" and p.kink is None and not isinstance(p, Fused):
        yield Finding("metadata", p.name, "it is piecewise and has no kink function")


def metadata_of_arguments(p: Primitive, covered: set[str]) -> Iterator[Finding]:
    """Every argument that a sample differentiates needs a rule with a formula, every rule a sample."""
    if isinstance(p, Fused):
        if not any(p.rule_formulas.values()):
            yield Finding("metadata", p.name, "its backward kernel has no formula")
        return
    for argument in sorted(covered - set(p.rules)):
        yield Finding("metadata", p.name, f"{argument!r} has no rule")
    for argument in sorted(set(p.rules) - covered):
        yield Finding("metadata", p.name, f"no sample differentiates {argument!r}")
    for argument in sorted(set(p.rules)):
        if not p.rule_formulas.get(argument):
            yield Finding("metadata", p.name, f"the rule for {argument!r} has no formula")


def _check_sample(trial: Trial, entry: Entry, outcome: Outcome, rng: np.random.Generator) -> None:
    p = trial.primitive
    error, finding = contract.forward(trial, trial.xs)
    outcome.forward = max(outcome.forward, error)
    if finding:
        outcome.findings.append(finding)
    elif trial.slots:
        outcome.findings += contract.fresh_value(trial, rng)
    if not trial.slots:
        return
    untouched = list(contract.untouched(trial, rng))
    outcome.findings += untouched
    if untouched:
        return  # the inputs are not what they were
    place = find_place(trial.problem, trial.xs, rng)
    outcome.near, outcome.points = outcome.near + place.near, outcome.points + place.points
    if place.stuck:
        outcome.findings.append(Finding("kink", trial.where, "no small move of the inputs leads away from the kink"))
        return
    trial.xs = place.xs
    broken = list(contract.linear_in_g(trial, rng))
    outcome.findings += broken
    slope = SLOPES[p.kind]
    if not broken and _compare(1, trial.problem, trial.xs, slope, trial, outcome, rng):
        second = Gradient(trial.problem)
        u = rng.standard_normal(trial.problem.value(trial.xs).shape)
        slope = slopes.complex_step if p.kind != "piecewise" and entry.keeps_dtype else slopes.differences
        _compare(2, second, [*trial.xs, u], slope, trial, outcome, rng)
        slope = _confirmed(SLOPES[p.kind], trial.problem, trial.xs, rng)
        outcome.findings += contract.fresh_gradient(trial, slope, rng)
    outcome.findings += contract.repeatable(trial, rng)
    outcome.findings += contract.layout(trial, rng)
    if p.kind == "linear":
        outcome.findings += contract.linear(trial, rng)
    if entry.keeps_dtype:
        outcome.findings += contract.single_precision(trial, rng)
    if isinstance(p, Fused):
        outcome.findings += contract.kernel_is_definition(trial, rng)
    elif p.elementwise and contract.formulas_can_run(trial):
        outcome.formulas_run += 1
        outcome.findings += contract.formulas_hold(trial, rng)


def _confirmed(slope: slopes.Slope, problem: Problem, xs: list[np.ndarray], rng: np.random.Generator) -> slopes.Slope:
    """The complex step only where differences confirm it."""
    return slopes.differences if slope is slopes.complex_step and doubt(problem, xs, rng) else slope


def _compare(
    order: int,
    problem: Problem,
    xs: list[np.ndarray],
    slope: slopes.Slope,
    trial: Trial,
    outcome: Outcome,
    rng: np.random.Generator,
) -> bool:
    slope = _confirmed(slope, problem, xs, rng)
    tolerance = DIFFERENCES if slope is slopes.differences else EXACT
    result = compare(problem, xs, slope, rng, tolerance, ENTRIES)
    outcome.errors[order] = max(outcome.errors.get(order, 0.0), result.error)
    if result.verdict == "FAIL":
        outcome.failures.append(Failure(order, result, trial))
    elif result.verdict == "INCONCLUSIVE":
        k, index = result.unknown
        place = f"input {k}" + ("" if index is None else f" at {list(index)}")
        message = f"order {order}: the oracle has no value for {place}; the widest error bar is {result.bar:.0e}"
        outcome.findings.append(Finding("inconclusive", trial.where, message))
    return result.verdict == "PASS"


def _diagnosed(failures: list[Failure], rng: np.random.Generator) -> Iterator[Finding]:
    """One finding per order and argument, from the sample with the most entries: it says most."""
    groups: dict[tuple[int, int], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.order, failure.comparison.argument), []).append(failure)
    for (order, k), group in sorted(groups.items(), key=lambda item: item[0]):
        f = max(group, key=lambda f: f.comparison.gradient.size)
        c, trial = f.comparison, f.trial
        kind, message = diagnose(c, rng)
        if order == 1 and kind not in ("zero", "sign", "factor"):
            kind, message = next(_dropped_parts(f), (kind, message))
        slots = trial.slots
        name = repr(argument_of(trial.primitive, slots[k])) if k < len(slots) else "g"
        where = f"{trial.primitive.name}, order {order}, the rule for {name}, sample {trial.number}"
        yield Finding(kind, where, message, c.index, c.expected, c.got)


def _dropped_parts(f: Failure) -> Iterator[tuple[str, str]]:
    """Does the wrong rule compute its formula with a term or a factor left out?"""
    trial, c = f.trial, f.comparison
    p = trial.primitive
    argument = p.arguments[trial.slots[c.argument]] if not p.variadic else ""
    formula = p.rule_formulas.get(argument, "")
    if not p.elementwise or not formula or not contract.formulas_can_run(trial):
        return
    values = contract.values_of(trial, c.xs) | {"g": c.cotangent, "y": trial.problem.value(c.xs)}
    for kind, message, value in formulas.without_a_part(formula, values):
        value = formulas.sum_to(np.broadcast_to(value, c.cotangent.shape), c.gradient.shape)
        if np.allclose(value, c.gradient, rtol=1e-9, atol=1e-12):
            yield kind, message


def _once(findings: list[Finding]) -> list[Finding]:
    """The first finding of each kind and argument; what explains the others comes first."""
    first: dict[Any, Finding] = {}
    for f in findings:
        first.setdefault((f.kind, f.where.rpartition(", sample")[0] or f.where), f)
    return sorted(first.values(), key=lambda f: CAUSES.index(f.kind) if f.kind in CAUSES else len(CAUSES))
