"""Depth: plain and residual nets of 8 to 56 layers on TRAINING data, their gradients, their Jacobians' singular values.

With B = convolution, batch norm, relu, convolution, batch norm, a plain block is x := relu(B(x)), a residual one
x := relu(B(x) + x). Both nets have 6n + 2 layers, equally many weights, and the same ones at the start. The gradient g
behind the last block comes before block l as J_l^T ... J_L^T g, J_i the Jacobian of block i. If each lets some
directions through better than others, their product has, beside its largest singular value, few left. A skip makes
J_i = D (I + Jacobian of B), D the mask of the last relu; and I treats all directions alike.

Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, sections 1, 3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F

from ..command import UsageError
from ..interpret.sanity import recalibrate
from ..models.resnet import resnet_small
from . import BLUE, GREY, ORANGE, blank, learn

WEIGHTS = 1  # keeps the draw of the weights apart from the order of the batches
KINDS = {"plain": False, "residual": True}
COLOURS = {"plain": ORANGE, "residual": BLUE}
TIMES = ("start", "end")
POINTS = 60  # of a curve that is kept


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    depths: tuple[int, ...] = (8, 20, 32, 44, 56)  # layers, each 6n + 2
    width: int = 4  # maps of the first stage; 2 and 4 times as many in the others
    steps: int = 200  # of training
    batch: int = 64  # images in a step
    lr: float = 0.05  # learning rate; up in a twentieth of the steps, then a cosine to 0
    probes: int = 2  # images at which the Jacobians are taken
    seeds: int = 2  # runs of each net
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        for depth in self.depths:
            if depth < 8 or (depth - 2) % 6:
                raise UsageError(f"--depths {depth}: these nets have 6n + 2 layers: 8, 14, 20, 26, 32 ...")
        if len(set(self.depths)) < 2:
            raise UsageError("--depths: at least two are needed to compare")
        if not self.lr > 0:
            raise UsageError("--lr must be above 0")


QUICK = Settings(depths=(8, 14), width=2, steps=6, batch=16, probes=1, seeds=1)


# --- data and training


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1797 handwritten digits, 8x8: images of mean 0 and variance 1 in all, float32, and labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = found.images[:, None].astype(np.float32)  # (N, 1, 8, 8)
    return (x - x.mean()) / x.std(), found.target


def train(net: nn.Module, x: np.ndarray, labels: np.ndarray, settings: Settings, seed: int, step: Callable) -> list:
    """SGD with momentum 0.9 and weight decay 1e-4, as in the paper; the loss of every step."""
    losses = []

    def loss(net: nn.Module, chosen: np.ndarray) -> md.Tensor:
        value = F.cross_entropy(net(md.Tensor(x[chosen])), labels[chosen])
        losses.append(value.item())
        return value

    batches, sgd = data.Batches(len(x), settings.batch, seed=seed), partial(optim.SGD, momentum=0.9, weight_decay=1e-4)
    learn(net, loss, batches, settings.steps, settings.lr, step, optimiser=sgd, warmup=settings.steps // 20)
    return losses


# --- what is looked at


def freeze(net: nn.Module, x: np.ndarray) -> None:
    """Put the net in eval mode, its batch norms with the statistics of the images x: each image is then on its own."""
    recalibrate(net.eval(), x)


def score(net: nn.Module, x: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Cross entropy and the share of errors."""
    with md.no_grad():
        logits = net(md.Tensor(x))
        return float(F.cross_entropy(logits, labels).data), float((logits.data.argmax(1) != labels).mean())


def gradient_norms(net: nn.Module, x: np.ndarray, labels: np.ndarray) -> list[float]:
    """The norm of the gradient of the loss over x for the weight of each convolution, from the first to the last."""
    net.train()
    weights = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d)]
    gradients = md.grad(F.cross_entropy(net(md.Tensor(x)), labels), weights)
    return [float(np.linalg.norm(g.data)) for g in gradients]


def jacobian(f: Callable, x: np.ndarray) -> np.ndarray:
    """The Jacobian at one image (1, C, H, W) of a function that treats each image of a batch alone: (outputs, inputs).

    One backward pass gives all rows: x is repeated, once for each output, and row i's cotangent is the unit vector i.
    """
    with md.no_grad():
        shape = f(md.Tensor(x)).shape[1:]
    rows = int(np.prod(shape))
    _, pullback = md.vjp(f, np.repeat(x, rows, axis=0))
    return pullback(np.eye(rows, dtype=x.dtype).reshape(rows, *shape))[0].numpy().reshape(rows, -1)


def blocks(net: nn.Module) -> list[nn.Module]:
    """The blocks of all stages, in order."""
    return [block for stage in (net.layer1, net.layer2, net.layer3) for block in stage]


def spectra(net: nn.Module, image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Singular values of each block's Jacobian and of that of all blocks together, at what the image becomes."""
    with md.no_grad():
        x = net[:3](md.Tensor(image)).numpy()
    each, whole = [], np.eye(x.size)
    for block in blocks(net):
        j = jacobian(block, x).astype(np.float64)
        each.append(np.linalg.svd(j, compute_uv=False))
        whole = j @ whole  # the chain rule
        with md.no_grad():
            x = block(md.Tensor(x)).numpy()
    return each, np.linalg.svd(whole, compute_uv=False)


def directions(sigma: np.ndarray) -> float:
    """(sum of sigma^2)^2 / sum of sigma^4: how many directions share what gets through; n if n are equal, 0 if none."""
    square = (sigma / max(sigma.max(), 1e-300)) ** 2
    return float(square.sum() ** 2 / max((square**2).sum(), 1e-300))


def look(net: nn.Module, x: np.ndarray, labels: np.ndarray, images: np.ndarray) -> dict[str, Any]:
    """Gradients and Jacobians of a net as it stands; it is left in eval mode with the statistics of x."""
    norms = gradient_norms(net, x, labels)
    freeze(net, x)
    found = [spectra(net, image[None]) for image in images]
    whole = np.array([sigma for _, sigma in found])
    return {
        "gradient": norms,
        "block": [float(np.median([s[i] for s, _ in found])) for i in range(len(found[0][0]))],
        "sigma": whole.mean(axis=0),
        "directions": float(np.mean([directions(sigma) for sigma in whole])),
    }


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """For plain and residual nets of all depths and seeds: losses, errors, gradients, singular values."""
    x, labels = digits()
    numbers: dict[str, Any] = {"depths": list(settings.depths), "steps": settings.steps}
    runs = 2 * len(settings.depths) * settings.seeds * settings.steps
    with progress("training", runs) as step:
        for kind, shortcut in KINDS.items():
            numbers[kind] = {}
            for depth in settings.depths:
                found = [
                    _run(settings, depth, shortcut, settings.seed + s, x, labels, step) for s in range(settings.seeds)
                ]
                numbers[kind][str(depth)] = _together(found)
    return numbers


def _run(
    settings: Settings, depth: int, shortcut: bool, seed: int, x: np.ndarray, labels: np.ndarray, step: Callable
) -> dict[str, Any]:
    """One net from its start to its end."""
    known, unknown = data.split(len(x), (0.8, 0.2), seed=seed)
    rng = data.generator(seed, WEIGHTS)
    net = resnet_small(depth, settings.width, in_channels=1, shortcut=shortcut, rng=rng)
    images = x[unknown[: settings.probes]]
    start = look(net, x[known], labels[known], images)
    curve = train(net.train(), x[known], labels[known], settings, seed, step)
    end = look(net, x[known], labels[known], images)
    loss, error = score(net, x[known], labels[known])
    _, test = score(net, x[unknown], labels[unknown])
    parts = np.array_split(curve, min(POINTS, len(curve)))
    return {
        "loss": loss, "error": error, "test_error": test, "curve": [float(np.mean(p)) for p in parts],
        "start": start, "end": end,
    }  # fmt: skip


def _together(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of all seeds: scores one by one, curves and spectra as means."""
    all_of = {name: [run[name] for run in found] for name in ("loss", "error", "test_error")}
    all_of["curve"] = _rounded(np.mean([run["curve"] for run in found], axis=0))
    for time in TIMES:
        parts = [run[time] for run in found]
        all_of[time] = {
            name: _rounded(np.mean([part[name] for part in parts], axis=0)) for name in ("gradient", "block", "sigma")
        }
        all_of[time]["directions"] = [part["directions"] for part in parts]
    return all_of


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{v:.4g}") for v in values]


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    depths = [str(d) for d in numbers["depths"]]
    first, last = depths[0], depths[-1]
    sentences = []
    for kind in KINDS:
        rows = [f"{d}: {_range(numbers[kind][d]['loss'])}" for d in depths]
        sentences.append(f"training loss of {kind} nets, mean (range) over seeds, by layers: " + "; ".join(rows))
    plain, residual = numbers["plain"], numbers["residual"]
    sentences.append(_verdict("plain", plain[first]["loss"], plain[last]["loss"], first, last, worse=True))
    sentences.append(_verdict("residual", residual[first]["loss"], residual[last]["loss"], first, last, worse=False))
    for what, name in (("error", "training"), ("test_error", "test")):
        values = [f"{kind} {np.mean(numbers[kind][d][what]):.1%}" for d in (first, last) for kind in KINDS]
        sentences.append(
            f"{name} errors: {first} layers: {values[0]}, {values[1]}; {last} layers: {values[2]}, {values[3]}"
        )
    for kind in KINDS:
        g = {time: numbers[kind][last][time]["gradient"] for time in TIMES}
        sentences.append(
            f"{kind}, {last} layers: the first layer's gradient over the last's is {_ratio(g['start'])} at the start, "
            f"{_ratio(g['end'])} at the end"
        )
    for kind in KINDS:
        counts = [f"{d}: {np.mean(numbers[kind][d]['start']['directions']):.1f}" for d in depths]
        ends = f"{np.mean(numbers[kind][last]['end']['directions']):.1f}"
        sentences.append(
            f"{kind}: directions that get through all blocks at the start, by layers: {'; '.join(counts)} "
            f"(end of training, {last} layers: {ends})"
        )
    return sentences


def _range(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ({min(values):.2g} to {max(values):.2g})"


def _ratio(gradient: list[float]) -> str:
    return f"{gradient[0] / gradient[-1]:.3g}" if gradient[-1] else "not a number (the last's is 0)"


def _verdict(kind: str, shallow: list[float], deep: list[float], first: str, last: str, worse: bool) -> str:
    """Whether the deep net is worse in every run, as is claimed of plain nets, and denied of residual ones."""
    is_worse = min(deep) > max(shallow)
    ratio = np.mean(deep) / max(np.mean(shallow), 1e-12)
    text = f"the {kind} net of {last} layers has {ratio:.3g} times the training loss of that of {first} layers"
    if worse:
        return f"{text}: " + ("worse in every run" if is_worse else "NOT worse in every run, against the claim")
    if is_worse:
        return f"{text}: worse in every run, AGAINST the claim that a skip prevents it"
    return f"{text}: not worse in every run"


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """Curves, losses against depth, gradients by layer, singular values of blocks and of the net."""
    figure = blank(14, 8)
    grid = figure.subplots(2, 3)
    _curves(grid[0, 0], numbers)
    _losses(grid[0, 1], numbers)
    _directions(grid[0, 2], numbers)
    _gradients(grid[1, 0], numbers)
    _blocks(grid[1, 1], numbers)
    _spectrum(grid[1, 2], numbers)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    return figure


def _ends(numbers: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """(kind, time, what was seen) of the deepest nets."""
    deepest = str(numbers["depths"][-1])
    return [(kind, time, numbers[kind][deepest][time]) for kind in KINDS for time in TIMES]


def _style(kind: str, time: str) -> dict[str, Any]:
    return {"color": COLOURS[kind], "linestyle": "--" if time == "start" else "-", "label": f"{kind}, {time}"}


def _curves(axes: Any, numbers: dict[str, Any]) -> None:
    for kind in KINDS:
        for depth, line in zip((numbers["depths"][0], numbers["depths"][-1]), ("--", "-")):
            curve = numbers[kind][str(depth)]["curve"]
            steps = (np.arange(len(curve)) + 0.5) * numbers["steps"] / len(curve)
            axes.plot(steps, curve, line, color=COLOURS[kind], label=f"{kind}, {depth} layers")
    axes.axhline(np.log(10), color=GREY, linewidth=0.8)
    axes.set(yscale="log", xlabel="step", ylabel="training loss", title="training (grey: guessing)")


def _losses(axes: Any, numbers: dict[str, Any]) -> None:
    for kind, marker in zip(KINDS, "so"):
        values = np.array([numbers[kind][str(d)]["loss"] for d in numbers["depths"]])  # (depths, seeds)
        axes.plot(numbers["depths"], values.mean(axis=1), marker + "-", color=COLOURS[kind], label=kind)
        axes.fill_between(numbers["depths"], values.min(1), values.max(1), color=COLOURS[kind], alpha=0.25, linewidth=0)
    axes.set(
        yscale="log", xlabel="layers", ylabel="loss on all training images", title="after training; range of seeds"
    )
    axes.set_xticks(numbers["depths"])


def _directions(axes: Any, numbers: dict[str, Any]) -> None:
    for kind, marker in zip(KINDS, "so"):
        for time in TIMES:
            values = [np.mean(numbers[kind][str(d)][time]["directions"]) for d in numbers["depths"]]
            axes.plot(numbers["depths"], values, marker=marker, **_style(kind, time))
    axes.set(xlabel="layers", ylabel=r"$(\Sigma\sigma^2)^2 / \Sigma\sigma^4$", ylim=(0, None))
    axes.set_title("directions that get through all blocks")
    axes.set_xticks(numbers["depths"])


def _gradients(axes: Any, numbers: dict[str, Any]) -> None:
    for kind, time, seen in _ends(numbers):
        axes.plot(np.arange(len(seen["gradient"])) + 1, seen["gradient"], **_style(kind, time))
    axes.set(yscale="log", xlabel="layer", ylabel="norm of the loss's gradient for its weight")
    axes.set_title(f"gradients, {numbers['depths'][-1]} layers")


def _blocks(axes: Any, numbers: dict[str, Any]) -> None:
    for kind, time, seen in _ends(numbers):
        axes.plot(np.arange(len(seen["block"])) + 1, seen["block"], **_style(kind, time))
    axes.axhline(1, color=GREY, linewidth=0.8)
    axes.set(xlabel="block", ylabel="median singular value", ylim=(0, None))
    axes.set_title(f"Jacobian of each block, {numbers['depths'][-1]} layers")


def _spectrum(axes: Any, numbers: dict[str, Any]) -> None:
    for kind, time, seen in _ends(numbers):
        sigma = np.array(seen["sigma"])
        axes.plot(np.arange(len(sigma)) + 1, sigma / max(sigma[0], 1e-300), **_style(kind, time))
    axes.set(yscale="log", ylim=(1e-6, 2), xlabel="rank", ylabel="singular value / largest")
    axes.set_title(f"Jacobian of all blocks together, {numbers['depths'][-1]} layers")
