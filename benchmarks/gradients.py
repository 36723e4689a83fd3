"""Analytic against numerical gradients: what each costs, and how exact each can be.

    python -m benchmarks.gradients [PRIMITIVE ...] [--json PATH] [--figure PATH]

For every primitive, f(x) = <v, primitive(x)> with random v, along a random direction d. The analytic derivative is
<f'(x), d> by one backward pass. The numerical ones need no rule:

    forward     (f(x + h d) - f(x)) / h                       error ~ h        + e/h
    central     D(h) = (f(x + h d) - f(x - h d)) / 2h         error ~ h^2      + e/h
    Richardson  (4 D(h/2) - D(h)) / 3                         error ~ h^4      + e/h
    complex     Im f(x + i h d) / h                           error ~ h^2, no round-off: h may be 1e-20

(e is the precision of the dtype times the size of f.) Errors are relative to sum |v_i| |J d|_i. The numerical methods
are held against the rule in float64; the rule, in the dtype at hand, against the complex step in float64 where the
primitive is analytic, against itself in float64 elsewhere. The cost of a numerical gradient is what all n entries of x
need: n + 1, 2n, 4n and n evaluations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl.check import samples
from minidl.check.rules import load
from minidl.core.context import definitions
from minidl.core.fused import Fused
from minidl.core.primitive import Primitive, registry

from .harness.meters import Clock, repeat
from .harness.report import as_text, command, save

METHODS = ("forward", "central", "Richardson", "complex")
EVALUATIONS = {
    "forward": lambda n: n + 1,
    "central": lambda n: 2 * n,
    "Richardson": lambda n: 4 * n,
    "complex": lambda n: n,
}
STEPS = [10 ** (-k / 2) for k in range(1, 41)]  # 0.3 to 1e-20


@dataclass
class Line:
    """One primitive along one line: t -> <v, primitive(x + t d)>."""

    primitive: Primitive
    inputs: list
    parameters: dict
    varied: list[int]  # which inputs move
    cotangent: np.ndarray
    direction: dict[int, np.ndarray]
    scale: float = 1.0  # sum |v| |J d|: the size of the derivative's terms

    @property
    def n(self) -> int:
        return sum(self.inputs[i].size for i in self.varied)

    def value(self, t: complex | float, dtype: Any) -> Any:
        """f at x + t d, computed in `dtype`, its products with v added up in double precision."""
        wide = np.result_type(dtype, np.complex64) if isinstance(t, complex) else dtype
        moved = [
            (x + t * self.direction[i]).astype(wide) if i in self.direction else cast(x, wide)
            for i, x in enumerate(self.inputs)
        ]
        y = self._run(moved, isinstance(t, complex)).data
        return (self.cotangent * y.astype(np.complex128 if isinstance(t, complex) else np.float64)).sum()

    def _run(self, inputs: list, exact: bool) -> md.Tensor:
        if exact and isinstance(self.primitive, Fused):  # kernels are real: the definition runs on complex numbers
            with definitions():
                return self.primitive(*inputs, **self.parameters)
        return self.primitive(*inputs, **self.parameters)

    def analytic(self, dtype: Any) -> float:
        """<f'(x), d> by one forward and one backward pass."""
        tensors = [cast(x, dtype) for x in self.inputs]
        for i in self.varied:
            tensors[i] = md.Tensor(tensors[i], requires_grad=True)
        y = self.primitive(*tensors, **self.parameters)
        grads = md.grad(y, [tensors[i] for i in self.varied], self.cotangent.astype(y.dtype), allow_unused=True)
        pairs = zip(self.varied, grads, strict=True)
        return float(sum((g.data.astype(float) * self.direction[i]).sum() for i, g in pairs if g is not None))


def cast(x: Any, dtype: Any) -> Any:
    """A floating array in another dtype; anything else as it is."""
    return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def line_of(name: str, seed: int = 0) -> Line | None:
    """The first sample of a primitive that has something to differentiate."""
    entry = samples.SAMPLES[name]
    rng = np.random.default_rng(seed)
    for sample in entry.draw(rng):
        floats = [i for i, x in enumerate(sample.inputs) if getattr(x, "dtype", None) == np.float64 and x.size]
        varied = [i for i in floats if sample.differentiate is None or i in sample.differentiate]
        y = entry.primitive(*sample.inputs, **sample.parameters)
        if varied and y.size and y.dtype == np.float64:
            direction = {i: rng.normal(size=sample.inputs[i].shape) for i in varied}
            v = rng.normal(size=y.shape)
            line = Line(entry.primitive, list(sample.inputs), sample.parameters, varied, v, direction)
            line.scale = scale_of(line)
            return line
    return None


def scale_of(line: Line) -> float:
    """sum over outputs of |v| |J d|, by a central difference: an order of magnitude is enough."""
    h = 1e-6
    ends = []
    for t in (h, -h):
        inputs = [x + t * line.direction[i] if i in line.direction else x for i, x in enumerate(line.inputs)]
        ends.append(line.primitive(*inputs, **line.parameters).data)
    return float((abs(line.cotangent) * abs(ends[0] - ends[1])).sum() / (2 * h)) or 1.0


def estimate(line: Line, method: str, h: float, dtype: Any) -> float:
    """The derivative along d by one numerical method at one step."""

    def central(h: float) -> float:
        return float((line.value(h, dtype) - line.value(-h, dtype)) / (2 * h))

    if method == "forward":
        return float((line.value(h, dtype) - line.value(0.0, dtype)) / h)
    if method == "central":
        return central(h)
    if method == "Richardson":
        return (4 * central(h / 2) - central(h)) / 3
    return float(line.value(complex(0, h), dtype).imag / h)


@dataclass
class Comparison:
    """What was measured for one primitive and one dtype."""

    primitive: str
    kind: str
    dtype: str
    n: int
    analytic_us: float
    analytic_error: float
    numerical_us: dict[str, float] = field(default_factory=dict)  # for all n entries
    best_error: dict[str, float] = field(default_factory=dict)
    best_step: dict[str, float] = field(default_factory=dict)
    curve: dict[str, list[float]] = field(default_factory=dict)  # error at each of STEPS


def measure(line: Line, dtype: Any) -> Comparison:
    methods = METHODS if line.primitive.kind != "piecewise" else METHODS[:3]
    rule = line.analytic(np.float64)
    truth = estimate(line, "complex", 1e-20, np.float64) if "complex" in methods else rule
    row = Comparison(
        line.primitive.name,
        line.primitive.kind,
        np.dtype(dtype).name,
        line.n,
        microseconds(lambda: line.analytic(dtype)),
        abs(line.analytic(dtype) - truth) / line.scale,
    )
    for method in methods:
        errors = [abs(estimate(line, method, h, dtype) - rule) / line.scale for h in STEPS]
        errors = [e if np.isfinite(e) else np.inf for e in errors]  # a step out of the domain of log, say
        best = int(np.argmin(errors))
        t = 1e-20j if method == "complex" else 1e-3
        once = microseconds(lambda t=t: line.value(t, dtype))
        row.numerical_us[method] = once * EVALUATIONS[method](line.n)
        row.best_error[method], row.best_step[method], row.curve[method] = errors[best], STEPS[best], errors
    return row


def microseconds(call: Callable[[], Any], turns: int = 3) -> float:
    return 1e6 * min(Clock().times(partial(repeat, call), turns))


def text(rows: list[Comparison]) -> str:
    lines = [["primitive", "dtype", "n", "analytic", "error", *(w for m in METHODS for w in (m, "error", "at step"))]]
    for r in rows:
        cells = [r.primitive, r.dtype, f"{r.n}", f"{r.analytic_us:.0f} us", f"{r.analytic_error:.0e}"]
        for m in METHODS:
            if m in r.curve:
                cells += [f"{r.numerical_us[m]:.0f} us", f"{r.best_error[m]:.0e}", f"{r.best_step[m]:.0e}"]
            else:
                cells += ["-", "", ""]
        lines.append(cells)
    return as_text(lines)


def summary(rows: list[Comparison]) -> str:
    lines = []
    for dtype in ("float64", "float32"):
        chosen = [r for r in rows if r.dtype == dtype and r.kind == "analytic"]
        for m in METHODS:
            with_m = [r for r in chosen if m in r.curve]
            if with_m:
                error = np.exp(np.mean([np.log(max(r.best_error[m], 1e-18)) for r in with_m]))
                cost = np.exp(np.mean([np.log(r.numerical_us[m] / r.analytic_us) for r in with_m]))
                step = np.exp(np.mean([np.log(r.best_step[m]) for r in with_m]))
                lines.append(
                    f"{dtype}: {m:10} best error {error:.0e} at step {step:.0e}, {cost:5.1f} times the analytic cost"
                )
    return "geometric means over the analytic primitives (linear ones have no truncation error)\n" + "\n".join(lines)


def draw(rows: list[Comparison], path: Path) -> None:
    """The U-curve: error against step, every primitive thin, the median of the analytic ones thick.

    A linear primitive has no truncation error, a piecewise one none until the step meets a kink: no U there.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = dict(zip(METHODS, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True))  # Okabe-Ito
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    for ax, dtype in zip(axes, ("float64", "float32"), strict=True):
        for m in METHODS:
            curves = [(r.kind, np.clip(r.curve[m], 1e-18, 1e9)) for r in rows if r.dtype == dtype and m in r.curve]
            for _, c in curves:
                ax.loglog(STEPS, c, color=colours[m], alpha=0.07, linewidth=0.7)
            analytic = [c for kind, c in curves if kind == "analytic"]
            if analytic:
                style = {"color": colours[m], "linewidth": 2.5, "label": m, "zorder": 2 + (m != "complex")}
                ax.loglog(STEPS, np.median(analytic, axis=0), **style)
        exact = np.median([max(r.analytic_error, 1e-18) for r in rows if r.dtype == dtype])
        ax.axhline(exact, color="black", linestyle="--", linewidth=1.2, label="backward pass")
        ax.set(title=dtype, xlabel="step h", ylim=(1e-19, 1e4), xlim=(STEPS[-1], STEPS[0]))
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("relative error of the directional derivative")
    axes[0].annotate("round-off: e / h", (1e-13, 3e-1), fontsize=9)
    axes[0].annotate("truncation:\nh, h², h⁴", (2e-7, 1e-2), fontsize=9)
    axes[1].legend(loc="lower left")
    count = len({r.primitive for r in rows})
    figure.suptitle(f"Numerical derivatives of {count} primitives (thin); the median of the analytic ones (thick)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = command("gradients", __doc__)
    parser.add_argument("names", nargs="*", metavar="PRIMITIVE", help="only these (all by default)")
    parser.add_argument("--json", metavar="PATH", help="write every curve there")
    parser.add_argument("--figure", metavar="PATH", default="runs/gradients.png", help="(runs/gradients.png)")
    options = parser.parse_args()
    load()
    unknown = set(options.names) - set(registry)
    if unknown:
        parser.error(f"no primitive {', '.join(sorted(unknown))}; there are {', '.join(sorted(registry))}")
    rows = []
    for name in options.names or sorted(registry):
        line = line_of(name)
        if line is not None:
            rows += [measure(line, np.float64), measure(line, np.float32)]
    print(text(rows))
    print(summary(rows))
    draw(rows, Path(options.figure))
    print(f"wrote {options.figure}")
    save({"steps": STEPS, "rows": [vars(r) for r in rows]}, options.json)


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main()
