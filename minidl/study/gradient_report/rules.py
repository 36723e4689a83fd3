"""Check every rule of every primitive: ``minidl check``, also ``python -m minidl.check``."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context

from ...check.report import Report
from ...check.rules import check_rules, find, load
from ...core.primitive import registry
from ...kernels.cpu.workers import thread_count
from ..terminal import Parser, UsageError, deliver
from . import GradientReport

FEW = 8  # primitives: fewer are not worth a process
VERDICTS = ("PASS", "KINK", "INCONCLUSIVE", "FAIL")  # the last of them counts for all


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
    report = _joined(_checked(options.names or sorted(registry), options.seed))
    deliver(report, options)
    return 0 if report else 1


def _checked(names: list[str], seed: int) -> list[Report]:
    """A report for each primitive. Processes share many: what takes the time is Python, which is one thread's work."""
    workers = min(thread_count(), len(names) // FEW)
    if workers < 2:
        return [check_rules(name, seed) for name in names]
    with ProcessPoolExecutor(workers, get_context("spawn"), load) as pool:
        return list(pool.map(check_rules, names, repeat(seed)))


def _joined(reports: list[Report]) -> GradientReport:
    if len(reports) == 1:
        return GradientReport(**vars(reports[0]))
    worst = max((r.verdict for r in reports), key=VERDICTS.index)
    rows = [row for r in reports for row in r.rows]
    findings = [f for r in reports for f in r.findings]
    return GradientReport(f"check_rules of {len(reports)} primitives", worst, reports[0].columns, rows, findings)
