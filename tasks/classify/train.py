"""Settings of a training run, and the run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.train import fit

from ..command import UsageError
from ..models import MODELS, GoogLeNetOutputs
from ..models.pretrained import dimensions
from ..run import CHECKPOINT, LOG, begin, load_state, read_state, write_text
from .data import WEIGHTS, Batches, Dataset, Part
from .evaluate import Result, predict

CLASSES = "classes.txt"
MOMENTUM, DECAY = 0.9, 1e-4  # He et al., "Deep residual learning", section 3.4
AUXILIARY = 0.3  # weight of GoogLeNet's other heads: Szegedy et al., "Going deeper with convolutions", section 5


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a training run, to the last bit."""

    model: str = "resnet_small"
    depth: int | None = None  # None: the model's own
    width: int | None = None
    data: str | None = None
    size: int | None = None  # None: the data's own
    mirror: bool = False
    shift: int | None = None  # None: an eighth of the side
    steps: int = 1000
    batch: int = 64
    lr: float = 0.1
    warmup: float = 0.05
    seed: int = 0

    def options(self) -> dict[str, int]:
        """What the model's constructor is given: depth and width where it has them, as growth for a dense net."""
        options = {}
        for name in ("depth", "width"):
            if (value := getattr(self, name)) is not None:
                options[parameter_of(self.model, name)] = value
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


# what learns the digits in less than a minute on two cores
OF_MODEL: dict[str, dict[str, Any]] = {"resnet_small": {"depth": 14, "width": 16}}
UNNORMALISED = ("alexnet", "alexnet_small", "vgg11", "vgg13", "vgg16", "vgg19")  # no batch norm: smaller steps


def settings_of(given: Mapping[str, Any], known: Mapping[str, Any]) -> Settings:
    """Settings: what is given; else what is known of the run already; else the defaults of the model."""
    chosen = {**known, **given}
    model = chosen.get("model", Settings.model)
    rate = {"lr": 0.01} if model in UNNORMALISED else {}
    settings = Settings(**{**OF_MODEL.get(model, {}), **rate, **chosen})
    settings.options()  # or the command line would be found wrong after the data are read
    return settings


def load(settings: Settings, checkpoint: str | os.PathLike) -> nn.Module:
    """The model of the settings with the weights of a checkpoint, or of any file of weights that fits."""
    state = read_state(checkpoint)
    make = MODELS[settings.model]
    with nn.init.undrawn():
        model = make(**dimensions(make(**settings.options()), state), **settings.options())
    load_state(model, state, checkpoint, "name its --model, --depth and --width")
    return model


def train(
    settings: Settings, dataset: Dataset, out: Path, *, resume: bool = False, device: str = "cpu", quiet: bool = False
) -> nn.Module:
    """Train a classifier; leave checkpoint, log, settings and the names of the classes in `out`."""
    model = settings.build(len(dataset.classes), dataset.channels).to(device)
    shift = dataset.side // 8 if settings.shift is None else settings.shift
    batches = Batches(dataset.train, settings.batch, shift=shift, mirror=settings.mirror, seed=settings.seed)
    every = max(1, settings.steps // 20)
    begin(out, settings, resume)
    write_text(out / CLASSES, "".join(f"{name}\n" for name in dataset.classes))
    schedule = optim.warmup(optim.cosine(settings.lr, settings.steps), int(settings.warmup * settings.steps))
    fit(
        model,
        optim.SGD(model.parameters(), settings.lr, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY),
        lambda model, batch: terms(model, *batch, device),
        batches,
        settings.steps,
        schedule=schedule,
        evaluate=lambda step: watch(model, dataset.test, device),
        evaluate_every=every,
        checkpoint=out / CHECKPOINT,
        save_every=every,
        resume=resume,
        log=out / LOG,
        progress=not quiet,
    )
    return model


def terms(model: nn.Module, images: np.ndarray, labels: np.ndarray, device: str) -> dict[str, Any]:
    """The loss of a batch, the cross entropy, and the share of it that is right."""
    labels = to_device(labels, device)
    outputs = model(Tensor(to_device(images, device)))
    if isinstance(outputs, GoogLeNetOutputs):
        logits, *others = outputs
        loss = F.cross_entropy(logits, labels)
        for other in others:
            loss = loss + AUXILIARY * F.cross_entropy(other, labels)
    else:
        logits, loss = outputs, F.cross_entropy(outputs, labels)
    return {"loss": loss, "accuracy": (logits.data.argmax(axis=1) == labels).mean()}


def watch(model: nn.Module, test: Part, device: str) -> dict[str, float]:
    """Loss and accuracy on the test part, to be looked at while training: nothing is chosen by them."""
    result = Result(predict(model, test.images, device=device), test.labels)
    return {"test_loss": result.loss, "test_accuracy": result.accuracy}
