"""Dense blocks: parameters against plain nets at equal accuracy, shallow and deep, and who uses which earlier maps.

    plain  x_l = H_l(x_(l-1))          dense  x_l = H_l([x_0, x_1, .., x_(l-1)])

A plain layer of w maps has 9 w^2 weights; a dense one that adds k maps to c known ones has 9 c k. Both nets here: a 3x3
convolution, L layers at 8x8, 2x2 means, L layers at 4x4, mean, logits. The dense one has batch norm and relu before
each convolution, starts with 2 k maps and halves them between its blocks by a 1x1 convolution; the plain one has w
maps, then 2 w, batch norm and relu behind each.
Source: Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", CVPR 2017, eq. 2, figure 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F

from ..command import UsageError
from ..models.densenet import DenseNet
from ..models.initial import redraw
from . import BLUE, ORANGE, blank, learn
from .depth import digits, score

WEIGHTS = 1  # keeps the draw of the weights apart from the order of the batches
LEVELS = (0.05, 0.03, 0.02, 0.015)  # test errors at which parameters are compared
CLEAR = 1.5  # a factor that is more than the chance of a few runs
FELT = 0.01  # a rise of the loss that is called one
STYLES = {"dense": (BLUE, "o"), "plain": (ORANGE, "s")}


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    growths: tuple[int, ...] = (2, 3, 4, 6, 8)  # k of the dense nets
    widths: tuple[int, ...] = (3, 4, 6, 8, 12, 16)  # w of the plain nets
    layers: tuple[int, ...] = (4, 8)  # L: layers in each half of a net; connections are looked at for the first
    train: int = 1000  # of the 1797 images; the others are for the test
    steps: int = 200  # of training
    batch: int = 64  # images in a step
    lr: float = 0.05  # learning rate, a cosine to 0
    seeds: int = 2  # runs of each net, each with another split of the images
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if self.train > 1700:
            raise UsageError(f"--train {self.train}: of 1797 images at most 1700, the others are for the test")
        if not self.lr > 0:
            raise UsageError("--lr must be above 0")


QUICK = Settings(growths=(2, 3), widths=(2, 3), layers=(2, 1), train=200, steps=8, batch=16, seeds=1)


# --- the nets


def dense(growth: int, layers: int, rng: np.random.Generator) -> DenseNet:
    """Two dense blocks."""
    return DenseNet(growth, (layers, layers), 2 * growth, 10, 1, bottleneck=None, small=True, rng=rng)


def plain(width: int, layers: int, rng: np.random.Generator) -> nn.Sequential:
    """As many 3x3 convolutions, one after another."""
    parts, maps = [], 1
    for i in range(2 * layers + 1):
        outputs = width if i <= layers else 2 * width
        parts += [nn.Conv2d(maps, outputs, 3, padding=1, bias=False, rng=rng), nn.BatchNorm2d(outputs), nn.ReLU()]
        parts += [nn.AvgPool2d(2)] if i == layers else []
        maps = outputs
    net = nn.Sequential(*parts, nn.GlobalAvgPool(), nn.Linear(maps, 10, rng=rng))
    redraw(net, nn.Conv2d, nn.init.kaiming_normal, rng)
    return net


MAKE = {"dense": dense, "plain": plain}


def train(net: nn.Module, x: np.ndarray, labels: np.ndarray, settings: Settings, seed: int, step: Callable) -> None:
    """SGD with Nesterov's momentum 0.9 and weight decay 1e-4, as in the paper."""

    def loss(net: nn.Module, chosen: np.ndarray) -> md.Tensor:
        return F.cross_entropy(net(md.Tensor(x[chosen])), labels[chosen])

    sgd = partial(optim.SGD, momentum=0.9, nesterov=True, weight_decay=1e-4)
    learn(net, loss, data.Batches(len(x), settings.batch, seed=seed), settings.steps, settings.lr, step, optimiser=sgd)


# --- who uses what


def slices(net: DenseNet, growth: int) -> Iterator[tuple[int, int, int, md.Parameter, slice]]:
    """(block, source, user, weight, input maps) for each connection of the two blocks.

    Source 0 is the block's input, source s its layer s. User l is layer l; after the last layer comes the 1x1
    convolution between the blocks, or the classifier.
    """
    features = net.features
    followers = (features.transition1.conv.weight, net.classifier.weight)
    for block, (module, follower) in enumerate(zip((features.denseblock1, features.denseblock2), followers)):
        for user, weight in enumerate([*(layer.conv1.weight for layer in module.children()), follower], start=1):
            first = weight.shape[1] - growth * (user - 1)  # maps of the block's input
            ends = [0, *range(first, weight.shape[1] + 1, growth)]
            for source in range(user):
                yield block, source, user, weight, slice(ends[source], ends[source + 1])


def weight_shares(net: DenseNet, growth: int, layers: int) -> np.ndarray:
    """The mean size of a connection's weights over that of all its user's weights, (2, sources, users); else nan.

    The numerator is figure 5 of the paper; 1 everywhere is an even use.
    """
    found = np.full((2, layers + 1, layers + 1), np.nan)
    for block, source, user, weight, maps in slices(net, growth):
        found[block, source, user - 1] = abs(weight.data[:, maps]).mean() / abs(weight.data).mean()
    return found


def knock_outs(net: DenseNet, growth: int, layers: int, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By how much the loss rises when a connection's weights are set to 0, (2, sources, users); nan for none."""
    found = np.full((2, layers + 1, layers + 1), np.nan)
    usual, _ = score(net, x, labels)
    for block, source, user, weight, maps in slices(net, growth):
        whole = weight.data
        weight.data = whole.copy()
        weight.data[:, maps] = 0
        found[block, source, user - 1] = score(net, x, labels)[0] - usual
        weight.data = whole
    return found


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Test errors of all nets, and the use of the connections in the widest dense one of the first depth."""
    sizes = {"dense": sorted(settings.growths), "plain": sorted(settings.widths)}
    numbers: dict[str, Any] = {"layers": list(settings.layers), "nets": {}}
    total = (len(settings.growths) + len(settings.widths)) * len(settings.layers) * settings.seeds * settings.steps
    with progress("training", total) as step:
        for layers in settings.layers:
            nets = numbers["nets"][str(layers)] = {}
            for kind, widths in sizes.items():
                nets[kind] = []
                for width in widths:
                    look = (layers, kind, width) == (settings.layers[0], "dense", sizes["dense"][-1])
                    seeds = range(settings.seed, settings.seed + settings.seeds)
                    runs = [_run(kind, width, layers, look, settings, seed, step) for seed in seeds]
                    net = {name: runs[0][name] for name in ("width", "parameters", "macs")}
                    nets[kind].append({**net, "error": [run["error"] for run in runs]})
                    for name in ("start", "end", "rise") if look else ():
                        numbers[name] = _plain(np.mean([run[name] for run in runs], axis=0))
    return numbers


def _run(
    kind: str, width: int, layers: int, look: bool, settings: Settings, seed: int, step: Callable
) -> dict[str, Any]:
    """One net trained and tested; the use of its connections, if they are to be looked at."""
    x, labels = digits()
    order = data.generator(seed, WEIGHTS, 0).permutation(len(x))
    known, unknown = order[: settings.train], order[settings.train :]
    net = MAKE[kind](width, layers, data.generator(seed, WEIGHTS, 1))
    cost = md.summary(net, (1, 1, 8, 8))
    found: dict[str, Any] = {"width": width, "parameters": cost.parameters, "macs": cost.macs}
    if look:
        found["start"] = weight_shares(net, width, layers)
    train(net.train(), x[known], labels[known], settings, seed, step)
    _, found["error"] = score(net.eval(), x[unknown], labels[unknown])
    if look:
        found["end"] = weight_shares(net, width, layers)
        found["rise"] = knock_outs(net, width, layers, x[unknown], labels[unknown])
    return found


def _plain(maps: np.ndarray) -> list:
    return [[[None if np.isnan(v) else round(float(v), 5) for v in row] for row in block] for block in maps]


def needed(costs: list[float], errors: list[float], level: float) -> float | None:
    """The cost at which a net errs `level` of the time: on lines, in logarithms, between the nets, costs ascending,
    that err less than all cheaper ones. None if no net errs so little, or the cheapest does."""
    front = [i for i, error in enumerate(errors) if error < min(errors[:i], default=np.inf)]
    cost, best = np.log(np.array(costs)[front]), np.log(np.maximum(np.array(errors)[front], 1e-6))
    if not best[-1] <= np.log(level) < best[0]:
        return None
    return float(np.exp(np.interp(-np.log(level), -best, cost)))


def factors(nets: dict[str, list], cost: str, level: float) -> tuple[float, float, float, list[float]] | None:
    """What dense and plain nets need for an error, plain over dense, and that in each run; None: out of range."""

    def both(errors: Callable) -> list[float | None]:
        rows = [sorted(nets[kind], key=lambda net: net[cost]) for kind in STYLES]
        return [needed([net[cost] for net in row], [errors(net["error"]) for net in row], level) for row in rows]

    mean, each = both(np.mean), [both(lambda e, i=i: e[i]) for i in range(len(nets["dense"][0]["error"]))]
    if None in mean:
        return None
    return *mean, mean[1] / mean[0], [theirs / mine for mine, theirs in each if mine and theirs]


def groups(numbers: dict[str, Any]) -> dict[str, dict[str, list]]:
    """The nets of each depth, and those of all: then each kind may take the depth that suits it."""
    nets = numbers["nets"]
    found = {f"{layers} layers in each half": nets[str(layers)] for layers in numbers["layers"]}
    together = {kind: [net for of_depth in nets.values() for net in of_depth[kind]] for kind in STYLES}
    return {**found, "each at the depth that suits it": together}


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    sentences = []
    for name, nets in groups(numbers).items():
        parts, found = [], []
        for level in LEVELS:
            parameters, macs = factors(nets, "parameters", level), factors(nets, "macs", level)
            if parameters is None or macs is None:
                continue
            mine, theirs, factor, runs = parameters
            found.append(factor)
            alone = f", runs alone {min(runs):.2f} to {max(runs):.2f}" if runs else ""
            parts.append(
                f"at {level:.1%} errors {factor:.2f} ({theirs:,.0f} / {mine:,.0f}{alone}; multiply-adds {macs[2]:.2f})"
            )
        sentences.append(
            f"{name}: plain over dense parameters {'; '.join(parts) or 'cannot be told: no error in reach of both'}"
        )
        if found:
            sentences.append(f"{name}: {_verdict(min(found), max(found))}")
    for kind in STYLES:
        best = min(groups(numbers).popitem()[1][kind], key=lambda net: np.mean(net["error"]))
        sentences.append(f"best {kind} net: {np.mean(best['error']):.2%} errors with {best['parameters']:,} parameters")
    start, end, rise = (_flat(numbers[name]) for name in ("start", "end", "rise"))
    sentences.append(
        f"mean size of a connection's weights over its user's mean: {start.min():.2f} to {start.max():.2f} before "
        f"training, {end.min():.2f} to {end.max():.2f} after"
    )
    sentences.append(
        f"taking a connection away raises the test loss by {rise.min():.3f} to {rise.max():.3f}, median "
        f"{np.median(rise):.3f}; by more than {FELT}: {int((rise > FELT).sum())} of {len(rise)} connections, "
        f"{_early(numbers['rise'])} of those that skip a layer or more"
    )
    return sentences


def _verdict(least: float, most: float) -> str:
    if least >= CLEAR:
        return f"dense needs fewer parameters, by a factor of {least:.2f} to {most:.2f}"
    return f"that dense needs fewer parameters is NOT borne out: the factor goes down to {least:.2f}"


def _flat(maps: list) -> np.ndarray:
    values = np.array(maps, dtype=float)
    return values[~np.isnan(values)]


def _early(rise: list) -> str:
    """How many of the connections from further back than the layer before raise the loss."""
    skips = [v for block in rise for s, row in enumerate(block) for u, v in enumerate(row) if s < u]
    return f"{sum(v > FELT for v in skips)} of {len(skips)}"


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """Errors against parameters at each depth; below, the use of the connections in both blocks."""
    figure = blank(14, 8.4)
    above, below = figure.subfigures(2, 1)
    panels = above.subplots(1, len(numbers["layers"]), sharex=True, sharey=True, squeeze=False)[0]
    for axes, layers in zip(panels, numbers["layers"]):
        _errors(axes, numbers["nets"][str(layers)], f"{layers} layers in each half; mean of the runs, and each run")
    layers, maps = numbers["layers"][0], below.subplots(1, 4)
    for block, name in enumerate(("1st block", "2nd block")):
        _map(maps[block], numbers["end"][block], layers, f"weights, {name}", "{:.2f}", 1.5)
        _map(maps[2 + block], numbers["rise"][block], layers, f"loss without it, {name}", "{:+.2f}", None)
    return figure


def _errors(axes: Any, nets: dict[str, list], title: str) -> None:
    for kind, (colour, marker) in STYLES.items():
        costs = [net["parameters"] for net in nets[kind]]
        errors = 100 * np.array([net["error"] for net in nets[kind]])  # (nets, seeds)
        axes.plot(costs, errors.mean(axis=1), marker + "-", color=colour, label=kind)
        axes.plot(costs, errors, marker, color=colour, alpha=0.3, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="test errors (%)", title=title)
    axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()


def _map(axes: Any, values: list, layers: int, title: str, text: str, top: float | None) -> None:
    table = np.array(values, dtype=float)
    top = top or max(float(np.nanmax(table)), 1e-9)
    axes.imshow(table, cmap="cividis", vmin=0.0, vmax=top)
    for (s, u), v in np.ndenumerate(table):
        if not np.isnan(v):
            axes.text(u, s, text.format(v), ha="center", va="center", color="white" if v < 0.55 * top else "black")
    axes.set_xticks(range(layers + 1), [*range(1, layers + 1), "after"])
    axes.set_yticks(range(layers + 1), ["input", *range(1, layers + 1)])
    axes.set(xlabel="used by layer", ylabel="maps of layer", title=title)
