"""The classical methods that the network is compared with, each at its best setting on the training pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..grids import Methods, Setting, grid, tuned
from . import metrics
from .data import IGNORED, MaskPart
from .instances import components, matching

SIDE, PIXELS = 400, 320_000  # of the middle of a picture; of all that settings are chosen on


def gray(image: np.ndarray) -> np.ndarray:
    """An image (C, H, W) as its mean over the channels, (H, W)."""
    return image.mean(axis=0)


def flattened(image: np.ndarray, smooth: float, flat: float) -> np.ndarray:
    """A gray image blurred by a Gaussian of `smooth` pixels, less uneven light: a blur of `flat` pixels; 0: neither."""
    from scipy.ndimage import gaussian_filter

    result = gaussian_filter(image, smooth) if smooth else image
    return result - gaussian_filter(image, flat) if flat else result


def cleaned(mask: np.ndarray, least: int) -> np.ndarray:
    """The mask with its holes filled and without pieces of less than `least` pixels; as it is for 0."""
    from scipy.ndimage import binary_fill_holes, label

    if not least:
        return mask
    pieces, _ = label(binary_fill_holes(mask))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return sizes[pieces] >= least


def otsu(image: np.ndarray, *, smooth: float, flat: float, least: int, bright: bool) -> np.ndarray:
    """What is brighter (or darker) than the threshold that parts the histogram best: (H, W) of 0 and 1.

    Source: Otsu, "A threshold selection method from gray-level histograms", 1979. The threshold is each picture's own.
    """
    from skimage.filters import threshold_otsu

    x = flattened(gray(image), smooth, flat)
    threshold = threshold_otsu(x) if x.min() < x.max() else x.max()
    return cleaned((x > threshold) == bright, least).astype(np.uint8)


def watershed(
    image: np.ndarray, *, smooth: float, flat: float, low: float, high: float, bright: bool
) -> np.ndarray:
    """Floods the gradient from what is surely dark and surely bright: (H, W) of 0 and 1, holes filled.

    low, high: shares of the way from the 1st to the 99th percentile, below and above which a pixel is sure.
    Source: Beucher and Lantuejoul, 1979; the gradient is Sobel's, as in scikit-image's example with the coins.
    """
    from scipy.ndimage import binary_fill_holes
    from skimage.filters import sobel
    from skimage.segmentation import watershed as flood

    x = flattened(gray(image), smooth, flat)
    least, most = np.percentile(x, (1, 99))
    markers = np.where(x > least + high * (most - least), 2, np.where(x < least + low * (most - least), 1, 0))
    result = flood(sobel(x), markers) == 2
    return binary_fill_holes(result == bright).astype(np.uint8)


def distance_watershed(
    image: np.ndarray, *, smooth: float, flat: float, least: int, bright: bool, apart: int
) -> np.ndarray:
    """Otsu's mask cut into cells: floods the distance to the background from its peaks, `apart` pixels from each other.

    (H, W) of 0 and 1; the lines where floods meet are 0.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed as flood

    mask = otsu(image, smooth=smooth, flat=flat, least=least, bright=bright) > 0
    distance = gaussian_filter(distance_transform_edt(mask), 1)
    peaks = peak_local_max(distance, min_distance=apart, labels=mask.astype(int), exclude_border=False)
    markers = np.zeros(mask.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return (flood(-distance, markers, mask=mask, watershed_line=True) > 0).astype(np.uint8)


OTSU = {"smooth": (0, 1, 2), "flat": (0, 20, 40), "least": (0, 30, 200), "bright": (True, False)}
MARKERS = {"low": (0.1, 0.2, 0.3, 0.4, 0.5), "high": (0.4, 0.5, 0.6, 0.7, 0.8), "bright": (True, False)}
APART = {"smooth": (1, 2), "flat": (0, 20, 40), "least": (30,), "bright": (True,), "apart": (3, 5, 7, 9)}
METHODS: Methods = {
    "Otsu": (otsu, grid(**OTSU)),
    "watershed": (
        watershed,
        [s for s in grid(smooth=(0, 1, 2), flat=(0, 20, 40), **MARKERS) if s["low"] < s["high"]],
    ),
}
FOR_CELLS = {"Otsu": METHODS["Otsu"], "watershed": (distance_watershed, grid(**APART))}


def methods(part: MaskPart) -> Methods:
    """Where objects are to be counted the watershed is the one that cuts them apart."""
    return FOR_CELLS if part.instances else METHODS


def tune(part: MaskPart, show: Callable[[], Any] = lambda: None) -> dict[str, Setting]:
    """For each method the setting of the highest `quality` on a `sample` of the part. ``show()`` after each setting."""
    part = sample(part)

    def score(method: Callable, setting: Setting) -> float:
        return quality([method(image, **setting) for image in part.images], part)

    return tuned(methods(part), score, show)


def sample(part: MaskPart) -> MaskPart:
    """The first pictures of a part, of large ones the middle, until there are enough PIXELS."""
    chosen, seen = MaskPart([], [], []), 0
    for i, labels in enumerate(part.labels):
        area = tuple(slice(max(n - SIDE, 0) // 2, max(n - SIDE, 0) // 2 + SIDE) for n in labels.shape)
        seen += labels[area].size
        if chosen.names and seen > PIXELS:
            break
        chosen.names.append(part.names[i])
        chosen.images.append(part.images[i][:, *area])
        chosen.labels.append(labels[area])
        if part.instances:
            chosen.instances.append(part.instances[i][area])
    return chosen


def quality(masks: list[np.ndarray], part: MaskPart) -> float:
    """The Dice of all pixels of class 1; where objects are to be counted, its mean with their matching score."""
    matrix = sum(metrics.confusion(m, t, 2, ignore_index=IGNORED) for m, t in zip(masks, part.labels))
    dice = float(metrics.dice(matrix, empty=0.0)[1])
    if not part.instances:
        return dice
    return (dice + matching([components(m) for m in masks], part.instances).f1) / 2


def apply(part: MaskPart, chosen: Mapping[str, Setting]) -> dict[str, list[np.ndarray]]:
    """The masks of each method."""
    known = methods(part)
    return {name: [known[name][0](image, **setting) for image in part.images] for name, setting in chosen.items()}
