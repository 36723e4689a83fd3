"""ConvNeXt: a residual network brought up to date with what transformers taught.

Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minidl import Parameter, Tensor, nn

from .blocks import Permute, StochasticDepth
from .initial import redraw, stream

SIZES = {  # Section 3: maps of the first stage (twice as many in each further one), blocks; stochastic depth (Table 5)
    "tiny": (96, (3, 3, 9, 3), 0.1),
    "small": (96, (3, 3, 27, 3), 0.4),
    "base": (128, (3, 3, 27, 3), 0.5),
    "large": (192, (3, 3, 27, 3), 0.5),
}
norm = partial(nn.LayerNorm, eps=1e-6)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel: (N, C, H, W) -> (N, H, W, C) -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class Block(nn.Module):
    """Figure 4: depthwise 7x7, layer norm, 1x1 to four times the maps (as a linear layer of pixels), GELU, 1x1 back.

    What it gives is scaled by learnt numbers, 1e-6 at first (layer scale), and added to x.
    """

    def __init__(self, maps: int, drop: float, rng: Any):
        self.layer_scale = Parameter(np.full((maps, 1, 1), 1e-6, np.float32))
        self.block = nn.Sequential(
            nn.Conv2d(maps, maps, 7, padding=3, groups=maps, rng=rng), Permute(0, 2, 3, 1), norm(maps),
            nn.Linear(maps, 4 * maps, rng=rng), nn.GELU(), nn.Linear(4 * maps, maps, rng=rng), Permute(0, 3, 1, 2),
        )  # fmt: skip
        self.stochastic_depth = StochasticDepth(drop, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


class ConvNeXt(nn.Sequential):
    """Patches of 4x4, four stages with a 2x2 convolution between each two that halves the size, means, logits.

    `stochastic_depth`: the probability that the last block is left out; 0 for the first, on a line between.
    """

    def __init__(
        self, size: str, num_classes: int = 1000, in_channels: int = 3, *, stochastic_depth: float | None = None,
        rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        maps, counts, drop = SIZES[size]
        drop = drop if stochastic_depth is None else stochastic_depth
        layer_norm = partial(LayerNorm2d, eps=1e-6)
        features = [nn.Sequential(nn.Conv2d(in_channels, maps, 4, stride=4, rng=rng), layer_norm(maps))]
        for i, count in enumerate(counts):
            if i:
                features.append(nn.Sequential(layer_norm(maps), nn.Conv2d(maps, 2 * maps, 2, stride=2, rng=rng)))
                maps *= 2
            done = sum(counts[:i])
            drops = [drop * (done + j) / (sum(counts) - 1) for j in range(count)]
            features.append(nn.Sequential(*(Block(maps, p, rng) for p in drops)))
        super().__init__(
            {
                "features": nn.Sequential(*features),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "classifier": nn.Sequential(
                    layer_norm(maps), nn.Flatten(), nn.Linear(maps, num_classes, rng=rng)
                ),
            }
        )  # fmt: skip
        redraw(self, nn.Conv2d | nn.Linear, partial(nn.init.normal, std=0.02), rng, bias=0)


CONVNEXTS = {f"convnext_{size}": partial(ConvNeXt, size) for size in SIZES}
