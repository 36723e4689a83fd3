"""What is done to a frozen network's training to make more of it, one thing at a time.

The head, dropout before it if asked for, learns on top of frozen layers; each trick changes that in one respect:

    augmentation      pictures are moved by up to an eighth of their side, and mirrored, anew in each epoch
    dropout           half of the features are dropped while training (Srivastava et al. 2014)
    rates per layer   all layers are trained, each with 0.7 times the rate of the one after it (Howard and Ruder 2018)
    warm-up           the rate rises for a tenth of the steps (Goyal et al. 2017)
    label smoothing   a tenth of the target is spread over all classes (Szegedy et al. 2016, section 7)
    early stopping    of all epochs the one that is best on the validation part is kept

All else is the same in all: the pictures of a seed, the number of steps, Adam, a rate that falls as half a cosine. The
rate is chosen for each trick apart, by the mean accuracy on the validation parts; what is reported is the accuracy on
the test part with that rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device
from minidl.train import fit

from ..classify.data import Part, PictureBatches
from ..classify.evaluate import tested
from ..command import UsageError
from .compare import Learner, draw
from .methods import FeatureBatches, features, freeze, head, layer, replace_head, thaw
from .photographs import HEAD_RATES, Own, best_by_rank, judged

FALL, WARM, DROP, SMOOTH = 0.7, 0.1, 0.5, 0.1
RATES = (3e-3, 1e-2, 3e-2)  # that are tried on digits
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


@dataclass(frozen=True)
class Subject:
    """What is learnt: pictures, a network with a new head, and how long."""

    parts: Callable[[int], Sequence[Part]]  # of a seed: to train on, to choose by, to test on
    network: Callable[[np.random.Generator], nn.Module]  # frozen but for its new head, which the generator draws
    rates: Sequence[float]  # to choose from
    epochs: float  # of training, rounded to steps
    batch: int
    mirror: bool  # may pictures be mirrored?


def of_photographs(own: Own, parts: Sequence[Part], classes: int) -> Subject:
    """A user's photographs: the parts are the same for all seeds."""

    def network(rng: np.random.Generator) -> nn.Module:
        model = own.pretrained()
        replace_head(model, classes, rng)
        freeze(model)
        return model

    return Subject(lambda seed: parts, network, [own.lr] if own.lr else HEAD_RATES, own.epochs, own.batch, True)


def require_enough(pool: Part, labels: Sequence[int]) -> None:
    """Raise UsageError for more labels per class than `of_digits` can draw."""
    least, most = int(np.bincount(pool.labels).min()), max(labels)
    if 2 * most >= least:
        raise UsageError(
            f"--labels {most}: as many again are drawn to choose by, 2 x {most} = {2 * most} of each class, and a "
            f"class has {least} pictures; ask for {(least - 1) // 2} at most"
        )


def of_digits(learner: Learner, test: Part, count: int, lr: float | None) -> Subject:
    """Handwritten digits: each seed draws `count` of each class to train on and as many others to choose by."""
    pool, settings = learner.pool, learner.settings

    @cache
    def parts(seed: int) -> tuple[Part, Part, Part]:
        train, both = (draw(pool.labels, n, seed)[0] for n in (count, 2 * count))
        return pool[train], pool[np.setdiff1d(both, train)], test

    batch = min(settings.few, count * learner.classes)
    epochs = settings.tune / (count * learner.classes // batch)
    return Subject(parts, learner.pretrained, [lr] if lr else RATES, epochs, batch, False)


class Tricks:
    """Learns a subject with one plan after the other. Frozen features are computed once."""

    def __init__(self, subject: Subject, device: str, show: Callable[[], object]):
        self.subject, self.device, self.show = subject, device, show
        self.frozen = self.network(0)
        self.known: dict[int, tuple[Part, Part]] = {}  # a part's features, by what identifies it

    def network(self, seed: int) -> nn.Module:
        return self.subject.network(data.generator(seed, DRAWN, 1)).to(self.device)

    def compared(self, plan: Plan, seeds: Sequence[int]) -> dict[str, Any]:
        """The accuracies on the test part at the rate that is best on the validation parts, and all that was tried.

        A seed is that of the head's first weights, of the order and of all that is drawn.
        """
        tried, run = [], self.on_pictures if needs_pictures(plan) else self.on_features
        for rate in self.subject.rates:
            validation, test = zip(*(run(plan, seed, rate) for seed in seeds))
            tried.append({"rate": rate, "validation": float(np.mean(validation)), "test": test})
        best = max(tried, key=lambda one: one["validation"])
        return {"rate": best["rate"], "accuracies": list(best["test"]), "tried": tried}

    def features(self, part: Part) -> Part:
        """What the frozen layers make of its pictures."""
        if id(part) not in self.known:
            x = features(self.frozen, part.images, self.subject.batch, device=self.device)
            self.known[id(part)] = part, Part(x, part.labels)
        return self.known[id(part)][1]

    def on_features(self, plan: Plan, seed: int, rate: float) -> tuple[float, float]:
        """The frozen layers give the same features in each epoch: the head alone is run."""
        top = Head(layer(self.network(seed)), DROP * plan.dropout, data.generator(seed, DRAWN)).to(self.device)
        train, *others = map(self.features, self.subject.parts(seed))
        batches = FeatureBatches(train.images, train.labels, self.subject.batch, seed=seed)
        return self.learn(top, plan, batches, others, [list(top.parameters())], rate)

    def on_pictures(self, plan: Plan, seed: int, rate: float) -> tuple[float, float]:
        """Features change from epoch to epoch: the whole network is run."""
        train, *others = self.subject.parts(seed)
        model = self.network(seed)
        if plan.dropout:
            put_dropout(model, data.generator(seed, DRAWN))
        if plan.rates_per_layer:
            thaw(model)
        shift, mirror = train.images.shape[-1] // 8 * plan.augmentation, self.subject.mirror and plan.augmentation
        batches = PictureBatches(train, self.subject.batch, shift=shift, mirror=mirror, seed=seed)
        groups = by_layer(model) if plan.rates_per_layer else [list(layer(model).parameters())]
        return self.learn(model, plan, batches, others, groups, rate)

    def learn(
        self, model: nn.Module, plan: Plan, batches: Any, others: Sequence[Part], groups: list[list], rate: float
    ) -> tuple[float, float]:
        """Train the groups of parameters, the last first: each has FALL times the rate of the one after it. The
        accuracies on the validation and on the test part."""
        epoch = len(batches.order)
        steps = max(1, round(self.subject.epochs * epoch))
        score = partial(tested, model, batch=self.subject.batch, device=self.device)
        best = best_by_rank()
        fit(
            model,
            Falling(groups, rate),
            lambda model, batch: cross_entropy(model, *batch, SMOOTH * plan.label_smoothing, self.device),
            batches,
            steps,
            schedule=optim.warmup(optim.cosine(rate, steps), int(WARM * plan.warm_up * steps)),
            evaluate=judged(lambda: score(others[0])) if plan.early_stopping else None,
            evaluate_every=epoch,
            callbacks=[best] if plan.early_stopping else (),
            record=True,
            progress=False,
            ranks="alone",
        )
        if plan.early_stopping:
            model.load_state_dict(best.weights)
        self.show()
        validation, test = (score(part).accuracy for part in others)
        return validation, test


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


def compared(tricks: Tricks, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """What `Tricks.compared` finds of every plan."""
    return {name: tricks.compared(plan, seeds) for name, plan in PLANS.items()}


def gains(found: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """The accuracy of every plan less that of none in the same seeds."""
    none = np.array(found["none"]["accuracies"])
    return {name: np.array(one["accuracies"]) - none for name, one in found.items()}


def table(found: dict[str, dict[str, Any]], tested: int) -> list[str]:
    """A line for each plan: mean and deviation of accuracy, of the difference from none in the same seeds, and in how
    many seeds it is above 0; the rate that was chosen."""
    runs = len(found["none"]["accuracies"])
    lines = [
        f"accuracy (%) on {tested} test pictures, mean ± deviation of {runs} seeds; less that of none in the same "
        "seeds, and in how many it is more; the learning rate, chosen on validation parts"
    ]
    for name, gain in gains(found).items():
        one = found[name]
        rates = [each["rate"] for each in one["tried"]]
        edge = "*" if len(rates) > 1 and one["rate"] in (rates[0], rates[-1]) else ""
        less = "" if name == "none" else f"{spread(gain, '+')}{(gain > 0).sum():>4} of {runs}"
        lines.append(f"{name:<18}{spread(np.array(one['accuracies']))}{less:>23}   {one['rate']:g}{edge}")
    return [*lines, "*: the least or the largest that was tried"]


def spread(values: np.ndarray, sign: str = "") -> str:
    """Mean and standard deviation in per cent."""
    return f"{100 * values.mean():>{sign}7.1f} ± {100 * values.std(ddof=min(1, len(values) - 1)):.1f}"
