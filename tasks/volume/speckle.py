"""Generated volumes as ultrasound shows them, with exact labels: a large organ, and a small one in its thick end.

What makes it hard, as in the lecture: every pose and shape, speckle, boundaries that are missing, slices that moved,
and pockets of fluid in the large organ and around it that look like the small one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ECHO = {"around": 0.45, "large": 1.0, "small": 0.12}  # mean brightness of tissues
EDGE = 0.05  # half the width of a boundary, in units of the organ's radius
GRAIN = (0.6, 1.0, 1.0)  # standard deviation of the speckle's kernel, in voxels: depth is axis 0
LOOKS = 2  # images that the scanner compounds; one would be fully developed speckle, Rayleigh distributed
FADE = 0.35  # strength with which deep tissue is darker


class Volume(NamedTuple):
    """An image, float32 (D, H, W) of mean 0 and variance 1, and its labels, uint8: 0 none, 1 small, 2 large organ."""

    image: np.ndarray
    labels: np.ndarray


def generate(rng: np.random.Generator, size: int) -> Volume:
    """One volume of size^3 voxels."""
    place = _body_frame(rng, size)
    large = _ellipsoid(place, (0, 0, 0), (0.78, 0.56, 0.48) * rng.uniform(0.85, 1.1, 3)) + _bumps(rng, size, 0.12)
    head = (0.3 + rng.uniform(-0.05, 0.05), *rng.uniform(-0.05, 0.05, 2))
    turned = (place - np.reshape(head, (3, 1, 1, 1))).reshape(3, -1)
    turned = (_rotation(rng, 0.5) @ turned).reshape(place.shape)
    small = _ellipsoid(turned, (0, 0, 0), (0.15, 0.28, 0.17) * rng.uniform(0.85, 1.15, 3)) + _bumps(rng, size, 0.15)
    pockets = _pockets(rng, place)
    labels = np.where(small > 0, 1, np.where(large > 0, 2, 0)).astype(np.uint8)
    around, inside = (ECHO[name] * np.exp(_bumps(rng, size, 0.25)) for name in ("around", "large"))
    echo = _blend(around, inside, large)
    for pocket in pockets:
        echo = _blend(echo, ECHO["small"], pocket)
    echo = _blend(echo, ECHO["small"], small)
    echo = _without_boundaries(rng, echo, large, small)
    image = echo * _speckle(rng, size) * np.exp(-FADE * np.linspace(-1, 1, size))[:, None, None]
    return Volume(*_moved(rng, standard_scores(np.log(image + 0.05)), labels))


def standard_scores(image: np.ndarray) -> np.ndarray:
    """Of mean 0 and variance 1, float32."""
    image = image.astype(np.float64)
    return ((image - image.mean()) / max(image.std(), 1e-12)).astype(np.float32)


def _body_frame(rng: np.random.Generator, size: int) -> np.ndarray:
    """(3, D, H, W): where each voxel lies in the frame of the large organ, turned, moved and bent at random."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    p = _rotation(rng) @ (grid - rng.uniform(-0.15, 0.15, (3, 1)))
    p[1] += rng.uniform(-0.5, 0.5) * p[0] ** 2
    p[1:] *= 1 - 0.35 * p[0]  # thick where p[0] is large
    return p.reshape(3, size, size, size)


def _rotation(rng: np.random.Generator, most: float | None = None) -> np.ndarray:
    """A random rotation: any, or by at most `most` radians."""
    from scipy.spatial.transform import Rotation

    if most is None:
        return Rotation.random(random_state=rng).as_matrix()
    axis = rng.standard_normal(3)
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * rng.uniform(0, most)).as_matrix()


def _ellipsoid(place: np.ndarray, centre: tuple, radii: np.ndarray) -> np.ndarray:
    """1 in the centre, 0 on the surface, negative outside."""
    c, r = (np.reshape(v, (3, 1, 1, 1)) for v in (centre, radii))
    return 1 - np.sqrt((((place - c) / r) ** 2).sum(axis=0))


def _bumps(rng: np.random.Generator, size: int, strength: float) -> np.ndarray:
    """A smooth random field with about this standard deviation: a cubic spline through five knots along each axis."""
    from scipy.ndimage import zoom

    spline = zoom(np.eye(5), (size / 5, 1), order=3, mode="nearest", grid_mode=True)  # (size, 5): of each knot
    field = strength * rng.standard_normal((5, 5, 5))
    for _ in range(3):
        field = np.tensordot(field, spline, (0, 1))  # (5, ...) -> (..., size): the next axis is first
    return field


def _pockets(rng: np.random.Generator, place: np.ndarray) -> list[np.ndarray]:
    """Fluid that is not the small organ: less of it, towards the thin end of the large organ, and some around it."""
    found = [
        _ellipsoid(place, (x, *rng.uniform(-0.15, 0.15, 2)), rng.uniform(0.06, 0.12, 3))
        for x in rng.uniform(-0.5, -0.1, rng.integers(1, 3))
    ]
    for _ in range(rng.integers(2, 5)):
        direction = rng.standard_normal(3)
        centre = direction / np.linalg.norm(direction) * rng.uniform(0.85, 1.1)
        found.append(_ellipsoid(place, tuple(centre), rng.uniform(0.1, 0.2, 3)))
    return found


def _blend(outside: np.ndarray, inside: np.ndarray | float, shape: np.ndarray) -> np.ndarray:
    """From the echo outside to that inside, over the width of a boundary."""
    share = 1 / (1 + np.exp(np.clip(-shape / EDGE, -50, 50)))
    return outside + (inside - outside) * share


def _without_boundaries(
    rng: np.random.Generator, echo: np.ndarray, large: np.ndarray, small: np.ndarray
) -> np.ndarray:
    """The echo blurred over, so that inside and outside run together, around points of both surfaces."""
    from scipy.ndimage import gaussian_filter

    size = len(echo)
    grid = np.indices(echo.shape)
    for shape, count, radius in ((large, 3, 0.13), (small, 1, 0.07)):
        surface = np.argwhere(np.abs(shape) < 0.1)
        blurred = gaussian_filter(echo, radius * size * 0.7)
        for point in surface[rng.integers(len(surface), size=count)]:
            distance = ((grid - point[:, None, None, None]) ** 2).sum(axis=0)
            gone = np.exp(-((distance / (radius * size) ** 2) ** 2))
            echo = echo + (blurred - echo) * gone
    return echo


def _speckle(rng: np.random.Generator, size: int) -> np.ndarray:
    """Speckle of mean 1: the root of the mean intensity of LOOKS fields of filtered complex noise."""
    from scipy.ndimage import gaussian_filter

    parts = [gaussian_filter(rng.standard_normal((size,) * 3), GRAIN, mode="wrap") for _ in range(2 * LOOKS)]
    amplitude = np.sqrt(sum(part**2 for part in parts))
    return amplitude / amplitude.mean()


def _moved(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of slices shifted within their plane, as if the animal moved; the labels go with what is seen."""
    size = len(image)
    where = np.arange(size)
    image, labels = image.copy(), labels.copy()
    for _ in range(2):
        start = rng.integers(size // 8, size - size // 8)
        run = slice(start, start + rng.integers(1, 1 + size // 12))
        rows, columns = (np.clip(where - step, 0, size - 1) for step in rng.integers(-2, 3, 2))
        for array in (image, labels):
            array[run] = array[run][:, rows][:, :, columns]
    return image, labels
