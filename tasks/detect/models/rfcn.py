"""R-FCN: Faster R-CNN whose second stage is a convolution over the whole picture, and a vote.

Each of the k x k bins of a region looks at score maps of its own: "the upper left of a 3", say. A region is a 3 if the
bins find what they look for, each in its place, so its logit is the mean of the k x k scores. What is computed for a
region is that mean and nothing else; all layers are shared by all regions.

Source: Dai, Li, He and Sun, "R-FCN: object detection via region-based fully convolutional networks", NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from .anchors import SMALL_PYRAMID
from .backbone import FPN, Norm, resnet_small_fpn
from .faster_rcnn import FasterRCNN
from .heads import SMALL_HEAD
from .rpn import SMALL_RPN

SAMPLING = 2  # samples along the side of a bin
METHODS = {"align": partial(F.ps_roi_align, sampling_ratio=SAMPLING), "pool": F.ps_roi_pool}


class RFCN(FasterRCNN):
    """Backbone and region proposal network as in `FasterRCNN`, whose arguments these are; the second stage is three
    convolutions on the finest map.

    "conv": 3x3 to `hidden` maps, with relu; "score_maps": 1x1 to bins^2 (C + 1), the background's last; "box_maps": 1x1
    to 4 bins^2, the same four steps for every class. method: "align" (`F.ps_roi_align`, 2 x 2 samples a bin) or "pool"
    (`F.ps_roi_pool`, the paper's).
    """

    sampling = SAMPLING

    def __init__(self, backbone: nn.Module, num_classes: int, *, bins: int = 7, method: str = "align", **options: Any):
        if method not in METHODS:
            raise ValueError(f"RFCN: method {method!r} is unknown: one of {', '.join(METHODS)}")
        self.bins, self.method = bins, method
        super().__init__(backbone, num_classes, levels=1, **options)

    def box_parts(self, channels: int, hidden: int, norm: Norm | None, rng: Any) -> dict[str, nn.Module]:
        cells = self.bins**2
        conv = conv_norm(channels, hidden, norm=norm, rng=rng)
        redraw(conv, nn.Conv2d, partial(nn.init.kaiming_normal, nonlinearity="relu"), rng, bias=0)
        maps = {"score_maps": cells * (self.num_classes + 1), "box_maps": 4 * cells}
        layers = {name: nn.Conv2d(hidden, outputs, 1, rng=rng) for name, outputs in maps.items()}
        for layer in layers.values():
            redraw(layer, nn.Conv2d, partial(nn.init.normal, std=0.01), rng, bias=0)
        return {"conv": conv, **layers}

    def votes(self, maps: Sequence[Tensor], regions: np.ndarray) -> tuple[Tensor, Tensor]:
        """What each bin of regions (R, 5) says: logits (R, C + 1, bins, bins) and steps (R, 4, bins, bins)."""
        x = self.roi_heads["conv"](maps[0])
        both = F.concat([self.roi_heads[name](x) for name in ("score_maps", "box_maps")], axis=1)
        found = METHODS[self.method](both, regions, self.bins, spatial_scale=1 / self.backbone.strides[0])
        return found[:, :-4], found[:, -4:]

    def box_outputs(self, maps: Sequence[Tensor], regions: np.ndarray) -> tuple[Tensor, Tensor]:
        """The logits (R, C + 1), the background's last, and steps (R, C, 4) of regions (R, 5): the means of the votes
        (section 2.2)."""
        logits, steps = (votes.mean(axis=(2, 3)) for votes in self.votes(maps, regions))
        return logits, F.concat([steps[:, None]] * self.num_classes, axis=1)


def rfcn_small(
    num_classes: int, *, width: int = 48, pyramid: int = 48, body: nn.Module | None = None, rng: Any = None,
    **options: Any,
) -> RFCN:  # fmt: skip
    """For pictures of about 96 pixels: backbone, pyramid and proposals of `faster_rcnn_small`; 3 x 3 bins on the map of
    stride 4."""
    rng = stream(rng)
    backbone = FPN(body, pyramid, "none", rng=rng) if body else resnet_small_fpn(width, pyramid, rng=rng)
    known = {"sizes": SMALL_PYRAMID, "rpn": SMALL_RPN, "head": SMALL_HEAD, "hidden": 96, "bins": 3, "rng": rng}
    return RFCN(backbone, num_classes, **known | options)
