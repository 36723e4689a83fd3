"""The cost of one operation, forward plus backward, on four numbers: minidl's, and PyTorch's where it is installed.

    python -m benchmarks.overhead [--length 1000] [--json PATH]

A chain of `length` equal operations is built and differentiated; the time is divided by the length. The two
libraries take turns in one run, and the smallest of several turns counts: what is left is overhead, not arithmetic.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

import minidl as md
from minidl import functional as F
from minidl.table import table

from .harness.report import save

warnings.filterwarnings("ignore", category=RuntimeWarning)  # chains of four numbers may overflow

Step = Callable[[Any, Any], Any]  # (y, constant) -> y


def operations(torch: Any) -> dict[str, tuple[Step, Step]]:
    """By name: how to apply the operation in minidl and in torch."""

    def same(step: Step) -> tuple[Step, Step]:
        return step, step

    return {
        "y + c": same(lambda y, c: y + c),
        "y - c": same(lambda y, c: y - c),
        "y * c": same(lambda y, c: y * c),
        "y / c": same(lambda y, c: y / c),
        "y * 1.5": same(lambda y, c: y * 1.5),
        "1 - y": same(lambda y, c: 1 - y),
        "y * y": same(lambda y, c: y * y),
        "y ** 2": same(lambda y, c: y**2),
        "-y": same(lambda y, c: -y),
        "exp(-y)": (lambda y, c: F.exp(-y), lambda y, c: torch.exp(-y)),
        "tanh": (lambda y, c: F.tanh(y), lambda y, c: torch.tanh(y)),
        "sigmoid": (lambda y, c: F.sigmoid(y), lambda y, c: torch.sigmoid(y)),
        "relu": (lambda y, c: F.relu(y), lambda y, c: torch.relu(y)),
        "abs": same(lambda y, c: abs(y)),
        "maximum": (lambda y, c: F.maximum(y, c), lambda y, c: torch.maximum(y, c)),
        "reshape, twice": same(lambda y, c: y.reshape(2, 2).reshape(4)),
        "y[::-1] or flip": (lambda y, c: y[::-1], lambda y, c: y.flip(0)),
        "y - y.mean()": same(lambda y, c: y - y.mean()),
        "y / y.sum()": same(lambda y, c: y / y.sum()),
        "concat of halves": (
            lambda y, c: F.concat([y[:2], y[2:]], axis=0),
            lambda y, c: torch.cat([y[:2], y[2:]], dim=0),
        ),
        "matmul (2x2)": same(lambda y, c: (y.reshape(2, 2) @ c.reshape(2, 2)).reshape(4)),
    }


def seconds(step: Step, x: Any, c: Any, length: int) -> float:
    """Forward and backward through a chain, per operation."""
    start = time.perf_counter()
    y = x
    for _ in range(length):
        y = step(y, c)
    y.sum().backward()
    return (time.perf_counter() - start) / length


def measure(length: int, turns: int) -> list[dict[str, Any]]:
    """Microseconds of each operation in each library that is installed, and their ratio."""
    torch = import_module("torch") if find_spec("torch") else None
    values = np.full(4, 0.5, np.float32)
    rows = []
    for name, (ours, theirs) in operations(torch).items():
        columns = {"minidl": (ours, md.tensor), **({"torch": (theirs, torch.tensor)} if torch else {})}
        best = dict.fromkeys(columns, math.inf)
        for _ in range(turns):
            for column, (step, tensor) in columns.items():
                x, c = tensor(values, requires_grad=True), tensor(values)
                best[column] = min(best[column], seconds(step, x, c, length))
        row = {"operation": name, **{column: 1e6 * value for column, value in best.items()}}
        rows.append(row | ({"ratio": row["minidl"] / row["torch"]} if torch else {}))
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=1000, help="operations in a chain (1000)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each library; the best counts (9)")
    parser.add_argument("--json", metavar="PATH", help="write the rows there too")
    options = parser.parse_args(arguments)
    rows = measure(options.length, options.turns)
    columns = [name for name in rows[0] if name != "operation"]
    total = {"operation": "mean"} | {c: sum(row[c] for row in rows) / len(rows) for c in columns}
    if "torch" in total:
        total["ratio"] = total["minidl"] / total["torch"]
    head = ["operation", *(c if c == "ratio" else f"{c} us" for c in columns)]
    lines = [[row["operation"], *(f"{row[c]:.2f}" for c in columns)] for row in [*rows, total]]
    print("\n".join(table([head, *lines], "<>")))
    found: dict[str, Any] = {"rows": rows}
    if "torch" in total:
        found["geometric_mean"] = math.exp(sum(math.log(row["ratio"]) for row in rows) / len(rows))
        print(f"geometric mean of the ratios: {found['geometric_mean']:.2f}")
    save(found, options.json)


if __name__ == "__main__":
    main()
