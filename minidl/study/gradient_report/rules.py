"""Check every rule of every primitive: ``python -m minidl check``."""

from __future__ import annotations

import argparse
import sys

from ...check.report import Report
from ...check.rules import check_rules, find, load


def main(arguments: list[str] | None = None) -> int:
    """Print the table; exit code 0 if all pass, 1 if not, 2 for a bad command line."""
    parser = argparse.ArgumentParser(prog="python -m minidl.check", description="Check the rules of the primitives.")
    parser.add_argument("names", nargs="*", metavar="primitive", help="names of primitives; all by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples and cotangents (default 0)")
    parser.add_argument("--html", metavar="PATH", help="also write the report as one HTML page")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    load()
    try:
        for name in options.names:
            find(name)
    except KeyError as error:
        parser.error(error.args[0])
    reports = [check_rules(name, options.seed) for name in options.names] or [check_rules(None, options.seed)]
    report = _joined(reports)
    if options.html:  # before the text: the reader of a pipe may leave
        report.html(options.html)
    print(report.json() if options.json else report.text())
    return 0 if report else 1


def _joined(reports: list[Report]) -> Report:
    first = reports[0]
    if len(reports) == 1:
        return first
    worst = next((r.verdict for r in reports if not r), "PASS")
    rows = [row for r in reports for row in r.rows]
    findings = [f for r in reports for f in r.findings]
    return Report(f"check_rules of {len(reports)} primitives", worst, first.columns, rows, findings)


if __name__ == "__main__":
    sys.exit(main())
