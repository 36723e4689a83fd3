"""Speed and memory on the CPU, against PyTorch as pip installs it: layers, training steps, inference.

    python -m benchmarks.cpu [ROW ...] [--json PATH] [--markdown] [--quick] [--threads N] [--rounds N] [--list]
    python -m benchmarks.cpu --memory-of torch unet

A ROW is the name of a row, a part of one, or of its group: "unet", "conv3x3", "layer". float32, torch eager.

What makes the comparison fair:

- Both sides have equal weights and inputs; before anything is timed, outputs and gradients must agree.
- One run, taking turns: in every round each library gets a turn of about a tenth of a second, at least one call; the
  median over all calls counts, and a ratio is torch / minidl: above 1, minidl is faster.
- Each library runs in a process of its own, so that neither sets the other's allocator nor is slowed by threads that
  the other left waiting in a loop; a turn starts 50 ms after the last one ended, when those have gone to sleep. No
  setting says how a library's threads should wait: each does as its user would see it.
- A training step is one of `minidl.train.fit`, as the tasks train: forward, loss, backward, the norm of the gradients,
  update; of torch it is the loop that its users write: zero_grad, forward, loss, backward, step.
- Equal threads, all cores unless --threads says otherwise: set_num_threads for torch, MINIDL_NUM_THREADS and
  OPENBLAS_NUM_THREADS for minidl (and for DeZero and MyGrad, which run where they are installed and have the layers).
- "tuned" is torch once more, with glibc set to hold memory rather than give it back (MALLOC_MMAP_MAX_=0 and a large
  MALLOC_TRIM_THRESHOLD_): the best that its user can do about page faults from outside. minidl sets glibc so by
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
import statistics
from collections.abc import Collection
from functools import partial

from .harness.libraries import is_installed
from .harness.measure import Result, attempt, measure
from .harness.report import comparison, in_a_line, listed, machine, parse, parser, require_threads, save
from .harness.rows import ROWS
from .harness.worker import Column, Worker, cores

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
COLUMNS = {
    "minidl": Column("minidl"),
    "torch": Column("torch"),
    "tuned": Column("torch", KEEP_MEMORY),
    "dezero": Column("dezero"),
    "mygrad": Column("mygrad"),
}


def means(results: list[Result], columns: Collection[str]) -> dict[str, dict[str, float]]:
    """By group: the geometric mean of each ratio to minidl, over the rows that have it."""
    found: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(r.group for r in results):
        rows = [r for r in results if r.group == group]
        ratios = {f"{c}/minidl": [r.ratio(c) for r in rows if c in r.seconds] for c in columns if c != "minidl"}
        ratios["torch/minidl memory"] = [m for r in rows if (m := r.memory_ratio()) is not None]
        found[group] = {name: statistics.geometric_mean(values) for name, values in ratios.items() if values}
    return found


def summary(results: list[Result], columns: Collection[str]) -> str:
    lines = ["geometric means (above 1: minidl is faster, or needs less memory)"] if "torch" in columns else []
    for group, ratios in means(results, columns).items() if lines else ():
        count = sum(r.group == group for r in results)
        lines.append(f"- {group} ({count}): " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    rates = {c: statistics.median(x for r in results for x in r.gemm[c]) / 1e9 for c in results[0].gemm}
    names = {"minidl": "NumPy", "torch": "torch"}
    lines.append("float32 GEMM: " + ", ".join(f"{names[c]} {rate:.0f} GFLOP/s" for c, rate in rates.items()))
    return "\n".join(lines)


# --- the command


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    command = parser("cpu", __doc__)
    command.add_argument("--threads", type=int, default=cores(), metavar="N", help=f"of each library ({cores()})")
    command.add_argument("--memory-of", metavar="LIBRARY", help="print the peak memory of the rows in one library")
    options = parse(command, ROWS, arguments)
    require_threads(command, options.threads)
    if options.memory_of and (options.memory_of not in COLUMNS or not is_installed(COLUMNS[options.memory_of].library)):
        command.error(f"--memory-of {options.memory_of}: one of {', '.join(COLUMNS)}, if it is installed")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = options_of(arguments)
    if options.list:
        print(listed(options.chosen))
        return
    if options.memory_of:
        for row in options.chosen:
            with Worker(COLUMNS[options.memory_of], row, options.threads, tiny=options.quick) as worker:
                print(f"{row.name:32}{worker.ask('memory') / 2**20:10.1f} MiB")
        return
    columns = {name: column for name, column in COLUMNS.items() if is_installed(column.library)}
    how = (columns, options.threads, options.rounds, options.quick)
    results, failures = attempt({row.name: partial(measure, row, *how) for row in options.chosen})
    about = machine(options.threads, [name for name in columns if name not in ("minidl", "tuned")])
    print(in_a_line(about))
    if results:
        print(comparison(results, columns, options.markdown))
        print(summary(results, columns))
    found = {"rows": [r.json() for r in results], "means": means(results, columns)}
    save({"machine": about, "quick": options.quick, **found, "failures": failures}, options.json)
    if failures:
        raise SystemExit(f"FAIL: {len(failures)} of {len(options.chosen)} rows were not measured")


if __name__ == "__main__":
    main()
