"""Suppression of many boxes, and regions cut out of maps: how long they take, against loops over boxes.

    python -m benchmarks.boxes [--rounds N]

NMS at IoU 0.5 of N boxes that lie anywhere in 1000 x 1000 pixels, one thread or more as the machine has. RoI align
(7 x 7 bins, 2 x 2 samples) and RoI pool of 512 boxes on 256 maps of 50 x 50, float32: forward, and with the gradient of
the maps. The loops take a box at a time, NumPy does the rest; results are compared. The median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial

import numpy as np

import minidl as md
from minidl import functional as F

from .harness.meters import timed

COUNTS = (100, 1000, 10_000)
ROIS, MAPS, SIDE, BINS, SAMPLES = 512, 256, 50, 7, 2


def boxes(rng: np.random.Generator, count: int, size: float, sides: tuple[float, float]) -> np.ndarray:
    """Boxes anywhere in a square of this size, float32 (count, 4)."""
    corner, extent = rng.uniform(0, size - sides[1], (count, 2)), rng.uniform(*sides, (count, 2))
    return np.concatenate([corner, corner + extent], axis=1).astype(np.float32)


def nms_loop(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """The definition: take the best, drop what overlaps it too much, go on."""
    rest, chosen = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while rest.size:
        best, rest = rest[0], rest[1:]
        chosen.append(best)
        low, high = np.maximum(boxes[rest, :2], boxes[best, :2]), np.minimum(boxes[rest, 2:], boxes[best, 2:])
        shared = (high - low).clip(0).prod(axis=1)
        rest = rest[shared / (area[rest] + area[best] - shared) <= threshold]
    return np.array(chosen)


def align_loop(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """RoI align of boxes within one image's maps (C, H, W), a box at a time: (R, C, BINS, BINS)."""
    result = np.empty((len(boxes), len(maps), BINS, BINS), maps.dtype)
    steps = (np.arange(BINS * SAMPLES) + 0.5) / (BINS * SAMPLES)
    for out, (x1, y1, x2, y2) in zip(result, boxes - 0.5):
        x, y = x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)
        (j, right), (i, below) = ((np.floor(p).astype(int), (p - np.floor(p)).astype(maps.dtype)) for p in (x, y))
        top, bottom = (maps[:, row][:, :, j] * (1 - right) + maps[:, row][:, :, j + 1] * right for row in (i, i + 1))
        fine = top * (1 - below)[:, None] + bottom * below[:, None]
        out[...] = fine.reshape(len(maps), BINS, SAMPLES, BINS, SAMPLES).mean(axis=(2, 4))
    return result


def median(call: Callable[[], object], rounds: int) -> float:
    """Milliseconds of a call."""
    call()
    return 1000 * statistics.median(timed(call) for _ in range(rounds))


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 if a result differs from the loop's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boxes", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="calls of each (5)")
    rounds = max(parser.parse_args(argv).rounds, 1)
    rng, same = np.random.default_rng(0), True
    print(f"{'ms':<44}{'minidl':>9}{'loop':>9}")
    for count in COUNTS:
        some, scores = boxes(rng, count, 1000, (5, 40)), rng.random(count, np.float32)
        same &= np.array_equal(F.nms(some, scores, 0.5).numpy(), nms_loop(some, scores, 0.5))
        ours, loop = (median(partial(f, some, scores, 0.5), rounds) for f in (F.nms, nms_loop))
        print(f"{f'NMS of {count:,} boxes':<44}{ours:9.1f}{loop:9.1f}")
    x = md.tensor(rng.standard_normal((1, MAPS, SIDE, SIDE), np.float32), requires_grad=True)
    some = boxes(rng, ROIS, SIDE - 2, (4, 40)) + 1
    regions = np.insert(some, 0, 0, axis=1)
    for name, function, options in (
        ("RoI align", F.roi_align, {"sampling_ratio": SAMPLES}), ("RoI pool", F.roi_pool, {}),
    ):  # fmt: skip
        forward = partial(function, x, regions, BINS, **options)
        loop = f"{'-':>9}"
        if name == "RoI align":
            loop = f"{median(partial(align_loop, x.data[0], some), rounds):9.1f}"
            same &= np.allclose(forward().data, align_loop(x.data[0], some), atol=1e-5)
        print(f"{f'{name}, {ROIS} boxes on {MAPS} x {SIDE} x {SIDE}':<44}{median(forward, rounds):9.1f}{loop}")
        both = median(lambda f=forward: md.grad(f().sum(), [x]), rounds)
        print(f"{'  and the gradient of the maps':<44}{both:9.1f}")
    print("results are the loops'" if same else "RESULTS DIFFER from the loops'")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
