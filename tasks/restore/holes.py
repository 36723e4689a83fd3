"""Parts of a picture that are missing, as bool masks (H, W): True where a pixel is missing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SHARE = 0.2  # of the pixels, at least, are missing in "scattered"
RADII = (2, 6)  # of its discs, in pixels, the greatest left out
REACH = 12  # pixels from what is known, and no farther, a network may say more than that the picture is smooth
BLOCK = 48  # side of "block", in pixels, where the picture is large enough
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def scattered(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Discs anywhere, until a fifth of the pixels is covered."""
    missing = np.zeros(shape, bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    while missing.mean() < SHARE:
        top, left, radius = rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(*RADII)
        rows, columns = (slice(max(c - radius, 0), c + radius + 1) for c in (top, left))
        missing[rows, columns] |= (y[rows] - top) ** 2 + (x[:, columns] - left) ** 2 <= radius**2
    return missing


def text(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lines of writing over the whole picture, its letters 12 to 20 pixels high."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", shape[::-1])
    size = int(rng.integers(12, 21))
    pen, font, top = ImageDraw.Draw(page), ImageFont.load_default(size), int(rng.integers(size))
    while top < shape[0]:
        words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(1 + shape[1] // size)]
        pen.text((-int(rng.integers(size)), top), " ".join(words), 255, font)
        top += round(1.4 * size)
    return np.asarray(page) > 127


def block(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One square, of 48 pixels or half the picture's shorter side, anywhere but at the border."""
    side = min(BLOCK, min(shape) // 2)
    missing = np.zeros(shape, bool)
    top, left = (int(rng.integers(1, n - side)) for n in shape)
    missing[top : top + side, left : left + side] = True
    return missing


HOLES: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    "scattered": scattered, "text": text, "block": block,
}  # fmt: skip
SHARES = (0.65, 0.3, 0.05)  # of the patches that are trained on: fewer of what nobody can know, whose error is large


def surroundings(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """The image (H, W) with each missing pixel replaced by the mean of the known ones around it, the nearer ones
    weighing more: the least of the widths 2, 6, 18, ... of a Gaussian that sees some.

    Source: Knutsson and Westin, "Normalized and differential convolution", CVPR 1993, eq. 5 (with constant basis).
    """
    from scipy.ndimage import gaussian_filter

    known = (~missing).astype(np.float32)
    filled, left, width = image * known, missing.copy(), 2.0
    if missing.all():
        raise ValueError("no pixel of the picture is known")
    while left.any():
        weight = gaussian_filter(known, width, mode="constant", truncate=3)
        sums = gaussian_filter(image * known, width, mode="constant", truncate=3)
        found = left & (weight > 1e-2)
        filled[found] = sums[found] / weight[found]
        left &= ~found
        width *= 3
    return filled


def biharmonic(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """The image (H, W) with each missing pixel replaced so that the whole is as smooth as can be: of all surfaces
    through the known pixels the one whose biharmonic equation holds in the holes.

    Source: Damelin and Hoang, "On surface completion and image inpainting by biharmonic functions: numerical aspects",
    2018, as scikit-image has it.
    """
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(image, missing).astype(np.float32) if missing.any() else image


def remote(missing: np.ndarray) -> np.ndarray:
    """How far from the nearest known pixel each is, in units of REACH pixels: 0 where it is known, at most 1."""
    from scipy.ndimage import distance_transform_edt

    return np.minimum(distance_transform_edt(missing) / REACH, 1).astype(np.float32)
