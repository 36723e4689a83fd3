"""Focal loss, cross entropy and hard negatives on one and the same detector: who decides what it learns?

A detector without proposals asks thousands of boxes whether they are an object, and a few are. With p_t the probability
of the right answer and N the number of positive boxes,

    cross entropy   sum over boxes of -log p_t  /  N
    focal           sum over boxes of -alpha_t (1 - p_t)^2 log p_t  /  N,  alpha_t 1/4 for positive boxes, else 3/4
    hard            -log p_t of the positive boxes and of three times as many negative ones, the worst answered  /  N

An easy negative is one with p_t above 0.9. Networks, initial weights (all with the prior 0.01), pictures, the loss of
the boxes and Adam's rate are the same; only the loss of the classes differs.

Sources: Lin et al., "Focal loss for dense object detection", ICCV 2017, sections 3 and 5.1; hard negatives 3:1: Liu et
al., "SSD", ECCV 2016, section 2.2, and Shrivastava et al., "Training region-based object detectors with online hard
example mining", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data
from minidl import functional as F
from minidl.device import to_device

from ..command import UsageError
from ..detect.data.records import Target
from ..detect.data.scenes import Scenes
from ..detect.evaluate.average_precision import coco_ap
from ..detect.losses.matching import IGNORED, NEGATIVE, POSITIVE, Positives, hard_negatives
from ..detect.models.backbone import resnet_small_fpn
from ..detect.models.retinanet import RetinaNet, RetinaNetSettings, octaves
from . import BLUE, GREY, ORANGE, PURPLE, blank, learn

WEIGHTS = 1  # keeps the draw of the weights apart
EASY = 0.9  # probability of the right answer
COLOURS = {"focal": BLUE, "cross entropy": ORANGE, "hard": PURPLE}
STYLES = ("-", "--", ":", "-.")  # of the runs
UNWEIGHTED = {"alpha": -1.0, "gamma": 0.0}  # the focal loss without its factors is the cross entropy


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    size: int = 64  # side of the pictures
    digits: int = 4  # in a picture, at most
    width: int = 12  # maps of the first stage of the backbone
    pyramid: int = 24  # maps of each level of the pyramid
    steps: int = 400  # of training
    batch: int = 8  # pictures in a step
    lr: float = 0.003  # Adam's; up in a twentieth of the steps, then a cosine to 0
    tested: int = 100  # pictures that AP50 is measured on
    looks: int = 10  # how often the losses of boxes are looked at, on the first 16 of those
    seeds: int = 2  # runs of each loss
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if self.size < 48 or self.size % 16:
            raise UsageError(f"--size {self.size}: the pyramid needs a multiple of 16, 48 or more")
        if self.looks > self.steps:
            raise UsageError(f"--looks {self.looks}: there are {self.steps} steps to look at")
        if not self.lr > 0:
            raise UsageError("--lr must be above 0")


QUICK = Settings(size=48, digits=2, width=4, pyramid=8, steps=4, batch=2, tested=4, looks=2, seeds=1)


# --- the detector


class Mined(RetinaNet):
    """Hard negatives: of the negative boxes three for each positive one of the image, those with the largest loss."""

    def class_terms(self, logits: md.Tensor, labels: np.ndarray, yes: Positives) -> md.Tensor:
        terms = super().class_terms(logits, labels, yes)
        trained = (labels == POSITIVE) | hard_negatives(terms.numpy(), labels, 3)
        return F.where(to_device(trained, terms.device), terms, 0.0)


KINDS = {"focal": (RetinaNet, {}), "cross entropy": (RetinaNet, UNWEIGHTED), "hard": (Mined, UNWEIGHTED)}


def detector(kind: str, settings: Settings, seed: int) -> RetinaNet:
    """The one detector, for one class, with the loss of this kind."""
    rng = data.generator(seed, WEIGHTS)
    cls, options = KINDS[kind]
    backbone = resnet_small_fpn(settings.width, settings.pyramid, rng=rng)
    options = RetinaNetSettings(before=100, **options)
    return cls(backbone, octaves(backbone.strides, 2.5), 1, depth=1, std=None, settings=options, rng=rng)


# --- what is measured


class Pictures:
    """Scenes of digits in which every digit is of the one class "digit"."""

    def __init__(self, settings: Settings, split: str, seed: int):
        self.scenes = Scenes(seed, split, settings.size, count=(1, settings.digits), sides=(12, settings.size // 2))

    def __call__(self, step: int, n: int) -> tuple[md.Tensor, list[Target]]:
        images, targets = self.scenes.batch(step, n)
        return md.Tensor(images), [Target(t.boxes, np.zeros(len(t), int)) for t in targets]


def shares(model: RetinaNet, images: md.Tensor, targets: list[Target]) -> dict[str, float]:
    """Whose the loss of the classes is: of the positive boxes, of easy negatives, of other negatives; parts of 1."""
    with md.no_grad():
        computed = model.training_pass(images, targets)
    terms, logits = computed.terms["class"].value.numpy(), computed.outputs.logits.numpy()
    labels = np.stack([m.labels for m in computed.matches]).ravel()
    right = 1 / (1 + np.exp(logits.astype(float).ravel()))  # that nothing is there
    easy = (labels == NEGATIVE) & (right > EASY)
    parts = {"positive": labels == POSITIVE, "easy": easy, "other": (labels == NEGATIVE) & ~easy}
    total = float(terms.sum()) or 1.0
    return {name: float(terms[part].sum()) / total for name, part in parts.items()}


def imbalance(model: RetinaNet, settings: Settings, pictures: Pictures) -> dict[str, float]:
    """How many boxes a picture has, and of which kinds on average."""
    images, targets = pictures(0, settings.tested)
    with model.inference():
        matches = model.training_pass(images, targets).matches
    labels = np.stack([m.labels for m in matches])
    kinds = {"positive": POSITIVE, "negative": NEGATIVE, "ignored": IGNORED}
    return {name: float((labels == kind).sum(axis=1).mean()) for name, kind in kinds.items()}


def ap50(model: RetinaNet, settings: Settings, pictures: Pictures) -> float:
    """The average precision at an IoU of 0.5 on new pictures."""
    images, targets = pictures(0, settings.tested)
    return float(coco_ap(targets, model.detect(images), 1)["AP50"])


def one(kind: str, settings: Settings, seed: int, step: Callable) -> dict[str, Any]:
    """Train a detector, and all that is recorded of it."""
    model, pictures, new = detector(kind, settings, seed), *(Pictures(settings, s, seed) for s in ("train", "test"))
    record: dict[str, list] = {"step": [], "class": [], "box": [], "positive": [], "easy": [], "other": []}
    seen = {"class": [], "box": []}  # of every step
    probe = new(0, min(16, settings.tested))

    def loss(model: RetinaNet, at: int) -> dict[str, md.Tensor]:
        losses = model.losses(*pictures(at, settings.batch))
        for name, values in seen.items():
            values.append(losses[name].item())
        return losses

    def look(at: int) -> None:
        record["step"].append(at + 1)
        for name, part in shares(model, *probe).items():
            record[name].append(part)

    every = settings.steps // settings.looks
    with model.inference():
        look(-1)
    learn(
        model, loss, lambda at: at, settings.steps, settings.lr, step,
        warmup=settings.steps // 20, clip=10.0, evaluate=look, evaluate_every=every,
    )  # fmt: skip
    for name, values in seen.items():  # the mean of the steps since the look before; at the start the first
        record[name] = [float(np.mean(values[max(0, a - every) : max(a, 1)])) for a in record["step"]]
    return record | {"ap50": ap50(model, settings, new)}


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Train with every loss from every seed."""
    runs = {}
    for kind in KINDS:
        with progress(f"training with {kind}", settings.steps * settings.seeds) as step:
            runs[kind] = [one(kind, settings, settings.seed + i, step) for i in range(settings.seeds)]
    model = detector("focal", settings, settings.seed)
    return {
        "boxes": imbalance(model, settings, Pictures(settings, "test", settings.seed)),
        "parameters": sum(p.size for p in model.parameters()),
        "steps": settings.steps,
        "runs": runs,
    }


# --- the claims


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    boxes, runs = numbers["boxes"], numbers["runs"]
    ratio = boxes["negative"] / max(boxes["positive"], 1e-9)
    sentences = [
        f"a picture has {boxes['positive']:.0f} positive boxes, {boxes['negative']:.0f} negative and "
        f"{boxes['ignored']:.0f} ignored: {ratio:.0f} negative for each positive"
    ]
    for kind, every in runs.items():
        precisions = ", ".join(f"{100 * run['ap50']:.1f}" for run in every)
        easy = [np.mean([run["easy"][i] for run in every]) for i in (0, -1)]
        mine = np.mean([run["positive"][-1] for run in every])
        sentences.append(
            f"{kind}: AP50 {precisions}; easy negatives have {100 * easy[0]:.0f} % of the class loss before training "
            f"and {100 * easy[1]:.0f} % after {numbers['steps']} steps, positive boxes {100 * mine:.0f} %"
        )
    return [*sentences, *_compared(runs)]


def _compared(runs: dict[str, list[dict]]) -> list[str]:
    focal = [run["ap50"] for run in runs["focal"]]
    sentences = []
    for kind in runs:
        if kind == "focal":
            continue
        gains = [100 * (a - run["ap50"]) for a, run in zip(focal, runs[kind])]
        verdict = "better in every run" if min(gains) > 0 else "NOT better in every run"
        points = ", ".join(f"{gain:+.1f}" for gain in gains)
        sentences.append(f"focal against {kind}: {verdict}, by {points} points of AP50")
    return sentences


def draw(numbers: dict[str, Any]) -> Any:
    """The losses while training, the share of easy negatives, and the AP50 of every run."""
    figure = blank(13, 6.6)
    (first, second), (third, fourth) = figure.subplots(2, 2)
    titles = {"class": "loss of the classes, each on its own scale", "box": "loss of the boxes, the same for all"}
    for axes, (name, title) in zip((first, second), titles.items()):
        _curves(axes, numbers["runs"], name)
        axes.set(title=title, yscale="log", xlabel="step")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    _curves(third, numbers["runs"], "easy")
    third.set(title=f"share of the class loss from negatives with p_t above {EASY}", ylim=(0, None), xlabel="step")
    first.legend()
    for i, (kind, every) in enumerate(numbers["runs"].items()):
        values = [run["ap50"] for run in every]
        fourth.bar(i, np.mean(values), color=COLOURS[kind], alpha=0.5, width=0.6)
        fourth.plot([i] * len(values), values, "o", color=COLOURS[kind])
        fourth.annotate(f"{np.mean(values):.3f}", (i, max(values)), (0, 6), textcoords="offset points", ha="center")
    fourth.set(title="AP50 on new pictures: mean, and each run", ylim=(0, 1.05), xticks=range(len(COLOURS)))
    fourth.set_xticklabels(numbers["runs"])
    return figure


def _curves(axes: Any, runs: dict[str, list[dict]], name: str) -> None:
    for kind, every in runs.items():
        for i, run in enumerate(every):
            label = kind if not i else None
            axes.plot(run["step"], run[name], STYLES[i % len(STYLES)], color=COLOURS[kind], label=label)
    axes.grid(alpha=0.3, color=GREY)
