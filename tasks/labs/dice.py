"""The traps of soft Dice as numbers: empty masks, pixels missed with confidence, two denominators, three averages.

    S = sum of p g    Q = sum of p^2 + sum of g^2    D = 2 S / Q    p = sigmoid(u)    loss = -D
    dL/dp = 2 (D p - g) / Q          dL/du = dL/dp * p (1 - p)          linear: Q = sum of p + sum of g

Nothing is trained; all is float64. The best answers to uncertain pixels come from Dinkelbach's iteration: for a value
D take the p that maximises 2 S - D Q, pixel by pixel, then the D of that p, until D stays.
Sources: Milletari et al., "V-Net", 3DV 2016, section 3; Dinkelbach, "On nonlinear fractional programming", 1967.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data
from minidl import functional as F

from ..command import each
from . import BLUE, GREEN, GREY, ORANGE, PURPLE, blank

GOLDEN_P, GOLDEN_G = [[0.8, 0.4], [0.2, 0.1]], [[1.0, 1.0], [0.0, 0.0]]
PIXELS, LARGE, SMALL = 1000, 100, 4  # of an image, of the object in the first and in the second
P_LARGE, P_SMALL, P_ELSE = 0.9, 0.5, 0.1  # probabilities in the objects, and outside of them
EMPTY, PREDICTION = 0, 1  # keep the draws apart
REDUCTIONS = ("sum", "mean", "pooled")
DENOMINATORS = ("squared", "linear")


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    side: int = 16  # of the image whose mask is empty, and of the one beside it
    eps: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)  # added above and below the fraction line
    deepest: int = 12  # the missed pixel's logit goes down to minus this
    levels: int = 100  # uncertain pixels are object in 0, 1, ... of so many cases
    seed: int = 0  # decides the logits beside the empty mask


QUICK = Settings(side=4, eps=(0.0, 1.0), deepest=4, levels=20)


def gradient(loss: Callable, x: Any) -> tuple[float, np.ndarray]:
    """The value of ``loss(Tensor)`` at x, and its gradient there, float64."""
    leaf = md.Tensor(np.asarray(x, np.float64), requires_grad=True)
    value = loss(leaf)
    return value.item(), md.grad(value, leaf)[0].numpy()


def minus_dice(p: md.Tensor, g: Any, **options: Any) -> md.Tensor:
    """The loss of images p and g of shape (N, pixels), one class."""
    return F.soft_dice_loss(p[:, None], np.asarray(g, np.float64)[:, None], **options)


def logit(p: Any) -> np.ndarray:
    """u with sigmoid(u) = p."""
    return np.log(p) - np.log1p(-np.asarray(p))


# --- one image of 2x2


def golden() -> dict[str, Any]:
    """Four pixels, two of them object: every number that goes by the name of Dice, and the gradients."""
    p, g = np.array(GOLDEN_P).reshape(1, 4), np.array(GOLDEN_G).reshape(1, 4)
    loss, by_p = gradient(lambda t: minus_dice(t, g), p)
    _, by_u = gradient(lambda u: minus_dice(F.sigmoid(u), g), logit(p))
    with md.no_grad():
        linear = -minus_dice(md.Tensor(p), g, denominator="linear").item()
    hard = p > 0.5
    both = (hard * g).sum()
    return {
        "S": float((p * g).sum()), "Q": float((p**2 + g**2).sum()), "D": -loss,
        "dL/dp": by_p.reshape(2, 2).tolist(), "dL/du": by_u.reshape(2, 2).tolist(), "dL/db": float(by_u.sum()),
        "linear": linear, "hard": float(2 * both / (hard.sum() + g.sum())),
        "iou": float(both / ((hard + g) > 0).sum()),
    }  # fmt: skip


# --- an empty mask


def empty(settings: Settings) -> dict[str, Any]:
    """For each form of the loss, and each eps: the sum of |dL/du| over an image whose mask is empty.

    Two rows of logits: the image without object, and one with an object in half of its pixels, which only "pooled"
    mixes with the first.
    """
    n = settings.side**2
    u = data.generator(settings.seed, EMPTY).standard_normal((2, n))
    g = np.zeros((2, n))
    g[1, : n // 2] = 1

    def felt(loss: Callable) -> float:
        return float(abs(gradient(lambda t: loss(F.sigmoid(t)), u)[1][0]).sum())

    forms = {name: {"denominator": name, "reduction": "sum"} for name in DENOMINATORS}
    forms["pooled"] = {"reduction": "pooled"}
    found: dict[str, Any] = {"eps": list(settings.eps)}
    for name, options in forms.items():
        found[name] = [felt(lambda p, e=e, o=options: minus_dice(p, g, eps=e, **o)) for e in settings.eps]
    found["cross entropy"] = felt(lambda p: -F.log(1 - p[0]).mean())  # every pixel is background
    nothing, still = gradient(lambda t: minus_dice(t, np.zeros((1, n))), np.zeros((1, n)))
    hint, _ = gradient(lambda t: minus_dice(t, np.zeros((1, n))), np.full((1, n), 1e-30))
    found["nothing in nothing"] = {"D": -nothing, "gradient": float(abs(still).max()), "D of p = 1e-30": abs(hint)}
    return found


# --- a pixel missed with confidence


def missed(settings: Settings) -> dict[str, Any]:
    """dL/du at one object pixel, its logit going down, the other 999 pixels fixed: the image with the large object."""
    depths = np.linspace(0, settings.deepest, 4 * settings.deepest + 1)
    rest, g = np.full(PIXELS, P_ELSE), np.zeros(PIXELS)
    rest[:LARGE], g[:LARGE] = P_LARGE, 1
    losses = {name: lambda u, name=name: minus_dice(F.sigmoid(u), g[None], denominator=name) for name in DENOMINATORS}
    losses["cross entropy"] = lambda u: F.binary_cross_entropy_with_logits(u, g[None], reduction="sum")
    losses["focal"] = lambda u: F.sigmoid_focal_loss(u, g[None], alpha=-1, gamma=2, reduction="sum")
    found: dict[str, Any] = {"depth": depths.tolist()}
    for name, loss in losses.items():
        found[name] = []
        for depth in depths:
            u = logit(rest)
            u[0] = -depth
            found[name].append(float(gradient(loss, u[None])[1][0, 0]))
    return found


# --- uncertain pixels


def best(q: np.ndarray, denominator: str) -> tuple[np.ndarray, float]:
    """The probabilities p, one for each share q of cases in which a pixel is object, of the greatest Dice; and it.

    Equally many pixels have each q. For a given D, 2 q p - D p^2 is greatest at p = q / D, or 1 if that is more;
    2 q p - D p at p = 1 where 2 q > D, else at 0.
    """
    value = 0.0
    for _ in range(200):
        if denominator == "linear":
            p = (2 * q > value).astype(np.float64)
            total = p + q
        else:
            p = np.minimum(1, q / max(value, 1e-300))
            total = p**2 + q
        last, value = value, float(2 * (p * q).sum() / total.sum())
        if value == last:
            break
    return p, value


def uncertain(settings: Settings) -> dict[str, Any]:
    """The best answers under both denominators, and whether the gradient agrees that they are."""
    m = settings.levels
    q = np.arange(m + 1) / m
    g = (np.arange(m) < np.arange(m + 1)[:, None]).astype(np.float64)  # row j: j of m pixels are object
    found: dict[str, Any] = {"q": q.tolist()}
    for name in DENOMINATORS:
        p, value = best(q, name)

        def loss(t: md.Tensor, name: str = name) -> md.Tensor:
            return minus_dice((t[:, None] * np.ones_like(g)).reshape(1, -1), g.reshape(1, -1), denominator=name)

        reached, slope = gradient(loss, p)
        uphill = np.where(p == 0, np.maximum(-slope, 0), np.where(p == 1, np.maximum(slope, 0), abs(slope)))
        found[name] = {"p": p.tolist(), "D": value, "D reached": -reached, "uphill": float(uphill.max())}
        found[name]["area"] = float(p.sum() / q.sum())
    return found


# --- sum, mean, pooled


def averages() -> dict[str, Any]:
    """An image with an object of 100 pixels and one of 4: the Dice of each, and the gradient at an object's pixel."""
    p, g = np.full((2, PIXELS), P_ELSE), np.zeros((2, PIXELS))
    for row, (size, inside) in enumerate(((LARGE, P_LARGE), (SMALL, P_SMALL))):
        p[row, :size], g[row, :size] = inside, 1
    with md.no_grad():
        each = (-minus_dice(md.Tensor(p), g, reduction="none")).numpy().ravel()
    found: dict[str, Any] = {"each": each.tolist()}
    for name in REDUCTIONS:
        loss, slope = gradient(lambda t, name=name: minus_dice(t, g, reduction=name), p)
        found[name] = {"D": -loss, "large": float(slope[0, 0]), "small": float(slope[1, 0])}
    return found


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """All numbers: one after another, in seconds."""
    parts = {
        "golden": golden, "empty": lambda: empty(settings), "missed": lambda: missed(settings),
        "uncertain": lambda: uncertain(settings), "averages": averages,
    }  # fmt: skip
    with progress("measuring", len(parts)) as step:
        return {name: part() for name, part in each(parts.items(), step)}


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    return [
        *_golden(numbers["golden"]),
        *_empty(numbers["empty"]),
        *_missed(numbers["missed"]),
        *_uncertain(numbers["uncertain"]),
        *_averages(numbers["averages"]),
    ]


def _golden(found: dict[str, Any]) -> list[str]:
    def table(rows: list) -> str:
        return str([[round(v, 6) for v in row] for row in rows])

    return [
        f"p = {GOLDEN_P}, g = {GOLDEN_G}: S = {found['S']:.4g}, Q = {found['Q']:.4g}, D = {found['D']:.6f}; "
        f"linear denominator {found['linear']:.6f}, hard Dice at 0.5 {found['hard']:.6f}, IoU {found['iou']:.6f}",
        f"  dL/dp = {table(found['dL/dp'])}, dL/du = {table(found['dL/du'])}, dL/db = {found['dL/db']:.6f}",
    ]


def _empty(found: dict[str, Any]) -> list[str]:
    sentences = []
    for name in (*DENOMINATORS, "pooled"):
        values = [f"eps {e:g}: {v:.3g}" for e, v in zip(found["eps"], found[name])]
        sentences.append(f"empty mask, sum of |dL/du| over the image, {name}: {'; '.join(values)}")
    alone = {name: dict(zip(found["eps"], found[name])).get(0.0) for name in DENOMINATORS}
    if None not in alone.values():
        exact = not any(alone.values())
        sentences.append(
            f"  with eps = 0 the gradient is {'exactly zero' if exact else 'NOT zero, against the theory'}; "
            f"cross entropy's is {found['cross entropy']:.3g}"
        )
    none = found["nothing in nothing"]
    sentences.append(
        f"p = g = 0 is 0/0 by the formula; here D is defined as {none['D']:g}, its gradient as {none['gradient']:g}; "
        f"but p = 1e-30 everywhere has D = {none['D of p = 1e-30']:g}"
    )
    return sentences


def _missed(found: dict[str, Any]) -> list[str]:
    sentences = []
    for name in (*DENOMINATORS, "cross entropy", "focal"):
        first, last = found[name][0], found[name][-1]
        sentences.append(
            f"object pixel at logit 0 and -{found['depth'][-1]:g}, {name}: dL/du {first:.3g} and {last:.3g}, "
            f"of its largest {abs(last) / max(map(abs, found[name])):.2g}"
        )
    gone = all(abs(found[name][-1]) < 0.1 * max(map(abs, found[name])) for name in DENOMINATORS)
    stays = all(found[name][-1] < -0.9 for name in ("cross entropy", "focal"))
    sentences.append(
        "  missed with confidence, a pixel has hardly any gradient under Dice, and -1 under cross entropy and focal: "
        + ("so" if gone and stays else "NOT so here")
    )
    return sentences


def _uncertain(found: dict[str, Any]) -> list[str]:
    q, sentences = np.array(found["q"]), []
    for name in DENOMINATORS:
        p = np.array(found[name]["p"])
        answer = (
            f"p is 1 above q = {q[p == 0].max():.4g}, 0 up to there" if name == "linear"
            else f"p is {1 / found[name]['D']:.4g} q until that is 1"
        )  # fmt: skip
        sentences.append(
            f"pixels that are object in a share q of cases, q even from 0 to 1, best under the {name} denominator: "
            f"{answer}; D = {found[name]['D']:.6f}; predicted area {found[name]['area']:.4g} of the true one "
            f"(gradient uphill from there {found[name]['uphill']:.0e})"
        )
    return sentences


def _averages(found: dict[str, Any]) -> list[str]:
    ratio = found["mean"]["small"] / found["pooled"]["small"]
    return [
        f"objects of {LARGE} and {SMALL} pixels in images of {PIXELS}: Dice {found['each'][0]:.3f} and "
        f"{found['each'][1]:.3f}; sum {found['sum']['D']:.3f}, mean {found['mean']['D']:.3f}, pooled "
        f"{found['pooled']['D']:.3f}",
        "  dL/dp at a pixel of the small object: "
        + ", ".join(f"{name} {found[name]['small']:.5f}" for name in REDUCTIONS)
        + f"; pooled {ratio:.1f} times weaker than mean",
        "  of the large object: " + ", ".join(f"{name} {found[name]['large']:.5f}" for name in REDUCTIONS),
    ]


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """Empty masks, missed pixels, best answers, and averages: a panel each."""
    figure = blank(13, 9)
    grid = figure.subplots(2, 2)
    _draw_empty(grid[0, 0], numbers["empty"])
    _draw_missed(grid[0, 1], numbers["missed"])
    _draw_uncertain(grid[1, 0], numbers["uncertain"])
    _draw_averages(grid[1, 1], numbers["averages"])
    for axes in grid.flat:
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _draw_empty(axes: Any, found: dict[str, Any]) -> None:
    where = np.arange(len(found["eps"]))
    for name, colour, marker in (("squared", BLUE, "o"), ("linear", ORANGE, "s"), ("pooled", GREEN, "^")):
        label = "pooled with an image that has an object" if name == "pooled" else f"alone, {name} denominator"
        axes.plot(where, found[name], marker + "-", color=colour, label=label)
    axes.axhline(found["cross entropy"], color=GREY, linestyle=":", label="cross entropy")
    axes.set_xticks(where, [f"{e:g}" for e in found["eps"]])
    axes.set(xlabel="eps", ylabel="sum of |dL/du| over the image", title="an empty mask: no gradient without eps")


def _draw_missed(axes: Any, found: dict[str, Any]) -> None:
    styles = {"squared": (BLUE, "-"), "linear": (ORANGE, "--"), "cross entropy": (GREY, "-"), "focal": (PURPLE, "--")}
    for name, (colour, line) in styles.items():
        label = f"Dice, {name}" if name in DENOMINATORS else name
        axes.plot(-np.array(found["depth"]), np.abs(found[name]), line, color=colour, label=label)
    axes.invert_xaxis()
    axes.set(yscale="log", xlabel="logit of an object pixel", ylabel="|dL/du| there")
    axes.set_title("the surer the miss, the less Dice pulls")


def _draw_uncertain(axes: Any, found: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="cross entropy: p = q")
    for name, colour in (("squared", BLUE), ("linear", ORANGE)):
        area = f"{found[name]['area']:.2f} of the true area"
        axes.plot(found["q"], found[name]["p"], ".-", color=colour, label=f"Dice, {name}: {area}")
    axes.set(xlabel="share q of cases in which the pixel is object", ylabel="best p")
    axes.set_title("uncertain pixels: what each denominator wants")


def _draw_averages(axes: Any, found: dict[str, Any]) -> None:
    where = np.arange(len(REDUCTIONS))
    for shift, name, colour, size in ((-0.2, "large", GREY, LARGE), (0.2, "small", ORANGE, SMALL)):
        bars = axes.bar(where + shift, [abs(found[r][name]) for r in REDUCTIONS], 0.38, color=colour)
        axes.bar_label(bars, fmt="%.4f")
        bars.set_label(f"object of {size} pixels")
    axes.set_xticks(where, [f"{r}: {found[r]['D']:.3f}" for r in REDUCTIONS])
    axes.set(yscale="log", ylabel="|dL/dp| at a pixel of the object", xlabel="Dice of the two images together")
    axes.set_title("three averages over a batch are three losses")
