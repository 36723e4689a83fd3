"""Cross entropy of classes, on blocks that stay in cache, shared among threads.

Logits (N, C, *S) are worked on as a stack of matrices (K, C, P): one for each image, or a single one for all positions
where the classes lie last in memory. A block is all classes of some columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .layout import channels_first, channels_last
from .memory import empty, scratch
from .reduce import summed
from .workers import share

BLOCK = 1 << 18  # entries: few steps, as each takes the GIL
EXP = 8  # multiplications: so long takes an exponential
FEW = 1 << 12  # entries: so small an image is no block of its own


def cross_entropy(x: np.ndarray, *, target: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Logits (N, C, *S); target (class numbers), scale and the result are (N, *S)."""
    last = classes_last(x)
    logits, (targets, scales) = stack(x, last), aligned(x, last, target, scale)
    y = empty(target.shape, np.result_type(x, scale))
    (losses,) = aligned(x, last, y)

    def work(k: int, columns: slice) -> None:
        block, classes = logits[k, :, columns], targets[k, columns]
        e, total, at, largest = exponentials(block, classes, last)
        if largest is None:
            loss = np.log(total / e[at])
        else:
            loss = np.log(total) - (block[classes, np.arange(len(classes))] - largest)
        factor = scales[k, columns]
        np.multiply(factor, np.where(factor != 0, loss, 0), out=losses[k, columns])

    share_blocks(work, logits, last)
    return y


def cross_entropy_backward(
    g: np.ndarray, y: np.ndarray, x: np.ndarray, *, needed: list[bool], target: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray]:
    """The gradient with respect to x; it has the memory layout of the stack of x."""
    last = classes_last(x)
    logits, (targets, scales) = stack(x, last), aligned(x, last, target, g * scale)
    n, c, *size = x.shape
    gx = channels_first(empty((n, *size, c), x.dtype)) if last else empty(x.shape, x.dtype)
    grads = stack(gx, last)

    def work(k: int, columns: slice) -> None:
        out = grads[k, :, columns]
        e, total, at, _ = exponentials(logits[k, :, columns], targets[k, columns], last, out)
        e[at] -= total  # over the total: softmax - 1 at the target
        np.multiply(as_block(e, len(total), last), scales[k, columns] / total, out=out)

    share_blocks(work, logits, last)
    return (gx,)


def exponentials(
    x: np.ndarray, target: np.ndarray, last: bool, into: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """exp(x - m) of a block (C, P) as it lies in memory, its sum over C, where the targets (P,) lie, and m.

    m is the largest of each column; or None for 0, where no sum overflows and no target's exponential vanishes.
    The exponentials lie in `into`, if that is one piece of memory.
    """
    c, p = x.shape
    if last and into is not None:
        e = into.T.reshape(-1)
    else:
        e = scratch("exponentials", (c * p,), x)
    block = as_block(e, p, last)
    with np.errstate(over="ignore"):
        np.exp(x, out=block)
    total = summed(block, axis=(0,), keepdims=False) if not last else block.T @ np.ones(c, x.dtype)
    at = np.arange(0, c * p, c) + target if last else target * p + np.arange(p)
    small = np.finfo(x.dtype).tiny ** 0.5
    if e[at].min() > small and total.max() < 1 / small:
        return e, total, at, None
    largest = x.max(axis=0)
    np.exp(np.subtract(x, largest, out=block), out=block)
    return e, summed(block, axis=(0,), keepdims=False), at, largest


def as_block(flat: np.ndarray, columns: int, last: bool) -> np.ndarray:
    """Memory as a block (C, P)."""
    return flat.reshape(columns, -1).T if last else flat.reshape(-1, columns)


def share_blocks(work: Callable[[int, slice], None], logits: np.ndarray, last: bool) -> None:
    k, c, p = logits.shape
    step = max(BLOCK // c, 1 if last else 64)
    share(work, [(i, slice(a, a + step)) for i in range(k) for a in range(0, p, step)], EXP * logits.size)


def classes_last(x: np.ndarray) -> bool:
    """Is one matrix to be made of x, with rows of classes? Not where an image has long rows of its own."""
    return x.ndim == 2 or x.size < len(x) * FEW or channels_last(x).flags.c_contiguous


def stack(x: np.ndarray, last: bool) -> np.ndarray:
    """(N, C, *S) -> (K, C, P), a view if x lies so."""
    n, c, *_ = x.shape
    return channels_last(x).reshape(1, -1, c).swapaxes(1, 2) if last else x.reshape(n, c, -1)


def aligned(x: np.ndarray, last: bool, *arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays (N, *S) -> (K, P)."""
    return [a.reshape(1 if last else len(x), -1) for a in arrays]
