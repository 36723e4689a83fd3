"""The autoencoder: a linear transform with overlapping blocks, rounding, the transform back, and a filter after it.

    picture -> analysis -> latents / step -> rounded: the numbers of the file -> * step -> synthesis -> filter

Both transforms start as the cosine transform of 8x8 blocks, that of JPEG, and are learnt from there; the filter starts
as the identity. The step, wide or narrow, decides how small the file is, for one network.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from minidl import Parameter, Tensor, nn
from minidl import functional as F

SIDE = 8  # pixels between neighbouring latents, and the side of the blocks of the cosine transform
CHANNELS = SIDE**2
OVERLAP = 4  # pixels that a kernel sees beyond its block, on each side
STEPS = tuple(step / 255 for step in (6, 10, 16, 26, 42, 68))  # of the qualities, the best first


class Autoencoder(nn.Module):
    """Gray pictures (N, 1, H, W) with sides that are multiples of 8, latents (N, 64, H / 8, W / 8).

    The latents are in the order of frequency, as JPEG's. `spread` are logarithms of the scales of logistic
    distributions, one for each quality and channel: how likely a latent is, while training.
    Sources: Ballé, Laparra and Simoncelli, "End-to-end optimized image compression", ICLR 2017; for the start, Wallace,
    "The JPEG still picture compression standard", 1992, section 3.1.
    """

    def __init__(self, width: int = 24, layers: int = 4, *, rng: Any = None):
        rng = nn.init.generator(rng)
        kernel = SIDE + 2 * OVERLAP
        self.analysis = nn.Conv2d(1, CHANNELS, kernel, stride=SIDE, padding=OVERLAP, bias=False)
        self.synthesis = nn.ConvTranspose2d(CHANNELS, 1, kernel, stride=SIDE, padding=OVERLAP, bias=False)
        for transform in (self.analysis, self.synthesis):
            transform.weight.data = np.pad(cosines(), [(0, 0), (0, 0), *[(OVERLAP, OVERLAP)] * 2])
        self.filter = Filter(width, layers, rng)
        spread = np.log([[0.3 + 0.05 / step / (1 + i) for i in range(CHANNELS)] for step in STEPS])
        self.spread = Parameter(spread.astype(np.float32))

    def encode(self, x: Tensor, step: Any) -> Tensor:
        """The latents in steps, not rounded."""
        return self.analysis(x - 0.5) / step

    def decode(self, latents: Tensor, step: Any) -> Tensor:
        """The picture, of whole latents."""
        return self.filter(self.expand(latents, step), step)

    def expand(self, latents: Tensor, step: Any) -> Tensor:
        """The picture before the filter."""
        return self.synthesis(latents * step) + 0.5

    def forward(self, x: Tensor, quality: Tensor, step: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The decoded pictures, and the bits of each, (N,).

        quality (N, len(STEPS)) is one-hot, step (N, 1, 1, 1) its step.
        The decoder sees rounded latents, whose gradient is taken for that of the latents (straight through); the rate
        is that of latents with uniform noise (N, 64, H / 8, W / 8) of one step in place of rounding, which can be
        differentiated. Source: Minnen and Singh, "Channel-wise autoregressive entropy models", ICIP 2020, section 3.3.
        """
        latents = self.encode(x, step)
        rounded = latents + (F.round(latents) - latents).detach()
        spread = F.exp(F.matmul(quality, self.spread)).reshape(-1, CHANNELS, 1, 1)
        return self.decode(rounded, step), bits(latents + noise, spread)


class Filter(nn.Module):
    """x (N, 1, H, W) plus what 3x3 convolutions make of x and of the step, which says how coarse it is."""

    padded, period = True, 1

    def __init__(self, width: int, layers: int, rng: Any):
        shape = [2, *[width] * (layers - 1), 1]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, rng=rng) for i, o in pairwise(shape))
        last = self.convs[-1]
        last.weight.data, last.bias.data = nn.init.zeros(last.weight.shape), nn.init.zeros(last.bias.shape)
        self.radius = layers

    def forward(self, x: Tensor, step: Any) -> Tensor:
        coarse = x.detach() * 0 + (F.log(step) + 3.0)
        y = F.concat([x - 0.5, coarse], axis=1)
        for conv in self.convs[:-1]:
            y = F.relu(conv(y))
        return x + self.convs[-1](y)


def bits(latents: Tensor, spread: Tensor) -> Tensor:
    """Of each picture (N,): minus log2 of the probability that a logistic distribution gives the unit interval around
    each latent (N, C, h, w)."""
    low, high = (latents - 0.5) / spread, (latents + 0.5) / spread
    # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))
    log_p = F.log(1 - F.exp(-1 / spread)) - F.softplus(-high) - F.softplus(low)
    return -log_p.sum(axis=(1, 2, 3)) / math.log(2)


def cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8x8 blocks as kernels (64, 1, 8, 8), along JPEG's zigzag."""
    n = np.arange(SIDE)
    basis = np.sqrt(2 / SIDE) * np.cos((2 * n + 1) * n[:, None] * np.pi / (2 * SIDE))  # (frequency, pixel)
    basis[0] /= np.sqrt(2)
    order = sorted(np.ndindex(SIDE, SIDE), key=lambda f: (sum(f), f[0] if sum(f) % 2 else f[1]))
    return np.stack([np.outer(basis[v], basis[u]) for v, u in order]).astype(np.float32)[:, None]
