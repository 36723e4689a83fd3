"""Is a gradient right? ``minidl gradcheck "tanh(x @ w).sum()" x=2x3 w=3x2``, or a function ``FILE.py:NAME``."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from .. import asked
from ..terminal import Parser, UsageError, deliver
from . import gradcheck

CODES = {"PASS": 0, "FAIL": 1, "NONDETERMINISTIC": 1, "KINK": 4, "INCONCLUSIVE": 4}
RAISED = 3
AGAIN = 0.2  # seconds until the alarm rings again, should the first have been lost in a callback
EPILOG = f"""{asked.VALUES}

exit codes: 0 PASS; 1 FAIL or NONDETERMINISTIC; 2 a command line that cannot be read, or nothing that can be checked;
3 the code of a file raised an exception, or all ran too long; 4 KINK or INCONCLUSIVE. The code runs in this process,
as you: check none that you would not run."""


class TimeOut(BaseException):
    """The time is up. No Exception, so that the code under test does not swallow it."""


class Watched:
    """The function under test; remembers the exception that it raised, if it did."""

    def __init__(self, what: asked.Asked):
        self.function, self.__name__ = what.function, what.name
        kind = inspect.Parameter.POSITIONAL_ONLY
        self.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in what.inputs])
        self.error: BaseException | None = None

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self.function(*inputs)
        except BaseException as error:
            self.error = error
            raise


def main(argv: list[str] | None = None) -> int:
    """Check the function; print the report; the exit code of its verdict, see EPILOG."""
    parser = Parser(prog="minidl gradcheck", description=__doc__, epilog=EPILOG)
    parser.add_argument("function", help='an expression such as "tanh(x).sum()", or FILE.py:FUNCTION')
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="the inputs, see below")
    parser.add_argument("--order", type=int, default=1, help="check derivatives up to this order (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the random entries and cotangents (0)")
    parser.add_argument("--tolerance", type=float, help="relative; the oracle's own if not given")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="stop after that long (60)")
    parser.add_views()
    options = parser.parse_args(argv)
    try:
        with redirect_stdout(sys.stderr), _limited(options.timeout):
            report = _checked(asked.read(options.function, options.values, options.seed), options)
    except asked.CodeError as error:
        print(f"minidl gradcheck: {error}", file=sys.stderr)
        return RAISED
    except TimeOut:
        print(f"minidl gradcheck: stopped after {options.timeout:g} s; --timeout gives it more", file=sys.stderr)
        return RAISED
    deliver(report, options)
    return CODES[report.verdict]


def _checked(what: asked.Asked, options: Any) -> Any:
    function, inputs = Watched(what), list(what.inputs.values())
    try:
        report = gradcheck(function, inputs, order=options.order, seed=options.seed, tolerance=options.tolerance)
        report.json()  # what is worked out late runs the code, too
        return report
    except (Exception, SystemExit) as error:
        if what.file and error is function.error:
            raise asked.raised_in(what.file, error) from None
        raise UsageError(str(error)) from None


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TimeOut in the block after so many seconds, where the system has such a clock."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeOut

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
