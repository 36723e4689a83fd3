"""Faces against everything else: scikit-image's lfw_subset, and squares of photographs that show no face.

lfw_subset has 100 faces and 100 other squares of 25x25 pixels, from Labeled Faces in the Wild. The others are few and
plain: training adds squares of the bundled photographs, of all sizes, so that the network may meet a whole photograph.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import map_coordinates

from minidl import data

from ..photographs import photograph

SIDE = 25
CLASSES = ("no face", "face")
SHARE = 0.75  # of each class is trained on
WITHOUT_FACES = ("brick", "chelsea", "china", "coffee", "coins", "flower", "grass", "gravel", "motorcycle", "rocket")
SIZES = (25, 36, 52, 75, 108, 156)  # sides of the squares that become 25x25
SPLIT = 5  # keeps the draw apart from others
SHIFT, TURN, ZOOM = 2.0, 0.2, 0.2  # most pixels, radians and log of a factor that training changes a picture by
CONTRAST, LIGHT = (0.6, 1.6), 0.2


@cache
def subset() -> tuple[np.ndarray, np.ndarray]:
    """lfw_subset: float32 (200, 1, 25, 25) in [0, 1], and labels, 1 for a face."""
    from skimage.data import lfw_subset

    return lfw_subset().astype(np.float32)[:, None], np.repeat([1, 0], 100)


def split() -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and of test, SHARE of each class in the first; the same for every seed."""
    first, second = [], []
    for start in (0, 100):
        train, test = data.split(100, (SHARE, 1 - SHARE), seed=SPLIT)
        first.append(start + train)
        second.append(start + test)
    return np.concatenate(first), np.concatenate(second)


def test_part() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that are never trained on."""
    images, labels = subset()
    chosen = split()[1]
    return images[chosen], labels[chosen]


def batch(n: int, rng: np.random.Generator, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n training images in [0, 1] and their labels: half are faces, an eighth lfw's others, the rest of photographs.

    Each is changed as `augmented` says. first: the number of images before them in the same batch, to count eighths by.
    """
    images, labels = subset()
    train = split()[0]
    faces, others = (train[labels[train] == c] for c in (1, 0))
    half, eighth = n // 2, (first + n) // 8 - first // 8
    drawn = [images[rng.choice(faces, half)], images[rng.choice(others, eighth)]]
    drawn.append(squares(n - half - eighth, rng))
    return augmented(np.concatenate(drawn), rng), np.repeat([1, 0], [half, n - half])


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each mirrored or not, turned, made larger or smaller, moved, stretched in contrast and shifted in brightness."""
    n, _, height, width = images.shape
    angle, zoom = rng.uniform(-TURN, TURN, n), np.exp(rng.uniform(-ZOOM, ZOOM, n))
    mirror = rng.choice([-1.0, 1.0], n)
    cos, sin = (zoom * f(angle) for f in (np.cos, np.sin))
    centre = np.array([height - 1, width - 1]) / 2
    y, x = (axis - c for axis, c in zip(np.mgrid[:height, :width], centre))
    down, right = rng.uniform(-SHIFT, SHIFT, (2, n, 1, 1))
    cos, sin, mirror = (v[:, None, None] for v in (cos, sin, mirror))
    rows = centre[0] + down + cos * y + sin * x  # (N, H, W): where each pixel comes from
    columns = centre[1] + right + mirror * (cos * x - sin * y)
    which = np.broadcast_to(np.arange(n)[:, None, None], rows.shape)
    moved = map_coordinates(images[:, 0], [which, rows, columns], order=1, mode="nearest")
    contrast, light = rng.uniform(*CONTRAST, (n, 1, 1)), rng.uniform(-LIGHT, LIGHT, (n, 1, 1))
    mean = moved.mean(axis=(1, 2), keepdims=True)
    return np.clip(mean + light + contrast * (moved - mean), 0, 1)[:, None].astype(np.float32)


def squares(n: int, rng: np.random.Generator) -> np.ndarray:
    """n squares of photographs without faces, (n, 1, 25, 25) in [0, 1]."""
    photographs = shrunk()
    result = np.empty((n, 1, SIDE, SIDE), np.float32)
    for place in result:
        image = photographs[rng.integers(len(photographs))]
        top, left = (rng.integers(0, size - SIDE + 1) for size in image.shape)
        place[0] = image[top : top + SIDE, left : left + SIDE]
    return result


@cache
def shrunk() -> list[np.ndarray]:
    """Each photograph without faces, gray in [0, 1], at the scales where squares of SIZES become 25x25."""
    images = [gray(photograph(name)) for name in WITHOUT_FACES]
    return [scaled(image, SIDE / size) for image in images for size in SIZES if size < min(image.shape)]


def gray(image: np.ndarray) -> np.ndarray:
    """A picture of bytes, (H, W) or (H, W, 3), as float in [0, 1]: 0.2125 R + 0.7154 G + 0.0721 B (ITU-R BT.709)."""
    return image / 255 if image.ndim == 2 else image @ np.array([0.2125, 0.7154, 0.0721]) / 255


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """A gray picture made smaller, or larger, over all pixels that one of the result covers; float32."""
    from PIL import Image

    size = tuple(max(1, round(n * factor)) for n in image.shape[::-1])  # (W, H), as Pillow has it
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
