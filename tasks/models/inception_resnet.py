"""Inception-ResNet-v2: modules of several kernels whose output, scaled down, is added to their input.

Source: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the impact of residual connections on
learning", AAAI 2017, in the numbers of the authors' code (TF-slim), which differ from the figures' in the stem, that
of Inception v3, and in the widths of the modules. torchvision has none; the names of the layers are timm's and
Cadene's, whose weights load.
"""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from .blocks import multiple
from .googlenet import BasicConv2d, googles_colours
from .initial import he_fan_out, redraw, stream, thin

# A branch is a chain of convolutions: maps and kernel, and the stride of the last where a module halves the size
STEM = {
    "conv2d_1a": (32, 3, 2), "conv2d_2a": (32, 3), "conv2d_2b": (64, 3), "maxpool_3a": None, "conv2d_3b": (80, 1),
    "conv2d_4a": (192, 3), "maxpool_5a": None,
}  # fmt: skip
MIXED_5B = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)), ("avg", (64, 1)))
BLOCK_35 = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))  # figure 16
MIXED_6A = (((384, 3, 2),), ((256, 1), (256, 3), (384, 3, 2)), ("max",))  # figure 7
BLOCK_17 = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))  # figure 17
MIXED_7A = (((256, 1), (384, 3, 2)), ((256, 1), (288, 3, 2)), ((256, 1), (288, 3), (320, 3, 2)), ("max",))  # figure 18
BLOCK_8 = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))  # figure 19
SCALES = (0.17, 0.1, 0.2)  # of what blocks 35, 17 and 8 add (section 3.3)
COUNTS = (10, 20, 9)
LAST = 1536


class Maker:
    """Makes convolutions of `width_mult` times the maps; with `same` every one pads, so that sizes are kept, or halved
    to whole numbers, where the paper's stem and reductions lose a border."""

    def __init__(self, width_mult: float, same: bool, rng: Any):
        self.width_mult, self.same, self.rng = width_mult, same, rng

    def maps(self, count: int) -> int:
        return multiple(count * self.width_mult)

    def conv(self, inputs: int, outputs: int, kernel: Any, stride: int = 1, pads: bool = True) -> BasicConv2d:
        high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (high // 2, wide // 2) if self.same or (pads and stride == 1) else 0
        return BasicConv2d(
            inputs, self.maps(outputs), kernel_size=(high, wide), stride=stride, padding=padding, rng=self.rng
        )

    def pool(self, kind: str = "max") -> nn.Module:
        """A mean that keeps the size, or a maximum that halves it."""
        if kind == "avg":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        return nn.MaxPool2d(3, stride=2, padding=int(self.same))

    def branches(self, inputs: int, table: tuple) -> tuple[dict[str, nn.Module], int]:
        """branch0, branch1, ... of a module, and how many maps they give together."""
        found, total = {}, 0
        for i, chain in enumerate(table):
            layers, maps = [], inputs
            for step in chain:
                layers.append(self.pool(step) if isinstance(step, str) else self.conv(maps, *step))
                maps = maps if isinstance(step, str) else self.maps(step[0])
            found[f"branch{i}"] = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
            total += maps
        return found, total


class Mixed(nn.Module):
    """Branches side by side, their maps one after another."""

    def __init__(self, inputs: int, table: tuple, make: Maker):
        branches, self.out_channels = make.branches(inputs, table)
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return F.concat([branch(x) for branch in self.children()], axis=1)


class Block(nn.Module):
    """relu(x + scale * a 1x1 convolution of the branches); `last`: without the relu."""

    def __init__(self, maps: int, table: tuple, scale: float, make: Maker, last: bool = False):
        self.scale, self.last = scale, last
        branches, total = make.branches(maps, table)
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.conv2d, self.names = nn.Conv2d(total, maps, 1, rng=make.rng), tuple(branches)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.conv2d(F.concat([getattr(self, name)(x) for name in self.names], axis=1))
        return x if self.last else F.relu(x)


class InceptionResNetV2(nn.Sequential):
    """Figure 15 from top to bottom."""

    def __init__(
        self, num_classes: int, in_channels: int, width_mult: float, counts: tuple[int, int, int], same: bool,
        dropout: float, transform_input: bool, rng: Any,
    ):  # fmt: skip
        rng = stream(rng)
        make, maps = Maker(width_mult, same, rng), in_channels
        layers: dict[str, nn.Module] = {}
        for name, step in STEM.items():
            layers[name] = make.conv(maps, *step, pads=name == "conv2d_2b") if step else make.pool()
            maps = make.maps(step[0]) if step else maps
        kinds = zip(("", "_1", "_2"), (MIXED_5B, MIXED_6A, MIXED_7A), (BLOCK_35, BLOCK_17, BLOCK_8), SCALES, counts)
        for (number, mixed, block, scale, count), name in zip(kinds, ("mixed_5b", "mixed_6a", "mixed_7a")):
            layers[name] = Mixed(maps, mixed, make)
            maps = layers[name].out_channels
            layers[f"repeat{number}"] = nn.Sequential(*(Block(maps, block, scale, make) for _ in range(count)))
        layers["block8"] = Block(maps, BLOCK_8, 1.0, make, last=True)
        layers["conv2d_7b"] = make.conv(maps, LAST, 1)
        layers |= {
            "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": nn.Dropout(dropout, rng=rng),
            "last_linear": nn.Linear(make.maps(LAST), num_classes, rng=rng),
        }  # fmt: skip
        super().__init__(layers)
        self.transform_input = transform_input
        redraw(self, nn.Conv2d, he_fan_out, rng, bias=0)
        redraw(self, nn.Linear, thin, rng, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(googles_colours(x) if self.transform_input else x)


def inception_resnet_v2(
    num_classes: int = 1000, in_channels: int = 3, *, width_mult: float = 1.0,
    counts: tuple[int, int, int] = COUNTS, same: bool = False, dropout: float = 0.2, transform_input: bool = False,
    rng: Any = None,
) -> InceptionResNetV2:  # fmt: skip
    """Inception-ResNet-v2 for 299x299: 55,843,464 parameters.

    width_mult: all maps as many times as wide, rounded to multiples of 8. counts: of the blocks 35, 17 and 8 in a row.
    same: every convolution pads, see `Maker`. timm's and Cadene's weights need `transform_input=True`.
    """
    if transform_input and in_channels != 3:
        raise ValueError(f"transform_input is about red, green and blue, got in_channels={in_channels}")
    return InceptionResNetV2(num_classes, in_channels, width_mult, tuple(counts), same, dropout, transform_input, rng)
