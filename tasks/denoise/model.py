"""The networks: the lecture's four layers, and DnCNN. Both take (N, channels, H, W) of any size and keep it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, nn

TARGETS = ("residual", "clean")


class Denoiser(nn.Module):
    """A stack of 3x3 convolutions, and what its output means.

    target: "residual", the stack learns the noise and the denoiser returns y - stack(y); or "clean", it returns
    stack(y). `radius` is how many pixels away an input pixel can still change an output pixel: one per convolution;
    moving the image by one pixel, the `period`, moves the output alike.
    """

    padded, period = True, 1

    def __init__(self, layers: list[nn.Module], stack: str, target: str):
        if target not in TARGETS:
            raise ValueError(f"target {target!r} is unknown: one of {', '.join(TARGETS)}")
        self.target, self.stack = target, stack
        setattr(self, stack, nn.Sequential(*layers))
        self.channels = layers[0].in_channels
        self.radius = sum(isinstance(layer, nn.Conv2d) for layer in layers)

    def forward(self, y: Tensor) -> Tensor:
        out = getattr(self, self.stack)(y)
        return y - out if self.target == "residual" else out

    def extra_repr(self) -> str:
        return f"target={self.target!r}"


class LectureDenoiser(Denoiser):
    """The lecture's denoiser: channels -> width -> width -> width -> channels, batch norm and relu after three.

    No convolution has a bias: batch norm would take it away again, and the noise, which the last one gives, has mean
    zero. The lecture's listing does not run; repaired are the arguments of super(), the name of the argument padding,
    and the comma after the third relu.
    """

    def __init__(self, channels: int = 1, width: int = 64, target: str = "residual", *, rng: Any = None):
        rng = nn.init.generator(rng)
        layers = []
        for inputs in (channels, width, width):
            layers += [_conv(inputs, width, rng), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__([*layers, _last(width, channels)], "main", target)


class DnCNN(Denoiser):
    """conv, relu; depth - 2 times conv, batch norm, relu; conv. 556,096 parameters at depth 17, width 64, gray.

    The first convolution has a bias; those before a batch norm have none, nor has the last. Parameter names are those
    of the authors' PyTorch code (dncnn.0.weight ...), so its weights load as they stand.
    Source: Zhang et al., "Beyond a Gaussian denoiser", IEEE Transactions on Image Processing 26(7), 2017.
    """

    def __init__(
        self, channels: int = 1, depth: int = 17, width: int = 64, target: str = "residual", *, rng: Any = None
    ):
        if depth < 2:
            raise ValueError(f"DnCNN has at least 2 convolutions, got depth={depth}")
        rng = nn.init.generator(rng)
        layers = [_conv(channels, width, rng, bias=True), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [_conv(width, width, rng), nn.BatchNorm2d(width, eps=1e-4), nn.ReLU()]
        super().__init__([*layers, _last(width, channels)], "dncnn", target)


def _conv(inputs: int, outputs: int, rng: np.random.Generator, bias: bool = False) -> nn.Conv2d:
    """3x3, half padding, He's initialisation, a bias of zero."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias, rng=rng)
    conv.weight.data = nn.init.kaiming_normal(conv.weight.shape, rng, nonlinearity="relu")
    if bias:
        conv.bias.data = nn.init.zeros(conv.bias.shape)
    return conv


def _last(inputs: int, outputs: int) -> nn.Conv2d:
    """The last convolution starts at zero: a residual denoiser is the identity then, and a short training suffices."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    conv.weight.data = nn.init.zeros(conv.weight.shape)
    return conv
