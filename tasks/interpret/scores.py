"""How well saliency maps agree with the truth, and with each other. Maps are (H, W), larger means more important."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1  # pixels that the maximum may lie outside the evidence, along each axis


def pointing(values: np.ndarray, mask: np.ndarray, tolerance: int = TOLERANCE) -> float:
    """1 if the maximum lies on the evidence, or within `tolerance` pixels of it along each axis; else 0.

    If several pixels share the maximum: the share of them that does. A map that is the same everywhere points nowhere:
    0. Source: the pointing game, Zhang et al., "Top-down neural attention by excitation backprop", 2016, section 4.2.
    """
    _check(values, mask)
    if is_constant(values):
        return 0.0
    from scipy.ndimage import maximum_filter

    near = maximum_filter(mask, 2 * tolerance + 1, mode="constant")
    return float(near[values == values.max()].mean())


def iou(values: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union of the evidence and the most important pixels, as many as the evidence has.

    Pixels that tie for the last places count by their share: it is the expected intersection if lots decide, over what
    the union then is. A map that is the same everywhere marks nothing: 0.
    """
    _check(values, mask)
    k = int(mask.sum())
    if k == 0 or is_constant(values):
        return 0.0
    last = np.partition(values, -k, axis=None)[-k]
    above, ties = values > last, values == last
    common = (above & mask).sum() + (k - above.sum()) * (ties & mask).sum() / ties.sum()
    return float(common / (2 * k - common))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two maps, -1 .. 1; ties have their mean rank. nan if one is constant."""
    if a.shape != b.shape:
        raise ValueError(f"spearman: maps of shapes {a.shape} and {b.shape} cannot be compared")
    if is_constant(a) or is_constant(b):
        return float("nan")
    from scipy.stats import rankdata

    x, y = (ranks - ranks.mean() for ranks in (rankdata(a), rankdata(b)))
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def is_constant(values: np.ndarray) -> bool:
    """Whether a map says nothing: all pixels are equal."""
    return bool((values == values.flat[0]).all())


def chance(mask: np.ndarray, tolerance: int = TOLERANCE) -> tuple[float, float]:
    """Pointing, and nearly the IoU, that a map of random numbers is expected to have.

    The expected intersection of k random pixels of n with the k of the evidence is k * k / n.
    """
    from scipy.ndimage import maximum_filter

    k, n = mask.sum(), mask.size
    return float(maximum_filter(mask, 2 * tolerance + 1, mode="constant").mean()), float(k / (2 * n - k))


def _check(values: np.ndarray, mask: np.ndarray) -> None:
    if values.shape != mask.shape:
        raise ValueError(f"the map has shape {values.shape}, the evidence {mask.shape}: they must be equal")
    if not np.isfinite(values).all():
        raise ValueError("the map has values that are not finite: it has no maximum")
