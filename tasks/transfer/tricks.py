"""What is done to a frozen network's training to make more of it, one thing at a time.

The head, dropout before it if asked for, learns on top of frozen layers; each trick changes that in one respect:

    augmentation      pictures are moved by up to an eighth of their side, and mirrored, anew in each epoch
    dropout           half of the features are dropped while training (Srivastava et al. 2014)
    rates per layer   all layers are trained, each with 0.7 times the rate of the one after it (Howard and Ruder 2018)
    warm-up           the rate rises for a tenth of the steps (Goyal et al. 2017)
    label smoothing   a tenth of the target is spread over all classes (Szegedy et al. 2016, section 7)
    early stopping    of all epochs the one that is best on the validation part is kept

All else is the same in all: the photographs, the number of steps, Adam, a rate that falls as half a cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.train import fit

from ..classify.data import Part, PictureBatches
from ..classify.evaluate import tested
from .methods import FeatureBatches, features, freeze, head, layer, replace_head, thaw
from .photographs import Best, Own

RATE, FALL, WARM, DROP, SMOOTH = 1e-3, 0.7, 0.1, 0.5, 0.1
DRAWN = 7  # keeps the draws apart from those of photographs


@dataclass(frozen=True)
class Plan:
    """Which tricks are taken."""

    augmentation: bool = False
    dropout: bool = False
    rates_per_layer: bool = False
    warm_up: bool = False
    label_smoothing: bool = False
    early_stopping: bool = False


PLAIN = Plan()
PLANS = {
    "none": PLAIN,
    **{name.replace("_", " "): replace(PLAIN, **{name: True}) for name in Plan.__dataclass_fields__},
    "all": Plan(*[True] * len(Plan.__dataclass_fields__)),
}


class Head(nn.Module):
    """Dropout, and a linear layer that has the place of a network's head."""

    def __init__(self, linear: nn.Linear, p: float, rng: np.random.Generator):
        self.dropout, self.linear = nn.Dropout(p, rng=rng), linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x))


class Tricks:
    """Learns the photographs with one plan after the other. Frozen features are computed once."""

    def __init__(self, own: Own, parts: Sequence[Part], classes: int, device: str, show: Callable[[], object]):
        self.own, self.parts, self.classes, self.device, self.show = own, parts, classes, device, show
        model = freeze_for(own, classes, 0).to(device)
        self.features = [features(model, part.images, own.batch, device=device) for part in parts]

    def accuracies(self, plan: Plan, seeds: Sequence[int]) -> list[float]:
        """On the test part, for each seed: of the head's first weights, of the order and of all that is drawn."""
        found = []
        for seed in seeds:
            found.append(self.on_pictures(plan, seed) if needs_pictures(plan) else self.on_features(plan, seed))
            self.show()
        return found

    def on_features(self, plan: Plan, seed: int) -> float:
        """The frozen layers give the same features in each epoch: the head alone is run."""
        linear = layer(freeze_for(self.own, self.classes, seed))
        top = Head(linear, DROP * plan.dropout, data.generator(seed, DRAWN)).to(self.device)
        train, validation, test = (Part(x, part.labels) for x, part in zip(self.features, self.parts))
        batches = FeatureBatches(train.images, train.labels, self.own.batch, seed=seed)
        self.learn(top, plan, batches, validation, [list(top.parameters())])
        return tested(top, test, device=self.device).accuracy

    def on_pictures(self, plan: Plan, seed: int) -> float:
        """Features change from epoch to epoch: the whole network is run."""
        train, validation, test = self.parts
        model = freeze_for(self.own, self.classes, seed)
        if plan.dropout:
            put_dropout(model, data.generator(seed, DRAWN))
        if plan.rates_per_layer:
            thaw(model)
        model.to(self.device)
        shift = train.images.shape[-1] // 8 if plan.augmentation else 0
        batches = PictureBatches(train, self.own.batch, shift=shift, mirror=plan.augmentation, seed=seed)
        groups = by_layer(model) if plan.rates_per_layer else [list(layer(model).parameters())]
        self.learn(model, plan, batches, validation, groups)
        return tested(model, test, self.own.batch, device=self.device).accuracy

    def learn(self, model: nn.Module, plan: Plan, batches: Any, validation: Part, groups: list[list]) -> None:
        """Train the groups of parameters, the last first: each has FALL times the rate of the one after it."""
        epoch = len(batches.order)
        steps = self.own.epochs * epoch
        best = Best(model, lambda: tested(model, validation, self.own.batch, device=self.device))
        fit(
            model,
            Falling(groups, self.own.lr or RATE),
            lambda model, batch: cross_entropy(model, *batch, SMOOTH * plan.label_smoothing, self.device),
            batches,
            steps,
            schedule=optim.warmup(optim.cosine(self.own.lr or RATE, steps), int(WARM * plan.warm_up * steps)),
            evaluate=best if plan.early_stopping else None,
            evaluate_every=epoch,
            record=True,
            progress=False,
            ranks="alone",
        )
        if plan.early_stopping:
            model.load_state_dict(best.state)


class Falling(optim.Adam):
    """Adam whose groups have falling shares of the rate; the first group has all of it."""

    def __init__(self, groups: list[list], lr: float):
        super().__init__([{"params": params} for params in groups], lr)
        self.lr = lr

    @property
    def lr(self) -> float:
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for i, group in enumerate(self.param_groups):
            group["lr"] = float(value) * FALL**i


def freeze_for(own: Own, classes: int, seed: int) -> nn.Module:
    """The pretrained network, frozen, with a new head."""
    model = own.pretrained()
    replace_head(model, classes, data.generator(seed, DRAWN, 1))
    freeze(model)
    return model


def put_dropout(model: nn.Module, rng: np.random.Generator) -> None:
    """Put dropout before the head."""
    owner, name = head(model)
    setattr(owner, name, Head(getattr(owner, name), DROP, rng).train())


def by_layer(model: nn.Module) -> list[list]:
    """The parameters of each layer that has some, the last layer first."""
    own = [list(module.parameters(recurse=False)) for module in model.modules()]
    return [params for params in reversed(own) if params]


def needs_pictures(plan: Plan) -> bool:
    """Do the features change from epoch to epoch?"""
    return plan.augmentation or plan.rates_per_layer


def cross_entropy(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, smoothing: float, device: str
) -> Tensor:
    """The mean over the batch of -sum q log p, q = (1 - smoothing) * one-hot + smoothing / classes."""
    log_p = F.log_softmax(model(Tensor(to_device(images, device))), axis=1)
    loss = F.nll_loss(log_p, to_device(labels, device))
    return (1 - smoothing) * loss - smoothing * log_p.mean() if smoothing else loss


def compared(tricks: Tricks, seeds: Sequence[int]) -> dict[str, list[float]]:
    """The accuracies of every plan."""
    return {name: tricks.accuracies(plan, seeds) for name, plan in PLANS.items()}


def table(found: dict[str, list[float]], tested: int) -> list[str]:
    """A line for each plan: mean, deviation, and the mean difference from none in the same seeds."""
    none = np.array(found["none"])
    runs = len(none)
    lines = [f"accuracy (%) on {tested} photographs, mean and deviation over {runs} seeds; less that of none"]
    for name, accuracies in found.items():
        values = np.array(accuracies)
        deviation, gain = values.std(ddof=min(1, runs - 1)), (values - none).mean()
        lines.append(f"{name:<18}{100 * values.mean():>7.1f} ± {100 * deviation:.1f}{100 * gain:>+9.1f}")
    return lines
