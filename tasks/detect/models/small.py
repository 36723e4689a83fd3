"""Backbones for pictures of about 96 pixels, by name: networks of several papers, narrower and cut off at stride 16.

Each gives three maps, of strides 4, 8 and 16. `width` is how many times as wide all maps are as the default, which is
so chosen that a detector trains in minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import Tensor, nn

from ...models import inception_resnet_v2, inception_v3, mobilenet_v1, mobilenet_v2
from ...models import mobilenet_v3 as v3
from ...models.blocks import multiple
from ...models.inception_v2 import Trunk
from ...models.initial import he_fan_out, redraw, stream
from .backbone import Stages, resnet_small_stages

STRIDES = (4, 8, 16)


def resnet(width: float = 1.0, rng: Any = None) -> Stages:
    """A stem of 3x3 convolutions and three blocks of 48, 96 and 144 maps."""
    return resnet_small_stages(multiple(48 * width), rng=rng)


def mobilenet_1(width: float = 1.0, rng: Any = None) -> Stages:
    """MobileNet v1, half as wide as the paper's, without its last two blocks."""
    net = mobilenet_v1(1, width_mult=0.5 * width, rng=stream(rng))
    layers = dict(list(net.named_children())[:3]) | {f"blocks{i}": stage for i, stage in enumerate(net.blocks)}
    return _stages(layers, {f"blocks{i}": net.blocks[i][-1].conv_pw for i in (1, 2, 3)})


def mobilenet_2(width: float = 1.0, rng: Any = None) -> Stages:
    """MobileNet v2, three quarters as wide as the paper's, up to its 13th block."""
    net = mobilenet_v2(1, width_mult=0.75 * width, rng=stream(rng))
    return _stages(dict(net.features.named_children()), {i: net.features[int(i)].conv[-2] for i in ("3", "6", "13")})


def mobilenet_3(width: float = 1.0, rng: Any = None) -> Stages:
    """MobileNet v3 (large), three quarters as wide as the paper's, up to its 12th block."""
    wide = [(k, multiple(0.75 * width * e), multiple(0.75 * width * o), *rest) for k, e, o, *rest in v3.LARGE[:12]]
    net = v3.trunk(tuple(wide), 3, rng=stream(rng))
    redraw(net, nn.Conv2d, he_fan_out, rng, bias=0)
    return _stages(dict(net.named_children()), {i: net[int(i)].block[-1][0] for i in ("3", "6", "12")})


class InceptionV2Stages(Trunk):
    """Inception v2, a quarter as wide as the paper's, up to module 4d."""

    names, strides = ("stem", "3b", "4d"), STRIDES

    def __init__(self, width: float = 1.0, rng: Any = None):
        super().__init__(3, 0.25 * width, last=self.names[-1], rng=rng)
        self.channels = tuple(self.widths[name] for name in self.names)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [y for name, y in self.outputs(x) if name in self.names]


def inception_3(width: float = 1.0, rng: Any = None) -> Stages:
    """Inception v3, a quarter as wide as the paper's, up to its last module of 7x7 kernels, whose convolutions pad."""
    net = inception_v3(1, aux_logits=False, width_mult=0.25 * width, same=True, rng=stream(rng))
    redraw(net, nn.Conv2d, he_fan_out, rng)
    outputs = {"Conv2d_4a_3x3": net.Conv2d_4a_3x3.conv, "Mixed_5d": net.Mixed_5d, "Mixed_6e": net.Mixed_6e}
    return _stages(dict(net.named_children()), outputs)


def inception_resnet_2(width: float = 1.0, rng: Any = None) -> Stages:
    """Inception-ResNet-v2, a quarter as wide as the paper's and with 2 and 4 of its 10 and 20 blocks 35 and 17."""
    net = inception_resnet_v2(1, width_mult=0.25 * width, counts=(2, 4, 0), same=True, rng=stream(rng))
    outputs = {"conv2d_4a": net.conv2d_4a.conv, "repeat": net.mixed_5b, "repeat_1": net.mixed_6a}
    return _stages(dict(net.named_children()), outputs)


def _stages(layers: dict[str, nn.Module], outputs: dict[str, nn.Module]) -> Stages:
    """The layers up to the last output; what each output is made by says how many maps it has."""
    return Stages(layers, list(outputs), [layer.out_channels for layer in outputs.values()], STRIDES)


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "mobilenet_v1": mobilenet_1,
    "mobilenet_v2": mobilenet_2,
    "mobilenet_v3": mobilenet_3,
    "inception_v2": InceptionV2Stages,
    "inception_v3": inception_3,
    "inception_resnet_v2": inception_resnet_2,
}
