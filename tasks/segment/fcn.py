"""FCN: a classifier whose fully connected layers are convolutions, so that it scores every place of an image; these
coarse scores are brought back to the pixels, with finer ones from earlier layers added.

Source: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from minidl import Tensor, nn

from ..models.initial import redraw, stream
from ..models.vgg import CONVOLUTIONS, convolutions
from .unet import extended

VARIANTS = {"32s": 32, "16s": 16, "8s": 8}  # the stride at which the last scores stand


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s on VGG16 (Figure 3). Images (N, in_channels, H, W) give logits (N, num_classes, H, W).

    The five blocks of VGG16 with `width`, 2, 4, 8 and 8 times `width` maps; fc6 (7x7) and fc7 (1x1) with 64 width maps,
    relu and dropout; 1x1 scores. "32s" enlarges them 32 times. "16s" doubles them, adds scores of pool4, enlarges 16
    times. "8s" doubles these too, adds scores of pool3, enlarges 8 times. Enlarging is a transposed convolution that
    starts as bilinear interpolation; the last is fixed, those before it learn (section 4.3). Score layers start at 0.

    Any size goes. The paper pads the image by 100 on each side, lest fc6 find nothing, and crops by offsets found layer
    by layer; here fc6 is padded by 3, so that all maps lie over each other without offsets, the image is extended below
    and to the right to a multiple of 32 by its last pixels, and the logits are cropped. At width 64 `load_vgg16` takes
    trained weights; a width of 4 to 16 suits a laptop. `batch_norm`: as in VGG16 with batch norm.
    """

    period = 32  # an image moved by multiples of this has its logits moved as far, borders aside
    padded = True

    def __init__(
        self, num_classes: int = 2, in_channels: int = 3, variant: str = "32s", width: int = 64,
        *, batch_norm: bool = False, dropout: float = 0.5, rng: Any = None,
    ):  # fmt: skip
        if variant not in VARIANTS:
            raise ValueError(f"FCN: variant {variant!r} is unknown: one of {', '.join(VARIANTS)}")
        rng = stream(rng)
        self.variant, last = variant, VARIANTS[variant]
        maps = tuple(times * width for times in (1, 2, 4, 8, 8))
        self.features = nn.Sequential(*convolutions(in_channels, CONVOLUTIONS["D"], maps, batch_norm, rng))
        self.classifier = nn.Sequential(
            nn.Conv2d(8 * width, 64 * width, 7, padding=3, rng=rng), nn.ReLU(), nn.Dropout(dropout, rng=rng),
            nn.Conv2d(64 * width, 64 * width, 1, rng=rng), nn.ReLU(), nn.Dropout(dropout, rng=rng),
        )  # fmt: skip
        redraw(self, nn.Conv2d, partial(nn.init.kaiming_normal, nonlinearity="relu"), rng, bias=0)
        self.score_fr = _score(64 * width, num_classes)
        if last < 32:
            self.upscore2, self.score_pool4 = _enlarge(num_classes, 2), _score(8 * width, num_classes)
        if last < 16:
            self.upscore_pool4, self.score_pool3 = _enlarge(num_classes, 2), _score(4 * width, num_classes)
        self.add_module(f"upscore{last}", _enlarge(num_classes, last, fixed=True))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x, pools = extended(x, self.period), []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        y = self.score_fr(self.classifier(x))
        if self.variant != "32s":
            y = self.upscore2(y) + self.score_pool4(pools[3])
        if self.variant == "8s":
            y = self.upscore_pool4(y) + self.score_pool3(pools[2])
        enlarge = getattr(self, f"upscore{VARIANTS[self.variant]}")
        return enlarge(y)[:, :, :height, :width]

    @property
    def radius(self) -> int:
        """How many pixels away an input pixel can change the logits: half of fc6's 404, and the reach of enlarging."""
        return 202 + {"32s": 32, "16s": 32 + 16, "8s": 32 + 16 + 8}[self.variant]

    def load_vgg16(self, state: Mapping[str, Any]) -> None:
        """Start from a classifier: VGG16's state in torchvision's names, as ``md.load_weights("vgg16.pth")`` gives it.

        Its fully connected layers (out, in) become convolutions (out, maps, 7, 7) and (out, in, 1, 1) by a mere
        reshape; its last one, of another number of classes, is left out. Raises ValueError, and changes nothing, for
        a state that lacks a weight or has one of another size.
        """
        own = self.state_dict()
        wanted = [name for name in own if name.startswith(("features.", "classifier."))]
        for name in wanted:
            given = np.shape(state[name]) if name in state else None
            if given is None or np.prod(given) != own[name].size or given[:1] != own[name].shape[:1]:
                raise ValueError(
                    f"load_vgg16: {name} must hold {own[name].shape}, flattened or not, got "
                    f"{'nothing' if given is None else given}; FCN(width=64, in_channels=3) takes torchvision's vgg16"
                )
        self.load_state_dict({name: np.asarray(state[name]).reshape(own[name].shape) for name in wanted}, strict=False)

    def extra_repr(self) -> str:
        return repr(self.variant)


def _score(inputs: int, classes: int) -> nn.Conv2d:
    """1x1 scores that start at 0: a skip that is added changes nothing before it has learnt (section 4.2)."""
    with nn.init.undrawn():
        return nn.Conv2d(inputs, classes, 1)


def _enlarge(classes: int, factor: int, fixed: bool = False) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear interpolation of each class. What is fixed never mixes classes,
    so it has one group for each."""
    groups = classes if fixed else 1
    with nn.init.undrawn():
        layer = nn.ConvTranspose2d(
            classes, classes, 2 * factor, stride=factor, padding=factor // 2, groups=groups, bias=False
        )
    tent = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    for i in range(classes):
        layer.weight.data[i, 0 if fixed else i] = np.outer(tent, tent)
    return layer.requires_grad_(not fixed)
