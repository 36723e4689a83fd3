"""What a check found, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..table import table
from .compare import Entries
from .diagnosis import Finding
from .sweep import Sweep

VERDICTS = ("PASS", "FAIL", "KINK", "INCONCLUSIVE", "NONDETERMINISTIC")
WORST = 8  # entries in the table of the worst

ADVICE = {
    "PASS": "Nothing to do: rules and oracle agree within the tolerance.",
    "FAIL": "Look at the worst entry first, and derive the rule again there.",
    "KINK": "Choose other inputs, away from the point where f has no derivative: no gradient is right there.",
    "INCONCLUSIVE": "Choose inputs inside the domain of f, where it is smooth: at the place named, nothing was shown.",
    "NONDETERMINISTIC": "Draw random numbers from a generator made inside f from a fixed seed, then check again.",
}


@dataclass(frozen=True)
class Compared:
    """The gradient with respect to one input, entry by entry."""

    name: str
    entries: Entries


@dataclass(frozen=True)
class Worst:
    """One entry of a gradient: the oracle's value, the rules', and their distance, relatively."""

    name: str
    index: tuple[int, ...]
    expected: float
    got: float
    error: float


@dataclass(repr=False)
class Report:
    """The outcome of a check. True in a condition if the verdict is PASS.

    ``verdict`` is one of PASS, FAIL, KINK (on a point without derivative, and no way off it), INCONCLUSIVE (no oracle
    at an edge of the domain, or error bars too wide to tell) and NONDETERMINISTIC. ``rows`` under ``columns`` are the
    table of what was compared; ``findings`` say what is wrong, ``advice`` what to do; ``compared`` holds gradients
    entry by entry, where the whole Jacobian was compared; ``sweep`` is the error of central differences at many steps
    in one direction, or None.
    """

    title: str
    verdict: str = "PASS"
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    measure: Callable[[], Sweep] | None = None  # works the sweep out, the first time that it is asked for

    def __bool__(self) -> bool:
        return self.verdict == "PASS"

    @property
    def advice(self) -> str:
        """One sentence: what to do."""
        return next((f.advice for f in self.findings if f.advice), ADVICE[self.verdict])

    @cached_property
    def sweep(self) -> Sweep | None:
        return self.measure() if self.measure else None

    @property
    def worst(self) -> list[Worst]:
        """The entries that are farthest from the oracle, the farthest first; last those where it has no value."""
        entries = []
        for c in self.compared:
            order = np.argsort(-c.entries.error, axis=None, kind="stable")[:WORST]
            for i in order:
                at = tuple(int(j) for j in np.unravel_index(i, c.entries.error.shape))
                entries.append(
                    Worst(c.name, at, *(float(a[at]) for a in (c.entries.expected, c.entries.got, c.entries.error)))
                )
        return sorted(entries, key=lambda w: np.inf if np.isnan(w.error) else -w.error)[:WORST]

    def table(self) -> list[str]:
        """The rows under their columns, as lines; none if nothing was compared."""
        return table([self.columns, *self.rows], indent="  ") if self.rows else []

    def text(self) -> str:
        """A few lines: the verdict, the table, what is wrong and what to do."""
        lines = [f"{self.title}: {self.verdict}", *self.table()]
        lines += [line for finding in self.findings for line in finding.text().splitlines()]
        lines += [f"note: {note}" for note in self.notes]
        if not self and self.sweep:
            lines.append(f"central differences: {self.sweep.sentence()}")
            lines += [f"  step {p.step:.0e}  error {p.rules:.1e}" for p in self.sweep.points[::2]]
        return "\n".join(lines)

    __repr__ = text
