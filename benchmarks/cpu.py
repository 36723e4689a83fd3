"""Speed and memory on the CPU, against PyTorch and onnxruntime: layers, training steps, inference.

    python -m benchmarks.cpu [ROW ...] [--columns torch,best] [--json PATH] [--markdown] [--quick] [--threads N] ...
    python -m benchmarks.cpu step inference                      the networks, without single layers
    python -m benchmarks.cpu --memory-of torch unet

A ROW is the name of a row, a part of one, or of its group: "unet", "conv3x3", "layer". All in float32. The columns, as
far as they are installed:

    torch        PyTorch as pip installs it, eager
    best         what its user can do from outside: channels last in memory, inference mode, and glibc set to hold
                 memory rather than give it back (MALLOC_MMAP_MAX_=0 and a large MALLOC_TRIM_THRESHOLD_), as minidl
                 sets it by itself (minidl/kernels/cpu/memory.py)
    compile      torch.compile on top of that, where g++ is; compiled before anything is timed
    onnxruntime  inference, of the graph that PyTorch exports
    dezero, mygrad   where they have the layers

What makes the comparison fair:

- Both sides have equal weights and inputs; before anything is timed, outputs and gradients must agree.
- One run, taking turns: in every round each column gets a turn of about a tenth of a second, at least one call. Times
  are the median over all calls. A ratio is torch / minidl (above 1, minidl is faster): that of the medians of the two
  turns of a round, and of these the median over the rounds; a machine that is slower for a while then does not count.
- Each column runs in a process of its own, so that neither sets the other's allocator nor is slowed by threads that
  the other left waiting in a loop; a turn starts 50 ms after the last one ended, when those have gone to sleep. No
  setting says how a library's threads should wait: each does as its user would see it.
- A training step is one of `minidl.train.fit(record=True)`, as the tasks train: forward, loss, backward, the norm of
  the gradients, update, replayed; the first four, in which it is recorded, and its memory planned and first touched,
  are not timed. Inference is that of a network that has been recorded (`md.record`). Of torch it is the loop that its
  users write: zero_grad, forward, loss, backward, step.
- Equal threads, all cores unless --threads says otherwise: set_num_threads for torch, intra_op_num_threads for
  onnxruntime, MINIDL_NUM_THREADS and OPENBLAS_NUM_THREADS for minidl (and for DeZero and MyGrad).
- Each chooses its instructions by the processor that it finds; which those are is printed. OPENBLAS_CORETYPE, which
  some machines set in the environment, is not passed on.
- A convolution has its bias, as its class makes it. First layers (3 channels) need no input gradient, others do.
- "of GEMM" is minidl's multiply-adds per second, counted by formula, over those of a float32 product of 1024 x 1024
  matrices measured in the same rounds, by NumPy or by torch, whichever is faster. A fast algorithm can exceed 100 %.
- MiB: the peak of a few calls above what is in use when the library has run the row once at a tiny shape (its code is
  loaded then, its threads are there), and model and input are there. Of minidl that of replayed steps, and under
  "first" that of all, with the four in which the step is recorded; those hold the graph, as an unrecorded step does.

With --quick shapes are tiny and rounds few: a trial of the benchmark, whose numbers mean nothing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Collection
from functools import partial

from .harness.libraries import is_installed
from .harness.measure import Result, attempt, measure
from .harness.report import comparison, in_a_line, listed, machine, parse, parser, require_threads, save
from .harness.rows import INFERENCE, ROWS, STEP
from .harness.worker import Column, Worker, cores

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
COLUMNS = {
    "minidl": Column("minidl"),
    "torch": Column("torch"),
    "best": Column("torch", KEEP_MEMORY, mode="best"),
    "compile": Column("torch", KEEP_MEMORY, mode="compile", limit=600),
    "onnxruntime": Column("onnxruntime"),
    "dezero": Column("dezero"),
    "mygrad": Column("mygrad"),
}


NETWORKS = "training steps and inference"


def installed() -> dict[str, Column]:
    """The columns that can be measured here."""
    compilers = {"compile"} if shutil.which("g++") else set()
    return {name: c for name, c in COLUMNS.items() if is_installed(c.library) and c.mode in {"", "best"} | compilers}


def ratios(results: list[Result], columns: Collection[str]) -> dict[str, dict[str, dict[str, float]]]:
    """By group, and over both groups of networks: the ratios to minidl of the rows that have them, by row."""
    groups = {group: [r for r in results if r.group == group] for group in dict.fromkeys(r.group for r in results)}
    if STEP in groups and INFERENCE in groups:
        groups[NETWORKS] = groups[STEP] + groups[INFERENCE]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, rows in groups.items():
        every = {f"{c}/minidl": {r.row: r.ratio(c) for r in rows} for c in columns if c != "minidl"}
        every["torch/minidl memory"] = {r.row: r.memory_ratio() for r in rows}
        found[group] = {
            name: known for name, of_rows in every.items()
            if (known := {row: value for row, value in of_rows.items() if value is not None})
        }  # fmt: skip
    return found


def means(results: list[Result], columns: Collection[str]) -> dict[str, dict[str, float]]:
    """By group: the geometric mean of each ratio to minidl, over the rows that have it."""
    return {
        group: {name: statistics.geometric_mean(of_rows.values()) for name, of_rows in every.items()}
        for group, every in ratios(results, columns).items()
    }


def summary(results: list[Result], columns: Collection[str]) -> str:
    lines = ["geometric means, and the least (above 1: minidl is faster, or needs less memory)"] * (len(columns) > 1)
    for group, every in ratios(results, columns).items() if lines else ():
        lines.append(f"- {group}:")
        for name, of_rows in every.items():
            mean, least = statistics.geometric_mean(of_rows.values()), min(of_rows, key=of_rows.get)
            lines.append(f"  {name} {mean:.2f} over {len(of_rows)}, least {of_rows[least]:.2f} in {least}")
    missing = {f"{c}: {why}" for r in results for c, why in r.unsupported.items() if c in ("best", "compile")}
    lines += sorted(missing)
    rates = {c: statistics.median(x for r in results for x in r.gemm[c]) / 1e9 for c in results[0].gemm}
    names = {"minidl": "NumPy", "torch": "torch"}
    lines.append("float32 GEMM: " + ", ".join(f"{names[c]} {rate:.0f} GFLOP/s" for c, rate in rates.items()))
    lines += [f"{c} ran {kernels}" for c, kernels in results[0].kernels.items() if kernels]
    return "\n".join(lines)


# --- the command


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    command = parser("cpu", __doc__)
    command.add_argument("--threads", type=int, default=cores(), metavar="N", help=f"of each library ({cores()})")
    command.add_argument("--columns", metavar="NAME,...", help=f"beside minidl (all of {','.join(COLUMNS)} there are)")
    command.add_argument("--memory-of", metavar="LIBRARY", help="print the peak memory of the rows in one library")
    options = parse(command, ROWS, arguments)
    require_threads(command, options.threads)
    columns = installed()
    named = options.columns.split(",") if options.columns else list(columns)
    for name in [*named, options.memory_of or "minidl"]:
        if name not in columns:
            command.error(f"no column {name!r} here: {', '.join(columns)} (of {', '.join(COLUMNS)})")
    options.columns = {name: column for name, column in columns.items() if name in ("minidl", *named)}
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
    columns = options.columns
    how = (columns, options.threads, options.rounds, options.quick)
    results, failures = attempt({row.name: partial(measure, row, *how) for row in options.chosen})
    about = machine(options.threads, dict.fromkeys(c.library for c in columns.values() if c.library != "minidl"))
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
