"""What an ONNX file holds: nodes with shapes, weights and work; does it run here, and give what onnxruntime gives?"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..core.context import no_grad
from ..core.tensor import Tensor
from ..onnx.graph import Graph, Node, Value
from ..onnx.module import OnnxModule
from ..onnx.operators import OPERATORS, find, refusals
from ..onnx.parse import read
from ..onnx.run import Run
from ..recording import RecordError, record
from ..table import table
from .terminal import Parser, UsageError

FREE = 224  # the length of an image's axis that the file leaves free, unless --shape says otherwise
TOLERANCE = 1e-4  # of the largest entry, by which two programs in single precision may differ,
TINY = 1e-6  # and by how much whatever it is


@dataclass
class Row:
    """One node: its first output's shape, the entries of its weights, its multiplications."""

    node: str
    operator: str
    output: str
    shape: tuple[int, ...] | None = None
    parameters: int = 0
    macs: int = 0


@dataclass
class Report:
    """What was found. `refused` says what does not run here; then there are no shapes."""

    file: str
    graph: str
    opset: int
    inputs: list[str]
    outputs: list[str]
    rows: list[Row]
    ran_with: dict[str, tuple[int, ...]]
    refused: list[str]
    check: list[dict[str, Any]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.refused and all(found["agrees"] for found in self.check)

    def text(self) -> str:
        head = [f"{self.file}: {self.graph}, opset {self.opset}, {len(self.rows)} nodes"]
        head += [f"  input   {v}" for v in self.inputs] + [f"  output  {v}" for v in self.outputs]
        body = [("node", "operator", "output", "shape", "parameters", "MACs")]
        body += [
            (r.node, r.operator, r.output, str(r.shape or "-"), *map(_count, (r.parameters, r.macs)))
            for r in self.rows
        ]
        lines = [*head, "", *table(body, "<<<<>", most=48), "", self.totals()]
        for found in self.check:
            verdict = "agrees" if found["agrees"] else "DIFFERS"
            lines.append(
                f"{found['output']}: {verdict} with onnxruntime, by {found['difference']:.1e} of at most "
                f"{found['largest']:.3g}; {found['seconds'] * 1e3:.1f} ms, onnxruntime {found['theirs'] * 1e3:.1f} ms"
            )
        return "\n".join(lines)

    def totals(self) -> str:
        if self.refused:
            return "\n  ".join(["it cannot run here:", *self.refused])
        sizes = ", ".join(f"{name} {shape}" for name, shape in self.ran_with.items())
        parameters, macs = (sum(getattr(r, what) for r in self.rows) for what in ("parameters", "macs"))
        return f"all of it runs here; with {sizes}: {macs:,} MACs; {parameters:,} parameters"

    def json(self) -> str:
        return json.dumps(asdict(self) | {"supported": not self.refused}, indent=2)


def _count(n: int) -> str:
    return f"{n:,}" if n else "-"


def main(argv: list[str] | None = None) -> int:
    """Print the report; 1 if something is not supported, or differs from onnxruntime."""
    parser = Parser(prog="minidl onnx", description=__doc__)
    parser.add_argument("file", help="an ONNX file")
    parser.add_argument(
        "--shape", action="append", default=[], metavar="NAME=1x3x224x224",
        help=f"of an input; otherwise a free axis is 1 long, the last two of four {FREE}",
    )  # fmt: skip
    parser.add_argument(
        "--value", action="append", default=[], metavar="NAME=16000", help="what an input is filled with",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="compare with onnxruntime on random inputs")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the text")
    options = parser.parse_args(argv)
    shapes = named("--shape", options.shape, lambda text: tuple(int(n) for n in text.split("x")))
    report = examined(options.file, shapes, named("--value", options.value, float), options.check)
    print(report.json() if options.json else report.text())
    return 0 if report.good else 1


def named(option: str, given: list[str], read_value: Callable[[str], Any]) -> dict[str, Any]:
    """What an option says that may stand several times: NAME=VALUE."""
    found = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            found[name] = read_value(value)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"{option} {text}: see minidl onnx --help for how it is written")
    return found


def examined(
    path: str, shapes: dict[str, tuple[int, ...]], values: dict[str, float] | None = None, check: bool = False
) -> Report:
    """Run the graph of a file once on random inputs, of these shapes, or filled with these values, where given."""
    graph, values = read(path, OPERATORS), values or {}
    refused = refusals(graph)
    sizes = {value.name: shapes.get(value.name) or assumed(value) for value in graph.inputs}
    if unknown := {*shapes, *values} - sizes.keys():
        raise UsageError(f"{min(unknown)} is no input; these are {', '.join(map(str, graph.inputs))}")
    opset = max((node.opset for node in graph.nodes if "." not in node.operator), default=0)
    ends = [list(map(str, part)) for part in (graph.inputs, graph.outputs)]
    report = Report(path, graph.name, opset, *ends, [], sizes, refused)
    if refused:
        report.rows = [Row(node.name, node.operator, node.outputs[0]) for node in graph.nodes]
        return report
    model = OnnxModule(graph)
    rng = np.random.default_rng(0)
    inputs = [example(value, sizes[value.name], values.get(value.name), rng) for value in graph.inputs]
    report.rows = rows_of(model, inputs)
    if check:
        report.check = compared(path, model, graph, inputs)
    return report


def rows_of(model: OnnxModule, inputs: list[np.ndarray]) -> list[Row]:
    """A row for each node that runs; what follows from constants alone was computed before."""
    rows: list[Row] = []
    counted: set[Tensor] = set()
    weights = set(model.parameters())

    def look(node: Node, values: list, found: tuple) -> None:
        own = [x for x in values if isinstance(x, Tensor) and x in weights and x not in counted]
        counted.update(own)
        count = find(node).macs
        macs = count(values, found[0]) if count else 0
        shape = tuple(found[0].shape)
        rows.append(Row(node.name, node.operator, node.outputs[0], shape, sum(p.size for p in own), macs))

    with no_grad():
        model.program.run(Run(vars(model), look), {}, *map(Tensor, inputs))
    return rows


def compared(path: str, model: OnnxModule, graph: Graph, inputs: list[np.ndarray]) -> list[dict[str, Any]]:
    """How far each output is from onnxruntime's, and how long both take: ours is recorded, if it can be."""
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("--check compares with onnxruntime, which is not installed: pip install onnxruntime") from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in graph.inputs]
    theirs, their_time = timed(lambda: session.run(None, dict(zip(names, inputs))))
    with no_grad():
        try:
            recorded = record(model)
            ours, our_time = timed(lambda: recorded(*inputs))
        except RecordError:  # a value decides what is computed
            plain = OnnxModule(graph)
            ours, our_time = timed(lambda: plain(*inputs))
    found = []
    for value, a, b in zip(graph.outputs, ours if isinstance(ours, tuple) else (ours,), theirs):
        a = a.numpy()
        same_form = a.shape == b.shape and a.dtype == b.dtype
        largest = float(abs(b).max()) if b.size else 0.0
        difference = float(abs(a.astype(float) - b).max()) if same_form and b.size else 0.0 if same_form else math.inf
        agrees = difference <= TOLERANCE * largest + TINY
        found.append(
            {"output": value.name, "agrees": agrees, "difference": difference, "largest": largest, "seconds": our_time,
             "theirs": their_time}
        )  # fmt: skip
    return found


def timed(run: Callable[[], Any], warm: int = 4, calls: int = 5) -> tuple[Any, float]:
    """What it gives, and the seconds of the fastest of some calls, after others that warm it up."""
    for _ in range(warm):
        run()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


def assumed(value: Value) -> tuple[int, ...]:
    """A shape for an input: where the file leaves an axis free, 1, or an image's."""
    axes = value.shape or ()
    free = [FREE if len(axes) == 4 and a > 1 else 1 for a in range(len(axes))]
    return tuple(n if isinstance(n, int) and n > 0 else f for n, f in zip(axes, free))


def example(value: Value, shape: tuple[int, ...], filled_with: float | None, rng: np.random.Generator) -> np.ndarray:
    """An input of one value, or of numbers between 0 and 1; of integers, ones."""
    dtype = value.dtype or np.dtype(np.float32)
    if filled_with is None and dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return np.full(shape, 1 if filled_with is None else filled_with, dtype)
