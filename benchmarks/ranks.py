"""Training on ranks: against threads, and against PyTorch's DistributedDataParallel, at equal cores.

    python -m benchmarks.ranks [NETWORK ...] [--json PATH] [--markdown] [--quick] [--rounds N] [--cores N]
    mpiexec -n 128 python -m benchmarks.ranks --inside resnet18       a cluster: the step there, and what is predicted

A row is a team of processes that train a network on the same batch, all float32, by `minidl.train.fit(record=True)`:

    unsharded 1x2    one process with all threads, the batch in one piece
    1x2              the same on 8 shards: what the ranks compute, in the same bits (which is checked)
    2x1              two ranks of MPI with a thread each, and so on where there are more cores
    1x1              one rank with one thread: strong scaling
    part             one rank with one thread on the part of the batch and the shards of one rank: weak scaling
    apart            all ranks like that at once, none of which sends anything: what the machine gives without exchange
    torch 1x2        PyTorch in one process with all threads
    ddp 2x1          PyTorch's DistributedDataParallel over gloo, as its users write it

- Each process is started anew; teams take turns, a step each; all others wait for the pipe and use no core. A ratio is
  the median over the rounds of the ratio of two teams' turns.
- The step of a team is that of its slowest rank. The first steps, which are recorded, are not timed.
- waited: seconds of a step that ranks spend waiting after their own work, for messages and for slower ranks; in the
  window before, from the first gradient of the last shard to the end of its backward pass, messages travel unseen.
  "exchange" is the time of the same messages and additions when there is nothing else to do.
- MiB: the most memory of a rank above that of the library alone: weights, state, gradients, buckets, activations.
- The prediction is on paper, from latency and bandwidth fitted to a ping-pong: see benchmarks/harness/link.py. Each
  rank has as many samples as here; two figures, if all that can be hidden is, and if nothing is. It knows nothing of
  slow ranks, of shared switches, or of the log. The line under it is for 10 Gbit/s Ethernet, 30 us, as assumed.

With --quick shapes are tiny and rounds few: a trial of the benchmark, whose numbers mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from .harness.libraries import is_installed, library
from .harness.link import ETHERNET, Link, measured_link
from .harness.measure import Disagreement, attempt, take_turns
from .harness.networks import denoiser, dncnn, resnet18, unet
from .harness.report import as_markdown, as_text, in_a_line, listed, machine, number, parse, parser, save
from .harness.rows import Job, Row, step
from .harness.teams import Running, Team
from .harness.worker import cores

SHARDS = 8
FAR = (16, 128, 1024)  # ranks that are predicted
NETWORKS = [
    step("denoiser", denoiser, (128, 1, 40, 40), (8, 1, 12, 12), "MSE", "Adam", width=8),
    step("dncnn17", dncnn, (32, 1, 40, 40), (8, 1, 10, 10), "MSE", "Adam", width=8, depth=5),
    step("unet", unet, (8, 1, 128, 128), (8, 1, 16, 16), "CrossEntropy", "SGD", base=4, levels=2),
    step("resnet18", resnet18, (128, 3, 32, 32), (8, 3, 64, 64), "CrossEntropy", "SGD", classes=10, width=8),
]


def teams(cores: int, torch: bool) -> dict[str, Team]:
    """By the name of their row."""
    counts = [n for n in range(1, cores + 1) if cores % n == 0 and SHARDS % n == 0]
    most = counts[-1]
    found = {f"unsharded 1x{cores}": Team(threads=cores, shards=1)}
    found |= {f"{n}x{cores // n}": Team(ranks=n, threads=cores // n) for n in counts}
    if most > 1:
        found |= {"1x1": Team(), "part": Team(parts=most), "apart": Team(ranks=most, parts=most)}
    if torch:
        found |= {f"torch 1x{cores}": Team("torch", threads=cores)}
        found |= {f"ddp {n}x{cores // n}": Team("torch", ranks=n, threads=cores // n) for n in counts[1:]}
    return found


@dataclass
class Found:
    """What was measured for one network; by team."""

    network: str
    shape: tuple[int, ...]
    cores: int
    seconds: dict[str, list[list[float]]]  # of each step, round by round
    memory: dict[str, list[int]]  # of each rank
    waited: dict[str, float]
    window: dict[str, float]
    exchange: dict[str, float] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=list)  # bytes
    link: Link | None = None

    @property
    def ranks(self) -> str:
        """The team of most ranks."""
        return max((name for name in self.seconds if name[0].isdigit()), key=lambda name: int(name.split("x")[0]))

    def median(self, team: str) -> float:
        return statistics.median(chain(*self.seconds[team]))

    def ratio(self, team: str, other: str) -> float:
        """How many times as long as the other it takes."""
        rounds = zip(*(map(statistics.median, self.seconds[name]) for name in (team, other)))
        return statistics.median(mine / theirs for mine, theirs in rounds)

    def ratios(self) -> dict[str, float]:
        """What is asked, by the words of the report."""
        threads, ranks = f"1x{self.cores}", self.ranks
        wanted = {
            f"step of {SHARDS} shards / unsharded": (threads, f"unsharded {threads}"),
            f"throughput of {ranks} / {threads}": (threads, ranks),
            f"throughput of {ranks} / ddp": (f"ddp {ranks}", ranks),
            f"throughput of {threads} / torch": (f"torch {threads}", threads),
            f"strong scaling, {ranks} / 1x1": ("1x1", ranks),
            f"weak scaling, {ranks} / part": ("part", ranks),
            "weak scaling without exchange": ("part", "apart"),
        }
        return {
            words: self.ratio(*pair) for words, pair in wanted.items()
            if all(name in self.seconds for name in pair) and pair[0] != pair[1]
        }  # fmt: skip

    def predicted(self, link: Link, ranks: int) -> tuple[float, float]:
        """Seconds of a step, at best and at worst, at so many samples for each rank."""
        return link.step(self.median("apart"), self.buckets, ranks, self.window[self.ranks])

    def json(self) -> dict[str, Any]:
        medians = {name: 1e3 * self.median(name) for name in self.seconds}
        links = {"here": self.link, "ethernet": ETHERNET} if self.link else {}
        far = {name: {n: self.predicted(link, n) for n in (int(self.ranks.split("x")[0]), *FAR)}
               for name, link in links.items()}  # fmt: skip
        return asdict(self) | {"median_ms": medians, "ratios": self.ratios(), "predicted_seconds": far}


def measure(row: Row, teams: Mapping[str, Team], cores: int, rounds: int, tiny: bool) -> Found:
    with ExitStack() as stack:
        running = {name: stack.enter_context(Running(team, row, tiny)) for name, team in teams.items()}
        for team in running.values():
            team.ask("steps", 4 if team.team.shards == 1 else 2)  # recorded, the memory of results planned
        require_the_same_bits(running)
        memory: dict[str, list[int]] = {}
        for name, team in running.items():
            team.ask("reset")
            team.ask("steps", 1)
            memory[name] = team.ask("peak")
        seconds = dict(zip(running, take_turns([partial(team.turn, 1) for team in running.values()], rounds)))
        waited, window = (
            {name: statistics.median(noted) for name, team in running.items() if (noted := of(team))}
            for of in (lambda team: team.waits, lambda team: team.windows)
        )
        shape = row.tiny if tiny else row.shape
        found = Found(row.name, shape, cores, seconds, memory, waited, window)
        ranks = {name: team for name, team in running.items() if team.team.under_mpi}
        found.exchange = {name: max(team.ask("exchange", 11)) for name, team in ranks.items()}
        if ranks:
            found.buckets, found.link = ranks[found.ranks].ask("buckets")[0], ranks[found.ranks].ask("link")[0]
    return found


def require_the_same_bits(running: Mapping[str, Running]) -> None:
    """Of all teams that train on the shards of the whole batch, after the same number of steps."""
    digests = {
        name: digest for name, team in running.items()
        if team.team.library == "minidl" and team.team.shards > 1 and team.team.parts == 1
        for digest in team.ask("digest")
    }  # fmt: skip
    if len(set(digests.values())) > 1:
        raise Disagreement(f"the teams {', '.join(digests)} have other bits")


# --- the report


def report(results: Sequence[Found], markdown: bool) -> str:
    lines = [["network", "team", "step ms", "samples/s", "waited ms", "MiB a rank"]]
    for r in results:
        for name in r.seconds:
            samples = r.shape[0] / r.median(name) * (1 / int(r.ranks.split("x")[0]) if name == "part" else 1)
            waited = number(1e3 * r.waited[name]) if name in r.exchange else "-"
            memory = number(max(r.memory[name]) / 2**20)
            lines.append([r.network, name, number(1e3 * r.median(name)), number(samples), waited, memory])
    text = [(as_markdown if markdown else as_text)(lines)]
    for r in results:
        text += ["", f"{r.network}, batch of {'x'.join(map(str, r.shape))}:"]
        text += [f"- {words}: {ratio:.2f}" for words, ratio in r.ratios().items()]
        text += prediction(r)
    text += ["", *means(results)]
    return "\n".join(text)


def prediction(r: Found) -> list[str]:
    if r.link is None:
        return []
    here, alone, whole = r.ranks, r.exchange[r.ranks], sum(r.buckets)
    cost = r.median(here) - r.median("apart")
    lines = [
        f"- exchange of {whole / 2**20:.1f} MiB in {len(r.buckets)} buckets: alone {1e3 * alone:.1f} ms, on paper "
        f"{1e3 * r.link.exchange(r.buckets, int(here.split('x')[0])):.1f}; waited for {1e3 * r.waited[here]:.1f} ms, "
        f"sent meanwhile for {1e3 * r.window[here]:.1f} ms; the step is {1e3 * cost:.1f} ms longer than apart",
        f"- link: latency {1e6 * r.link.latency:.1f} us, {r.link.bandwidth / 1e9:.2f} GB/s each way, adds "
        f"{r.link.adding / 1e9:.1f} GB/s",
    ]
    for name, link in (("this link", r.link), ("10 Gbit/s", ETHERNET)):
        cells = []
        for n in (int(here.split("x")[0]), *FAR):
            best, worst = r.predicted(link, n)
            high, low = r.median("apart") / best, r.median("apart") / worst
            cells.append(f"{n}: {1e3 * best:.0f} to {1e3 * worst:.0f} ms, efficiency {low:.2f} to {high:.2f}")
        lines.append(f"- predicted with {name}, ranks: " + "; ".join(cells))
    return lines


def means(results: Sequence[Found]) -> list[str]:
    found: dict[str, list[float]] = {}
    for r in results:
        for words, ratio in r.ratios().items():
            found.setdefault(words, []).append(ratio)
    return [
        f"{words}: geometric mean {statistics.geometric_mean(ratios):.3f} of {len(ratios)}, least {min(ratios):.2f}"
        for words, ratios in found.items()
    ]


# --- inside a job of MPI


class Random:
    """Batches of which each rank draws its own shards."""

    def __init__(self, job: Job, each: int, shards: int):
        self.each, self.shards, self.x = each, shards, job.library.array(job.x)[:each]
        self.target = job.library.array(job._given(job.model(job.x)))[:each]
        job.load()
        self.began: list[float] = []

    def __call__(self, step: int) -> Any:
        return self.shard(step, 0, self.size(step) // self.each)

    def size(self, step: int) -> int:
        if len(self.began) <= step:
            self.began.append(time.perf_counter())
        return self.each * self.shards

    def shard(self, step: int, shard: int, shards: int) -> Any:
        return self.x, self.target


def inside(row: Row, tiny: bool, steps: int, each: int) -> str:
    """Train on the ranks of the launcher, `each` shards on every rank; what a step takes, and what is predicted."""
    from minidl.ranks.bucket import filled
    from minidl.ranks.group import Alone, connect
    from minidl.training.fit import fit

    group, lib = connect(), library("minidl", 1)
    job = Job(row, lib, tiny)

    def trained(group: Any) -> float:
        samples = max((row.tiny if tiny else row.shape)[0] // SHARDS, 1)
        batches = Random(job, samples, each * group.size)

        def loss(model: Any, batch: Any) -> Any:
            x, target = map(lib.tensor, batch)
            return job.loss(model(x), target)

        fit(job.model, job.optimiser, loss, batches, steps + 3, record=True, progress=False, ranks=group,
            shards=each * group.size)  # fmt: skip
        return statistics.median(np.diff(batches.began)[2:])

    compute, together = trained(Alone()), trained(group)
    if group.size == 1:
        return f"{row.name}: 1 rank, {1e3 * together:.1f} ms a step; start this with mpiexec -n 2 or more"
    arrays = [p.data for p in job.model.parameters()]
    buckets = [sum(arrays[i].nbytes for i in some) for some in filled(arrays)]
    link = measured_link(group)
    best, worst = link.step(compute, buckets, group.size, compute / each * 2 / 3)
    return (
        f"{row.name} on {group.size} ranks, {each} shards each: {1e3 * together:.1f} ms a step, {1e3 * compute:.1f} "
        f"without exchange, predicted {1e3 * best:.1f} to {1e3 * worst:.1f} (latency {1e6 * link.latency:.1f} us, "
        f"{link.bandwidth / 1e9:.2f} GB/s between ranks 0 and 1)"
    )


# --- the command


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    command = parser("ranks", __doc__)
    command.add_argument("--cores", type=int, default=cores(), metavar="N", help=f"that each team has ({cores()})")
    command.add_argument("--no-torch", action="store_true", help="measure minidl alone")
    command.add_argument("--inside", action="store_true", help="train on the ranks of the mpiexec that started this")
    command.add_argument("--each", type=int, default=4, metavar="N", help="shards of a rank with --inside (4)")
    options = parse(command, NETWORKS, arguments)
    if not 1 <= options.cores <= cores():
        command.error(f"--cores {options.cores}: from 1 to the {cores()} cores that there are")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = options_of(arguments)
    if options.list:
        print(listed(options.chosen))
        return
    if options.inside:
        from minidl.ranks.group import connect

        for row in options.chosen:
            line = inside(row, options.quick, options.rounds, options.each)
            if connect().first:
                print(line, flush=True)
        return
    torch = is_installed("torch") and not options.no_torch
    chosen = teams(options.cores, torch)
    about = machine(options.cores, ["mpi4py", *["torch"] * torch])
    print(in_a_line(about))
    calls: dict[str, Callable[[], Found]] = {
        row.name: partial(measure, row, chosen, options.cores, options.rounds, options.quick) for row in options.chosen
    }
    results, failures = attempt(calls)
    print(report(results, options.markdown))
    save({"machine": about, "networks": [r.json() for r in results], "failures": failures}, options.json)
    if failures:
        raise SystemExit(f"{len(failures)} of {len(calls)} failed: {'; '.join(failures)}")


if __name__ == "__main__":
    main()
