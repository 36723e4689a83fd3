"""Imbalance: what Dice and cross entropy make of an object that shrinks from 30 % to 1 % of the pixels.

Each image has one object of an exact share s of its pixels under strong noise; the same small U-Net learns from each
loss for the same number of steps. With every probability at 1/2 the object's pixels bring this part of the gradient,
by which is meant its share in the sum of |dL/du| over the pixels, u the logit:

    cross entropy, focal: s        classes weighed alike: 1/2        Dice: s (2 - D) / (s (2 - D) + (1 - s) D)

with D = 4 s / (1 + 4 s) at that point. Dice is measured on new images with pixels called object where p > 1/2, and
again where p is above the threshold that is best on other images: what is lost by the threshold alone comes back.
Sources: Milletari et al., "V-Net", 3DV 2016, section 3; Lin et al., "Focal loss", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn

from ..command import UsageError
from ..segment.losses import cross_entropy, cross_entropy_dice, dice, focal
from ..segment.unet import UNet
from . import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, blank, learn

WEIGHTS, TRAIN, CHOICE, TEST = range(4)  # keep the draws apart
STYLES = {
    "cross entropy": (ORANGE, "s"), "focal": (PURPLE, "v"), "weighted cross entropy": (GREEN, "^"),
    "cross entropy + Dice": (SKY, "D"), "Dice": (BLUE, "o"),
}  # fmt: skip
THRESHOLDS = np.linspace(0.02, 0.98, 49)


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    shares: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01)  # of the object's pixels in an image
    noise: float = 1.0  # its deviation; the object is brighter by 1
    side: int = 48  # of the images
    base: int = 6  # maps of the U-Net's first level; two levels below
    batch: int = 4  # images in a step
    steps: int = 100  # of training
    rate: float = 0.01  # Adam's, a cosine to 0
    tested: int = 24  # images to test on, and as many to choose the threshold on
    seeds: int = 3  # runs of each
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        for share in self.shares:
            if not 0 < share < 0.5 or round(share * self.side**2) < 1:
                size = f"{self.side}x{self.side}"
                raise UsageError(f"--shares {share:g}: must be below 0.5, and at least a pixel of {size}")


QUICK = Settings(shares=(0.3, 0.05), side=16, base=2, batch=2, steps=4, tested=4, seeds=1)


# --- images


def draws(n: int, share: float, settings: Settings, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n images (n, 1, side, side), float32, and their masks (n, side, side) of 0 and 1.

    The object is the round(share side^2) pixels that are nearest to a random middle, measured in a wavy ellipse; so it
    may be cut off by the image's border, but its size is always the same.
    """
    side = settings.side
    pixels = round(share * side**2)
    radius = np.sqrt(pixels / np.pi)
    masks = np.zeros((n, side, side), np.int64)
    for mask in masks:
        inset = min(radius, 0.35 * side)
        y, x = np.mgrid[:side, :side] - rng.uniform(inset, side - inset, (2, 1, 1))
        turn, stretch, phase = rng.uniform(0, np.pi), rng.uniform(1, 1.6), rng.uniform(0, 2 * np.pi)
        along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        waves = 1 + 0.15 * np.cos(3 * np.arctan2(across, along) + phase)
        distance = np.hypot(along / stretch, across) / waves
        mask.ravel()[np.argsort(distance, axis=None, kind="stable")[:pixels]] = 1
    images = masks + settings.noise * rng.standard_normal(masks.shape)
    return images[:, None].astype(np.float32), masks


# --- losses


def losses(share: float) -> dict[str, Callable]:
    """By name: of logits (N, 1, H, W) and masks (N, H, W). The weights give both classes half of the total."""
    weight = [0.5 / (1 - share), 0.5 / share]
    return {
        "cross entropy": cross_entropy,
        "focal": focal,
        "weighted cross entropy": lambda u, t: cross_entropy(u, t, weight=weight),
        "cross entropy + Dice": cross_entropy_dice,
        "Dice": dice,
    }


def object_part(loss: Callable, logits: np.ndarray, masks: np.ndarray) -> float:
    """The share of the object's pixels in the sum of |dL/du| over all pixels."""
    u = md.Tensor(logits, requires_grad=True)
    size = abs(md.grad(loss(u, masks), u)[0].numpy()[:, 0])  # (N, H, W)
    return float(size[masks > 0].sum() / size.sum())


def part_at_half(name: str, share: float) -> float | None:
    """By formula: the object's part with every probability at 1/2; None for the sum of two losses."""
    value = 4 * share / (1 + 4 * share)
    mine, others = share * (2 - value), (1 - share) * value
    return {
        "cross entropy": share, "focal": share, "weighted cross entropy": 0.5, "Dice": mine / (mine + others),
    }.get(name)  # fmt: skip


# --- scores


def overlaps(logits: np.ndarray, masks: np.ndarray, threshold: float) -> np.ndarray:
    """The Dice of each image, (N,), with pixels called object where the probability is above the threshold."""
    called = logits[:, 0] > np.log(threshold / (1 - threshold))
    both = (called & (masks > 0)).sum(axis=(1, 2))
    return 2 * both / (called.sum(axis=(1, 2)) + masks.sum(axis=(1, 2)))


def best_threshold(logits: np.ndarray, masks: np.ndarray) -> float:
    """The first of the thresholds with the greatest mean Dice."""
    means = [overlaps(logits, masks, t).mean() for t in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmax(means))])


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Every loss at every share, in several runs."""
    numbers: dict[str, Any] = {"shares": sorted(settings.shares, reverse=True), "losses": {name: [] for name in STYLES}}
    total = len(STYLES) * len(settings.shares) * settings.seeds * settings.steps
    with progress("training", total) as step:
        for share in numbers["shares"]:
            for name in STYLES:
                runs = [_run(settings, name, share, settings.seed + i, step) for i in range(settings.seeds)]
                row: dict[str, Any] = {key: [run[key] for run in runs] for key in runs[0]}
                numbers["losses"][name].append({**row, "at half": part_at_half(name, share)})
    return numbers


def _run(settings: Settings, name: str, share: float, seed: int, step: Callable) -> dict[str, float]:
    """One net: the object's part in the gradient before training, scores after it. Of a seed all losses start alike."""
    net = UNet(1, 1, base=settings.base, depth=2, padded=True, rng=data.generator(seed, WEIGHTS))
    loss = losses(share)[name]

    def batches(t: int) -> tuple[np.ndarray, np.ndarray]:
        return draws(settings.batch, share, settings, data.generator(seed, TRAIN, t))

    images, masks = draws(settings.batch, share, settings, data.generator(seed, TRAIN, 0))
    with md.no_grad():
        logits = net(md.Tensor(images)).numpy()
    found = {"part": object_part(loss, logits, masks)}
    learn(
        net, lambda net, pair: loss(net(md.Tensor(pair[0])), pair[1]), batches, settings.steps, settings.rate, step
    )
    return found | _scores(net, share, settings, seed)


def _scores(net: nn.Module, share: float, settings: Settings, seed: int) -> dict[str, float]:
    with net.inference():
        (others, known), (images, masks) = (
            draws(settings.tested, share, settings, data.generator(seed, key)) for key in (CHOICE, TEST)
        )
        threshold = best_threshold(net(md.Tensor(others)).numpy(), known)
        logits = net(md.Tensor(images)).numpy()
    return {
        "dice": float(overlaps(logits, masks, 0.5).mean()), "threshold": threshold,
        "chosen": float(overlaps(logits, masks, threshold).mean()),
        "area": float((logits > 0).sum() / masks.sum()),  # called object, over truly object
    }  # fmt: skip


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    shares, sentences = numbers["shares"], []
    for name, rows in numbers["losses"].items():
        cells = [f"{s:.0%}: {_mean(r['dice'])} ({_mean(r['chosen'])})" for s, r in zip(shares, rows)]
        sentences.append(f"test Dice at 1/2 (at the threshold chosen), {name}: {'; '.join(cells)}")
    for name, rows in numbers["losses"].items():
        cells = [
            f"{s:.0%}: {np.mean(r['part']):.3f}" + ("" if r["at half"] is None else f" (formula {r['at half']:.3f})")
            for s, r in zip(shares, rows)
        ]
        sentences.append(f"part of the gradient from the object at the start, {name}: {'; '.join(cells)}")
    for name in ("cross entropy", "weighted cross entropy", "Dice"):
        row = numbers["losses"][name][-1]
        sentences.append(f"called object over truly object at {shares[-1]:.0%}, {name}: {_mean(row['area'])}")
    for place in {0: shares[0], len(shares) - 1: shares[-1]}:
        sentences.append(_verdict(numbers, place, "dice", "at threshold 1/2"))
        sentences.append(_verdict(numbers, place, "chosen", "each at its best threshold"))
    return sentences


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f}"


def _verdict(numbers: dict[str, Any], place: int, key: str, how: str) -> str:
    """Dice against cross entropy, run by run."""
    ours, theirs = (np.array(numbers["losses"][name][place][key]) for name in ("Dice", "cross entropy"))
    gain = ours - theirs
    text = f"at {numbers['shares'][place]:.0%}, {how}: Dice less cross entropy {gain.mean():+.3f}"
    runs = f"({gain.min():+.3f} to {gain.max():+.3f} by run)"
    if gain.min() > 0:
        return f"{text} {runs}: Dice is better in every run"
    return f"{text} {runs}: that Dice is better is NOT borne out" + (" in every run" if gain.max() > 0 else "")


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """Dice against the object's share, at 1/2 and at the chosen threshold; the object's part in the gradient."""
    figure = blank(15, 4.8)
    first, second, third = figure.subplots(1, 3)
    _curves(first, numbers, "dice", "test Dice, object where p > 1/2")
    _curves(second, numbers, "chosen", "test Dice, threshold chosen on other images")
    _curves(third, numbers, "part", "before training: the object's part in the gradient")
    second.sharey(first)
    third.plot(numbers["shares"], numbers["shares"], ":", color=GREY, label="its part of the pixels")
    third.set(yscale="log", ylabel="part of the sum of |dL/du|")
    first.set_ylabel("mean Dice of an image")
    third.legend()
    return figure


def _curves(axes: Any, numbers: dict[str, Any], key: str, title: str) -> None:
    shares = numbers["shares"]
    for name, (colour, marker) in STYLES.items():
        values = np.array([row[key] for row in numbers["losses"][name]])  # (shares, seeds)
        axes.plot(shares, values.mean(axis=1), marker + "-", color=colour, label=name)
        axes.plot(shares, values, marker, color=colour, alpha=0.3, markersize=4)
    axes.set(xscale="log", xlabel="share of the object's pixels", title=title)
    axes.set_xticks(shares, [f"{s:.0%}" for s in shares])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    axes.legend()
