"""From a student's file to its answers: a process of its own, with limits. This is no sandbox: see student.py."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .marking import CASES, Marking, mark, truth
from .question import Inputs, Outputs, Question

SECONDS = 20.0  # for all cases together
MEMORY = 1024  # MiB
LINES, COLUMNS = 10, 100  # that are shown of what the code prints


@dataclass
class StudentRun:
    """How a run of the student's code ended: "answered", "unanswered", "problem", "raised" or "stopped"."""

    status: str
    message: str = ""
    answers: list[Outputs] = field(default_factory=list)
    printed: str = ""


def check(
    question: Question, path: str | os.PathLike, *, cases: int = CASES, seconds: float = SECONDS, memory: int = MEMORY
) -> Marking:
    """Run a student's file on cases 0, 1, ... of a question, and mark what it answers."""
    true = truth(question.id, cases)
    if true.complaint:
        return Marking(question.id, "inconclusive", cases=cases, problems=[true.complaint])
    run = run_student(question, Path(path), true.cases, seconds, memory)
    if run.status == "answered":
        result = mark(question, run.answers)
    elif run.status == "unanswered":
        words = f"{question.function} raises NotImplementedError: it waits for your answer"
        result = Marking(question.id, "not answered", cases=cases, problems=[words])
    else:
        verdict = "wrong" if run.status == "problem" else "failed"
        result = Marking(question.id, verdict, cases=cases, problems=[run.message])
    result.printed = run.printed
    return result


def run_student(question: Question, path: Path, cases: Sequence[Inputs], seconds: float, memory: int) -> StudentRun:
    """Call the function of a file with the arguments of every case, in one process that is stopped at the limits."""
    with tempfile.TemporaryDirectory(prefix="minidl-") as name:
        folder = Path(name)
        order = {
            "file": str(path.resolve()), "function": question.function, "arguments": question.arguments,
            "outputs": [output.name for output in question.outputs], "cases": len(cases),
            "seconds": seconds, "memory": memory << 20,
        }  # fmt: skip
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        np.savez(folder / "cases.npz", **{f"{i}:{k}": v for i, case in enumerate(cases) for k, v in case.items()})
        with open(folder / "printed.txt", "wb") as printed:
            code = _start(folder, printed, seconds)
        run = _outcome(folder, path, code, seconds, len(question.outputs), len(cases))
        run.printed = _printed(folder / "printed.txt")
    return run


def _start(folder: Path, printed, seconds: float) -> int | None:
    """Run student.py to its end; its exit code, or None if it took too long. Whatever it started is stopped, too."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
    process = subprocess.Popen(
        [sys.executable, "-B", "-P", str(Path(__file__).with_name("student.py")), str(folder)],
        stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **threads},
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # the group of the process, which bears its number
        else:
            process.kill()
        process.wait()


def _outcome(folder: Path, path: Path, code: int | None, seconds: float, outputs: int, cases: int) -> StudentRun:
    if code is None or (hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU):
        return StudentRun("stopped", f"stopped after {seconds:g} seconds for all cases{_hanging(folder, path)}")
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended itself with exit code {code}"
        return StudentRun("raised", f"the process {how} before the function had answered")
    if report["status"] != "answered":
        return StudentRun(report["status"], report.get("message", ""))
    with np.load(folder / "answers.npz", allow_pickle=False) as stored:
        return StudentRun("answered", answers=[tuple(stored[f"{i}:{k}"] for k in range(outputs)) for i in range(cases)])


def _hanging(folder: Path, path: Path) -> str:
    """Where in the student's file it was shortly before it was stopped."""
    try:
        text = (folder / "last.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    *_, latest = text.split("Timeout (")
    at = re.search(rf'File "{re.escape(str(path.resolve()))}", line (\d+)', latest)
    return f", last seen in line {at[1]}" if at else ""


def _printed(path: Path) -> str:
    """The beginning of what was printed, without what would move a terminal's cursor."""
    with open(path, "rb") as file:
        text = file.read(4 * LINES * COLUMNS).decode(errors="replace")
    lines = ["".join(c if c.isprintable() else "?" for c in line) for line in text.splitlines()]
    shown = [line[:COLUMNS] for line in lines[:LINES]]
    cut = shown != lines or path.stat().st_size > len(text.encode())
    return "\n".join([*shown, f"... ({path.stat().st_size} bytes in all)"] if cut else shown)
