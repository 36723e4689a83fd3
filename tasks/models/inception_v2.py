"""Inception v2, BN-Inception: GoogLeNet with batch norm, two 3x3 kernels for each 5x5, and pools that halve the size
within modules.

Source: Ioffe and Szegedy, "Batch normalization", ICML 2015, figure 5. torchvision has none; the names of the layers
are those of the authors' network in Caffe and of Cadene's pretrained-models.pytorch (`bninception`), whose weights
load: there convolutions have biases, and two pools are projected to 128 maps where the paper has 96.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from .blocks import multiple
from .googlenet import MEAN, STD, recoloured
from .initial import he_fan_out, redraw, stream, thin

# Figure 5: maps of the 1x1 (none: the module halves the size), of the reduction of the 3x3 and the 3x3, of that of the
# double 3x3 and of both of its convolutions, the pool, and the maps it is projected to (none: it stays as it is)
#        1x1   3x3        double 3x3  pool
FIGURE_5 = {
    "3a": (64, 64, 64, 64, 96, "avg", 32),
    "3b": (64, 64, 96, 64, 96, "avg", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "avg", 128),
    "4b": (192, 96, 128, 96, 128, "avg", 128),
    "4c": (160, 128, 160, 128, 160, "avg", 96),
    "4d": (96, 128, 192, 160, 192, "avg", 96),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "avg", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}
CAFFES = {"4c": 128, "4d": 128}  # the pool's maps there
CAFFES_MEAN = np.array([104.0, 117.0, 128.0])  # of blue, green and red from 0 to 255


class Halved(nn.Module):
    """Max pooling to half the size, rounded up: 3x3 windows from the upper left corner on, where the size is even."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool(x, 3, stride=2, padding=tuple(n % 2 for n in x.shape[2:]), ceil_mode=True)


class Trunk(nn.Module):
    """Figure 5 from the top down to the module `last`, to be run module by module; `widths` has how many maps each
    gives."""

    def __init__(self, in_channels: int, width_mult: float, caffe: bool = False, last: str = "5b", rng: Any = None):
        self.rng, self.width_mult, self.caffe = stream(rng), width_mult, caffe
        stem, outputs = self._maps(64), self._maps(192)
        self._unit("conv1_7x7_s2", in_channels, stem, 7, 2)
        self._unit("conv2_3x3_reduce", stem, stem, 1)
        self._unit("conv2_3x3", stem, outputs, 3)
        self.halved, self.averaged = Halved(), nn.AvgPool2d(3, stride=1, padding=1)
        self.largest = nn.MaxPool2d(3, stride=1, padding=1)
        self.widths = {"stem": outputs}
        for name in list(FIGURE_5)[: list(FIGURE_5).index(last) + 1]:
            outputs = self.widths[name] = self._module(name, outputs)
        redraw(self, nn.Conv2d, he_fan_out, self.rng, bias=0)

    def _maps(self, count: int) -> int:
        return multiple(count * self.width_mult)

    def _unit(self, name: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """A convolution and its batch norm."""
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=self.caffe, rng=self.rng)
        self.add_module(name, conv)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def _module(self, name: str, inputs: int) -> int:
        """The convolutions of a module, and how many maps it gives."""
        one, reduce3, three, reduce33, double, _, projected = FIGURE_5[name]
        projected = CAFFES.get(name, projected) if self.caffe else projected
        start, stride, ends = f"inception_{name}_", 1 if one else 2, [three, double]
        if one:
            self._unit(start + "1x1", inputs, self._maps(one), 1)
            ends.append(one)
        self._unit(start + "3x3_reduce", inputs, self._maps(reduce3), 1)
        self._unit(start + "3x3", self._maps(reduce3), self._maps(three), 3, stride)
        self._unit(start + "double_3x3_reduce", inputs, self._maps(reduce33), 1)
        self._unit(start + "double_3x3_1", self._maps(reduce33), self._maps(double), 3)
        self._unit(start + "double_3x3_2", self._maps(double), self._maps(double), 3, stride)
        if projected:
            self._unit(start + "pool_proj", inputs, self._maps(projected), 1)
            ends.append(projected)
        return sum(map(self._maps, ends)) + (0 if projected else inputs)

    def through(self, x: Tensor, *names: str) -> Tensor:
        """Convolutions, each with its batch norm and a relu."""
        for name in names:
            x = F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))
        return x

    def module(self, name: str, x: Tensor) -> Tensor:
        """A module of figure 5: its branches side by side, their maps one after another."""
        start, (one, *_, pool, projected) = f"inception_{name}_", FIGURE_5[name]
        branches = [self.through(x, start + "1x1")] if one else []
        branches.append(self.through(x, start + "3x3_reduce", start + "3x3"))
        double = (start + "double_3x3_reduce", start + "double_3x3_1", start + "double_3x3_2")
        branches.append(self.through(x, *double))
        pooled = (self.averaged if pool == "avg" else self.largest if one else self.halved)(x)
        branches.append(self.through(pooled, start + "pool_proj") if projected else pooled)
        return F.concat(branches, axis=1)

    def outputs(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The stem's maps, a fourth of the size, and those of each module, by its name."""
        x = self.through(self.halved(self.through(x, "conv1_7x7_s2")), "conv2_3x3_reduce", "conv2_3x3")
        yield "stem", x
        x = self.halved(x)
        for name in list(self.widths)[1:]:
            x = self.module(name, x)
            yield name, x


class InceptionV2(Trunk):
    """Figure 5 from top to bottom."""

    def __init__(
        self, num_classes: int, in_channels: int, width_mult: float, dropout: float, caffe: bool,
        transform_input: bool, rng: Any,
    ):  # fmt: skip
        rng = stream(rng)
        super().__init__(in_channels, width_mult, caffe, rng=rng)
        self.transform_input = transform_input
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.dropout = nn.Dropout(dropout, rng=rng)
        self.last_linear = nn.Linear(self.widths["5b"], num_classes, rng=rng)
        redraw(self, nn.Linear, thin, rng, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        *_, (_, x) = self.outputs(caffes_colours(x) if self.transform_input else x)
        return self.last_linear(self.dropout(self.flatten(self.avgpool(x))))


def caffes_colours(x: Tensor) -> Tensor:
    """From colours less ImageNet's mean by its deviation to blue, green and red from 0 to 255, less their mean."""
    return recoloured(x[:, ::-1], 255 * STD[::-1], 255 * MEAN[::-1] - CAFFES_MEAN)


def inception_v2(
    num_classes: int = 1000, in_channels: int = 3, *, width_mult: float = 1.0, dropout: float = 0.2,
    caffe: bool = False, transform_input: bool = False, rng: Any = None,
) -> InceptionV2:  # fmt: skip
    """Inception v2 for 224x224: 11,194,984 parameters.

    width_mult: all maps as many times as wide, rounded to multiples of 8. caffe: with biases and two pools' maps as in
    the network of Caffe, 11,295,240 parameters; Cadene's weights need it, and `transform_input=True`.
    """
    if transform_input and in_channels != 3:
        raise ValueError(f"transform_input is about red, green and blue, got in_channels={in_channels}")
    return InceptionV2(num_classes, in_channels, width_mult, dropout, caffe, transform_input, rng)
