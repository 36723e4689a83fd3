"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl.device import to_device
from minidl.ranks.share import SharedEvaluation

from ..command import UsageError
from ..options import Above, Among, AtLeast
from ..own_pictures import OwnPictures
from ..run import Job, load_state, read_state
from ..stacks import as_pages, pages
from . import folder, metrics
from .data import IGNORED, WEIGHTS, MaskDataset, MaskPart, Patches
from .inference import probabilities
from .losses import LOSSES
from .pairs import Checkup, pairs
from .unet import UNet

WATCHED = 32  # of the pixels that are trained on one is looked at: 10 times, at a third of the work, a tenth of a run
BORDER = 10.0  # w0 of the paper
WEIGHTED = ("cross-entropy", "cross-entropy+dice")  # losses that take a weight per pixel


@dataclass(frozen=True)
class Settings(OwnPictures):
    """What decides the outcome of a training run, to the last bit."""

    # data
    dataset: Annotated[str, Among(("coins", "cells"))] = "coins"  # real coins, or generated cells that touch
    data: str | None = None  # your own: images/ and masks/ with files of equal names, or as others lay them out
    masks: Annotated[str, Among(("auto", "classes", "instances"))] = "auto"  # what the numbers in your own masks are
    ignore: Annotated[int | None, AtLeast(0)] = None  # value in the masks of pixels that count for nothing
    as_stored: bool = False  # masks are on the pixels as files store them, not on what EXIF turns them into
    elastic: float = 4.0  # pixels that patches deform
    # network and loss
    base: int = 16  # maps of the first level
    depth: int = 3  # levels below it
    loss: Annotated[str, Among(LOSSES)] = "cross-entropy+dice"  # of each pixel
    border: float | None = None  # objects: weight of borders (w0 of the weight map); 0: train without only
    # training
    steps: int = 500  # of Adam
    batch: int = 8  # patches per step
    patch: int = 96  # side, a multiple of 2^depth
    lr: Annotated[float, Above(0)] = 3e-3  # learning rate, a cosine to 0
    warmup: float = 0.05  # share of steps in which it rises
    seed: int = 0  # decides all that is random, the split of --data too

    own: ClassVar = {
        "coins": {"elastic": 1.5},  # their truth is circles, which strong deformation would undo
        "cells": {"loss": "cross-entropy", "border": BORDER, "steps": 300},
        "folder": {"steps": 1000},
    }

    @classmethod
    def kind(cls, chosen: Mapping[str, Any]) -> str:
        return "folder" if chosen.get("data") is not None else chosen.get("dataset", cls.dataset)

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Settings:
        chosen = {**(known or {}), **given}
        if chosen.get("data") is not None and "dataset" in given:
            message = f"--dataset names what is bundled, --data a folder ({chosen['data']}): it is one or the other"
            raise UsageError(message)
        if cls.kind(chosen) == "cells" and chosen.get("loss", "cross-entropy") not in WEIGHTED:
            chosen = {"border": None, **chosen}
        return super().of(chosen)

    def __post_init__(self) -> None:
        kind = self.kind(vars(self))
        if self.border is not None and (kind == "coins" or self.masks == "classes"):
            raise UsageError("--border is for --dataset cells, which has cells that touch, and for --masks instances")
        if self.masks != "auto" and kind != "folder":
            raise UsageError("--masks is for the masks in a folder: name it with --data")
        if self.border is not None and self.loss not in WEIGHTED:
            raise UsageError(f"--border weighs pixels: --loss {self.loss} does not, {' and '.join(WEIGHTED)} do")
        if self.ignore is not None and kind != "folder":
            raise UsageError("--ignore is for the masks in a folder: name it with --data")
        if (self.skip_bad or self.as_stored) and kind != "folder":
            raise UsageError("--skip-bad and --as-stored belong to pictures of your own: name them with --data")
        period = 2**self.depth
        if self.patch % period:
            near = max(period, self.patch // period * period)
            raise UsageError(f"--patch {self.patch} is no multiple of {period}, 2^depth; {near} is")

    def picture_files(self) -> Iterator[Path | np.ndarray]:
        try:
            found = pairs(Path(self.data), Checkup(self.data)) if self.data is not None else []
        except FileNotFoundError:  # what is missing is reported where it is read
            return
        for image in dict.fromkeys(getattr(pair.image, "path", pair.image) for pair in found):
            yield as_pages(image) if pages(image) else image

    def completed(self) -> Self:
        """With what the masks of a folder number, and the weight of borders where that is objects."""
        full = super().completed()
        if self.kind(vars(full)) != "folder":
            return full
        if full.masks == "auto":
            full = replace(full, masks=folder.numbering(full.data) if full.border is None else "instances")
        weighted = full.masks == "instances" and full.border is None and full.loss in WEIGHTED
        return replace(full, border=BORDER) if weighted else full

    @property
    def counts(self) -> bool:
        """Whether objects are told apart and counted."""
        return self.masks == "instances" or self.kind(vars(self)) == "cells"

    def build(self, in_channels: int, num_classes: int) -> UNet:
        """The padded U-Net with batch norm, with its initial weights."""
        rng = data.generator(self.seed, WEIGHTS)
        return UNet(in_channels, num_classes, base=self.base, depth=self.depth, padded=True, rng=rng)

    def describe(self) -> str:
        """What a caption says of the run."""
        border = f", borders weigh {self.border:g}" if self.border else ""
        network = f"U-Net of depth {self.depth}, base {self.base}; {self.loss}{border}"
        return f"{network}; {self.steps} steps of {self.batch} patches of {self.patch}x{self.patch}"


def load(settings: Settings, checkpoint: str | os.PathLike) -> UNet:
    """The U-Net of the settings with the weights of a checkpoint; its channels and classes are read off them."""
    state = read_state(checkpoint)
    convolutions = [array for array in state.values() if array.ndim == 4]
    if not convolutions:
        raise ValueError(f"{checkpoint} has no convolution in it; name a checkpoint of this task")
    with nn.init.undrawn():
        model = settings.build(convolutions[0].shape[1], convolutions[-1].shape[0])
    return load_state(model, state, checkpoint, "name its --base and --depth")


def train(job: Job, dataset: MaskDataset) -> UNet:
    """Train a U-Net; leave checkpoint, log, settings and the names of the classes in the folder of the job."""
    s, device = job.settings, job.device
    model = s.build(dataset.channels, len(dataset.classes)).to(device)
    patches = Patches(dataset.train, s.patch, s.batch, elastic=s.elastic, border=s.border, seed=s.seed)
    job.begin()
    job.write_classes(dataset.classes)
    return job.fit(
        model, optim.Adam, lambda model, batch: loss_of(model, *batch, s.loss, device), data.Prefetch(patches),
        warmup=s.warmup, evaluate=watched(model, dataset, device, s.steps * s.batch * s.patch**2 // WATCHED),
    )  # fmt: skip


def loss_of(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, loss: str, device: str
) -> Tensor:
    """The loss of a batch."""
    logits = model(Tensor(to_device(images, device)))
    extra = {} if weights is None else {"pixel_weight": weights}
    return LOSSES[loss](logits, to_device(labels, device), ignore_index=IGNORED, **extra)


def watched(model: UNet, dataset: MaskDataset, device: str, most: int) -> SharedEvaluation:
    """What is looked at while training: the mean Dice of the foreground of as many pictures as have `most` pixels.

    Nothing is chosen by it.
    """
    part, name = (dataset.test, "test") if dataset.validation is None else (dataset.validation, "validation")
    part, classes = first_pictures(part, most), len(dataset.classes)

    def measure(i: int) -> list[list[int]]:
        predicted = probabilities(model, part.images[i], device, average=False).argmax(axis=0)
        return metrics.confusion(predicted, part.labels[i], classes, ignore_index=IGNORED).tolist()

    def summary(found: list) -> dict[str, float]:
        return {f"{name}_dice": of_foreground(np.sum(found, axis=0))}

    return SharedEvaluation(range(len(part.images)), measure, summary)


def first_pictures(part: MaskPart, most: int) -> MaskPart:
    """The first pictures of a part, at least one, that have at most so many pixels together."""
    count = max(1, int((np.cumsum([labels.size for labels in part.labels]) <= most).sum()))
    return MaskPart(*(field[:count] for field in vars(part).values()))


def pooled(predictions: list[np.ndarray], part: MaskPart, classes: int) -> np.ndarray:
    """The confusion matrix of all pixels of all pictures; what is ignored is left out."""
    pairs = zip(predictions, part.labels)
    return sum(metrics.confusion(p, t, classes, ignore_index=IGNORED) for p, t in pairs)


def foreground_dice(predictions: list[np.ndarray], part: MaskPart, classes: int) -> float:
    """That of all pixels of all pictures: see `of_foreground`."""
    return of_foreground(pooled([p.argmax(axis=0) for p in predictions], part, classes))


def of_foreground(confusion: np.ndarray) -> float:
    """The mean of the Dice of the classes that occur, but for the background."""
    scores = metrics.dice(confusion)[1:]
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0
