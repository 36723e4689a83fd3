"""MNASNet: MobileNetV2's blocks with kernels of 3 and 5, found by a search that measures time on a telephone.

Source: Tan et al., "MnasNet: platform-aware neural architecture search for mobile", CVPR 2019; their B1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import Tensor, nn

from .blocks import conv_norm, multiple
from .initial import he_fan_out, redraw, stream

STACKS = (  # kernel, stride, how many times wider a block is within, blocks, maps
    (3, 2, 3, 3, 24),
    (5, 2, 3, 3, 40),
    (5, 2, 6, 3, 80),
    (3, 1, 6, 2, 96),
    (5, 2, 6, 4, 192),
    (3, 1, 6, 1, 320),
)
WIDTHS = {"mnasnet0_5": 0.5, "mnasnet0_75": 0.75, "mnasnet1_0": 1.0, "mnasnet1_3": 1.3}
norm = partial(nn.BatchNorm2d, momentum=0.0003)


class InvertedResidual(nn.Module):
    """1x1 to `times` as many maps, depthwise, 1x1 to `outputs` without activation; x added if it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, times: int, rng: Any):
        wide = times * inputs
        self.layers = nn.Sequential(
            *conv_norm(inputs, wide, 1, norm=norm, rng=rng),
            *conv_norm(wide, wide, kernel, stride, groups=wide, norm=norm, rng=rng),
            *conv_norm(wide, outputs, 1, norm=norm, activation=None, rng=rng),
        )
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skip else self.layers(x)


class MNASNet(nn.Sequential):
    """A depthwise separable convolution, stacks of blocks, a 1x1 convolution, means, logits.

    `width`: what the numbers of maps are multiplied by.
    """

    def __init__(
        self, width: float, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.2, rng: Any = None
    ):
        rng, last = stream(rng), 1280
        first, maps = multiple(32 * width), multiple(16 * width)
        layers = [
            *conv_norm(in_channels, first, 3, 2, norm=norm, rng=rng),
            *conv_norm(first, first, 3, groups=first, norm=norm, rng=rng),
            *conv_norm(first, maps, 1, norm=norm, activation=None, rng=rng),
        ]
        for kernel, stride, times, count, outputs in STACKS:
            stack, outputs = [], multiple(outputs * width)
            for i in range(count):
                stack.append(InvertedResidual(maps, outputs, kernel, 1 if i else stride, times, rng))
                maps = outputs
            layers.append(nn.Sequential(*stack))
        super().__init__(
            {
                "layers": nn.Sequential(*layers, *conv_norm(maps, last, 1, norm=norm, rng=rng)),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(nn.Dropout(dropout, rng=rng), nn.Linear(last, num_classes, rng=rng)),
            }
        )
        redraw(self, nn.Conv2d, he_fan_out, rng)
        sigmoid = partial(nn.init.kaiming_uniform, mode="fan_out", nonlinearity="sigmoid")
        redraw(self, nn.Linear, sigmoid, rng, bias=0)


MNASNETS = {name: partial(MNASNet, width) for name, width in WIDTHS.items()}
