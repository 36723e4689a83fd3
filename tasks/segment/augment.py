"""More pictures out of few: elastic deformation, flips and quarter turns; and the weights of the pixels between cells.

Images are (C, H, W) or (H, W), masks (H, W) of integers; both are moved together. `rng` is a numpy Generator or a seed.
Source: Ronneberger et al., "U-Net", MICCAI 2015, sections 3 and 3.1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FAR = 10  # sigmas from a cell beyond which its term is less than half a unit of the last place of a weight


# --- the weight map


def border_weights(cells: np.ndarray, *, w0: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """Weights (H, W), float32, of the pixels: ``w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2))`` (eq. 2).

    `cells` numbers the cells from 1 on, 0 being background. d1 and d2 are the distances of a background pixel to the
    nearest and to the second nearest cell, so that narrow gaps weigh much; pixels of cells have w_c alone. w_c makes
    cells and background weigh alike: number of pixels / (2 * number of pixels of that class), 1 if one is missing.
    """
    from scipy import ndimage

    cells = _mask(cells)
    inside = cells > 0
    share = inside.mean()
    weights = np.where(inside, 0.5 / share, 0.5 / (1 - share)) if 0 < share < 1 else np.ones(cells.shape)
    numbers = np.unique(cells[inside])
    if len(numbers) > 1:
        nearest = np.full((2, *cells.shape), np.inf)  # d1 and d2
        far = math.ceil(FAR * sigma)
        for number, area in enumerate(ndimage.find_objects(cells), 1):
            if area is not None:
                around = tuple(slice(max(side.start - far, 0), side.stop + far) for side in area)
                distance = ndimage.distance_transform_edt(cells[around] != number)
                nearest[:, *around] = np.sort(np.stack([*nearest[:, *around], distance]), axis=0)[:2]
        weights += ~inside * w0 * np.exp(-(nearest.sum(axis=0) ** 2) / (2 * sigma**2))
    return weights.astype(np.float32)


def separated(cells: np.ndarray) -> np.ndarray:
    """The cells with a line of background, a pixel wide, wherever two of them touch (also at a corner)."""
    from scipy import ndimage

    cells = _mask(cells)
    return np.where(ndimage.maximum_filter(cells, 3) == cells, cells, 0).astype(cells.dtype)


# --- moving pixels


def elastic(
    image: np.ndarray, mask: np.ndarray, *, rng: Any, sigma: float = 10.0, grid: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask under one smooth random deformation: displacements of `sigma` pixels on a `grid` x `grid` grid."""
    _same_size(image, mask)
    field = displacement(mask.shape, rng=rng, sigma=sigma, grid=grid)
    return warp(image, field), warp(_mask(mask), field)


def displacement(shape: tuple[int, int], *, rng: Any, sigma: float = 10.0, grid: int = 3) -> np.ndarray:
    """A smooth random field (2, H, W): how far down and to the right each pixel looks.

    On a grid x grid grid, whose corners are those of the image, both components are drawn from N(0, sigma^2);
    in between they are interpolated by cubic splines (section 3.1: 3x3, 10 pixels, bicubic).
    """
    from scipy import ndimage

    if grid < 2:
        raise ValueError(f"displacement needs a grid of at least 2x2, got {grid}x{grid}")
    coarse = np.random.default_rng(rng).normal(0, sigma, (2, grid, grid))
    at = np.meshgrid(*(np.linspace(0, grid - 1, n) for n in shape), indexing="ij")
    return np.stack([ndimage.map_coordinates(c, at, order=3, mode="mirror") for c in coarse])


def warp(x: np.ndarray, field: np.ndarray) -> np.ndarray:
    """``y[..., m, n] = x[..., m + field[0, m, n], n + field[1, m, n]]``, borders mirrored; x (C, H, W) or (H, W).

    Floats are interpolated linearly, so that they keep their range; of integers the nearest is taken, so that labels
    stay labels. The dtype is kept.
    """
    from scipy import ndimage

    at = np.indices(field.shape[1:]) + field
    order = 1 if x.dtype.kind == "f" else 0
    maps = x.reshape(-1, *x.shape[-2:])
    moved = [ndimage.map_coordinates(m, at, order=order, mode="mirror") for m in maps]
    return np.stack(moved).reshape(x.shape)


def turned(image: np.ndarray, mask: np.ndarray, *, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask under one of the eight symmetries of the square; of the four that keep the shape, if H != W."""
    _same_size(image, mask)
    rng = np.random.default_rng(rng)
    height, width = mask.shape
    quarters = int(rng.integers(4)) if height == width else 2 * int(rng.integers(2))
    flip = -1 if rng.integers(2) else 1
    return tuple(np.ascontiguousarray(np.rot90(x, quarters, (-2, -1))[..., ::flip]) for x in (image, mask))


def augmented(
    image: np.ndarray, mask: np.ndarray, *, rng: Any, sigma: float = 10.0, grid: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask deformed by `elastic` (unless sigma = 0), then `turned`."""
    rng = np.random.default_rng(rng)
    if sigma:
        image, mask = elastic(image, mask, rng=rng, sigma=sigma, grid=grid)
    return turned(image, mask, rng=rng)


def _mask(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise ValueError(f"a mask holds integers, (H, W), got {mask.dtype} {mask.shape}; use .astype(int)")
    return mask


def _same_size(image: np.ndarray, mask: np.ndarray) -> None:
    if image.shape[-2:] != mask.shape:
        raise ValueError(f"image and mask differ in size: {image.shape[-2:]} and {mask.shape}")
