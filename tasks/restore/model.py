"""The networks: one that fills what is missing, one that enlarges, and one that judges whether a picture is real."""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from ..segment.unet import extended

UPSAMPLING = {
    "shuffle": "sub-pixel shuffle", "transposed": "transposed convolution", "resize": "nearest neighbours, convolution",
}  # fmt: skip
SCALES = (2, 3, 4)


class Completer(nn.Module):
    """(N, 3, H, W), the picture with two guesses where it is missing, and how far from what is known, to (N, 1, H, W).

    The first guess plus 4 u (1 - u) times what a network says; u, the third channel, is 0 where a pixel is known and 1
    where none is near: there the first guess stands. The network works at half the size, on squares of four pixels as
    channels: a 3x3 convolution, residual blocks without batch norm, a 3x3 convolution.
    Source: for the half size, Zhang et al., "FFDNet", 2018, section III-A; for the blocks see Enlarger.
    """

    padded, period = True, 2

    def __init__(self, width: int = 32, blocks: int = 6, *, rng: Any = None):
        rng = nn.init.generator(rng)
        self.first = nn.Conv2d(3 * 4, width, 3, padding=1, rng=rng)
        self.blocks = nn.Sequential(*[ResidualBlock(width, rng) for _ in range(blocks)])
        self.last = nn.Conv2d(width, 4, 3, padding=1, rng=rng)
        start_at_zero(self.last)
        self.radius = 2 * (2 * blocks + 2) + 1

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        y = F.pixel_unshuffle(extended(x - 0.5, 2), 2)  # (N, 3, H, W) -> (N, 12, H/2, W/2)
        y = F.pixel_shuffle(self.last(self.blocks(F.relu(self.first(y)))), 2)
        far = x[:, 2:]
        return x[:, :1] + 4 * far * (1 - far) * y[:, :, :height, :width]


class Enlarger(nn.Module):
    """(N, 1, H, W) to (N, 1, scale H, scale W): bicubic interpolation plus what a network adds to it.

    A 3x3 convolution, residual blocks without batch norm, upsampling, a 3x3 convolution. `upsampling` is the sub-pixel
    shuffle of a convolution (Shi et al., "Real-time single image and video super-resolution", CVPR 2016), a transposed
    convolution, or nearest neighbours followed by a convolution. The network sees `radius` small pixels far.
    Source: Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017, figure 3.
    """

    def __init__(
        self, scale: int = 2, width: int = 32, blocks: int = 4, upsampling: str = "shuffle", *, rng: Any = None
    ):
        rng = nn.init.generator(rng)
        self.scale = scale
        self.first = nn.Conv2d(1, width, 3, padding=1, rng=rng)
        self.blocks = nn.Sequential(*[ResidualBlock(width, rng) for _ in range(blocks)])
        self.up = enlarging(width, scale, upsampling, rng)
        self.last = nn.Conv2d(width, 1, 3, padding=1, rng=rng)
        start_at_zero(self.last)
        self.radius = 2 * blocks + 5  # first, blocks, upsampling, last, and bicubic interpolation with room to spare

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.blocks(F.relu(self.first(x))))
        return bicubic(x, self.scale) + self.last(F.leaky_relu(y, 0.1))  # a ReLU dies here, where all was 0 at first


class ResidualBlock(nn.Module):
    """x plus what two 3x3 convolutions make of it."""

    def __init__(self, width: int, rng: Any):
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, rng=rng)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


def enlarging(width: int, scale: int, upsampling: str, rng: Any) -> nn.Module:
    """Maps of `width` channels to as many that are `scale` times as large."""
    if upsampling == "shuffle":
        conv = nn.Conv2d(width, width * scale**2, 3, padding=1, rng=rng)
        return nn.Sequential({"conv": conv, "shuffle": nn.PixelShuffle(scale)})
    if upsampling == "transposed":  # a kernel whose size the stride divides: no checkerboard
        return nn.ConvTranspose2d(
            width, width, 2 * scale, stride=scale, padding=(scale + 1) // 2, output_padding=scale % 2, rng=rng
        )
    if upsampling != "resize":
        raise ValueError(f"upsampling {upsampling!r} is unknown: one of {', '.join(UPSAMPLING)}")
    conv = nn.Conv2d(width, width, 3, padding=1, rng=rng)
    return nn.Sequential({"larger": nn.Upsample(scale_factor=scale), "conv": conv})


class Discriminator(nn.Module):
    """(N, 1, H, W) to a map of logits: is the patch that each sees, 34 pixels wide, of a photograph?

    Source: Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, section 3.2.2
    (PatchGAN), without batch norm.
    """

    def __init__(self, width: int = 32, *, rng: Any = None):
        rng = nn.init.generator(rng)
        layers, inputs = [], 1
        for outputs, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, rng=rng), nn.LeakyReLU(0.2)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, padding=1, rng=rng))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(2 * x - 1)


def bicubic(x: Tensor, scale: float) -> Tensor:
    """Pictures (N, C, H, W) `scale` times as large, or as small: Keys' kernel with a = -1/2, no aliasing."""
    size = [round(n * scale) for n in x.shape[2:]]
    return F.interpolate(x, size=size, mode="bicubic", antialias=True)


def start_at_zero(conv: nn.Conv2d) -> None:
    """So that the network adds nothing at first."""
    conv.weight.data = nn.init.zeros(conv.weight.shape)
    conv.bias.data = nn.init.zeros(conv.bias.shape)
