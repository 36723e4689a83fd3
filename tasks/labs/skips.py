"""Skips: a U-Net with and without them, and where the errors lie: near the true outline or far from it.

The contracting path sees far but halves the maps again and again; a skip carries the maps of a level to where that
size is reached again. Generated cells that touch, with exact labels: 1 in a cell, 0 outside and on the line between
two. Three nets of the same depth learn alike: with skips; without, the decoder having fewer input maps and therefore
fewer parameters; and without but wider, with at least as many parameters as the first.

    distance of a pixel = to the nearest pixel of the other class: 1 right at the outline

Sources: Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015; Drozdzal et al., "The importance of skip connections in
biomedical image segmentation", arXiv 1608.04117.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import minidl as md
from minidl import data

from ..command import UsageError
from ..segment import cells, metrics
from ..segment.augment import separated
from ..segment.losses import cross_entropy
from ..segment.unet import UNet
from . import BLUE, GREEN, ORANGE, blank, learn

WEIGHTS, PATCHES, TRAIN, TEST = range(4)  # keep the draws apart
EDGES = (1.0, 1.5, 2.5, 3.5, 5.0, 8.0, np.inf)  # distances: from one of these up to the next
NEAR, FAR = 2, 4  # a pixel is near the outline up to this distance, far from it beyond this one
STYLES = {"skips": (BLUE, "o"), "none": (ORANGE, "s"), "none, wider": (GREEN, "^")}


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    base: int = 6  # maps of the first level
    depth: int = 3  # times that the maps are halved
    pictures: int = 8  # to train on
    side: int = 64  # of the patches, cut from them at random
    batch: int = 4  # patches in a step
    steps: int = 200  # of training
    rate: float = 0.01  # Adam's, a cosine to 0
    tested: int = 4  # pictures to test on
    seeds: int = 3  # runs of each net, each with pictures of its own
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if self.side > cells.SIDE:
            raise UsageError(f"--side {self.side}: the pictures that patches are cut from have {cells.SIDE}")


QUICK = Settings(base=2, depth=2, pictures=1, side=32, batch=2, steps=3, tested=1, seeds=1)


# --- pictures


def pictures(n: int, seed: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells (n, 1, H, W), each picture of mean 0 and deviation 1, and classes (n, H, W) of 0 and 1."""
    found = [cells.generate(seed, key, i) for i in range(n)]
    x = np.stack([culture.image for culture in found])[:, None]
    x = (x - x.mean(axis=(2, 3), keepdims=True)) / x.std(axis=(2, 3), keepdims=True)
    classes = np.stack([separated(culture.instances) > 0 for culture in found])
    return x.astype(np.float32), classes.astype(np.int64)


def patches(
    x: np.ndarray, classes: np.ndarray, n: int, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """n squares cut from random places of random pictures: (n, 1, side, side) and (n, side, side)."""
    places = [(rng.integers(len(x)), *rng.integers(0, np.array(x.shape[2:]) - side + 1)) for _ in range(n)]
    cut = [(i, slice(r, r + side), slice(c, c + side)) for i, r, c in places]
    return np.stack([x[i, :, r, c] for i, r, c in cut]), np.stack([classes[i, r, c] for i, r, c in cut])


def distances(classes: np.ndarray) -> np.ndarray:
    """For each pixel of one picture (H, W): how far the nearest pixel of the other class is; inf if there is none."""
    from scipy.ndimage import distance_transform_edt

    found = np.full(classes.shape, np.inf)
    for mask in (classes > 0, classes == 0):
        if mask.any() and not mask.all():
            found[mask] = distance_transform_edt(mask)[mask]
    return found


# --- nets


def net(kind: str, settings: Settings, rng: Any = None) -> UNet:
    """The net of that kind, padded, with batch norm."""
    base = wider(settings) if kind == "none, wider" else settings.base
    return UNet(1, 1, base=base, depth=settings.depth, padded=True, skips=kind == "skips", rng=rng)


def wider(settings: Settings) -> int:
    """The least number of first maps with which a net without skips has as many parameters as that with them."""

    def parameters(base: int, skips: bool) -> int:
        with md.nn.init.undrawn():
            return size(UNet(1, 1, base=base, depth=settings.depth, padded=True, skips=skips))

    base = settings.base
    while parameters(base, False) < parameters(settings.base, True):
        base += 1
    return base


def size(model: UNet) -> int:
    """The number of parameters."""
    return sum(p.size for p in model.parameters())


# --- scores


def score(logits: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
    """Dice of the cells over all pixels, and the share of errors by distance, near, and far."""
    called = metrics.labels(logits)
    wrong = called != classes
    away = np.stack([distances(c) for c in classes])
    bins = [(away >= a) & (away < b) for a, b in pairwise(EDGES)]
    return {
        "dice": float(metrics.dice(metrics.confusion(called, classes, 2))[1]),
        "errors": [_share(wrong, b) for b in bins], "pixels": [int(b.sum()) for b in bins],
        "near": _share(wrong, away <= NEAR), "far": _share(wrong, away > FAR),
    }  # fmt: skip


def _share(wrong: np.ndarray, where: np.ndarray) -> float | None:
    return float(wrong[where].mean()) if where.any() else None


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Train and test every net in several runs."""
    numbers: dict[str, Any] = {"edges": EDGES[:-1], "nets": {}}
    with progress("training", len(STYLES) * settings.seeds * settings.steps) as step:
        for kind in STYLES:
            found = [_run(kind, settings, settings.seed + i, step) for i in range(settings.seeds)]
            runs, called = [run for run, _ in found], found[0][1]
            model = net(kind, settings)
            base = model.head.weight.shape[1]
            numbers["nets"][kind] = {"base": base, "parameters": size(model), "runs": runs, "called": called}
    x, classes = pictures(1, settings.seed, TEST)
    numbers["picture"], numbers["truth"] = x[0, 0].round(2).tolist(), classes[0].tolist()
    return numbers


def _run(kind: str, settings: Settings, seed: int, step: Callable) -> tuple[dict[str, Any], list]:
    """One net trained and tested: its scores, and the classes that it gives the first test picture."""
    model = net(kind, settings, data.generator(seed, WEIGHTS))
    known = pictures(settings.pictures, seed, TRAIN)

    def batches(t: int) -> tuple[np.ndarray, np.ndarray]:
        return patches(*known, settings.batch, settings.side, data.generator(seed, PATCHES, t))

    def loss(model: UNet, pair: tuple[np.ndarray, np.ndarray]) -> md.Tensor:
        return cross_entropy(model(md.Tensor(pair[0])), pair[1])

    learn(model, loss, batches, settings.steps, settings.rate, step)
    x, classes = pictures(settings.tested, seed, TEST)
    with model.inference():
        logits = model(md.Tensor(x)).numpy()
    return score(logits, classes), metrics.labels(logits)[0].tolist()


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    nets, sentences = numbers["nets"], []
    for kind, found in nets.items():
        values = {key: [run[key] for run in found["runs"]] for key in ("dice", "near", "far")}
        sentences.append(
            f"{kind}: {found['base']} first maps, {found['parameters']:,} parameters; test Dice "
            f"{_range(values['dice'])}; errors up to {NEAR} pixels from the outline {_percent(values['near'])}, "
            f"beyond {FAR} {_percent(values['far'])}"
        )
    pixels = np.sum([run["pixels"] for run in nets["skips"]["runs"]], axis=0)
    parts = [f"{name}: {n / pixels.sum():.0%}" for name, n in zip(_bins(), pixels)]
    sentences.append(f"pixels by distance: {'; '.join(parts)}")
    for kind in nets:
        if kind != "skips":
            sentences.append(_verdict(nets, kind, "dice", "test Dice", +1))
            sentences += [_verdict(nets, kind, key, f"errors {key}", -1) for key in ("near", "far")]
            sentences.append(_where(nets, kind))
    return sentences


def _bins() -> list[str]:
    ends = [f"below {b:g}" for b in EDGES[1:-1]]
    return [*ends, f"{EDGES[-2]:g} and more"]


def _range(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _percent(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{np.mean(known):.2%}" if known else "none there"


def _verdict(nets: dict[str, Any], kind: str, key: str, what: str, better: int) -> str:
    """Skips against another net, run by run; better: 1 if more is, -1 if less is."""
    pairs = [(ours[key], theirs[key]) for ours, theirs in zip(nets["skips"]["runs"], nets[kind]["runs"])]
    gain = np.array([ours - theirs for ours, theirs in pairs if None not in (ours, theirs)])
    if not gain.size:
        return f"{what}, skips less {kind}: cannot be told, there is no such pixel"
    text = f"{what}, skips less {kind}: {gain.mean():+.4f} ({gain.min():+.4f} to {gain.max():+.4f} by run)"
    ok = (better * gain).min() > 0
    return f"{text}: " + ("better in every run" if ok else "that skips are better in every run is NOT borne out")


def _where(nets: dict[str, Any], kind: str) -> str:
    """What the skip takes away near and far, as a share of the errors there."""
    near, far = ([_rate(nets[k], key) for k in ("skips", kind)] for key in ("near", "far"))
    if None in (*near, *far) or not near[1] or not far[1]:
        return f"  errors near and far, skips over {kind}: cannot be told, there is no error or no such pixel"
    factors = near[0] / near[1], far[0] / far[1]
    absolute = near[1] - near[0], far[1] - far[0]
    mostly = "so" if absolute[0] > absolute[1] else "NOT so"
    return (
        f"  errors with skips over those of {kind}: near {factors[0]:.2f}, far {factors[1]:.2f}; saved near "
        f"{absolute[0]:.2%} of the pixels, far {absolute[1]:.2%}: that they help above all near the outline is {mostly}"
    )


def _rate(found: dict[str, Any], key: str) -> float | None:
    known = [run[key] for run in found["runs"] if run[key] is not None]
    return float(np.mean(known)) if known else None


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """Errors against distance and Dice; below, a picture, its truth, and the errors of each net."""
    figure = blank(13, 7.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    left, right = top.subplots(1, 2, width_ratios=(2, 1))
    for place, (kind, (colour, marker)) in enumerate(STYLES.items()):
        found = numbers["nets"][kind]
        rates = np.array([[np.nan if e is None else 100 * e for e in run["errors"]] for run in found["runs"]])
        label = f"{kind}: {found['parameters']:,} parameters"
        left.plot(np.arange(rates.shape[1]), rates.mean(axis=0), marker + "-", color=colour, label=label)
        left.plot(np.arange(rates.shape[1]), rates.T, marker, color=colour, alpha=0.3, markersize=4)
        right.plot([place] * len(found["runs"]), [run["dice"] for run in found["runs"]], marker, color=colour)
    left.set_xticks(range(len(_bins())), _bins())
    left.set(xlabel="distance to the true outline (pixels)", ylabel="pixels that are wrong (%)", ylim=(0, None))
    left.set_title("errors by distance: mean of the runs, and each run")
    left.legend()
    right.set_xticks(range(len(STYLES)), STYLES)
    right.set(title="test Dice, each run", xlim=(-0.5, len(STYLES) - 0.5))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    bottom.suptitle("errors on a test picture: orange is taken for a cell, blue is missed")
    _pictures(bottom.subplots(1, 2 + len(STYLES)), numbers)
    return figure


def _pictures(row: Any, numbers: dict[str, Any]) -> None:
    truth = np.array(numbers["truth"])
    row[0].imshow(numbers["picture"], cmap="gray")
    row[0].set_title("a test picture")
    row[1].imshow(truth, cmap="gray")
    row[1].set_title("truth")
    for axes, kind in zip(row[2:], STYLES):
        called = np.array(numbers["nets"][kind]["called"])
        shown = np.where(called[..., None] > 0, 0.9, 0.2) * np.ones(3)
        shown[(called > 0) & (truth == 0)] = [0.84, 0.37, 0.0]
        shown[(called == 0) & (truth > 0)] = [0.0, 0.45, 0.7]
        axes.imshow(shown)
        axes.set_title(kind)
    for axes in row:
        axes.set(xticks=[], yticks=[])
