"""The chart of accuracy, operations and parameters of the well-known networks: our counts, published accuracies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt

import minidl as md
from minidl import nn

from ..command import each
from ..models import MODELS
from ..plot import BLUE, GREEN, GREY, ORANGE, PURPLE, pyplot, save

# Top-1 and top-5 accuracy in per cent on ImageNet's validation images, one central 224x224 crop: torchvision's
# documentation of its IMAGENET1K_V1 weights, https://docs.pytorch.org/vision/stable/models.html
PUBLISHED = {
    "alexnet": (56.522, 79.066),
    "vgg11": (69.020, 88.628),
    "vgg13": (69.928, 89.246),
    "vgg16": (71.592, 90.382),
    "vgg19": (72.376, 90.876),
    "vgg11_bn": (70.370, 89.810),
    "vgg13_bn": (71.586, 90.374),
    "vgg16_bn": (73.360, 91.516),
    "vgg19_bn": (74.218, 91.842),
    "googlenet": (69.778, 89.530),
    "resnet18": (69.758, 89.078),
    "resnet34": (73.314, 91.420),
    "resnet50": (76.130, 92.862),
    "resnet101": (77.374, 93.546),
    "resnet152": (78.312, 94.046),
    "densenet121": (74.434, 91.972),
    "densenet161": (77.138, 93.560),
    "densenet169": (75.600, 92.806),
    "densenet201": (76.896, 93.370),
}
SOURCE = "accuracies: torchvision's documentation of its IMAGENET1K_V1 weights; MACs and parameters: counted here"
FAMILIES = {  # the name, the colour, and on which side of a bubble the label stands: there they do not meet
    "alexnet": ("AlexNet", GREY, 1),
    "vgg": ("VGG-", ORANGE, 1),
    "googlenet": ("GoogLeNet", PURPLE, -1),
    "resnet": ("ResNet-", BLUE, 1),
    "densenet": ("DenseNet-", GREEN, -1),
}
AREA = 9  # of a bubble, in square points, for a million parameters


@dataclass(frozen=True)
class Entry:
    """A network at 224x224: what it costs, and how often it is right."""

    name: str
    macs: int
    parameters: int
    top1: float
    top5: float


def entries(show: Callable[[], object] = lambda: None) -> list[Entry]:
    """All networks with published accuracies, counted in use: GoogLeNet without its auxiliary heads."""
    return [counted(name) for name in each(PUBLISHED, show)]


def counted(name: str) -> Entry:
    """Count one network on an empty image, its weights not drawn."""
    with nn.init.undrawn():
        model = MODELS[name](**({"aux_logits": False} if name == "googlenet" else {}))
    s = md.summary(model, (1, 3, 224, 224))
    return Entry(name, s.macs, s.parameters, *PUBLISHED[name])


def table(rows: Sequence[Entry]) -> str:
    """A line per network, and the source."""
    lines = [f"{'':<12}{'parameters':>13}{'MACs':>16}{'top-1 %':>10}{'top-5 %':>10}"]
    lines += [f"{r.name:<12}{r.parameters:>13,}{r.macs:>16,}{r.top1:>10.3f}{r.top5:>10.3f}" for r in rows]
    return "\n".join([*lines, "bn: with batch norm. ImageNet, one 224x224 crop", SOURCE])


def draw(path: str | os.PathLike, rows: Sequence[Entry]) -> None:
    """Accuracy against operations; the area of a bubble is the number of parameters."""
    figure, axes = pyplot().subplots(figsize=(10, 6.5))
    for family, (name, colour, side) in FAMILIES.items():
        for r in rows:
            if r.name.startswith(family):
                place, area = (r.macs / 1e9, r.top1), AREA * r.parameters / 1e6
                axes.scatter(*place, s=area, color=colour, alpha=0.35, edgecolors=colour)
                axes.scatter(*place, s=6, color=colour)
                axes.annotate(
                    name + r.name.removeprefix(family).replace("_bn", " bn"), place,
                    xytext=(side * (sqrt(area / pi) + 3), 0), textcoords="offset points", va="center",
                    ha="left" if side > 0 else "right", fontsize=9,
                )  # fmt: skip
    for millions in (10, 50, 140):
        axes.scatter([], [], s=AREA * millions, facecolor="none", edgecolor=GREY, label=f"{millions} million")
    axes.legend(
        loc="lower right", title="parameters", labelspacing=2.2, handletextpad=2, borderpad=1.5, frameon=False
    )  # fmt: skip
    axes.set(xlabel="billions of multiply-adds for one 224x224 image", ylabel="ImageNet top-1 accuracy, %")
    axes.set_xlim(-2.2, 24.5)
    axes.set_ylim(53, 81)
    axes.grid(alpha=0.3)
    axes.set_title(SOURCE, fontsize=9)
    save(figure, path)
