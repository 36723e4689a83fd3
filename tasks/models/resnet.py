"""ResNet: blocks of two or three convolutions whose output is added to their input.

Sources: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016; Xie et al., "Aggregated
residual transformations for deep neural networks", CVPR 2017 (ResNeXt); Zagoruyko and Komodakis, "Wide residual
networks", BMVC 2016.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from .initial import he_fan_out, redraw, stream

VERSIONS = ("v1", "v1.5")


class BasicBlock(nn.Module):
    """Figure 5, left: two 3x3 convolutions, the first with the stride; relu after the sum."""

    expansion = 1  # maps of the output for each map within

    def __init__(
        self, inputs: int, width: int, stride: int, *, dilation: int = 1, project: bool = True, rng: Any = None
    ):
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, dilation, dilation, bias=False, rng=rng)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False, rng=rng)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = projection(inputs, width, stride, rng) if project else None

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))

    def body(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))

    def shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class Bottleneck(nn.Module):
    """Figure 5, right: 1x1 to few maps, 3x3, 1x1 to four times as many; relu after the sum.

    Where a stage begins, the paper ("v1") gives the stride to the first convolution, torchvision ("v1.5") to the 3x3:
    Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1. In a ResNeXt (its Figure 3 c) the 3x3 has `groups`
    groups; it is `wider` than `width`, there as in a wide network.
    """

    expansion = 4

    def __init__(
        self, inputs: int, width: int, stride: int, *, dilation: int = 1, groups: int = 1, wider: int = 1,
        version: str = "v1.5", rng: Any = None,
    ):  # fmt: skip
        first, second = (stride, 1) if version == "v1" else (1, stride)
        inner, outputs = wider * width, self.expansion * width
        self.conv1 = nn.Conv2d(inputs, inner, 1, first, bias=False, rng=rng)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, dilation, dilation, groups, bias=False, rng=rng)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False, rng=rng)
        self.bn3, self.relu = nn.BatchNorm2d(outputs), nn.ReLU()
        self.downsample = projection(inputs, outputs, stride, rng)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def projection(inputs: int, outputs: int, stride: int, rng: Any) -> nn.Module | None:
    """Option B of section 4.1: x itself (None) where shapes agree, else a 1x1 convolution with the stride (eq. 2)."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False, rng=rng), nn.BatchNorm2d(outputs))


LAYERS = {  # Table 1: the block, and how many of them in conv2_x to conv5_x
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Sequential):
    """A stem, stages of blocks (each stage of half the size and twice the maps of the one before), mean, logits.

    `make(inputs, width, stride, dilation=, rng=)` makes a block; `small` has a 3x3 stem that keeps the size, for small
    pictures. The last `dilated` stages keep the size, their 3x3 kernels spread in place of the stride (Chen et al.,
    "Rethinking atrous convolution", 2017, section 3.1). Convolutions start from He's initialisation by fan-out.
    """

    def __init__(
        self, make: Any, expansion: int, counts: tuple[int, ...], num_classes: int, in_channels: int, *,
        width: int = 64, small: bool = False, dilated: int = 0, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        kernel, stride = (3, 1) if small else (7, 2)
        layers = {
            "conv1": nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False, rng=rng),
            "bn1": nn.BatchNorm2d(width),
            "relu": nn.ReLU(),
        }
        if not small:
            layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, dilation = width, 1
        for i, count in enumerate(counts):
            maps, stage, spreads = width * 2**i, [], i >= len(counts) - dilated
            for j in range(count):
                stage.append(make(inputs, maps, 2 if i and not j and not spreads else 1, dilation=dilation, rng=rng))
                inputs = expansion * maps
                if spreads and not j:
                    dilation *= 2
            layers[f"layer{i + 1}"] = nn.Sequential(*stage)
        layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        layers["fc"] = nn.Linear(inputs, num_classes, rng=rng)
        super().__init__(layers)
        redraw(self, nn.Conv2d, he_fan_out, rng)


def _resnet(depth: int, num_classes: int, in_channels: int, rng: Any, dilated: int = 0, **options: Any) -> ResNet:
    """`options`: of the block."""
    if (version := options.get("version", VERSIONS[0])) not in VERSIONS:
        raise ValueError(f"ResNet version {version!r} is unknown: one of {', '.join(VERSIONS)}")
    block, counts = LAYERS[depth]
    make = partial(block, **options)
    return ResNet(make, block.expansion, counts, num_classes, in_channels, dilated=dilated, rng=rng)


def resnet18(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """Table 1, 18 layers: 11,689,512 parameters."""
    return _resnet(18, num_classes, in_channels, rng)


def resnet34(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """Table 1, 34 layers: 21,797,672 parameters."""
    return _resnet(34, num_classes, in_channels, rng)


def resnet50(
    num_classes: int = 1000, in_channels: int = 3, *, version: str = "v1.5", dilated: int = 0, rng: Any = None
) -> ResNet:
    """Table 1, 50 layers: 25,557,032 parameters. `version`: see Bottleneck; `dilated`: see ResNet."""
    return _resnet(50, num_classes, in_channels, rng, dilated, version=version)


def resnet101(
    num_classes: int = 1000, in_channels: int = 3, *, version: str = "v1.5", dilated: int = 0, rng: Any = None
) -> ResNet:
    """Table 1, 101 layers: 44,549,160 parameters. `version`: see Bottleneck; `dilated`: see ResNet."""
    return _resnet(101, num_classes, in_channels, rng, dilated, version=version)


def resnet152(num_classes: int = 1000, in_channels: int = 3, *, version: str = "v1.5", rng: Any = None) -> ResNet:
    """Table 1, 152 layers: 60,192,808 parameters. `version`: see Bottleneck."""
    return _resnet(152, num_classes, in_channels, rng, version=version)


def resnext50_32x4d(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """ResNeXt's Table 1: 32 groups of 4 maps in the first stage; 25,028,904 parameters."""
    return _resnet(50, num_classes, in_channels, rng, groups=32, wider=2)


def resnext101_32x8d(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """101 layers, 32 groups of 8 maps: 88,791,336 parameters."""
    return _resnet(101, num_classes, in_channels, rng, groups=32, wider=4)


def resnext101_64x4d(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """101 layers, 64 groups of 4 maps: 83,455,272 parameters."""
    return _resnet(101, num_classes, in_channels, rng, groups=64, wider=4)


def wide_resnet50_2(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """50 layers, the 3x3 convolutions twice as wide: 68,883,240 parameters."""
    return _resnet(50, num_classes, in_channels, rng, wider=2)


def wide_resnet101_2(num_classes: int = 1000, in_channels: int = 3, *, rng: Any = None) -> ResNet:
    """101 layers, the 3x3 convolutions twice as wide: 126,886,696 parameters."""
    return _resnet(101, num_classes, in_channels, rng, wider=2)


# --- section 4.2: for 32x32 pictures, with and without shortcuts


class ParameterFreeBlock(BasicBlock):
    """Option A of section 4.1: where shapes differ the shortcut takes every other pixel; maps it lacks are zero."""

    def __init__(self, inputs: int, width: int, stride: int, *, dilation: int = 1, rng: Any = None):
        super().__init__(inputs, width, stride, dilation=dilation, project=False, rng=rng)

    def shortcut(self, x: Tensor) -> Tensor:
        (step, _), more = self.conv1.stride, self.conv1.out_channels - x.shape[1]
        return F.pad(x[:, :, ::step, ::step], [(0, 0), (0, more), (0, 0), (0, 0)]) if more else x


class PlainBlock(ParameterFreeBlock):
    """The same two convolutions without a shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x))


def resnet_small(
    depth: int = 20, width: int = 16, num_classes: int = 10, in_channels: int = 3, shortcut: bool = True,
    *, rng: Any = None,
) -> ResNet:  # fmt: skip
    """The network of section 4.2 for small pictures: 6n + 2 layers, three stages of width, 2 width and 4 width maps.

    Its shortcuts have no parameters (option A), so that without them (`shortcut=False`, the plain net) depth, width
    and parameters are the same. 0.27 million parameters at depth 20, 0.85 million at depth 56 (Table 6).
    Raises ValueError for another depth.
    """
    if depth < 8 or (depth - 2) % 6:
        near = max(8, 6 * round((depth - 2) / 6) + 2)
        raise ValueError(f"resnet_small has 6n + 2 layers, n from 1, got depth={depth}; the nearest is {near}")
    block = ParameterFreeBlock if shortcut else PlainBlock
    return ResNet(block, 1, ((depth - 2) // 6,) * 3, num_classes, in_channels, width=width, small=True, rng=rng)
