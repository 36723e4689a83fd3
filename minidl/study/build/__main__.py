"""Write the engine yourself, piece by piece, have each piece marked, and train a network with it.

Exit codes of check: 0 nothing that is written is wrong; 1 a piece is wrong; 2 a command line that asks for something
impossible; 3 your code raised, or was stopped at a limit; 4 nothing is written yet.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ...files.atomic import replacing
from ...table import table
from ..terminal import Parser, UsageError, suggestion
from .piece import Mark, Piece
from .pieces import PIECES
from .student import Student

FILE = "my_engine.py"
TRAINS = "python -m tasks denoise --with"


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands; the exit code."""
    options = parser().parse_args(argv)
    return options.run(options)


def parser() -> Parser:
    top = Parser(prog="minidl build", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="list the pieces")
    listed.set_defaults(run=list_pieces)
    begin = commands.add_parser("start", help=f"write {FILE}, a file to fill in")
    begin.add_argument("folder", metavar="FOLDER", nargs="?", default=".", help="where to (the current folder)")
    begin.set_defaults(run=start)
    marked = commands.add_parser("check", help="mark the pieces that are written, or one of them")
    marked.add_argument("file", metavar="FILE", help=f"your file, or the folder in which {FILE} is")
    marked.add_argument("piece", metavar="PIECE", nargs="?", help="the name of one piece")
    marked.add_argument("--json", action="store_true", help="print JSON")
    marked.epilog = "Your code runs in this process and may do what you may: run only what you would run yourself."
    marked.set_defaults(run=check)
    return top


def list_pieces(options: Namespace) -> int:
    print("\n".join(table([("piece", "what it is", "read"), *((p.name, p.title, p.read) for p in PIECES.values())])))
    print(f"\nminidl build start FOLDER writes {FILE}; minidl build check {FILE} PIECE marks a piece.")
    return 0


def start(options: Namespace) -> int:
    folder = Path(options.folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    path = folder / FILE
    if path.exists():
        raise UsageError(f"{path} is there already; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(files(__package__).joinpath("stub.py").read_bytes())
    print(f"{path}: {len(PIECES)} pieces to write, each with its definition. The first is {next(iter(PIECES))}.")
    print(f"minidl build check {path} marks what is written; {TRAINS} {path} trains a network with it.")
    return 0


def check(options: Namespace) -> int:
    if options.piece is not None and options.piece not in PIECES:
        hint = suggestion(options.piece, PIECES) or "; minidl build list names them"
        raise UsageError(f"{options.piece!r} is not a piece{hint}")
    asked: Sequence[Piece] = [PIECES[options.piece]] if options.piece else list(PIECES.values())
    student = Student(options.file)
    marks = [piece.mark(student) for piece in asked]
    if options.json:
        right = sum(mark.verdict == "right" for mark in marks)
        print(json.dumps({"right": right, "pieces": [mark.json() for mark in marks]}, indent=2))
    else:
        print(report(marks, student))
    verdicts = {mark.verdict for mark in marks}
    return next((code for code, v in ((1, "wrong"), (3, "raises")) if v in verdicts), 0 if verdicts - WAITING else 4)


WAITING = {"not written"}


def report(marks: Sequence[Mark], student: Student) -> str:
    """A line for each piece, what is wrong with it below, the progress, and what to do next."""
    width = max(len(mark.piece) for mark in marks)
    lines = []
    for mark in marks:
        lines.append(f"{mark.piece:{width}}  {mark.verdict}")
        if mark.words:
            lines.append(f"{'':{width}}    {mark.words}")
        if mark.verdict in ("wrong", "raises"):
            lines.append(f"{'':{width}}    read {mark.read}")
    if len(marks) == 1:
        return "\n".join(lines)
    right = [mark.piece for mark in marks if mark.verdict == "right"]
    lines.append(f"{len(right)} of {len(marks)} pieces right")
    following = next((mark for mark in marks if mark.verdict != "right"), None)
    if following is not None:
        lines.append(f"next: {following.piece}, {PIECES[following.piece].title}; read {following.read}")
    if any(PIECES[name].drives for name in right):
        lines.append(f"{TRAINS} {student.path} trains a network with what is written; the rest is ours there")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
