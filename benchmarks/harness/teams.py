"""Processes that train one network together, each of which answers over a pipe: ranks of MPI, and of torch's
DistributedDataParallel. Between two questions they wait in the middle of training, and use no core.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from minidl.kernels.cpu.memory import peak_memory

from .interface import Library
from .libraries import library
from .link import Link, measured_link
from .meters import reset_peak
from .rows import Job, Row
from .worker import environ, thread_limits

PATIENCE = 300  # seconds for an answer
WHERE = "MINIDL_BENCHMARK_PIPE"  # port, password


@dataclass(frozen=True)
class Team:
    """Who trains together, and how."""

    library: str = "minidl"
    ranks: int = 1
    threads: int = 1
    shards: int = 8  # of minidl
    parts: int = 1  # each rank trains alone, on what it would have if there were so many ranks
    mode: str = ""  # of torch: see `library`

    def command(self) -> list[str]:
        """What starts a process of the team, or all."""
        member = [sys.executable, "-m", "benchmarks.harness.teams"]
        return [*mpiexec(), "-n", str(self.ranks), *member] if self.under_mpi else member

    @property
    def under_mpi(self) -> bool:
        return self.library == "minidl" and self.ranks > 1 and self.parts == 1


def mpiexec() -> list[str]:
    """The launcher of this environment, or else of the system; with what Open MPI's needs here."""
    own = Path(sys.executable).with_name("mpiexec")
    found = str(own) if own.exists() else shutil.which("mpiexec")
    if found is None:
        raise RuntimeError('there is no mpiexec: pip install "minidl[mpi]"')
    says = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    return [found, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"] if "Open MPI" in says else [found]


class Running:
    """The processes of a team."""

    def __init__(self, team: Team, row: Row, tiny: bool):
        self.team = team
        server = socket.create_server(("127.0.0.1", 0), backlog=team.ranks)
        server.settimeout(1)
        free = socket.create_server(("127.0.0.1", 0))
        password = secrets.token_hex()
        ports = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free.getsockname()[1]}"}
        free.close()
        where = {WHERE: f"{server.getsockname()[1]} {password}"}
        self.processes = []
        for rank in range(1 if team.under_mpi else team.ranks):
            with environ(thread_limits(team.threads) | where | ports | {"RANK": f"{rank}"}, ("OPENBLAS_CORETYPE",)):
                self.processes.append(subprocess.Popen(team.command(), stdin=subprocess.DEVNULL))
        pipes = [self._accept(server, password) for _ in range(team.ranks)]
        server.close()
        self.pipes = [pipe for _, pipe in sorted(pipes, key=lambda found: found[0])]
        self.waits: list[float] = []  # seconds, of each step and rank
        self.windows: list[float] = []
        for pipe in self.pipes:
            pipe.send((team, row, tiny))

    def _accept(self, server: socket.socket, password: str) -> tuple[int, Connection]:
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            try:
                pipe = Connection(server.accept()[0].detach())
            except TimeoutError:
                if any(process.poll() is not None for process in self.processes):
                    break
            else:
                if pipe.recv_bytes() == password.encode():
                    return pipe.recv(), pipe
        self.close()
        raise RuntimeError(f"{self.team}: a process did not start")

    def ask(self, command: str, *arguments: Any) -> list[Any]:
        """What each rank answers."""
        self.send(command, *arguments)
        return self.receive()

    def send(self, command: str, *arguments: Any) -> None:
        for pipe in self.pipes:
            pipe.send((command, arguments))

    def receive(self) -> list[Any]:
        answers = []
        for pipe in self.pipes:
            try:
                kind, value = pipe.recv() if pipe.poll(PATIENCE) else ("error", "no answer")
            except (EOFError, ConnectionResetError):
                kind, value = "error", "its process ended"
            if kind == "error":
                raise RuntimeError(f"{self.team}: {value}")
            answers.append(value)
        return answers

    def turn(self, calls: int) -> list[float]:
        """Seconds of each of so many steps: of the rank that takes longest."""
        found = self.ask("steps", calls)
        for _, waits, windows in found:
            self.waits += waits
            self.windows += windows
        return [max(of_ranks) for of_ranks in zip(*(seconds for seconds, _, _ in found))]

    def close(self) -> None:
        for pipe in getattr(self, "pipes", ()):
            pipe.close()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


# --- inside a process


class Member:
    """A rank, which trains; the commands are methods."""

    def __init__(self, pipe: Connection, rank: int, team: Team, row: Row, tiny: bool):
        self.pipe, self.rank, self.team = pipe, rank, team
        self.library: Library = library(team.library, team.threads, mode=team.mode)
        Job(row, self.library, tiny=True).differentiate()  # so that code is loaded and threads are there
        self.before = reset_peak()
        self.job = Job(row, self.library, tiny)
        self.batch = self._part(self._given())
        self.step, self.calls, self.moments = -1, 0, []
        self.waits: list[float] = []
        self.windows: list[float] = []

    def _given(self) -> tuple[np.ndarray, np.ndarray]:
        """Input and target of the whole batch."""
        target = self.job._given(self.job.model(self.job.x))
        self.job.load()  # batch norm has moved
        return self.library.array(self.job.x), self.library.array(target)

    def _part(self, whole: tuple) -> tuple:
        """What of a batch this rank is given: minidl's ranks take theirs of it themselves."""
        if self.team.under_mpi:
            return whole
        parts = max(self.team.parts, self.team.ranks)
        return tuple(np.array_split(a, parts)[self.rank] for a in whole)

    def loss(self, model: Any, batch: Any) -> Any:
        x, target = map(self.library.tensor, batch)
        return self.job.loss(model(x), target)

    def batches(self, step: int) -> Any:
        if step != self.step:
            self.step = step
            self.moments.append(time.perf_counter())
            if len(self.moments) > self.calls:
                if self.calls:
                    seconds = [b - a for a, b in pairwise(self.moments)]
                    self.pipe.send(("ok", (seconds, self.waits[-self.calls :], self.windows[-self.calls :])))
                self._listen()
        return self.batch

    def _listen(self) -> None:
        """Answer, until steps are asked for."""
        while True:
            command, arguments = self.pipe.recv()
            if command == "steps":
                (self.calls,) = arguments
                self.moments = [time.perf_counter()]
                return
            self.pipe.send(("ok", getattr(self, command)(*arguments)))

    def train(self) -> None:
        (self._train_minidl if self.team.library == "minidl" else self._train_torch)()

    def _train_minidl(self) -> None:
        from minidl.training import fit as module

        module.ShardedStep = watched(module.ShardedStep, self.waits, self.windows)
        module.fit(
            self.job.model, self.job.optimiser, self.loss, self.batches, 1 << 60, record=True, progress=False,
            ranks="mpi" if self.team.under_mpi else "alone", shards=max(self.team.shards // self.team.parts, 1),
        )  # fmt: skip

    def _train_torch(self) -> None:
        import torch.distributed
        from torch.nn.parallel import DistributedDataParallel

        model = self.job.model
        if self.team.ranks > 1:
            torch.distributed.init_process_group("gloo", rank=self.rank, world_size=self.team.ranks)
            model = DistributedDataParallel(model)
        self.library.train(model, self.job.optimiser, self.loss, self.batches, 1 << 60)

    # --- the commands, of which the steps are answered by `batches`

    def reset(self) -> None:
        """The peak of memory starts from here."""
        reset_peak()

    def peak(self) -> int:
        """Bytes at the peak, above those of the library itself."""
        return peak_memory() - self.before

    def digest(self) -> str:
        """Of all bits of the parameters."""
        found = hashlib.sha256()
        for p in self.job.model.parameters():
            found.update(np.ascontiguousarray(self.library.array(p)))
        return found.hexdigest()

    def buckets(self) -> list[int]:
        """Bytes of each."""
        from minidl.ranks.bucket import filled

        arrays = [p.data for p in self.job.model.parameters()]
        return [sum(arrays[i].nbytes for i in bucket) for bucket in filled(arrays)]

    def exchange(self, times: int) -> float:
        """Seconds that it takes to add up the gradients of the ranks, when there is nothing else to do."""
        from minidl.ranks.bucket import Bucket, filled
        from minidl.ranks.group import connect

        group, arrays = connect("mpi"), [p.data for p in self.job.model.parameters()]
        buckets = [Bucket([arrays[i] for i in some], group, group.size, tag) for tag, some in enumerate(filled(arrays))]
        found = []
        for _ in range(times):
            group.gather("")
            for bucket in buckets:
                bucket.begin()
            for bucket in buckets:  # as after a backward pass: each rank has its own sum
                bucket.close(self.rank)
            began = time.perf_counter()
            group.wait(lambda: sum(bucket.advance() for bucket in buckets) == len(buckets))
            found.append(time.perf_counter() - began)
        return statistics.median(found)

    def link(self) -> Link:
        from minidl.ranks.group import connect

        return measured_link(connect("mpi"))


def watched(step: type, waits: list[float], windows: list[float]) -> type:
    """A ShardedStep that notes how long each step has waited, and how long its last backward pass has been sending."""

    class Watched(step):
        def __call__(self, number: int) -> Any:
            self.first: float | None = None
            result = super().__call__(number)
            waits.append(self.waited)
            return result

        def _take(self, leaf: Any, gradient: Any) -> None:
            if self.first is None and self.shard == self.mine[-1]:
                self.first = time.perf_counter()
            super()._take(leaf, gradient)

        def _finish(self, *arguments: Any) -> Any:
            windows.append(time.perf_counter() - self.first)
            return super()._finish(*arguments)

    return Watched


def serve(connect: Callable[[], Connection], password: str) -> None:
    pipe = connect()
    pipe.send_bytes(password.encode())
    rank = int(os.environ["RANK"])
    if any(name in os.environ for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")):
        from minidl.ranks.group import connect as ranks

        rank = ranks("mpi").rank
    pipe.send(rank)
    try:
        team, row, tiny = pipe.recv()
        Member(pipe, rank, team, row, tiny).train()
    except EOFError:  # nobody asks any more
        if team.under_mpi:
            return  # MPI wants to be left in order
    except BaseException as error:
        traceback.print_exc()
        pipe.send(("error", f"{type(error).__name__}: {error}"))
        pipe.close()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    from benchmarks.harness import teams  # what is pickled names this module so

    port, password = os.environ.pop(WHERE).split()
    teams.serve(lambda: Connection(socket.create_connection(("127.0.0.1", int(port))).detach()), password)
