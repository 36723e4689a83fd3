"""Vision transformer: an image is a sequence of patches, each of which looks at all others.

Source: Dosovitskiy et al., "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from minidl import Parameter, Tensor, nn
from minidl import functional as F

from .blocks import mlp
from .initial import redraw, stream

SIZES = {  # Table 1: the patch's side, layers, hidden size D, MLP size, heads
    "b_16": (16, 12, 768, 3072, 12),
    "b_32": (32, 12, 768, 3072, 12),
    "l_16": (16, 24, 1024, 4096, 16),
    "l_32": (32, 24, 1024, 4096, 16),
    "h_14": (14, 32, 1280, 5120, 16),
}
OLD_NAME = re.compile(r"\.mlp\.linear_([12])\.")
norm = partial(nn.LayerNorm, eps=1e-6)


class EncoderBlock(nn.Module):
    """Figure 1, right: attention and an MLP, each after a layer norm, each added to what it sees (eq. 2 and 3)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, rng: Any):
        self.ln_1 = norm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True, rng=rng)
        self.dropout = nn.Dropout(dropout, rng=rng)
        self.ln_2 = norm(width)
        self.mlp = mlp(width, hidden, dropout, rng)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.dropout(self.self_attention(y, y, y, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Learnt positions are added, then block after block."""

    def __init__(self, length: int, layers: int, width: int, heads: int, hidden: int, dropout: float, rng: Any):
        self.pos_embedding = Parameter(nn.init.normal((1, length, width), nn.init.generator(rng), std=0.02))
        self.dropout = nn.Dropout(dropout, rng=rng)
        blocks = {f"encoder_layer_{i}": EncoderBlock(width, heads, hidden, dropout, rng) for i in range(layers)}
        self.layers, self.ln = nn.Sequential(blocks), norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Figure 1: patches through one linear layer (a convolution), a learnt class token before them, the encoder; the
    logits are of what has become of the token. It takes images of `image_size` alone, as positions are learnt."""

    def __init__(
        self, size: str, num_classes: int = 1000, in_channels: int = 3, *, image_size: int = 224, dropout: float = 0.0,
        rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        patch, layers, width, hidden, heads = SIZES[size]
        if image_size % patch:
            raise ValueError(f"vit_{size}: image_size is a multiple of the patch's {patch}, got {image_size}")
        self.image_size = image_size
        self.class_token = Parameter(np.zeros((1, 1, width), np.float32))
        self.conv_proj = nn.Conv2d(in_channels, width, patch, stride=patch, rng=rng)
        self.encoder = Encoder((image_size // patch) ** 2 + 1, layers, width, heads, hidden, dropout, rng)
        self.heads = nn.Sequential({"head": nn.Linear(width, num_classes, rng=rng)})
        first = (in_channels * patch**2) ** -0.5
        redraw(self.conv_proj, nn.Conv2d, partial(nn.init.normal, std=first), rng, bias=0)
        for block in self.encoder.layers:
            redraw(block.mlp, nn.Linear, nn.init.xavier_uniform, rng, bias=0)
        redraw(self.heads, nn.Linear, lambda shape, rng: nn.init.zeros(shape), rng, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (self.image_size,) * 2:
            side = self.image_size
            raise ValueError(f"this network takes images of {side}x{side}, got {x.shape[2:]}: give image_size=")
        x = self.conv_proj(x)
        n, width, rows, columns = x.shape
        x = x.reshape(n, width, rows * columns).transpose(0, 2, 1)  # (N, D, H, W) -> (N, H W, D)
        token = F.tile(self.class_token, (n, 1, 1))
        return self.heads(self.encoder(F.concat([token, x], axis=1))[:, 0])

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> nn.Mismatch:
        """As of any module; the names of torchvision's files, mlp.linear_1 for mlp.0, are understood too."""
        if isinstance(state, Mapping):
            state = {OLD_NAME.sub(_new_name, name): array for name, array in state.items()}
        return super().load_state_dict(state, strict)


def _new_name(match: re.Match) -> str:
    return ".mlp.0." if match[1] == "1" else ".mlp.3."


def image_size(size: str, state: Mapping[str, Any]) -> dict[str, int]:
    """The option `image_size` of the network of a size whose weights these are, if they say."""
    positions = np.shape(state.get("encoder.pos_embedding"))
    return {"image_size": round((positions[1] - 1) ** 0.5) * SIZES[size][0]} if len(positions) == 3 else {}


VITS = {f"vit_{size}": partial(VisionTransformer, size) for size in SIZES}
