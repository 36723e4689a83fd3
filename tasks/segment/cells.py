"""Generated cells that touch: pictures with exact labels, for which a network must learn to see the borders.

A cell is an ellipse with a wavy outline. Where two overlap, a pixel belongs to the one whose middle it is nearer to,
measured in radii, so that they share a border. Brightness, texture, a dim rim, uneven light, blur and noise follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import data

SIDE = 160
LEAST = 60  # pixels of a cell; smaller ones are left out
CELLS = (14, 24)  # how many are tried per picture
RADII = (9.0, 15.0)
CLUSTERED = 0.75  # of the cells are set beside another one
NOISE = 0.06


class Culture(NamedTuple):
    """A picture float32 (H, W) in [0, 1] and the number of the cell that each pixel belongs to, 0 for none."""

    image: np.ndarray
    instances: np.ndarray


def generate(seed: int, *key: int, side: int = SIDE) -> Culture:
    """A picture of cells: a function of the seed and the key."""
    rng = data.generator(seed, *key)
    instances, depth = _arrange(rng, side)
    return Culture(_picture(rng, instances, depth), instances)


def _arrange(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells at random places, many beside another: their numbers, and 1 in the middle of a cell falling to 0."""
    nearest = np.full((side, side), np.inf)
    owner = np.zeros((side, side), np.int32)
    placed: list[tuple[np.ndarray, float]] = []
    for number in range(1, int(rng.integers(*CELLS)) * side**2 // SIDE**2 + 3):
        radius = rng.uniform(*RADII)
        centre = _place(rng, side, radius, placed)
        if centre is None:
            continue
        placed.append((centre, radius))
        distance = _distance(rng, side, centre, radius)
        won = (distance < 1) & (distance < nearest)
        owner[won], nearest[won] = number, distance[won]
    return _whole(owner), np.clip(1 - nearest, 0, 1)


def _place(rng: np.random.Generator, side: int, radius: float, placed: list) -> np.ndarray | None:
    """The middle of a cell that does not overlap others by much; None after many tries."""
    for _ in range(60):
        centre = rng.uniform(0, side, 2)
        if placed and rng.random() < CLUSTERED:
            beside, other = placed[rng.integers(len(placed))]
            angle = rng.uniform(0, 2 * np.pi)
            centre = beside + 0.86 * (radius + other) * np.array([np.sin(angle), np.cos(angle)])
        clear = all(np.hypot(*(centre - c)) > 0.84 * (radius + r) for c, r in placed)
        if clear and np.all((centre > 0) & (centre < side)):
            return centre
    return None


def _distance(rng: np.random.Generator, side: int, centre: np.ndarray, radius: float) -> np.ndarray:
    """From the middle of a cell, in its radii: 1 on the outline, an ellipse with waves."""
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.35)
    y, x = np.mgrid[:side, :side] - centre[:, None, None]
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    angle = np.arctan2(across, along)
    waves = sum(rng.normal(0, 0.04) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4))
    return np.hypot(along / stretch**0.5, across * stretch**0.5) / (radius * (1 + waves))


def _whole(owner: np.ndarray) -> np.ndarray:
    """Cells numbered from 1 without gaps; what is not in the largest piece of a cell, or small, is left out."""
    from scipy.ndimage import label

    result, count = np.zeros_like(owner), 0
    for number in range(1, owner.max() + 1):
        pieces, _ = label(owner == number)
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.size and sizes.max() >= LEAST:
            count += 1
            result[pieces == 1 + sizes.argmax()] = count
    return result


def _picture(rng: np.random.Generator, instances: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """What a microscope would make of it."""
    from scipy.ndimage import gaussian_filter

    def smooth(width: float) -> np.ndarray:  # of unit deviation
        field = gaussian_filter(rng.standard_normal(instances.shape), width, mode="reflect")
        return field / field.std()

    brightness = np.concatenate([[0.0], rng.uniform(0.32, 0.6, instances.max())])[instances]
    rim = 1 - 0.35 * np.exp(-depth / 0.12)  # dimmer towards the outline
    inside = brightness * rim * (1 + 0.12 * smooth(2) + 0.08 * smooth(0.8))
    scene = 0.2 + 0.03 * smooth(6) + np.where(instances > 0, inside, 0)
    y, x = np.mgrid[-1 : 1 : 1j * len(scene), -1 : 1 : 1j * len(scene)]
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.3 * (np.cos(angle) * x + np.sin(angle) * y) + 0.08 * smooth(25)
    image = gaussian_filter(scene * light, 1.2) + NOISE * rng.standard_normal(scene.shape)
    return np.clip(image, 0, 1).astype(np.float32)
