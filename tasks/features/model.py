"""An autoencoder with a narrow middle: the code, which is what the picture is said to be made of."""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn
from minidl import functional as F


class Autoencoder(nn.Module):
    """Pictures (N, channels, side, side), side a multiple of 4, to `code` numbers each and back.

    The encoder is a 3x3 convolution and two at stride 2, of `width`, 2 `width`, 4 `width` maps, and a linear layer to
    the code; the decoder is its mirror image, with transposed convolutions.
    Source: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006;
    there without convolutions.
    """

    def __init__(self, channels: int, side: int, width: int = 16, code: int = 16, *, rng: Any = None):
        if side % 4:
            raise ValueError(f"the side of the pictures must be a multiple of 4, got {side}")
        rng = nn.init.generator(rng)
        self.maps, self.small = 4 * width, side // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, rng=rng), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, rng=rng), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, self.maps, 4, stride=2, padding=1, rng=rng), nn.BatchNorm2d(self.maps), nn.ReLU(),
            nn.Flatten(), nn.Linear(self.maps * self.small**2, code, rng=rng),
        )  # fmt: skip
        self.widen = nn.Linear(code, self.maps * self.small**2, rng=rng)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(self.maps, 2 * width, 4, stride=2, padding=1, rng=rng),
            nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, rng=rng), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1, rng=rng),
        )  # fmt: skip

    def decode(self, code: Tensor) -> Tensor:
        """The pictures of codes (N, code)."""
        return self.decoder(F.relu(self.widen(code)).reshape(-1, self.maps, self.small, self.small))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encoder(x))
