"""Is a gradient right? ``minidl gradcheck "tanh(x @ w).sum()" x=2x3 w=3x2``, or a function ``FILE.py:NAME``."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ... import functional
from ...core.tensor import Tensor
from ..terminal import Parser, UsageError, deliver
from . import gradcheck

CODES = {"PASS": 0, "FAIL": 1, "NONDETERMINISTIC": 1, "KINK": 4, "INCONCLUSIVE": 4}
RAISED = 3
AGAIN = 0.2  # seconds until the alarm rings again, should the first have been lost in a callback
EXPRESSION = "<expression>"
VALUES = """Values:
  x=2x3 or x=(3,)     random normal entries of that shape
  x=[[0.5, -1.0]]     these entries; integers are passed on, and not differentiated
  x=0.5               a number
An expression may use the functions of minidl.functional by name, and F, md, np. The arguments of FILE.py:FUNCTION
that have no value on the command line take that of the file's variable of the same name, or their default.

Exit codes: 0 PASS; 1 FAIL or NONDETERMINISTIC; 2 a command line that cannot be read, or nothing that can be checked;
3 the code raised an exception or ran too long; 4 KINK or INCONCLUSIVE. The code runs in this process, as you:
check none that you would not run."""


class TimeOut(BaseException):
    """The time is up. No Exception, so that the code under test does not swallow it."""


class Watched:
    """The function under test; remembers the exception that it raised, if it did."""

    def __init__(self, function: Callable[..., Any], name: str, arguments: list[str], file: str):
        self.function, self.__name__, self.file = function, name, file
        kind = inspect.Parameter.POSITIONAL_ONLY
        self.__signature__ = inspect.Signature([inspect.Parameter(a, kind) for a in arguments])
        self.error: BaseException | None = None

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self.function(*inputs)
        except BaseException as error:
            self.error = error
            raise


def main(argv: list[str] | None = None) -> int:
    """Check the function; print the report; the exit code of its verdict, see VALUES."""
    parser = Parser(prog="minidl gradcheck", description=__doc__, epilog=VALUES)
    parser.add_argument("function", help='an expression such as "tanh(x).sum()", or FILE.py:FUNCTION')
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="the inputs, see below")
    parser.add_argument("--order", type=int, default=1, help="check derivatives up to this order (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the random entries and cotangents (0)")
    parser.add_argument("--tolerance", type=float, help="relative; the oracle's own if not given")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="stop after that long (60)")
    parser.add_views()
    options = parser.parse_args(argv)
    given = dict(_value(text, np.random.default_rng([options.seed, i])) for i, text in enumerate(options.values))
    file = _file_of(options.function)
    try:
        with redirect_stdout(sys.stderr), _limited(options.timeout):
            function, inputs = _from_file(*file, given) if file else _from_expression(options.function, given)
            report = _checked(function, inputs, options)
    except _StudentError as error:
        print(f"minidl gradcheck: {error}", file=sys.stderr)
        return RAISED
    except TimeOut:
        print(f"minidl gradcheck: stopped after {options.timeout:g} s; --timeout gives it more", file=sys.stderr)
        return RAISED
    deliver(report, options)
    return CODES[report.verdict]


class _StudentError(Exception):
    """The code under test raised. The message says where and what, in one line."""


def _checked(function: Watched, inputs: list, options: Any) -> Any:
    try:
        report = gradcheck(function, inputs, order=options.order, seed=options.seed, tolerance=options.tolerance)
        report.json()  # what is worked out late runs the code, too
        return report
    except (Exception, SystemExit) as error:
        if error is function.error:
            raise _StudentError(_place(function.file, error)) from None
        raise UsageError(str(error)) from None


def _place(file: str, error: BaseException) -> str:
    """FILE:LINE: TypeError: message, at the innermost line that is the file's own."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return f"{file}:{error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}: {text}" if lines else f"{file}: {text}"


# --- what is checked


def _from_expression(text: str, given: dict[str, Any]) -> tuple[Watched, list]:
    """The function that an expression is, of the names that it uses."""
    try:
        tree = ast.parse(text, EXPRESSION, mode="eval")
    except SyntaxError as error:
        raise UsageError(f"{text!r} is no expression ({error.msg}), and no FILE.py:FUNCTION") from None
    known = _names()
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    free = sorted(used - set(known) - bound - set(vars(builtins)) | used & set(given))
    _require(free, given, text)
    code = compile(tree, EXPRESSION, "eval")

    def function(*inputs: Tensor) -> Any:
        return eval(code, known | dict(zip(free, inputs)))

    return Watched(function, text, free, EXPRESSION), [given[name] for name in free]


def _names() -> dict[str, Any]:
    """What an expression may use without being given a value."""
    import minidl

    public = {name: f for name, f in vars(functional).items() if callable(f) and not name.startswith("_")}
    return public | {"F": functional, "md": minidl, "np": np}


def _from_file(path: Path, name: str, given: dict[str, Any]) -> tuple[Watched, list]:
    """A function of a file, and its inputs."""
    module = _loaded(path)
    function = getattr(module, name, None)
    if not callable(function):
        there = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise UsageError(f"{path} has no function {name!r}; it has {', '.join(there) or 'none'}")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in positional]
    values = {p.name: p.default for p in parameters if p.default is not p.empty}
    values |= {p.name: getattr(module, p.name) for p in parameters if hasattr(module, p.name)}
    arguments = [p.name for p in parameters]
    _require([a for a in arguments if a not in values], given, f"{name}()", arguments)
    inputs = [given[a] if a in given else values[a] for a in arguments]
    return Watched(function, name, arguments, str(path)), inputs


def _require(needed: list[str], given: dict[str, Any], who: str, allowed: list[str] | None = None) -> None:
    for name in needed:
        if name not in given:
            raise UsageError(f"{who} needs a value for {name!r}; give {name}=2x3 for random entries of that shape")
    for name in given:
        if name not in (allowed or needed):
            raise UsageError(f"{who} has no input {name!r}; it takes {', '.join(allowed or needed) or 'none'}")


def _file_of(text: str) -> tuple[Path, str] | None:
    """(path, function) of FILE.py:FUNCTION; None for an expression."""
    parts = re.fullmatch(r"(.+\.py):(\w+)", text)
    if not parts:
        return None
    if not Path(parts[1]).is_file():
        raise UsageError(f"{parts[1]}: there is no such file")
    return Path(parts[1]).absolute(), parts[2]  # as tracebacks name it


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _StudentError(_place(str(path), error)) from None
    return module


def _value(text: str, rng: np.random.Generator) -> tuple[str, Any]:
    """(name, value) of NAME=VALUE, see VALUES."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"{text!r} is not NAME=VALUE, such as x=2x3")
    if re.fullmatch(r"\d+(x\d+)+", value):
        return name, rng.standard_normal(tuple(map(int, value.split("x"))))
    try:
        literal = ast.literal_eval(value)
        if isinstance(literal, tuple) and all(isinstance(n, int) and n >= 0 for n in literal):
            return name, rng.standard_normal(literal)
        array = np.array(literal)
    except (ValueError, SyntaxError):
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{text}: neither a shape such as 2x3, nor numbers such as [0.5, 1.0]")
    return name, array if array.ndim else literal


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
