"""What a trained network says of whole pictures, averaged over the symmetries of the square.

Source: Ronneberger et al., "U-Net", 2015, section 4, where predictions of turned pictures are averaged, too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl import Tensor
from minidl import functional as F

from ..command import each
from ..tiles import predict
from .data import MaskPart, standardised
from .unet import UNet

SYMMETRIES = tuple((quarters, flip) for quarters in range(4) for flip in (1, -1))


def probabilities(model: UNet, image: np.ndarray, device: str = "cpu", *, average: bool = True) -> np.ndarray:
    """The probability of each class at each pixel, (K, H, W), of an image (C, H, W) in [0, 1].

    average: the mean over the eight ways to turn and mirror the picture; else it is looked at once, as it is.
    """
    x, turns = standardised(image), SYMMETRIES if average else SYMMETRIES[:1]
    total = 0.0
    for quarters, flip in turns:
        turned = np.rot90(x, quarters, (1, 2))[..., ::flip]
        y = F.softmax(Tensor(predict(model, turned, device=device)), axis=0).numpy()
        total = total + np.rot90(y[..., ::flip], -quarters, (1, 2))
    return total / len(turns)


def segment(
    model: UNet, part: MaskPart, device: str = "cpu", *, average: bool = True, show: Callable = lambda: None
) -> list[np.ndarray]:
    """The probabilities for each picture of a part. ``show()`` is called after each."""
    return [probabilities(model, image, device, average=average) for image in each(part.images, show)]
