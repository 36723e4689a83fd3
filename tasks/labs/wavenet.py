"""WaveNet: causal dilated convolutions learn a waveform sample by sample, and continue it.

A sample x_t in -1..1 is one of q levels: sign(x) ln(1 + mu |x|) / ln(1 + mu), mu = q - 1, cut into equal parts. The net
gives p(x_t | x_1 .. x_(t-1)), a softmax over them. Layer k, with * a causal convolution of two taps, d_k apart:

    z = tanh(W_f * h) . sigmoid(W_g * h),   h := h + V z,   s := s + U z

and the softmax is that of B relu(A relu(s)). An output sees sum of d_k + 1 samples: 1, 2, 4, .., 64 make 128.
Source: van den Oord et al., "WaveNet: a generative model for raw audio", arXiv 1609.03499, section 2.
Generation by queues: Le Paine et al., "Fast Wavenet generation algorithm", arXiv 1611.09482.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn
from minidl import functional as F

from ..command import UsageError
from . import BLUE, GREEN, GREY, ORANGE, PURPLE, blank, learn
from .wavenet_source import NOISE, Autoregression, expand, gaussian_bits, recording, spectrum

WEIGHTS, WAVE, DRAWS = 1, 2, 3  # keep the draws apart
SHOWN = 240  # samples of the continuation in the figure


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # of the layers
    channels: int = 24  # maps between the layers, and of the gated units
    skip: int = 32  # maps of the sum of all skips
    levels: int = 64  # q; 256 in the paper
    samples: int = 64000  # in the recording to learn from, and a quarter of that to test on
    length: int = 256  # samples scored in a piece of it, after the first that only give context
    batch: int = 8  # pieces in a step
    steps: int = 800  # of Adam
    lr: float = 8e-3  # learning rate, a cosine to 0
    generated: int = 2048  # samples of the continuation
    seeds: int = 2  # runs, each with another recording
    seed: int = 0  # the first run's

    def __post_init__(self) -> None:
        if self.levels < 4:
            raise UsageError(f"--levels {self.levels}: at least 4 are needed")
        if self.samples // 4 < self.length + self.field:
            least = 4 * (self.length + self.field)
            raise UsageError(f"--samples {self.samples}: at least 4 * (length + receptive field) = {least} are needed")

    @property
    def field(self) -> int:
        """The samples that an output sees."""
        return sum(self.dilations) + 1


QUICK = Settings(
    dilations=(1, 2, 4), channels=8, skip=16, levels=16, samples=1200, length=64, batch=2, steps=10, generated=80,
    seeds=1,
)  # fmt: skip


# --- the net


class Layer(nn.Module):
    """One gated layer: (N, C, T) gives the h of the next layer, (N, C, T), and its share of the sum, (N, S, T)."""

    def __init__(self, channels: int, skip: int, dilation: int, rng: np.random.Generator):
        self.dilation = dilation
        self.gated = nn.Conv1d(channels, 2 * channels, 2, padding="causal", dilation=dilation, rng=rng)
        self.residual = nn.Conv1d(channels, channels, 1, rng=rng)
        self.skip = nn.Conv1d(channels, skip, 1, rng=rng)

    def forward(self, h: md.Tensor) -> tuple[md.Tensor, md.Tensor]:
        both = self.gated(h)
        half = both.shape[1] // 2
        z = F.tanh(both[:, :half]) * F.sigmoid(both[:, half:])
        return h + self.residual(z), self.skip(z)


class WaveNet(nn.Module):
    """Levels as unit vectors (N, q, T) give logits (N, q, T): those at t are for the sample after t."""

    def __init__(self, levels: int, channels: int, skip: int, dilations: Sequence[int], rng: np.random.Generator):
        self.levels = levels
        self.field = sum(dilations) + 1
        self.embed = nn.Conv1d(levels, channels, 1, rng=rng)
        self.layers = nn.ModuleList([Layer(channels, skip, d, rng) for d in dilations])
        self.mix = nn.Conv1d(skip, skip, 1, rng=rng)
        self.out = nn.Conv1d(skip, levels, 1, rng=rng)

    def forward(self, x: md.Tensor) -> md.Tensor:
        h, total = self.embed(x), 0
        for layer in self.layers:
            h, skip = layer(h)
            total = total + skip
        return self.out(F.relu(self.mix(F.relu(total))))


def units(codes: np.ndarray, levels: int) -> np.ndarray:
    """Levels (N, T) as unit vectors (N, q, T)."""
    return np.eye(levels, dtype=np.float32)[codes].swapaxes(1, 2)


def train(net: WaveNet, codes: np.ndarray, settings: Settings, seed: int, step: Callable) -> None:
    """Adam on the cross entropy of pieces of a recording, each after as much context as the net of `settings` sees."""
    context = settings.field - 1
    piece = np.arange(context + settings.length + 1)

    def batches(s: int) -> np.ndarray:
        start = data.generator(seed, DRAWS, s).integers(len(codes) - len(piece) + 1, size=settings.batch)
        return codes[start[:, None] + piece]  # (batch, context + length + 1)

    def loss(net: WaveNet, part: np.ndarray) -> md.Tensor:
        logits = net(md.Tensor(units(part[:, :-1], net.levels)))[:, :, context:]
        return F.cross_entropy(logits, part[:, context + 1 :])

    learn(net, loss, batches, settings.steps, settings.lr, step)


def bits(net: WaveNet, codes: np.ndarray, context: int) -> float:
    """Cross entropy in bits per sample, each from the true samples before it; the first `context` are not scored."""
    with md.no_grad():
        logits = net(md.Tensor(units(codes[None, :-1], net.levels)))
        return float(F.cross_entropy(logits[:, :, context - 1 :], codes[None, context:]).data) / np.log(2)


# --- generation


def generate(net: WaveNet, codes: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n more samples, each drawn from the softmax, and the logits they were drawn from (n, q).

    A layer keeps what it has seen in the last d steps, so that a sample costs one pass through the layers and not a
    pass over all that was before it.
    """
    weights = {name: p.data[..., 0] if p.shape[2:] == (1,) else p.data for name, p in net.named_parameters()}
    queues = [np.zeros((layer.dilation, layer.residual.in_channels), np.float32) for layer in net.layers]

    def logits(t: int, code: int) -> np.ndarray:
        h, total = weights["embed.weight"][:, code] + weights["embed.bias"], 0
        for k, queue in enumerate(queues):
            w = weights[f"layers.{k}.gated.weight"]  # (2C, C, taps): d before, and now
            both = w[..., 0] @ queue[t % len(queue)] + w[..., 1] @ h + weights[f"layers.{k}.gated.bias"]
            queue[t % len(queue)] = h
            f, g = np.split(both, 2)
            z = np.tanh(f) / (1 + np.exp(-g))
            h = h + weights[f"layers.{k}.residual.weight"] @ z + weights[f"layers.{k}.residual.bias"]
            total = total + weights[f"layers.{k}.skip.weight"] @ z + weights[f"layers.{k}.skip.bias"]
        mixed = weights["mix.weight"] @ np.maximum(total, 0) + weights["mix.bias"]
        return weights["out.weight"] @ np.maximum(mixed, 0) + weights["out.bias"]

    for t, code in enumerate(codes):
        last = logits(t, code)
    drawn, found = [], []
    for i in range(n):
        found.append(last)
        drawn.append(pick(last, rng))
        last = logits(len(codes) + i, drawn[-1])
    return np.array(drawn), np.array(found)


def generate_slowly(net: WaveNet, codes: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same by the definition: the whole net over all samples so far, for each new one."""
    known, found = list(codes), []
    for _ in range(n):
        with md.no_grad():
            found.append(net(md.Tensor(units(np.array([known]), net.levels))).data[0, :, -1])
        known.append(pick(found[-1], rng))
    return np.array(known[len(codes) :]), np.array(found)


def pick(logits: np.ndarray, rng: np.random.Generator) -> int:
    """A level drawn from the softmax."""
    p = np.exp(logits.astype(np.float64) - logits.max())
    return int(min(np.searchsorted(np.cumsum(p) / p.sum(), rng.random()), len(p) - 1))


# --- what an output depends on


def reach(net: WaveNet, codes: np.ndarray, t: int) -> np.ndarray:
    """For each time the largest |d logit[t] / d input|: 0 exactly where the logits at t do not depend on it."""
    x = md.Tensor(units(codes[None], net.levels), requires_grad=True)
    y = net(x)[0, :, t]
    rng = np.random.default_rng(0)
    (g,) = md.grad((y * rng.standard_normal(y.shape).astype(np.float32)).sum(), x)
    return abs(g.data[0]).max(axis=0)


# --- the lab

NAMES = {  # how each is called in text, and its colour
    "unigram": ("frequencies of the levels alone", GREY),
    "linear": ("linear autoregression", ORANGE),
    "undilated": ("the net without dilation", PURPLE),
    "wavenet": ("WaveNet", BLUE),
    "floor": ("the noise itself", GREEN),
}
SHOWING = {"true": ("true", "black", "-"), "wavenet": ("WaveNet", BLUE, "-"), "linear": ("linear", ORANGE, "--")}


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """Bits per sample, spectra of continuations, and what an output depends on."""
    with progress("training", 2 * settings.seeds * settings.steps) as step:
        runs = [_run(settings, settings.seed + s, step) for s in range(settings.seeds)]
    return {"field": settings.field, "dilations": list(settings.dilations), "runs": runs}


def _run(settings: Settings, seed: int, step: Callable) -> dict[str, Any]:
    """One run: a recording to learn from, one to test on, and one more of the same source."""
    levels, context = settings.levels, settings.field
    sizes = (settings.samples, settings.samples // 4, settings.generated)
    (_, learnt), (clean, test), (_, other) = (
        recording(n, levels, data.generator(seed, WAVE, part)) for part, n in enumerate(sizes)
    )
    nets = {}
    for name, dilations in (("wavenet", settings.dilations), ("undilated", (1,) * len(settings.dilations))):
        nets[name] = WaveNet(levels, settings.channels, settings.skip, dilations, data.generator(seed, WEIGHTS))
        train(nets[name], learnt, settings, seed, step)
    net, linear = nets["wavenet"], Autoregression(learnt, context, levels)
    shares = (np.bincount(learnt, minlength=levels) + 1) / (len(learnt) + levels)
    drawn, logits = generate(net, test[:context], settings.generated, data.generator(seed, DRAWS))
    few = min(20, settings.generated)
    slowly, slow_logits = generate_slowly(net, test[:context], few, data.generator(seed, DRAWS))
    waves = {
        "true": test[context:][: settings.generated],
        "wavenet": drawn,
        "linear": linear.generate(test[:context], settings.generated, data.generator(seed, DRAWS)),
        "another": other,
    }
    waves = {name: expand(codes + 0.5, levels) for name, codes in waves.items()}
    spectra = {name: spectrum(wave) for name, wave in waves.items()}
    at = context + context // 2
    seen = reach(net, test[: 2 * context], at)
    return {
        "bits": {
            "unigram": float(-np.log2(shares[test[context:]]).mean()),
            "linear": linear.bits(test),
            **{name: bits(nets[name], test, context) for name in ("undilated", "wavenet")},
            "floor": gaussian_bits(clean[context:], NOISE, test[context:], levels),
        },
        "distance": {name: float(np.sqrt(np.mean((y - spectra["true"]) ** 2))) for name, y in spectra.items()},
        "spectra": {name: np.round(y, 2).tolist() for name, y in spectra.items()},
        "waves": {name: np.round(wave[:SHOWN], 4).tolist() for name, wave in waves.items()},
        "future": float(seen[at + 1 :].max()),
        "lags": seen[at::-1].tolist(),
        "queues": {
            "samples": few,
            "same": bool((slowly == drawn[:few]).all()),
            "difference": float(abs(slow_logits - logits[:few]).max()),
        },
    }


def claims(numbers: dict[str, Any]) -> list[str]:
    """What is to be seen."""
    runs = numbers["runs"]
    found = {name: [run["bits"][name] for run in runs] for name in NAMES}
    sentences = ["bits per sample of a recording not learnt from, each sample from the true ones before it, by run:"]
    sentences += [f"  {text}: {', '.join(f'{v:.3f}' for v in found[name])}" for name, (text, _) in NAMES.items()]
    for other in ("linear", "undilated"):
        wins = sum(a < b for a, b in zip(found["wavenet"], found[other]))
        ours, theirs = (np.mean(found[name]) - np.mean(found["floor"]) for name in ("wavenet", other))
        sentences.append(
            f"WaveNet is better than {NAMES[other][0]} in {wins} of {len(runs)} runs"
            f"{'' if wins == len(runs) else ', AGAINST the claim'}; above the noise itself: {ours:.3f} bits, "
            f"not {theirs:.3f}"
        )
    net, linear, another = (
        np.mean([run["distance"][name] for run in runs]) for name in ("wavenet", "linear", "another")
    )
    sentences.append(
        f"a continuation's spectrum is away from the true one, root mean square: WaveNet's {net:.1f} dB, the linear "
        f"one's {linear:.1f} dB, that of another recording of the same source {another:.1f} dB"
    )
    future = max(run["future"] for run in runs)
    sentences.append(
        f"gradient of an output for later samples: {future:g}, {'causal' if future == 0 else 'NOT causal'}; it depends "
        f"on {len(np.trim_zeros(runs[0]['lags'], 'b'))} samples, sum of dilations + 1 = {numbers['field']}"
    )
    queues = [run["queues"] for run in runs]
    sentences.append(
        f"generation by queues draws {'the same' if all(q['same'] for q in queues) else 'NOT the same'} "
        f"{queues[0]['samples']} samples as the definition; logits differ by {max(q['difference'] for q in queues):.0e}"
    )
    return sentences


# --- the figure


def draw(numbers: dict[str, Any]) -> Any:
    """Bits per sample, continuations, their spectra, and the gradient by lag."""
    figure = blank(14, 8)
    (bars, waves), (lags, spectra) = figure.subplots(2, 2)
    run = numbers["runs"][0]
    _bars(bars, numbers["runs"])
    for i, (name, (text, colour, line)) in enumerate(SHOWING.items()):
        waves.plot(np.array(run["waves"][name]) - 2 * i, color=colour, linewidth=1.2)
        waves.text(-0.02, -2 * i, text, color=colour, ha="right", va="center", transform=waves.get_yaxis_transform())
        power = run["spectra"][name]
        spectra.plot(np.linspace(0, 0.5, len(power)), power, line, color=colour, label=text)
    waves.set(xlabel="samples after the last that was given", yticks=[], title="continuations")
    waves.margins(x=0)
    spectra.set(xlabel="cycles per sample", ylabel="power (dB)", title="spectra of the continuations")
    seen = np.array(run["lags"])
    lags.semilogy(np.where(seen > 0, seen, np.nan), ".", color=BLUE, label="gradient of an output")
    lags.axvline(numbers["field"] - 0.5, color=ORANGE, linestyle="--", label="sum of dilations + 1")
    lags.set(xlabel="samples back; no dot: exactly 0", ylabel="largest size for an input", title="what an output sees")
    for axes in (lags, spectra):
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def _bars(axes: Any, runs: list[dict[str, Any]]) -> None:
    for i, (name, (_, colour)) in enumerate(NAMES.items()):
        values = [run["bits"][name] for run in runs]
        axes.barh(i, np.mean(values), color=colour, height=0.6)
        axes.plot(values, [i] * len(values), "k|", markersize=12)
        axes.text(max(values) + 0.05, i, f"{np.mean(values):.2f}", va="center")
    axes.set_yticks(range(len(NAMES)), [text for text, _ in NAMES.values()])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="bits per sample", title="test recording; strokes: runs")
