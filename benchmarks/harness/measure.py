"""One row in several libraries that take turns: times, memory, and that all compute the same."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from .interface import Unsupported
from .rows import Row
from .worker import Column, Worker

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
    seconds: dict[str, list[list[float]]]  # of each call, round by round
    memory: dict[str, int]
    step_memory: dict[str, int]  # when a step has been recorded
    gemm: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)  # from minidl, of outputs and gradients
    kernels: dict[str, str] = field(default_factory=dict)  # the instruction set and the BLAS that ran
    unsupported: dict[str, str] = field(default_factory=dict)  # why a column is empty

    def median(self, column: str) -> float:
        """Over all calls."""
        return statistics.median(chain(*self.seconds[column]))

    def ratios(self, column: str) -> list[float]:
        """Round by round, how many times as long as minidl takes it takes."""
        of_rounds = (map(statistics.median, self.seconds[c]) for c in (column, "minidl"))
        return [theirs / ours for theirs, ours in zip(*of_rounds, strict=True)]

    def ratio(self, column: str) -> float | None:
        return statistics.median(self.ratios(column)) if column in self.seconds else None

    def memory_ratio(self) -> float | None:
        ours, theirs = self.step_memory["minidl"], self.step_memory.get("torch")
        return theirs / ours if ours and theirs else None

    def share_of_gemm(self) -> float | None:
        """minidl's FLOP/s over those of the fastest matrix product."""
        if not self.macs:
            return None
        return 2 * self.macs / self.median("minidl") / max(statistics.median(rates) for rates in self.gemm.values())

    def json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "group": self.group,
            "shape": self.shape,
            "macs": self.macs,
            "quartiles_ms": {c: [1e3 * q for q in quartiles([*chain(*s)])] for c, s in self.seconds.items()},
            "ratio": {c: self.ratio(c) for c in self.seconds},
            "ratio_quartiles": {c: quartiles(self.ratios(c)) for c in self.seconds},
            "ratio_of_medians": {c: self.median(c) / self.median("minidl") for c in self.seconds},
            "peak_bytes": self.memory,
            "step_peak_bytes": self.step_memory,
            "gemm_gflops": {c: statistics.median(rates) / 1e9 for c, rates in self.gemm.items()},
            "share_of_gemm": self.share_of_gemm(),
            "differences": self.differences,
            "kernels": self.kernels,
            "unsupported": self.unsupported,
        }


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


class Disagreement(Exception):
    """Two libraries give different numbers for one row."""


def measure(
    row: Row, columns: Mapping[str, Column], threads: int, rounds: int, tiny: bool = False, *,
    tolerances: Mapping[str, float] = TOLERANCES, also: Callable[[Mapping[str, Worker]], None] = lambda workers: None,
) -> Result:  # fmt: skip
    """Measure a row in these columns. ``also(workers)`` may measure more at the end."""
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(column, row, threads, tiny=tiny)) for name, column in columns.items()
        }
        for worker in workers.values():  # all at once: importing takes longest
            worker.send("memory")
        memory, unsupported = {}, {}
        for column, worker in list(workers.items()):
            try:
                memory[column] = worker.receive()
            except Unsupported as why:
                unsupported[column] = str(why)
                del workers[column]
        step_memory = {column: worker.ask("step_memory") for column, worker in workers.items()}
        outputs = {column: worker.ask("results") for column, worker in workers.items()}
        differences = require_agreement(outputs, tolerances)
        shape, macs = row.tiny if tiny else row.shape, workers["minidl"].ask("macs")
        kernels = {c: worker.ask("kernels") for c, worker in workers.items()}
        products = [c for c in ("minidl", "torch") if c in workers]
        turns = [*map(turn_of, workers.values()), *(partial(workers[c].ask, "gemm") for c in products)]
        measured = take_turns(turns, rounds)
        also(workers)
    seconds = dict(zip(workers, measured))
    gemm = {c: [*chain(*rates)] for c, rates in zip(products, measured[len(workers) :])}
    return Result(
        row.name, row.group, shape, macs, seconds, memory, step_memory, gemm, differences, kernels, unsupported
    )  # fmt: skip


Turn = Callable[[], list[float]]  # measures something several times


def turn_of(worker: Worker) -> Turn:
    """Calls for about TURN seconds: the seconds of each."""
    return partial(worker.ask, "times", calls_per_turn(min(worker.ask("times", 3))))


def calls_per_turn(seconds: float) -> int:
    return min(max(round(TURN / seconds), 1), 200)


def take_turns(turns: Sequence[Turn], rounds: int) -> list[list[list[float]]]:
    """What each turn measures in every round. Every other round goes backwards: nobody always follows the same one."""
    measured: list[list[list[float]]] = [[] for _ in turns]
    for round in range(rounds):
        for found, turn in list(zip(measured, turns))[:: -1 if round % 2 else 1]:
            time.sleep(PAUSE)
            found.append(turn())
    return measured


def require_agreement(
    outputs: Mapping[str, Mapping[str, np.ndarray]], tolerances: Mapping[str, float] = TOLERANCES
) -> dict[str, dict[str, float]]:
    """By column, how far its output and the worst of its gradients are from minidl's.

    Disagreement if that is too far: the benchmark never times a wrong thing.
    """
    ours = outputs["minidl"]
    differences: dict[str, dict[str, float]] = {}
    for column, theirs in outputs.items():
        if column == "minidl":
            continue
        if set(theirs) != set(ours):
            raise Disagreement(f"minidl gives {', '.join(ours)}, {column} {', '.join(theirs)}")
        worst = differences[column] = dict.fromkeys(tolerances, 0.0)
        for name, expected in ours.items():
            error, kind = difference(expected, theirs[name]), name.split()[0]
            if not error <= tolerances[kind]:
                raise Disagreement(f"{name}: {column} differs from minidl by {error:.1e} of its norm")
            worst[kind] = max(worst[kind], error)
    return differences


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """|a - b| / |a|; infinite if the shapes differ."""
    if a.shape != b.shape:
        return math.inf
    return float(np.linalg.norm((a - b).ravel()) / max(np.linalg.norm(a.ravel()), np.finfo(a.dtype).tiny))


T = TypeVar("T")


def attempt(measurements: Mapping[str, Callable[[], T]]) -> tuple[list[T], list[str]]:
    """The results of those that succeed, and what was wrong with the others, by their names; progress on stderr."""
    results, failures = [], []
    for i, (name, call) in enumerate(measurements.items()):
        print(f"{i + 1}/{len(measurements)} {name}", file=sys.stderr)
        try:
            results.append(call())
        except (Disagreement, RuntimeError) as error:
            failures.append(f"{name}: {error}")
            print(failures[-1], file=sys.stderr)
    return results, failures
