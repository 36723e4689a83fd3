"""MaxViT: in each block a convolution, attention within windows, and attention within a grid that spans the image.

Source: Tu et al., "MaxViT: multi-axis vision transformer", ECCV 2022.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minidl import Parameter, Tensor, nn
from minidl import functional as F

from .blocks import SqueezeExcitation, StochasticDepth, conv_norm
from .initial import redraw, stream
from .windows import bias_of, distances, heads, of_heads, together, windows

STEM, CHANNELS, COUNTS = 64, (64, 128, 256, 512), (2, 2, 5, 2)  # Table 1, MaxViT-T
HEAD, SIDE = 32, 7  # channels of a head; pixels along a window, and along the grid
norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class MBConv(nn.Module):
    """Figure 2, left: norm, 1x1 to four times the maps, depthwise 3x3, squeeze-and-excitation, 1x1; x added."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: float, rng: Any):
        wide = 4 * outputs
        unit = partial(conv_norm, norm=norm, activation=nn.GELU, rng=rng)
        self.proj = nn.Identity()
        if stride > 1:
            self.proj = nn.Sequential(nn.AvgPool2d(3, stride, padding=1), nn.Conv2d(inputs, outputs, 1, rng=rng))
        self.stochastic_depth = StochasticDepth(drop, rng=rng)
        self.layers = nn.Sequential(
            {
                "pre_norm": norm(inputs),
                "conv_a": unit(inputs, wide, 1),
                "conv_b": unit(wide, wide, 3, stride, groups=wide),
                "squeeze_excitation": SqueezeExcitation(wide, outputs // 4, activation=nn.SiLU, rng=rng),
                "conv_c": nn.Conv2d(wide, outputs, 1, rng=rng),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x) + self.stochastic_depth(self.layers(x))


class RelativeAttention(nn.Module):
    """Attention among the SIDE x SIDE pixels of a window, with a learnt number for each distance (eq. 1)."""

    def __init__(self, channels: int, rng: Any):
        self.count, self.scale = channels // HEAD, channels**-0.5  # of all channels, as the authors' code
        table = nn.init.normal(((2 * SIDE - 1) ** 2, self.count), nn.init.generator(rng), std=0.02)
        self.relative_position_bias_table = Parameter(table)
        self.register_buffer("relative_position_index", distances(SIDE).copy())
        self.to_qkv = nn.Linear(channels, 3 * channels, rng=rng)
        self.merge = nn.Linear(channels, channels, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(self.to_qkv(x), self.count)
        bias = bias_of(self.relative_position_bias_table, self.relative_position_index, SIDE**2)
        return self.merge(of_heads(F.scaled_dot_product_attention(q, k, v, mask=bias, scale=self.scale)))


class PartitionAttention(nn.Module):
    """Figure 3: windows of neighbours, or (`grid`) SIDE x SIDE pixels that lie spread over the image; then an MLP."""

    def __init__(self, channels: int, grid: bool, drop: float, rng: Any):
        self.grid = grid
        self.attn_layer = nn.Sequential(nn.LayerNorm(channels), RelativeAttention(channels, rng))
        self.mlp_layer = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels, rng=rng), nn.GELU(),
            nn.Linear(4 * channels, channels, rng=rng),
        )  # fmt: skip
        self.stochastic_dropout = StochasticDepth(drop, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % SIDE or width % SIDE or height != width:
            raise ValueError(f"maxvit_t takes square images whose side is a multiple of {32 * SIDE}")
        side = height // SIDE if self.grid else SIDE
        x = windows(x.transpose(0, 2, 3, 1), side)
        x = x.swapaxes(1, 2) if self.grid else x  # to (N, places in a window, windows, C): one of each window
        x = x + self.stochastic_dropout(self.attn_layer(x))
        x = x + self.stochastic_dropout(self.mlp_layer(x))
        x = x.swapaxes(1, 2) if self.grid else x
        return together(x, side, height, width).transpose(0, 3, 1, 2)


class Layer(nn.Module):
    """Figure 2: convolution, windows, grid."""

    def __init__(self, inputs: int, outputs: int, stride: int, drop: float, rng: Any):
        self.layers = nn.Sequential(
            {
                "MBconv": MBConv(inputs, outputs, stride, drop, rng),
                "window_attention": PartitionAttention(outputs, False, drop, rng),
                "grid_attention": PartitionAttention(outputs, True, drop, rng),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Stage(nn.Module):
    """Layers, the first of which halves the size."""

    def __init__(self, inputs: int, outputs: int, drops: list[float], rng: Any):
        first = Layer(inputs, outputs, 2, drops[0], rng)
        self.layers = nn.Sequential(first, *(Layer(outputs, outputs, 1, p, rng) for p in drops[1:]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MaxViT(nn.Sequential):
    """Table 1 from top to bottom: two convolutions, four stages, means, a hidden layer, logits."""

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, *, stochastic_depth: float = 0.2, rng: Any = None
    ):
        rng = stream(rng)
        drops = np.linspace(0, stochastic_depth, sum(COUNTS)).tolist()
        first = conv_norm(in_channels, STEM, 3, 2, norm=norm, activation=nn.GELU, rng=rng)
        second = nn.Sequential(nn.Conv2d(STEM, STEM, 3, padding=1, rng=rng))
        stages = []
        for i, (inputs, outputs) in enumerate(zip((STEM, *CHANNELS), CHANNELS)):
            done = sum(COUNTS[:i])
            stages.append(Stage(inputs, outputs, drops[done : done + COUNTS[i]], rng))
        last = CHANNELS[-1]
        classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(last), nn.Linear(last, last, rng=rng), nn.Tanh(),
            nn.Linear(last, num_classes, bias=False, rng=rng),
        )  # fmt: skip
        super().__init__(
            {"stem": nn.Sequential(first, second), "blocks": nn.Sequential(*stages), "classifier": classifier}
        )
        redraw(self, nn.Conv2d | nn.Linear, partial(nn.init.normal, std=0.02), rng, bias=0)


def maxvit_t(
    num_classes: int = 1000, in_channels: int = 3, *, stochastic_depth: float = 0.2, rng: Any = None
) -> MaxViT:
    """MaxViT-T, for 224x224: 30,919,624 parameters."""
    return MaxViT(num_classes, in_channels, stochastic_depth=stochastic_depth, rng=rng)
