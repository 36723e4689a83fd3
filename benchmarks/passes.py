"""What recording a step brings, and what each pass of its program does: minidl alone, in one process.

    python -m benchmarks.passes [ROW ...] [--rounds N] [--quick] [--json PATH] [--markdown] [--list]

A row's step (zero_grad, forward, loss, backward, update; or inference) runs as it is, recorded with all passes, and
recorded without one of them, in turns; a number is the time of that way over the time with all passes: above 1, the
pass brings something. `calls` are Python calls of a step as it is, and of a replay. All ways must give the same bits,
but for `fold_batch_norm`, for which it is 1e-4 of the largest output. The last columns are of `compute_again`, which is
not taken by default: the time with it over the time without, and MiB that are planned without and with it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as md
from minidl.recording import PASSES
from minidl.recording.passes import compute_again

from .harness.libraries import library
from .harness.measure import attempt
from .harness.meters import timed
from .harness.report import as_markdown, as_text, in_a_line, listed, machine, number, parse, parser, save
from .harness.rows import INFERENCE, ROWS, STEP, Job, Row
from .harness.worker import cores

NAMES = [improve.__name__ for improve in PASSES]


def ways_of(job: Job) -> dict[str, Callable[[], Any]]:
    """The step as it is, and recorded with several choices of passes."""

    def step() -> Any:
        if job.row.group == INFERENCE:
            return job.model(job.x)
        job.optimiser.zero_grad()
        y = job.differentiate()
        job.optimiser.step()
        return y

    choices = {"all": PASSES, "none": ()} | {n: [p for p in PASSES if p.__name__ != n] for n in NAMES}
    choices["again"] = (*PASSES, compute_again)
    return {"as it is": step} | {name: md.record(step, passes=passes) for name, passes in choices.items()}


def python_calls(call: Callable[[], Any]) -> int:
    """How many Python functions a call calls, on this thread."""
    count = 0

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count


def measure(row: Row, rounds: int, tiny: bool) -> dict[str, Any]:
    job = Job(row, library("minidl", 1), tiny)
    ways, seconds = ways_of(job), {}
    with md.no_grad() if row.group == INFERENCE else md.enable_grad():
        for name, way in ways.items():
            outputs = []
            for _ in range(4):
                job.load()
                outputs.append(way().data.copy())
            if not np.allclose(outputs[-1], outputs[0], rtol=0, atol=1e-4 * float(np.abs(outputs[0]).max())):
                raise RuntimeError(f"{name}: a replay gives something else")
            seconds[name] = []
        for _ in range(rounds):
            for name, way in ways.items():
                seconds[name].append(timed(way))
        calls = [python_calls(ways[name]) for name in ("as it is", "all")]
    planned = [ways[name].plans[0].buffers.size for name in ("all", "again")]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {"row": row.name, "seconds": medians, "calls": calls, "planned": planned}


def main(arguments: list[str] | None = None) -> None:
    rows = [row for row in ROWS if row.group in (STEP, INFERENCE)]
    options = parse(parser("passes", __doc__), rows, arguments)
    if options.list:
        print(listed(options.chosen))
        return
    found, failures = attempt({r.name: lambda r=r: measure(r, options.rounds, options.quick) for r in options.chosen})
    about = machine(cores())
    head = ["row", "all ms", "as it is", "none", *NAMES, "calls", "replay", "again", "MiB", "again"]
    lines = [head]
    for result in found:
        seconds = result["seconds"]
        ratios = [number(seconds[name] / seconds["all"]) for name in ("as it is", "none", *NAMES)]
        planned = [number(size / 2**20) for size in result["planned"]]
        again = number(seconds["again"] / seconds["all"]), *planned
        lines.append([result["row"], number(1e3 * seconds["all"]), *ratios, *map(str, result["calls"]), *again])
    print(in_a_line(about))
    print(as_markdown(lines) if options.markdown else as_text(lines))
    save({"machine": about, "quick": options.quick, "rows": found, "failures": failures}, options.json)
    if failures:
        raise SystemExit(f"FAIL: {len(failures)} of {len(options.chosen)} rows were not measured")


if __name__ == "__main__":
    main()
