"""Deletion and insertion: how the probability of a class falls, or rises, as the important pixels go, or come.

Source: Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of black-box models", 2018, section 4.3.
"""

from __future__ import annotations

import numpy as np

from minidl import nn

from ..classify.evaluate import predict

STEPS = 32  # points of a curve after the first
BLUR = 5.0  # standard deviation, in pixels, of the Gaussian that an insertion begins with


def order(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The flat indices of a map's pixels, the most important first; lots decide between equals."""
    return np.lexsort((rng.random(values.size), -values.ravel()))


def replaced(image: np.ndarray, by: np.ndarray, ranking: np.ndarray, steps: int) -> np.ndarray:
    """``image`` with ever more pixels of ``by``, both (C, H, W), in the order of the ranking: (steps + 1, C, H, W).

    The first has none, the last all; each step replaces as many as the others, to within one.
    """
    pixels, other = (a.reshape(len(a), -1) for a in (image, by))  # (C, H, W) -> (C, pixels)
    place = np.empty(len(ranking), int)
    place[ranking] = np.arange(len(ranking))
    counts = np.rint(np.linspace(0, len(ranking), steps + 1))
    chosen = place < counts[:, None]  # (steps + 1, pixels)
    return np.where(chosen[:, None], other, pixels).reshape(steps + 1, *image.shape)


def deletion(
    model: nn.Module, image: np.ndarray, c: int, values: np.ndarray, rng: np.random.Generator, *,
    steps: int = STEPS, device: str = "cpu",
) -> np.ndarray:  # fmt: skip
    """The probability of class c as pixels are set to 0, the most important first: (steps + 1,).

    image: (C, H, W) as the model takes it, where 0 is the mean gray. Small is good: what matters goes at once.
    """
    return probability(model, replaced(image, np.zeros_like(image), order(values, rng), steps), c, device)


def insertion(
    model: nn.Module, image: np.ndarray, c: int, values: np.ndarray, rng: np.random.Generator, *,
    steps: int = STEPS, device: str = "cpu",
) -> np.ndarray:  # fmt: skip
    """The probability of class c as the pixels of a blurred image become sharp, the most important first: (steps + 1,).

    Large is good.
    """
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(image, (0, BLUR, BLUR))
    return probability(model, replaced(blurred, image, order(values, rng), steps), c, device)


def probability(model: nn.Module, images: np.ndarray, c: int, device: str) -> np.ndarray:
    """The softmax of class c for each image."""
    return predict(model, images, device=device)[:, c].astype(float)


def area(curve: np.ndarray) -> float:
    """The area under a curve over [0, 1], by the trapezium rule: for probabilities a number in [0, 1]."""
    return float((curve[1:] + curve[:-1]).mean() / 2)
