"""GoogLeNet: modules that see their input through four kernels at once; torchvision's form, the paper's, a small one.

Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015. torchvision's form has batch norm, no response
normalisation, and 3x3 kernels where the paper has 5x5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from minidl.core.array_function import made_once
from minidl.device import to_device

from .initial import redraw, stream

# Table 1: maps of the 1x1, of the 3x3 and of its reduction, of the 5x5 and of its reduction, of the pool's projection
#             1x1  (3x3)  3x3 (5x5) 5x5 pool
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
HEADS = {"inception4a": "aux1", "inception4d": "aux2"}  # what each auxiliary head looks at
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet's colours


class GoogLeNetOutputs(NamedTuple):
    """What GoogLeNet gives in training. The paper's loss is that of logits + 0.3 (that of aux1 + that of aux2)."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class BasicConv2d(nn.Module):
    """convolution, batch norm, relu; or, without batch norm, a convolution with a bias, and relu."""

    def __init__(self, inputs: int, outputs: int, *, batch_norm: bool = True, **options: Any):
        self.conv = nn.Conv2d(inputs, outputs, bias=not batch_norm, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001) if batch_norm else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.relu(x if self.bn is None else self.bn(x))


class Inception(nn.Module):
    """Figure 2(b): four branches side by side, their maps one after another. `maps`: a row of Table 1."""

    def __init__(self, inputs: int, maps: tuple[int, ...], conv: Callable, five: int = 3):
        one, reduce3, three, reduce5, wide, pool = maps
        self.branch1 = conv(inputs, one, kernel_size=1)
        self.branch2 = nn.Sequential(
            conv(inputs, reduce3, kernel_size=1), conv(reduce3, three, kernel_size=3, padding=1)
        )
        self.branch3 = nn.Sequential(
            conv(inputs, reduce5, kernel_size=1), conv(reduce5, wide, kernel_size=five, padding=five // 2)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(inputs, pool, kernel_size=1))
        self.out_channels = one + three + wide + pool

    def forward(self, x: Tensor) -> Tensor:
        return F.concat([branch(x) for branch in self.children()], axis=1)


class InceptionAux(nn.Module):
    """An auxiliary head (section 5): means, 1x1 convolution to 128 maps, 1024 hidden units, dropout, logits."""

    def __init__(self, inputs: int, num_classes: int, conv: Callable, pool: nn.Module, dropout: float, rng: Any):
        self.pool = pool  # to 4x4
        self.conv = conv(inputs, 128, kernel_size=1)
        self.flatten = nn.Flatten()
        self.fc1, self.relu = nn.Linear(128 * 4 * 4, 1024, rng=rng), nn.ReLU()
        self.dropout = nn.Dropout(dropout, rng=rng)
        self.fc2 = nn.Linear(1024, num_classes, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(self.conv(self.pool(x)))
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """Table 1 from top to bottom. In training it gives GoogLeNetOutputs, in eval mode (or without heads) the logits."""

    def __init__(
        self, num_classes: int, in_channels: int, *, aux_logits: bool, transform_input: bool, faithful: bool,
        dropout: float, dropout_aux: float, rng: Any,
    ):  # fmt: skip
        if transform_input and in_channels != 3:
            raise ValueError(f"transform_input is about red, green and blue, got in_channels={in_channels}")
        rng = stream(rng)
        conv = partial(BasicConv2d, batch_norm=not faithful, rng=rng)
        block = partial(Inception, conv=conv, five=5 if faithful else 3)
        self.aux_logits, self.transform_input = aux_logits, transform_input

        self.conv1 = conv(in_channels, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        if faithful:
            self.norm1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.conv2 = conv(64, 64, kernel_size=1)
        self.conv3 = conv(64, 192, kernel_size=3, padding=1)
        if faithful:
            self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = block(192, INCEPTION["3a"])
        self.inception3b = block(256, INCEPTION["3b"])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = block(480, INCEPTION["4a"])
        self.inception4b = block(512, INCEPTION["4b"])
        self.inception4c = block(512, INCEPTION["4c"])
        self.inception4d = block(512, INCEPTION["4d"])
        self.inception4e = block(528, INCEPTION["4e"])
        self.maxpool4 = nn.MaxPool2d(3 if faithful else 2, stride=2, ceil_mode=True)
        self.inception5a = block(832, INCEPTION["5a"])
        self.inception5b = block(832, INCEPTION["5b"])
        if aux_logits:
            for name, inputs in (("aux1", 512), ("aux2", 528)):
                pool = nn.AvgPool2d(5, stride=3) if faithful else nn.AdaptiveAvgPool2d(4)
                self.add_module(name, InceptionAux(inputs, num_classes, conv, pool, dropout_aux, rng))
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.dropout = nn.Dropout(dropout, rng=rng)
        self.fc = nn.Linear(1024, num_classes, rng=rng)

        for kind in (nn.Conv2d, nn.Linear):
            if faithful:
                redraw(self, kind, nn.init.xavier_uniform, rng, bias=0.2 if kind is nn.Conv2d else 0)
            else:
                redraw(self, kind, partial(nn.init.normal, std=0.01), rng)

    def forward(self, x: Tensor) -> Any:
        heads = HEADS if self.training and self.aux_logits else {}
        logits = []
        x = googles_colours(x) if self.transform_input else x
        for name, layer in self.named_children():
            if name not in HEADS.values():
                x = layer(x)
            if name in heads:
                logits.append(getattr(self, heads[name])(x))
        return GoogLeNetOutputs(x, *reversed(logits)) if heads else x


def googles_colours(x: Tensor) -> Tensor:
    """From colours less ImageNet's MEAN by its STD, as torchvision's other networks take them, to (c - 0.5) / 0.5,
    with which its weights of the Inception networks were trained."""
    return recoloured(x, STD / 0.5, (MEAN - 0.5) / 0.5)


def recoloured(x: Tensor, factor: np.ndarray, offset: np.ndarray) -> Tensor:
    """Each map times a number, and one added: (N, C, H, W), (C,) and (C,)."""
    factor, offset = (Tensor(to_device(_per_map(tuple(v), x.dtype), x.device)) for v in (factor, offset))
    return x * factor + offset


@made_once
def _per_map(values: tuple[float, ...], dtype: Any) -> np.ndarray:
    return np.array(values).reshape(1, -1, 1, 1).astype(dtype)


def googlenet(
    num_classes: int = 1000, in_channels: int = 3, *, aux_logits: bool = True, transform_input: bool = False,
    faithful: bool = False, dropout: float | None = None, dropout_aux: float = 0.7, rng: Any = None,
) -> GoogLeNet:  # fmt: skip
    """GoogLeNet for 224x224: 13,004,888 parameters, or 6,624,904 without the auxiliary heads (`aux_logits=False`).

    torchvision's weights need `transform_input=True`, and the heads to load into. `faithful` is the paper's: 5x5
    kernels, biases, response normalisation, no batch norm, dropout of 0.4 instead of 0.2; 13,378,280 parameters, or
    6,998,552 without heads. The paper is silent on the constants of the normalisation and on the first weights; here
    they are those of Caffe's bvlc_googlenet: k = 1, alpha = 1e-4 / 5, beta = 0.75, Glorot's initialisation, and 0.2 for
    the biases of convolutions.
    """
    if dropout is None:
        dropout = 0.4 if faithful else 0.2
    return GoogLeNet(
        num_classes, in_channels, aux_logits=aux_logits, transform_input=transform_input, faithful=faithful,
        dropout=dropout, dropout_aux=dropout_aux, rng=rng,
    )  # fmt: skip


def googlenet_small(width: int = 16, num_classes: int = 10, in_channels: int = 3, *, rng: Any = None) -> nn.Sequential:
    """Six of the nine modules with width / 64 of their maps, for pictures from 8x8 on: a 3x3 stem that keeps the size,
    two pools that halve it, batch norm, no auxiliary heads."""
    rng = stream(rng)
    conv = partial(BasicConv2d, rng=rng)
    maps = 3 * width
    layers: dict[str, nn.Module] = {"conv1": conv(in_channels, maps, kernel_size=3, padding=1)}
    for name in ("3a", "3b", "maxpool3", "4a", "4e", "maxpool4", "5a", "5b"):
        if name in INCEPTION:
            block = Inception(maps, tuple(max(1, n * width // 64) for n in INCEPTION[name]), conv)
            layers[f"inception{name}"], maps = block, block.out_channels
        else:
            layers[name] = nn.MaxPool2d(3, stride=2, padding=1)
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": nn.Dropout(0.2, rng=rng)}
    net = nn.Sequential({**layers, "fc": nn.Linear(maps, num_classes, rng=rng)})
    redraw(net, nn.Conv2d, nn.init.kaiming_normal, rng)
    return net
