"""Check every rule of every primitive: ``minidl check``, also ``python -m minidl.check``."""

from __future__ import annotations

from ...check.rules import find, load
from ..terminal import Parser, UsageError, deliver
from . import GradientReport, check_rules


def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 0 if all pass, 1 if not, 2 for a bad command line."""
    parser = Parser(prog="minidl check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="primitive", help="names of primitives; all by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples and cotangents (default 0)")
    parser.add_views()
    options = parser.parse_args(argv)
    load()
    try:
        for name in options.names:
            find(name)
    except KeyError as error:
        raise UsageError(error.args[0]) from None
    report = _joined([check_rules(name, options.seed) for name in options.names or [None]])
    deliver(report, options)
    return 0 if report else 1


def _joined(reports: list[GradientReport]) -> GradientReport:
    if len(reports) == 1:
        return reports[0]
    worst = next((r.verdict for r in reports if not r), "PASS")
    rows = [row for r in reports for row in r.rows]
    findings = [f for r in reports for f in r.findings]
    return GradientReport(f"check_rules of {len(reports)} primitives", worst, reports[0].columns, rows, findings)
