"""DenseNet: blocks in which every layer sees the maps of all layers before it, and transitions that halve.

Source: Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minidl import nn

from .initial import redraw, stream

LAYERS = {  # Table 1: growth rate k, layers in each dense block; 161 is the authors' later one
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
}
OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


class DenseNet(nn.Sequential):
    """A stem, dense blocks with a transition between each two, batch norm, relu, mean, logits.

    bottleneck: each layer's 1x1 convolution gives bottleneck * growth maps; None for no 1x1. compression: what is left
    of the maps after a transition. small: the stem is one 3x3 convolution, which keeps the size.
    Convolutions start from He's initialisation.
    """

    def __init__(
        self, growth: int, counts: tuple[int, ...], first: int, num_classes: int, in_channels: int, *,
        bottleneck: int | None = 4, compression: float = 0.5, small: bool = False, dropout: float = 0.0,
        rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        if small:
            features = {"conv0": nn.Conv2d(in_channels, first, 3, padding=1, bias=False, rng=rng)}
        else:
            features = {
                "conv0": nn.Conv2d(in_channels, first, 7, stride=2, padding=3, bias=False, rng=rng),
                "norm0": nn.BatchNorm2d(first),
                "relu0": nn.ReLU(),
                "pool0": nn.MaxPool2d(3, stride=2, padding=1),
            }
        maps = first
        for i, count in enumerate(counts, start=1):
            block = nn.DenseBlock(maps, growth, count, bottleneck=bottleneck, dropout=dropout, rng=rng)
            features[f"denseblock{i}"], maps = block, block.out_channels
            if i < len(counts):
                outputs = int(compression * maps)
                features[f"transition{i}"], maps = transition(maps, outputs, rng), outputs
        features[f"norm{len(counts) + 1}"] = nn.BatchNorm2d(maps)
        super().__init__(
            {
                "features": nn.Sequential(features),
                "relu": nn.ReLU(),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "classifier": nn.Linear(maps, num_classes, rng=rng),
            }
        )
        redraw(self, nn.Conv2d, nn.init.kaiming_normal, rng)
        self.classifier.bias.data[...] = 0

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> nn.Mismatch:
        """As of any module; the names of torchvision's files, norm.1 for norm1, are understood too."""
        if isinstance(state, Mapping):
            state = {OLD_NAME.sub(r"\1\2.", name): array for name, array in state.items()}
        return super().load_state_dict(state, strict)


def transition(inputs: int, outputs: int, rng: Any) -> nn.Sequential:
    """Section 3, "Pooling layers": batch norm, relu, 1x1 convolution, and 2x2 means."""
    return nn.Sequential(
        {
            "norm": nn.BatchNorm2d(inputs),
            "relu": nn.ReLU(),
            "conv": nn.Conv2d(inputs, outputs, 1, bias=False, rng=rng),
            "pool": nn.AvgPool2d(2, stride=2),
        }
    )


def _densenet(depth: int, num_classes: int, in_channels: int, dropout: float, rng: Any) -> DenseNet:
    growth, counts = LAYERS[depth]
    return DenseNet(growth, counts, 2 * growth, num_classes, in_channels, dropout=dropout, rng=rng)


def densenet121(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.0, rng: Any = None) -> DenseNet:
    """Table 1, 121 layers: 7,978,856 parameters."""
    return _densenet(121, num_classes, in_channels, dropout, rng)


def densenet161(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.0, rng: Any = None) -> DenseNet:
    """161 layers, growth rate 48: 28,681,000 parameters."""
    return _densenet(161, num_classes, in_channels, dropout, rng)


def densenet169(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.0, rng: Any = None) -> DenseNet:
    """Table 1, 169 layers: 14,149,480 parameters."""
    return _densenet(169, num_classes, in_channels, dropout, rng)


def densenet201(num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.0, rng: Any = None) -> DenseNet:
    """Table 1, 201 layers: 20,013,928 parameters."""
    return _densenet(201, num_classes, in_channels, dropout, rng)


def densenet_small(
    depth: int = 40, growth: int = 12, num_classes: int = 10, in_channels: int = 3, *, dropout: float = 0.0,
    rng: Any = None,
) -> DenseNet:  # fmt: skip
    """Section 4.2's network for small pictures: three dense blocks of (depth - 4) / 3 layers, neither bottleneck nor
    compression, 16 maps to begin with. 1.0 million parameters at depth 40, growth 12 (Table 2).

    Raises ValueError for a depth that does not fit.
    """
    if depth < 7 or (depth - 4) % 3:
        near = max(7, 3 * round((depth - 4) / 3) + 4)
        raise ValueError(f"densenet_small has 3n + 4 layers, n from 1, got depth={depth}; the nearest is {near}")
    counts = ((depth - 4) // 3,) * 3
    return DenseNet(
        growth, counts, 16, num_classes, in_channels, bottleneck=None, compression=1.0, small=True, dropout=dropout,
        rng=rng,
    )  # fmt: skip
