"""scikit-image's photograph of 24 coins (Pompeii, Brooklyn Museum): where they are, fitted by eye.

Each outline was fitted as a circle by looking at enlarged crops and correcting until it sat on the edge; no method of
segmentation had a part in it. The coins are not quite round: a circle is off by 1 to 2 pixels in places, by 3 where a
piece has broken off. ``python -m tasks segment --draw-truth FILE`` draws the circles over the picture.
"""

from __future__ import annotations

import numpy as np

COINS = (  # centre: row, column; radius; in pixels, the middle of the first pixel is (0, 0)
    (54.2, 43.8, 20.6),
    (55.5, 100.0, 18.7),
    (50.8, 155.0, 23.1),
    (51.0, 215.3, 22.6),
    (52.3, 275.5, 20.1),
    (43.3, 334.3, 28.8),
    (123.5, 45.0, 20.8),
    (125.6, 102.5, 18.9),
    (126.7, 153.4, 19.2),
    (124.2, 205.5, 19.7),
    (118.7, 270.4, 24.7),
    (124.5, 336.3, 19.6),
    (197.0, 43.6, 19.0),
    (195.4, 101.7, 21.4),
    (197.5, 154.1, 19.2),
    (192.9, 212.3, 23.5),
    (193.9, 273.4, 22.3),
    (186.4, 346.9, 31.8),
    (259.8, 46.2, 27.6),
    (265.0, 113.5, 21.4),
    (261.2, 172.3, 27.0),
    (263.3, 244.0, 24.2),
    (263.3, 300.7, 25.1),
    (267.9, 357.7, 21.9),
)
SHAPE = (303, 384)
MIDDLE = 192  # columns before it are trained on, the others tested; a coin that it cuts counts by its pixels
TRAIN, TEST = (slice(None), slice(None, MIDDLE)), (slice(None), slice(MIDDLE, None))


def photograph() -> np.ndarray:
    """The picture, uint8 (303, 384)."""
    from skimage import data

    return data.coins()


def truth() -> np.ndarray:
    """uint8 (303, 384): 1 where the middle of a pixel lies in a circle, 0 elsewhere."""
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    inside = [(rows - y) ** 2 + (columns - x) ** 2 <= r**2 for y, x, r in COINS]
    return np.any(inside, axis=0).astype(np.uint8)
