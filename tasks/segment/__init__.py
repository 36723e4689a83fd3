"""Segment images pixel by pixel with U-Net and FCN, and compare with classical methods."""

from __future__ import annotations

from ..tiles import predict
from .augment import augmented, border_weights, displacement, elastic, separated, turned, warp
from .fcn import FCN
from .losses import LOSSES, cross_entropy, cross_entropy_dice, focal, probabilities
from .losses import dice as dice_loss
from .metrics import confusion, dice, dice_from_iou, iou, iou_from_dice, labels, pixel_accuracy
from .simple import SimpleNet
from .unet import UNet, input_size, valid_sizes

__all__ = [
    "FCN", "LOSSES", "SimpleNet", "UNet", "augmented", "border_weights", "confusion", "cross_entropy",
    "cross_entropy_dice", "dice", "dice_from_iou", "dice_loss", "displacement", "elastic", "focal", "input_size", "iou",
    "iou_from_dice", "labels", "pixel_accuracy", "predict", "probabilities", "separated", "turned",
    "valid_sizes", "warp",
]  # fmt: skip
