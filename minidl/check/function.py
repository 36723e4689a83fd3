"""gradcheck: is the gradient of this function right?"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.fused import Fused
from ..core.primitive import Primitive, overridden
from ..core.tensor import Node, Tensor
from ..device import to_device
from . import slopes
from .compare import Comparison, compare, cotangent
from .diagnosis import Finding, Suspect, diagnose, locate
from .kinks import Place, find_place, find_unseen, unequal
from .oracle import TOLERANCE as DIFFERENCES
from .oracle import doubt
from .pair import Pair, Stopped
from .problem import Gradient, Graph, Problem, placed
from .report import Compared, Report
from .sweep import Sweep, sweep

EXACT = 1e-12  # tolerance of complex step and adjoint pairs, relative to sum |v u|
COARSE = 500.0  # tolerance of a function that works in lower precision: this many roundings
COLUMNS = ("order", "oracle", "compared", "worst error", "tolerance", "error bar", "verdict")


def gradcheck(
    f: Callable[..., Tensor],
    inputs: Any,
    *,
    backward: Callable[..., Any] | bool | None = None,
    order: int = 1,
    seed: int = 0,
    tolerance: float | None = None,
    entries: int = 10_000,
) -> Report:
    """Check the gradient of ``f(*inputs)``, any function of Tensors that gives one Tensor, of any shape.

    The oracle asks no rule. If all that `f` does is analytic (its graph tells, and differences confirm it) it is the
    complex step, exact to rounding; else central differences over a sweep of steps, extrapolated, with an error bar.
    Where it has no value, as on the edge of the domain of `f`, the verdict is INCONCLUSIVE, unless another entry is
    wrong. Cotangents are random. The whole Jacobian is compared if it has at most `entries` entries, else several
    random directions. Inputs near a kink are moved, and counted. ``order=2`` checks the gradient of the gradient as
    well, and so on.

    inputs: a tensor, array or float, or a list of them; floating ones are differentiated, in float64; integer and
    boolean ones are passed on. tolerance: relative to ``sum |v u|``; by default 1e-12 (tenfold for each further order),
    or 1e-9 in addition to the error bar of differences.

    backward: then `f` is a function of NumPy arrays, and `backward` the NumPy function that should give its gradients:
    ``backward(g, *inputs)`` with g shaped as the output; or, where `f` returns a tuple (y, cache), ``backward(g,
    cache)``, as in CS231n; or True, where `f` returns a number and its gradients. It returns one gradient for each
    floating array of `inputs`, in order, None for one that it leaves out. Other inputs (labels, a dictionary of
    settings) are passed on. Where inputs are equal, the gradient must fit in directions that keep them equal.

    Returns a `Report`: true if the verdict is PASS. A failure names the worst index, the kind of mistake (sign,
    factor, transposed, flipped, shifted, missing term, ...) and, where it can, the primitive whose rule is wrong.

    Raises TypeError or ValueError for inputs that cannot be checked, RuntimeError inside `md.override`.

        >>> report = md.gradcheck(lambda x: (x * F.tanh(x)).sum(), np.array([0.5, -1.0]))
        >>> bool(report), report.verdict
        (True, 'PASS')
    """
    refuse_overrides("gradcheck")
    if not callable(f):
        raise TypeError(f"gradcheck: f must be a function of Tensors, got {type(f).__name__}")
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"gradcheck: order must be 1, 2, ...; got {order!r}")
    report = Report(f"gradcheck of {getattr(f, '__name__', type(f).__name__)}", columns=COLUMNS)
    rng = np.random.default_rng(seed)
    if backward is None:
        call, xs, device, names = _read(f, inputs, report)
        problem = Problem(call, device)
        _require_output(problem, xs)
    else:
        if order > 1:
            raise ValueError("gradcheck: a NumPy backward has no gradient of its own: order must be 1")
        try:
            problem, xs, names = _read_pair(f, backward, inputs, report)
            fits = _fits(problem, xs, names, report)
        except Stopped as error:
            fits = _fail(report, Finding("error", "backward", f"it stopped with {error}"))
        if not fits:
            return report
    if not _repeats(problem, xs, rng, report):
        return report
    if backward is not None:
        tolerance = tolerance or DIFFERENCES
    met = [node.primitive for node in problem.graph(xs).nodes]
    known = backward is None and all(p.kink or p.kind != "piecewise" for p in met)
    place = (find_place if known else find_unseen)(problem, xs, rng)
    ties = unequal(problem, xs, rng) if place.near and not known else None
    if (ties is None or place.stuck) and not _describe_place(place, report):
        return report
    xs = place.xs
    for k in range(1, order + 1):
        if k > 1:
            problem, xs = Gradient(problem), [*xs, rng.standard_normal(problem.value(xs).shape)]
            names = [*names, f"the cotangent of order {k - 1}"]
        if not check_order(problem, xs, k, names, rng, tolerance, entries, report):
            break
    if ties is not None and report:
        report.measure = None
        _fail(report, Finding("ties", "where inputs are equal", ties))
    return report


def refuse_overrides(who: str) -> None:
    if overridden():
        raise RuntimeError(
            f"{who}: the rules of {', '.join(overridden())} are overridden; "
            "what comes back is not a gradient: leave the override block first"
        )


def _read(f: Callable, inputs: Any, report: Report) -> tuple[Callable, list[np.ndarray], str, list[str]]:
    """The function of its floating inputs alone; those inputs in float64; their device and names."""
    single = not isinstance(inputs, (list, tuple))
    every = [inputs] if single else list(inputs)
    if not every:
        raise ValueError("gradcheck: no inputs; pass the tensors or arrays that f takes")
    slots, xs, device = [], [], "cpu"
    for i, x in enumerate(every):
        if isinstance(x, Tensor):
            every[i] = x.detach()
            device = x.device if x.device == "gpu" else device
        elif not hasattr(x, "dtype") and not isinstance(x, (bool, int, float, complex)):
            raise TypeError(f"gradcheck: input {i} is a {type(x).__name__}; pass tensors, arrays or numbers")
        dtype = getattr(every[i], "dtype", np.dtype(type(x)))
        if dtype.kind == "c":
            raise TypeError(f"gradcheck: input {i} is complex ({dtype}); pass its real and imaginary parts")
        if dtype.kind == "f":
            slots.append(i)
            array = to_device(every[i].data if isinstance(x, Tensor) else np.asarray(x), "cpu")
            xs.append(array.astype(np.float64))
            if dtype != np.float64:
                report.notes.append(f"input {i} is {dtype}: checked in float64")
    if not slots:
        raise ValueError(f"gradcheck: none of the {len(every)} inputs is floating, so nothing can be differentiated")
    if not any(x.size for x in xs):
        raise ValueError("gradcheck: every floating input is empty, so there is nothing to compare")

    def call(*chosen: Tensor) -> Tensor:
        return f(*placed(every, slots, chosen))

    names = _argument_names(f, len(every))
    return call, xs, device, [f"input {i}{names[i]}" for i in slots]


def _read_pair(
    f: Callable, backward: Any, inputs: Any, report: Report
) -> tuple[Pair, list[np.ndarray], list[str]]:
    """The pair, the inputs that it has gradients for, in float64, and their names."""
    if backward is not True and not callable(backward):
        raise TypeError(f"gradcheck: backward must be a function, or True, got {type(backward).__name__}")
    every = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    every = [x.numpy() if isinstance(x, Tensor) else x for x in every]
    floating = [i for i, x in enumerate(every) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    slots = floating or [i for i, x in enumerate(every) if isinstance(x, (float, np.floating))]
    if not slots:
        raise ValueError(f"gradcheck: none of the {len(every)} inputs is floating, so nothing can be differentiated")
    lower = [i for i in floating if every[i].dtype != np.float64]
    report.notes += [f"input {i} is {every[i].dtype}: checked in float64" for i in lower]
    problem = Pair(f, backward, every, slots, _argument_names(f, len(every)))
    problem.claimed([np.asarray(every[i], np.float64) for i in slots])
    left = [problem.name(i) for i in slots if i not in problem.slots]
    if left:
        report.notes.append(f"{', '.join(left)}: backward returns no gradient, so none was checked")
    xs = [np.asarray(every[i], np.float64) for i in problem.slots]
    return problem, xs, [problem.name(i) for i in problem.slots]


def _fits(problem: Pair, xs: list[np.ndarray], names: list[str], report: Report) -> bool:
    """Does backward run, and are its results shaped as the inputs?"""
    findings = list(problem.shapes(xs, names))
    report.notes += problem.manners(xs)
    report.findings += findings
    report.verdict = "FAIL" if findings else report.verdict
    return not findings


def _argument_names(f: Callable, count: int) -> list[str]:
    """' (x)' for each argument whose name is known, '' for the others."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    names = [f" ({p.name})" for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*names, *[""] * count][:count]


def _require_output(problem: Problem, xs: list[np.ndarray]) -> None:
    _, y = problem.run(xs)
    if not isinstance(y, Tensor):
        several = f" of {len(y)}" if isinstance(y, (tuple, list)) else ""
        raise TypeError(f"gradcheck: f must return one Tensor, got {type(y).__name__}{several}")
    if y.dtype.kind != "f":
        raise TypeError(f"gradcheck: f returns {y.dtype}, which has no gradient; it must return floating numbers")
    if not y.size:
        raise ValueError(f"gradcheck: f returns an empty tensor of shape {y.shape}, so there is nothing to compare")


def _repeats(problem: Problem, xs: list[np.ndarray], rng: np.random.Generator, report: Report) -> bool:
    """Twice the same bits, finite, and the inputs left alone?"""
    before = [x.copy() for x in xs]
    first, second = problem.value(xs), problem.value(xs)
    if not all(np.array_equal(x, b, equal_nan=True) for x, b in zip(xs, before, strict=True)):
        return _fail(report, Finding("mutated", "f", "f changed an input in place"))
    if first.shape != second.shape or not np.array_equal(first, second, equal_nan=True):
        return _fail(
            report,
            Finding("nondeterministic", "f", "two runs on the same inputs gave different values"),
            "NONDETERMINISTIC",
        )
    if not np.isfinite(first).all():
        bad = int((~np.isfinite(first)).sum())
        return _fail(
            report,
            Finding("not finite", "f", f"{bad} of {first.size} values of f are not finite at these inputs"),
            "INCONCLUSIVE",
        )
    u = rng.standard_normal(first.shape)
    try:
        grads = [problem.pullback(xs)(u) for _ in range(3)]
    except (TypeError, ValueError, IndexError) as error:
        return _fail(report, Finding(kind_of(error), "a rule", f"the backward pass stopped: {error}"))
    if not all(np.array_equal(a, b, equal_nan=True) for a, b, _ in zip(*grads, strict=True)):
        if all(np.allclose(c - b, b - a) for a, b, c in zip(*grads, strict=True)):
            words = "each backward pass adds its gradients to those of the last one"
            return _fail(report, Finding("stale", "f", words))
        finding = Finding("nondeterministic", "f", "two backward passes on the same inputs gave different gradients")
        return _fail(report, finding, "NONDETERMINISTIC")
    return True


def kind_of(error: Exception) -> str:
    """The kind of mistake behind an error that the engine's invariants raised."""
    text = str(error)
    if "must return what the argument is" not in text:
        return "error"
    shapes = [part.split(", ") for part in re.findall(r"\[(.*?)\]", text)]
    if len(shapes) < 2:
        return "error"
    *_, expected, got = shapes
    if expected == got:
        return "dtype"
    return "transposed" if sorted(expected) == sorted(got) else "shape"


def _fail(report: Report, finding: Finding, verdict: str = "FAIL") -> bool:
    report.verdict = verdict
    report.findings.append(finding)
    return False


def _describe_place(place: Place, report: Report) -> bool:
    if place.stuck:
        message = f"{place.near} of {place.points} points are near a kink, and no small move of the inputs leads away"
        return _fail(report, Finding("kink", "f", message), "KINK")
    if place.near and place.near == place.points:
        message = f"all {place.points} points are near a kink: here f has no derivative to check"
        return _fail(report, Finding("kink", "f", message), "KINK")
    if place.near:
        report.notes.append(f"{place.near} of {place.points} points were near a kink: the inputs were moved a little")
    return True


def check_order(
    problem: Problem,
    xs: list[np.ndarray],
    order: int,
    names: Sequence[str],
    rng: np.random.Generator,
    tolerance: float | None,
    entries: int,
    report: Report,
) -> bool:
    """Compare, add a row to the report, and on failure say what is wrong."""
    graph = problem.graph(xs)
    coarse = COARSE * graph.precision if graph.precision > 1e-12 else 0.0
    if coarse:
        report.notes.append(f"part of f works at precision {graph.precision:.0e}: the tolerance is {coarse:.0e}")
    note = doubt(problem, xs, rng) if graph.smooth else "f is piecewise"
    if note and graph.smooth:
        report.notes.append(f"{note}: differences instead")
    if note:
        slope, oracle, allowed = slopes.differences, "differences", max(tolerance or DIFFERENCES, coarse)
    else:
        slope, oracle = slopes.complex_step, "complex step"
        allowed = max(tolerance or EXACT * 10 ** (order - 1), coarse)  # each pass adds its rounding errors
    result = compare(problem, xs, slope, rng, allowed, entries)
    numbers = f"{result.error:.1e}", f"{allowed:.0e}", f"{result.bar:.1e}"
    report.rows.append((str(order), oracle, result.extent, *numbers, result.verdict))
    report.compared = [Compared(f"order {order}, {names[k]}", e) for k, e in result.entries.items()]
    report.measure = lambda: _sweep(result)
    if result.verdict == "PASS":
        return True
    report.verdict = result.verdict
    if result.verdict == "FAIL":
        report.findings.append(_explain(result, names, rng, graph, order))
    else:
        report.findings.append(_unknown(result, order, names))
    return False


def _unknown(result: Comparison, order: int, names: Sequence[str]) -> Finding:
    """Where the oracle has no value."""
    k, index = result.unknown
    at = "" if index is None else f" at {list(index)}"
    if index is not None and not result.inside[k][index]:
        message = f"no oracle has a value at the edge of the domain of f: the input is {result.xs[k][index]:.9g}{at}"
    else:
        message = f"the error bar of the differences is {result.bar:.0e} wide{at}: too rough or too steep to tell"
    return Finding("inconclusive", f"order {order}, {names[k]}", message)


def _explain(result: Comparison, names: Sequence[str], rng: np.random.Generator, graph: Graph, order: int) -> Finding:
    if result.jacobian is None:
        result.index, result.expected, result.got = locate(Suspect(result, rng))
    kind, message = diagnose(result, rng)
    where = f"order {order}, {names[result.argument]}"
    culprit, all_checked = find_culprit(graph, rng)
    if culprit is not None:
        name, argument, (kind, message) = culprit
        where = f"{where} (the rule of {name} for {argument!r})"
    elif all_checked and order == 1:
        kind = "missing term" if kind == "unknown" else kind
        message += "; every rule met is right, so a dependence left the graph (detach, .data or NumPy)"
    return Finding(kind, where, message, result.index, result.expected, result.got)


def _sweep(result: Comparison) -> Sweep:
    """Along the input that is worst; if none is wrong at all, along the first that is not empty."""
    problem, xs = result.problem, result.xs
    u, gradient, k = result.cotangent, result.gradient, result.argument
    if not gradient.size:
        k = next(i for i, x in enumerate(xs) if x.size)
        u = cotangent(problem.value(xs), np.random.default_rng(0))
        gradient = problem.pullback(xs)(u)[k]
    chosen = result.inside[k] & np.isfinite(gradient)
    return sweep(problem, xs, k, u, np.where(chosen, gradient, 0.0), result.slope, chosen, seed=0)


def find_culprit(graph: Graph, rng: np.random.Generator) -> tuple[tuple[str, str, tuple[str, str]] | None, bool]:
    """The first primitive met whose own rule is wrong, on the inputs it met; and whether all could be checked."""
    checked, complete = set(), bool(graph.nodes)
    for node in graph.nodes:
        key = node.primitive.name, tuple(getattr(x, "shape", None) for x in node.inputs)
        if key in checked or isinstance(node.primitive, Fused):
            continue
        checked.add(key)
        try:
            wrong = _wrong_rule(node, rng)
        except (TypeError, ValueError, ArithmeticError, slopes.NotAnalytic):
            complete = False
            continue
        if wrong is not None:
            return wrong, complete
    return None, complete


def _wrong_rule(node: Node, rng: np.random.Generator) -> tuple[str, str, tuple[str, str]] | None:
    slots = [i for i, x in enumerate(node.inputs) if isinstance(x, Tensor) and x.node is not None]
    if not all(node.inputs[i].dtype == np.float64 for i in slots):
        return None
    held = [x.detach() if isinstance(x, Tensor) else x for x in node.inputs]
    problem = Problem(lambda *chosen: node.primitive(*placed(held, slots, chosen), **node.parameters))
    xs = [node.inputs[i].numpy() for i in slots]
    smooth = node.primitive.kind != "piecewise" and not doubt(problem, xs, rng)
    slope = slopes.complex_step if smooth else slopes.differences
    result = compare(problem, xs, slope, rng, DIFFERENCES, 2500)
    if result.verdict != "FAIL":
        return None
    mistake = diagnose(result, rng)
    return node.primitive.name, argument_of(node.primitive, slots[result.argument]), mistake


def argument_of(primitive: Primitive, i: int) -> str:
    """The name of the i-th input."""
    return f"{primitive.arguments[-1]}[{i}]" if primitive.variadic else primitive.arguments[i]
