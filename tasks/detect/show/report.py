"""What a trained detector is shown to do: its table on held-out pictures, the figure, a user's picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isnan
from time import perf_counter

import numpy as np

from minidl import Tensor, nn
from minidl.device import to_device

from ...run import Job
from ..data.letterbox import SIDE, framed, unframed
from ..data.records import Detections, Target
from ..data.scenes import Scenes
from ..evaluate.average_precision import NAMES, coco_ap, voc_ap
from ..train import Settings, centred
from . import figure

BATCH = 8  # pictures that go through the network at once
HEADS = ("AP", "AP50", "AP75", "small", "medium", "large")


def detections(model: nn.Module, images: np.ndarray, device: str, show=lambda: None) -> list[Detections]:
    """What is found in pictures (N, 3, H, W) in [0, 1]."""
    found = []
    for start in range(0, len(images), BATCH):
        found += model.detect(Tensor(to_device(centred(images[start : start + BATCH]), device)))
        show()
    return found


def table(
    truths: Sequence[Target], found: Sequence[Detections], classes: Sequence[str] = Scenes.classes,
    sizes: tuple[float, float] = Scenes.sizes, kind: str = "boxes", title: str = "class",
) -> str:  # fmt: skip
    """COCO's six average precisions in percent, and VOC's (IoU 0.5) of boxes: of all classes, and of each."""
    coco = coco_ap(truths, found, len(classes), kind, sizes=sizes)
    rows = [[row[key] for key in NAMES] for row in (coco, *coco["classes"])]
    heads = list(HEADS)
    if kind == "boxes":
        voc = voc_ap(truths, found, len(classes))
        rows, heads = [[*row, value] for row, value in zip(rows, (voc["AP"], *voc["classes"]))], [*heads, "VOC"]
    width = max(map(len, (title, "all", *classes))) + 1
    lines = [f"{title:<{width}}" + "".join(f"{head:>8}" for head in heads)]
    for name, values in zip(("all", *classes), rows):
        lines.append(f"{name:<{width}}" + "".join("       -" if isnan(v) else f"{100 * v:8.1f}" for v in values))
    return "\n".join(lines)


def tables(
    truths: Sequence[Target], found: Sequence[Detections], settings: Settings, sizes: tuple[float, float]
) -> str:
    """One table for each kind of average precision; their names stand above them if there are several."""
    kinds = settings.kinds
    titles = ["class"] if len(kinds) == 1 else kinds
    return "\n\n".join(
        table(truths, found, settings.names, sizes, kind, title) for kind, title in zip(kinds, titles)
    )


def thirds(truths: Sequence[Target]) -> tuple[float, float]:
    """Sides of squares, in whole pixels, such that a third of the objects is smaller, and a third larger."""
    areas = np.concatenate([np.zeros(0), *(truth.areas for truth in truths)])
    small, large = np.rint(np.quantile(np.sqrt(areas), (1 / 3, 2 / 3))) if len(areas) else (0.0, 0.0)
    return float(small), float(large)


def report(model: nn.Module, job: Job, count: int, part: str = "test") -> None:
    """Print the tables for at most `count` pictures of a part that was never trained on; leave them and the figure in
    the folder of the job."""
    settings, out = job.settings, job.out
    pictures, (many, objects) = settings.pictures(part), settings.words
    images, truths = pictures.batch(0, count)
    with job.progress(f"detecting in the {part} {many}", ceil(len(images) / BATCH)) as show:
        start = perf_counter()
        found = detections(model, images, job.device, show)
        each = (perf_counter() - start) / max(len(images), 1)
    low, high = pictures.sizes or thirds(truths)
    which = "" if part == "test" else f"{part} "
    tested = f"tested on {len(truths)} {which}{many} never trained on, {sum(map(len, truths))} {objects}"
    title = f"{settings.describe()}; {tested}"
    sizes = f"average precision in percent; small: below {low:g}^2 pixels, large: above {high:g}^2"
    job.table([title, sizes, tables(truths, found, settings, (low, high))])
    print(f"{sum(p.size for p in model.parameters()):,} parameters; {1000 * each:.1f} ms a picture, {BATCH} at once")
    figure.overview(out / "figure.png", images, truths, found, settings.names, job.log(), title, settings.points)
    print(f"in {out}: table.txt, figure.png")


def detect_picture(model: nn.Module, image: np.ndarray, device: str, side: int = SIDE) -> Detections:
    """What is found in a user's picture (3, H, W), in its own pixels."""
    small, factor = framed(image, side)
    return unframed(detections(model, small[None], device)[0], factor, image.shape[1:])
