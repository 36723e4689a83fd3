"""What shards cost on one process: a step of the tasks' default jobs with its batch cut into 1, 2, 4 and 8 of them.

    python -m benchmarks.shards
    python -m benchmarks.shards --jobs denoise --cpu      # CPU time, where the machine has other work

Ratios of the shortest steps, recorded as the tasks record them; 1 shard is a batch that is not cut.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidl import nn
from minidl.train import fit
from tasks.classify import train as classify
from tasks.classify.data import digits
from tasks.denoise import train as denoise
from tasks.denoise.data import TRAIN, photographs
from tasks.detect import train as detect
from tasks.run import Job
from tasks.segment import train as segment
from tasks.segment.data import bundled

SHARDS = (1, 2, 4, 8)
STEPS, WARM = 15, 4  # steps, of which the first ones are slower: they are recorded, and memory is planned


class Timed(Job):
    """Training that stops after some steps, and knows the shortest of them."""

    clock = time.perf_counter

    def fit(self, model: nn.Module, optimiser: Any, loss: Callable, batches: Callable, **options: Any) -> nn.Module:
        began: list[float] = []

        def schedule(step: int) -> float:
            began.append(Timed.clock())
            return self.settings.lr

        of_fit = {name: options[name] for name in ("clip", "record") if name in options}
        fit(
            model, optimiser(model.parameters(), self.settings.lr), loss, batches, STEPS, schedule=schedule,
            progress=False, ranks="alone", shards=self.shards, **{"record": True, **of_fit},
        )  # fmt: skip
        Timed.shortest = min(b - a for a, b in zip(began[WARM:], began[WARM + 1 :]))
        return model


JOBS: dict[str, tuple[str, Callable[[Job], Any], Any]] = {
    "denoise": ("8 patches of 40x40", lambda job: denoise.train(job, photographs(TRAIN), {}), denoise),
    "classify": ("64 digits of 8x8", lambda job: classify.train(job, digits()), classify),
    "segment": ("8 patches of 96x96", lambda job: segment.train(job, bundled("coins", 0)), segment),
    "detect": ("8 pictures of 96x96", detect.train, detect),
}


def measured(name: str, shards: int, folder: str) -> float:
    """The seconds of a step."""
    _, train, task = JOBS[name]
    train(Timed(task.Settings.of({}), Path(folder), shards=shards))
    return Timed.shortest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--cpu", action="store_true", help="count the time that this process was given")
    options = parser.parse_args()
    Timed.clock = time.process_time if options.cpu else time.perf_counter
    print("| step of | whole | " + " | ".join(f"{n} shards" for n in SHARDS[1:]) + " |")
    print("|---|" + "---:|" * len(SHARDS))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.jobs:
            seconds = [measured(name, shards, folder) for shards in SHARDS]
            ratios = " | ".join(f"{s / seconds[0]:.2f}" for s in seconds[1:])
            print(f"| {name}: {JOBS[name][0]} | {1e3 * seconds[0]:.0f} ms | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
