"""Networks that give each pixel a class, on a classifier's layers: FCN, DeepLabV3, LR-ASPP, as torchvision has them.

All take images (N, 3, H, W) and give logits (N, num_classes, H, W). Sources: Long, Shelhamer and Darrell, "Fully
convolutional networks for semantic segmentation", CVPR 2015; Chen, Papandreou, Schroff and Adam, "Rethinking atrous
convolution for semantic image segmentation", 2017; Howard et al., "Searching for MobileNetV3", ICCV 2019, section 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from minidl import Tensor, nn
from minidl import functional as F

from .blocks import conv_norm
from .initial import stream
from .mobilenet_v3 import LARGE, trunk
from .resnet import resnet50, resnet101

CLASSES = (  # of Pascal VOC, which torchvision's weights know
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
RATES = (12, 24, 36)  # of the pyramid's dilated convolutions, where the maps have an eighth of the image's size


class SegmentationOutputs(NamedTuple):
    """What a network with an auxiliary head gives in training. torchvision's loss is that of out + 0.5 that of aux."""

    out: Tensor
    aux: Tensor


class Below(NamedTuple):
    """The layers that a network for segmentation has of a classifier."""

    layers: nn.Sequential
    maps: int  # that they give
    other: str  # the layer that another head looks at
    other_maps: int


def of_resnet(make: Callable, in_channels: int, rng: Any) -> Below:
    """A ResNet without its last layers; two stages are dilated, so that the maps have an eighth of the image's size."""
    layers = dict(make(in_channels=in_channels, dilated=2, rng=rng).named_children())
    kept = {name: layer for name, layer in layers.items() if name not in ("avgpool", "flatten", "fc")}
    return Below(nn.Sequential(kept), 2048, "layer3", 1024)


def of_mobilenet(in_channels: int, rng: Any) -> Below:
    """MobileNetV3-large without its last layers; its last stage is dilated: a sixteenth of the image's size."""
    return Below(trunk(LARGE, in_channels, dilated=True, rng=rng), 960, "4", 40)


def upsampled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, C, h, w) at another size, bilinear."""
    return F.interpolate(x, size=tuple(size), mode="linear")


class Segmenter(nn.Module):
    """A classifier's layers, a head that gives logits for its maps, which are upsampled to the pixels.

    With an auxiliary head training gives SegmentationOutputs.
    """

    def __init__(self, below: Below, classifier: nn.Module, aux_classifier: nn.Module | None):
        self.backbone, self.other = below.layers, below.other
        self.classifier, self.aux_classifier = classifier, aux_classifier

    def forward(self, x: Tensor) -> Any:
        size, other = x.shape[2:], None
        for name, layer in self.backbone.named_children():
            x = layer(x)
            other = x if name == self.other else other
        logits = upsampled(self.classifier(x), size)
        if self.aux_classifier is None or not self.training:
            return logits
        return SegmentationOutputs(logits, upsampled(self.aux_classifier(other), size))


def fcn_head(maps: int, num_classes: int, rng: Any) -> nn.Sequential:
    """3x3 to a quarter of the maps, dropout, 1x1 to the classes."""
    return nn.Sequential(
        *conv_norm(maps, maps // 4, 3, rng=rng), nn.Dropout(0.1, rng=rng), nn.Conv2d(maps // 4, num_classes, 1, rng=rng)
    )


class Means(nn.Sequential):
    """Figure 5 (b): the means of the whole maps, through 1x1, at every pixel."""

    def __init__(self, maps: int, outputs: int, rng: Any):
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_norm(maps, outputs, 1, rng=rng))

    def forward(self, x: Tensor) -> Tensor:
        return upsampled(super().forward(x), x.shape[2:])


class Pyramid(nn.Module):
    """DeepLabV3's Figure 5, atrous spatial pyramid pooling: 1x1, three dilated 3x3 and the means, side by side; 1x1."""

    def __init__(self, maps: int, outputs: int, rng: Any):
        dilated = [conv_norm(maps, outputs, 3, dilation=rate, rng=rng) for rate in RATES]
        self.convs = nn.ModuleList([conv_norm(maps, outputs, 1, rng=rng), *dilated, Means(maps, outputs, rng)])
        self.project = nn.Sequential(*conv_norm(5 * outputs, outputs, 1, rng=rng), nn.Dropout(0.5, rng=rng))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.concat([conv(x) for conv in self.convs], axis=1))


def deeplab_head(maps: int, num_classes: int, rng: Any) -> nn.Sequential:
    """The pyramid, 3x3, 1x1 to the classes."""
    return nn.Sequential(
        Pyramid(maps, 256, rng), *conv_norm(256, 256, 3, rng=rng), nn.Conv2d(256, num_classes, 1, rng=rng)
    )


def segmenter(
    below: Callable, head: Callable, num_classes: int = 21, in_channels: int = 3, *, aux_loss: bool = False,
    rng: Any = None,
) -> Segmenter:  # fmt: skip
    """A network by its parts; `aux_loss`: with an auxiliary head, which torchvision's weights of FCN, DeepLab have."""
    rng = stream(rng)
    layers = below(in_channels, rng)
    aux = fcn_head(layers.other_maps, num_classes, rng) if aux_loss else None
    return Segmenter(layers, head(layers.maps, num_classes, rng), aux)


class LRASPPHead(nn.Module):
    """MobileNetV3's Figure 10: 1x1 times what the means of all maps decide, upsampled, and a layer from further below;
    of both the 1x1 that gives classes, added."""

    def __init__(self, low: int, high: int, num_classes: int, rng: Any, inner: int = 128):
        self.cbr = conv_norm(high, inner, 1, rng=rng)
        gate = nn.Conv2d(high, inner, 1, bias=False, rng=rng)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), gate, nn.Sigmoid())
        self.low_classifier = nn.Conv2d(low, num_classes, 1, rng=rng)
        self.high_classifier = nn.Conv2d(inner, num_classes, 1, rng=rng)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        x = upsampled(self.cbr(high) * self.scale(high), low.shape[2:])
        return self.low_classifier(low) + self.high_classifier(x)


class LRASPP(nn.Module):
    """MobileNetV3-large with the head above."""

    def __init__(self, num_classes: int = 21, in_channels: int = 3, *, rng: Any = None):
        rng = stream(rng)
        below = of_mobilenet(in_channels, rng)
        self.backbone, self.low = below.layers, below.other
        self.classifier = LRASPPHead(below.other_maps, below.maps, num_classes, rng)

    def forward(self, x: Tensor) -> Tensor:
        size, low = x.shape[2:], None
        for name, layer in self.backbone.named_children():
            x = layer(x)
            low = x if name == self.low else low
        return upsampled(self.classifier(low, x), size)


RESNETS = {"resnet50": partial(of_resnet, resnet50), "resnet101": partial(of_resnet, resnet101)}
SEGMENTERS: dict[str, Callable] = {
    **{f"fcn_{name}": partial(segmenter, below, fcn_head) for name, below in RESNETS.items()},
    **{f"deeplabv3_{name}": partial(segmenter, below, deeplab_head) for name, below in RESNETS.items()},
    "deeplabv3_mobilenet_v3_large": partial(segmenter, of_mobilenet, deeplab_head),
    "lraspp_mobilenet_v3_large": LRASPP,
}
