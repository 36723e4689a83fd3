"""How step time and peak memory of a small convolutional network grow with batch, pixels, depth and threads.

    python -m benchmarks.scaling [--json PATH] [--figure PATH] [--quick] [--rounds N]

The network is the denoiser of benchmarks/harness/networks.py: depth 4, 32 maps, on 4 images of 64 x 64; one of the four
is varied at a time. Each point is a training step of `minidl.train.fit` in a process of its own, float32; time is the
median over turns that the points of a series take one after another, memory the peak above model and input.

The exponent is the slope of log y against log x, by least squares, over the sizes marked *: the smallest are left out,
where the cost of calling counts more than the arithmetic. 1 means in proportion; for threads -1 is the ideal.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .harness.measure import take_turns, turn_of
from .harness.networks import denoiser
from .harness.report import as_text, command, in_a_line, machine, save
from .harness.rows import STEP, Row
from .harness.worker import Worker, cores

BATCH, SIDE, DEPTH, WIDTH = 4, 64, 4, 32


@dataclass(frozen=True)
class Point:
    """One size of a series: x is what it is drawn at."""

    x: int
    batch: int = BATCH
    side: int = SIDE
    depth: int = DEPTH
    threads: int = 0  # all

    def row(self) -> Row:
        shape = (self.batch, 1, self.side, self.side)
        network = partial(denoiser, depth=self.depth, width=WIDTH)
        return Row(f"{self}", STEP, network, shape, (1, 1, 8, 8), loss="MSELoss", optimiser="SGD")


@dataclass(frozen=True)
class Series:
    """What varies, its values, and how many of the smallest the fit leaves out."""

    name: str
    point: Callable[[int], Point]
    values: list[int]
    left_out: int


@dataclass
class Curve:
    """A series as it was measured."""

    name: str
    x: list[int]
    left_out: int
    seconds: list[float]
    memory: list[int]

    def exponent(self, y: list[float]) -> float | None:
        """The slope of log y against log x; None with fewer than two sizes."""
        x, y = self.x[self.left_out :], y[self.left_out :]
        return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 and min(y) > 0 else None

    def json(self) -> dict[str, Any]:
        exponents = {"time": self.exponent(self.seconds), "memory": self.exponent(self.memory)}
        return vars(self) | {"exponents": exponents}


def all_series(quick: bool) -> list[Series]:
    def values(*full: int) -> list[int]:
        return list(full[:2] if quick else full)

    powers = [1 << k for k in range(cores().bit_length())]
    threads = sorted({*(n for n in powers if n <= cores()), cores()})
    return [
        Series("batch", lambda n: Point(n, batch=n), values(1, 2, 4, 8, 16, 32), 2),
        Series("pixels", lambda n: Point(n * n, side=n), values(16, 32, 64, 128, 256), 2),
        Series("depth", lambda n: Point(n, depth=n), values(2, 4, 8, 16, 32), 2),
        Series("threads", lambda n: Point(n, threads=n), threads, 0),
    ]


def measure(series: Series, rounds: int) -> Curve:
    points = [series.point(value) for value in series.values]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker("minidl", p.row(), p.threads or cores())) for p in points]
        memory = [worker.ask("memory") for worker in workers]
        times = take_turns([*map(turn_of, workers)], rounds)
    left_out = min(series.left_out, max(len(points) - 2, 0))
    return Curve(series.name, [p.x for p in points], left_out, [statistics.median(chain(*t)) for t in times], memory)


def table(curves: list[Curve]) -> str:
    lines = [["varied", "size", "", "step ms", "peak MiB"]]
    for c in curves:
        for i, (x, seconds, memory) in enumerate(zip(c.x, c.seconds, c.memory)):
            fitted = "*" if i >= c.left_out else ""
            lines.append([c.name, f"{x}", fitted, f"{1e3 * seconds:.2f}", f"{memory / 2**20:.1f}"])
        lines.append(["", "", "exponent", text(c.exponent(c.seconds)), text(c.exponent(c.memory))])
    return as_text(lines)


def text(exponent: float | None) -> str:
    return "-" if exponent is None else f"{exponent:.2f}"


def draw(curves: list[Curve], path: Path) -> None:
    """A panel for each series, both axes logarithmic, with the fitted powers as dashed lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(9, 7), sharey=True, layout="constrained")
    for ax, c in zip(panels.flat, curves):
        time_ms, memory = [1e3 * s for s in c.seconds], [m / 2**20 for m in c.memory]
        for y, label, colour, marker in (
            (time_ms, "step time, ms", "#0072B2", "o"),  # Okabe-Ito
            (memory, "peak memory, MiB", "#D55E00", "s"),
        ):
            p = c.exponent(y)
            ax.loglog(c.x, y, marker, color=colour, label=f"{label}: power {text(p)}")
            if p is not None:
                x, logs = np.array(c.x[c.left_out :], float), np.log(y[c.left_out :])
                ax.loglog(x, np.exp(logs.mean() + p * (np.log(x) - np.log(x).mean())), "--", color=colour, linewidth=1)
        ax.set_xlabel(c.name)
        ax.set_xticks(c.x, [f"{x:,}" for x in c.x])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
        ax.legend(fontsize=9)
    figure.suptitle(f"A training step of {DEPTH} convolutions with {WIDTH} maps on {BATCH} images of {SIDE} x {SIDE}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = command("scaling", __doc__)
    parser.add_argument("--json", metavar="PATH", help="write the curves there")
    parser.add_argument("--figure", metavar="PATH", default="runs/scaling.png", help="(runs/scaling.png)")
    parser.add_argument("--quick", action="store_true", help="two sizes each, one round: a trial")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each point (11; 1 with --quick)")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else 11)
    curves = [measure(series, rounds) for series in all_series(options.quick)]
    about = machine(cores())
    print(in_a_line(about))
    print(table(curves))
    draw(curves, Path(options.figure))
    print(f"wrote {options.figure}")
    save({"machine": about, "curves": [c.json() for c in curves]}, options.json)


if __name__ == "__main__":
    main()
