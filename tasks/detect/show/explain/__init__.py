"""One picture, step by step: a page that shows what a detector does with it, and what each loss is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minidl import Tensor, data
from minidl.device import to_device
from minidl.study.page import Page

from ...data.own import Own
from ...data.records import Target
from ...losses.terms import summed
from ...models.detector import Detector
from ...models.faster_rcnn import FasterRCNN
from ...models.retinanet import RetinaNet
from ...models.ssd import SSD
from ...models.yolo import YOLO
from ...train import SAMPLES, Settings, centred
from . import one_stage, two_stage, yolo
from .frame import page
from .inference import LIMIT
from .losses import losses
from .picture import picture
from .stage import Case, Stage

STAGES: dict[type, Callable[[Case], list[Stage]]] = {
    FasterRCNN: two_stage.stages, SSD: one_stage.ssd, RetinaNet: one_stage.retinanet, YOLO: yolo.stages,
}  # fmt: skip


def require(settings: Settings, index: int) -> None:
    """Raise ValueError if there is no such test picture; of made ones there are as many as one likes."""
    pictures = settings.pictures("test")
    if isinstance(pictures, Own) and index >= len(pictures):
        raise ValueError(f"--explain {index}: there are {len(pictures)} test pictures, 0 to {len(pictures) - 1}")


def write(model: Detector, settings: Settings, index: int, out: Path, device: str) -> Path:
    """The page of a picture that was never trained on, in `out`."""
    pictures, (many, _) = settings.pictures("test"), settings.words
    (image,), (target,) = pictures.batch(index, 1)
    points = [settings.catalogue.points] * len(settings.names) if settings.data else getattr(pictures, "points", None)
    rng = data.generator(settings.seed, SAMPLES, index)
    title = f"One picture, step by step: {settings.describe()}, number {index} of the test {many}"
    document = explained(model, image, target, settings.names, rng, title, points=points, device=device)
    return document.save(out / f"explain-{index}.html")


def explained(
    model: Detector, image: np.ndarray, target: Target, classes: Sequence[str], rng: np.random.Generator, title: str,
    *, points: Sequence[Sequence[str]] | None = None, device: str = "cpu",
) -> Page:  # fmt: skip
    """The page of one picture (3, H, W) in [0, 1]. classes: their names; points: of each class the names of its
    keypoints; rng: draws what the detector samples. Raises TypeError for a model that is none of `STAGES`."""
    case = traced(model, image, target, classes, rng, points=points, device=device)
    return page(case, stages(case), image, title)


def traced(
    model: Detector, image: np.ndarray, target: Target, classes: Sequence[str], rng: np.random.Generator, *,
    points: Sequence[Sequence[str]] | None = None, device: str = "cpu",
) -> Case:  # fmt: skip
    """What the model makes of one picture, in training and in inference; the model is as it was."""
    kind(model)
    batch = Tensor(to_device(centred(image[None]), device))
    with model.inference():
        training = model.training_pass(batch, [target], rng)
        losses = {name: loss.item() for name, loss in summed(training.terms).items()}
    terms = {name: part._replace(value=part.value.numpy()) for name, part in training.terms.items()}
    prediction = model.predict(batch, limit=LIMIT)
    return Case(model, training, prediction, terms, losses, target.seen(), classes, image.shape[1:], points)


def kind(model: Detector) -> type:
    """Which of the known detectors it is."""
    for known in STAGES:
        if isinstance(model, known):
            return known
    names = ", ".join(known.__name__ for known in STAGES)
    raise TypeError(f"only {names} can be explained, got {type(model).__name__}")


def stages(case: Case) -> list[Stage]:
    """All stages of a picture, in order."""
    return [picture(case), *STAGES[kind(case.model)](case), losses(case)]
