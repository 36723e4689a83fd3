"""A small network trained on the ranks of MPI: the program of test_mpi.py, which fails in any way that is asked for.

    mpiexec -n 4 python -m tests.ranks.program FOLDER --steps 40 --fail raise --rank 2 --at 10
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import os
import signal
import sys
import time

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.ranks.group import connect
from minidl.study.terminal import Commands, UsageError
from minidl.train import fit


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2, rng=1), nn.Flatten(),
        nn.Linear(4 * 36, 3, rng=2),
    )  # fmt: skip


def digest(model: nn.Module) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in model.state_dict().values())).hexdigest()[:16]


def main(argv: list[str]) -> nn.Module:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds in each batch")
    parser.add_argument("--fail", default="")
    parser.add_argument("--rank", type=int, default=-1, help="which fails; -1: all")
    parser.add_argument("--at", type=int, default=5, help="in which step")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--shards", type=int)
    options = parser.parse_args(argv)
    if options.fail == "before":  # the ranks are connected
        raise ValueError("nothing to train on")
    if options.fail == "usage":
        raise UsageError("--fial is not an option")
    group = connect()
    with open(f"{options.folder}/pid.{group.rank}", "w") as file:
        file.write(str(os.getpid()))
    fails = options.rank in (-1, group.rank)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(50, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 50)
    images = images + np.float32(options.fail == "data" and fails)
    order = data.Batches(50, 12, seed=0)

    def batches(step: int):
        time.sleep(options.pause)
        if fails and step == options.at:
            fail(options.fail)
        x = images[order(step)]
        if options.fail == "nan" and fails and step == options.at:
            x = x * np.float32(np.nan)
        return x, labels[order(step)]

    def loss(model, batch):
        return F.cross_entropy(model(md.Tensor(batch[0])), batch[1])

    model = network()
    lr = 0.02 if options.fail == "settings" and fails else 0.01
    fit(model, optim.Adam(model.parameters(), lr), loss, batches, options.steps, clip=1.0, record=options.record,
        checkpoint=f"{options.folder}/c.npz", log=f"{options.folder}/log.jsonl", save_every=3, resume=True,
        progress=False, shards=options.shards)  # fmt: skip
    cpu = time.process_time()
    print(f"rank {group.rank} of {group.size}: {digest(model)}\n", end="", flush=True)
    if options.fail == "after" and fails:
        raise ValueError("no report")
    if options.fail == "slow" and group.first:
        time.sleep(2)
    if options.fail == "slow":
        atexit.register(lambda: print(f"computed for {time.process_time() - cpu:.1f} s\n", end="", flush=True))
    return model


def fail(how: str) -> None:
    if how == "raise":
        raise ValueError("a picture cannot be read")
    if how == "exit":
        sys.exit(3)
    if how == "leave":
        os._exit(4)
    if how in ("KILL", "STOP", "TERM", "INT"):
        os.kill(os.getpid(), signal.Signals[f"SIG{how}"])
        time.sleep(0.1)


class Program(Commands):
    def run(self, argv: list[str]) -> int:
        main(argv)
        return 0


if __name__ == "__main__":
    if "--script" in sys.argv:  # no command line of ours around it
        sys.argv.remove("--script")
        main(sys.argv[1:])
        sys.exit()
    sys.exit(Program("program", "program", {}, "test").main())
