"""Blocks that wire layers in other ways than one after another."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core.tensor import Tensor
from . import conv, init, norm
from .activation import Dropout, ReLU
from .module import Module


class Residual(Module):
    """``activation(body(x) + shortcut(x))``; without a shortcut x itself is added, without an activation none applied.

    Raises ValueError if the two do not have one shape: then a shortcut must project x, as with a 1x1 convolution.
    Source: He et al., "Deep residual learning for image recognition", 2015, eq. 1 and 2.
    """

    def __init__(self, body: Module, shortcut: Module | None = None, activation: Module | None = None):
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        same = x if self.shortcut is None else self.shortcut(x)
        if y.shape != same.shape:
            raise ValueError(
                f"Residual: body(x) has shape {y.shape}, the shortcut {same.shape}; give a shortcut that projects x "
                "to the shape of body(x), such as a 1x1 convolution with the body's stride"
            )
        y = y + same
        return y if self.activation is None else self.activation(y)


class DenseLayer(Module):
    """batch norm, relu, convolution to `growth_rate` maps; before it, if `bottleneck`, the same with a 1x1 kernel to
    ``bottleneck * growth_rate`` maps. The parameter names are torchvision's.

    Source: Huang et al., "Densely connected convolutional networks", 2017, section 3 ("Bottleneck layers": 4).
    """

    def __init__(
        self, in_channels: int, growth_rate: int, *, bottleneck: int | None = 4, dropout: float = 0.0, rank: int = 2,
        rng: Any = None,
    ):  # fmt: skip
        rng = None if rng is None else init.generator(rng)  # a seed starts one stream for the whole layer
        Conv, BatchNorm = getattr(conv, f"Conv{rank}d"), getattr(norm, f"BatchNorm{rank}d")
        self.norm1, self.relu1 = BatchNorm(in_channels), ReLU()
        if bottleneck is None:
            self.conv2 = None
            self.conv1 = Conv(in_channels, growth_rate, 3, padding=1, bias=False, rng=rng)
        else:
            width = bottleneck * growth_rate
            self.conv1 = Conv(in_channels, width, 1, bias=False, rng=rng)
            self.norm2, self.relu2 = BatchNorm(width), ReLU()
            self.conv2 = Conv(width, growth_rate, 3, padding=1, bias=False, rng=rng)
        self.dropout = Dropout(dropout, rng=rng) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu1(self.norm1(x)))
        if self.conv2 is not None:
            y = self.conv2(self.relu2(self.norm2(y)))
        return y if self.dropout is None else self.dropout(y)


class DenseBlock(Module):
    """Layers each of which sees the concatenation of the input and of all earlier outputs; so does what follows.

    ``x_l = H_l([x_0, x_1, ..., x_(l-1)])`` for l = 1 .. num_layers, and the result is [x_0, ..., x_num_layers], with
    ``out_channels = in_channels + num_layers * growth_rate``. The layers are `DenseLayer`s named "denselayer1", ...
    as torchvision's; `layer(in_channels)` makes others, which must give `growth_rate` maps of the same size.
    Source: Huang et al., "Densely connected convolutional networks", 2017, eq. 2.
    """

    def __init__(
        self, in_channels: int, growth_rate: int, num_layers: int, *, bottleneck: int | None = 4, dropout: float = 0.0,
        rank: int = 2, rng: Any = None, layer: Any = None,
    ):  # fmt: skip
        rng = None if rng is None else init.generator(rng)  # a seed starts one stream for the whole block
        options = {"bottleneck": bottleneck, "dropout": dropout, "rank": rank, "rng": rng}
        make = layer or (lambda channels: DenseLayer(channels, growth_rate, **options))
        for i in range(num_layers):
            self.add_module(f"denselayer{i + 1}", make(in_channels + i * growth_rate))
        self.out_channels = in_channels + num_layers * growth_rate

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = F.concat([x, layer(x)], axis=1)
        return x
