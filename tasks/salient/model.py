"""The network: from a picture to a map of how much each pixel stands out."""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn

from ..segment.unet import UNet


class SaliencyNet(nn.Module):
    """Colour pictures (N, 3, H, W) in [0, 1] to logits (N, 1, H, W): a U-Net, deep enough to see the whole scene.

    What stands out does so from all else, so each logit must depend on pixels far away.
    """

    padded = True

    def __init__(self, width: int = 12, depth: int = 4, *, rng: Any = None):
        self.net = UNet(3, 1, base=width, depth=depth, padded=True, up="nearest", rng=rng)
        self.period, self.radius = self.net.period, self.net.radius

    def forward(self, x: Tensor) -> Tensor:
        return self.net(2 * x - 1)
