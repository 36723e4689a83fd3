"""Speed and memory on a GPU, against PyTorch on the same one: training steps and inference.

    python -m benchmarks.gpu [ROW ...] [--cpu] [--json PATH] [--markdown] [--quick] [--rounds N] [--list]
    python -m benchmarks.gpu --repeat [ROW ...]

A ROW is the name of a row, a part of one, or of its group: "unet", "resnet", "step". Torch runs eager, as pip installs
it, with its own choice of algorithms. Everything is measured twice:

- float32: TF32 is off on both sides.
- TF32: both may round the factors of products to 10 bits of mantissa. minidl's products are cuBLAS's (CUPY_TF32=1);
  in the column "cores" its convolutions take the kernel on tensor cores, md.algorithm("tensor_cores").

What makes the comparison fair, beyond what benchmarks.cpu says of weights, turns, processes and medians:

- Before anything is timed outputs and gradients must agree; in TF32 outputs alone, since what rounding does to the
  gradients of a deep network with batch norm is no one's fault. How far both are apart is in the JSON.
- Times are those between events of the device, after warm-up, in a queue that the benchmark does not wait for between
  calls. minidl's training loop does, as for every user: it reads the loss of each step.
- "ceiling": the least time by bytes and FLOPs, layer by layer, at the peak rates of the device
  (benchmarks/harness/ceiling.py). "of GEMM" is minidl's FLOP/s over those of a product of 8192 x 8192 matrices measured
  in the same rounds.
- MiB: the peak of arrays in use in two calls, above model and input: of CuPy's pool, and torch.cuda's own count. What
  each has taken from the device is "taken_bytes" in the JSON.
- --cpu adds minidl on this machine's CPU, all cores.

--repeat trains every step twice for 20 steps, in two processes, and compares all bits of the weights.

Results go to benchmarks/results/NAME OF THE DEVICE.json, unless rows are named or --json says otherwise.
With --quick shapes are tiny and rounds few: a trial of the benchmark, whose numbers mean nothing and are not written.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minidl.device import gpu

from .harness import measure, report
from .harness.ceiling import Peaks
from .harness.libraries import is_installed
from .harness.networks import denoiser, dncnn, resnet18, resnet50, unet, vgg16
from .harness.rows import INFERENCE, STEP, Row, step
from .harness.worker import Column, Worker, cores

RESULTS = Path(__file__).with_name("results")
REPEATED = 20  # steps
TF32 = {"CUPY_TF32": "1"}
NO_TF32 = {"CUPY_TF32": "0"}
COLUMNS: dict[str, dict[str, Column]] = {
    "float32": {
        "minidl": Column("minidl", NO_TF32, "gpu"),
        "torch": Column("torch", {}, "gpu"),
        "cpu": Column("minidl"),
    },
    "TF32": {
        "minidl": Column("minidl", TF32, "gpu", tf32=True),
        "torch": Column("torch", {}, "gpu", tf32=True),
        "cores": Column("minidl", TF32, "gpu", tf32=True, algorithm="tensor_cores"),
    },
}
TOLERANCES = {"float32": measure.TOLERANCES, "TF32": {"output": 5e-2, "gradient": float("inf")}}

ROWS = [
    step("denoiser", denoiser, (128, 1, 40, 40), (2, 1, 12, 12), "MSE", "SGD", width=8),
    step("dncnn17", dncnn, (128, 1, 40, 40), (2, 1, 10, 10), "MSE", "Adam", width=8, depth=5),
    step("unet", partial(unet, base=64), (8, 1, 256, 256), (2, 1, 16, 16), "CrossEntropy", "SGD", base=8, levels=2),
    step("resnet18", resnet18, (32, 3, 224, 224), (3, 3, 72, 72), "CrossEntropy", "SGD", classes=10, width=8),
    step("resnet50", resnet50, (32, 3, 224, 224), (3, 3, 72, 72), "CrossEntropy", "SGD", classes=10, width=4),
    Row("vgg16-inference", INFERENCE, vgg16, (32, 3, 224, 224), (1, 3, 64, 64), {"width": 8, "hidden": 32}),
]


@dataclass
class Measured:
    """One row in one precision, and how near the device's ceiling it is."""

    precision: str
    result: measure.Result
    ceiling: float | None  # seconds
    taken: dict[str, int] = field(default_factory=dict)

    def share(self) -> float | None:
        return self.ceiling and self.ceiling / self.result.median("minidl")

    def json(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            **self.result.json(),
            "ceiling_ms": self.ceiling and 1e3 * self.ceiling,
            "share_of_ceiling": self.share(),
            "taken_bytes": self.taken,
        }


def measured(row: Row, precision: str, names: list[str], rounds: int, tiny: bool, peaks: Peaks) -> Measured:
    """One row in the columns of a precision."""
    columns, extra = {name: COLUMNS[precision][name] for name in names}, {}

    def ask(workers: Mapping[str, Worker]) -> None:
        extra["costs"] = workers["minidl"].ask("costs")
        extra["taken"] = {name: workers[name].ask("taken") for name in workers if columns[name].device == "gpu"}

    result = measure.measure(row, columns, cores(), rounds, tiny, tolerances=TOLERANCES[precision], also=ask)
    return Measured(precision, result, peaks.seconds(extra["costs"], precision == "TF32"), extra["taken"])


def columns_here(with_cpu: bool) -> dict[str, list[str]]:
    """By precision, the columns that can be measured on this machine."""
    torch = is_installed("torch") and _torch_has_a_device()
    lacking = {*([] if torch else ["torch"]), *([] if with_cpu else ["cpu"])}
    return {precision: [name for name in columns if name not in lacking] for precision, columns in COLUMNS.items()}


def _torch_has_a_device() -> bool:
    import torch

    return torch.cuda.is_available()


def repeats(row: Row, tiny: bool) -> bool:
    """Do two trainings in two processes end in the same bits?"""
    digests = set()
    for _ in range(2):
        with Worker(COLUMNS["float32"]["minidl"], row, cores(), tiny=tiny) as worker:
            digests.add(worker.ask("digest", REPEATED))
    return len(digests) == 1


# --- as text


def table(rows: list[Measured], markdown: bool) -> str:
    """A line for each row that was measured in one precision."""
    bounds = [["ceiling ms", "of ceiling"]]
    bounds += [["-", "-"] if r.ceiling is None else [report.number(1e3 * r.ceiling), f"{r.share():.0%}"] for r in rows]
    columns = dict.fromkeys(c for r in rows for c in r.result.seconds)
    return report.comparison([r.result for r in rows], columns, markdown, bounds)


def about(cupy: Any, peaks: Peaks, torch: bool) -> dict[str, Any]:
    """The device and the versions of what ran on it."""
    runtime = cupy.cuda.runtime
    found = {"cuda_runtime": runtime.runtimeGetVersion(), "cuda_driver": runtime.driverGetVersion()}
    names = ["minidl", "numpy", *(["torch"] if torch else [])]
    return {"device": peaks.json(), "cupy": cupy.__version__, **found, **{name: version(name) for name in names}}


def summary(about: dict[str, Any], peaks: Peaks) -> str:
    rates = {"float32": peaks.flops(), "TF32": peaks.flops(tf32=True)}
    known = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in rates.items() if rate)
    versions = report.in_a_line({name: value for name, value in about.items() if name != "device"})
    return f"{peaks.name}: {known or 'FLOP/s not known'}, {peaks.bandwidth / 1e12:.1f} TB/s; {versions}"


# --- the command


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    command = report.parser("gpu", __doc__)
    command.add_argument("--cpu", action="store_true", help="minidl on the CPU as a further column")
    command.add_argument("--repeat", action="store_true", help=f"train twice for {REPEATED} steps and compare all bits")
    return report.parse(command, ROWS, arguments)


def main(arguments: list[str] | None = None) -> int:
    options = options_of(arguments)
    if options.list:
        print(report.listed(options.chosen))
        return 0
    try:
        cupy = gpu()
    except RuntimeError as error:
        print(f"python -m benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    return check_bits(options) if options.repeat else benchmark(options, cupy)


def check_bits(options: argparse.Namespace) -> int:
    same = {row.name: repeats(row, options.quick) for row in options.chosen if row.group == STEP}
    for name, equal in same.items():
        print(f"{name:16}{REPEATED} steps, twice: {'the same bits' if equal else 'DIFFERENT bits'}")
    return 0 if all(same.values()) else 1


def benchmark(options: argparse.Namespace, cupy: Any) -> int:
    peaks, names = Peaks.of(cupy), columns_here(options.cpu)
    how = (options.rounds, options.quick, peaks)
    found, failures = measure.attempt({
        f"{row.name}, {precision}": partial(measured, row, precision, names[precision], *how)
        for precision in COLUMNS for row in options.chosen
    })  # fmt: skip
    facts = about(cupy, peaks, "torch" in names["float32"])
    print(summary(facts, peaks))
    for precision in COLUMNS:
        if rows := [f for f in found if f.precision == precision]:
            print(f"\n{precision}\n\n{table(rows, options.markdown)}")
    path = Path(options.json) if options.json else default_path(peaks, options)
    if path:
        path.parent.mkdir(exist_ok=True)
        everything = {**facts, "quick": options.quick, "rows": [f.json() for f in found], "failures": failures}
        path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    if failures:
        print(f"{len(failures)} of {2 * len(options.chosen)} measurements failed", file=sys.stderr)
    return 1 if failures else 0


def default_path(peaks: Peaks, options: argparse.Namespace) -> Path | None:
    """Where the results of all rows are written; None for a trial or a part of them."""
    if options.quick or options.rows:
        return None
    return RESULTS / f"{re.sub(r'[^A-Za-z0-9]+', '-', peaks.name).strip('-')}.json"


if __name__ == "__main__":
    sys.exit(main())
