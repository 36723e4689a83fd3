"""Inception v3: modules whose large kernels are taken apart, 5x5 into two 3x3, 7x7 into 1x7 and 7x1.

Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from minidl import Tensor, nn
from minidl import functional as F

from .blocks import multiple
from .googlenet import BasicConv2d, googles_colours
from .initial import redraw, stream

# A module is a graph. Each row is a convolution: what it sees (the module's input x, the pooled input, or another row),
# its maps, its kernel and, where the module halves the size, its stride. What no other row sees is the output.


def module_a(pool: int) -> dict[str, tuple]:
    """Figure 5: two 3x3 in place of 5x5 (and a 5x5, as the authors' code)."""
    return {
        "branch1x1": ("x", 64, 1),
        "branch5x5_1": ("x", 48, 1),
        "branch5x5_2": ("branch5x5_1", 64, 5),
        "branch3x3dbl_1": ("x", 64, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 96, 3),
        "branch3x3dbl_3": ("branch3x3dbl_2", 96, 3),
        "branch_pool": ("pool", pool, 1),
    }


MODULE_B = {  # Figure 10: to half the size
    "branch3x3": ("x", 384, 3, 2),
    "branch3x3dbl_1": ("x", 64, 1),
    "branch3x3dbl_2": ("branch3x3dbl_1", 96, 3),
    "branch3x3dbl_3": ("branch3x3dbl_2", 96, 3, 2),
}


def module_c(inner: int) -> dict[str, tuple]:
    """Figure 6 with n = 7: 1 x n and n x 1 in place of n x n."""
    tall, wide = (7, 1), (1, 7)
    return {
        "branch1x1": ("x", 192, 1),
        "branch7x7_1": ("x", inner, 1),
        "branch7x7_2": ("branch7x7_1", inner, wide),
        "branch7x7_3": ("branch7x7_2", 192, tall),
        "branch7x7dbl_1": ("x", inner, 1),
        "branch7x7dbl_2": ("branch7x7dbl_1", inner, tall),
        "branch7x7dbl_3": ("branch7x7dbl_2", inner, wide),
        "branch7x7dbl_4": ("branch7x7dbl_3", inner, tall),
        "branch7x7dbl_5": ("branch7x7dbl_4", 192, wide),
        "branch_pool": ("pool", 192, 1),
    }


MODULE_D = {  # to half the size again
    "branch3x3_1": ("x", 192, 1),
    "branch3x3_2": ("branch3x3_1", 320, 3, 2),
    "branch7x7x3_1": ("x", 192, 1),
    "branch7x7x3_2": ("branch7x7x3_1", 192, (1, 7)),
    "branch7x7x3_3": ("branch7x7x3_2", 192, (7, 1)),
    "branch7x7x3_4": ("branch7x7x3_3", 192, 3, 2),
}
MODULE_E = {  # Figure 7: 1x3 and 3x1 side by side
    "branch1x1": ("x", 320, 1),
    "branch3x3_1": ("x", 384, 1),
    "branch3x3_2a": ("branch3x3_1", 384, (1, 3)),
    "branch3x3_2b": ("branch3x3_1", 384, (3, 1)),
    "branch3x3dbl_1": ("x", 448, 1),
    "branch3x3dbl_2": ("branch3x3dbl_1", 384, 3),
    "branch3x3dbl_3a": ("branch3x3dbl_2", 384, (1, 3)),
    "branch3x3dbl_3b": ("branch3x3dbl_2", 384, (3, 1)),
    "branch_pool": ("pool", 192, 1),
}
MODULES = {  # Table 1
    "Mixed_5b": module_a(32),
    "Mixed_5c": module_a(64),
    "Mixed_5d": module_a(64),
    "Mixed_6a": MODULE_B,
    "Mixed_6b": module_c(128),
    "Mixed_6c": module_c(160),
    "Mixed_6d": module_c(160),
    "Mixed_6e": module_c(192),
    "Mixed_7a": MODULE_D,
    "Mixed_7b": MODULE_E,
    "Mixed_7c": MODULE_E,
}
BEFORE_HEAD = "Mixed_6e"  # what the auxiliary head looks at


class InceptionOutputs(NamedTuple):
    """What Inception v3 gives in training."""

    logits: Tensor
    aux_logits: Tensor


class Mixed(nn.Module):
    """A module by its graph: the outputs, one after another; the pool is one of them where no row sees it."""

    def __init__(self, inputs: int, graph: dict[str, tuple], conv: Any, halving: int = 0):
        """halving: the padding of the pool that halves the size."""
        self.graph = graph
        maps = {"x": inputs, "pool": inputs}
        for name, (source, outputs, kernel, *stride) in graph.items():
            high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
            padding = 0 if stride else (high // 2, wide // 2)
            self.add_module(name, conv(maps[source], outputs, (high, wide), *stride or [1], padding))
            maps[name] = getattr(self, name).conv.out_channels
        sources = {"x", *(source for source, *_ in graph.values())}
        self.ends = [name for name in (*graph, "pool") if name not in sources]
        self.out_channels = sum(maps[name] for name in self.ends)
        halves = "pool" in self.ends
        self.pool = nn.MaxPool2d(3, stride=2, padding=halving) if halves else nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = {"x": x, "pool": self.pool(x)}
        for name, (source, *_) in self.graph.items():
            seen[name] = getattr(self, name)(seen[source])
        return F.concat([seen[name] for name in self.ends], axis=1)


class Inception3(nn.Module):
    """Table 1 from top to bottom. In training it gives InceptionOutputs, in eval mode (or without head) the logits."""

    def __init__(
        self, num_classes: int, in_channels: int, *, aux_logits: bool, transform_input: bool, dropout: float,
        width_mult: float = 1.0, same: bool = False, rng: Any,
    ):  # fmt: skip
        rng = stream(rng)

        def conv(inputs: int, outputs: int, kernel: Any, stride: int = 1, padding: Any = 0) -> BasicConv2d:
            if same:
                padding = tuple(k // 2 for k in kernel) if isinstance(kernel, tuple) else kernel // 2
            return BasicConv2d(
                inputs, multiple(outputs * width_mult), kernel_size=kernel, stride=stride, padding=padding, rng=rng
            )

        self.aux_logits, self.transform_input = aux_logits, transform_input
        self.Conv2d_1a_3x3 = conv(in_channels, 32, 3, 2)
        stem, wide, narrow, maps = (multiple(n * width_mult) for n in (32, 64, 80, 192))
        self.Conv2d_2a_3x3 = conv(stem, 32, 3)
        self.Conv2d_2b_3x3 = conv(stem, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, padding=int(same))
        self.Conv2d_3b_1x1 = conv(wide, 80, 1)
        self.Conv2d_4a_3x3 = conv(narrow, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=int(same))
        for name, graph in MODULES.items():
            module = Mixed(maps, graph, conv, int(same))
            self.add_module(name, module)
            maps = module.out_channels
            if name == BEFORE_HEAD and aux_logits:
                self.AuxLogits = nn.Sequential(
                    {
                        "pool": nn.AvgPool2d(5, stride=3),
                        "conv0": conv(maps, 128, 1),
                        "conv1": conv(multiple(128 * width_mult), 768, 5),
                        "avgpool": nn.AdaptiveAvgPool2d(1),
                        "flatten": nn.Flatten(),
                        "fc": nn.Linear(multiple(768 * width_mult), num_classes, rng=rng),
                    }
                )
        self.avgpool, self.dropout, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout, rng=rng), nn.Flatten()
        self.fc = nn.Linear(maps, num_classes, rng=rng)
        redraw(self, nn.Conv2d | nn.Linear, partial(nn.init.normal, std=0.1), rng)
        if aux_logits:
            redraw(self.AuxLogits.conv1, nn.Conv2d, partial(nn.init.normal, std=0.01), rng)
            redraw(self.AuxLogits, nn.Linear, partial(nn.init.normal, std=0.001), rng)

    def forward(self, x: Tensor) -> Any:
        x = googles_colours(x) if self.transform_input else x
        aux = None
        for name, layer in self.named_children():
            if name != "AuxLogits":
                x = layer(x)
            elif self.training:
                aux = layer(x)
        return x if aux is None else InceptionOutputs(x, aux)


def inception_v3(
    num_classes: int = 1000, in_channels: int = 3, *, aux_logits: bool = True, transform_input: bool = False,
    dropout: float = 0.5, width_mult: float = 1.0, same: bool = False, rng: Any = None,
) -> Inception3:  # fmt: skip
    """Inception v3 for 299x299: 27,161,264 parameters, or 23,834,568 without the auxiliary head (`aux_logits=False`).

    width_mult: all maps as many times as wide, rounded to multiples of 8. same: every convolution pads, so that sizes
    are kept, or halved to whole numbers. torchvision's weights need `transform_input=True`, and the head to load into.
    """
    if transform_input and in_channels != 3:
        raise ValueError(f"transform_input is about red, green and blue, got in_channels={in_channels}")
    return Inception3(
        num_classes, in_channels, aux_logits=aux_logits, transform_input=transform_input, dropout=dropout,
        width_mult=width_mult, same=same, rng=rng,
    )  # fmt: skip
