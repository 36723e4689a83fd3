"""What a trained network says of whole pictures, averaged over the symmetries of the square.

Source: Ronneberger et al., "U-Net", 2015, section 4, where predictions of turned pictures are averaged, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..tiles import predict
from .data import Part, standardised
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
        y = softmax(predict(model, np.ascontiguousarray(turned), device=device))
        total = total + np.rot90(y[..., ::flip], -quarters, (1, 2))
    return total / len(turns)


def segment(
    model: UNet, part: Part, device: str = "cpu", *, average: bool = True, show: Callable = lambda: None
) -> list[np.ndarray]:
    """The probabilities for each picture of a part. ``show()`` is called after each."""
    return list(_each(model, part, device, average, show))


def _each(model: UNet, part: Part, device: str, average: bool, show: Callable) -> Iterator[np.ndarray]:
    for image in part.images:
        yield probabilities(model, image, device, average=average)
        show()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (K, H, W) as the probability of each class."""
    e = np.exp(logits - logits.max(axis=0))
    return e / e.sum(axis=0)
