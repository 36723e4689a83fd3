"""V-Net: a U-Net for volumes, without pooling and with a shortcut around every stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

CONVOLUTIONS = (1, 2, 3, 3, 3)  # per stage on the way down: the paper's figure 2
SLOPE = 0.25  # of PReLU, at the start


class VNet(nn.Module):
    """x (N, in_channels, D, H, W) gives logits (N, num_classes, D, H, W).

    Stage s works at 1/2^s of the resolution with ``width * 2^s`` channels: `convolutions[s]` convolutions of kernel^3,
    and what comes out is added to what went in. Convolutions 2^3 of stride 2 lead down, transposed ones up; there the
    map from the way down is concatenated, and a stage with twice its channels follows. PReLU after each, one slope per
    channel; a convolution 1^3 makes the logits. D, H and W must divide by 2^(stages - 1).

    The defaults are the paper's network: softmax over two classes, volumes of 128 x 128 x 64, 16 to 256 channels.
    `ascending`: the numbers of convolutions on the way up, from the deepest; by default those of the way down.
    Source: Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, section 2 and figure 2.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 2, *, width: int = 16, stages: int = 5, kernel: int = 5,
        convolutions: Sequence[int] | None = None, ascending: Sequence[int] | None = None,
        rng: np.random.Generator | int | None = None,
    ):  # fmt: skip
        convolutions = tuple(convolutions or (*CONVOLUTIONS, *(3,) * stages)[:stages])
        ascending = tuple(ascending if ascending is not None else convolutions[-2::-1])
        if len(convolutions) != stages or len(ascending) != stages - 1:
            raise ValueError(
                f"VNet: {stages} stages need {stages} numbers of convolutions on the way down and {stages - 1} on the "
                f"way up, got {convolutions} and {ascending}"
            )
        if kernel % 2 == 0 or width % in_channels:
            raise ValueError(
                f"VNet needs an odd kernel and a width that in_channels divides, so that the input can be repeated "
                f"for the first shortcut; got kernel {kernel}, width {width}, in_channels {in_channels}"
            )
        rng = nn.init.generator(rng)
        self.factor = 2 ** (stages - 1)
        self.first = Stage(in_channels, width, convolutions[0], kernel, rng)
        self.down, self.stages = nn.ModuleList([]), nn.ModuleList([])
        self.up, self.joined = nn.ModuleList([]), nn.ModuleList([])
        for count in convolutions[1:]:
            self.down.append(Down(width, rng))
            width *= 2
            self.stages.append(Stage(width, width, count, kernel, rng))
        inputs = width
        for count in ascending:
            self.up.append(Up(inputs, width // 2, rng))
            self.joined.append(Stage(width, width, count, kernel, rng))
            inputs, width = width, width // 2
        self.last = _drawn(nn.Conv3d(inputs, num_classes, 1, rng=rng), inputs, rng)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or any(n % self.factor or not n for n in x.shape[2:]):
            raise ValueError(
                f"VNet of {len(self.down) + 1} stages takes (N, C, D, H, W) with sides that divide by {self.factor}, "
                f"got {x.shape}; pad the volume, or take fewer stages"
            )
        x = self.first(x)
        kept = []
        for down, stage in zip(self.down, self.stages):
            kept.append(x)
            x = stage(down(x))
        for up, stage in zip(self.up, self.joined):
            x = stage(F.concat([up(x), kept.pop()], axis=1))
        return self.last(x)


class Stage(nn.Module):
    """``prelu(conv(...prelu(conv(x))) + x)``; where channels are added, x is repeated to as many."""

    def __init__(self, inputs: int, channels: int, count: int, kernel: int, rng: np.random.Generator):
        self.convs, self.prelus = nn.ModuleList([]), nn.ModuleList([])
        for i in range(count):
            fan_in = inputs if i == 0 else channels
            conv = nn.Conv3d(fan_in, channels, kernel, padding=kernel // 2, rng=rng)
            self.convs.append(_drawn(conv, fan_in * kernel**3, rng))
            self.prelus.append(nn.PReLU(channels, SLOPE))
        self.repeat = channels // inputs

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, prelu) in enumerate(zip(self.convs, self.prelus), 1):
            y = conv(y)
            if i == len(self.convs):
                y = y + (F.concat([x] * self.repeat, axis=1) if self.repeat > 1 else x)
            y = prelu(y)
        return y


class Down(nn.Module):
    """Half the resolution, twice the channels."""

    def __init__(self, inputs: int, rng: np.random.Generator):
        self.conv = _drawn(nn.Conv3d(inputs, 2 * inputs, 2, stride=2, rng=rng), inputs * 8, rng)
        self.prelu = nn.PReLU(2 * inputs, SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.conv(x))


class Up(nn.Module):
    """Twice the resolution. Each output voxel sees one tap of each input channel: stride and kernel are equal."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator):
        self.conv = _drawn(nn.ConvTranspose3d(inputs, outputs, 2, stride=2, rng=rng), inputs, rng)
        self.prelu = nn.PReLU(outputs, SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.conv(x))


def _drawn(layer: nn.Module, fan_in: int, rng: np.random.Generator) -> nn.Module:
    """Weights of He's standard deviation for PReLU, biases of zero: what the authors' network starts from."""
    std = nn.init.gain("leaky_relu", SLOPE) / np.sqrt(fan_in)
    layer.weight.data = nn.init.normal(layer.weight.shape, rng, std=std)
    layer.bias.data = nn.init.zeros(layer.bias.shape)
    return layer
