"""MobileNet: each convolution taken apart into a 3x3 within every map and a 1x1 across the maps.

Source: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017.
torchvision has none; the names of the layers are timm's (`mobilenetv1_100`), whose weights load.
"""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn

from .blocks import multiple
from .googlenet import googles_colours
from .initial import he_fan_out, redraw, stream, thin

STEM = 32
STAGES = (  # Table 1: output maps, blocks, stride of the first
    (64, 1, 1),
    (128, 2, 2),
    (256, 2, 2),
    (512, 6, 2),
    (1024, 2, 2),
)


class DepthwiseSeparable(nn.Sequential):
    """Figure 3, right: depthwise 3x3 and 1x1, batch norm and relu behind both. relu6, as in the authors' code."""

    def __init__(self, inputs: int, outputs: int, stride: int, rng: Any):
        super().__init__(
            {
                "conv_dw": nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False, rng=rng),
                "bn1": nn.BatchNorm2d(inputs),
                "act1": nn.ReLU6(),
                "conv_pw": nn.Conv2d(inputs, outputs, 1, bias=False, rng=rng),
                "bn2": nn.BatchNorm2d(outputs),
                "act2": nn.ReLU6(),
            }
        )


class MobileNetV1(nn.Sequential):
    """Table 1 from top to bottom."""

    def __init__(
        self, num_classes: int, in_channels: int, width_mult: float, dropout: float, transform_input: bool, rng: Any
    ):
        rng, maps = stream(rng), multiple(STEM * width_mult)
        layers: dict[str, nn.Module] = {
            "conv_stem": nn.Conv2d(in_channels, maps, 3, 2, padding=1, bias=False, rng=rng),
            "bn1": nn.BatchNorm2d(maps),
            "act1": nn.ReLU6(),
        }
        blocks = []
        for outputs, count, stride in STAGES:
            stage = []
            for i in range(count):
                stage.append(DepthwiseSeparable(maps, multiple(outputs * width_mult), 1 if i else stride, rng))
                maps = multiple(outputs * width_mult)
            blocks.append(nn.Sequential(*stage))
        layers |= {
            "blocks": nn.Sequential(*blocks), "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(),
            "dropout": nn.Dropout(dropout, rng=rng), "classifier": nn.Linear(maps, num_classes, rng=rng),
        }  # fmt: skip
        super().__init__(layers)
        self.transform_input = transform_input
        redraw(self, nn.Conv2d, he_fan_out, rng)
        redraw(self, nn.Linear, thin, rng, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(googles_colours(x) if self.transform_input else x)


def mobilenet_v1(
    num_classes: int = 1000, in_channels: int = 3, *, width_mult: float = 1.0, dropout: float = 0.2,
    transform_input: bool = False, rng: Any = None,
) -> MobileNetV1:  # fmt: skip
    """MobileNet for 224x224: 4,231,976 parameters.

    width_mult: the paper's alpha, all maps as many times as wide, rounded to multiples of 8. timm's weights need
    `transform_input=True`.
    """
    return MobileNetV1(num_classes, in_channels, width_mult, dropout, transform_input, rng)
