"""What networks of several papers are made of, with torchvision's names of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import Tensor, nn
from minidl.ops.norm import dropped


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, groups: int = 1, dilation: int = 1,
    norm: Callable | None = nn.BatchNorm2d, activation: Callable | None = nn.ReLU, rng: Any = None,
) -> nn.Sequential:  # fmt: skip
    """A convolution that divides the size by its stride, a norm, or a bias if that is None, and an activation unless
    that is None."""
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=norm is None, rng=rng)
    layers = [norm(outputs)] if norm else []
    return nn.Sequential(conv, *layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Each map times a number that all of them decide: their means through two small layers.

    Source: Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018, eq. 2 to 4; `activation` and `gate` are its
    delta and sigma.
    """

    def __init__(
        self, maps: int, squeezed: int, *, activation: Callable = nn.ReLU, gate: Callable = nn.Sigmoid, rng: Any = None
    ):
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(maps, squeezed, 1, rng=rng)
        self.fc2 = nn.Conv2d(squeezed, maps, 1, rng=rng)
        self.activation, self.gate = activation(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


class StochasticDepth(nn.Dropout):
    """In training each example becomes 0 with probability p, else it is divided by 1 - p: a block is left out.

    Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016, section 3; per example as in EfficientNet.
    """

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p, (len(x), *[1] * (x.ndim - 1)), self.rng, self.training)


class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, *axes: int):
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(*self.axes)


def mlp(inputs: int, hidden: int, dropout: float, rng: Any) -> nn.Sequential:
    """A transformer's two layers: to `hidden` units and back, GELU between."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, rng=rng), nn.GELU(), nn.Dropout(dropout, rng=rng),
        nn.Linear(hidden, inputs, rng=rng), nn.Dropout(dropout, rng=rng),
    )  # fmt: skip


def multiple(channels: float, of: int = 8) -> int:
    """The nearest multiple, at least 1 of them and at least 90 % of what is asked: the authors' `make_divisible`."""
    nearest = max(of, int(channels + of / 2) // of * of)
    return nearest if nearest >= 0.9 * channels else nearest + of
