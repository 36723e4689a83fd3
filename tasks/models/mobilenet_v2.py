"""MobileNetV2: blocks that are wide within and narrow at their ends, where they are added.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn

from .blocks import conv_norm, multiple
from .initial import he_fan_out, redraw, stream, thin

BOTTLENECKS = (  # Table 2: t, how many times wider the block is within; c, its output maps; n blocks; s, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Table 1: 1x1 to `times` as many maps, depthwise 3x3, 1x1 to `outputs` without activation; x added if it fits."""

    def __init__(self, inputs: int, outputs: int, times: int, stride: int, rng: Any):
        wide = times * inputs
        layers = [conv_norm(inputs, wide, 1, activation=nn.ReLU6, rng=rng)] if times > 1 else []
        layers += [
            conv_norm(wide, wide, 3, stride, groups=wide, activation=nn.ReLU6, rng=rng),
            *conv_norm(wide, outputs, 1, activation=None, rng=rng),
        ]
        self.conv = nn.Sequential(*layers)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileNetV2(nn.Sequential):
    """Table 2 from top to bottom."""

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, *, width_mult: float = 1.0, dropout: float = 0.2,
        rng: Any = None,
    ):  # fmt: skip
        rng, maps, last = stream(rng), multiple(32 * width_mult), multiple(1280 * max(1.0, width_mult))
        features = [conv_norm(in_channels, maps, 3, 2, activation=nn.ReLU6, rng=rng)]
        for times, outputs, count, stride in BOTTLENECKS:
            for i in range(count):
                wide = multiple(outputs * width_mult)
                features.append(InvertedResidual(maps, wide, times, 1 if i else stride, rng))
                maps = wide
        features.append(conv_norm(maps, last, 1, activation=nn.ReLU6, rng=rng))
        super().__init__(
            {
                "features": nn.Sequential(*features),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(nn.Dropout(dropout, rng=rng), nn.Linear(last, num_classes, rng=rng)),
            }
        )
        redraw(self, nn.Conv2d, he_fan_out, rng)
        redraw(self, nn.Linear, thin, rng, bias=0)


def mobilenet_v2(
    num_classes: int = 1000, in_channels: int = 3, *, width_mult: float = 1.0, dropout: float = 0.2, rng: Any = None
) -> MobileNetV2:
    """MobileNetV2 for 224x224: 3,504,872 parameters. width_mult: all maps as many times as wide."""
    return MobileNetV2(num_classes, in_channels, width_mult=width_mult, dropout=dropout, rng=rng)
