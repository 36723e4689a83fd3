"""Losses of segmentation by name: ``LOSSES["dice"](logits, target)``, a scalar Tensor.

logits (N, K, H, W) and class numbers (N, H, W); one map of logits (K = 1) stands for two classes, of which class 1 has
the probability sigmoid(logits). Pixels whose class is `ignore_index` count for nothing, whatever is predicted there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from minidl import Tensor
from minidl import functional as F
from minidl.core.tensor import as_array
from minidl.device import to_device


def probabilities(logits: Tensor) -> Tensor:
    """Of each class, by softmax; of class 1 alone, by sigmoid, if there is one map: the shape of the logits."""
    return F.sigmoid(logits) if logits.shape[1] == 1 else F.softmax(logits, axis=1)


def both_classes(logits: Tensor) -> Tensor:
    """One map x becomes the two maps (0, x), whose softmax is (1 - sigmoid(x), sigmoid(x)); others are left alone."""
    return F.concat([logits * 0, logits], axis=1) if logits.shape[1] == 1 else logits


def cross_entropy(
    logits: Tensor, target: Any, *, weight: Any = None, ignore_index: int | None = None, pixel_weight: Any = None
) -> Tensor:
    """Minus the log probability of each pixel's class, averaged with weights: weight[class] times pixel_weight[pixel].

    weight (K,), or (2,) for one map; pixel_weight (N, H, W), such as `augment.border_weights` gives. Where all weights
    are 0 the loss is 0. Source: Ronneberger et al. 2015, eq. 1 (there a sum).
    """
    logits, target = both_classes(logits), _classes(logits, target)
    options = {"weight": weight, "ignore_index": ignore_index}
    if pixel_weight is None:
        return F.cross_entropy(logits, target, **options)
    w = _beside(logits, pixel_weight)
    if w.shape != target.shape:
        raise ValueError(f"cross_entropy: pixel_weight has shape {w.shape}, one per pixel is {target.shape}")
    kept, index = _kept(target, ignore_index)
    total = (w * kept if weight is None else w * kept * _beside(logits, weight)[index]).sum()
    losses = F.cross_entropy(logits, target, **options, reduction="none")
    return (losses * w).sum() / (total + (total == 0))


def dice(
    logits: Tensor, target: Any, *, eps: float = 0.0, reduction: str = "mean", denominator: str = "squared",
    background: bool = False, ignore_index: int | None = None,
) -> Tensor:  # fmt: skip
    """Minus the soft Dice overlap of the classes' probabilities with their masks: see F.soft_dice_loss.

    Images and classes count alike; `background` says whether class 0 is among them (with one map it never is).
    reduction: "mean", "sum", or "pooled" over the images before dividing. Beware: with eps = 0 an image without a
    class gives no gradient for it, and a pixel missed with confidence hardly any.
    """
    if background and logits.shape[1] == 1:
        raise ValueError("dice: background=True needs a map of logits for class 0; these have one map, of class 1")
    target = _classes(logits, target)
    p, target = probabilities(logits), Tensor(target)[:, None]  # (N, H, W) -> (N, 1, H, W)
    first = 0 if background else 1
    p = p if p.shape[1] == 1 or background else p[:, 1:]
    g = target == to_device(_numbers(first, first + p.shape[1]), p.device)
    if ignore_index is not None:
        kept = target != ignore_index
        p, g = p * kept.astype(p.dtype), g & kept
    return F.soft_dice_loss(p, g.astype(p.dtype), eps=eps, reduction=reduction, denominator=denominator)


def cross_entropy_dice(
    logits: Tensor, target: Any, *, share: float = 0.5, ignore_index: int | None = None, eps: float = 1.0,
    weight: Any = None, pixel_weight: Any = None, **options: Any,
) -> Tensor:  # fmt: skip
    """``share * dice + (1 - share) * cross_entropy``: one counts what overlaps, the other pulls at every wrong pixel.

    eps = 1 keeps a gradient for images in which a class is missing. `options` are dice's.
    Source: Isensee et al., "nnU-Net", Nature Methods 18, 2021 (their sum, up to the factor).
    """
    overlap = dice(logits, target, eps=eps, ignore_index=ignore_index, **options)
    entropy = cross_entropy(logits, target, weight=weight, ignore_index=ignore_index, pixel_weight=pixel_weight)
    return share * overlap + (1 - share) * entropy


def focal(
    logits: Tensor, target: Any, *, gamma: float = 2.0, weight: Any = None, ignore_index: int | None = None
) -> Tensor:
    """``-weight[t] (1 - p_t)^gamma log p_t``, p_t the probability of the pixel's class t, averaged over the pixels.

    Against all other classes together, class t has the log-odds z = x_t - logsumexp of the other logits, and
    p_t = sigmoid(z): so this is F.sigmoid_focal_loss of z. weight (1 - alpha, alpha) gives the alpha of the paper:
    Lin et al., "Focal loss for dense object detection", ICCV 2017, eq. 5.
    """
    logits, target = both_classes(logits), _classes(logits, target)
    kept, index = _kept(target, ignore_index)
    own = index[:, None] == to_device(_numbers(0, logits.shape[1]), logits.device)
    z = F.where(own, logits, 0.0).sum(axis=1) - F.logsumexp(F.where(own, -np.inf, logits), axis=1)
    y = F.sigmoid_focal_loss(z, z.ones_like(), alpha=-1, gamma=gamma, reduction="none")
    scale = kept.astype(z.dtype)
    scale = scale if weight is None else scale * _beside(logits, weight)[index]
    return (y * scale).sum() / F.maximum(kept.astype(z.dtype).sum(), 1.0)


def _classes(logits: Tensor, target: Any) -> Any:
    """The target as an array of class numbers beside the logits, its shape checked."""
    target = to_device(as_array(target), logits.device)
    if logits.ndim != 4 or target.shape != (len(logits.data), *logits.shape[2:]):
        raise ValueError(
            f"a loss of segmentation needs logits (N, K, H, W) and class numbers (N, H, W), got {logits.shape} and "
            f"{target.shape}; a network without padding needs the target cropped to the size of its logits"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(f"class numbers must be integers, got {target.dtype}")
    return target


@lru_cache
def _numbers(first: int, stop: int) -> np.ndarray:
    """first ... stop - 1 as (1, K, 1, 1)"""
    return np.arange(first, stop).reshape(1, -1, 1, 1)


def _kept(target: Any, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Which pixels count, and their classes (0 where none counts)."""
    target = Tensor(target)
    kept = target == target if ignore_index is None else target != ignore_index
    return kept, target * kept


def _beside(logits: Tensor, weight: Any) -> Tensor:
    return Tensor(to_device(as_array(weight), logits.device)).astype(logits.dtype)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross-entropy": cross_entropy,
    "dice": dice,
    "dice-linear": partial(dice, denominator="linear"),
    "dice-pooled": partial(dice, reduction="pooled"),
    "cross-entropy+dice": cross_entropy_dice,
    "focal": focal,
}
