"""Sums of many float32 numbers: how exact they are over any axis in any layout, and what that costs.

    python -m benchmarks.sums [--rows N ...] [--rounds N] [--threads N] [--json PATH]

`sum` and `mean` of an array (N, 8) in C order, in Fortran order, transposed (as (8, N)) and with gaps, over each axis
and over both; and the gradient of the bias of a Linear(2, 8) over N rows. Its numbers are uniform in [0, 1). The error
is the largest over all entries, relative to the sum in float64; "x eps" that in units of float32's 6e-8. NumPy's own
sum of the same array has its turn in every round, the least time of all rounds counts; of the bias, NumPy's column is
its sum of the cotangents, minidl's the whole backward pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import minidl as md
from minidl import nn

from .harness.meters import timed
from .harness.report import as_text, command, in_a_line, machine, require_threads, save
from .harness.worker import cores, environ

ROWS = (100_000, 1_000_000, 10_000_000)
WIDTH = 8
EPS = float(np.finfo(np.float32).eps) / 2


class Sum(NamedTuple):
    """One sum: minidl's way and NumPy's, and what is right."""

    name: str
    ours: Callable[[], Any]
    numpy: Callable[[], Any]
    exact: np.ndarray


def layouts(rng: np.random.Generator, rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of so many rows, or columns where they are transposed."""
    x = rng.random((rows, WIDTH), np.float32)
    yield "C", x
    yield "Fortran", np.asfortranarray(x)
    yield "transposed", x.T
    yield "every second row", np.repeat(x[: -(-rows // 2)], 2, axis=0)[::2]
    yield "every second column", np.repeat(x, 2, axis=1)[:, ::2]


def sums(rows: int) -> Iterator[Sum]:
    rng = np.random.default_rng(0)
    for layout, x in layouts(rng, rows):
        for axis in (0, 1, None):
            over = "all" if axis is None else f"axis {axis}"
            for name in ("sum", "mean"):
                ways = partial(value, md.Tensor(x), name, axis), partial(value, x, name, axis)
                yield Sum(f"{name}, {layout}, {over}", *ways, getattr(x, name)(axis, np.float64))
    layer, g = nn.Linear(2, WIDTH), rng.random((rows, WIDTH), np.float32)
    inputs = md.Tensor(np.ones((rows, 2), np.float32))
    exact = g.sum(0, dtype=np.float64)
    yield Sum("gradient of a bias", partial(bias_gradient, layer, inputs, g), partial(np.sum, g, axis=0), exact)


def value(x: md.Tensor | np.ndarray, name: str, axis: int | None) -> Any:
    return getattr(x, name)(axis)


def bias_gradient(layer: nn.Linear, x: md.Tensor, g: np.ndarray) -> np.ndarray:
    return md.grad(layer(x), [layer.bias], g)[0].numpy()


def measure(case: Sum, rounds: int) -> dict[str, Any]:
    """Errors, and the least milliseconds of so many rounds."""
    ways = {"minidl": case.ours, "numpy": case.numpy}
    errors = {name: float(np.max(abs(np.asarray(way()) / case.exact - 1))) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    return {"sum": case.name, "error": errors, "ms": {name: 1e3 * min(times) for name, times in seconds.items()}}


def line(rows: int, found: dict[str, Any]) -> list[str]:
    errors, ms = found["error"], found["ms"]
    exact = [f"{errors['minidl']:.1e}", f"{errors['minidl'] / EPS:.1f}", f"{errors['numpy']:.1e}"]
    times = ms["minidl"], ms["numpy"], ms["numpy"] / ms["minidl"]
    return [f"{rows:,}", found["sum"], *exact, *(f"{t:.2f}" for t in times)]


HEAD = ["rows", "", "error", "x eps", "NumPy's error", "ms", "NumPy's ms", "NumPy/minidl"]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command("sums", __doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, metavar="N", help="(100,000 to 10,000,000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each way (5)")
    parser.add_argument("--threads", type=int, default=cores(), metavar="N", help=f"({cores()}, all)")
    parser.add_argument("--json", metavar="PATH", help="write everything measured there")
    options = parser.parse_args(arguments)
    for name, least in (("rows", min(options.rows)), ("rounds", options.rounds)):
        if least < 1:
            parser.error(f"--{name} {least}: at least 1")
    require_threads(parser, options.threads)
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    about = machine(options.threads)
    print(in_a_line(about))
    found, lines = [], [HEAD]
    with environ({"MINIDL_NUM_THREADS": str(options.threads)}):
        for rows in options.rows:
            for case in sums(rows):
                found.append({"rows": rows, **measure(case, options.rounds)})
                lines.append(line(rows, found[-1]))
    print(as_text(lines))
    worst = max(found, key=lambda f: f["error"]["minidl"])
    print(f"worst: {worst['error']['minidl']:.1e}, {worst['rows']:,} rows, {worst['sum']}")
    save({"machine": about, "sums": found}, options.json)


if __name__ == "__main__":
    main()
