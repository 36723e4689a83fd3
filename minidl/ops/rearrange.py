"""The same entries elsewhere: pieces, turns, repetitions, and channels traded for pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.tensor import Tensor, as_tensor
from .indexing import concat, getitem
from .shape import broadcast_to, position, reshape, swapaxes, transpose


def split(x: Tensor, split_size_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """x in pieces along `axis`: of this length (the last may be shorter), or of these lengths, which must add up."""
    x = as_tensor(x)
    axis = position(axis, x.ndim)
    n, size = x.shape[axis], split_size_or_sections
    if isinstance(size, int):
        if size < 1:
            raise ValueError(f"split: pieces must have a length of 1 or more, got {size}")
        lengths = [min(size, n - start) for start in range(0, n, size)] or [0]
    else:
        lengths = [int(m) for m in size]
    if sum(lengths) != n or min(lengths, default=0) < 0:
        raise ValueError(f"split: pieces of {lengths} make {sum(lengths)}, axis {axis} of x {x.shape} has {n}")
    ends = [sum(lengths[: k + 1]) for k in range(len(lengths))]
    return tuple(getitem(x, (slice(None),) * axis + (slice(b - m, b),)) for m, b in zip(lengths, ends))


def chunk(x: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """x in at most this many pieces along `axis`, each but the last ``ceil(n / chunks)`` long."""
    x = as_tensor(x)
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be 1 or more, got {chunks}")
    return split(x, max(1, math.ceil(x.shape[position(axis, x.ndim)] / chunks)), axis)


def roll(x: Tensor, shifts: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """x turned by this many positions along each axis: what leaves at the end comes in at the start.

    Without `axis` the entries turn in C order. Raises ValueError unless there is one shift for each axis.
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, x.size), shifts, 0), x.shape)
    shifts, axes = ((v,) if isinstance(v, int) else tuple(v) for v in (shifts, axis))
    if len(shifts) != len(axes):
        raise ValueError(f"roll: {len(shifts)} shifts, {shifts}, for {len(axes)} axes, {axes}; one for each is needed")
    for shift, a in zip(shifts, axes):
        a = position(a, x.ndim)
        cut = -shift % x.shape[a] if x.shape[a] else 0
        if cut:
            x = concat(split(x, (cut, x.shape[a] - cut), a)[::-1], axis=a)
    return x


def tile(x: Tensor, reps: int | Sequence[int]) -> Tensor:
    """x repeated this many times along each axis, the last ones if there are fewer numbers than axes, as numpy.tile."""
    x = as_tensor(x)
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    if any(r < 0 for r in reps):
        raise ValueError(f"tile: repetitions must be 0 or more, got {reps}")
    ndim = max(x.ndim, len(reps))
    shape, reps = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(reps)) + reps
    y = reshape(x, [m for n in shape for m in (1, n)])  # (n, ...) -> (1, n, ...)
    y = broadcast_to(y, [m for r, n in zip(reps, shape) for m in (r, n)])  # -> (r, n, ...)
    return reshape(y, [r * n for r, n in zip(reps, shape)])


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channels become pixels: (*, C r^2, H, W) gives (*, C, H r, W r), r the factor.

    ``y[c, r h + i, r w + j] = x[r^2 c + r i + j, h, w]``. Raises ValueError for channels that r^2 does not divide.
    Source: Shi et al., "Real-time single image and video super-resolution", CVPR 2016, eq. 4.
    """
    x, r = as_tensor(x), upscale_factor
    *lead, c, h, w = _at_least_3("pixel_shuffle", x)
    if r < 1 or c % (r * r):
        raise ValueError(f"pixel_shuffle: {c} channels of x {x.shape} do not divide by {r}^2 = {r * r}")
    n = math.prod(lead)
    y = reshape(x, n, c // (r * r), r, r, h, w)
    y = transpose(y, 0, 1, 4, 2, 5, 3)  # (n, c, i, j, h, w) -> (n, c, h, i, w, j)
    return reshape(y, *lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of `pixel_shuffle`: (*, C, H r, W r) gives (*, C r^2, H, W). Raises ValueError for other sizes."""
    x, r = as_tensor(x), downscale_factor
    *lead, c, h, w = _at_least_3("pixel_unshuffle", x)
    if r < 1 or h % r or w % r:
        raise ValueError(f"pixel_unshuffle: the {h} x {w} pixels of x {x.shape} do not divide by {r} x {r}")
    y = reshape(x, math.prod(lead), c, h // r, r, w // r, r)
    y = transpose(y, 0, 1, 3, 5, 2, 4)  # (n, c, h, i, w, j) -> (n, c, i, j, h, w)
    return reshape(y, *lead, c * r * r, h // r, w // r)


def _at_least_3(name: str, x: Tensor) -> tuple[int, ...]:
    if x.ndim < 3:
        raise ValueError(f"{name} needs x of shape (*, C, H, W), got {x.shape}")
    return x.shape


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels dealt out anew, one of each group in turn: channel ``k g + i`` of (N, C, ...) was ``i C / g + k``.

    Raises ValueError for channels that `groups`, g, does not divide.
    Source: Zhang et al., "ShuffleNet", CVPR 2018, section 3.1.
    """
    x = as_tensor(x)
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(f"channel_shuffle: axis 1 of x {x.shape} does not divide into {groups} groups")
    y = reshape(x, x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return reshape(swapaxes(y, 1, 2), x.shape)  # (N, g, C / g, ...) -> (N, C / g, g, ...)
