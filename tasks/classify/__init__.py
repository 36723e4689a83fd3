"""Classify images with the well-known convolutional networks, and learn to."""

from __future__ import annotations

from ..models import (  # noqa: F401 (__all__ has them by MODELS)
    MODELS,
    alexnet,
    alexnet_small,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_small,
    googlenet,
    googlenet_small,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnet_small,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
    vgg_small,
)

__all__ = ["MODELS", *MODELS]
