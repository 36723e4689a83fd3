"""Speed and memory on the CPU, against PyTorch as pip installs it: layers, training steps, inference.

    python -m benchmarks.cpu [ROW ...] [--json PATH] [--markdown] [--quick] [--threads N] [--rounds N] [--list]
    python -m benchmarks.cpu --memory-of torch unet

A ROW is the name of a row, a part of one, or of its group: "unet", "conv3x3", "layer". float32, torch eager.

What is fair, and how it is kept:

- Both sides have equal weights and inputs; before anything is timed, outputs and gradients must agree.
- One run, taking turns: in every round each library gets a turn of about a tenth of a second, at least one call; the
  median over all calls counts, and a ratio is torch / minidl: above 1, minidl is faster.
- Each library runs in a process of its own, so that neither sets the other's allocator nor is slowed by threads that
  the other left waiting in a loop; a turn starts 50 ms after the last one ended, when those have gone to sleep. No
  library is told how its threads should wait: each does as its user would see it.
- Equal threads, all cores unless --threads says otherwise: set_num_threads for torch, MINIDL_NUM_THREADS and
  OPENBLAS_NUM_THREADS for minidl (and for DeZero and MyGrad, which run where they are installed and have the layers).
- "tuned" is torch once more, with glibc told to keep memory rather than give it back (MALLOC_MMAP_MAX_=0 and a large
  MALLOC_TRIM_THRESHOLD_): the best that its user can do about page faults from outside. minidl tells glibc the same by
  itself (minidl/kernels/cpu/memory.py); its user need do nothing.
- A convolution has its bias, as its class makes it. First layers (3 channels) need no input gradient, others do.
- "of GEMM" is minidl's multiply-adds per second, counted by formula, over those of a float32 product of 1024 x 1024
  matrices measured in the same rounds, by NumPy or by torch, whichever is faster. A fast algorithm can exceed 100 %.
- MiB: the peak of two calls above what is in use when the library has run the row once at a tiny shape (its code is
  loaded then, its threads are there), and model and input are there.

With --quick shapes are tiny and rounds few: a trial of the benchmark, whose numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .harness.libraries import Unsupported, is_installed
from .harness.rows import ROWS, Row
from .harness.worker import Column, Worker

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
COLUMNS = {
    "minidl": Column("minidl"),
    "torch": Column("torch"),
    "tuned": Column("torch", KEEP_MEMORY),
    "dezero": Column("dezero"),
    "mygrad": Column("mygrad"),
}
TURN = 0.1  # seconds
PAUSE = 0.05
# Of the norm. Gradients of a deep network with batch norm are not sharper in float32: those of DnCNN-17 by direct
# convolution are 1e-2 from float64's. Tests compare all rows in float64, to 1e-9.
TOLERANCES = {"output": 1e-3, "gradient": 5e-2}


@dataclass
class Result:
    """What was measured for one row; by column."""

    row: str
    group: str
    shape: tuple[int, ...]
    macs: int
    seconds: dict[str, list[float]]
    memory: dict[str, int]
    gemm: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)  # from minidl, of outputs and gradients

    def median(self, column: str) -> float:
        return statistics.median(self.seconds[column])

    def ratio(self, column: str) -> float | None:
        """How many times as long as minidl takes it takes."""
        return self.median(column) / self.median("minidl") if column in self.seconds else None

    def memory_ratio(self) -> float | None:
        ours, theirs = self.memory["minidl"], self.memory.get("torch")
        return theirs / ours if ours and theirs else None

    def share_of_gemm(self) -> float | None:
        """minidl's FLOP/s over those of the fastest matrix product."""
        if not self.macs:
            return None
        return 2 * self.macs / self.median("minidl") / max(statistics.median(rates) for rates in self.gemm.values())

    def json(self) -> dict[str, Any]:
        quartiles = {c: statistics.quantiles(s, n=4) if len(s) > 1 else s * 3 for c, s in self.seconds.items()}
        return {
            "row": self.row,
            "group": self.group,
            "shape": self.shape,
            "macs": self.macs,
            "quartiles_ms": {c: [1e3 * q for q in qs] for c, qs in quartiles.items()},
            "ratio": {c: self.ratio(c) for c in self.seconds},
            "peak_bytes": self.memory,
            "gemm_gflops": {c: statistics.median(rates) / 1e9 for c, rates in self.gemm.items()},
            "share_of_gemm": self.share_of_gemm(),
            "differences": self.differences,
        }


class Disagreement(Exception):
    """Two libraries give different numbers for one row."""


def measure(
    row: Row, names: Iterable[str], threads: int, rounds: int, tiny: bool = False, *,
    columns: Mapping[str, Column] = COLUMNS, tolerances: Mapping[str, float] = TOLERANCES,
    also: Callable[[Mapping[str, Worker]], None] = lambda workers: None,
) -> Result:  # fmt: skip
    """Measure a row in the columns of these names. ``also(workers)`` may ask for more at the end."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(columns[name], row, threads, tiny=tiny)) for name in names}
        for worker in workers.values():  # all at once: importing takes longest
            worker.send("memory")
        memory = {}
        for column, worker in list(workers.items()):
            try:
                memory[column] = worker.receive()
            except Unsupported:
                del workers[column]
        found = {column: worker.ask("results") for column, worker in workers.items()}
        differences = require_agreement(row, found, tolerances)
        macs = workers["minidl"].ask("macs")
        result = Result(row.name, row.group, row.tiny if tiny else row.shape, macs, {c: [] for c in workers}, memory)
        result.differences = differences
        take_turns(result, workers, rounds)
        also(workers)
    return result


def take_turns(result: Result, workers: dict[str, Worker], rounds: int) -> None:
    calls = {c: calls_per_turn(min(w.ask("times", 3))) for c, w in workers.items()}
    with_gemm = [c for c in ("minidl", "torch") if c in workers]
    result.gemm = {c: [] for c in with_gemm}
    for _ in range(rounds):
        for column, worker in workers.items():
            time.sleep(PAUSE)
            result.seconds[column] += worker.ask("times", calls[column])
        for column in with_gemm:
            time.sleep(PAUSE)
            result.gemm[column].append(workers[column].ask("gemm"))


def calls_per_turn(seconds: float) -> int:
    return min(max(round(TURN / seconds), 1), 200)


def require_agreement(
    row: Row, results: dict[str, dict[str, np.ndarray]], tolerances: Mapping[str, float] = TOLERANCES
) -> dict[str, dict[str, float]]:
    """By column, how far its output and the worst of its gradients are from minidl's.

    Disagreement if that is too far: the benchmark never times a wrong thing.
    """
    ours = results["minidl"]
    found: dict[str, dict[str, float]] = {}
    for column, theirs in results.items():
        if set(theirs) != set(ours):
            raise Disagreement(f"minidl gives {', '.join(ours)}, {column} {', '.join(theirs)}")
        worst = found[column] = dict.fromkeys(tolerances, 0.0)
        for name, expected in ours.items():
            error, kind = difference(expected, theirs[name]), name.split()[0]
            if not error <= tolerances[kind]:
                raise Disagreement(f"{name}: {column} differs from minidl by {error:.1e} of its norm")
            worst[kind] = max(worst[kind], error)
    del found["minidl"]
    return found


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """|a - b| / |a|; infinite if the shapes differ."""
    if a.shape != b.shape:
        return math.inf
    return float(np.linalg.norm((a - b).ravel()) / max(np.linalg.norm(a.ravel()), np.finfo(a.dtype).tiny))


# --- as text


def table(results: list[Result], columns: list[str], markdown: bool) -> str:
    others = [c for c in columns if c != "minidl"]
    head = ["row", "input", "minidl ms", *(f"{c} ms" for c in others), *(f"{c}/minidl" for c in others)]
    lines = [[*head, "of GEMM", "minidl MiB", "torch MiB"]]
    for r in results:
        times = [number(1e3 * r.median(c)) if c in r.seconds else "-" for c in ["minidl", *others]]
        ratios = [number(r.ratio(c)) for c in others]
        share = "-" if (s := r.share_of_gemm()) is None else f"{s:.0%}"
        mib = [number(r.memory[c] / 2**20) if c in r.memory else "-" for c in ("minidl", "torch")]
        lines.append([r.row, "x".join(map(str, r.shape)), *times, *ratios, share, *mib])
    return as_markdown(lines) if markdown else as_text(lines)


def as_text(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines)]
    aligned = ([c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))] for line in lines)
    return "\n".join("  ".join(cells) for cells in aligned)


def as_markdown(lines: list[list[str]]) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(lines[0]) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def number(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def means(results: list[Result], columns: list[str]) -> dict[str, dict[str, float]]:
    """By group: the geometric mean of each ratio to minidl, over the rows that have it."""
    found: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(r.group for r in results):
        rows = [r for r in results if r.group == group]
        ratios = {f"{c}/minidl": [r.ratio(c) for r in rows if c in r.seconds] for c in columns if c != "minidl"}
        ratios["torch/minidl memory"] = [m for r in rows if (m := r.memory_ratio()) is not None]
        found[group] = {name: statistics.geometric_mean(values) for name, values in ratios.items() if values}
    return found


def summary(results: list[Result], columns: list[str]) -> str:
    lines = ["geometric means (above 1: minidl is faster, or needs less memory)"]
    for group, ratios in means(results, columns).items():
        count = sum(r.group == group for r in results)
        lines.append(f"- {group} ({count}): " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    rates = {c: statistics.median(x for r in results for x in r.gemm[c]) / 1e9 for c in results[0].gemm}
    names = {"minidl": "NumPy", "torch": "torch"}
    lines.append("float32 GEMM: " + ", ".join(f"{names[c]} {rate:.0f} GFLOP/s" for c, rate in rates.items()))
    return "\n".join(lines)


def machine(threads: int, columns: list[str]) -> dict[str, Any]:
    from importlib.metadata import version

    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), cpu)
    packages = ["numpy", *(c for c in columns if c not in ("minidl", "tuned"))]
    return {"cpu": cpu, "cores": cores(), "threads": threads, **{name: version(name) for name in packages}}


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- the command


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="a name, a group, or a part of one (all)")
    parser.add_argument("--json", metavar="PATH", help="write everything measured there")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, two rounds: a trial")
    parser.add_argument("--threads", type=int, default=cores(), metavar="N", help=f"of each library ({cores()})")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each library (11; 2 with --quick)")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    parser.add_argument("--memory-of", metavar="LIBRARY", help="print the peak memory of the rows in one library")
    options = parser.parse_args(arguments)
    try:
        options.chosen = select(options.rows)
    except LookupError as error:
        parser.error(str(error))
    if not 1 <= options.threads <= cores():
        parser.error(f"--threads {options.threads}: from 1 to the {cores()} cores that there are")
    if options.json and not os.path.isdir(os.path.dirname(options.json) or "."):
        parser.error(f"--json {options.json}: there is no folder {os.path.dirname(options.json)}")
    if options.memory_of and (options.memory_of not in COLUMNS or not is_installed(COLUMNS[options.memory_of].library)):
        parser.error(f"--memory-of {options.memory_of}: one of {', '.join(COLUMNS)}, if it is installed")
    return options


def select(parts: list[str], rows: Sequence[Row] = ROWS) -> list[Row]:
    """The rows that are meant: by the whole name or group, else by a part of it; all if nothing is said."""
    found: list[Row] = []
    for part in parts:
        meant = [r for r in rows if part in (r.name, r.group)] or [r for r in rows if part in r.name or part in r.group]
        if not meant:
            raise LookupError(f"no row contains {part!r}; --list prints them")
        found += meant
    return [r for r in rows if r in found or not parts]


def listed(rows: Iterable[Row]) -> str:
    return "\n".join(f"{r.name:32}{r.group:16}{'x'.join(map(str, r.shape))}" for r in rows)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.list:
        print(listed(options.chosen))
        return
    if options.memory_of:
        for row in options.chosen:
            with Worker(COLUMNS[options.memory_of], row, options.threads, tiny=options.quick) as worker:
                print(f"{row.name:32}{worker.ask('memory') / 2**20:10.1f} MiB")
        return
    columns = [name for name, column in COLUMNS.items() if is_installed(column.library)]
    rounds = options.rounds or (2 if options.quick else 11)
    results, failures = [], []
    for i, row in enumerate(options.chosen):
        print(f"{i + 1}/{len(options.chosen)} {row.name}", file=sys.stderr)
        try:
            results.append(measure(row, columns, options.threads, rounds, options.quick))
        except (Disagreement, RuntimeError) as error:
            failures.append(f"{row.name}: {error}")
            print(failures[-1], file=sys.stderr)
    about = machine(options.threads, columns)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    if results:
        print(table(results, columns, options.markdown))
        print(summary(results, columns))
    if options.json:
        with open(options.json, "w") as file:
            found = {"rows": [r.json() for r in results], "means": means(results, columns)}
            json.dump({"machine": about, "quick": options.quick, **found, "failures": failures}, file, indent=1)
    if failures:
        raise SystemExit(f"FAIL: {len(failures)} of {len(options.chosen)} rows were not measured")


if __name__ == "__main__":
    main()
