"""``minidl assignment grade``: marks for a class, or for one student."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from argparse import Namespace
from datetime import datetime
from pathlib import Path

from ....files.atomic import replacing
from ...terminal import Parser, UsageError, suggestion, target
from ..marking import CASES
from ..questions import QUESTIONS
from ..runner import MEMORY, SECONDS
from .closed import Closed
from .marks import Terms, grade
from .report import Report
from .submissions import gather, single

WORDS = """
FOLDER is one student's folder; with --class, it holds a folder, a zip or files for each student, as Moodle and Canvas
give them out, or is a zip of all. Students' code runs in processes that see the inputs of a case and nothing else, with
NumPy and SciPy. This is no sandbox: docs/teaching.md says what it stops, and how to run it in one.

Exit code 0: every asked question of every student was marked; 4: not all, and the text says what.
"""


def add_options(parser: Parser) -> None:
    """The options of the command."""
    parser.epilog = WORDS
    add = parser.add_argument
    add("folder", metavar="FOLDER")
    add("--class", dest="many", action="store_true", help="FOLDER holds a class")
    add_asked(parser)
    add("--jobs", type=int, metavar="N", default=os.cpu_count() or 1, help="students at a time (as many as cores)")
    add("--csv", metavar="FILE", type=target, help="write a row for each student")
    add("--json", metavar="FILE", type=target, help="write everything")
    add("--html", metavar="FILE", type=target, help="write a page")
    add("--gradescope", metavar="FILE", help="write a student's results as Gradescope reads them")
    add("--due", type=datetime.fromisoformat, metavar="DATE", help='"2026-11-20 23:59": later files are late')
    add("--late", type=float, default=100.0, metavar="PERCENT", help="of the points is left to who is late (100)")
    add("--cases", type=int, default=CASES, help=f"how many cases to try ({CASES})")
    add("--seconds", type=float, default=SECONDS, help=f"time for a question ({SECONDS:g})")
    add("--memory", type=int, default=MEMORY, metavar="MIB", help=f"for a question ({MEMORY})")
    add("--allow", nargs="+", default=[], metavar="PACKAGE", help="answers may import it, beside numpy and scipy")
    add("--python", default="", help="the interpreter of an environment with NumPy, to run answers in")
    add("--user", default="", help="the account to run answers as (needs root)")


def add_asked(parser: Parser) -> None:
    """The options that say what is asked."""
    add = parser.add_argument
    add("--ask", nargs="+", metavar="ID[=POINTS]", default=list(QUESTIONS), help="the questions (all, 1 point each)")
    add("--seed", metavar="SECRET", default="", help="what cases are drawn from, or @FILE (a new one)")


def run(options: Namespace) -> int:
    """Mark, write the files that are asked for, and print."""
    folder = Path(options.folder)
    if not (folder.is_dir() or (folder.is_file() and folder.suffix.lower() == ".zip")):
        raise UsageError(f"{folder} is no folder and no zip")
    for name, least in (("cases", 1), ("seconds", 0.1), ("memory", 128), ("jobs", 1), ("late", 0)):
        if not getattr(options, name) >= least:
            raise UsageError(f"--{name} {getattr(options, name):g} must be at least {least:g}")
    if options.many and options.gradescope:
        raise UsageError("--gradescope is for one student's folder, without --class")
    secret = seed(options.seed)
    terms = Terms(asked(options.ask), secret, options.cases, options.seconds, options.memory, options.late / 100)
    with tempfile.TemporaryDirectory(prefix="minidl-marks-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        closed = Closed(work, options.allow, options.python, options.user)
        if options.many:
            students, notes = gather(folder, work, options.due)
        else:
            students, notes = [single(folder, work, options.due)], []
        graded = grade(students, terms, closed, options.jobs, lambda done: show(done, len(students)))
        report = Report(terms.asked, graded, notes, secret)
    if options.json:
        write(options.json, report.json() + "\n")
    if options.csv:
        write(options.csv, "\ufeff" + report.csv())  # the mark that makes Excel read UTF-8
    if options.html:
        report.html(options.html)
    if options.gradescope:
        write(options.gradescope, json.dumps(report.gradescope(), indent=2) + "\n")
    print(report.text())
    return 0 if report.complete else 4


def asked(words: list[str]) -> dict[str, float]:
    """Points by question, of ``ID`` and ``ID=POINTS``."""
    found = {}
    for word in words:
        name, _, points = word.partition("=")
        if name not in QUESTIONS:
            raise UsageError(f"--ask {word}: {name!r} is not a question{suggestion(name, QUESTIONS)}")
        try:
            found[name] = float(points or 1)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] < float("inf"):
            raise UsageError(f"--ask {word}: {points!r} is no number of points")
    return found


def seed(text: str) -> str:
    """The secret itself, or the first line of @FILE, which no list of processes shows; or a new one."""
    if text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8").split("\n")[0].strip()
        if not text:
            raise UsageError("--seed: the file's first line is empty")
    return text or secrets.token_hex(8)


def show(done: int, of: int) -> None:
    """How far it is, on a terminal."""
    if sys.stderr.isatty() and of > 1:
        print(f"\r{done} of {of} students", end="\n" if done == of else "", file=sys.stderr, flush=True)


def write(path: str, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))
