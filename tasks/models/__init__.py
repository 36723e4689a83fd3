"""The networks, under torchvision's names: its weights load into them as they stand. MODELS has each by its name.

All take images (N, in_channels, H, W) and give logits (N, num_classes). Those in SMALL, which torchvision has not,
take pictures from 8x8 pixels on; those in OTHERS, which it has not either, have the names of timm and Cadene. `rng`, a
numpy Generator or a seed, decides the initial weights and what dropout drops.
"""

from __future__ import annotations

from collections.abc import Callable

from .alexnet import AlexNet, alexnet, alexnet_small
from .convnext import CONVNEXTS
from .densenet import DenseNet, densenet121, densenet161, densenet169, densenet201, densenet_small
from .efficientnet import EFFICIENTNETS
from .googlenet import GoogLeNet, GoogLeNetOutputs, googlenet, googlenet_small
from .inception import InceptionOutputs, inception_v3
from .inception_resnet import inception_resnet_v2
from .inception_v2 import inception_v2
from .maxvit import maxvit_t
from .mnasnet import MNASNETS
from .mobilenet_v1 import mobilenet_v1
from .mobilenet_v2 import mobilenet_v2
from .mobilenet_v3 import MOBILENETS_V3
from .regnet import REGNETS
from .resnet import (
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnet_small,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .shufflenet import SHUFFLENETS
from .squeezenet import SQUEEZENETS
from .swin import SWINS
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, vgg_small
from .vit import VITS

SMALL = ("alexnet_small", "vgg_small", "googlenet_small", "resnet_small", "densenet_small")
OTHERS = (mobilenet_v1, inception_v2, inception_resnet_v2)  # which torchvision has not, under names of others
CONSTRUCTORS = (
    alexnet, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, googlenet, inception_v3,
    resnet18, resnet34, resnet50, resnet101, resnet152, resnext50_32x4d, resnext101_32x8d, resnext101_64x4d,
    wide_resnet50_2, wide_resnet101_2, densenet121, densenet161, densenet169, densenet201, mobilenet_v2, maxvit_t,
    *OTHERS,
    alexnet_small, vgg_small, googlenet_small, resnet_small, densenet_small,
)  # fmt: skip
FAMILIES = (SQUEEZENETS, MOBILENETS_V3, MNASNETS, SHUFFLENETS, EFFICIENTNETS, REGNETS, CONVNEXTS, VITS, SWINS)
MODELS: dict[str, Callable] = {constructor.__name__: constructor for constructor in CONSTRUCTORS}
for family in FAMILIES:
    MODELS |= family

__all__ = [
    "MODELS", "SMALL", "VGG", "AlexNet", "DenseNet", "GoogLeNet", "GoogLeNetOutputs", "InceptionOutputs", "ResNet",
    *MODELS,
]  # fmt: skip


def __getattr__(name: str) -> Callable:
    """The networks that a table makes: ``from tasks.models import efficientnet_b0``."""
    if name in MODELS:
        return MODELS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
