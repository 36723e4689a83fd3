"""Backbones: images to maps. Classification networks without their ends, and a pyramid on top.

A backbone has `channels` and `strides`, one number per map; ``backbone(images)`` gives the maps, finest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from ...models.initial import redraw, stream
from ...models.resnet import BasicBlock, ResNet, resnet50
from ...models.vgg import CONVOLUTIONS, VGG
from ...models.vgg import MAPS as VGG_MAPS

EXTRAS = ("none", "pool", "convolutions")


class Stages(nn.Module):
    """A chain of named layers; the maps are what those named in `outputs` give. Layers after the last are left out."""

    def __init__(
        self, layers: Mapping[str, nn.Module], outputs: Sequence[str], channels: Sequence[int], strides: Sequence[int]
    ):
        names = list(layers)
        self.body = nn.Sequential({name: layers[name] for name in names[: names.index(outputs[-1]) + 1]})
        self.outputs, self.channels, self.strides = tuple(outputs), tuple(channels), tuple(strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, layer in self.body.named_children():
            x = layer(x)
            if name in self.outputs:
                maps.append(x)
        return maps


def resnet_stages(net: ResNet, first: int = 1) -> Stages:
    """The maps of a ResNet's stages from `first` on: layer1 has stride 4 (1 behind a small stem), then it doubles."""
    layers = dict(net.named_children())
    names = [name for name in layers if name.startswith("layer")]
    channels = [_last_convolution(layers[name]).out_channels for name in names]
    strides = [(4 if "maxpool" in layers else 1) * 2**i for i in range(len(names))]
    return Stages(layers, names[first - 1 :], channels[first - 1 :], strides[first - 1 :])


def vgg_stage(net: VGG) -> Stages:
    """The map before the last pooling of a VGG: stride 16 for five blocks. Source: Ren et al. 2015, section 3.1."""
    layers = dict(list(net.features.named_children())[:-1])
    pools = sum(isinstance(layer, nn.MaxPool2d) for layer in layers.values())
    return Stages(layers, list(layers)[-1:], [_last_convolution(net.features).out_channels], [2**pools])


def _last_convolution(stage: nn.Module) -> nn.Conv2d:
    """The last 3x3 or 1x1 convolution on the main path, which decides how many maps a stage gives."""
    *_, last = (m for name, m in stage.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in name)
    return last


class FPN(nn.Module):
    """A pyramid: maps of equal width, each with what the coarser ones know.

    Each map of `bottom` goes through a 1x1 convolution to `width` maps; the sum of coarser levels, its size brought to
    the finer one's by nearest neighbours, is added; a 3x3 convolution makes the output. No activations.
    extra: "pool" adds a level of every other cell of the coarsest; "convolutions" two, 3x3 of stride 2 with a relu
    between (RetinaNet's P6 and P7); "none" no more.
    Source: Lin et al., "Feature pyramid networks for object detection", CVPR 2017, section 3, and footnote 2.
    """

    def __init__(self, bottom: Stages, width: int = 256, extra: str = "pool", rng: Any = None):
        if extra not in EXTRAS:
            raise ValueError(f"FPN: extra {extra!r} is unknown: one of {', '.join(EXTRAS)}")
        rng = stream(rng)
        self.bottom, self.extra = bottom, extra
        self.inner = nn.ModuleList(nn.Conv2d(c, width, 1, rng=rng) for c in bottom.channels)
        self.layer = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, rng=rng) for _ in bottom.channels)
        self.higher = nn.ModuleList()
        if extra == "convolutions":
            self.higher.extend(nn.Conv2d(c, width, 3, 2, padding=1, rng=rng) for c in (bottom.channels[-1], width))
        more = {"none": 0, "pool": 1, "convolutions": 2}[extra]
        self.strides = (*bottom.strides, *(bottom.strides[-1] * 2 ** (i + 1) for i in range(more)))
        self.channels = (width,) * len(self.strides)
        for part in (self.inner, self.layer, self.higher):
            redraw(part, nn.Conv2d, partial(nn.init.kaiming_uniform, a=1), rng, bias=0)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.bottom(x)
        sides = [conv(m) for conv, m in zip(self.inner, maps)]
        for i in range(len(sides) - 2, -1, -1):
            sides[i] = sides[i] + F.interpolate(sides[i + 1], size=sides[i].shape[2:])
        pyramid = [conv(m) for conv, m in zip(self.layer, sides)]
        if self.extra == "pool":
            pyramid.append(pyramid[-1][:, :, ::2, ::2])
        elif self.extra == "convolutions":
            sixth = self.higher[0](maps[-1])
            pyramid += [sixth, self.higher[1](F.relu(sixth))]
        return pyramid


# --- the papers', and small ones


def resnet50_fpn(width: int = 256, extra: str = "pool", first: int = 1, rng: Any = None) -> FPN:
    """ResNet-50 with a pyramid of strides 4 to 32 (from 8 on with `first` = 2), and the extra levels."""
    rng = stream(rng)
    return FPN(resnet_stages(resnet50(1, rng=rng), first), width, extra, rng)


def vgg16_map(rng: Any = None) -> Stages:
    """VGG-16's last map, of stride 16 and 512 channels."""
    return vgg_stage(VGG(CONVOLUTIONS["D"], VGG_MAPS, 1, 3, batch_norm=False, hidden=1, cells=1, rng=rng))


def resnet_small_stages(
    width: int = 48, counts: Sequence[int] = (1, 1, 1), in_channels: int = 3, rng: Any = None
) -> Stages:
    """For pictures of about 96 pixels: a ResNet with few blocks; width, 2 width, 3 width maps of strides 4, 8, 16.

    Small objects need a careful look: the stem is two 3x3 convolutions to half the width, the first of stride 2, and
    max pooling (He et al., "Bag of tricks for image classification", CVPR 2019, figure 2b).
    """
    rng, inputs = stream(rng), width // 2
    stem = [*layer(in_channels, inputs, 3, 2, rng), *layer(inputs, inputs, 3, 1, rng), nn.MaxPool2d(2)]
    layers: dict[str, nn.Module] = {"stem": nn.Sequential(*stem)}
    for i, count in enumerate(counts):
        maps, blocks = width * (i + 1), []
        for j in range(count):
            blocks.append(BasicBlock(inputs, maps, 2 if i and not j else 1, rng=rng))
            inputs = maps
        layers[f"layer{i + 1}"] = nn.Sequential(*blocks)
    names = list(layers)[1:]
    stages = Stages(layers, names, [width * (i + 1) for i in range(len(names))], [4 * 2**i for i in range(len(names))])
    redraw(stages, nn.Conv2d, partial(nn.init.kaiming_normal, mode="fan_out", nonlinearity="relu"), rng)
    return stages


def layer(inputs: int, outputs: int, kernel: int, stride: int, rng: Any) -> list[nn.Module]:
    """Convolution, batch norm, relu."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False, rng=rng)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def resnet_small_fpn(
    width: int = 48, pyramid: int = 48, counts: Sequence[int] = (1, 1, 1), extra: str = "none", in_channels: int = 3,
    rng: Any = None,
) -> FPN:  # fmt: skip
    """`resnet_small_stages` with a pyramid of `pyramid` maps on each level."""
    rng = stream(rng)
    return FPN(resnet_small_stages(width, counts, in_channels, rng), pyramid, extra, rng)


def vgg_small_map(width: int = 16, in_channels: int = 3, rng: Any = None) -> Stages:
    """For pictures of about 96 pixels: four blocks with batch norm; one map of stride 8 and 8 width channels."""
    maps = tuple(width * 2**i for i in range(4))
    return vgg_stage(VGG((1, 1, 2, 2), maps, 1, in_channels, batch_norm=True, hidden=1, cells=1, rng=rng))
