"""What a trained detector is shown to do: its table on held-out pictures, the figure, a user's picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, isnan
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from minidl import Tensor, nn
from minidl.device import to_device

from ...command import UsageError
from ...run import SCORES, TABLE, Job
from ...together import finished, read, spread
from ..data.letterbox import SIDE, framed, unframed
from ..data.records import Detections, Target
from ..data.scenes import Scenes
from ..evaluate.average_precision import NAMES, coco_ap, voc_ap
from ..train import centred
from . import figure

BATCH = 8  # pictures that go through the network at once
NETWORK = ("model", "backbone", "width", "ohem", "steps", "batch")  # settings in which the rows of a table differ
HEADS = ("AP", "AP50", "AP75", "small", "medium", "large")
Averages = list[tuple[str, dict[str, float]]]


def detections(model: nn.Module, images: np.ndarray, device: str, show=lambda: None) -> list[Detections]:
    """What is found in pictures (N, 3, H, W) in [0, 1]."""
    found = []
    for start in range(0, len(images), BATCH):
        found += model.detect(Tensor(to_device(centred(images[start : start + BATCH]), device)))
        show()
    return found


def averages(
    truths: Sequence[Target], found: Sequence[Detections], classes: Sequence[str] = Scenes.classes,
    sizes: tuple[float, float] = Scenes.sizes, kind: str = "boxes",
) -> Averages:  # fmt: skip
    """COCO's six average precisions, and VOC's (IoU 0.5) of boxes, by their names: of all classes, and of each."""
    coco = coco_ap(truths, found, len(classes), kind, sizes=sizes)
    rows = [{head: row[key] for head, key in zip(HEADS, NAMES)} for row in (coco, *coco["classes"])]
    if kind == "boxes":
        voc = voc_ap(truths, found, len(classes))
        rows = [row | {"VOC": value} for row, value in zip(rows, (voc["AP"], *voc["classes"]))]
    return list(zip(("all", *classes), rows))


def table(scores: Averages, title: str = "class") -> str:
    """`averages` in percent, a row for each class."""
    width = max(len(title), *(len(name) for name, _ in scores)) + 1
    lines = [f"{title:<{width}}" + "".join(f"{head:>8}" for head in scores[0][1])]
    for name, row in scores:
        lines.append(f"{name:<{width}}" + "".join("       -" if isnan(v) else f"{100 * v:8.1f}" for v in row.values()))
    return "\n".join(lines)


def tables(scores: Mapping[str, Averages]) -> str:
    """One table for each kind of average precision; their names stand above them if there are several."""
    titles = ["class"] if len(scores) == 1 else list(scores)
    return "\n\n".join(table(of_kind, title) for of_kind, title in zip(scores.values(), titles))


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
    scores = {kind: averages(truths, found, settings.names, (low, high), kind) for kind in settings.kinds}
    job.table([title, sizes, tables(scores)])
    plain = {kind: {name: None if isnan(v) else v for name, v in rows[0][1].items()} for kind, rows in scores.items()}
    job.write_json(SCORES, {"part": part, "pictures": len(truths), **plain})
    print(f"{sum(p.size for p in model.parameters()):,} parameters; {1000 * each:.1f} ms a picture, {BATCH} at once")
    figure.overview(out / "figure.png", images, truths, found, settings.names, job.log(), title, settings.points)
    print(f"in {out}: {TABLE}, {SCORES}, figure.png")


def together(folders: Sequence[str], kind_of: Callable[..., Any]) -> list[str]:
    """The table of several runs: for each kind of network the mean and the standard deviation over its seeds.

    kind_of: the settings of the task.
    """
    rows = finished(folders, [name for name in NETWORK if name in read(Path(folders[0])).settings])
    every = [run.scores for runs in rows.values() for run in runs]
    if len({(scores["part"], scores["pictures"]) for scores in every}) > 1:
        raise UsageError("the runs were tested on different pictures: test them again, --checkpoint does")
    lines = [f"{every[0]['part']}, {every[0]['pictures']} pictures: mean and standard deviation over seeds, per cent"]
    for kind in [name for name in every[0] if name not in ("part", "pictures")]:
        lines.append(f"{kind:<32}{'seeds':>6}" + "".join(f"{head:>13}" for head in every[0][kind]))
        for runs in rows.values():
            values = zip(*(run.scores[kind].values() for run in runs))
            cells = ("-" if None in each else spread([100 * v for v in each]) for each in values)
            name = kind_of(**runs[0].settings).describe()
            lines.append(f"{name:<32}{len(runs):>6}" + "".join(f"{cell:>13}" for cell in cells))
    return lines


def detect_picture(model: nn.Module, image: np.ndarray, device: str, side: int = SIDE) -> Detections:
    """What is found in a user's picture (3, H, W), in its own pixels."""
    small, factor = framed(image, side)
    return unframed(detections(model, small[None], device)[0], factor, image.shape[1:])
