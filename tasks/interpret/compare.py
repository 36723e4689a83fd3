"""Every method on pictures with planted evidence, scored against the truth and checked for sanity."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minidl import nn

from ..command import each
from . import curves, sanity, scores
from .methods import METHODS
from .model import prepared
from .targets import class_score
from .train import accuracy, test_scenes

EDGES = "edges"  # the row of a method that does not ask the network
OPTIONS: dict[str, dict[str, Any]] = {"occlusion": {"patch": 7, "stride": 1, "fill": 0.0, "batch_size": 128}}
DRAWS = 6  # keeps what methods and checks draw apart from what training draws


class Counts(NamedTuple):
    """How many test pictures: for pointing and IoU, for the curves, for the sanity check; and for the accuracy."""

    pointed: int = 64
    curved: int = 32
    checked: int = 16
    classified: int = 400


COUNTS = Counts()


@dataclass
class MethodScores:
    """What one method scored with one network. Curves are means over the pictures, (STEPS + 1,)."""

    pointing: float
    iou: float
    empty: int  # maps that were zero everywhere
    milliseconds: float  # of processor time, for each picture
    sanity: dict[str, float] = field(default_factory=dict)  # layer -> rank correlation, from the top down
    deletion: np.ndarray | None = None
    insertion: np.ndarray | None = None
    gap: float | None = None  # of integrated gradients: mean |sum - difference of scores| / mean |difference|

    def numbers(self) -> dict[str, float | None]:
        """The columns of the table."""
        top, *_, all_of_it = self.sanity.values()
        return {
            "pointing": self.pointing,
            "IoU": self.iou,
            "top": top,
            "all": all_of_it,
            "deletion": curves.area(self.deletion),
            "insertion": curves.area(self.insertion),
            "ms": self.milliseconds,
        }


@dataclass(frozen=True)
class NetworkScores:
    """One network on planted evidence: its accuracy on test pictures, what chance would score, and each method."""

    seed: int
    accuracy: float
    chance: tuple[float, float]  # pointing, IoU
    results: dict[str, MethodScores]


def compare(
    network: nn.Module, seed: int, *, device: str = "cpu", show: Callable[[], object] = lambda: None
) -> NetworkScores:
    """Score all methods with COUNTS test pictures.

    Maps explain the logit of the class that the evidence decides. ``show()`` is called `work(network)` times.
    """
    test = test_scenes(seed, COUNTS.pointed)
    images, labels, masks = prepared(test.images), test.labels, test.masks
    results, before = {}, {}
    for name in each([*METHODS, EDGES], show):
        start = time.process_time()
        found = explain(name, network, images, labels, seed)
        spent = time.process_time() - start
        before[name] = values = found.values if found is not None else edges(images)
        results[name] = MethodScores(
            pointing=mean(scores.pointing, values, masks),
            iou=mean(scores.iou, values, masks),
            empty=int((~values.any(axis=(1, 2))).sum()),
            milliseconds=1000 * spent / len(images),
        )
        if found is not None and found.gap is not None:
            difference = found.full.sum(axis=(1, 2, 3)) - found.gap
            results[name].gap = float(np.abs(found.gap).mean() / np.abs(difference).mean())
    for name, result in each(results.items(), show):
        rng = np.random.default_rng((seed, DRAWS))
        for curve in (curves.deletion, curves.insertion):
            drawn = [
                curve(network, image, c, values, rng, device=device)
                for image, c, values in zip(images[: COUNTS.curved], labels, before[name])
            ]
            setattr(result, curve.__name__, np.mean(drawn, axis=0))
    few = images[: COUNTS.checked], labels[: COUNTS.checked], seed
    methods = {name: maps_of(name, *few) for name in results}
    rng = np.random.default_rng((seed, DRAWS + 1))
    for name, correlations in sanity.check(network, methods, few[0], rng, show).items():
        results[name].sanity = correlations
    large = test_scenes(seed, COUNTS.classified)
    chances = np.mean([scores.chance(mask) for mask in masks], axis=0)
    right = accuracy(network, large.images, large.labels, device)
    return NetworkScores(seed, right, tuple(map(float, chances)), results)


def work(network: nn.Module) -> int:
    """How often `compare` calls show."""
    return (len(METHODS) + 1) * (2 + len(sanity.layers(network)))


def explain(name: str, network: nn.Module, images: np.ndarray, labels: np.ndarray, seed: int) -> Any:
    """The Map of a method; None for the edges, which need no network."""
    if name == EDGES:
        return None
    rng = np.random.default_rng((seed, DRAWS))
    return METHODS[name](network, images, class_score(labels), rng=rng, **OPTIONS.get(name, {}))


def maps_of(name: str, images: np.ndarray, labels: np.ndarray, seed: int) -> sanity.Maps:
    """From a network to the maps of a method."""

    def maps(network: nn.Module) -> np.ndarray:
        found = explain(name, network, images, labels, seed)
        return edges(images) if found is None else found.values

    return maps


def edges(images: np.ndarray) -> np.ndarray:
    """The size of the gradient of gray values (N, 1, H, W), by Sobel's filter: (N, H, W). It knows of no network."""
    from scipy.ndimage import sobel

    return np.hypot(sobel(images[:, 0], axis=1), sobel(images[:, 0], axis=2))


def mean(score: Callable[[np.ndarray, np.ndarray], float], values: np.ndarray, masks: np.ndarray) -> float:
    """The mean score of maps against their masks."""
    return float(np.mean([score(v, m) for v, m in zip(values, masks)]))
