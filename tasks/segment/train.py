"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl.device import to_device
from minidl.train import fit

from ..command import UsageError
from ..run import CHECKPOINT, LOG, begin, load_state, read_state, write_text
from . import metrics
from .data import IGNORED, WEIGHTS, Dataset, Part, Patches
from .inference import segment
from .losses import LOSSES
from .unet import UNet

CLASSES = "classes.txt"
WEIGHTED = ("cross-entropy", "cross-entropy+dice")  # losses that take a weight per pixel


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a training run, to the last bit."""

    dataset: str = "coins"
    data: str | None = None  # a folder, instead of the dataset
    ignore: int | None = None  # None: as the masks suggest
    loss: str = "cross-entropy+dice"
    border: float | None = None  # w0 of the weight map; None: no map
    base: int = 16
    depth: int = 3
    steps: int = 500
    batch: int = 8
    patch: int = 96
    elastic: float = 4.0
    lr: float = 3e-3
    warmup: float = 0.05
    seed: int = 0

    def build(self, in_channels: int, num_classes: int) -> UNet:
        """The padded U-Net with batch norm, with its initial weights."""
        rng = data.generator(self.seed, WEIGHTS)
        return UNet(in_channels, num_classes, base=self.base, depth=self.depth, padded=True, rng=rng)

    def describe(self) -> str:
        """What a caption says of the run."""
        border = f", borders weigh {self.border:g}" if self.border else ""
        network = f"U-Net of depth {self.depth}, base {self.base}; {self.loss}{border}"
        return f"{network}; {self.steps} steps of {self.batch} patches of {self.patch}x{self.patch}"


OF_DATASET: dict[str, dict[str, Any]] = {
    "coins": {"elastic": 1.5},  # their truth is circles, which strong deformation would undo
    "cells": {"loss": "cross-entropy", "border": 10.0, "steps": 300},
    "folder": {"steps": 1000},
}


def settings_of(given: Mapping[str, Any], known: Mapping[str, Any]) -> Settings:
    """Settings: what is given; else what is known of the run already; else the defaults of the data.

    Raises UsageError for settings that contradict each other.
    """
    chosen = {**known, **given}
    if chosen.get("data") is not None and "dataset" in given:
        raise UsageError(f"--dataset names what is bundled, --data a folder ({chosen['data']}): it is one or the other")
    kind = "folder" if chosen.get("data") is not None else chosen.get("dataset", Settings.dataset)
    defaults = dict(OF_DATASET[kind])
    if chosen.get("loss", defaults.get("loss")) not in WEIGHTED and kind == "cells":
        defaults["border"] = None
    settings = Settings(**{**defaults, **chosen})
    if settings.border is not None and kind != "cells":
        raise UsageError("--border is for --dataset cells, which has cells that touch")
    if settings.border is not None and settings.loss not in WEIGHTED:
        raise UsageError(f"--border weighs pixels: --loss {settings.loss} does not, {' and '.join(WEIGHTED)} do")
    if settings.ignore is not None and kind != "folder":
        raise UsageError("--ignore is for the masks in a folder: name it with --data")
    if settings.patch % 2**settings.depth:
        period = 2**settings.depth
        near = max(period, settings.patch // period * period)
        raise UsageError(f"--patch {settings.patch} is no multiple of {period}, 2^depth; {near} is")
    return settings


def load(settings: Settings, checkpoint: str | os.PathLike) -> UNet:
    """The U-Net of the settings with the weights of a checkpoint; its channels and classes are read off them."""
    state = read_state(checkpoint)
    convolutions = [array for array in state.values() if array.ndim == 4]
    if not convolutions:
        raise ValueError(f"{checkpoint} has no convolution in it; name a checkpoint of this task")
    with nn.init.undrawn():
        model = settings.build(convolutions[0].shape[1], convolutions[-1].shape[0])
    load_state(model, state, checkpoint, "name its --base and --depth")
    return model


def train(
    settings: Settings, dataset: Dataset, out: Path, *, resume: bool = False, device: str = "cpu", quiet: bool = False
) -> UNet:
    """Train a U-Net; leave checkpoint, log, settings and the names of the classes in `out`."""
    model = settings.build(dataset.channels, len(dataset.classes)).to(device)
    s = settings
    patches = Patches(dataset.train, s.patch, s.batch, elastic=s.elastic, border=s.border, seed=s.seed)
    every = max(1, s.steps // 10)
    begin(out, settings, resume)
    write_text(out / CLASSES, "".join(f"{name}\n" for name in dataset.classes))
    fit(
        model,
        optim.Adam(model.parameters(), s.lr),
        lambda model, batch: loss_of(model, *batch, settings.loss, device),
        data.Prefetch(patches),
        s.steps,
        schedule=optim.warmup(optim.cosine(s.lr, s.steps), int(s.warmup * s.steps)),
        evaluate=watch(model, dataset, device),
        evaluate_every=every,
        checkpoint=out / CHECKPOINT,
        save_every=every,
        resume=resume,
        log=out / LOG,
        progress=not quiet,
    )
    return model


def loss_of(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, loss: str, device: str
) -> Tensor:
    """The loss of a batch."""
    logits = model(Tensor(to_device(images, device)))
    extra = {} if weights is None else {"pixel_weight": weights}
    return LOSSES[loss](logits, to_device(labels, device), ignore_index=IGNORED, **extra)


def watch(model: UNet, dataset: Dataset, device: str) -> Callable[[int], dict[str, float]]:
    """What is looked at while training: the mean Dice of the foreground. Nothing is chosen by it."""
    part, name = (dataset.test, "test") if dataset.validation is None else (dataset.validation, "validation")

    def score(step: int) -> dict[str, float]:
        said = segment(model, part, device, average=False)
        return {f"{name}_dice": foreground_dice(said, part, len(dataset.classes))}

    return score


def pooled(predictions: list[np.ndarray], part: Part, classes: int) -> np.ndarray:
    """The confusion matrix of all pixels of all pictures; what is ignored is left out."""
    pairs = zip(predictions, part.labels)
    return sum(metrics.confusion(p, t, classes, ignore_index=IGNORED) for p, t in pairs)


def foreground_dice(probabilities: list[np.ndarray], part: Part, classes: int) -> float:
    """The mean over the classes but the background that occur of the Dice of all pixels."""
    scores = metrics.dice(pooled([p.argmax(axis=0) for p in probabilities], part, classes))[1:]
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0
