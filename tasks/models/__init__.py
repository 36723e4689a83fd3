"""The networks, under torchvision's names: its weights load into them as they stand. MODELS has each by its name.

All take images (N, in_channels, H, W) and give logits (N, num_classes). Those that end in _small take pictures from
8x8 pixels on. `rng`, a numpy Generator or a seed, decides the initial weights and what dropout drops.
"""

from __future__ import annotations

from .alexnet import AlexNet, alexnet, alexnet_small
from .densenet import DenseNet, densenet121, densenet161, densenet169, densenet201, densenet_small
from .googlenet import GoogLeNet, GoogLeNetOutputs, googlenet, googlenet_small
from .resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152, resnet_small
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, vgg_small

CONSTRUCTORS = (
    alexnet, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, googlenet,
    resnet18, resnet34, resnet50, resnet101, resnet152, densenet121, densenet161, densenet169, densenet201,
    alexnet_small, vgg_small, googlenet_small, resnet_small, densenet_small,
)  # fmt: skip
MODELS = {constructor.__name__: constructor for constructor in CONSTRUCTORS}

__all__ = ["MODELS", "VGG", "AlexNet", "DenseNet", "GoogLeNet", "GoogLeNetOutputs", "ResNet", *MODELS]
