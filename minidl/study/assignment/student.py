"""Runs a student's function on all cases, in a process of its own: ``python student.py FOLDER``.

Not to be imported: it needs NumPy and nothing of minidl, so that it starts quickly and the limits below hold for the
student's code alone. FOLDER holds order.json and cases.npz; report.json and answers.npz are left there. The limits stop
accidents, such as an endless loop. They do not stop malice: the code may do whatever its user may.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib.util
import json
import linecache
import sys
import traceback
from pathlib import Path
from typing import Any

LARGEST = 10_000  # entries of an output; no right answer has more
WRITTEN = 16 << 20  # bytes in any one file, the printed output among them


class NoAnswer(Exception):
    """The function returned something that is no answer; the message says what."""


def limit(seconds: float, memory: int) -> None:
    """Limits of the operating system, where it has them: memory in bytes, processor time, files."""
    try:
        import resource
    except ImportError:  # Windows; the time limit of the caller still holds
        return
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_FSIZE: WRITTEN,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force, or macOS has none
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


def load(path: Path) -> Any:
    """The student's file as a module; other files of its folder can be imported."""
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location("answer", path)
    module = sys.modules["answer"] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


def arrays(np: Any, returned: Any, names: list[str]) -> list:
    """What was returned, as one array for each output. Raises NoAnswer."""
    if returned is None:
        raise NoAnswer("the function returned None: is there a return at its end?")
    if len(names) == 1:
        returned = (returned,)
    elif not isinstance(returned, (tuple, list)) or len(returned) != len(names):
        got = f"{len(returned)} things" if isinstance(returned, (tuple, list)) else f"one {type(returned).__name__}"
        raise NoAnswer(f"the function returned {got}; {len(names)} are asked for: {', '.join(names)}")
    found = []
    for name, value in zip(names, returned):
        try:
            value = np.asarray(value)
        except ValueError:
            raise NoAnswer(f"{name} is a list whose rows differ in length") from None
        if value.dtype.kind not in "biuf":
            what = "complex numbers" if value.dtype.kind == "c" else f"of type {value.dtype}"
            raise NoAnswer(f"{name} is {what}; real numbers are asked for")
        if value.size > LARGEST:
            raise NoAnswer(f"{name} has shape {value.shape}: far more entries than were asked for")
        found.append(value)
    return found


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
        return f"more than {WRITTEN >> 20} MiB were printed, or written to one file"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return text.split("\n")[0][:200]


def answer(folder: Path, order: dict) -> dict:
    """Run all cases; what to report. The answers are written as far as the function came."""
    path, case = Path(order["file"]), None
    try:
        import numpy as np

        function = getattr(load(path), order["function"], None)
        if not callable(function):
            return {"status": "raised", "message": f"{path.name} defines no function {order['function']}"}
        stored = np.load(folder / "cases.npz", allow_pickle=False)
        found = {}
        for case in range(order["cases"]):
            inputs = [stored[f"{case}:{name}"] for name in order["arguments"]]
            returned = function(*(a.copy() if a.ndim else a.item() for a in inputs))
            for k, value in enumerate(arrays(np, returned, order["outputs"])):
                found[f"{case}:{k}"] = value.copy()
        np.savez(folder / "answers.npz", **found)
        return {"status": "answered"}
    except NotImplementedError:
        return {"status": "unanswered"}
    except NoAnswer as problem:
        return {"status": "problem", "message": f"{problem} (case {case})"}
    except BaseException as error:
        place = "" if case is None else f" in case {case}"
        text = words(error, order)
        message = f"{type(error).__name__}{place}{': ' if text else ''}{text}{where(error, path)}"
        return {"status": "raised", "message": message}


def main() -> None:
    folder = Path(sys.argv[1])
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    limit(order["seconds"], order["memory"])
    with open(folder / "last.txt", "w", encoding="utf-8") as last:  # where it hangs, if it does
        faulthandler.dump_traceback_later(0.2 * order["seconds"], repeat=True, file=last)
        report = answer(folder, order)
        faulthandler.cancel_dump_traceback_later()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
