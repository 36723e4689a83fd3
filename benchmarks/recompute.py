"""Activation checkpointing: what a training step of a residual network takes in memory and time, with and without.

    python -m benchmarks.recompute [--batch 64] [--blocks 9] [--rounds 3]

The network is the one of He et al., "Deep residual learning", 2016, section 4.2, on 32 x 32 pictures: three stages of
`blocks` blocks with 16, 32 and 64 channels, 6 * blocks + 2 layers with weights. Memory is the peak of forward and
backward above what is in use before; the gradients must be the same bits.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

import minidl as md
from minidl import functional as F
from minidl import nn

from .harness.meters import Clock, timed

STAGES = (16, 32, 64)
MIB = 2**20


class Block(nn.Module):
    """Two convolutions and a shortcut, which skips cells and pads channels with zeros where the shape changes."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.stride, self.more = outputs // inputs, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: md.Tensor) -> md.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, [(0, 0), (0, self.more), (0, 0), (0, 0)]))


class ResNet(nn.Module):
    def __init__(self, blocks: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        widths = [16] + [width for width in STAGES for _ in range(blocks)]
        self.blocks = nn.ModuleList([Block(*pair) for pair in pairwise(widths)])
        self.head = nn.Linear(64, 10)

    def forward(self, x: md.Tensor) -> md.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(axis=(2, 3)))


def step(model: ResNet, images: np.ndarray, labels: np.ndarray, recomputed: Iterable[nn.Module]) -> list[np.ndarray]:
    """The gradients of a training step."""
    model.zero_grad()
    with nn.recomputed(recomputed):
        F.cross_entropy(model(md.tensor(images)), labels).backward()
    return [p.grad.numpy() for p in model.parameters()]


def measured(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """MiB at the peak of a call, and the median of its seconds."""
    call()
    return Clock().memory(call) / MIB, statistics.median(timed(call) for _ in range(rounds))


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 if the gradients differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recompute", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="pictures in a step (64)")
    parser.add_argument("--blocks", type=int, default=9, metavar="N", help="residual blocks in each of 3 stages (9)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="steps that are timed (3)")
    options = parser.parse_args(argv)
    md.manual_seed(0)
    model, rng = ResNet(options.blocks), np.random.default_rng(0)
    images = rng.standard_normal((options.batch, 3, 32, 32), np.float32)
    labels = rng.integers(0, 10, options.batch)
    ways: dict[str, list[nn.Module]] = {"everything is saved": [], "the inputs of blocks are": list(model.blocks)}
    gradients = {}
    print(f"{6 * options.blocks + 2} layers, batch of {options.batch}")
    print(f"{'':<28}{'MiB':>8}{'seconds':>10}")
    for name, modules in ways.items():
        gradients[name] = step(model, images, labels, modules)
        memory, seconds = measured(lambda modules=modules: step(model, images, labels, modules), options.rounds)
        print(f"{name:<28}{memory:8.0f}{seconds:10.2f}")
    same = all(np.array_equal(a, b) for a, b in zip(*gradients.values()))
    print(f"the same gradients: {same}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
