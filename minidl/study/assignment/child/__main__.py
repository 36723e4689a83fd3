"""Takes orders from the marker on stdin, one message each, and answers each on stdout until stdin is closed.

Every order is one question of one student. Where the system can fork, it is run in a process of its own, which begins
as this one is: NumPy imported, no student's code seen.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time

sys.path += sys.argv[1:]

import answering
import numpy as np
import walls
import wire

sys.path.pop(0)  # this folder
SHOWN = 4000  # bytes of the printed output that the marker is given


def serve(orders, replies) -> None:
    """Until the marker closes the pipe."""
    walls.adopt()
    walls.library()  # looked up once for all that are forked
    while True:
        try:
            order, arrays = wire.receive(orders)
        except EOFError:
            return
        scratch = tempfile.mkdtemp(prefix="minidl-")
        with (
            tempfile.TemporaryFile() as result,
            tempfile.TemporaryFile() as printed,
            tempfile.TemporaryFile() as last,
        ):
            if order["fork"]:
                child = os.fork()
                if not child:
                    os.close(orders.fileno())
                    os.close(replies.fileno())
                    alone(order, arrays, scratch, result, printed, last)
                code = wait(child, order["seconds"])
                end(child)
            else:
                answering.run(order, arrays, scratch, result, printed, last)
                code = 0
            line = answering.hanging(last, order["file"]) if code is None else None
            message = {"code": code, "line": line, "printed": os.fstat(printed.fileno()).st_size}
            wire.send(replies, message, [begin(result, walls.WRITTEN), begin(printed, SHOWN)])
        if order["fork"] or not order["closed"]:  # what is closed stays closed
            shutil.rmtree(scratch, ignore_errors=True)
        if not order["fork"]:
            return


def begin(file, most: int):
    """The first bytes of a file."""
    file.seek(0)
    return np.frombuffer(file.read(most), "u1")


def alone(order, arrays, scratch, *files) -> None:
    """In the forked process; never returns."""
    try:
        os.setsid()
        walls.end_with_parent()
        answering.run(order, arrays, scratch, *files)
    finally:
        os._exit(0)


def wait(child: int, seconds: float):
    """The exit code of a child, negative for a signal; None if it takes too long."""
    pause, until = 0.0005, time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(1.3 * pause, 0.02)
    return None


def end(child: int) -> None:
    """Kill the child's group, and what left the group: that is a child of ours now, where the system allows it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    for _ in range(1000):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as listed:
            for pid in listed.read().split():
                os.kill(int(pid), signal.SIGKILL)
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.001)
        except ChildProcessError:
            return


def main() -> None:
    orders, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    serve(orders, replies)


main()
