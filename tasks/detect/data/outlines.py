"""Masks out of COCO's outlines: polygons, and run lengths as numbers or as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def masked(outline: list | dict, size: tuple[int, int], where: str = "outline") -> np.ndarray:
    """Bool (H, W): a list of polygons, or {"counts": ..., "size": [H, W]}. Raises ValueError, naming `where`."""
    parts = parsed(outline, size, where)
    if isinstance(outline, dict):
        return filled_runs(parts, size)
    return np.any([filled_polygon(corners, size) for corners in parts], axis=0)


def parsed(outline: list | dict, size: tuple[int, int], where: str = "outline") -> list:
    """The lengths of the runs, or the corners (N, 2) of each polygon. Raises as `masked` does, without drawing it."""
    try:
        if not isinstance(outline, dict):
            polygons = [np.array(polygon, float).reshape(-1, 2) for polygon in outline]
            if min(map(len, polygons), default=0) < 3:
                raise ValueError(f"a polygon has at least 3 corners, got {min(map(len, polygons), default=0)}")
            return polygons
        if tuple(outline["size"]) != tuple(size):
            raise ValueError(f"its runs are of {tuple(outline['size'])} pixels, the picture has {tuple(size)}")
        counts = outline["counts"]
        counts = _numbers(counts) if isinstance(counts, (str, bytes)) else counts
        if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
            raise ValueError(f"the runs have {sum(counts)} pixels, the picture has {size[0]} x {size[1]}")
        return counts
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: no outline ({' '.join(str(error).split())[:150]})") from None


def filled_runs(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Bool (H, W) out of the lengths of runs of outside, inside, outside ..., down the columns, left to right."""
    height, width = size
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _numbers(text: str | bytes) -> list[int]:
    """COCO's text for run lengths, 6 bits a character from "0": 5 of the number, lowest first, and one if more follow.

    The last bit of a number is its sign. From the third length on, what is written is the difference to the one
    two before.
    """
    codes = [byte - 48 for byte in (text.encode() if isinstance(text, str) else text)]
    if codes and (min(codes) < 0 or max(codes) > 63 or codes[-1] & 32):
        raise ValueError("its text is cut off or of other characters")
    counts: list[int] = []
    value = shift = 0
    for code in codes:
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def filled_polygon(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bool (H, W), the pixels whose centres lie inside a polygon with corners (N, 2), x and y: even-odd rule.

    A row of centres crosses the edges of the polygon; a centre is inside if an odd number of crossings is left of it.
    """
    height, width = size
    y = np.arange(height) + 0.5
    (ax, ay), (bx, by) = corners.T, np.roll(corners, -1, axis=0).T
    crosses = (ay[:, None] <= y) != (by[:, None] <= y)  # (N, H)
    edge, row = crosses.nonzero()
    x = ax[edge] + (y[row] - ay[edge]) * (bx[edge] - ax[edge]) / (by[edge] - ay[edge])
    first = np.ceil(x - 0.5).clip(0, width).astype(int)  # the first column whose centre is not left of the crossing
    changes = np.zeros((height, width + 1), int)
    np.add.at(changes, (row, first), 1)
    return np.cumsum(changes, axis=1)[:, :width] % 2 == 1
