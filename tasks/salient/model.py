"""The network: from a picture to a map of how much each pixel stands out.

    picture -> maps f of things, at a quarter of the size -> how likely each place is a thing at all, a
            -> how far f is from that of the scene's things, each counted by its a -> logits, in the picture's size
"""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

from ..segment.unet import extended

PERIOD = 4  # pixels that a place of f stands for, along each side


class SaliencyNet(nn.Module):
    """Colour pictures (N, 3, H, W) in [0, 1] to logits (N, 1, H, W).

    What is odd is so beside all else in the scene. That comparison is built in, with m the mean of f over the scene,
    weighted by a: `(f - m)^2` for each of `width` maps. So no layer has to see far, and few steps are enough. Maps are
    normalised over each scene, so that a new texture changes little.
    Source of the idea: Itti, Koch and Niebur, "A model of saliency-based visual attention for rapid scene analysis",
    TPAMI 20, 1998, whose maps are differences of a centre and its surround.
    """

    def __init__(self, width: int = 32, *, rng: Any = None):
        rng = nn.init.generator(rng)
        half = width // 2
        self.near = _layer(3, half, 2, rng)  # at half the size
        self.far = nn.Sequential(*(_layer(i, width, stride, rng) for i, stride in ((half, 2), (width, 1), (width, 1))))
        self.thing = nn.Conv2d(width, 1, 1, rng=rng)
        self.features = nn.Conv2d(width, width, 1, rng=rng)
        self.judge = _layer(2 * width, half, 1, rng)
        self.join = _layer(2 * half, half, 1, rng)
        self.out = nn.Conv2d(half, 1, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        near = self.near(extended(2 * x - 1, PERIOD))
        maps = self.far(near)
        judged = self.judge(F.concat([maps, self.contrast(maps)], axis=1))
        joined = self.join(F.concat([near, F.interpolate(judged, scale_factor=2)], axis=1))
        logits = F.interpolate(self.out(joined), scale_factor=2, mode="bilinear", align_corners=False)
        return logits[:, :, :height, :width]

    def contrast(self, maps: Tensor) -> Tensor:
        """How far the features of each place are from the mean of the scene's things, squared, (N, width, h, w)."""
        features, thing = self.features(maps), F.sigmoid(self.thing(maps))
        total = thing.sum(axis=(2, 3), keepdims=True)
        mean = (thing * features).sum(axis=(2, 3), keepdims=True) / (total + 1e-3)
        return thing * (features - mean) ** 2


def _layer(inputs: int, outputs: int, stride: int, rng: Any) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False, rng=rng)
    return nn.Sequential(conv, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU())
