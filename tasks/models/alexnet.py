"""AlexNet: five convolutions and three fully connected layers; torchvision's form, the paper's, and a small one.

Sources: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012
(the paper: two groups of maps, one for each of two GPUs); Krizhevsky, "One weird trick for parallelizing convolutional
neural networks", 2014 (one group and fewer maps: torchvision's).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import nn

from .initial import redraw, stream

# maps, kernel, stride, padding, groups, what follows the relu
ONE_GROUP = (
    (64, 11, 4, 2, 1, "pool"),
    (192, 5, 1, 2, 1, "pool"),
    (384, 3, 1, 1, 1, ""),
    (256, 3, 1, 1, 1, ""),
    (256, 3, 1, 1, 1, "pool"),
)
TWO_GROUPS = (  # the paper's Figure 2; only the third convolution sees the maps of both groups
    (96, 11, 4, 2, 1, "norm pool"),
    (256, 5, 1, 2, 2, "norm pool"),
    (384, 3, 1, 1, 1, ""),
    (384, 3, 1, 1, 2, ""),
    (256, 3, 1, 1, 2, "pool"),
)
ONES = (1, 3, 4, 5, 6)  # layers of the paper whose biases start at 1, so that their relus start with positive inputs


class AlexNet(nn.Sequential):
    """Convolutions by a table, `cells` x `cells` means, two hidden layers of `hidden` units with dropout, logits."""

    def __init__(
        self, table: tuple, num_classes: int, in_channels: int, *, hidden: int = 4096, cells: int = 6,
        dropout: float = 0.5, dropout_first: bool = True, pool_padding: int = 0, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        features, inputs = [], in_channels
        for maps, kernel, stride, padding, groups, then in table:
            features += [nn.Conv2d(inputs, maps, kernel, stride, padding, groups=groups, rng=rng), nn.ReLU()]
            if "norm" in then:  # the paper's alpha multiplies a sum of 5 squares, this one their mean
                features.append(nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0))
            if "pool" in then:  # windows of 3 every 2: they overlap (section 3.4)
                features.append(nn.MaxPool2d(3, stride=2, padding=pool_padding))
            inputs = maps

        classifier, inputs = [], inputs * cells**2
        for _ in range(2):
            block = [nn.Linear(inputs, hidden, rng=rng), nn.ReLU()]
            drop = [nn.Dropout(dropout, rng=rng)]
            classifier += drop + block if dropout_first else block + drop
            inputs = hidden
        classifier.append(nn.Linear(hidden, num_classes, rng=rng))

        super().__init__(
            {
                "features": nn.Sequential(*features),
                "avgpool": nn.AdaptiveAvgPool2d(cells),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(*classifier),
            }
        )


def alexnet(
    num_classes: int = 1000, in_channels: int = 3, *, two_groups: bool = False, dropout: float = 0.5, rng: Any = None
) -> AlexNet:
    """AlexNet for 224x224: 61,100,840 parameters; or, with `two_groups`, the paper's: 60,965,224.

    The paper's has local response normalisation after the first two convolutions and starts from N(0, 0.01^2), with
    biases of 1 in the layers that section 5 names; torchvision's from the defaults of its layers. The paper's figures
    are those of 227x227 without padding: 55x55 maps come first, here also of 224x224. Of 227x227 the padding makes
    56x56, and 27x27 after the pool in any case. Dropout is before a hidden layer in torchvision, after it in the paper.
    """
    if not two_groups:
        return AlexNet(ONE_GROUP, num_classes, in_channels, dropout=dropout, rng=rng)
    rng = stream(rng)
    net = AlexNet(TWO_GROUPS, num_classes, in_channels, dropout=dropout, dropout_first=False, rng=rng)
    redraw(net, nn.Conv2d | nn.Linear, partial(nn.init.normal, std=0.01), rng, bias=0)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for i in ONES:
        layers[i].bias.data[...] = 1
    return net


def alexnet_small(width: int = 32, num_classes: int = 10, in_channels: int = 3, *, rng: Any = None) -> AlexNet:
    """The same layers for pictures from 8x8 on: 5x5 and 3x3 kernels of stride 1, and three pools that halve."""
    table = (
        (width, 5, 1, 2, 1, "pool"),
        (3 * width, 5, 1, 2, 1, "pool"),
        (6 * width, 3, 1, 1, 1, ""),
        (4 * width, 3, 1, 1, 1, ""),
        (4 * width, 3, 1, 1, 1, "pool"),
    )
    return AlexNet(table, num_classes, in_channels, hidden=8 * width, cells=1, pool_padding=1, rng=rng)
