"""From a student's file to its answers: a process of its own, with limits. This is no sandbox: see child/walls.py."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from .child import wire
from .marking import CASES, Marking, mark, truth
from .question import Inputs, Outputs, Question

SECONDS = 20.0  # for all cases together
MEMORY = 1024  # MiB
CHILD = Path(__file__).with_name("child")
GRACE = 10.0  # seconds that the process of child/ is given beyond that, to end what it runs
FORK = hasattr(os, "fork")
STATUSES = ("answered", "unanswered", "problem", "raised")
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
    with StudentProcess() as process:
        return judge(question, process.run(question, Path(path), true.cases, seconds, memory), cases)


def judge(question: Question, run: StudentRun, cases: int, secret: str = "") -> Marking:
    """What a run is worth."""
    if run.status == "answered":
        result = mark(question, run.answers, secret)
    elif run.status == "unanswered":
        words = f"{question.function} raises NotImplementedError: it waits for your answer"
        result = Marking(question.id, "not answered", cases=cases, problems=[words])
    else:
        verdict = "wrong" if run.status == "problem" else "failed"
        result = Marking(question.id, verdict, cases=cases, problems=[run.message])
    result.printed = run.printed
    return result


class StudentProcess:
    """The process of child/, started when it is first needed, and anew after its end.

    command: the interpreter and its options. paths: where it looks for modules beside. readable: what a closed process
    may read beside Python's library and the student's folder; None leaves it open. child: the folder that is run.
    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-B", "-P"),
        paths: Sequence[str] = (),
        readable: Sequence[str] | None = None,
        environment: dict[str, str] | None = None,
        child: Path = CHILD,
        user: str | None = None,
    ):
        self.words = [*command, "-X", "utf8", str(child), *paths]
        self.readable = readable
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
        self.environment = {**(os.environ if environment is None else environment), **threads}
        self.user = user
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> StudentProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(
        self, question: Question, path: Path, cases: Sequence[Inputs], seconds: float, memory: int, fork: bool = FORK
    ) -> StudentRun:
        """Call the function of a file with the arguments of every case; stopped at the limits."""
        path = path.resolve()
        order = {
            "file": str(path), "function": question.function, "arguments": question.arguments,
            "outputs": [output.name for output in question.outputs], "seconds": seconds, "memory": memory << 20,
            "closed": self.readable is not None, "readable": [*(self.readable or ()), str(path.parent)], "fork": fork,
        }  # fmt: skip
        inputs = [value for case in cases for value in case.values()]
        if self.process is None or self.process.poll() is not None:
            self.start()
        late = threading.Timer(seconds + GRACE, self.process.kill)
        late.start()
        try:
            wire.send(self.process.stdin, order, inputs)
            reply, (result, printed) = wire.receive(self.process.stdout)
            ended, line, size = reply["code"], reply["line"], reply["printed"]
        except (OSError, EOFError, ValueError, KeyError):  # without fork, the code has the pipe in its hands
            self.close()
            how = f"stopped after {seconds:g} seconds for all cases" if late.finished.is_set() else "the process ended"
            return StudentRun("stopped" if late.finished.is_set() else "raised", how)
        finally:
            late.cancel()
        if not fork:  # it has seen a student's code
            self.close()
        run = outcome(ended, line, result.tobytes(), seconds, len(question.outputs), len(cases))
        run.printed = shown(printed.tobytes(), size)
        return run

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(), env=self.environment, start_new_session=True,
            **({"user": self.user, "extra_groups": []} if self.user else {}),
        )  # fmt: skip

    def close(self) -> None:
        """End it, and what it runs."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process = None


def outcome(code: int | None, line: int | None, result: bytes, seconds: float, outputs: int, cases: int) -> StudentRun:
    """What a run has left: its exit code (None: it was stopped), where it hung, and the message it wrote."""
    if code is None or (hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU):
        place = f", last seen in line {line}" if line else ""
        return StudentRun("stopped", f"stopped after {seconds:g} seconds for all cases{place}")
    try:
        report, answers = wire.receive(BytesIO(result))
        status, message = str(report["status"]), plain(str(report.get("message", "")))
        if status not in STATUSES or (status == "answered" and len(answers) != outputs * cases):
            raise ValueError("no report")
    except (EOFError, ValueError, KeyError):
        how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended itself with exit code {code}"
        return StudentRun("raised", f"the process {how} before the function had answered")
    if status != "answered":
        return StudentRun(status, message)
    if any(a.dtype.kind == "U" or a.dtype.itemsize > 16 for a in answers):
        return StudentRun("raised", "the process sent what are no numbers")
    return StudentRun("answered", answers=[tuple(answers[i * outputs : (i + 1) * outputs]) for i in range(cases)])


def plain(text: str) -> str:
    """Text without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shown(data: bytes, size: int) -> str:
    """The beginning of what was printed, `size` bytes in all."""
    text = data[: 4 * LINES * COLUMNS].decode(errors="replace")
    lines = [plain(line) for line in text.splitlines()]
    cut = [line[:COLUMNS] for line in lines[:LINES]]
    return "\n".join([*cut, f"... ({size} bytes in all)"] if cut != lines or size > len(text.encode()) else cut)
