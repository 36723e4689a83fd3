"""Follow a backward pass step by step: an example, or an expression or function of your own, as one page."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np

from ...core.tensor import Tensor, tensor
from ...files.atomic import replacing
from .. import asked
from ..terminal import Parser, UsageError, suggestion, target
from . import Trace, explain
from .examples import EXAMPLES
from .text import summary

PAGE = "explain.html"
EPILOG = f"""{asked.VALUES}

examples:
  minidl explain                                       the first example, as explain.html
  minidl explain batchnorm --html norm.html
  minidl explain "sum((a*b + sin(a))**2)" a=0.3 b=1,2,3
  minidl explain "mean(relu(W @ x))" "W=1,-2;3,4" x=1,0.5 --text
  minidl explain "cross_entropy(x, t)" x=2x3 t=[0,2]
  minidl explain work.py:loss x=2x3"""


def main(argv: list[str] | None = None) -> int:
    """Write the page, or what was asked for; print its path. 0, or 2 for what cannot be computed."""
    options = _parser().parse_intermixed_args(argv)
    if options.values and options.what in EXAMPLES:
        raise UsageError(f"the example {options.what} takes no values, got {options.values[0]}")
    trace = _trace(options.what, options.values, options.seed)
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
    parser.add_argument(
        "what", nargs="?", default="scalar", metavar="EXAMPLE|EXPRESSION|FILE.py:FUNCTION", help="default: scalar"
    )
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="the leaves, see below")
    parser.add_argument("--seed", type=int, default=0, help="of random entries (0)")
    parser.add_argument("--html", metavar="PATH", type=target, help=f"where the page is written (default {PAGE})")
    parser.add_argument("--svg", metavar="PATH", type=target, help="write the graph as a picture")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--text", action="store_true", help="print the steps")
    printed.add_argument("--json", action="store_true", help="print the steps as JSON")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def _trace(what: str, values: list[str], seed: int) -> Trace:
    """The trace of an example, or of what was asked."""
    if what in EXAMPLES:
        return explain(**EXAMPLES[what]())
    if what.isidentifier() and not values:
        hint = suggestion(what, EXAMPLES) or f"; there is {', '.join(EXAMPLES)}"
        raise UsageError(f"{what!r} is not an example{hint}; an expression needs values, such as '{what}**2' {what}=3")
    given = asked.read(what, values, seed)
    inputs = {name: _leaf(x) for name, x in given.inputs.items()}
    try:
        loss = given.function(*inputs.values())
    except Exception as error:
        if given.file:
            raise asked.raised_in(given.file, error) from None
        raise
    if not isinstance(loss, Tensor) or loss.node is None:
        raise UsageError(
            f"{what!r} uses no name with a value of real numbers: there is nothing to differentiate by; try a=0.3"
        )
    if loss.size != 1:
        raise UsageError(f"{what!r} has shape {loss.shape}, a backward pass starts from one number; try 'sum({what})'")
    trace = explain(loss, names={name: x for name, x in inputs.items() if isinstance(x, Tensor)})
    trace.asked = trace.asked if given.file else what
    return trace


def _leaf(x: Any) -> Any:
    """A tensor to differentiate by, of real numbers; anything else as it is."""
    real = isinstance(x, float) or (isinstance(x, np.ndarray) and x.dtype.kind == "f")
    return tensor(x, requires_grad=True) if real else x


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
