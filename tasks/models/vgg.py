"""VGG: 3x3 convolutions only, in five blocks, and three fully connected layers.

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.
"""

from __future__ import annotations

from typing import Any

from minidl import nn

from .initial import he_fan_out, redraw, stream, thin

MAPS = (64, 128, 256, 512, 512)  # of each block, which a 2x2 max pool ends
CONVOLUTIONS = {  # in each block: Table 1, by its column
    "A": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}


def convolutions(
    inputs: int, counts: tuple[int, ...], maps: tuple[int, ...], batch_norm: bool, rng: Any
) -> list[nn.Module]:
    """Blocks of 3x3 convolutions with relu: `counts` of them in each, of `maps` maps; a max pooling ends each block."""
    layers: list[nn.Module] = []
    for count, outputs in zip(counts, maps):
        for _ in range(count):
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, rng=rng))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, stride=2))
    return layers


class VGG(nn.Sequential):
    """Blocks of 3x3 convolutions, `cells` x `cells` means, two hidden layers with dropout, logits.

    `counts` and `maps`: the convolutions of each block, and the maps that each of them gives. The weights start as
    torchvision's: He's initialisation for the convolutions, N(0, 0.01^2) for the rest, biases of 0.
    """

    def __init__(
        self, counts: tuple[int, ...], maps: tuple[int, ...], num_classes: int, in_channels: int, *, batch_norm: bool,
        hidden: int = 4096, cells: int = 7, dropout: float = 0.5, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        super().__init__(
            {
                "features": nn.Sequential(*convolutions(in_channels, counts, maps, batch_norm, rng)),
                "avgpool": nn.AdaptiveAvgPool2d(cells),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(
                    nn.Linear(maps[-1] * cells**2, hidden, rng=rng), nn.ReLU(), nn.Dropout(dropout, rng=rng),
                    nn.Linear(hidden, hidden, rng=rng), nn.ReLU(), nn.Dropout(dropout, rng=rng),
                    nn.Linear(hidden, num_classes, rng=rng),
                ),
            }
        )  # fmt: skip
        redraw(self, nn.Conv2d, he_fan_out, rng, bias=0)
        redraw(self, nn.Linear, thin, rng, bias=0)


def vgg11(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """Column A of Table 1: 132,863,336 parameters."""
    return VGG(CONVOLUTIONS["A"], MAPS, num_classes, in_channels, batch_norm=False, dropout=dropout, rng=rng)


def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """vgg11 with batch norm after each convolution: 132,868,840 parameters."""
    return VGG(CONVOLUTIONS["A"], MAPS, num_classes, in_channels, batch_norm=True, dropout=dropout, rng=rng)


def vgg13(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """Column B of Table 1: 133,047,848 parameters."""
    return VGG(CONVOLUTIONS["B"], MAPS, num_classes, in_channels, batch_norm=False, dropout=dropout, rng=rng)


def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """vgg13 with batch norm after each convolution: 133,053,736 parameters."""
    return VGG(CONVOLUTIONS["B"], MAPS, num_classes, in_channels, batch_norm=True, dropout=dropout, rng=rng)


def vgg16(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """Column D of Table 1: 138,357,544 parameters."""
    return VGG(CONVOLUTIONS["D"], MAPS, num_classes, in_channels, batch_norm=False, dropout=dropout, rng=rng)


def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """vgg16 with batch norm after each convolution: 138,365,992 parameters."""
    return VGG(CONVOLUTIONS["D"], MAPS, num_classes, in_channels, batch_norm=True, dropout=dropout, rng=rng)


def vgg19(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """Column E of Table 1: 143,667,240 parameters."""
    return VGG(CONVOLUTIONS["E"], MAPS, num_classes, in_channels, batch_norm=False, dropout=dropout, rng=rng)


def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None) -> VGG:
    """vgg19 with batch norm after each convolution: 143,678,248 parameters."""
    return VGG(CONVOLUTIONS["E"], MAPS, num_classes, in_channels, batch_norm=True, dropout=dropout, rng=rng)


def vgg_small(
    width: int = 32, num_classes: int = 10, in_channels: int = 3, *, batch_norm: bool = True, rng: Any = None
) -> VGG:
    """Three blocks of two convolutions, width to 4 width maps, with batch norm: for pictures from 8x8 on."""
    maps = (width, 2 * width, 4 * width)
    return VGG(
        (2, 2, 2), maps, num_classes, in_channels, batch_norm=batch_norm, hidden=4 * width, cells=1, rng=rng
    )
