"""SSD300 and SSDlite: the maps of VGG-16 or MobileNetV3 and of four steps behind it, and their default boxes.

Sources: Liu et al., "SSD: single shot multibox detector", ECCV 2016, section 3.1, in the authors' later numbers;
Sandler et al., "MobileNetV2", CVPR 2018, section 6.2; Howard et al., "Searching for MobileNetV3", ICCV 2019, 6.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from minidl import Parameter, Tensor, nn
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import stream
from ...models.mobilenet_v3 import LARGE, trunk
from ...models.vgg import CONVOLUTIONS, MAPS, convolutions

STRIDES = (8, 16, 32, 64, 100, 300)
SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)  # of a picture's side, on each map, and what would be next
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
LITE_STRIDES = tuple(320 / cells for cells in (20, 10, 5, 3, 2, 1))
LITE_SCALES = (*(0.2 + 0.15 * k for k in range(6)), 1.0)
LITE_RATIOS = ((2, 3),) * 6
HALVED = tuple((5, wide, 80, *rest) for (_, _, _, *rest), wide in zip(LARGE[-3:], (672, 480, 480)))  # the last stage's
lite = partial(conv_norm, norm=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03), activation=nn.ReLU6)


def squares_second(
    size: float, scales: Sequence[float], ratios: Sequence[Sequence[float]]
) -> tuple[np.ndarray, ...]:
    """Widths and heights of the default boxes of each map, for a picture of this side: the square of its scale, the
    square between it and the next, then each ratio lying and standing. None is larger than the picture."""
    shapes = []
    for scale, after, of_map in zip(scales[:-1], scales[1:], ratios, strict=True):
        pairs = [(1.0, 1.0), ((after / scale) ** 0.5,) * 2]
        for ratio in of_map:
            pairs += [(ratio**0.5, ratio**-0.5), (ratio**-0.5, ratio**0.5)]
        shapes.append(size * (scale * np.array(pairs)).clip(0, 1))
    return tuple(shapes)


class VGGMaps(nn.Module):
    """Six maps of VGG-16: after its tenth convolution, scaled; after two convolutions in the place of its hidden
    layers, the first 3x3 with holes of 6; and after each of four steps of a 1x1 and a 3x3 convolution.

    The first map has larger numbers than the others: each cell is brought to length 1 over the channels, then each
    channel multiplied by a learned number, 20 at the start (Liu et al., "ParseNet", 2015). The third pooling rounds up.
    """

    channels, strides = (512, 1024, 512, 256, 256, 256), STRIDES

    def __init__(self, rng: Any = None):
        rng = stream(rng)
        layers = convolutions(3, CONVOLUTIONS["D"], MAPS, False, rng)
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        layers[pools[2]] = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.scale_weight = Parameter(np.full(512, 20, np.float32))
        self.features = nn.Sequential(*layers[: pools[3]])
        hidden = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(512, 1024, 3, padding=6, dilation=6, rng=rng), nn.ReLU(),
            nn.Conv2d(1024, 1024, 1, rng=rng), nn.ReLU(),
        )  # fmt: skip
        steps = ((1024, 256, 512, 2, 1), (512, 128, 256, 2, 1), (256, 128, 256, 1, 0), (256, 128, 256, 1, 0))
        self.extra = nn.ModuleList([nn.Sequential(*layers[pools[3] : -1], hidden)])
        for inputs, narrow, outputs, stride, padding in steps:
            first = nn.Conv2d(inputs, narrow, 1, rng=rng)
            second = nn.Conv2d(narrow, outputs, 3, stride, padding, rng=rng)
            self.extra.append(nn.Sequential(first, nn.ReLU(), second, nn.ReLU()))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.features(x)
        maps = [self.scale_weight[:, None, None] * F.normalize(x)]
        for step in self.extra:
            x = step(x)
            maps.append(x)
        return maps


class MobileMaps(nn.Module):
    """Six maps of MobileNetV3, whose last stage has half the maps: after the first layer of that, which widens, at its
    end, and after each of four steps of a 1x1, a depthwise and a 1x1 convolution."""

    channels, strides = (672, 480, 512, 256, 256, 128), LITE_STRIDES

    def __init__(self, rng: Any = None):
        rng = stream(rng)
        layers = list(trunk((*LARGE[:-3], *HALVED), 3, rng=rng))
        split = len(layers) - 4
        block = layers[split].block
        self.features = nn.Sequential(
            nn.Sequential(*layers[:split], block[0]), nn.Sequential(block[1:], *layers[split + 1 :])
        )
        self.extra = nn.ModuleList()
        for inputs, outputs in zip(self.channels[1:], self.channels[2:]):
            narrow = outputs // 2
            depthwise = lite(narrow, narrow, 3, 2, groups=narrow, rng=rng)
            steps = lite(inputs, narrow, 1, rng=rng), depthwise, lite(narrow, outputs, 1, rng=rng)
            self.extra.append(nn.Sequential(*steps))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for step in (*self.features, *self.extra):
            x = step(x)
            maps.append(x)
        return maps


def lite_predictor(channels: int, outputs: int, rng: Any = None) -> nn.Sequential:
    """A depthwise 3x3 and a 1x1 convolution, in the place of one 3x3 (SSDlite)."""
    return nn.Sequential(lite(channels, channels, groups=channels, rng=rng), nn.Conv2d(channels, outputs, 1, rng=rng))
