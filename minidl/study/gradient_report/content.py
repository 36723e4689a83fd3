"""A report as plain values, for JSON."""

from __future__ import annotations

from typing import Any

from ...check.report import Report


def content(report: Report) -> dict[str, Any]:
    """The outcome, the table row by row, the findings, the worst entries, and the sweep of steps if there is one."""
    sweep = report.sweep
    return {
        "title": report.title,
        "verdict": report.verdict,
        "advice": report.advice,
        "rows": [dict(zip(report.columns, row, strict=True)) for row in report.rows],
        "findings": [finding.content() for finding in report.findings],
        "notes": report.notes,
        "worst": [vars(w) for w in report.worst],
        "sweep": sweep
        and {"shape": sweep.shape, "sentence": sweep.sentence(), "points": [vars(p) for p in sweep.points]},
    }
