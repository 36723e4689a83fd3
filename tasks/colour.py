"""Luma and colour differences: what the eye sees in detail, and what it does not."""

from __future__ import annotations

import numpy as np

FROM_RGB = np.array(  # ITU-R 601, as in JPEG: luma, and the differences of blue and red from it
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


def to_ycc(picture: np.ndarray) -> np.ndarray:
    """An RGB picture (3, H, W) in [0, 1] as luma in [0, 1] and two differences in [-1/2, 1/2]."""
    return np.tensordot(FROM_RGB, picture, 1).astype(np.float32)


def to_rgb(ycc: np.ndarray) -> np.ndarray:
    """The picture that `to_ycc` took apart."""
    return np.tensordot(np.linalg.inv(FROM_RGB), ycc, 1).astype(np.float32)
