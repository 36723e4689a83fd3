"""Settings of a training run, and the run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device

from ..command import UsageError
from ..models import MODELS, GoogLeNetOutputs, InceptionOutputs
from ..models.pretrained import dimensions
from ..options import Above, Among, AtLeast, in_words
from ..own_pictures import OwnPictures, images_below
from ..run import Job, load_state, read_state
from .data import WEIGHTS, Dataset, PictureBatches, sampled
from .evaluate import watched

LEAST = 512  # test pictures that are looked at while training, if there are so many,
WATCHED = 64  # or one for so many that are trained on: 20 times, at a third of the work, that is a tenth of a run
MOMENTUM, DECAY = 0.9, 1e-4  # He et al., "Deep residual learning", section 3.4
WITHOUT_NORM = ("alexnet", "squeezenet", "convnext", "vit", "swin")  # over the batch: networks whose names begin so
VGGS = ("vgg11", "vgg13", "vgg16", "vgg19")
AUXILIARY = 0.3  # weight of the Inception networks' other heads: Szegedy et al., "Going deeper", section 5


@dataclass(frozen=True)
class Settings(OwnPictures):
    """What decides the outcome of a training run, to the last bit."""

    # network
    model: Annotated[str, Among(MODELS)] = "resnet_small"  # one of those below
    depth: int | None = None  # layers of a small residual or dense net
    width: int | None = None  # maps that a small net begins with; a dense net's growth
    # data
    data: str | None = None  # a folder per class, the files of MNIST or CIFAR-10, or a .npz; not the digits
    size: Annotated[int | None, AtLeast(4)] = None  # side of the pictures (the data's own; of a folder 64, or less)
    mirror: bool = False  # mirror every other picture: not for digits and letters
    shift: Annotated[int | None, AtLeast(0)] = None  # move pictures by up to N pixels (an eighth of the side)
    # training
    steps: int = 1000  # of SGD
    batch: int = 64  # pictures per step
    lr: Annotated[float, Above(0)] = 0.1  # learning rate; without batch norm 0.01
    warmup: float = 0.05  # share of steps in which it rises
    seed: int = 0  # decides all that is random but the test images

    own: ClassVar = {
        "resnet_small": {"depth": 14, "width": 16},  # learns the digits in less than a minute on two cores
        **{name: {"lr": 0.01} for name in MODELS if name.startswith(WITHOUT_NORM) or name in VGGS},
    }

    @classmethod
    def of(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Settings:
        settings = super().of(given, known)
        settings.options()  # or the command line would be found wrong after the data are read
        return settings

    @classmethod
    def default(cls, name: str) -> str:
        return in_words(getattr(cls, name))  # there are too many models to list

    def picture_files(self) -> list[Path]:
        return images_below(self.data)

    def options(self) -> dict[str, int]:
        """What the model's constructor is given: depth and width where it has them, as growth for a dense net; the size
        of the pictures where it must know."""
        options = {}
        for name in ("depth", "width"):
            if (value := getattr(self, name)) is not None:
                options[parameter_of(self.model, name)] = value
        if self.size and "image_size" in inspect.signature(MODELS[self.model]).parameters:
            options["image_size"] = self.size
        return options

    def build(self, num_classes: int, in_channels: int) -> nn.Module:
        """The model, with its initial weights."""
        rng = data.generator(self.seed, WEIGHTS)
        return MODELS[self.model](num_classes=num_classes, in_channels=in_channels, rng=rng, **self.options())

    def describe(self) -> str:
        """What a caption says of the model."""
        sizes = "".join(f", {name} {value}" for name, value in self.options().items())
        return f"{self.model}{sizes}, {self.steps} steps of {self.batch}"


def parameter_of(model: str, option: str) -> str:
    """The constructor's name for --depth or --width. Raises UsageError if it has none."""
    known = inspect.signature(MODELS[model]).parameters
    name = "growth" if option == "width" and "growth" in known else option
    if name not in known:
        have = [m for m in MODELS if option in inspect.signature(MODELS[m]).parameters]
        raise UsageError(f"--{option} is for {', '.join(have)}: {model} has its own")
    return name


def load(settings: Settings, checkpoint: str | os.PathLike) -> nn.Module:
    """The model of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    state = read_state(checkpoint)
    make = MODELS[settings.model]
    with nn.init.undrawn():
        model = make(**dimensions(make(**settings.options()), state), **settings.options())
    return load_state(model, state, checkpoint, "name its --model, --depth and --width")


def train(job: Job, dataset: Dataset) -> nn.Module:
    """Train a classifier; leave checkpoint, log, settings and the names of the classes in the folder of the job."""
    job = replace(job, settings=replace(job.settings, size=dataset.side))
    settings, device = job.settings, job.device
    model = settings.build(len(dataset.classes), dataset.channels).to(device)
    shift = dataset.side // 8 if settings.shift is None else settings.shift
    looked_at = sampled(dataset.test, max(LEAST, settings.steps * settings.batch // WATCHED))
    job.begin()
    job.write_classes(dataset.classes)
    return job.fit(
        model,
        partial(optim.SGD, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY),
        lambda model, batch: terms(model, *batch, device),
        PictureBatches(dataset.train, settings.batch, shift=shift, mirror=settings.mirror, seed=settings.seed),
        warmup=settings.warmup,
        parts=20,
        evaluate=watched(model, looked_at, device=device),
    )


def terms(model: nn.Module, images: np.ndarray, labels: np.ndarray, device: str) -> dict[str, Any]:
    """The loss of a batch, the cross entropy, and the share of it that is right."""
    labels = to_device(labels, device)
    outputs = model(Tensor(to_device(images, device)))
    if isinstance(outputs, GoogLeNetOutputs | InceptionOutputs):
        logits, *others = outputs
        loss = F.cross_entropy(logits, labels)
        for other in others:
            loss = loss + AUXILIARY * F.cross_entropy(other, labels)
    else:
        logits, loss = outputs, F.cross_entropy(outputs, labels)
    right = F.argmax(logits, axis=1) == Tensor(labels)
    return {"loss": loss, "accuracy": right.astype("float64").mean()}
