"""``minidl assignment pack``: the questions for another program that grades."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ....files.atomic import replacing
from ...terminal import Parser, UsageError
from ..grading.command import add_asked, asked, seed
from . import gradescope, notebooks

ENDINGS = {"gradescope": ".zip", "otter": ".ipynb", "nbgrader": ".ipynb"}
NEXT = {
    "gradescope": "upload it as the autograder of a programming assignment",
    "otter": "otter assign {path} dist; then otter run -a dist/autograder/*.zip STUDENT.ipynb",
    "nbgrader": "put it into source/NAME/; then nbgrader generate_assignment NAME",
}


def add_options(parser: Parser) -> None:
    """The options of the command."""
    parser.add_argument("form", choices=list(ENDINGS), metavar="FORM", help=", ".join(ENDINGS))
    parser.add_argument("path", metavar="FILE", help="a .zip for Gradescope, else an .ipynb")
    add_asked(parser)


def run(options: Namespace) -> int:
    """Write the file, and say what to do with it."""
    path, terms = Path(options.path), (asked(options.ask), seed(options.seed))
    if path.suffix != ENDINGS[options.form]:
        raise UsageError(f"{path}: {options.form} needs a file that ends in {ENDINGS[options.form]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.form == "gradescope":
        gradescope.write(path, *terms)
    else:
        with replacing(path) as file:
            file.write(getattr(notebooks, options.form)(*terms).encode())
    print(f"{path}: {NEXT[options.form].format(path=path)}")
    return 0
