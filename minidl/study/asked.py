"""What a command line asks about: an expression, or a function ``FILE.py:FUNCTION``, and the values of its inputs."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .expression import Expression
from .terminal import UsageError

VALUES = """values:
  x=0.5               a number
  x=1,2,3             a vector, and w=1,2;3,4 a matrix by its rows
  x=[[0.5, -1.0]]     any array; one of integers only, as t=[0, 2], is passed on and not differentiated
  x=2x3 or x=(3,)     random normal entries of that shape

An expression has the functions of minidl.functional by their names, with or without F., the methods of tensors,
+ - * / ** @ and indices: "tanh(x @ w).sum()" or "sum(F.tanh(x @ w))". Arguments of FILE.py:FUNCTION that are given no
value take that of the file's variable of the same name, or their default."""


class CodeError(RuntimeError):
    """The code of a file raised. The message says where and what, in one line."""


@dataclass(frozen=True)
class Asked:
    """A function, and its inputs by name, in their order: numbers and arrays. file: where it is from, "" if typed."""

    name: str
    function: Callable[..., Any]
    inputs: dict[str, Any]
    file: str = ""


def read(text: str, values: Sequence[str], seed: int = 0) -> Asked:
    """The function and inputs that NAME=VALUE texts, see VALUES, give to an expression or to FILE.py:FUNCTION.

    Raises UsageError in one line for what cannot be read, and for an input without value or a value without input;
    CodeError if the file raises.
    """
    given = dict(value(text, np.random.default_rng([seed, i])) for i, text in enumerate(values))
    if file := re.fullmatch(r"(.+\.py):(\w+)", text):
        return _of_file(Path(file[1]), file[2], given)
    expression = Expression(text)
    _require(expression.names, given, text, expression.names)
    floats = {name: float(x) if type(x) is int else x for name, x in given.items()}  # x=3 is a point, not an index
    return Asked(text, lambda *inputs: expression.value(dict(zip(floats, inputs))), floats)


def value(text: str, rng: np.random.Generator) -> tuple[str, Any]:
    """(name, number or array) of NAME=VALUE, see VALUES."""
    name, equals, entries = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise UsageError(f"{text!r} is not NAME=VALUE, such as x=0.5, x=1,2,3 or x=2x3")
    try:
        return name, _array(entries, rng)
    except (ValueError, SyntaxError, TypeError):
        raise UsageError(
            f"{text}: neither numbers such as 0.5, a vector 1,2,3, rows of one length 1,2;3,4 or [[0.5, 1.0]], "
            "nor a shape such as 2x3"
        ) from None


def _array(text: str, rng: np.random.Generator) -> Any:
    if re.fullmatch(r"\d+(x\d+)+", text):
        return rng.standard_normal(tuple(map(int, text.split("x"))))
    if text[:1] not in ("(", "[") and re.search("[,;]", text):
        rows = np.array([[float(entry) for entry in row.split(",")] for row in text.split(";")])
        return rows if len(rows) > 1 else rows[0]
    if text.strip("+-").lower() in ("nan", "inf"):
        return float(text)
    literal = ast.literal_eval(text)
    if isinstance(literal, tuple):
        return rng.standard_normal(literal)
    array = np.array(literal)
    if array.dtype.kind not in "biuf":
        raise ValueError(text)
    return array if array.ndim else literal


def _require(needed: Sequence[str], given: dict[str, Any], who: str, allowed: Sequence[str]) -> None:
    for name in needed:
        if name not in given:
            raise UsageError(
                f"{who} needs a value for {name!r}: {name}=0.3, or {name}=2x3 for random ones of that shape"
            )
    for name in given:
        if name not in allowed:
            raise UsageError(f"{who} has no input {name!r}; it takes {', '.join(allowed) or 'none'}")


def _of_file(path: Path, name: str, given: dict[str, Any]) -> Asked:
    """A function of a file, and its inputs."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    path = path.absolute()  # as tracebacks name it
    module = _loaded(path)
    function = getattr(module, name, None)
    if not callable(function):
        there = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise UsageError(f"{path} has no function {name!r}; it has {', '.join(there) or 'none'}")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in positional]
    known = {p.name: p.default for p in parameters if p.default is not p.empty}
    known |= {p.name: getattr(module, p.name) for p in parameters if hasattr(module, p.name)}
    names = [p.name for p in parameters]
    _require([n for n in names if n not in known], given, f"{name}()", names)
    return Asked(name, function, {n: (known | given)[n] for n in names}, str(path))


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise raised_in(str(path), error) from None
    return module


def raised_in(file: str, error: BaseException) -> CodeError:
    """FILE:LINE: TypeError: message, at the innermost line that is the file's own."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return CodeError(f"{file}:{error.lineno}: {type(error).__name__}: {error.msg}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return CodeError(f"{file}:{lines[-1]}: {text}" if lines else f"{file}: {text}")
