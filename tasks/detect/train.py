"""Settings of a training run, and the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl.device import to_device

from ..command import UsageError
from ..options import Above, Among
from ..run import Job, load_state, read_state
from .data.own import Source
from .data.records import Target
from .data.scenes import Scenes
from .models.faster_rcnn import faster_rcnn_small
from .models.heads import SMALL_OHEM
from .models.retinanet import RetinaNet
from .models.rfcn import rfcn_small
from .models.small import BACKBONES
from .models.ssd import SSD
from .models.yolo import YOLO
from .released import RELEASED

WEIGHTS, SAMPLES = 20, 21  # purposes of random draws, beside those of the scenes
CLIP = 5.0  # the largest norm of the gradients: the first steps of a detector are rough

MODELS: dict[str, Callable[..., nn.Module]] = {
    "faster_rcnn": faster_rcnn_small,
    "rfcn": rfcn_small,
    "yolo": YOLO.small,
    "ssd": SSD.small,
    "retinanet": RetinaNet.small,
}
TWO_STAGES = ("faster_rcnn", "rfcn")


@dataclass(frozen=True)
class Settings(Source):
    """What decides the outcome of a training run, to the last bit."""

    # network
    model: Annotated[str, Among([*MODELS, *RELEASED])] = "faster_rcnn"  # faster_rcnn, rfcn, yolo, ssd or retinanet
    backbone: Annotated[str, Among(BACKBONES)] = "resnet"  # what the maps come from, not of yolo
    width: Annotated[float, Above(0)] = 1.0  # how many times as wide the maps of the backbone are as its default
    ohem: bool = False  # faster_rcnn and rfcn: train the second stage on the regions with the largest losses
    # training
    steps: int = 1200  # of Adam
    batch: int = 8  # pictures per step
    lr: Annotated[float, Above(0)] = 2e-3  # learning rate, a cosine to 0
    warmup: float = 0.05  # share of steps in which it rises
    seed: int = 0  # decides all that is random but the test scenes

    own: ClassVar = {
        "faster_rcnn": {},
        "rfcn": {},
        "yolo": {"batch": 16},
        "ssd": {"steps": 1000, "batch": 16},
        "retinanet": {"steps": 1000, "lr": 4e-3},
    }
    made, made_words = Scenes, ("scenes", "digits")
    kinds = ("boxes",)  # of average precision
    points = ()  # keypoints of each class
    boxes_alone = True

    def __post_init__(self):
        super().__post_init__()
        if self.model in RELEASED:
            raise UsageError(f"--model {self.model} is of others, and not trained here: name its --weights")
        if self.model == "yolo" and (self.backbone, self.width) != ("resnet", 1.0):
            raise UsageError("--backbone and --width: yolo has a backbone of its own; choose another --model")
        if self.ohem and self.model not in TWO_STAGES:
            raise UsageError(f"--ohem is about regions: choose --model {' or '.join(TWO_STAGES)}")

    def build(self) -> nn.Module:
        """The detector of these classes, with its initial weights."""
        return detector(self, data.generator(self.seed, WEIGHTS))

    def describe(self) -> str:
        """The run in a caption."""
        parts = [self.model] if (self.backbone, self.width) == ("resnet", 1.0) else [f"{self.model} on {self.backbone}"]
        parts += [f"{self.width:g} times as wide"] * (self.width != 1) + ["hard regions"] * self.ohem
        return f"{', '.join(parts)}, {self.steps} steps of {self.batch}"


def detector(settings: Settings, rng: np.random.Generator, **options: Any) -> nn.Module:
    """The detector that the settings describe; options: of its constructor."""
    if settings.model != "yolo":
        options["body"] = BACKBONES[settings.backbone](settings.width, rng=rng)
    if settings.ohem:
        options["head"] = SMALL_OHEM
    return MODELS[settings.model](len(settings.names), rng=rng, **options)


def load(settings: Settings, checkpoint: str | os.PathLike, advice: str = "name its --model") -> nn.Module:
    """The detector of the settings with the weights of a checkpoint."""
    with nn.init.undrawn():
        model = settings.build()
    return load_state(model, read_state(checkpoint), checkpoint, advice)


def centred(images: np.ndarray) -> np.ndarray:
    """What networks see of pictures in [0, 1]: numbers around 0, of about unit size."""
    return (images - np.float32(0.5)) / np.float32(0.25)


class TargetBatches(data.RandomBatches):
    """``batches(step)``: `centred` training pictures (batch, 3, size, size), their targets, and the generator that
    draws a detector's samples."""

    purpose = SAMPLES

    def __init__(self, settings: Settings):
        self.pictures, self.batch, self.seed = settings.pictures("train"), settings.batch, settings.seed

    def size(self, step: int) -> int:
        return self.pictures.count_of(step, self.batch)

    def samples(
        self, step: int, where: slice, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[Target], np.random.Generator]:
        images, targets = self.pictures.batch(step, self.batch, where)
        return centred(images), targets, rng


def train(job: Job) -> nn.Module:
    """Train the detector of the settings on its pictures; leave checkpoint, log and settings in the job's folder."""
    settings, device = job.settings, job.device
    model = settings.build().to(device)
    job.begin()
    return job.fit(
        model, optim.Adam, lambda model, batch: losses(model, *batch, device),
        data.Prefetch(TargetBatches(settings)), warmup=settings.warmup, clip=CLIP,
        record=False,  # there are other boxes in every batch
    )  # fmt: skip


def losses(
    model: nn.Module, images: np.ndarray, targets: Sequence[Target], rng: np.random.Generator, device: str
) -> dict[str, Tensor]:
    """The named losses of a batch; `rng` draws what a detector samples."""
    return model.losses(Tensor(to_device(images, device)), targets, rng)
