"""Depth and patience: 100,000 chained operations, and 10,000 training steps in flat memory.

    python -m benchmarks.endurance [--operations 100000] [--steps 10000]

The garbage collector is off: if graphs were freed by it rather than by reference counting, memory would grow.
"""

from __future__ import annotations

import argparse
import gc
import os
import time

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.train import fit


def resident_bytes() -> int:
    """Memory of this process in use now (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def chain(length: int) -> None:
    """y = x + 1 + 1 + ...: the gradient is exactly 1, whatever the depth."""
    x = md.tensor(np.zeros(4), requires_grad=True)
    start = time.perf_counter()
    y = x
    for _ in range(length):
        y = y + 1.0
    forward = time.perf_counter() - start
    y.sum().backward()
    seconds = time.perf_counter() - start
    exact = bool((x.grad.data == 1).all() and (y.data == length).all())
    print(f"{length:,} operations: forward {forward:.2f} s, both {seconds:.2f} s, value and gradient exact: {exact}")
    if not exact:
        raise SystemExit("FAIL: the value or the gradient of the chain is wrong")


def train(steps: int) -> None:
    """A small convolutional classifier on noise, its memory read at every tenth of the way."""
    rng = np.random.default_rng(0)
    md.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)
    )
    images, labels = rng.normal(size=(64, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 64)
    readings: list[int] = []

    def loss(model: nn.Module, batch: np.ndarray) -> md.Tensor:
        return F.cross_entropy(model(md.tensor(images[batch])), labels[batch])

    def read(step: int) -> None:
        readings.append(resident_bytes())
        print(f"step {step + 1:6,}: {readings[-1] / 2**20:.1f} MiB")

    optimiser, batches = optim.SGD(model.parameters(), lr=0.01, momentum=0.9), data.Batches(64, 16, seed=0)
    fit(model, optimiser, loss, batches, steps, evaluate=read, evaluate_every=max(steps // 10, 1), progress=False)
    growth = (readings[-1] - readings[0]) / 2**20
    print(f"growth from the first reading to the last: {growth:+.2f} MiB")
    if growth > 1:
        raise SystemExit("FAIL: memory grew")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__.split("\n")[0])
    parser.add_argument("--operations", type=int, default=100_000, help="length of the chain (100000)")
    parser.add_argument("--steps", type=int, default=10_000, help="training steps (10000)")
    options = parser.parse_args()
    gc.disable()
    chain(options.operations)
    train(options.steps)


if __name__ == "__main__":
    main()
