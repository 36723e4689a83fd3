"""Calls a student's function with the arguments of every case, and writes down what it returns."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib.util
import linecache
import os
import re
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, BinaryIO

import walls
import wire
from returned import NoAnswer, arrays

NEIGHBOURS = ("answering", "returned", "walls", "wire")


def load(path: Path) -> Any:
    """The student's file as a module; other files of its folder can be imported."""
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location("answer", path)
    module = sys.modules["answer"] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


def where(error: BaseException, path: Path) -> str:
    """The last line of the student's file that an error passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    if not lines:
        return ""
    return f"; line {lines[-1]}: {linecache.getline(str(path), lines[-1]).strip()[:120]}"


def words(error: BaseException, order: dict) -> str:
    """The first line of an error's message, with the limit that it met."""
    if isinstance(error, MemoryError):
        return f"{error or 'out of memory'} (the limit is {order['memory'] >> 20} MiB)"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return f"more than {walls.WRITTEN >> 20} MiB were printed, or written to one file"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return text.split("\n")[0][:200]


def answer(order: dict, given: list) -> tuple[dict, list]:
    """Call the function with the arguments of all cases: what to report, and what it returned."""
    path, case, found = Path(order["file"]), None, []
    n = len(order["arguments"])
    try:
        function = getattr(load(path), order["function"], None)
        if not callable(function):
            return {"status": "raised", "message": f"{path.name} defines no function {order['function']}"}, []
        for case in range(len(given) // n):
            layout = "F" if case % 2 and order["closed"] else "C"
            inputs = [a.copy(layout) if a.ndim else a.item() for a in given[case * n : case * n + n]]
            found += [a.copy() for a in arrays(function(*inputs), order["outputs"])]
        return {"status": "answered"}, found
    except NotImplementedError:
        return {"status": "unanswered"}, []
    except NoAnswer as problem:
        return {"status": "problem", "message": f"{problem} (case {case})"}, []
    except BaseException as error:
        place = "" if case is None else f" in case {case}"
        text = words(error, order)
        message = f"{type(error).__name__}{place}{': ' if text else ''}{text}{where(error, path)}"
        return {"status": "raised", "message": message}, []


def run(order: dict, given: list, scratch: str, result: BinaryIO, printed: BinaryIO, last: BinaryIO) -> None:
    """Answer an order within its limits. `last` is where it hangs, if it does."""
    os.dup2(printed.fileno(), 1)
    os.dup2(printed.fileno(), 2)
    os.chdir(scratch)
    tempfile.tempdir = scratch
    for name in NEIGHBOURS:
        sys.modules.pop(name, None)
    faulthandler.dump_traceback_later(0.2 * order["seconds"], repeat=True, file=last)
    walls.limit(order["seconds"], order["memory"], hard=order["closed"])
    if order["closed"]:
        walls.close(order["readable"], scratch)
    report, found = answer(order, given)
    faulthandler.cancel_dump_traceback_later()
    with contextlib.suppress(OSError):  # the limit of what may be printed
        sys.stdout.flush()
    wire.send(result, report, found)


def hanging(last: BinaryIO, path: str) -> int | None:
    """The line of a file where it was shortly before it was stopped."""
    last.seek(0)
    *_, latest = last.read().decode(errors="replace").split("Timeout (")
    at = re.search(rf'File "{re.escape(path)}", line (\d+)', latest)
    return int(at[1]) if at else None
