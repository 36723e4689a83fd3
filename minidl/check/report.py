"""What a check found, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .diagnosis import Finding

VERDICTS = ("PASS", "FAIL", "KINK", "INCONCLUSIVE", "NONDETERMINISTIC")


@dataclass
class Report:
    """The outcome of a check. True in a condition if the verdict is PASS.

    ``verdict`` is one of PASS, FAIL, KINK (on a point without derivative, and no way off it), INCONCLUSIVE (the error
    bars are too wide to tell) and NONDETERMINISTIC. ``rows`` under ``columns`` are the table of what was compared;
    ``findings`` say what is wrong; ``sweep`` is (step, error) of central differences in one direction.
    """

    title: str
    verdict: str = "PASS"
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sweep: list[tuple[float, float]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.verdict == "PASS"

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from .page import body

        return body(self)

    def text(self) -> str:
        """A few lines: the verdict, the table, what is wrong and what to do."""
        lines = [f"{self.title}: {self.verdict}", *_table(self.columns, self.rows)]
        lines += [line for finding in self.findings for line in finding.text().splitlines()]
        lines += [f"note: {note}" for note in self.notes]
        if self.sweep:
            lines.append(f"central differences: {shape_of(self.sweep)}")
            lines += [f"  step {h:.0e}  error {error:.1e}" for h, error in self.sweep[::2]]
        return "\n".join(lines)

    def json(self) -> str:
        """The report as JSON text."""
        content: dict[str, Any] = {
            "title": self.title,
            "verdict": self.verdict,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "findings": [finding.json() for finding in self.findings],
            "notes": self.notes,
            "sweep": self.sweep,
        }
        return json.dumps(content, indent=2)

    def html(self, path: str | Path | None = None) -> str:
        """The report as one page that needs no network and no script; written to `path` if given."""
        from .page import page

        text = page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text


def shape_of(sweep: list[tuple[float, float]]) -> str:
    """Does the error fall with the step? Wrong rules leave it flat; rounding and truncation make a U."""
    errors = [e for _, e in sweep]
    low, high = min(errors), sorted(errors)[len(errors) // 2]
    if high <= 3 * low:
        return f"the error is flat at {low:.1e} at every step, so the rule is wrong, not the step"
    return f"the error falls to {low:.1e} and rises again, a U-curve, as rounding and truncation make it"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [columns, *rows]
    ]
