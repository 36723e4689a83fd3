"""What a trained detector is shown to do: its table on held-out scenes, the figure, a user's picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isnan
from pathlib import Path

import numpy as np

from minidl import Tensor, nn
from minidl.device import to_device

from ..command import progress
from ..run import LOG, read_log
from . import figure
from .average_precision import NAMES, coco_ap, voc_ap
from .records import Detections, Target
from .scenes import Scenes
from .train import Settings, standardised

BATCH = 8  # pictures that go through the network at once
TEST_SEED = 0  # one set of test scenes for all runs, so that they can be compared
SIDE = 96  # of the scenes
HEADS = ("AP", "AP50", "AP75", "small", "medium", "large", "VOC")


def detections(model: nn.Module, images: np.ndarray, device: str, show=lambda: None) -> list[Detections]:
    """What is found in pictures (N, 3, H, W) in [0, 1]."""
    found = []
    for start in range(0, len(images), BATCH):
        found += model.detect(Tensor(to_device(standardised(images[start : start + BATCH]), device)))
        show()
    return found


def table(truths: Sequence[Target], found: Sequence[Detections]) -> str:
    """COCO's six average precisions and VOC's (IoU 0.5), in percent: of all classes, and of each."""
    classes = Scenes.classes
    coco, voc = coco_ap(truths, found, len(classes), sizes=Scenes.sizes), voc_ap(truths, found, len(classes))
    rows = [("all", coco, voc["AP"]), *zip(classes, coco["classes"], voc["classes"])]
    lines = ["class " + "".join(f"{head:>8}" for head in HEADS)]
    for name, of_coco, of_voc in rows:
        values = [*(of_coco[key] for key in NAMES), of_voc]
        lines.append(f"{name:<6}" + "".join("       -" if isnan(v) else f"{100 * v:8.1f}" for v in values))
    return "\n".join(lines)


def report(model: nn.Module, settings: Settings, count: int, out: Path, device: str, quiet: bool) -> None:
    """Print the table for `count` scenes that were never trained on; leave it and the figure in `out`."""
    with progress("detecting in the test scenes", ceil(count / BATCH), quiet) as show:
        images, truths = Scenes(TEST_SEED, "test", SIDE).batch(0, count)
        found = detections(model, images, device, show)
    low, high = Scenes.sizes
    title = f"{settings.describe()}; tested on {count} scenes never trained on, {sum(map(len, truths))} digits"
    sizes = f"average precision in percent; small: boxes below {low}^2 pixels, large: above {high}^2"
    text = "\n".join([title, sizes, table(truths, found)])
    print(text)
    (out / "table.txt").write_text(text + "\n", encoding="utf-8")
    log = read_log(out) if (out / LOG).exists() else []
    figure.overview(out / "figure.png", images, truths, found, Scenes.classes, log, title)
    print(f"in {out}: table.txt, figure.png")


def detect_picture(model: nn.Module, image: np.ndarray, file: str, out: Path, device: str) -> None:
    """Print what is found in a user's picture (3, H, W); draw it into `out`."""
    small, factor = framed(image)
    found = unframed(detections(model, small[None], device)[0], factor, image.shape[1:])
    sure = found[found.scores >= figure.SURE]
    print(f"{file}: {len(sure)} found with a score of at least {figure.SURE}")
    for box, label, score in zip(sure.boxes, sure.labels, sure.scores):
        print(f"  {Scenes.classes[label]}  {score:.2f}  " + ", ".join(f"{x}={v:.0f}" for x, v in zip(SIDES, box)))
    drawn = out / f"{Path(file).stem}-detections.png"
    figure.picture(drawn, image, found, Scenes.classes)
    print(f"drawn: {drawn}")


SIDES = ("x1", "y1", "x2", "y2")


def framed(image: np.ndarray) -> tuple[np.ndarray, float]:
    """A picture (3, H, W) with its longer side made SIDE, at the top left of a gray square; by which factor."""
    from PIL import Image

    factor = SIDE / max(image.shape[1:])
    height, width = (max(1, round(n * factor)) for n in image.shape[1:])
    pixels = Image.fromarray(np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8))  # (3, H, W) -> (H, W, 3)
    pixels = np.asarray(pixels.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    frame = np.full((3, SIDE, SIDE), 0.5, np.float32)
    frame[:, :height, :width] = pixels.transpose(2, 0, 1)  # (h, w, 3) -> (3, h, w)
    return frame, factor


def unframed(found: Detections, factor: float, size: Sequence[int]) -> Detections:
    """Detections in what `framed` gives, in pixels of the picture (H, W); those beside it are left out."""
    height, width = size
    boxes = (found.boxes / factor).clip(0, np.float32([width, height, width, height]))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Detections(boxes[inside], found.labels[inside], found.scores[inside])
