"""RoI pool against RoI align: where in the picture does a crop come from, and what does it cost a detector?

A region is cut out of a map whose cells stand for `stride` pixels each. RoI pool rounds its corners to whole cells and
takes the largest cell of each bin; RoI align rounds nothing and takes the mean of samples between the cells.

Two measurements. Where a crop comes from: of a picture whose value at each pixel is its own x, a crop tells where each
bin was taken. The value less the x of the bin's centre is its misalignment; the largest cell of a bin lies to one side
of it in every crop, and so the mean over all crops is taken off. What it costs: one and the same Mask R-CNN, trained
with either on the same pictures from the same weights.

Sources: Girshick, "Fast R-CNN", ICCV 2015, section 2.1; He et al., "Mask R-CNN", ICCV 2017, sections 3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data

from ..command import UsageError
from ..detect.data.records import Detections
from ..detect.data.shapes import Shapes
from ..detect.evaluate.average_precision import coco_ap
from ..detect.models.faster_rcnn import FasterRCNN, faster_rcnn_small
from ..detect.models.heads import METHODS, Crop, HeadSettings
from . import BLUE, ORANGE, blank, learn

BOXES, WEIGHTS, SAMPLES = 1, 2, 3  # purposes of random draws
BINS = 7  # along each side of a crop, as the box head has them
PICTURE = 128  # side of the picture that tells where a crop comes from
SIDES = (16, 64)  # of its regions
SHOWN = (("boxes", "AP"), ("boxes", "AP50"), ("boxes", "AP75"), ("masks", "AP"), ("masks", "AP75"))
COLOURS = {"align": BLUE, "pool": ORANGE}
BATCH = 10  # pictures that are tested at once


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    strides: tuple[int, ...] = (4, 8, 16)  # pixels of a cell, where misalignment is measured
    regions: int = 2000  # that it is measured on
    size: int = 64  # side of the pictures that are trained on
    steps: int = 250  # of training
    batch: int = 4  # pictures in a step
    lr: float = 0.002  # Adam's; up in a twentieth of the steps, then a cosine to 0
    tested: int = 100  # pictures that average precision is measured on
    seeds: int = 3  # runs of each
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if self.size < 48 or self.size % 16:
            raise UsageError(f"--size {self.size}: the pyramid needs a multiple of 16, 48 or more")
        if max(self.strides) > SIDES[1]:
            raise UsageError(f"--strides {max(self.strides)}: a cell must not be larger than a region, {SIDES[1]}")
        if not self.lr > 0:
            raise UsageError("--lr must be above 0")


QUICK = Settings(regions=50, size=48, steps=3, batch=2, tested=4, seeds=1)


# --- where a crop comes from


def regions(count: int, seed: int) -> np.ndarray:
    """Regions (count, 5) anywhere in the picture, their sides anything in `SIDES`."""
    rng = data.generator(seed, BOXES)
    sides = rng.uniform(*SIDES, (count, 2))
    corners = SIDES[1] / 4 + rng.random((count, 2)) * (PICTURE - SIDES[1] / 2 - sides)  # some way from the border
    return np.concatenate([np.zeros((count, 1)), corners, corners + sides], axis=1)


def misalignment(method: str, stride: int, boxes: np.ndarray) -> np.ndarray:
    """How far to the right of its bin's centre each value of a crop comes from, in pixels: (R, BINS, BINS).

    A cell of the map is the mean over its pixels of a picture whose value is x.
    """
    x = (np.arange(PICTURE // stride) + 0.5) * stride
    ramp = md.Tensor(np.broadcast_to(x, (1, 1, len(x), len(x))).copy())
    found = Crop((stride,), method=method)([ramp], boxes, BINS).numpy()[:, 0]
    centre = boxes[:, 1, None] + (np.arange(BINS) + 0.5) / BINS * (boxes[:, 3] - boxes[:, 1])[:, None]  # (R, BINS)
    return found - centre[:, None]


def misaligned(settings: Settings) -> dict[str, Any]:
    """The spread of the misalignment, and the largest, of each method at each stride."""
    boxes = regions(settings.regions, settings.seed)
    result: dict[str, Any] = {}
    for method in METHODS:
        offs = [misalignment(method, stride, boxes) for stride in settings.strides]
        result[method] = [
            {"mean": float(off.mean()), "spread": float(off.std()), "largest": float(abs(off - off.mean()).max())}
            for off in offs
        ]
    return result


# --- what it costs


def network(method: str, seed: int) -> FasterRCNN:
    """Mask R-CNN for shapes, whose regions are cut out by this method."""
    options = {"masks": True, "method": method, "head": HeadSettings(sample=16)}
    return faster_rcnn_small(len(Shapes.classes), **options, rng=data.generator(seed, WEIGHTS))


def pictures(settings: Settings, split: str, seed: int) -> Shapes:
    """Shapes in pictures of the settings' size."""
    return Shapes(seed, split, settings.size, count=(1, 3), sides=(14, settings.size // 2))


def trained(method: str, settings: Settings, seed: int, step: Callable) -> dict[str, dict[str, float]]:
    """The average precisions of boxes and of masks after training."""
    model, train = network(method, seed), pictures(settings, "train", seed)

    def loss(model: FasterRCNN, at: int) -> dict[str, md.Tensor]:
        images, targets = train.batch(at, settings.batch)
        return model.losses(md.Tensor(images), targets, data.generator(seed, SAMPLES, at))

    learn(model, loss, lambda at: at, settings.steps, settings.lr, step, warmup=settings.steps // 20, clip=10.0)
    images, targets = pictures(settings, "test", seed).batch(0, settings.tested)
    found: list[Detections] = []
    for start in range(0, len(images), BATCH):
        found += model.detect(md.Tensor(images[start : start + BATCH]))
    measured = {kind: coco_ap(targets, found, len(Shapes.classes), kind) for kind in ("boxes", "masks")}
    return {kind: {name: ap[name] for _, name in SHOWN} for kind, ap in measured.items()}


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Misalignment, and the precisions of every run."""
    runs = {}
    for method in METHODS:
        with progress(f"training with RoI {method}", settings.steps * settings.seeds) as step:
            runs[method] = [trained(method, settings, settings.seed + i, step) for i in range(settings.seeds)]
    return {"strides": settings.strides, "misalignment": misaligned(settings), "steps": settings.steps, "runs": runs}


# --- the claims


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    sentences = []
    for i, stride in enumerate(numbers["strides"]):
        align, pool = (numbers["misalignment"][method][i] for method in ("align", "pool"))
        sentences.append(
            f"cells of {stride} pixels: pool takes a bin from {pool['spread']:.2f} pixels beside its place (root mean "
            f"square), at most {pool['largest']:.1f}; align from {align['spread']:.1g}, at most {align['largest']:.1g}"
        )
    for kind, name in SHOWN:
        align, pool = (_values(numbers, method, kind, name) for method in ("align", "pool"))
        gains = [100 * (a - p) for a, p in zip(align, pool)]
        verdict = "better in every run" if min(gains) > 0 else "NOT better in every run"
        sentences.append(
            f"{kind}, {name}: align {_written(align)}, pool {_written(pool)}; align is {verdict}, by "
            f"{', '.join(f'{gain:+.1f}' for gain in gains)} points"
        )
    return sentences


def _values(numbers: dict[str, Any], method: str, kind: str, name: str) -> list[float]:
    return [run[kind][name] for run in numbers["runs"][method]]


def _written(values: list[float]) -> str:
    """The mean and the standard deviation (of a sample) in percent."""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def draw(numbers: dict[str, Any]) -> Any:
    """The misalignment by stride, and the precisions of every run."""
    figure = blank(12, 4.6)
    first, second = figure.subplots(1, 2, width_ratios=(2, 3))
    strides = numbers["strides"]
    for k, method in enumerate(METHODS):
        spread = [one["spread"] for one in numbers["misalignment"][method]]
        places = np.arange(len(strides)) + 0.4 * (k - 0.5)
        bars = first.bar(places, spread, 0.38, color=COLOURS[method], label=f"RoI {method}")
        first.bar_label(bars, [f"{value:.2f}" for value in spread])
    first.set(title="where bins come from: error in pixels (root mean square)", xticks=range(len(strides)))
    first.set_xticklabels([f"stride {stride}" for stride in strides])
    first.legend()
    for k, method in enumerate(METHODS):
        for j, (kind, name) in enumerate(SHOWN):
            values = [100 * value for value in _values(numbers, method, kind, name)]
            place = j + 0.4 * (k - 0.5)
            bars = second.bar(place, np.mean(values), 0.38, color=COLOURS[method], alpha=0.5)
            second.plot([place] * len(values), values, "o", color=COLOURS[method], markersize=4)
            mean = f"{np.mean(values):.1f}"
            second.annotate(mean, (place, max(values)), (0, 5), textcoords="offset points", ha="center")
    second.set(title="average precision on new pictures: mean, and each run", xticks=range(len(SHOWN)), ylim=(0, 105))
    second.set_xticklabels([f"{kind}\n{name}" for kind, name in SHOWN])
    return figure
