"""One sum, four ways to compute it: a convolution and its two derivatives in each of them, timed and compared.

    python -m benchmarks.algorithms [--shape N,C,F,SIDE ...] [--kernel K] [--stride S] [--dilation D] [--groups G]
                                    [--threads N] [--rounds N] [--json PATH]

C maps of SIDE x SIDE become F, in a batch of N, with square kernels and float32; `conv` is what a layer computes,
`conv_transpose` carries a gradient back to its input, `conv_weight` to its kernels: three derivatives of one trilinear
form (minidl/ops/conv.py). The ways are described in minidl/kernels/cpu/convolution.py; a star marks the one that is
taken unless `with md.algorithm("im2col"):` names another.

Padding is dilation * (kernel - 1) // 2. In every round each way has a turn, so that all see the same machine; the
median over all calls counts. "x im2col" is how many times as fast as im2col a way is. The error is the largest over all
entries, from the definition in float64, over the largest entry.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import minidl as md
from minidl.core.primitive import Primitive
from minidl.kernels.algorithm import ON_CPU
from minidl.kernels.cpu import convolution, layout
from minidl.kernels.window import live_taps, mirrored_window
from minidl.ops.conv import conv_p, conv_transpose_p, conv_weight
from minidl.ops.window import Window

from .harness.measure import calls_per_turn
from .harness.meters import timed
from .harness.report import as_text, command, in_a_line, machine, require_threads, save
from .harness.worker import cores, environ

SHAPE = (8, 64, 64, 56)


@dataclass(frozen=True)
class Case:
    """A convolution. Raises ValueError if the numbers do not fit each other."""

    n: int
    inputs: int
    outputs: int
    side: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if self.inputs % self.groups or self.outputs % self.groups:
            raise ValueError(f"{self.groups} groups must divide {self.inputs} input and {self.outputs} output channels")
        _ = self.window  # raises if the kernel does not fit

    @cached_property
    def window(self) -> Window:
        padding = self.dilation * (self.kernel - 1) // 2
        size = (self.side, self.side)
        return Window.of(size, self.kernel, stride=self.stride, padding=padding, dilation=self.dilation)

    def __str__(self) -> str:
        geometry = [f"kernel {self.kernel}x{self.kernel}"]
        geometry += [f"{k} {v}" for k in ("stride", "dilation", "groups") if (v := getattr(self, k)) > 1]
        return f"{self.n} x {self.inputs} x {self.side} x {self.side} to {self.outputs} maps, {', '.join(geometry)}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, w and u of the trilinear form, in float32, as layers hand them on."""
        rng = np.random.default_rng(0)
        size, kernel = self.window.size, self.window.kernel
        x = rng.standard_normal((self.n, self.inputs, *size), np.float32)
        w = rng.standard_normal((self.outputs, self.inputs // self.groups, *kernel), np.float32)
        u = rng.standard_normal((self.n, self.outputs, *self.window.output), np.float32)
        return layout.laid_out(x), layout.laid_out(w), layout.laid_out(u)

    def way(self, member: Primitive) -> str:
        """How a member of the family is computed, here and now."""
        window = live_taps(self.window)[1]  # without taps that meet padding only
        inputs, outputs = self.inputs, self.outputs
        if member is conv_transpose_p:
            if self.stride > 1:
                return "im2col"
            inputs, outputs, window = outputs, inputs, mirrored_window(window)
        return convolution.choose(self.n, inputs, outputs, np.dtype(np.float32), window, self.groups)


@dataclass
class Timings:
    """What was measured of one member: by the ways that are possible."""

    member: str
    formula: str
    chosen: str
    errors: dict[str, float]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, way: str) -> float:
        return statistics.median(self.seconds[way])

    def speedup(self, way: str) -> float:
        """How many times as fast as im2col."""
        return self.median("im2col") / self.median(way)

    def json(self) -> dict[str, Any]:
        ways = {
            way: {"ms": 1e3 * self.median(way), "times_as_fast_as_im2col": self.speedup(way), "error": error}
            for way, error in self.errors.items()
        }
        return {"formula": self.formula, "chosen": self.chosen, "ways": ways}


def measure(case: Case, rounds: int) -> list[Timings]:
    """The three members of the family, each in every way that is possible."""
    x, w, u = case.arrays()
    geometry = {"window": case.window, "groups": case.groups}
    family = ((conv_p, x, w), (conv_transpose_p, u, w), (conv_weight, x, u))
    results, turns = [], []
    for member, a, b in family:
        expected = member.forward(np, a.astype(np.float64), b.astype(np.float64), **geometry)
        result = Timings(member.name, member.formula, case.way(member), {})
        call = partial(member.run, np, (a, b), geometry)
        for way in possible(case, member):
            with md.algorithm(way):
                result.errors[way] = error(call(), expected)
                calls = calls_per_turn(timed(call))
            turns.append((way, call, calls, result.seconds.setdefault(way, [])))
        results.append(result)
    for _ in range(rounds):
        for way, call, calls, seconds in turns:
            with md.algorithm(way):
                seconds += [timed(call) for _ in range(calls)]
    return results


def possible(case: Case, member: Primitive) -> Iterable[str]:
    """The ways that are taken when `md.algorithm` names them."""
    for way in ON_CPU:
        with md.algorithm(way):
            if case.way(member) == way:
                yield way


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """max |found - expected| / max |expected|"""
    return float(abs(found - expected).max() / abs(expected).max())


def table(results: list[Timings]) -> str:
    lines = [["", "way", "ms", "x im2col", "error"]]
    for r in results:
        for i, way in enumerate(ON_CPU):
            star = " *" if way == r.chosen else ""
            measured = ["not possible", "", ""]
            if way in r.errors:
                measured = [f"{1e3 * r.median(way):.2f}", f"{r.speedup(way):.2f}", f"{r.errors[way]:.0e}"]
            lines.append([r.member if not i else "", way + star, *measured])
    formulas = "\n".join(f"{r.member:16}{r.formula}" for r in results)
    return f"{formulas}\n{as_text(lines)}"


# --- the command


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command("algorithms", __doc__)
    shapes = {"nargs": "+", "type": shape, "default": [SHAPE], "metavar": "N,C,F,SIDE"}
    parser.add_argument("--shape", **shapes, help=f"batch, channels in and out, side ({','.join(map(str, SHAPE))})")
    for name, default in (("kernel", 3), ("stride", 1), ("dilation", 1), ("groups", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar=name[0].upper(), help=f"({default})")
    parser.add_argument("--threads", type=int, metavar="N", help=f"({cores()}, all)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each way (5)")
    parser.add_argument("--json", metavar="PATH", help="write everything measured there")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    if options.threads is not None and not find_spec("threadpoolctl"):
        parser.error("--threads: BLAS has threads of its own without threadpoolctl; pip install threadpoolctl")
    options.threads = cores() if options.threads is None else options.threads
    require_threads(parser, options.threads)
    geometry = options.kernel, options.stride, options.dilation, options.groups
    try:
        options.cases = [Case(*numbers, *geometry) for numbers in options.shape]
    except ValueError as problem:
        parser.error(str(problem))
    return options


def shape(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} must be four whole numbers N,C,F,SIDE, such as 8,64,64,56")
    return tuple(map(int, numbers))


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    about = machine(options.threads)
    print(in_a_line(about))
    found = []
    with environ({"MINIDL_NUM_THREADS": str(options.threads)}):
        for case in options.cases:
            results = measure(case, options.rounds)
            print(f"\n{case}\n{table(results)}")
            members = {r.member: r.json() for r in results}
            found.append({"convolution": asdict(case), "members": members})
    save({"machine": about, "convolutions": found}, options.json)


if __name__ == "__main__":
    main()
