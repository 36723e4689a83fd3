"""EfficientNet: blocks of MobileNetV2 with squeeze-and-excitation; width, depth and resolution grow together.

Sources: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019 (b0 to b7);
Tan and Le, "EfficientNetV2: smaller models and faster training", ICML 2021 (v2).
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

from minidl import Tensor, nn

from .blocks import SqueezeExcitation, StochasticDepth, conv_norm, multiple
from .googlenet import googles_colours
from .initial import he_fan_out, redraw, stream

B0 = (  # Table 1: times wider within, kernel, stride, output maps, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
SCALES = {  # what maps and blocks are multiplied by (the authors' code); dropout
    "b0": (1.0, 1.0, 0.2),
    "b1": (1.0, 1.1, 0.2),
    "b2": (1.1, 1.2, 0.3),
    "b3": (1.2, 1.4, 0.3),
    "b4": (1.4, 1.8, 0.4),
    "b5": (1.6, 2.2, 0.4),
    "b6": (1.8, 2.6, 0.5),
    "b7": (2.0, 3.1, 0.5),
}
FUSED = 3  # stages of v2 in which one convolution is in place of the 1x1 and the depthwise one
V2 = {  # Table 4, and the authors' code for m and l; the same columns
    "v2_s": (
        (1, 3, 1, 24, 2), (4, 3, 2, 48, 4), (4, 3, 2, 64, 4),
        (4, 3, 2, 128, 6), (6, 3, 1, 160, 9), (6, 3, 2, 256, 15),
    ),
    "v2_m": (
        (1, 3, 1, 24, 3), (4, 3, 2, 48, 5), (4, 3, 2, 80, 5),
        (4, 3, 2, 160, 7), (6, 3, 1, 176, 14), (6, 3, 2, 304, 18), (6, 3, 1, 512, 5),
    ),
    "v2_l": (
        (1, 3, 1, 32, 4), (4, 3, 2, 64, 7), (4, 3, 2, 96, 7),
        (4, 3, 2, 192, 10), (6, 3, 1, 224, 19), (6, 3, 2, 384, 25), (6, 3, 1, 640, 7),
    ),
}  # fmt: skip
DROPOUT = {"v2_s": 0.2, "v2_m": 0.3, "v2_l": 0.4}


class MBConv(nn.Module):
    """EfficientNetV2's Figure 2: 1x1 to `times` as many maps, depthwise, squeeze-and-excitation, 1x1; or `fused`.

    x is added if it fits. `drop`: the probability with which stochastic depth leaves the block out.
    """

    def __init__(
        self, inputs: int, times: int, kernel: int, stride: int, outputs: int, *, fused: bool, drop: float, norm: Any,
        rng: Any,
    ):  # fmt: skip
        wide = multiple(inputs * times)
        unit = partial(conv_norm, norm=norm, activation=nn.SiLU, rng=rng)
        last = unit(wide, outputs, 1, activation=None)
        if fused and times == 1:
            layers = [unit(inputs, outputs, kernel, stride)]
        elif fused:
            layers = [unit(inputs, wide, kernel, stride), last]
        else:
            squeeze = SqueezeExcitation(wide, max(1, inputs // 4), activation=nn.SiLU, rng=rng)
            layers = [unit(inputs, wide, 1)] if times > 1 else []
            layers += [unit(wide, wide, kernel, stride, groups=wide), squeeze, last]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop, rng=rng)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.block(x)) if self.skip else self.block(x)


class EfficientNet(nn.Sequential):
    """A 3x3 stem of `first` maps, the stages of `rows`, a 1x1 convolution to `last` maps, means, logits."""

    def __init__(
        self, rows: tuple, first: int, last: int, num_classes: int, in_channels: int, *, fused: int, dropout: float,
        stochastic_depth: float, transform_input: bool, norm: Any, rng: Any,
    ):  # fmt: skip
        rng = stream(rng)
        self.transform_input = transform_input
        unit = partial(conv_norm, norm=norm, activation=nn.SiLU, rng=rng)
        features, maps = [unit(in_channels, first, 3, 2)], first
        total, done = sum(row[-1] for row in rows), 0
        for i, (times, kernel, stride, outputs, count) in enumerate(rows):
            stage = []
            for j in range(count):
                drop = stochastic_depth * done / total
                step = 1 if j else stride
                stage.append(
                    MBConv(maps, times, kernel, step, outputs, fused=i < fused, drop=drop, norm=norm, rng=rng)
                )
                maps, done = outputs, done + 1
            features.append(nn.Sequential(*stage))
        super().__init__(
            {
                "features": nn.Sequential(*features, unit(maps, last, 1)),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(nn.Dropout(dropout, rng=rng), nn.Linear(last, num_classes, rng=rng)),
            }
        )
        redraw(self, nn.Conv2d, he_fan_out, rng, bias=0)
        bound = num_classes**-0.5
        redraw(self, nn.Linear, partial(nn.init.uniform, low=-bound, high=bound), rng, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(googles_colours(x) if self.transform_input else x)


def efficientnet(
    version: str, num_classes: int = 1000, in_channels: int = 3, *, dropout: float | None = None,
    stochastic_depth: float = 0.2, transform_input: bool = False, rng: Any = None,
) -> EfficientNet:  # fmt: skip
    """EfficientNet `version`, "b0" to "b7": Table 1, scaled; "v2_s", "v2_m", "v2_l". `dropout`: the paper's.

    torchvision's weights of v2_l need `transform_input=True`, as GoogLeNet's.
    """
    if version in V2:
        rows, last, fused, norm = V2[version], 1280, FUSED, partial(nn.BatchNorm2d, eps=0.001)
        first, usual = rows[0][3], DROPOUT[version]
    else:
        width, depth, usual = SCALES[version]
        rows = tuple((*row, multiple(maps * width), ceil(count * depth)) for *row, maps, count in B0)
        first, last, fused = multiple(32 * width), 4 * rows[-1][3], 0
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01) if version >= "b5" else nn.BatchNorm2d
    return EfficientNet(
        rows, first, last, num_classes, in_channels, fused=fused, dropout=usual if dropout is None else dropout,
        stochastic_depth=stochastic_depth, transform_input=transform_input, norm=norm, rng=rng,
    )  # fmt: skip


EFFICIENTNETS = {f"efficientnet_{version}": partial(efficientnet, version) for version in (*SCALES, *V2)}
