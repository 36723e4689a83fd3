"""Checkerboards: the pattern that transposed convolutions lay over an image, and how nearest + convolution avoids it.

With stride 2 the output pixels of even and odd place have different taps of the kernel. In 1-D, for a constant input:

    kernel (x, y, z): y, x + z alternate       (x, y): x, y alternate       (w, x, y, z): x + z, w + y alternate
    overlaps 1, 2                              overlaps 1, 1                overlaps 2, 2

and the output is even iff the two sums are equal. Nearest neighbours keep a constant constant, and so does the
convolution behind, whatever its weights. The gradient of a strided convolution for its input is a transposed one.
The pattern of an output is its mean over all pixels with the same place modulo the stride, less the mean of all; by
Parseval its power is what the spectrum has at multiples of the stride's frequency, 0 apart.
Source: Odena, Dumoulin, Olah, "Deconvolution and checkerboard artifacts", Distill 2016, 10.23915/distill.00003.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn
from minidl import functional as F

from ..command import UsageError, each
from ..photographs import photograph
from . import BLUE, GREEN, GREY, ORANGE, PURPLE, blank, learn

WEIGHTS, TRAIN, RANDOM = range(3)  # keep the draws apart
KERNELS = {"kernel 3": (3, 1, 1), "kernel 2": (2, 0, 0), "kernel 4": (4, 1, 0)}  # kernel, padding, output padding
NEAREST = "nearest + convolution"
STYLES = {"kernel 3": (ORANGE, "s"), "kernel 2": (PURPLE, "^"), "kernel 4": (GREEN, "v"), NEAREST: (BLUE, "o")}
FACTOR, STRIDE = 4, 2  # two stages double the size each
MARGIN = 16  # pixels at the borders of an output that are not looked at
MEANS = (0.0, 1.0)  # of the weights of random layers, in their deviations
SHOWN = 32  # side of the pieces in the figure
SCALES = {"before": 60, "after": 4}  # grey levels from the middle to black and white there
PATCH = 12  # side of the low images that are trained on
CLEAR = 3.0  # times the peak of the photograph itself is a peak


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    draws: int = 400  # random layers whose answer to a constant is looked at
    maps: int = 12  # of the random layers and of the small net
    steps: int = 500  # of training
    batch: int = 8  # patches in a step
    rate: float = 0.005  # Adam's, a cosine to 0
    seeds: int = 3  # runs of each net
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise UsageError("--rate must be above 0")


QUICK = Settings(draws=10, maps=2, steps=3, batch=2, seeds=1)


# --- patterns


def pattern(y: np.ndarray, period: int) -> np.ndarray:
    """(..., H, W) -> (..., period, period): means over the pixels of each place modulo the period, less their mean.

    H and W must be multiples of the period.
    """
    *rest, height, width = y.shape
    places = y.reshape(*rest, height // period, period, width // period, period).mean(axis=(-4, -2))
    return places - places.mean(axis=(-2, -1), keepdims=True)


def strength(y: np.ndarray, period: int) -> float:
    """The root mean square of the pattern."""
    return float(np.sqrt((pattern(y, period) ** 2).mean()))


def spectrum(y: np.ndarray) -> np.ndarray:
    """(..., H, W) -> (H, W): the mean over images of |DFT / (H W)|^2, which adds up to the mean square; 0 at [0, 0]."""
    power = (abs(np.fft.fft2(y) / np.prod(y.shape[-2:])) ** 2).reshape(-1, *y.shape[-2:]).mean(axis=0)
    power[0, 0] = 0
    return power


def at_stride(power: np.ndarray, period: int) -> np.ndarray:
    """Where the frequency is a multiple of 1 / period along both axes, 0 apart: the pattern's own; bool (H, W)."""
    there = np.zeros(power.shape, bool)
    there[:: power.shape[0] // period, :: power.shape[1] // period] = True
    there[0, 0] = False
    return there


def peak(power: np.ndarray, period: int, reach: int = 3) -> float:
    """The mean power at the stride's frequencies over that at the others within `reach` of them; 1 is no peak."""
    there = at_stride(power, period)
    around = np.zeros_like(there)
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            around |= np.roll(there, (i, j), axis=(0, 1))
    around &= ~there
    around[: reach + 1, : reach + 1] = around[: reach + 1, -reach:] = False  # near 0 lies the picture itself
    around[-reach:, : reach + 1] = around[-reach:, -reach:] = False
    return float(power[there].mean() / max(power[around].mean(), 1e-300))


# --- layers


def doubling(
    inputs: int, outputs: int, kind: str, rng: Any = None, *, mean: float = 0, bias: bool = False
) -> nn.Module:
    """Twice the size. The deviation of the weights is such that with mean 0 a map keeps its power on average.

    mean: of the weights, in their deviations. Biases are 0.
    """
    if kind == NEAREST:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate", bias=bias)
        taps, layer = 9, nn.Sequential(nn.Upsample(scale_factor=2), conv)
    else:
        kernel, padding, more = KERNELS[kind]
        conv = layer = nn.ConvTranspose2d(
            inputs, outputs, kernel, stride=STRIDE, padding=padding, output_padding=more, bias=bias
        )
        taps = kernel**2 / STRIDE**2
    if rng is not None:
        conv.weight.data = nn.init.normal(conv.weight.shape, rng, mean, 1.0) / np.float32(np.sqrt(inputs * taps))
    if bias:
        conv.bias.data = np.zeros_like(conv.bias.data)
    return layer


def inner(y: np.ndarray) -> np.ndarray:
    """(..., H, W) without two pixels at each border."""
    return y[..., 2:-2, 2:-2]


def answer(layer: nn.Module, maps: int, size: int = 6) -> np.ndarray:
    """What the layer makes of maps that are 1 everywhere, borders cut off: (outputs, H, W), float64."""
    with md.no_grad():
        return inner(layer.to("float64")(md.Tensor(np.ones((1, maps, size, size)))).numpy()[0])


def overlaps(kind: str) -> list[list[int]]:
    """By experiment: how many taps of each output pixel fall on an input pixel, by place modulo 2."""
    layer = doubling(1, 1, kind)
    (weight,) = layer.parameters()
    weight.data = np.ones_like(weight.data)
    return np.rint(answer(layer, 1)[0, :2, :2]).astype(int).tolist()


def line(kernel: np.ndarray, size: int = 6) -> np.ndarray:
    """The answer of a 1-D transposed convolution of stride 2 to ones, borders cut off: two numbers that alternate."""
    layer = nn.ConvTranspose1d(1, 1, len(kernel), stride=2, bias=False)
    layer.weight.data = np.asarray(kernel, np.float64)[None, None]
    with md.no_grad():
        y = layer(md.Tensor(np.ones((1, 1, size)))).numpy()[0, 0]
    return y[4:6]  # 4 is even: the tap 0 reaches it


def unevenness(kind: str, settings: Settings, mean: float) -> float:
    """Over many random layers, a constant in: the pattern's root mean square over that of the whole answer."""
    rough, whole = 0.0, 0.0
    for i in range(settings.draws):
        layer = doubling(settings.maps, 1, kind, data.generator(settings.seed, RANDOM, i), mean=mean)
        y = answer(layer, settings.maps)
        rough, whole = rough + (pattern(y, 2) ** 2).mean(), whole + (y**2).mean()
    return float(np.sqrt(rough / whole))


def gradient_of_strided(kernel: int) -> list[list[float]]:
    """d (sum of all outputs) / d input by place modulo 2, of a convolution of stride 2, all of whose weights are 1."""
    conv = nn.Conv2d(1, 1, kernel, stride=2, padding=kernel // 2, bias=False)
    conv.weight.data = np.ones_like(conv.weight.data, np.float64)
    x = md.Tensor(np.ones((1, 1, 16, 16)), requires_grad=True)
    slope = md.grad(conv(x).sum(), x)[0].numpy()[0, 0]
    return slope[4:6, 4:6].tolist()


# --- a small net that enlarges four times


def camera() -> np.ndarray:
    """scikit-image's "camera", 512x512, float32 from 0 to 1."""
    return photograph("camera").astype(np.float32) / 255


def lowered(x: np.ndarray) -> np.ndarray:
    """(..., H, W) -> (..., H / 4, W / 4): means of 4x4 pixels."""
    *rest, height, width = x.shape
    return x.reshape(*rest, height // FACTOR, FACTOR, width // FACTOR, FACTOR).mean(axis=(-3, -1))


def enlarger(kind: str, maps: int, rng: np.random.Generator) -> nn.Sequential:
    """3x3 convolution, relu, doubling, relu, doubling to the image."""
    first = nn.Conv2d(1, maps, 3, padding=1, padding_mode="replicate", rng=rng)
    second, third = (doubling(maps, outputs, kind, rng, bias=True) for outputs in (maps, 1))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def trained(kind: str, settings: Settings, seed: int, step: Callable) -> dict[str, Any]:
    """A net that learns from the left half of the photograph, looked at before and after on the right half."""
    net = enlarger(kind, settings.maps, data.generator(seed, WEIGHTS))
    left, right = np.split(camera(), 2, axis=1)
    side = PATCH * FACTOR

    def batches(t: int) -> np.ndarray:
        corners = data.generator(seed, TRAIN, t).integers(0, np.array(left.shape) - side + 1, (settings.batch, 2))
        return np.stack([left[r : r + side, c : c + side] for r, c in corners])[:, None]

    def loss(net: nn.Module, x: np.ndarray) -> md.Tensor:
        y, edge = net(md.Tensor(lowered(x) - 0.5)), FACTOR  # at the border a doubling lacks neighbours
        return F.mse_loss(y[..., edge:-edge, edge:-edge], x[..., edge:-edge, edge:-edge] - 0.5)

    found = {"parameters": sum(p.size for p in net.parameters()), "before": looked_at(net, right)}
    learn(net, loss, batches, settings.steps, settings.rate, step)
    return found | {"after": looked_at(net, right)}


def looked_at(net: nn.Module, truth: np.ndarray) -> dict[str, Any]:
    """The pattern in the enlarged photograph and in an enlarged even grey, in grey levels of 255, and the peak."""
    with md.no_grad():
        photo, grey = (
            net(md.Tensor(x[None, None] - 0.5)).numpy()[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float64)
            for x in (lowered(truth), np.full((16, 16), 0.75, np.float32))
        )
    error = photo + 0.5 - truth[MARGIN:-MARGIN, MARGIN:-MARGIN]
    power = spectrum(photo)
    return {
        "error": float(255 * np.sqrt((error**2).mean())), "pattern": 255 * strength(photo, FACTOR),
        "grey": 255 * strength(grey, FACTOR), "peak": peak(power, FACTOR),
        "line": power[:, 0][: len(power) // 2 + 1].tolist(),  # vertical frequencies
        "on grey": (255 * (grey[:SHOWN, :SHOWN] - grey.mean())).round(2).tolist(),
    }  # fmt: skip


# --- the lab


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Single layers, then nets before and after training."""
    kernels = {"x, y, z": (1.0, 2.0, 3.0), "x, y": (1.0, 2.0), "w, x, y, z": (1.0, 2.0, 3.0, 5.0)}
    numbers: dict[str, Any] = {
        "line": {name: [list(kernel), line(np.array(kernel)).tolist()] for name, kernel in kernels.items()},
        "even": line(np.array([0.5, 2.0, 1.5])).tolist(),  # y = x + z
        "overlaps": {kind: overlaps(kind) for kind in KERNELS},
        "gradient": {str(k): gradient_of_strided(k) for k in (1, 3)},
    }
    with progress("random layers", len(STYLES)) as step:
        numbers["random"] = {
            kind: [unevenness(kind, settings, mean) for mean in MEANS] for kind in each(STYLES, step)
        }
    truth = np.split(camera(), 2, axis=1)[1][MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float64)
    power = spectrum(truth)
    numbers["truth"] = {"pattern": 255 * strength(truth, FACTOR), "peak": peak(power, FACTOR)}
    with progress("training", len(STYLES) * settings.seeds * settings.steps) as step:
        numbers["nets"] = {
            kind: [trained(kind, settings, settings.seed + i, step) for i in range(settings.seeds)] for kind in STYLES
        }
    return numbers


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    sentences = []
    for name, (kernel, found) in numbers["line"].items():
        sentences.append(f"1-D, ones in, kernel ({name}) = {_row(kernel)}: {_row(found)} alternate")
    sentences.append(f"  kernel (0.5, 2, 1.5), y = x + z: {_row(numbers['even'])}, even")
    for kind, found in numbers["overlaps"].items():
        sentences.append(f"overlaps of the 2-D transposed convolution, {kind}: {_row(found[0])} / {_row(found[1])}")
    for kind, found in numbers["gradient"].items():
        rows = f"{_row(found[0])} / {_row(found[1])}"
        sentences.append(f"input gradient of a convolution of stride 2, kernel {kind}, all ones: {rows}")
    for kind, (centred, shifted) in numbers["random"].items():
        sentences.append(
            f"pattern over the whole answer to a constant, random weights, {kind}: {centred:.3f} with mean 0, "
            f"{shifted:.3f} with a mean of one deviation"
        )
    for kind, runs in numbers["nets"].items():
        sentences.append(f"enlarging 4 times, {kind}, {runs[0]['parameters']:,} parameters: {_written(runs)}")
    truth = numbers["truth"]
    sentences.append(f"the photograph itself: pattern {truth['pattern']:.2f} grey levels, peak {truth['peak']:.2f}")
    return sentences + _verdicts(numbers)


def _row(values: list[float]) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _mean(runs: list[dict], time: str, key: str) -> float:
    return float(np.mean([run[time][key] for run in runs]))


def _written(runs: list[dict]) -> str:
    return "; ".join(
        f"{time} training pattern {_mean(runs, time, 'pattern'):.3g} grey levels in the photograph, "
        f"{_mean(runs, time, 'grey'):.3g} on even grey, peak {_mean(runs, time, 'peak'):.3g}"
        + (f", error {_mean(runs, time, 'error'):.2f}" if time == "after" else "")
        for time in ("before", "after")
    )


def _verdicts(numbers: dict[str, Any]) -> list[str]:
    centred = {kind: numbers["random"][kind][0] for kind in KERNELS}
    shifted = {kind: numbers["random"][kind][1] for kind in KERNELS}
    nets = numbers["nets"]
    left = [kind for kind in KERNELS if min(r["after"]["grey"] for r in nets[kind]) > 0.1]
    even = max(r[time]["grey"] for r in nets[NEAREST] for time in ("before", "after"))
    own = numbers["truth"]["peak"]
    seen = [kind for kind in STYLES if min(r["after"]["peak"] for r in nets[kind]) > CLEAR * own]
    uneven = shifted["kernel 3"] > 1.2 * max(shifted["kernel 2"], shifted["kernel 4"])
    spread = max(centred.values()) - min(centred.values())
    return [
        "even overlaps do not help weights of mean 0: "
        + (f"the three kernels differ by {spread:.3f}" if spread < 0.1 else f"NOT so, they differ by {spread:.3f}"),
        "with a mean of one deviation, kernel 3 is the most uneven: "
        + ("so" if uneven else "NOT so")
        + f" ({', '.join(f'{kind} {v:.3f}' for kind, v in shifted.items())})",
        f"on even grey {NEAREST} has at most {even:.1g} grey levels of pattern, trained or not",
        "transposed convolutions that still have a pattern on even grey after training, above 0.1 grey levels in every "
        f"run: {', '.join(left) or 'none'}",
        f"in whose spectrum there still is a peak at the stride's frequencies, {CLEAR:g} times the photograph's own, "
        f"in every run: {', '.join(seen) or 'none: that it stays is NOT borne out'}",
    ]


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """What the nets make of even grey before and after training, and the spectra of the enlarged photograph."""
    figure = blank(13, 9.2)
    grid = figure.subplots(3, 4, height_ratios=(1, 1, 0.9))
    nets = {kind: runs[0] for kind, runs in numbers["nets"].items()}
    for column, (kind, net) in enumerate(nets.items()):
        for row, (time, most) in enumerate(SCALES.items()):
            axes = grid[row, column]
            axes.imshow(net[time]["on grey"], cmap="gray", vmin=-most, vmax=most, interpolation="nearest")
            axes.set(xticks=[], yticks=[], xlabel=f"pattern {net[time]['grey']:.2f} grey levels")
            if column == 0:
                axes.set_ylabel(f"even grey {time} training\nblack to white: -{most} to {most} levels")
        grid[0, column].set_title(kind)
        axes = grid[2, column]
        for time, colour in (("before", GREY), ("after", STYLES[kind][0])):
            power = np.array(net[time]["line"])
            place = np.arange(len(power)) / (2 * (len(power) - 1))
            axes.semilogy(place[1:], power[1:], color=colour, label=time)
        for f in (0.25, 0.5):
            axes.axvline(f, color="black", linestyle=":", linewidth=0.8)
        axes.set(xlabel="vertical frequency (per pixel)", xticks=[0, 0.25, 0.5], ylim=(1e-12, 1e-1))
        axes.legend(loc="upper center")
    grid[2, 0].set_ylabel("the enlarged photograph\npower (dotted: the stride's frequencies)")
    return figure
