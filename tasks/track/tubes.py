"""Tubes: a box of an object in each frame of a clip, (T, 4), corners (x1, y1, x2, y2) in pixels.

Anchors are straight tubes: the same box in all frames.
Source: Girdhar et al., "Detect-and-Track", CVPR 2018, section 3.
"""

from __future__ import annotations

import numpy as np

from minidl import Tensor
from minidl import functional as F


def box_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The intersection over union of every pair of boxes (N, 4), (M, 4): (N, M)."""
    return tube_overlap(a[:, None], b[:, None])


def tube_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of every pair of tubes (N, T, 4), (M, T, 4): the sum over frames of intersections, over that of unions."""
    low, high = np.maximum(a[:, None, :, :2], b[None, :, :, :2]), np.minimum(a[:, None, :, 2:], b[None, :, :, 2:])
    both = (high - low).clip(0).prod(axis=-1).sum(axis=-1)  # (N, M)
    union = volume(a)[:, None] + volume(b) - both
    return np.divide(both, union, out=np.zeros_like(both, dtype=float), where=union > 0)


def volume(tubes: np.ndarray) -> np.ndarray:
    """The areas of the boxes, added up over the frames: (N,)."""
    return (tubes[..., 2:] - tubes[..., :2]).clip(0).prod(axis=-1).sum(axis=-1)


def suppressed(tubes: np.ndarray, scores: np.ndarray, most: float, count: int | None = None) -> np.ndarray:
    """The positions of the tubes that stay, the best first, at most `count`: each takes away those that overlap it by
    more."""
    order = np.argsort(-scores, kind="stable")
    left, kept = np.ones(len(tubes), bool), []
    for i in order:
        if len(kept) == count:
            break
        if left[i]:
            kept.append(i)
            left &= tube_overlap(tubes[i : i + 1], tubes)[0] <= most
    return np.array(kept, int)


def anchors(shape: tuple[int, int], stride: int, sizes: tuple[float, ...], frames: int) -> np.ndarray:
    """Straight tubes around the centres of cells (h, w) of `stride` pixels, of each size: (h * w * sizes, T, 4)."""
    y, x = (stride * (np.arange(n) + 0.5) for n in shape)
    half = np.array(sizes) / 2
    centre = np.stack(np.broadcast_arrays(x[None, :, None], y[:, None, None]), axis=-1)  # (h, w, 1, 2)
    corners = np.concatenate([centre - half[:, None], centre + half[:, None]], axis=-1)  # (h, w, sizes, 4)
    return np.repeat(corners.reshape(-1, 1, 4), frames, axis=1).astype(np.float32)


def encoded(tubes: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Offsets (N, T, 4) that take the tubes `around` to `tubes`: frame by frame those of boxes, see F.encode_boxes."""
    return F.encode_boxes(Tensor(tubes.reshape(-1, 4)), around.reshape(-1, 4)).numpy().reshape(tubes.shape)


def decoded(offsets: np.ndarray, around: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The tubes (N, T, 4) that offsets make of the tubes `around`, inside pictures of (height, width)."""
    found = F.decode_boxes(Tensor(offsets.reshape(-1, 4)), around.reshape(-1, 4))
    return F.clip_boxes(found, size).numpy().reshape(around.shape)
