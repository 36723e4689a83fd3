"""The comparison: each method at each number of labels, over several runs, the learning rate chosen apart.

New classes come in two parts. The test part is only ever used to score the runs that are reported. From the other, the
pool, each run draws the pictures whose labels it gets. Learning rates are chosen in pilot runs, which draw with
seeds of their own and are scored on what is left of the pool: one rate for each method and number of labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from minidl import data, nn
from minidl.ranks.group import Alone
from minidl.ranks.share import share

from ..classify.data import Part, PictureBatches
from ..classify.evaluate import tested
from ..command import UsageError
from ..options import TaskSettings
from .methods import METHODS, FeatureBatches, features, freeze, layer, learn, replace_head, thaw
from .source import Pretraining

RATES = {
    "scratch": (1e-3, 3e-3, 1e-2, 3e-2),
    "frozen": (3e-3, 1e-2, 3e-2, 1e-1),
    "finetune": (3e-4, 1e-3, 3e-3, 1e-2),
}
HEAD, DRAWN = range(2)  # keep the draws for each purpose apart
PILOT = 1000  # the seeds that rates are chosen with are none of those that are reported


@dataclass(frozen=True)
class Comparison(TaskSettings):
    """What decides the comparison, given the pretrained network; batches of labelled pictures have `few` at most."""

    # comparison
    labels: tuple[int, ...] = (1, 3, 10, 30)  # labelled pictures per new class
    runs: int = 8  # each with other labelled pictures
    pilots: int = 2  # runs to choose each learning rate with
    tune: int = 100  # steps of all layers: scratch, finetune
    head: int = 200  # steps of the head on frozen features

    few: int = 32


def draw(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `count` pictures of each class, and of all others. More of the same seed include those of fewer."""
    chosen, others = [], []
    for c in range(int(labels.max()) + 1):
        members = data.generator(seed, DRAWN, c).permutation(np.flatnonzero(labels == c))
        if count >= len(members):
            most = f"ask for {len(members) - 1} at most"
            raise UsageError(f"--labels {count}: class {c} has {len(members)} pictures to choose from; {most}")
        chosen.append(members[:count])
        others.append(members[count:])
    return np.concatenate(chosen), np.concatenate(others)


class Learner:
    """Learns the classes of a pool with each method. The frozen features of the pool are computed once."""

    def __init__(self, pretrained: nn.Module, source: Pretraining, settings: Comparison, pool: Part, device: str):
        self.source, self.settings, self.pool, self.device = source, settings, pool, device
        self.classes = int(pool.labels.max()) + 1
        self.state, self.outputs = pretrained.state_dict(), layer(pretrained).out_features
        self.features = features(pretrained, pool.images, device=device)

    def __call__(self, method: str, chosen: np.ndarray, rate: float, head_rate: float, seed: int) -> nn.Module:
        """The network trained on the labels of the chosen pictures.

        rate: of the method; head_rate: of the head's training that fine-tuning begins with. Runs of one seed have the
        same order of pictures, and in the frozen and the fine-tuned network the same first weights of the head.
        """
        settings, labelled = self.settings, self.pool[chosen]
        batches = PictureBatches(labelled, settings.few, shift=0, mirror=False, seed=seed)
        rng, how = data.generator(seed, HEAD), {"device": self.device, "progress": False, "ranks": "alone"}
        if method == "scratch":
            model = self.source.build(self.classes, rng).to(self.device)
        else:
            model = self.pretrained(rng)
            first = FeatureBatches(self.features[chosen], labelled.labels, settings.few, seed=seed)
            lr = rate if method == "frozen" else head_rate
            learn(layer(model), first, lr, settings.head, **how)
            if method == "frozen":
                return model
            thaw(model)
        learn(model, batches, rate, settings.tune, **how)
        return model

    def accuracy(self, asked: tuple[str, int, float, float, int], test: Part | None = None) -> float:
        """That of a run on the test part, or on the pictures of the pool whose labels were not drawn.

        asked: method, labels per class, rate, rate of the head, seed.
        """
        method, count, *rates, seed = asked
        labelled, others = draw(self.pool.labels, count, seed)
        model = self(method, labelled, *rates, seed)
        return tested(model, test or self.pool[others], 128, device=self.device).accuracy

    def pretrained(self, rng: np.random.Generator) -> nn.Module:
        """The pretrained network, frozen, with a new head."""
        with nn.init.undrawn():
            model = self.source.build(self.outputs, 0)
        model.load_state_dict(self.state)
        replace_head(model, self.classes, rng)
        freeze(model.to(self.device))
        return model


def measure(
    pretrained: nn.Module, source: Pretraining, settings: Comparison, device: str, progress: Callable,
    group: Alone | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Accuracies of every method, number of labels and run, as plain numbers. Each run is on one rank of the group."""
    group = group or Alone()
    pool, test, names = source.target()
    numbers = sorted(set(settings.labels))
    draw(pool.labels, numbers[-1], 0)  # or too many would be found out after minutes
    learner = Learner(pretrained, source, settings, pool, device)
    points = []
    work = len(numbers) * (settings.pilots * sum(map(len, RATES.values())) + settings.runs * len(METHODS))
    with progress("comparing", work) as step:
        for count in numbers:
            head_rate = 0.0  # chosen for the frozen network, before the fine-tuned one needs it
            for method in METHODS:
                pilots = range(PILOT + source.seed, PILOT + source.seed + settings.pilots)
                asked = [(method, count, rate, head_rate, seed) for rate in RATES[method] for seed in pilots]
                found = iter(share(group, learner.accuracy, asked, step))
                tried = [[rate, float(np.mean([next(found) for _ in pilots]))] for rate in RATES[method]]
                rate = max(tried, key=lambda pair: pair[1])[0]
                head_rate = rate if method == "frozen" else head_rate
                seeds = range(source.seed, source.seed + settings.runs)
                asked = [(method, count, rate, head_rate, seed) for seed in seeds]
                accuracies = share(group, partial(learner.accuracy, test=test), asked, step)
                points.append(
                    {"labels": count, "method": method, "rate": rate, "tried": tried, "accuracies": accuracies}
                )
    return {"source": source.source, "new": names, "tested": len(test.labels), "points": points}


# --- what is to be seen


def of(numbers: dict[str, Any], count: int) -> dict[str, np.ndarray]:
    """The accuracies at a number of labels: method -> one for each run."""
    return {p["method"]: np.array(p["accuracies"]) for p in numbers["points"] if p["labels"] == count}


def counts(numbers: dict[str, Any]) -> list[int]:
    """The numbers of labels."""
    return list(dict.fromkeys(p["labels"] for p in numbers["points"]))


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation in per cent."""
    deviation = 100 * values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{100 * values.mean():5.1f} ± {deviation:3.1f}"


def table(numbers: dict[str, Any]) -> str:
    """Accuracies, paired differences, learning rates, and the order at each number of labels."""
    runs, names = len(numbers["points"][0]["accuracies"]), numbers["new"]
    lines = [
        f"accuracy in % on {numbers['tested']} digits of the new classes {names[0]} to {names[-1]}; "
        f"mean ± standard deviation of {runs} runs with one pretrained network",
        "labels per class " + "".join(f"{title:>18}" for title in METHODS.values()),
    ]
    for count in counts(numbers):
        lines.append(f"{count:>16} " + "".join(f"{spread(a):>18}" for a in of(numbers, count).values()))
    lines.append("differences within a run (the same labelled pictures), and in how many runs they are above 0:")
    for count in counts(numbers):
        found = of(numbers, count)
        for worse, better in combinations(METHODS, 2):
            difference = found[better] - found[worse]
            title = f"{METHODS[better]} less {METHODS[worse]}"
            lines.append(f"{count:>16}   {title:<34}{spread(difference):>12}   {(difference > 0).sum()} of {runs}")
    lines.append("learning rates, chosen in other runs on other pictures (* at the edge of those tried):")
    for method, title in METHODS.items():
        points = [p for p in numbers["points"] if p["method"] == method]
        rates = [f"{p['rate']:g}{'*' if p['rate'] in edges(p) else ''} at {p['labels']}" for p in points]
        lines.append(f"  {title}: {', '.join(rates)}")
    for count in counts(numbers):
        order = sorted(of(numbers, count).items(), key=lambda item: -item[1].mean())
        lines.append(f"order at {count} labels per class: " + " > ".join(METHODS[method] for method, _ in order))
    return "\n".join(lines)


def edges(point: dict[str, Any]) -> tuple[float, float]:
    """The least and the largest rate that were tried."""
    rates = [rate for rate, _ in point["tried"]]
    return min(rates), max(rates)
