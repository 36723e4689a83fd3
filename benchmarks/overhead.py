"""The cost of one operation, forward plus backward, on four numbers: ours against PyTorch's, in one run.

    python -m benchmarks.overhead [--length 1000] [--json PATH]

A chain of `length` equal operations is built and differentiated; the time is divided by the length. The two
libraries take turns, and the smallest of several turns counts: what is left is overhead, not arithmetic.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as md
from minidl import functional as F

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
        "matmul (2x2)": (
            lambda y, c: (y.reshape(2, 2) @ c.reshape(2, 2)).reshape(4),
            lambda y, c: (y.reshape(2, 2) @ c.reshape(2, 2)).reshape(4),
        ),
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
    import torch

    values = np.full(4, 0.5, np.float32)
    rows = []
    for name, (ours, theirs) in operations(torch).items():
        best = [math.inf, math.inf]
        for _ in range(turns):
            x, c = md.tensor(values, requires_grad=True), md.tensor(values)
            best[0] = min(best[0], seconds(ours, x, c, length))
            x, c = torch.tensor(values, requires_grad=True), torch.tensor(values)
            best[1] = min(best[1], seconds(theirs, x, c, length))
        rows.append({"operation": name, "minidl": best[0] * 1e6, "torch": best[1] * 1e6, "ratio": best[0] / best[1]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=1000, help="operations in a chain (1000)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each library; the best counts (9)")
    parser.add_argument("--json", metavar="PATH", help="write the rows there too")
    options = parser.parse_args()
    rows = measure(options.length, options.turns)
    print(f"{'operation':20}{'minidl us':>10}{'torch us':>10}{'ratio':>8}")
    for row in rows:
        print(f"{row['operation']:20}{row['minidl']:10.2f}{row['torch']:10.2f}{row['ratio']:8.2f}")
    total = {k: sum(row[k] for row in rows) / len(rows) for k in ("minidl", "torch")}
    mean = math.exp(sum(math.log(row["ratio"]) for row in rows) / len(rows))
    print(f"{'mean':20}{total['minidl']:10.2f}{total['torch']:10.2f}{total['minidl'] / total['torch']:8.2f}")
    print(f"geometric mean of the ratios: {mean:.2f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"rows": rows, "geometric_mean": mean}, file, indent=1)


if __name__ == "__main__":
    main()
