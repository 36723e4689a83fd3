"""The U-Net that many train: milesial's Pytorch-UNet, by its names of layers.

Source: https://github.com/milesial/Pytorch-UNet; Ronneberger et al., "U-Net", MICCAI 2015, with padding and batch norm.
"""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from .initial import stream

MAPS = (64, 128, 256, 512, 1024)


class DoubleConv(nn.Module):
    """Twice: 3x3 convolution, batch norm, relu; `inner` maps between the two."""

    def __init__(self, inputs: int, outputs: int, inner: int | None, bias: bool, rng: Any):
        layers = []
        for first, second in ((inputs, inner or outputs), (inner or outputs, outputs)):
            layers += [nn.Conv2d(first, second, 3, padding=1, bias=bias, rng=rng), nn.BatchNorm2d(second), nn.ReLU()]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Down(nn.Module):
    """Half the size, and a double convolution."""

    def __init__(self, inputs: int, outputs: int, bias: bool, rng: Any):
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs, None, bias, rng))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Twice the size, by a transposed convolution or bilinear; the skip before it; a double convolution."""

    def __init__(self, inputs: int, outputs: int, bilinear: bool, bias: bool, rng: Any):
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        else:
            self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2, rng=rng)
        self.conv = DoubleConv(inputs, outputs, inputs // 2 if bilinear else None, bias, rng)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        missing = [n - m for n, m in zip(skip.shape[2:], x.shape[2:])]  # of sizes that a pool did not halve
        x = F.pad(x, [(m // 2, m - m // 2) for m in missing])
        return self.conv(F.concat([skip, x], axis=1))


class MilesialUNet(nn.Module):
    """Four levels down and up. `bilinear`: no transposed convolutions, and half of the maps at the bottom.

    `bias`: convolutions before batch norm have biases, as those of its files of 2021 and before.
    """

    def __init__(
        self, num_classes: int = 2, in_channels: int = 3, *, bilinear: bool = False, bias: bool = False, rng: Any = None
    ):
        rng = stream(rng)
        self.inc = DoubleConv(in_channels, MAPS[0], None, bias, rng)
        down = [*MAPS[:4], MAPS[4] // 2 if bilinear else MAPS[4]]
        for i in range(1, 5):
            self.add_module(f"down{i}", Down(down[i - 1], down[i], bias, rng))
        for i in range(1, 5):
            outputs = MAPS[4 - i] // 2 if bilinear and i < 4 else MAPS[4 - i]
            self.add_module(f"up{i}", Up(MAPS[5 - i], outputs, bilinear, bias, rng))
        self.outc = nn.Sequential({"conv": nn.Conv2d(MAPS[0], num_classes, 1, rng=rng)})

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, maps.pop())
        return self.outc(x)
