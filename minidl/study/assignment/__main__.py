"""Questions on backpropagation and convolution: write a function for each, and be told what is wrong with it.

Exit codes: 0 passed; 1 wrong; 2 a command line that asks for something impossible; 3 your code raised, or was stopped
at a limit; 4 nothing to mark, as in a file that is not filled in.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from ...table import table
from ..page import capital
from ..terminal import Parser, UsageError, suggestion
from . import sheet
from .grading import command as grading
from .handout import command as handout
from .marking import CASES, Marking
from .question import Question
from .questions import QUESTIONS
from .runner import MEMORY, SECONDS, check

NO_SANDBOX = (
    "Your code runs in a process of its own with limits for time and memory. They stop\n"
    "accidents, not malice: this is no sandbox, so run only code that you would run yourself."
)


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands; the exit code."""
    options = parser().parse_args(argv)
    return options.run(options)


def parser() -> Parser:
    top = Parser(prog="minidl assignment", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, words: str) -> Parser:
        made = commands.add_parser(name, help=words, description=f"{capital(words)}.")
        made.set_defaults(run=run)
        return made

    command("list", list_questions, "list the questions")
    show = command("show", show_question, "print a question")
    show.add_argument("id", metavar="ID")
    show.add_argument("--case", type=int, metavar="SEED", help="print the arguments of one case instead, as Python")
    start = command("start", start_question, "write a file to fill in")
    start.add_argument("id", metavar="ID", help="a question, or all")
    start.add_argument("folder", metavar="DIR", nargs="?", default=".", help="where to (the current folder)")
    one = command("check", check_file, "check a file that answers a question")
    one.add_argument("id", metavar="ID")
    one.add_argument("file", metavar="FILE", help="your file, or the folder it is in")
    several = command("report", report_folder, "check all files of a folder")
    several.add_argument("folder", metavar="DIR")
    grading.add_options(command("grade", grading.run, "give marks to a class, or to one student"))
    handout.add_options(command("pack", handout.run, "write questions for Gradescope, otter-grader or nbgrader"))
    for made in (show, one):
        made.add_argument("--reveal", action="store_true", help="print the solution, too")
    for made in (one, several):
        made.epilog = NO_SANDBOX
        made.add_argument("--json", action="store_true", help="print JSON")
        made.add_argument("--cases", type=int, default=CASES, help=f"how many cases to try (default {CASES})")
        made.add_argument("--seconds", type=float, default=SECONDS, help=f"time for a file (default {SECONDS:g})")
        made.add_argument("--memory", type=int, default=MEMORY, metavar="MIB", help=f"for a file (default {MEMORY})")
    return top


def find(name: str) -> Question:
    if name not in QUESTIONS:
        hint = suggestion(name, QUESTIONS) or "; minidl assignment list names them"
        raise UsageError(f"{name!r} is not a question{hint}")
    return QUESTIONS[name]


def list_questions(options: Namespace) -> int:
    print(sheet.listing())
    print("\nminidl assignment show ID prints a question; start ID writes a file to fill in; check ID FILE marks it.")
    return 0


def show_question(options: Namespace) -> int:
    question = find(options.id)
    if options.case is not None:
        if options.case < 0:
            raise UsageError(f"--case {options.case} must be 0 or more")
        print(sheet.numbers(question.case(options.case)))
    else:
        print(sheet.page(question))
    if options.reveal:
        print(f"\n{question.reveal()}")
    return 0


def start_question(options: Namespace) -> int:
    folder = Path(options.folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    for question in QUESTIONS.values() if options.id == "all" else [find(options.id)]:
        try:
            print(sheet.start(question, folder))
        except FileExistsError as error:
            if options.id != "all":
                raise UsageError(str(error)) from None
            print(f"{folder / sheet.file_of(question)} is there already; left as it is")
    return 0


def check_file(options: Namespace) -> int:
    question, path = find(options.id), Path(options.file)
    path = path / sheet.file_of(question) if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path} is not there; minidl assignment start {question.id} writes a file to fill in")
    says = sheet.question_of(path)
    if says not in (None, question.id):
        raise UsageError(f"{path} says that it answers {says}; check {says} {path}, or change its QUESTION line")
    result = _check(question, path, options)
    print(json.dumps(result.json(), indent=2) if options.json else result.text())
    if options.reveal and not options.json:
        print(f"\n{question.reveal()}")
    return result.code


def report_folder(options: Namespace) -> int:
    folder = Path(options.folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    answered = {path: sheet.question_of(path) for path in sorted(folder.glob("*.py"))}
    order = list(QUESTIONS)
    files = [path for path, name in answered.items() if name in QUESTIONS]
    files.sort(key=lambda path: order.index(answered[path]))
    rows = [(path, _check(QUESTIONS[answered[path]], path, options)) for path in files]
    passed = {result.question for _, result in rows if result.verdict == "passed"}
    if options.json:
        found = [{"file": path.name, **result.json()} for path, result in rows]
        print(json.dumps({"passed": len(passed), "questions": len(QUESTIONS), "files": found}, indent=2))
    else:
        print(_table(rows))
        for path in sorted(set(answered) - set(files)):
            print(f'{path.name} is left out: no line QUESTION = "..." that names a question')
        print(f"{len(passed)} of {len(QUESTIONS)} questions: local checks passed")
    codes = {result.code for _, result in rows}
    return next((code for code in (1, 3, 4) if code in codes), 0 if rows else 4)


def _check(question: Question, path: Path, options: Namespace) -> Marking:
    for name, least in (("cases", 1), ("seconds", 0.1), ("memory", 128)):
        if not getattr(options, name) >= least:
            raise UsageError(f"--{name} {getattr(options, name):g} must be at least {least:g}")
    return check(question, path, cases=options.cases, seconds=options.seconds, memory=options.memory)


def _table(rows: list[tuple[Path, Marking]]) -> str:
    if not rows:
        return "no file here answers a question; minidl assignment start all DIR writes them"
    cells = [(r.question, r.verdict, r.share, r.summary) for _, r in rows]
    return "\n".join(table([("question", "verdict", "right", "diagnosis"), *cells]))


if __name__ == "__main__":
    sys.exit(main())
