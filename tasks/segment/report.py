"""What a trained network is shown to do: Dice and IoU beside the classical methods, counts, a user's picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from minidl import data
from minidl.files.atomic import replacing

from .. import grids
from ..frame import beside
from ..run import CLASSES, SCORES, TABLE, Job
from . import baselines, figure, metrics
from .data import IGNORED, MaskDataset, MaskPart
from .inference import probabilities as probabilities_of
from .inference import segment
from .instances import SPECK, Matching, components, matching
from .train import foreground_dice, pooled
from .unet import UNet

OURS, PLAIN = "ours", "ours, no borders"
WIDE = 12  # classes: with more, the matrix is not printed


def report(models: Mapping[str, UNet], job: Job, dataset: MaskDataset, *, average: bool = True) -> None:
    """Print the scores on the test part; leave them, the figure and the curve in the folder of the job.

    models: OURS, and PLAIN if there is one that was trained without the weights of the borders.
    """
    test, classes, about, out = dataset.test, len(dataset.classes), job.settings.describe(), job.out
    masks, chosen = classical(dataset, job)
    with job.progress("segmenting the test pictures", len(models) * len(test.names)) as show:
        probabilities = {
            name: segment(model, test, job.device, average=average, show=show) for name, model in models.items()
        }
    masks |= {name: [p.argmax(axis=0) for p in each] for name, each in probabilities.items()}
    matrices = {name: pooled(each, test, classes) for name, each in masks.items()}
    matches = {}
    if test.instances:
        matches = {name: matching([components(m) for m in each], test.instances) for name, each in masks.items()}
    text = [
        f"test part of {dataset.name}: {pictures(test)}; {OURS}: {about}",
        table(matrices, dataset.classes),
        f"{OURS}, pixels of each true class (row) by what they are taken for (column):",
        matrix_table(matrices[OURS], dataset.classes),
    ]
    if dataset.validation is not None:
        predicted = segment(models[OURS], dataset.validation, job.device, average=average)
        known = foreground_dice(predicted, dataset.validation, classes)
        text.append(f"{OURS} on the validation part ({pictures(dataset.validation)}): mean Dice {known:.4f}")
    if matches:
        text += [f"objects, as connected pieces of at least {SPECK} pixels:", counts(matches)]
    if chosen:
        text.append("settings, the best on the training part: " + grids.described(chosen))
    job.table(text)
    job.write_json(SCORES, scores(matrices, matches))
    if matches:
        figure.cells(out / "figure.png", test, masks, probabilities, matches, dataset, about)
    else:
        figure.comparison(out / "figure.png", test, masks, probabilities[OURS], matrices, dataset, about)
    written = [TABLE, SCORES, "figure.png"]
    if log := job.log():
        figure.curve(out / "curve.png", log, about)
        written.append("curve.png")
    print(f"in {out}: {', '.join(written)}")


def classical(dataset: MaskDataset, job: Job) -> tuple[dict[str, list[np.ndarray]], dict[str, grids.Setting]]:
    """The masks of the classical methods and their settings; none for more than two classes, of which they know not."""
    if len(dataset.classes) > 2:
        return {}, {}
    label = "choosing the settings of Otsu and watershed on the training part"
    with job.progress(label, grids.trials(baselines.methods(dataset.train))) as show:
        chosen = baselines.tune(dataset.train, show)
    return baselines.apply(dataset.test, chosen), chosen


# --- tables


def pictures(part: MaskPart) -> str:
    """How many pictures and pixels there are."""
    n, pixels = len(part.names), sum(int((labels != IGNORED).sum()) for labels in part.labels)
    return f"{n} picture{'s' * (n > 1)}, {pixels} pixels"


def table(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    """Dice and IoU of each class in a column per method; the best of each is starred."""
    first, width = max(map(len, classes)), max(16, *(len(name) + 2 for name in matrices))
    lines = [" " * first + "".join(f"{name:>{width}} " for name in matrices)]
    lines.append(" " * first + f"{'Dice    IoU':>{width}} " * len(matrices))
    both = {name: np.stack([metrics.dice(m), metrics.iou(m)], axis=1) for name, m in matrices.items()}
    for c in [*range(1, len(classes)), 0]:  # the background last
        best = np.max([values[c] for values in both.values()], axis=0)
        cells = []
        for values in both.values():
            starred = [f"{v:.4f}{'*' if v == b and len(both) > 1 else ' '}" for v, b in zip(values[c], best)]
            cells.append(f"{' '.join(starred):>{width + 1}}")
        lines.append(f"{classes[c]:<{first}}" + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def matrix_table(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """The confusion matrix and what share of each class was found; of many classes only the shares."""
    first, total = max(map(len, classes)), matrix.sum(axis=1)
    width = max(len(str(matrix.max())), *(len(name) for name in classes)) + 2
    narrow = len(classes) <= WIDE
    lines = [" " * first + "".join(f"{name:>{width}}" for name in classes)] if narrow else []
    for name, row, n in zip(classes, matrix, total):
        cells = "".join(f"{count:>{width}}" for count in row) if narrow else ""
        share = f"{row[classes.index(name)] / n:8.2%} right" if n else "   not in the test part"
        lines.append(f"{name:<{first}}{cells}{share}")
    return "\n".join(lines)


def counts(matches: Mapping[str, Matching]) -> str:
    """True objects, pieces found, the error of the count, and how many match."""
    first = max(map(len, matches))
    lines = [f"{'':<{first}}  true  found  mean error of a picture's count  matched (IoU > 0.5)     F1"]
    best = max(m.f1 for m in matches.values())
    for name, m in matches.items():
        star = "*" if m.f1 == best else ""
        lines.append(
            f"{name:<{first}}{m.true:>6}{m.found:>7}{m.count_error:>33.2f}{m.matched:>21}{m.f1:>7.3f}{star}"
        )
    return "\n".join(lines)


def scores(matrices: Mapping[str, np.ndarray], matches: Mapping[str, Matching]) -> dict:
    """Everything as plain numbers; null where a class does not occur."""
    result = {}
    for name, matrix in matrices.items():
        dice, iou = (
            [None if np.isnan(v) else float(v) for v in f(matrix)] for f in (metrics.dice, metrics.iou)
        )
        result[name] = {"dice": dice, "iou": iou, "confusion": matrix.tolist()}
        if name in matches:
            result[name]["objects"] = {**matches[name]._asdict(), "f1": matches[name].f1}
    return result


# --- a user's picture


def segment_picture(model: UNet, job: Job, file: str, names: Sequence[str], *, average: bool) -> None:
    """Segment a picture; leave its mask (0 and 255, or class numbers) and a figure in the folder of the job."""
    image = data.read_image(file, gray=model.in_channels == 1, bits=data.bit_depth([file]))
    with job.progress("segmenting the picture", 1) as show:
        probability = probabilities_of(model, image, job.device, average=average)
        show()
    leave_picture(job.out, file, image, probability, names, counts=job.settings.counts)


def leave_picture(
    out: Path, file: str, image: np.ndarray, probability: np.ndarray, names: Sequence[str], *, counts: bool = False
) -> None:
    """Leave the mask and the figure of a picture in a folder; print the shares of the classes that occur."""
    from PIL import Image

    mask = probability.argmax(axis=0).astype(np.uint8)
    stem, binary = Path(file).stem, len(probability) == 2
    with replacing(out / f"{stem}-mask.png") as file:
        Image.fromarray(mask * 255 if binary else mask).save(file, "PNG")
    figure.picture(out / f"{stem}-figure.png", image, probability, stem)
    shares = np.bincount(mask.ravel(), minlength=len(probability)) / mask.size
    found = [f"{name} {share:.1%}" for name, share in zip(names, shares) if share or len(names) <= WIDE]
    print("; ".join(found) + " of the pixels")
    written = [f"{stem}-mask.png ({'0 and 255' if binary else 'class numbers'})", f"{stem}-figure.png"]
    if counts:
        pieces = components(mask == 1)
        print(f"{pieces.max()} objects, as connected pieces of at least {SPECK} pixels")
        with replacing(out / f"{stem}-objects.png") as file:
            Image.fromarray(pieces.astype(np.uint16)).save(file, "PNG")
        written.insert(1, f"{stem}-objects.png (their numbers)")
    print(f"in {out}: {', '.join(written)}")


def class_names(checkpoint: str | Path, count: int) -> list[str]:
    """The names of the classes beside a checkpoint, or their numbers."""
    file = beside(checkpoint, CLASSES)
    names = file.read_text(encoding="utf-8").splitlines() if file else []
    return names if len(names) == count else [f"class {i}" for i in range(count)]
