"""Swin transformer: attention within windows, which every other block shifts; stages of half the size each.

Sources: Liu et al., "Swin transformer: hierarchical vision transformer using shifted windows", ICCV 2021; Liu et al.,
"Swin transformer V2: scaling up capacity and resolution", CVPR 2022.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minidl import Parameter, Tensor, nn
from minidl import functional as F
from minidl.core.array_function import made_once
from minidl.device import to_device

from .blocks import Permute, StochasticDepth, mlp
from .initial import redraw, stream
from .windows import bias_of, distances, heads, of_heads, together, windows

SIZES = {  # section 3.3: channels of the first stage, blocks; heads of the first stage; stochastic depth
    "t": (96, (2, 2, 6, 2), 3, 0.2),
    "s": (96, (2, 2, 18, 2), 3, 0.3),
    "b": (128, (2, 2, 18, 2), 4, 0.5),
}
WINDOW = {1: 7, 2: 8}  # its side, in each version
FAR = -100.0  # added to scores of pixels that only the cyclic shift brought together
small = partial(nn.init.normal, std=0.02)


class WindowAttention(nn.Module):
    """Attention within windows that are shifted by half a window if `shifted` (Figure 4)."""

    version = 1

    def __init__(self, channels: int, count: int, shifted: bool, rng: Any):
        self.heads, self.side = count, WINDOW[self.version]
        self.shift = self.side // 2 if shifted else 0
        self.add_table(rng)
        self.register_buffer("relative_position_index", distances(self.side).ravel())
        self.qkv = nn.Linear(channels, 3 * channels, rng=rng)
        self.proj = nn.Linear(channels, channels, rng=rng)

    def add_table(self, rng: Any) -> None:
        """The learnt number for each distance and head."""
        shape = ((2 * self.side - 1) ** 2, self.heads)
        self.relative_position_bias_table = Parameter(small(shape, nn.init.generator(rng)))

    def bias(self) -> Tensor:
        """(heads, T, T), for the T pixels of a window."""
        return bias_of(self.relative_position_bias_table, self.relative_position_index, self.side**2)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Eq. 4: q k^T / sqrt(d)."""
        return q * q.shape[-1] ** -0.5 @ k.swapaxes(-1, -2)

    def projected(self, x: Tensor) -> Tensor:
        """Queries, keys and values."""
        return self.qkv(x)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]  # (N, H, W, C)
        x = F.pad(x, [(0, 0), (0, -height % self.side), (0, -width % self.side), (0, 0)])
        size = x.shape[1:3]
        shift = tuple(self.shift if n > self.side else 0 for n in size)
        x = F.roll(x, [-s for s in shift], axis=(1, 2)) if any(shift) else x
        q, k, v = heads(self.projected(windows(x, self.side)), self.heads)
        scores = self.scores(q, k) + self.bias()
        if any(shift):
            scores = scores + Tensor(to_device(strangers(size, self.side, shift, x.dtype), x.device))
        x = together(self.proj(of_heads(F.softmax(scores, -1) @ v)), self.side, *size)
        x = F.roll(x, shift, axis=(1, 2)) if any(shift) else x
        return x[:, :height, :width]


@made_once
def strangers(size: tuple[int, int], side: int, shift: tuple[int, int], dtype: Any) -> np.ndarray:
    """(windows, 1, T, T): FAR for two pixels of a window that come from different parts of the image, else 0."""
    part = [np.searchsorted([n - side, n - s or n], np.arange(n), side="right") for n, s in zip(size, shift)]
    parts = Tensor(part[0][:, None] * 3.0 + part[1])[None, ..., None]
    at = windows(parts, side).data[0, ..., 0]  # (windows, T)
    return np.where(at[:, :, None] == at[:, None], 0.0, FAR)[:, None].astype(dtype)


class WindowAttentionV2(WindowAttention):
    """V2's sections 3.2 and 3.3: scores are cosines times a learnt scale; the bias is what a small network makes of the
    logarithms of distances."""

    version = 2

    def __init__(self, channels: int, count: int, shifted: bool, rng: Any):
        super().__init__(channels, count, shifted, rng)
        self.logit_scale = Parameter(np.full((count, 1, 1), math.log(10), np.float32))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 512, rng=rng), nn.ReLU(), nn.Linear(512, count, bias=False, rng=rng)
        )  # fmt: skip
        self.used = np.repeat(np.array([1, 0, 1], np.float32), channels)  # of the bias: keys have none

    def add_table(self, rng: Any) -> None:
        d = np.arange(1 - self.side, self.side) * 8 / (self.side - 1)
        logarithmic = np.sign(d) * np.log2(np.abs(d) + 1) / 3  # eq. 4; 3 = log2(8)
        table = np.stack(np.meshgrid(logarithmic, logarithmic, indexing="ij"), axis=-1)[None]
        self.register_buffer("relative_coords_table", table.astype(np.float32))

    def bias(self) -> Tensor:
        table = self.cpb_mlp(Tensor(self.relative_coords_table)).reshape(-1, self.heads)
        return 16 * F.sigmoid(bias_of(table, self.relative_position_index, self.side**2))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        cosines = F.normalize(q, axis=-1) @ F.normalize(k, axis=-1).swapaxes(-1, -2)  # eq. 2
        return cosines * F.exp(F.clip(self.logit_scale, high=math.log(100)))

    def projected(self, x: Tensor) -> Tensor:
        used = Tensor(to_device(self.used.astype(self.qkv.bias.dtype, copy=False), x.device))
        return F.linear(x, self.qkv.weight, self.qkv.bias * used)


class Block(nn.Module):
    """Figure 3 (b): attention and an MLP, each added to what it sees; the norms before them, in V2 after them."""

    def __init__(self, channels: int, count: int, shifted: bool, version: int, drop: float, rng: Any):
        self.norm_after = version == 2
        self.norm1 = nn.LayerNorm(channels)
        self.attn = (WindowAttentionV2 if version == 2 else WindowAttention)(channels, count, shifted, rng)
        self.stochastic_depth = StochasticDepth(drop, rng=rng)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = mlp(channels, 4 * channels, 0.0, rng)

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in ((self.norm1, self.attn), (self.norm2, self.mlp)):
            x = x + self.stochastic_depth(norm(layer(x)) if self.norm_after else layer(norm(x)))
        return x


class PatchMerging(nn.Module):
    """Four neighbours become one: their channels, together, through a linear layer to half of them."""

    def __init__(self, channels: int, version: int, rng: Any):
        self.norm_after = version == 2
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False, rng=rng)
        self.norm = nn.LayerNorm((2 if self.norm_after else 4) * channels)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        x = F.pad(x, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)])
        rows, columns = -(-height // 2), -(-width // 2)
        x = x.reshape(n, rows, 2, columns, 2, channels).transpose(0, 1, 3, 4, 2, 5)  # down is the fastest
        x = x.reshape(n, rows, columns, 4 * channels)
        return self.norm(self.reduction(x)) if self.norm_after else self.reduction(self.norm(x))


class SwinTransformer(nn.Sequential):
    """Figure 3 (a): patches of 4x4, four stages with merging of patches between them, means, logits.

    `stochastic_depth`: the probability that the last block is left out; 0 for the first, on a line between.
    """

    def __init__(
        self, size: str, version: int, num_classes: int = 1000, in_channels: int = 3, *,
        stochastic_depth: float | None = None, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        channels, counts, first, drop = SIZES[size]
        drop = drop if stochastic_depth is None else stochastic_depth
        patches = nn.Conv2d(in_channels, channels, 4, stride=4, rng=rng)
        features = [nn.Sequential(patches, Permute(0, 2, 3, 1), nn.LayerNorm(channels))]
        for i, count in enumerate(counts):
            if i:
                features.append(PatchMerging(channels, version, rng))
                channels *= 2
            done = sum(counts[:i])
            drops = [drop * (done + j) / (sum(counts) - 1) for j in range(count)]
            blocks = [Block(channels, first * 2**i, j % 2 == 1, version, p, rng) for j, p in enumerate(drops)]
            features.append(nn.Sequential(*blocks))
        super().__init__(
            {
                "features": nn.Sequential(*features),
                "norm": nn.LayerNorm(channels),
                "permute": Permute(0, 3, 1, 2),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "head": nn.Linear(channels, num_classes, rng=rng),
            }
        )
        redraw(self, nn.Linear, small, rng, bias=0)


SWINS = {
    f"swin_{prefix}{size}": partial(SwinTransformer, size, version)
    for version, prefix in ((1, ""), (2, "v2_"))
    for size in SIZES
}
