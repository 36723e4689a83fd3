"""Backbones: images to maps. Classification networks without their ends, and a pyramid on top.

A backbone has `channels` and `strides`, one number per map; ``backbone(images)`` gives the maps, finest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from ...models.mobilenet_v3 import LARGE, trunk
from ...models.resnet import BasicBlock, ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from ...models.vgg import CONVOLUTIONS, VGG
from ...models.vgg import MAPS as VGG_MAPS

RESNETS = {18: resnet18, 34: resnet34, 50: resnet50, 101: resnet101, 152: resnet152}
MORE = {"none": 0, "pool": 1, "convolutions": 2, "convolutions of P5": 2}  # levels that a pyramid has on top
Norm = Callable[[int], nn.Module]  # a normalisation of so many channels


class Stages(nn.Sequential):
    """A chain of named layers; the maps are what those named in `outputs` give. Layers after the last are left out."""

    def __init__(
        self, layers: Mapping[str, nn.Module], outputs: Sequence[str], channels: Sequence[int], strides: Sequence[int]
    ):
        names = list(layers)
        super().__init__({name: layers[name] for name in names[: names.index(outputs[-1]) + 1]})
        self.outputs, self.channels, self.strides = tuple(outputs), tuple(channels), tuple(strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, layer in self.named_children():
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


class Pyramid(nn.Module):
    """Out of maps of these channels, finest first, as many of `width`, each with what the coarser ones know.

    Each map goes through a 1x1 convolution to `width` maps; the sum of coarser levels, its size brought to the finer
    one's by nearest neighbours, is added; a 3x3 convolution makes the output. No activations.
    extra: "pool" adds a level of every other cell of the coarsest; "convolutions" two, 3x3 of stride 2 with a relu
    between (RetinaNet's P6 and P7), the first of the coarsest map that comes in, or, "convolutions of P5", of the
    coarsest that goes out; "none" no more. norm: after every convolution but these, in the place of its bias.
    Source: Lin et al., "Feature pyramid networks for object detection", CVPR 2017, section 3, and footnote 2.
    """

    def __init__(
        self, channels: Sequence[int], width: int = 256, extra: str = "pool", norm: Norm | None = None, rng: Any = None
    ):
        if extra not in MORE:
            raise ValueError(f"FPN: extra {extra!r} is unknown: one of {', '.join(MORE)}")
        self.extra = extra
        plain = {"norm": norm, "activation": None, "rng": rng}
        self.inner_blocks = nn.ModuleList(conv_norm(c, width, 1, **plain) for c in channels)
        self.layer_blocks = nn.ModuleList(conv_norm(width, width, **plain) for _ in channels)
        if MORE[extra] == 2:
            into = channels[-1] if extra == "convolutions" else width
            p6, p7 = (nn.Conv2d(c, width, 3, 2, padding=1, rng=rng) for c in (into, width))
            self.extra_blocks = nn.ModuleDict({"p6": p6, "p7": p7})
        redraw(self, nn.Conv2d, partial(nn.init.kaiming_uniform, a=1), rng, bias=0)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        sides = [conv(m) for conv, m in zip(self.inner_blocks, maps)]
        for i in range(len(sides) - 2, -1, -1):
            sides[i] = sides[i] + F.interpolate(sides[i + 1], size=sides[i].shape[2:])
        levels = [conv(m) for conv, m in zip(self.layer_blocks, sides)]
        if self.extra == "pool":
            levels.append(levels[-1][:, :, ::2, ::2])
        elif MORE[self.extra]:
            sixth = self.extra_blocks["p6"]((maps if self.extra == "convolutions" else levels)[-1])
            levels += [sixth, self.extra_blocks["p7"](F.relu(sixth))]
        return levels


class FPN(nn.Module):
    """The maps of `body`, and a `Pyramid` of them, whose arguments these are."""

    def __init__(
        self, body: Stages, width: int = 256, extra: str = "pool", norm: Norm | None = None, rng: Any = None
    ):
        self.body, self.fpn = body, Pyramid(body.channels, width, extra, norm, stream(rng))
        self.strides = (*body.strides, *(body.strides[-1] * 2 ** (i + 1) for i in range(MORE[extra])))
        self.channels = (width,) * len(self.strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.fpn(self.body(x))


# --- the papers', and small ones


def resnet_fpn(
    depth: int, width: int = 256, extra: str = "pool", first: int = 1, norm: Norm | None = None, rng: Any = None
) -> FPN:
    """A ResNet of this depth with a pyramid of strides 4 to 32 (from 8 on with `first` = 2), and the extra levels."""
    rng = stream(rng)
    return FPN(resnet_stages(RESNETS[depth](1, rng=rng), first), width, extra, norm, rng)


resnet50_fpn = partial(resnet_fpn, 50)


def mobilenet_fpn(width: int = 256, rng: Any = None) -> FPN:
    """MobileNetV3's maps where its last stage begins and where it ends, both of stride 32, with a pyramid and one level
    more."""
    rng = stream(rng)
    layers = dict(trunk(LARGE, 3, rng=rng).named_children())
    for layer in (m for part in layers.values() for m in part.modules() if isinstance(m, nn.BatchNorm2d)):
        layer.eps = 1e-5  # in detectors torchvision has it as everywhere else
    return FPN(Stages(layers, ("13", "16"), (160, 960), (32, 32)), width, rng=rng)


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
    first = conv_norm(in_channels, inputs, stride=2, rng=rng)
    second = conv_norm(inputs, inputs, rng=rng)
    layers: dict[str, nn.Module] = {"stem": nn.Sequential(first, second, nn.MaxPool2d(2))}
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


def resnet_small_fpn(
    width: int = 48, pyramid: int = 48, counts: Sequence[int] = (1, 1, 1), extra: str = "none", in_channels: int = 3,
    rng: Any = None,
) -> FPN:  # fmt: skip
    """`resnet_small_stages` with a pyramid of `pyramid` maps on each level."""
    rng = stream(rng)
    return FPN(resnet_small_stages(width, counts, in_channels, rng), pyramid, extra, rng=rng)


def vgg_small_map(width: int = 16, in_channels: int = 3, rng: Any = None) -> Stages:
    """For pictures of about 96 pixels: four blocks with batch norm; one map of stride 8 and 8 width channels."""
    maps = tuple(width * 2**i for i in range(4))
    return vgg_stage(VGG((1, 1, 2, 2), maps, 1, in_channels, batch_norm=True, hidden=1, cells=1, rng=rng))
