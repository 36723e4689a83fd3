"""Shortcut depth: the Hessian at zero of a linear residual net, and descent from near there, for 1, 2 and 3 layers.

The net is f(x) = (I + W_{R,n} ... W_{R,1}) ... (I + W_{1,n} ... W_{1,1}) x: R blocks, a shortcut over n layers in each,
with loss |f(x) - y|^2 / 2, averaged over data y = (I + E) x. With S = mean of x x^T, C = mean of y x^T - S, at W = 0:

    n = 1   gradient -C for each block; Hessian from S and C, condition number growing with R
    n = 2   gradient 0; the eigenvalues of the Hessian are + and - the singular values of C, R d times each
    n = 3   gradient 0, Hessian 0

Source: Li, Jiao, Han, Weissman, Demystifying ResNet, arXiv 1611.01186.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minidl as md
from minidl import data
from minidl import functional as F

from ..command import UsageError, each
from . import BLUE, GREEN, GREY, ORANGE, blank

DATA, START = 1, 2  # keep the draws of the two apart
LAYERS = (1, 2, 3)  # what a shortcut goes over
REACHED = 0.01  # training is over when the loss has come down to this share
RATES = tuple(2.0**e for e in range(-8, 3))  # the step sizes, of which each net has its best
LOST = 1e4  # a loss that has grown by this does not come back


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    width: int = 4  # d: the net maps d numbers to d numbers
    samples: int = 64  # vectors x in the data
    smallest: float = 0.2  # smallest singular value of E, in y = (I + E) x
    largest: float = 0.8  # largest singular value of E
    blocks: tuple[int, ...] = (1, 2, 4, 8, 16)  # R: the numbers of blocks for the Hessian
    trained: tuple[int, ...] = (2, 8, 16)  # R: the numbers of blocks for descent
    steps: int = 1500  # of gradient descent
    start: float = 0.01  # standard deviation of the weights at the start of descent
    starts: int = 5  # random starts
    problems: int = 25  # other data, of other seeds, for the spread of the condition number of n = 1
    seed: int = 0  # decides data and starts

    def __post_init__(self) -> None:
        if self.samples <= self.width:
            raise UsageError(f"--samples {self.samples} must be more than --width {self.width}")
        if not 0 < self.smallest <= self.largest:
            raise UsageError(f"--smallest {self.smallest:g} must be above 0 and at most --largest {self.largest:g}")
        if not self.start > 0:
            raise UsageError("--start must be above 0: at 0 itself the gradient is 0 for n = 2 and 3")


QUICK = Settings(width=2, samples=8, blocks=(1, 2, 3), trained=(2, 3), steps=150, start=0.05, starts=2, problems=3)


# --- the net


def problem(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """The data, (d, samples) each: x Gaussian, y = (I + E) x, E = U diag(singular values) V^T with random U, V."""
    rng, d = data.generator(settings.seed, DATA), settings.width
    (u, _), (v, _) = (np.linalg.qr(rng.standard_normal((d, d))) for _ in range(2))
    x = rng.standard_normal((d, settings.samples))
    return x, x + u * np.geomspace(settings.smallest, settings.largest, d) @ v.T @ x


def moments(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """S = mean of x x^T, and C = mean of y x^T - S."""
    s = x @ x.T / x.shape[1]
    return s, y @ x.T / x.shape[1] - s


def losses(weights: md.Tensor, x: np.ndarray, y: np.ndarray, *, tanh: bool = False) -> md.Tensor:
    """|f(x) - y|^2 / 2, averaged over the data, of nets with weights (..., R, n, d, d): an array of shape (...).

    tanh: put one between the layers of a block.
    """
    h: Any = x
    for r in range(weights.shape[-4]):
        z = h
        for k in range(weights.shape[-3]):
            z = weights[..., r, k, :, :] @ (F.tanh(z) if tanh and k else z)
        h = h + z
    return ((h - y) ** 2).sum(axis=(-2, -1)) / (2 * x.shape[1])


def at_zero(blocks: int, layers: int, x: np.ndarray, y: np.ndarray, *, tanh: bool = False) -> tuple[Any, Any]:
    """Gradient and Hessian at W = 0, as a vector and a matrix over all weights, by automatic differentiation."""
    zero = np.zeros((blocks, layers, len(x), len(x)))

    def loss(weights: md.Tensor) -> md.Tensor:
        return losses(weights, x, y, tanh=tanh)

    gradient = md.vjp(loss, zero)[1]()[0].numpy()
    return gradient.ravel(), md.hessian(loss, zero).numpy().reshape(zero.size, zero.size)


# --- the same by formula


def hessian_1(blocks: int, s: np.ndarray, c: np.ndarray) -> np.ndarray:
    """n = 1: d^2 loss / dW_r[i,j] dW_q[k,l] = S[j,l] (i = k), and for r > q also - C[i,l] (j = k)."""
    d = len(s)
    own = np.einsum("jl,ik->ijkl", s, np.eye(d)).reshape(d * d, d * d)
    later = -np.einsum("il,jk->ijkl", c, np.eye(d)).reshape(d * d, d * d)
    below = np.tril(np.ones((blocks, blocks)), -1)
    return np.kron(np.ones((blocks, blocks)), own) + np.kron(below, later) + np.kron(below.T, later.T)


def spectrum_2(blocks: int, c: np.ndarray) -> np.ndarray:
    """n = 2: the eigenvalues, ascending: + and - each singular value of C, R d times."""
    sigma = np.linalg.svd(c, compute_uv=False)
    return np.sort(np.repeat([sigma, -sigma], blocks * len(c)))


def condition(eigenvalues: np.ndarray) -> float | None:
    """Largest over smallest size of an eigenvalue; None if all are 0."""
    size = abs(eigenvalues)
    return float(size.max() / size.min()) if size.any() else None


def spread(settings: Settings) -> list[list[float]]:
    """n = 1, by formula: the quartiles of the condition number over other data, for each number of blocks."""
    found = []
    for k in range(1, settings.problems + 1):
        s, c = moments(*problem(replace(settings, seed=settings.seed + k)))
        found.append([condition(np.linalg.eigvalsh(hessian_1(r, s, c))) for r in settings.blocks])
    return np.quantile(found, (0.25, 0.5, 0.75), axis=0).T.tolist()


# --- descent


def descend(settings: Settings, blocks: int, layers: int, x: np.ndarray, y: np.ndarray, step: Callable) -> np.ndarray:
    """Gradient descent, for all rates and starts at once: the loss over that at W = 0, (steps + 1, rates, starts).

    The nets do not meet: the gradient of the sum of their losses is that of each. A lost one stays where it is.
    """
    rng = data.generator(settings.seed, START, blocks, layers)
    first = settings.start * rng.standard_normal((settings.starts, blocks, layers, *[settings.width] * 2))
    weights = np.repeat(first[None], len(RATES), axis=0)  # (rates, starts, R, n, d, d)
    rates = np.array(RATES).reshape(-1, 1, 1, 1, 1, 1)
    zero = ((x - y) ** 2).sum() / (2 * x.shape[1])
    curves = np.empty((settings.steps + 1, len(RATES), settings.starts))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(settings.steps + 1):
            w = md.Tensor(weights, requires_grad=True)
            loss = losses(w, x, y)
            curves[t] = np.fmin(loss.data / zero, LOST)  # a nan is lost too
            alive = (curves[t] < LOST)[..., None, None, None, None]
            weights = weights - rates * np.where(alive, md.grad(loss.sum(), w)[0].data, 0)
            step()
    return curves


def best(curves: np.ndarray) -> tuple[int, list[int | None]]:
    """The rate that reaches the aim first in most starts, and the steps it takes in each; None: never."""
    reached = np.where((curves <= REACHED).any(axis=0), (curves <= REACHED).argmax(axis=0), len(curves))
    # the median start decides; if it never gets there, the loss at the end does
    order = np.lexsort((np.median(curves[-1], axis=-1), np.median(reached, axis=-1)))
    steps = [int(n) if n < len(curves) else None for n in reached[order[0]]]
    return int(order[0]), steps


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Condition numbers, spectra, their distance from the formulas, and curves of descent."""
    x, y = problem(settings)
    s, c = moments(x, y)
    sigma = np.linalg.svd(c, compute_uv=False)
    numbers: dict[str, Any] = {"sigma": sigma.tolist(), "blocks": list(settings.blocks), "zero": {}, "descent": {}}
    kinds = [("1", 1, False), ("2", 2, False), ("2 with tanh", 2, True), ("3", 3, False)]
    with progress("Hessians at zero", len(kinds) * len(settings.blocks)) as step:
        for name, layers, tanh in kinds:
            numbers["zero"][name] = [
                _zero(blocks, layers, s, c, *at_zero(blocks, layers, x, y, tanh=tanh))
                for blocks in each(settings.blocks, step)
            ]
    numbers["spread"] = spread(settings)
    with progress("gradient descent", len(LAYERS) * len(settings.trained) * (settings.steps + 1)) as step:
        for layers in LAYERS:
            numbers["descent"][str(layers)] = []
            for blocks in settings.trained:
                curves = descend(settings, blocks, layers, x, y, step)
                i, reached = best(curves)
                numbers["descent"][str(layers)].append(
                    {"blocks": blocks, "rate": RATES[i], "steps": reached, "curves": curves[:, i].T.tolist()}
                )
    return numbers


def _zero(blocks: int, layers: int, s: np.ndarray, c: np.ndarray, gradient: Any, hessian: Any) -> dict[str, Any]:
    eigenvalues = np.linalg.eigvalsh(hessian)
    formula = {
        1: lambda: np.linalg.eigvalsh(hessian_1(blocks, s, c)),
        2: lambda: spectrum_2(blocks, c),
        3: lambda: np.zeros(len(hessian)),
    }[layers]()
    return {
        "gradient": float(np.linalg.norm(gradient)),
        "condition": condition(eigenvalues),
        "formula": condition(formula),
        "error": float(abs(eigenvalues - formula).max()),
        "eigenvalues": eigenvalues.tolist(),
    }


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    zero, blocks = numbers["zero"], numbers["blocks"]
    ratio = numbers["sigma"][0] / numbers["sigma"][-1]
    error = max(row["error"] for rows in zero.values() for row in rows)
    sentences = [
        f"Hessian at zero by automatic differentiation, for R = {_words(blocks)} blocks: its eigenvalues differ from "
        f"the formulas by {error:.0e} at most"
    ]
    for name in ("1", "2", "2 with tanh"):
        values = [row["condition"] for row in zero[name]]
        sentences.append(f"n = {name}: condition number {_words(f'{v:.4g}' for v in values)}; {_growth(values, ratio)}")
    medians = [f"{q[1]:.4g}" for q in numbers["spread"]]
    sentences[2:2] = [
        f"  largest eigenvalue {_words(format(row['eigenvalues'][-1], '.3g') for row in zero['1'])}",
        f"  median over other data: {_words(medians)}; {_growth([q[1] for q in numbers['spread']], ratio)}",
    ]
    two, three = zero["2"], zero["3"]
    signs = all(row["eigenvalues"][0] < 0 < row["eigenvalues"][-1] for row in two)
    flat = max(row["gradient"] for row in two)
    kind = "of both signs: a strict saddle" if signs else "not of both signs, against the theory"
    sentences.append(f"n = 2: gradient {flat:.1g}, eigenvalues {kind}")
    size = max(abs(e) for row in three for e in row["eigenvalues"])
    sentences.append(f"n = 3: gradient {max(r['gradient'] for r in three):.1g}, largest eigenvalue in size {size:.1g}")
    for layers, runs in numbers["descent"].items():
        parts = [f"R = {r['blocks']}: {_steps(r['steps'])} (step size {r['rate']:.3g})" for r in runs]
        sentences.append(f"descent to {REACHED:.0%} of the loss, n = {layers}: " + "; ".join(parts))
    return sentences


def _growth(values: list[float], ratio: float) -> str:
    if max(abs(v / ratio - 1) for v in values) < 1e-6:
        return f"sigma_max(C) / sigma_min(C) = {ratio:.4g}, whatever the depth"
    if values[-1] <= values[0]:
        return "it does not grow with depth"
    return "it grows with depth" + ("" if values == sorted(values) else ", but not at every step")


def _steps(steps: list[int | None]) -> str:
    there = sorted(n for n in steps if n is not None)
    if len(there) < len(steps):
        return f"{len(there)} of {len(steps)} starts arrive"
    return f"{there[len(there) // 2]} steps ({there[0]} to {there[-1]})"


def _words(values: Any) -> str:
    return ", ".join(map(str, values))


def draw(numbers: dict[str, Any]) -> Any:
    """Condition numbers against depth, the spectra, and descent."""
    figure = blank(14, 4.6)
    left, middle, right = figure.subplots(1, 3)
    _conditions(left, numbers)
    _spectra(middle, numbers)
    _descent(right, numbers)
    return figure


STYLES = {"1": (ORANGE, "s"), "2": (BLUE, "o"), "3": (GREEN, "^")}


def _conditions(axes: Any, numbers: dict[str, Any]) -> None:
    blocks = numbers["blocks"]
    for name in ("1", "2"):
        colour, marker = STYLES[name]
        rows = numbers["zero"][name]
        axes.plot(blocks, [row["formula"] for row in rows], color=colour, linewidth=1)
        axes.plot(blocks, [row["condition"] for row in rows], marker, color=colour, label=f"n = {name}")
    low, _, high = zip(*numbers["spread"])
    axes.fill_between(blocks, low, high, color=ORANGE, alpha=0.2, linewidth=0, label="n = 1, other data: quartiles")
    tanh = [row["condition"] for row in numbers["zero"]["2 with tanh"]]
    axes.plot(blocks, tanh, "x", color="black", label="n = 2, tanh between")
    axes.plot([], [], color=GREY, linewidth=1, label="lines: the formulas")
    axes.set(xscale="log", yscale="log", xlabel="R: number of blocks", ylabel="condition number")
    axes.set_xticks(blocks, blocks)
    axes.minorticks_off()
    axes.set_title("Hessian at zero; n = 3 has none: H = 0")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.29), fontsize=8)


def _spectra(axes: Any, numbers: dict[str, Any]) -> None:
    middle = len(numbers["blocks"]) // 2
    for name, (colour, marker) in STYLES.items():
        eigenvalues = numbers["zero"][name][middle]["eigenvalues"]
        share = (np.arange(len(eigenvalues)) + 0.5) / len(eigenvalues)
        axes.plot(share, eigenvalues, marker, color=colour, markersize=4, label=f"n = {name}")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="rank, as a share of all eigenvalues", ylabel="eigenvalue")
    axes.set_title(f"eigenvalues at zero, R = {numbers['blocks'][middle]}")
    axes.grid(alpha=0.3)
    axes.legend()


def _descent(axes: Any, numbers: dict[str, Any]) -> None:
    runs = {name: rows[len(rows) // 2] for name, rows in numbers["descent"].items()}
    for name, run in runs.items():
        colour, _ = STYLES[name]
        curves = np.array(run["curves"])
        steps = np.arange(curves.shape[1])
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.25, linewidth=0)
        axes.plot(steps, np.median(curves, axis=0), color=colour, label=f"n = {name}, step size {run['rate']:.3g}")
    axes.axhline(REACHED, color=GREY, linestyle="--", linewidth=0.8)
    axes.set(xscale="symlog", yscale="log", xlabel="step of gradient descent", ylabel="loss / loss at zero")
    axes.set(xlim=(0, None), ylim=(1e-6, None))
    axes.set_title(f"descent from near zero, R = {run['blocks']}: median, range")
    axes.grid(alpha=0.3)
    axes.legend()
