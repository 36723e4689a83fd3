"""The network that is looked into: convolutions, batch norm and ReLU, global average pooling, one linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, data, nn
from minidl.nn.init import generator

MIDDLE, SCALE = 0.5, 4.0
WIDTH = 16
INITIAL = 4  # keeps the draws of initial weights apart from others


class GAPNet(nn.Module):
    """Gray images (N, 1, H, W) of any size to logits (N, num_classes).

    Two 3x3 convolutions, max pooling, two more, the last with dilation 2; batch norm and ReLU after each; then the
    mean of every map and a linear layer, so that class activation maps are exact. A cell of the last maps sees 18x18
    pixels, the next cell those 2 pixels further.
    """

    def __init__(self, num_classes: int, *, width: int = WIDTH, rng: Any = None):
        rng = None if rng is None else generator(rng)  # a seed starts one stream for all layers
        self.features = nn.Sequential(
            *_stage(1, width, 1, rng), *_stage(width, width, 1, rng), nn.MaxPool2d(2),
            *_stage(width, 2 * width, 1, rng), *_stage(2 * width, 2 * width, 2, rng),
        )  # fmt: skip
        self.pool = nn.GlobalAvgPool()
        self.head = nn.Linear(2 * width, num_classes, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.features(x)))


def _stage(inputs: int, outputs: int, dilation: int, rng: Any) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False, rng=rng)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


class Networks(nn.Module):
    """All that one run trains: `faces`, and a network on planted evidence for each seed, `evidence`.

    They share nothing: the sum of their losses trains each as if it were alone.
    """

    def __init__(self, face_classes: int, evidence_classes: int, *, seed: int, seeds: int):
        self.faces = GAPNet(face_classes, rng=data.generator(seed, INITIAL, 0))
        networks = (GAPNet(evidence_classes, rng=data.generator(s, INITIAL, 1)) for s in range(seed, seed + seeds))
        self.evidence = nn.ModuleList(networks)


def prepared(images: np.ndarray) -> np.ndarray:
    """What a network sees of images in [0, 1]: SCALE * (pixel - MIDDLE), so that 0 is mid gray; float32."""
    return (SCALE * (images - MIDDLE)).astype(np.float32)


def pixels(images: np.ndarray) -> np.ndarray:
    """The inverse of `prepared`."""
    return images / SCALE + MIDDLE
