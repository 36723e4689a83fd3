"""MobileNetV3: MobileNetV2's blocks, found by a search, with squeeze-and-excitation and activations of straight lines.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import Tensor, nn

from .blocks import SqueezeExcitation, conv_norm, multiple
from .initial import he_fan_out, redraw, stream, thin

RE, HS = nn.ReLU, nn.Hardswish
LARGE = (  # Table 1: kernel, exp size, #out, SE, NL, s
    (3, 16, 16, False, RE, 1),
    (3, 64, 24, False, RE, 2),
    (3, 72, 24, False, RE, 1),
    (5, 72, 40, True, RE, 2),
    (5, 120, 40, True, RE, 1),
    (5, 120, 40, True, RE, 1),
    (3, 240, 80, False, HS, 2),
    (3, 200, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 480, 112, True, HS, 1),
    (3, 672, 112, True, HS, 1),
    (5, 672, 160, True, HS, 2),
    (5, 960, 160, True, HS, 1),
    (5, 960, 160, True, HS, 1),
)
SMALL = (  # Table 2
    (3, 16, 16, True, RE, 2),
    (3, 72, 24, False, RE, 2),
    (3, 88, 24, False, RE, 1),
    (5, 96, 40, True, HS, 2),
    (5, 240, 40, True, HS, 1),
    (5, 240, 40, True, HS, 1),
    (5, 120, 48, True, HS, 1),
    (5, 144, 48, True, HS, 1),
    (5, 288, 96, True, HS, 2),
    (5, 576, 96, True, HS, 1),
    (5, 576, 96, True, HS, 1),
)
HIDDEN = {LARGE: 1280, SMALL: 1024}  # units of the layer before the logits
norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class Bneck(nn.Module):
    """Figure 4: 1x1 to `wide` maps, depthwise, squeeze-and-excitation, 1x1 to `outputs` maps; x added if it fits."""

    def __init__(
        self, inputs: int, kernel: int, wide: int, outputs: int, se: bool, activation: Any, stride: int, *,
        dilation: int = 1, rng: Any = None,
    ):  # fmt: skip
        self.skip = stride == 1 and inputs == outputs
        self.stride, self.out_channels = stride, outputs
        unit = partial(conv_norm, norm=norm, activation=activation, rng=rng)
        layers = [unit(inputs, wide, 1)] if wide != inputs else []
        layers.append(unit(wide, wide, kernel, 1 if dilation > 1 else stride, groups=wide, dilation=dilation))
        if se:
            layers.append(SqueezeExcitation(wide, multiple(wide // 4), gate=nn.Hardsigmoid, rng=rng))
        self.block = nn.Sequential(*layers, unit(wide, outputs, 1, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.skip else self.block(x)


def trunk(table: tuple, in_channels: int, *, dilated: bool = False, rng: Any = None) -> nn.Sequential:
    """A table's layers up to the last convolution. `dilated` (section 6.4): the last stage keeps the size, by dilation
    of 2 in place of its stride."""
    maps = 16
    layers = [conv_norm(in_channels, maps, 3, 2, norm=norm, activation=HS, rng=rng)]
    for i, row in enumerate(table):
        dilation = 2 if dilated and i >= len(table) - 3 else 1  # C5 begins three rows before the end
        layers.append(Bneck(maps, *row, dilation=dilation, rng=rng))
        maps = layers[-1].out_channels
    return nn.Sequential(*layers, conv_norm(maps, 6 * maps, 1, norm=norm, activation=HS, rng=rng))


class MobileNetV3(nn.Sequential):
    """A table from top to bottom: the trunk, means, a hidden layer, logits."""

    def __init__(
        self, table: tuple, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.2, rng: Any = None
    ):
        rng, hidden = stream(rng), HIDDEN[table]
        features = trunk(table, in_channels, rng=rng)
        super().__init__(
            {
                "features": features,
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(
                    nn.Linear(features[-1][0].out_channels, hidden, rng=rng), HS(), nn.Dropout(dropout, rng=rng),
                    nn.Linear(hidden, num_classes, rng=rng),
                ),
            }
        )  # fmt: skip
        redraw(self, nn.Conv2d, he_fan_out, rng, bias=0)
        redraw(self, nn.Linear, thin, rng, bias=0)


MOBILENETS_V3 = {"mobilenet_v3_large": partial(MobileNetV3, LARGE), "mobilenet_v3_small": partial(MobileNetV3, SMALL)}
