"""SqueezeNet: few parameters, for 1x1 convolutions that squeeze what 3x3 ones see.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from .initial import redraw, stream, thin

# maps and kernel of the first convolution; then Table 1's fire modules: s1x1 (e1x1 and e3x3 are equal, 4 times as
# many), and 0 for a max pool
LAYERS = {
    "1_0": ((96, 7), (0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64)),
    "1_1": ((64, 3), (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64)),  # the authors' later one: 2.4 times fewer operations
}


class Fire(nn.Module):
    """Figure 1: a 1x1 convolution squeezes to few maps, a 1x1 and a 3x3 one expand them side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, rng: Any):
        self.squeeze, self.squeeze_activation = nn.Conv2d(inputs, squeezed, 1, rng=rng), nn.ReLU()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeezed, expanded, 1, rng=rng), nn.ReLU()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeezed, expanded, 3, padding=1, rng=rng), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        one, three = self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))
        return F.concat([one, three], axis=1)


class SqueezeNet(nn.Sequential):
    """Table 1 from top to bottom; the last convolution gives a map per class, whose means are the logits."""

    def __init__(
        self, version: str, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5, rng: Any = None
    ):
        rng = stream(rng)
        (maps, kernel), fires = LAYERS[version]
        features = [nn.Conv2d(in_channels, maps, kernel, stride=2, rng=rng), nn.ReLU()]
        for squeezed in fires:
            if squeezed:
                features.append(Fire(maps, squeezed, 4 * squeezed, rng))
                maps = 8 * squeezed
            else:
                features.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        last = nn.Conv2d(maps, num_classes, 1, rng=rng)
        classifier = nn.Sequential(nn.Dropout(dropout, rng=rng), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        super().__init__({"features": nn.Sequential(*features), "classifier": classifier, "flatten": nn.Flatten()})
        redraw(self.features, nn.Conv2d, partial(nn.init.kaiming_uniform, nonlinearity="relu"), rng, bias=0)
        redraw(classifier, nn.Conv2d, thin, rng, bias=0)


SQUEEZENETS = {f"squeezenet{version}": partial(SqueezeNet, version) for version in LAYERS}
