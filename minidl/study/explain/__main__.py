"""Follow a backward pass step by step: an example, or an expression of your own, as one page."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from ...files.atomic import replacing
from ..terminal import Parser, UsageError, suggestion, target
from . import Trace, explain
from .examples import EXAMPLES
from .formula import read
from .text import summary

PAGE = "explain.html"
EPILOG = """examples:
  minidl explain                                       the first example, as explain.html
  minidl explain batchnorm --html norm.html
  minidl explain "sum((a*b + sin(a))**2)" a=0.3 b=1,2,3
  minidl explain "mean(relu(W @ x))" "W=1,-2;3,4" x=1,0.5 --text"""


def main(argv: list[str] | None = None) -> int:
    """Write the page, or what was asked for; print its path. 0, or 2 for an expression that cannot be computed."""
    options = _parser().parse_intermixed_args(argv)
    if options.values and options.what in EXAMPLES:
        raise UsageError(f"the example {options.what} takes no values, got {options.values[0]}")
    trace = _trace(options.what, options.values)
    if options.json:
        print(trace.json())
    elif options.text:
        print(trace.text())
    if options.svg:
        with replacing(options.svg) as file:
            file.write(trace.svg().encode())
        print(options.svg, file=sys.stderr if options.json else sys.stdout)
    if options.html or options.open or not (options.json or options.text or options.svg):
        _write(trace, Path(options.html or PAGE), options)
    return 0


def _parser() -> Parser:
    about = "\n".join(f"  {name:<10} {make.__doc__}" for name, make in EXAMPLES.items())
    parser = Parser(
        prog="minidl explain",
        description=f"{__doc__}\n\n{about}",
        epilog=EPILOG,
    )
    parser.add_argument("what", nargs="?", default="scalar", metavar="EXAMPLE|EXPRESSION", help="default: scalar")
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="the leaves of an expression")
    parser.add_argument("--html", metavar="PATH", type=target, help=f"where the page is written (default {PAGE})")
    parser.add_argument("--svg", metavar="PATH", type=target, help="write the graph as a picture")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--text", action="store_true", help="print the steps")
    printed.add_argument("--json", action="store_true", help="print the steps as JSON")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def _trace(what: str, values: list[str]) -> Trace:
    """The trace of an example or of an expression."""
    if what in EXAMPLES:
        return explain(**EXAMPLES[what]())
    if what.isidentifier() and not values:
        hint = suggestion(what, EXAMPLES) or f"; there is {', '.join(EXAMPLES)}"
        raise UsageError(f"{what!r} is not an example{hint}; an expression needs values, such as '{what}**2' {what}=3")
    loss, names = read(what, values)
    if loss.size != 1:
        raise UsageError(f"{what!r} has shape {loss.shape}, a backward pass starts from one number; try 'sum({what})'")
    return explain(loss, names=names)


def _write(trace: Trace, path: Path, options: argparse.Namespace) -> None:
    """Write the page and say where it is, after the result in a few lines."""
    trace.html(path)
    out = sys.stderr if options.json else sys.stdout
    if not (options.json or options.text):
        print(summary(trace), file=out)
    print(path, file=out)
    if options.open:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    sys.exit(main())
