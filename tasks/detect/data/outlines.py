"""Masks out of COCO's outlines: polygons, and run lengths as numbers or as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FINE = 5  # points to a side of a pixel, on which polygons are drawn


def masked(outline: list | dict, size: tuple[int, int], where: str = "outline") -> np.ndarray:
    """Bool (H, W): a list of polygons, or {"counts": ..., "size": [H, W]}. Raises ValueError, naming `where`."""
    parts = parsed(outline, size, where)
    if isinstance(outline, dict):
        return filled_runs(parts, size)
    return np.any([filled_polygon(corners, size) for corners in parts], axis=0)


def parsed(outline: list | dict, size: tuple[int, int], where: str = "outline") -> list:
    """The lengths of the runs, or the corners (N, 2) of each polygon with at least 3, which others have no area beside.

    Raises as `masked` does, without drawing it.
    """
    try:
        if not isinstance(outline, dict):
            polygons = [np.array(polygon, float).reshape(-1, 2) for polygon in outline]
            if not (whole := [polygon for polygon in polygons if len(polygon) >= 3]):
                raise ValueError(f"a polygon has at least 3 corners, got {max(map(len, polygons), default=0)}")
            return whole
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


def as_runs(mask: np.ndarray) -> dict:
    """Bool (H, W) as COCO's run lengths, not compressed: {"counts": ..., "size": [H, W]}; `masked` undoes it."""
    flat = np.concatenate([[False], mask.T.ravel(), [True]])  # down the columns
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], ends, [mask.size]]))
    return {"counts": counts[: len(counts) - (counts[-1] == 0)].tolist(), "size": list(mask.shape)}


def bounds(polygons: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """The box x1, y1, x2, y2 around the corners x, y, x, y, ... of all polygons."""
    corners = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())


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
    """Bool (H, W), the pixels of a polygon with corners (N, 2), x and y, as COCO's tools draw them, to the pixel.

    The outline is drawn on a grid of FINE points to a pixel. Where it steps from one column of points to the next in
    the middle of a column of pixels, it crosses that; a pixel is inside if an odd number of crossings is above it.
    Source: rleFrPoly in maskApi.c of pycocotools, github.com/cocodataset/cocoapi.
    """
    height, width = size
    start = (FINE * corners + 0.5).astype(int)  # as there, cut off towards 0
    end = np.roll(start, -1, axis=0)
    x, y = _points(start, end)
    step = np.flatnonzero(x[1:] != x[:-1])
    column = (np.minimum(x[step], x[step + 1]) + 0.5) / FINE - 0.5
    row = (np.minimum(y[step], y[step + 1]) + 0.5) / FINE - 0.5
    inside = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    first = column[inside].astype(int) * height + np.ceil(row[inside].clip(0, height)).astype(int)
    crossings = np.bincount(first, minlength=height * width + 1)[: height * width]
    return (np.cumsum(crossings) % 2 == 1).reshape(width, height).T


def _points(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points x and y of all edges (N, 2), drawn one after the other along their longer side, both ends included."""
    flat = (np.abs(end - start) * [1, -1]).sum(axis=1) >= 0  # along x
    along, across = (np.where(flat, part, part[::-1]) for part in ((start.T), (end.T)))  # (2, N): first the longer side
    back = along[0] > across[0]  # drawn from the lower end, as rounding is not symmetric
    low, high = np.where(back, across, along), np.where(back, along, across)
    length = high[0] - low[0]
    edge = np.repeat(np.arange(len(start)), length + 1)
    t = np.arange(len(edge)) - np.repeat(np.cumsum(length + 1) - length - 1, length + 1)
    t = np.where(back[edge], length[edge] - t, t)
    slope = (high[1] - low[1]) / np.maximum(length, 1)
    longer, shorter = low[0][edge] + t, (low[1][edge] + slope[edge] * t + 0.5).astype(int)
    return np.where(flat[edge], longer, shorter), np.where(flat[edge], shorter, longer)
