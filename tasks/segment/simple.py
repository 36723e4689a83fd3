"""The "very simple" segmentation network of the lecture's written assignment: two layers, every derivative by hand."""

from __future__ import annotations

from typing import Any

from minidl import Tensor, nn
from minidl import functional as F

ACTIVATIONS = {"relu": F.relu, "tanh": F.tanh, "sigmoid": F.sigmoid}


class SimpleNet(nn.Module):
    """Images (N, in_channels, H, W) give one map of logits u (N, 1, H, W); the prediction is sigmoid(u).

    Layer 1: z_ij = activation(convolution), `hidden` maps. Layer 2, with a filter h_j for each of them:
    ``u_i(m, n) = b + sum over j, k, l of h_j(k, l) z_ij(m + k, n + l)``, k and l from -r to r for kernels of
    2 r + 1 (odd) pixels, z being 0 outside. With L the soft Dice loss -D of one image, ``delta = dL/du =
    2 (D p - g) / Q * p (1 - p)``, ``dL/dh_j(k, l) = sum over m, n of delta(m, n) z_j(m + k, n + l)`` and
    ``dL/db = sum of delta``. The assignment's filters may be flipped, (m - k, n - l): then so are the derivatives.
    """

    period, padded = 1, True

    def __init__(
        self, in_channels: int = 1, hidden: int = 4, *, kernel_size: int = 3, activation: str = "relu", rng: Any = None
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"SimpleNet: activation {activation!r} is unknown: one of {', '.join(ACTIVATIONS)}")
        if kernel_size % 2 != 1:
            raise ValueError(f"SimpleNet: kernel_size must be odd, so that pixels have a centre, got {kernel_size}")
        rng = nn.init.generator(rng)
        self.activation, self.radius = activation, kernel_size - 1
        self.layer1 = nn.Conv2d(in_channels, hidden, kernel_size, padding=kernel_size // 2, rng=rng)
        self.layer2 = nn.Conv2d(hidden, 1, kernel_size, padding=kernel_size // 2, rng=rng)

    def features(self, x: Tensor) -> Tensor:
        """The maps z after layer 1, (N, hidden, H, W)."""
        return ACTIVATIONS[self.activation](self.layer1(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(self.features(x))

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}"
