"""Dilation: it sees far with few weights, what plain convolutions of the same size cannot see; and it may leave gaps.

Every pixel of an image is black or white at random. For each offset D a network has to say, at every pixel, the colour
of the pixel D cells to the left. Where that pixel is out of sight, no network does better than chance, one half.

    stack of 3x3, dilations d_1 ... d_L:  sees the offsets  sum over i of d_i * {-1, 0, 1}  along each axis
    span = 1 + 2 * (d_1 + ... + d_L);     taps = the number of different sums

Sources: Yu, Koltun, Multi-scale context aggregation by dilated convolutions, arXiv 1511.07122; gaps and the remedy
1, 2, 3: Wang et al., Understanding convolution for semantic segmentation, arXiv 1702.08502.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn
from minidl import functional as F

from ..command import UsageError
from . import BLUE, GREY, ORANGE, blank, learn

WEIGHTS, TRAIN, TEST = 1, 2, 3  # keep the draws apart
GRIDS = {"2, 2, 2": (2, 2, 2), "1, 2, 3": (1, 2, 3)}
GRID_OFFSETS = tuple(range(8))
SOLVED, CHANCE = 0.95, 0.02  # at least this accuracy; at most this far from one half


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    dilations: tuple[int, ...] = (1, 1, 2, 4, 8, 1)  # of the dilated net; the plain one has as many layers
    offsets: tuple[int, ...] = (3, 6, 7, 12, 17, 18)  # how far to the left the wanted pixels are
    width: int = 24  # feature maps of every layer
    size: int = 40  # side of the images
    batch: int = 4  # images per step
    steps: int = 400  # of training the dilated and the plain net; half of it for the nets of three layers
    rate: float = 0.005  # Adam's, a cosine to 0
    tested: int = 24  # images that accuracy is measured on
    seed: int = 0  # decides weights and images

    def __post_init__(self) -> None:
        if self.size <= max(*self.offsets, *GRID_OFFSETS):
            raise UsageError(f"--size {self.size} must be more than every offset, {max(self.offsets)} among them")


QUICK = Settings(dilations=(1, 2), offsets=(1, 3), width=6, size=12, batch=2, steps=30, tested=2)


# --- the task


def images(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Random images (n, 1, size, size) of -1 and 1."""
    return (2 * rng.integers(0, 2, (n, 1, size, size)) - 1).astype(np.float32)


def wanted(x: np.ndarray, offsets: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For images (N, 1, H, W): the pixel D to the left as 0 or 1, and whether there is one; (N, offsets, H, W) each."""
    target = np.zeros((len(x), len(offsets), *x.shape[2:]), x.dtype)
    there = np.zeros_like(target)
    for i, d in enumerate(offsets):
        target[:, i, :, d:] = x[:, 0, :, : x.shape[3] - d] > 0
        there[:, i, :, d:] = 1
    return target, there


# --- the network


def stack(dilations: Sequence[int], width: int, outputs: int, *, rank: int = 2, rng: Any = None) -> nn.Sequential:
    """3x3 convolutions (3 in 1-D) with relu, one for each dilation, that keep the size; then 1x1 to the outputs."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[rank]
    layers: list[nn.Module] = []
    for i, d in enumerate(dilations):
        layers += [conv(width if i else 1, width, 3, padding=d, dilation=d, rng=rng), nn.ReLU()]
    return nn.Sequential(*layers, conv(width, outputs, 1, rng=rng))


def span(dilations: Sequence[int]) -> int:
    """By formula: from the first cell that is seen to the last."""
    return 1 + 2 * sum(dilations)


def seen(dilations: Sequence[int]) -> list[int]:
    """By formula: the offsets that are seen along an axis."""
    return sorted({sum(signs) for signs in product(*((-d, 0, d) for d in dilations))})


def paths(dilations: Sequence[int], *, rank: int = 2) -> np.ndarray:
    """By gradient: the number of paths from each input cell around the centre to the output there.

    With all weights 1 and no bias every relu is passed, and d output / d input counts paths.
    """
    net = stack(dilations, 1, 1, rank=rank)
    for name, p in net.named_parameters():
        p.data = np.full(p.shape, name.endswith("weight"), np.float64)
    reach = sum(dilations) + 1  # one cell more than can be seen
    x = md.Tensor(np.ones((1, 1) + (2 * reach + 1,) * rank), requires_grad=True)
    return md.grad(net(x)[(0, 0) + (reach,) * rank], x)[0].data[0, 0]


def looked_at(net: nn.Module, x: np.ndarray, outputs: int) -> list[int]:
    """For each output: how far to the left of the middle pixel lies the input its gradient is largest at, on average.

    Only the middle row counts: all wanted pixels are in it.
    """
    x = md.Tensor(x, requires_grad=True)
    middle = x.shape[2] // 2, x.shape[3] - 1 - x.shape[3] // 8  # towards the right: the wanted pixels are to the left
    y = net(x)
    rows = [md.grad(y[(slice(None), i, *middle)].sum(), x, retain_graph=True)[0].data for i in range(outputs)]
    return [int(middle[1] - abs(g[:, 0, middle[0]]).mean(axis=0).argmax()) for g in rows]


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Train and test every network; measure what each can see."""
    dilated = settings.dilations
    nets = {"plain": ((1,) * len(dilated), settings.offsets), "dilated": (dilated, settings.offsets)}
    nets |= {name: (dilations, GRID_OFFSETS) for name, dilations in GRIDS.items()}
    numbers = {}
    for name, (dilations, offsets) in nets.items():
        steps = settings.steps if name in ("plain", "dilated") else max(1, settings.steps // 2)
        with progress(f"training {name}", steps) as step:
            numbers[name] = one(settings, dilations, offsets, steps, step)
    return {"nets": numbers}


def one(settings: Settings, dilations: Sequence[int], offsets: Sequence[int], steps: int, step: Callable) -> dict:
    """Train a net, and all that is recorded of it."""
    net = stack(dilations, settings.width, len(offsets), rng=data.generator(settings.seed, WEIGHTS))

    def batches(t: int) -> np.ndarray:
        return images(settings.batch, settings.size, data.generator(settings.seed, TRAIN, t))

    def loss(net: nn.Module, x: np.ndarray) -> md.Tensor:
        target, there = wanted(x, offsets)
        return F.binary_cross_entropy_with_logits(net(md.Tensor(x)), target, weight=there)

    learn(net, loss, batches, steps, settings.rate, step)
    x = images(settings.tested, settings.size, data.generator(settings.seed, TEST))
    line = np.flatnonzero(paths(dilations, rank=1))
    return {
        "dilations": list(dilations),
        "parameters": sum(p.size for p in net.parameters()),
        "span": [int(line[-1] - line[0] + 1), span(dilations)],  # measured, by formula
        "taps": [len(line), len(seen(dilations))],
        "map": paths(dilations).tolist(),
        "offsets": list(offsets),
        "in sight": [d in seen(dilations) for d in offsets],
        "accuracy": accuracy(net, x, offsets),
        "looked at": looked_at(net, x, len(offsets)),
    }


def accuracy(net: nn.Module, x: np.ndarray, offsets: Sequence[int]) -> list[float]:
    """The share of pixels, of those that have one to the left, that is right: for each offset."""
    target, there = wanted(x, offsets)
    with md.no_grad():
        right = (net(md.Tensor(x)).data > 0) == target
    return [float(right[:, i][there[:, i] > 0].mean()) for i in range(len(offsets))]


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    sentences = []
    for name, net in numbers["nets"].items():
        shape = " and ".join(f"{what} {m} (formula {f})" for what in ("span", "taps") for m, f in [net[what]])
        pairs = zip(net["offsets"], net["accuracy"])
        title = name if name in GRIDS else f"{name} {', '.join(map(str, net['dilations']))}"
        sentences.append(
            f"{title}: {net['parameters']:,} parameters; along an axis {shape}; accuracy at offset "
            + ", ".join(f"{d}: {100 * a:.1f} %" for d, a in pairs)
        )
        rows = list(zip(net["offsets"], net["in sight"], net["accuracy"], net["looked at"]))
        wrong = [str(d) for d, sight, a, _ in rows if not (a >= SOLVED if sight else abs(a - 0.5) <= CHANCE)]
        found = [d == place for d, sight, _, place in rows if sight]
        sentences.append(
            f"  {SOLVED:.0%} or more where the pixel is in sight, chance where it is not: "
            + ("so for every offset" if not wrong else f"NOT so at offset {', '.join(wrong)}")
            + f"; the gradient after training is largest at the wanted pixel for {sum(found)} of {len(found)} in sight"
        )
    return sentences


def draw(numbers: dict[str, Any]) -> Any:
    """Accuracy against offset for the two pairs of nets, and the paths of each net as a map."""
    nets = numbers["nets"]
    figure = blank(13, 8)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 0.95))
    first, second = top.subplots(1, 2, sharey=True)
    _accuracies(first, nets, "plain", "dilated", "the same number of layers, another reach")
    _accuracies(second, nets, *GRIDS, "the same reach, with and without gaps")
    first.set_ylabel("accuracy on new images")
    for axes, (name, net) in zip(bottom.subplots(1, 4), nets.items()):
        counts = np.array(net["map"])
        reach = len(counts) // 2
        shown = np.log10(np.where(counts > 0, counts, np.nan))
        axes.imshow(shown, extent=(-reach - 0.5, reach + 0.5) * 2, cmap="viridis", interpolation="nearest")
        axes.set(xticks=[1 - reach, 0, reach - 1], yticks=[1 - reach, 0, reach - 1])
        axes.set_title(f"{name}: {', '.join(map(str, net['dilations']))}" if name not in GRIDS else name)
        axes.set_xlabel(f"span {net['span'][0]}, taps {net['taps'][0]} along an axis")
    bottom.suptitle("the pixels that an output depends on, by its gradient: brighter for more paths, white for none")
    return figure


def _accuracies(axes: Any, nets: dict[str, Any], first: str, second: str, title: str) -> None:
    for name, colour, marker, style in ((first, ORANGE, "s", "--"), (second, BLUE, "o", "-")):
        net = nets[name]
        axes.plot(net["offsets"], net["accuracy"], color=colour, marker=marker, linestyle=style, label=name)
    axes.axhline(0.5, color=GREY, linestyle=":", label="chance")
    axes.set(xlabel="offset of the wanted pixel", title=f"{title}; {net['parameters']:,} parameters each")
    axes.set(ylim=(0.45, 1.14), yticks=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    axes.set_xticks(nets[first]["offsets"])
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", ncols=3)
