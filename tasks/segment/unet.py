"""U-Net: a contracting path that sees far, an expanding path that puts its maps back on the pixels, skips between them.

Source: Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from minidl import Tensor, nn
from minidl import functional as F

from ..models.initial import redraw, stream

UPS = ("transposed", "nearest")


class Sizes(NamedTuple):
    """Sizes along one axis of the maps that the skips carry, top first, of the bottom's maps and of the logits."""

    skips: tuple[int, ...]
    bottom: int
    output: int


def valid_sizes(size: int, depth: int = 4, up: str = "transposed") -> Sizes:
    """What becomes of `size` input pixels without padding: 572 gives skips 568, 280, 136, 64, bottom 28, output 388.

    Raises ValueError for a size that some max pooling would not halve, or that leaves no output. Legal are
    ``2^depth b + 4 (2^depth - 1)`` from `input_size(1)` on: 188, 204, 220, ... for depth 4.
    """
    n, skips = size, []
    for _ in range(depth):
        n -= 4  # two 3x3 convolutions
        skips.append(n)
        if n < 2 or n % 2:
            raise _illegal(size, depth, up)
        n //= 2
    n = bottom = n - 4
    for _ in range(depth):
        n = 2 * n - 4 - 2 * (up == "nearest")  # whose 3x3 convolution takes two more
    if n < 1:
        raise _illegal(size, depth, up)
    return Sizes(tuple(skips), bottom, n)


def _illegal(size: int, depth: int, up: str) -> ValueError:
    period, least = 2**depth, input_size(1, depth, up)
    below = least + (size - least) // period * period
    near = f"{below} and {below + period}" if size > least else f"{least}"
    return ValueError(
        f"a U-Net of depth {depth} without padding takes sizes {period} b + {4 * (period - 1)} from {least} on, "
        f"got {size}; nearest: {near}; or use padded=True, or tiles.predict, for any size"
    )


def context(depth: int = 4, up: str = "transposed") -> int:
    """How much smaller the output is than the input without padding, 184 for depth 4: half of it on each side."""
    period = 2**depth
    return 4 * (period - 1) + 4 * period + (4 + 2 * (up == "nearest")) * (period - 1)  # down, bottom, up


def input_size(output: int, depth: int = 4, up: str = "transposed") -> int:
    """The smallest legal input size without padding whose output has at least `output` pixels: 388 needs 572."""
    period, lost = 2**depth, context(depth, up)
    first = 4 * (period - 1)
    return first + period * math.ceil((max(output, 1) + lost - first) / period)


class Block(nn.Sequential):
    """Twice: 3x3 convolution, batch norm if asked for, relu. A convolution before a batch norm has no bias."""

    def __init__(self, inputs: int, outputs: int, *, padding: int, batch_norm: bool, rng: Any = None):
        layers = {}
        for i, channels in ((1, inputs), (2, outputs)):
            layers[f"conv{i}"] = nn.Conv2d(channels, outputs, 3, padding=padding, bias=not batch_norm, rng=rng)
            if batch_norm:
                layers[f"bn{i}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{i}"] = nn.ReLU()
        super().__init__(layers)


def upsampling(inputs: int, outputs: int, up: str, *, padding: int, rng: Any = None) -> nn.Module:
    """Twice the size: the paper's 2x2 transposed convolution, or nearest neighbours and a 3x3 convolution, in which no
    output pixel has more taps than its neighbour: no checkerboard (Odena et al., "Deconvolution and checkerboard
    artifacts", 2016)."""
    if up == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2, rng=rng)
    conv = nn.Conv2d(inputs, outputs, 3, padding=padding, rng=rng)
    return nn.Sequential({"double": nn.Upsample(scale_factor=2), "conv": conv})


class UNet(nn.Module):
    """Figure 1. Images (N, in_channels, H, W) give logits (N, num_classes, H', W').

    `depth` blocks of `base`, 2 base, ... maps, each followed by a 2x2 max pooling; a block at the bottom; then, level
    by level, upsampling that halves the maps, concatenation with the maps of that level (the skip first), a block; a
    1x1 convolution. By default as in the paper: no padding, skips are cropped at their centre, H' = H - 184, and H must
    be legal (`sizes`). 31,030,658 parameters.

    padded: convolutions keep the size, and any size goes: the image is extended below and to the right to a multiple of
    2^depth by its last pixels, the logits are cropped. H' = H, W' = W.
    batch_norm: None means if padded. up: see `upsampling`. skips=False: the decoder has the upsampled maps alone.
    dropout: probability for the last block before the bottom and the bottom (section 3.1; not given there: 0.5 in the
    authors' code). Weights start from He's initialisation (section 3), biases at 0.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 2, *, base: int = 64, depth: int = 4, padded: bool = False,
        batch_norm: bool | None = None, up: str = "transposed", skips: bool = True, dropout: float = 0.0,
        rng: Any = None,
    ):  # fmt: skip
        if up not in UPS:
            raise ValueError(f"UNet: up {up!r} is unknown: one of {', '.join(UPS)}")
        if depth < 1:
            raise ValueError(f"UNet: depth must be 1 or more, got {depth}")
        rng = stream(rng)
        self.in_channels, self.num_classes = in_channels, num_classes
        self.depth, self.padded, self.up, self.skips = depth, padded, up, skips
        padding = int(padded)
        block = partial(Block, padding=padding, batch_norm=padded if batch_norm is None else batch_norm, rng=rng)
        maps = [base * 2**i for i in range(depth + 1)]  # of each level, the bottom's last
        self.encoder = nn.ModuleList(block(i, o) for i, o in zip([in_channels, *maps], maps[:-1]))
        self.pool = nn.MaxPool2d(2)
        self.bottom = block(maps[-2], maps[-1])
        self.dropout = nn.Dropout(dropout, rng=rng) if dropout else None
        levels = list(zip(maps[:0:-1], maps[-2::-1]))  # deepest first: (maps that come up, maps of the level)
        self.upsample = nn.ModuleList(upsampling(i, o, up, padding=padding, rng=rng) for i, o in levels)
        self.decoder = nn.ModuleList(block(2 * o if skips else o, o) for _, o in levels)
        self.head = nn.Conv2d(base, num_classes, 1, rng=rng)
        redraw(self, nn.Conv2d, partial(nn.init.kaiming_normal, nonlinearity="relu"), rng, bias=0)
        redraw(self, nn.ConvTranspose2d, _one_tap, rng, bias=0)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        if self.padded:
            x = extended(x, self.period)
        else:
            for n in size:
                self.sizes(n)
        carried = []
        for block in self.encoder:
            x = block(x)
            if block is self.encoder[-1]:
                x = self._dropped(x)
            carried.append(x)
            x = self.pool(x)
        x = self._dropped(self.bottom(x))
        for upsample, block, skip in zip(self.upsample, self.decoder, reversed(carried)):
            x = upsample(x)
            if self.skips:
                x = F.concat([centre(skip, x.shape[2:]), x], axis=1)
            x = block(x)
        logits = self.head(x)
        return logits[:, :, : size[0], : size[1]] if self.padded else logits

    def _dropped(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)

    # --- geometry

    @property
    def period(self) -> int:
        """An image moved by multiples of this has its logits moved as far, borders aside."""
        return 2**self.depth

    @property
    def radius(self) -> int:
        """How many pixels away an input pixel can change the logits: 3x3 convolutions, and cells of pooling."""
        below = self.period - 1  # of convolutions at strides 1, 2, ..., 2^(depth - 1), one each
        convolutions = 2 * (below + self.period) + 2 * below + below * (self.up == "nearest")
        return convolutions + below

    def sizes(self, size: int) -> Sizes:
        """The sizes along an axis in the form without padding: see `valid_sizes`."""
        return valid_sizes(size, self.depth, self.up)

    def input_size(self, output: int) -> int:
        """The smallest legal input for an output of at least so many pixels: see the function `input_size`."""
        return input_size(output, self.depth, self.up)

    def extra_repr(self) -> str:
        return f"padded={self.padded}, skips={self.skips}"


def _one_tap(shape: Sequence[int], rng: Any) -> Any:
    """He's initialisation where stride = kernel: an output entry has one tap per input map. Shape (in, out, 2, 2)."""
    return nn.init.normal(shape, rng, std=math.sqrt(2 / shape[0]))


def centre(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of the maps x (N, C, H, W), cut to `size`."""
    (top, height), (left, width) = (((n - m) // 2, m) for n, m in zip(x.shape[2:], size))
    return x[:, :, top : top + height, left : left + width]


def extended(x: Tensor, period: int) -> Tensor:
    """x (N, C, H, W) with its last row and column repeated until H and W are multiples of `period`."""
    return F.pad(x, [(0, -n % period) for n in x.shape[2:]], mode="replicate")
