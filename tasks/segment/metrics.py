"""How well a segmentation agrees with the truth: everything follows from the confusion matrix.

Matrices of several images add up: scores of the sum weigh pixels alike, the mean of scores weighs images alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def labels(logits: Any) -> np.ndarray:
    """The most probable class of each pixel: logits (N, K, H, W) give (N, H, W); one map, K = 1, gives 1 where > 0."""
    logits = np.asarray(logits)
    return (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)


def confusion(prediction: Any, target: Any, classes: int, *, ignore_index: int | None = None) -> np.ndarray:
    """(classes, classes): entry [t, p] counts the pixels of class t that are taken for class p.

    Both are class numbers of one shape; pixels whose true class is `ignore_index` are left out. Raises ValueError for
    shapes that differ and for numbers out of [0, classes).
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(f"confusion: the prediction has shape {prediction.shape}, the target {target.shape}")
    if ignore_index is not None:
        kept = target != ignore_index
        prediction, target = prediction[kept], target[kept]
    for name, values in (("prediction", prediction), ("target", target)):
        if values.dtype.kind not in "biu" or (values.size and not 0 <= values.min() <= values.max() < classes):
            raise ValueError(
                f"confusion: the {name} must hold whole numbers from 0 to {classes - 1}, got {values.dtype} "
                + (f"from {values.min()} to {values.max()}" if values.size else "")
            )
    pairs = target.astype(np.int64).ravel() * classes + prediction.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def dice(matrix: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """Per class ``2 |A and B| / (|A| + |B|)``, A the pixels of the class, B those taken for it; `empty` if none is."""
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1), empty)


def iou(matrix: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """Per class ``|A and B| / |A or B|``, the Jaccard index; `empty` where neither set has a pixel."""
    both = np.diag(matrix)
    return _ratio(both, matrix.sum(axis=0) + matrix.sum(axis=1) - both, empty)


def pixel_accuracy(matrix: np.ndarray) -> float:
    """The share of pixels whose class is right; nan if there are none."""
    return float(_ratio(np.trace(matrix), matrix.sum(), np.nan))


def dice_from_iou(j: Any) -> Any:
    """``D = 2 J / (1 + J)``: both count the same overlap, so they order segmentations alike; D is never less."""
    return 2 * j / (1 + j)


def iou_from_dice(d: Any) -> Any:
    """``J = D / (2 - D)``."""
    return d / (2 - d)


def _ratio(a: Any, b: Any, empty: float) -> np.ndarray:
    return np.where(b == 0, empty, a / np.maximum(b, 1))
