"""A user's own photographs, a folder for each class, and any network of tasks.classify, pretrained or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import minidl as md
from minidl import data, nn
from minidl.ranks.group import Alone
from minidl.train import Best, State

from ..classify import MODELS
from ..classify.data import Part, PictureBatches, Reader
from ..classify.evaluate import Result, tested
from ..command import each
from ..models import SMALL, pretrained
from ..options import Above, Among, AtLeast
from ..own_pictures import OwnPictures, images_below
from ..run import CLASSES, write_text
from .methods import METHODS, FeatureBatches, features, freeze, layer, learn, replace_head, thaw

PARTS = (0.6, 0.2, 0.2)  # of each class: to train on, to choose by, to test on
LEAST = 3  # photographs of a class: one for each part
HEAD_RATES, HEAD_STEPS = (1e-4, 1e-3, 1e-2), 300
RATES = {"finetune": 1e-4, "scratch": 1e-3}
SPLITS, WEIGHTS, HEAD = range(3)  # keep the draws for each purpose apart
NOT_CLASSES = {"train", "training", "val", "valid", "validation", "test"}


@dataclass(frozen=True)
class Own(OwnPictures):
    """What decides the outcome."""

    # your own photographs
    data: str  # a folder that has a folder for each class, the photographs in it
    model: Annotated[str, Among(MODELS)] = "resnet18"  # one of those below
    weights: str | None = None  # weights of --model as torchvision has them, .pth or .safetensors
    weights_key: str | None = None  # the entry or the prefix that they are under in the file, such as model
    strip: str | None = None  # a part to leave out of their names, such as module
    size: Annotated[int | None, AtLeast(8)] = None  # side of the squares they are cut to (224; small models 32)
    epochs: int = 10  # of finetune and scratch
    batch: int = 16  # pictures per step
    lr: Annotated[float | None, Above(0)] = None  # finetune (0.0001), scratch (0.001)
    seed: int = 0  # decides all that is random
    tricks: bool = False  # compare what can be done for the training of frozen features, one thing at a time
    seeds: int = 5  # of that comparison

    def picture_files(self) -> list[Path]:
        return images_below(self.data)

    @property
    def side(self) -> int:
        return self.size or (32 if self.model in SMALL else pretrained.preparation(self.model)["side"])

    def pretrained(self) -> nn.Module:
        """The network with the weights of the file, or with random ones."""
        if self.weights is None:
            return self.build(2, data.generator(self.seed, WEIGHTS))
        model = pretrained.load(self.model, self.weights, self.weights_key, self.strip)
        pretrained.leave_heads(model)  # they are for the old classes
        return model

    def build(self, classes: int, rng: Any) -> nn.Module:
        """The network with random weights, for photographs prepared as torchvision's networks need them."""
        options = {"image_size": self.side} if self.model.startswith("vit") else pretrained.options(self.model, {})
        return MODELS[self.model](num_classes=classes, rng=rng, **options)


def read(own: Own, progress: Callable) -> tuple[Part, list[str]]:
    """The photographs in the folders of the data, cut to squares, and the names of the folders, which are the classes.

    As torchvision prepares them, for most networks: the shorter side to 256 pixels, the central 224; in its proportion
    for other sizes.
    They are kept as bytes: 150 kB each at 224. Raises OSError or ValueError in one line that names folder or file.
    """
    usual = pretrained.preparation(own.model)
    root, short = own.data, round(own.side * usual["short"] / usual["side"])
    _, labels, names = data.class_folders(root)
    if set(map(str.lower, names)) <= NOT_CLASSES:
        raise ValueError(f"{root}: {', '.join(names)} are parts, not classes; give --data {Path(root, names[0])}")
    if len(names) < 2:
        raise ValueError(f"{root} has one folder only, {names[0]}: that is one class, and at least two are needed")
    require_enough(root, labels, names)
    part, names = Reader(short, own.side, own.bits, own.skip_bad, progress).folder(Path(root))
    require_enough(root, part.labels, names)
    return part, names


def require_enough(root: str, labels: np.ndarray, names: list[str]) -> None:
    """Raise ValueError for a class with too few pictures."""
    for name, count in zip(names, np.bincount(labels, minlength=len(names)).tolist()):
        if count < LEAST:
            needed = f"at least {LEAST} of each class are needed: to train on, to choose by, to test on"
            raise ValueError(f"{Path(root, name)}: {count} image{'s' * (count != 1)}; {needed}")


def three_parts(part: Part, seed: int) -> list[Part]:
    """To train on, to choose by (validation), to test on: of each class about PARTS, and at least one in each."""
    chosen: tuple[list, ...] = ([], [], [])
    for c in range(int(part.labels.max()) + 1):
        members = data.generator(seed, SPLITS, c).permutation(np.flatnonzero(part.labels == c))
        validation, test = (max(1, round(share * len(members))) for share in PARTS[1:])
        cuts = [len(members) - validation - test, len(members) - test]
        for indices, some in zip(chosen, np.split(members, cuts)):
            indices.append(some)
    return [part[np.concatenate(indices)] for indices in chosen]


def judged(score: Callable[[], Result]) -> Callable[[int], dict[str, float]]:
    """An evaluation on the validation part. "rank" is what weights are chosen by: how many are right, then the loss."""

    def evaluate(step: int) -> dict[str, float]:
        result = score()
        return {"validation_accuracy": result.accuracy, "rank": result.correct + 1 / (2 + result.loss)}

    return evaluate


def best_by_rank() -> Best:
    """Keeps the weights that are best on the validation part."""
    return Best("rank", mode="max")


@dataclass
class Photographs:
    """The three parts of the photographs, and how each method learns them."""

    own: Own
    parts: list[Part]
    classes: int
    device: str
    progress: Callable
    quiet: bool
    group: Alone = Alone()  # noqa: RUF009
    shards: int | None = None
    head: Best | None = None  # trained when it is first needed: it serves frozen features and fine-tuning

    def learned(self, method: str) -> tuple[nn.Module, float]:
        """The network of a method, the best on the validation part, and its accuracy there."""
        rng = data.generator(self.own.seed, HEAD)
        if method == "scratch":
            model = self.own.build(self.classes, rng).to(self.device)
            return model, self.all_layers(model, method)
        model, accuracy = self.with_head(rng)
        if method == "finetune":
            thaw(model)
            accuracy = self.all_layers(model, method)
        return model, accuracy

    def with_head(self, rng: np.random.Generator) -> tuple[nn.Module, float]:
        """The pretrained network, frozen, with a head that has been trained."""
        model = self.own.pretrained()
        replace_head(model, self.classes, rng)
        freeze(model.to(self.device))
        if self.head is None:
            self.head = self.train_head(model)
        layer(model).load_state_dict(self.head.weights)
        return model, self.head.record["validation_accuracy"]

    def train_head(self, model: nn.Module) -> Best:
        """Train a frozen network's head on features computed once; of HEAD_RATES the best on the validation part."""
        train, validation = self.parts[:2]
        batch = self.own.batch
        with self.progress("features", sum(ceil(len(p.labels) / batch) for p in (train, validation))) as step:
            x, other = (features(model, p.images, batch, device=self.device, show=step) for p in (train, validation))
        top = layer(model)
        first = top.state_dict()
        evaluate = judged(lambda: tested(top, Part(other, validation.labels), len(other), device=self.device))
        best = best_by_rank()
        batches = FeatureBatches(x, train.labels, batch, seed=self.own.seed)
        with self.progress("training the head", len(HEAD_RATES)) as step:
            for rate in each(HEAD_RATES, step):
                top.load_state_dict(first)
                learn(top, batches, rate, HEAD_STEPS, device=self.device, progress=False, ranks="alone")
                best(State(HEAD_STEPS, evaluate(HEAD_STEPS), top))
        return best

    def all_layers(self, model: nn.Module, method: str) -> float:
        """Train all layers; keep what is best on the validation part, after an epoch or before the first; its accuracy
        there."""
        train, validation = self.parts[:2]
        batches = PictureBatches(train, self.own.batch, shift=0, mirror=True, seed=self.own.seed)
        evaluate = judged(lambda: tested(model, validation, self.own.batch, device=self.device))
        best = best_by_rank()
        best(State(0, evaluate(0), model))
        epoch = len(batches.order)
        learn(
            model, batches, self.own.lr or RATES[method], self.own.epochs * epoch, device=self.device,
            evaluate=evaluate, evaluate_every=epoch, callbacks=[best], progress=not self.quiet, ranks=self.group,
            shards=self.shards,
        )  # fmt: skip
        model.load_state_dict(best.weights)
        return best.record["validation_accuracy"]


def save(model: nn.Module, method: str, names: list[str], out: Path) -> Path:
    """Leave the weights under torchvision's names and the names of the classes in `out`."""
    write_text(out / CLASSES, "".join(f"{name}\n" for name in names))
    md.save_weights(path := out / weights_of(method), model.state_dict())
    return path


def weights_of(method: str) -> str:
    """The file that has the weights of a method."""
    return f"{method}.safetensors"


def describe(own: Own, parts: list[Part]) -> str:
    """What a caption says of the run."""
    train, validation, test = (len(part.labels) for part in parts)
    sizes = f"{train} photographs to train on, {validation} to choose by, {test} to test on"
    return f"{own.model} at {own.side}x{own.side}; {sizes}"


def note(own: Own, methods: list[str]) -> str | None:
    """The warning about a network without weights."""
    if own.weights is not None or methods == ["scratch"]:
        return None
    return f"no --weights: {METHODS['frozen']} are those of random weights, and nothing is transferred"
