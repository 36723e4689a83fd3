"""A student's engine beside ours: one step in advance, which tells how long a run takes; and a table after it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...table import table
from ..terminal import UsageError
from .drive import Drive, Use
from .pieces import PIECES
from .student import Student

LONGEST = 120.0  # seconds that a step may take
ROUNDING = 1e-4  # relatively: what float32 may leave
SMALL = (4, 12), (32, 24)  # channels and side of convolutions that tell how long a multiplication takes
SOON = 5e-3  # seconds: a call that takes less is mostly not multiplication


class Engine:
    """The engine in a student's file, for a run. Inside ``with engine:`` it is in force.

    Raises UsageError if there is no such file, StudentError if it cannot be run.
    """

    def __init__(self, path: str | os.PathLike):
        self.drive = Drive(Student(path))

    def __enter__(self) -> Engine:
        self.drive.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.drive.__exit__(*error)

    # --- in advance

    def try_step(self, model: Any, optimiser: Callable, loss: Callable, batch: Any, steps: int) -> list[str]:
        """Make two steps on copies of the model, with our engine and with the student's: what to say of that.

        Two, as weights that begin at zero hide what is below them from the first. optimiser: makes one of parameters.
        loss: ``loss(model, batch)``, a Tensor, or a dict in which "loss" is one. Raises UsageError if a step would take
        minutes.
        """
        drive = self.drive

        def take_steps() -> float:
            """The seconds of the second one."""
            trained = copy.deepcopy(model)
            update = optimiser(trained.parameters())
            for _ in range(2):
                began, compared = perf_counter(), sum(use.aside for use in drive.uses.values())
                update.zero_grad()
                terms = loss(trained, batch)
                (terms if isinstance(terms, Tensor) else terms["loss"]).backward()
                update.step()
            return perf_counter() - began - (sum(use.aside for use in drive.uses.values()) - compared)

        with drive.mode(ours=True, work={}):
            ours = take_steps()
            self._refuse_minutes({name: count // 2 for name, count in drive.work.items()}, steps)
        with drive.mode(comparing=True):
            yours = take_steps()
        worst = max(drive.uses.values(), key=lambda use: use.worst.size, default=Use()).worst.size
        lines = [self.describe(), f"one step: {lasting(yours)}, with ours {lasting(ours)} (not recorded, as yours)"]
        whole = f"{steps} steps take about {lasting(steps * yours)}, with ours {lasting(steps * ours)}"
        lines.append(f"{whole}; what is measured between them comes on top")
        if worst <= ROUNDING:
            lines.append(f"each call gave what ours gives, with a relative difference of at most {worst:.0e}")
        lines += self.differences()
        drive.uses.clear()
        return lines

    def _refuse_minutes(self, work: dict[str, int], steps: int) -> None:
        """Before a step that takes minutes: the time of a multiplication is measured on a small input."""
        pace = {name: self._pace(name) for name in work}
        seconds = {name: count * pace[name] for name, count in work.items()}
        whole = sum(seconds.values())
        if whole > LONGEST:
            slowest = max(seconds, key=seconds.get)
            raise UsageError(
                f"one step would take about {lasting(whole)}, and {steps} steps {lasting(steps * whole)}: {slowest} "
                f"takes {pace[slowest] * 1e9:.0f} ns for a multiplication; try --quick, or write it with NumPy's "
                "products in place of loops"
            )

    def _pace(self, name: str) -> float:
        """Seconds for one multiplication of a convolution, on a small input, or on a larger one that takes moments."""
        for channels, side in SMALL:
            x = np.ones((1, channels, side, side), np.float32)
            w = np.ones((channels, channels, 3, 3), np.float32)
            arguments = {"conv": (x, w, 1, 1), "conv_backward_input": (x, w, x.shape, 1, 1)}
            given = arguments.get(name, (x, x, w.shape, 1, 1))
            times = []
            for _ in range(3):
                began = perf_counter()
                self.drive.student.call(name, *given)
                times.append(perf_counter() - began)
            if min(times) > SOON:
                break
        return min(times) / (x.size * w.size // channels)

    def describe(self) -> str:
        """Which pieces are the student's, and which are ours."""
        written = [p.name for p in PIECES.values() if p.drives and self._has(p)]
        others = [p.name for p in PIECES.values() if p.drives and not self._has(p)]
        text = f"yours, from {self.drive.student.name}: {', '.join(written) or 'nothing yet'}"
        return text + (f"; not written, so ours: {', '.join(others)}" if others else "")

    def _has(self, piece: Any) -> bool:
        names = [f.name for f in piece.functions] or ["walk"]
        return all(self.drive.has(name) for name in names)

    # --- a run

    def counting(self, batches: Callable[[int], Any], steps: int) -> Callable[[int], Any]:
        """The same batches; the engine learns from it which step begins."""

        def batch(step: int) -> Any:
            self.drive.begin(step, steps)
            return batches(step)

        return batch

    # --- afterwards

    def differences(self) -> list[str]:
        """A line for each function that does not give what ours gives."""
        lines = []
        for name, use in self.drive.uses.items():
            if use.worst.size > ROUNDING:
                away = f"by {use.worst.size:.1e}, relatively" if np.isfinite(use.worst.size) else "it is not finite"
                lines.append(f"{name} differs from ours{self._where(use)}: {away}; {use.worst.entry}")
        return lines

    def _where(self, use: Use) -> str:
        path = self.drive.paths.get(use.worst.layer, "") if use.worst.layer is not None else ""
        return f"{f' in {path}' if path else ''}, step {use.worst.step}"

    def report(self) -> list[str]:
        """The table of a run: calls, time, time of ours for as many calls, the largest difference and where it was."""
        rows = [("function", "calls", "yours", "ours", "times", "difference", "", "largest in")]
        for name, use in self.drive.uses.items():
            if not use.calls:
                continue
            ours = use.ours / use.compared * use.kernels if use.compared else None
            rows.append((
                name, str(use.calls), lasting(use.seconds), "" if ours is None else lasting(ours),
                f"{use.seconds / ours:.1f}" if ours else "",
                f"{use.worst.size:.1e}", "" if use.worst.size <= ROUNDING else "differs",
                self._where(use).lstrip(", ").removeprefix("in ") if use.worst.size else "",
            ))  # fmt: skip
        lines = [self.describe(), *table(rows, "<>>>>><<")] if len(rows) > 1 else [self.describe()]
        lines += self.differences()
        for name, use in self.drive.uses.items():
            for reason, count in use.elsewhere.items():
                lines.append(f"{name}: {count} calls went to ours ({reason})")
        return lines


def lasting(seconds: float) -> str:
    """A time as one says it: 3.1 ms, 0.42 s, 12 min, 5.2 h, 3 days."""
    for unit, length, most in (("ms", 1e-3, 0.1), ("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds / length:.2g} {unit}" if seconds / length < 10 else f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
