"""What a detector's weights take for granted, and no file of weights says: a network run under another convention than
it was trained under finds other boxes. `OURS` is what the papers' formulas say, `TORCHVISION` what its detectors do."""

from __future__ import annotations

from dataclasses import dataclass

from minidl import Tensor
from minidl import functional as F


@dataclass(frozen=True)
class Convention:
    """One way to do what can be done in two."""

    background_first: bool = False  # the background is class 0 of a softmax, with box steps that are not used; or last
    centre: float = 0.5  # where in its cell an anchor is centred: 1/2 its middle, 0 its upper left corner
    rounded: bool = False  # half the sides of anchors are whole pixels
    ratios_first: bool = False  # all sizes of a cell's first ratio, then of the next; or all ratios of a size
    whole_strides: bool = False  # anchors are as far apart as the batch's side // cells; or as the network's stride
    aligned: bool = True  # RoI align takes the value of a cell for that at its middle; or at its upper left corner
    whole_pixels: bool = False  # masks are resized, and keypoints sought, on the whole pixels that a box touches
    empty: bool = False  # boxes of one-stage detectors without a side count, too


OURS = Convention()
TORCHVISION = Convention(
    background_first=True, centre=0.0, rounded=True, ratios_first=True, whole_strides=True, aligned=False,
    whole_pixels=True, empty=True,
)  # fmt: skip


def background_last(x: Tensor, convention: Convention) -> Tensor:
    """Logits (..., C + 1) with the background's at the end, as all that follows has it."""
    return F.concat([x[..., 1:], x[..., :1]], axis=-1) if convention.background_first else x
