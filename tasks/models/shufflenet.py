"""ShuffleNet v2: half of the maps pass, the other half is convolved, and a shuffle mixes the two.

Source: Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture design", ECCV 2018.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from .blocks import conv_norm
from .initial import stream

REPEATS = (4, 8, 4)  # Table 5: blocks of stages 2 to 4
MAPS = {  # their maps, and those of the last convolution
    "x0_5": (48, 96, 192, 1024),
    "x1_0": (116, 232, 464, 1024),
    "x1_5": (176, 352, 704, 1024),
    "x2_0": (244, 488, 976, 2048),
}


class ShuffleBlock(nn.Module):
    """Figure 3 (c), and (d) where a stage begins: there both branches see all maps, and halve the size."""

    def __init__(self, inputs: int, outputs: int, stride: int, rng: Any):
        half = outputs // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *conv_norm(inputs, inputs, 3, stride, groups=inputs, activation=None, rng=rng),
                *conv_norm(inputs, half, 1, rng=rng),
            )
        self.branch2 = nn.Sequential(
            *conv_norm(inputs if stride > 1 else half, half, 1, rng=rng),
            *conv_norm(half, half, 3, stride, groups=half, activation=None, rng=rng),
            *conv_norm(half, half, 1, rng=rng),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if len(self.branch1) else F.chunk(x, 2, axis=1)
        return F.channel_shuffle(F.concat([self.branch1(left), self.branch2(right)], axis=1), 2)


class ShuffleNetV2(nn.Sequential):
    """Table 5 from top to bottom. `width`: one of its columns."""

    def __init__(self, width: str, num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None):
        rng, maps = stream(rng), 24
        layers = {"conv1": conv_norm(in_channels, maps, 3, 2, rng=rng), "maxpool": nn.MaxPool2d(3, stride=2, padding=1)}
        *stages, last = MAPS[width]
        for i, (count, outputs) in enumerate(zip(REPEATS, stages), start=2):
            stage = [ShuffleBlock(maps, outputs, 2, rng)]
            stage += [ShuffleBlock(outputs, outputs, 1, rng) for _ in range(count - 1)]
            layers[f"stage{i}"], maps = nn.Sequential(*stage), outputs
        layers |= {"conv5": conv_norm(maps, last, 1, rng=rng)}
        layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        super().__init__({**layers, "fc": nn.Linear(last, num_classes, rng=rng)})


SHUFFLENETS = {f"shufflenet_v2_{width}": partial(ShuffleNetV2, width) for width in MAPS}
