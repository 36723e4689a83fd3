"""Sampling at any points: grid_sample, and the grids of affine maps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.array_function import made_once
from ..core.tensor import Tensor, as_tensor
from ..device import namespace, to_device
from .indexing import where
from .linear import matmul
from .shape import reshape, swapaxes, transpose
from .window import require_spatial

REACH = {"nearest": 1, "bilinear": 2, "bicubic": 4}  # entries per axis that a sample takes
PADDINGS = ("zeros", "border", "reflection")


def grid_sample(
    x: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> Tensor:
    """x (N, C, *size), 1 to 3 spatial axes, sampled at the points of a grid: (N, *output, rank) gives (N, C, *output).

    The last axis of the grid is a point, its coordinates from the last spatial axis of x to the first: (x, y) in 2-D.
    -1 and 1 are the outer edges of the first and the last entry, or with `align_corners` their centres: entry i of n
    lies at ``(2 i + 1) / n - 1``, or at ``2 i / (n - 1) - 1``. Between the entries `mode` is "bilinear" (linear along
    each axis, whatever the rank), "bicubic" (Keys' kernel with a = -3/4) or "nearest" (halves to even; the grid gets
    no gradient). Outside of x are "zeros", the nearest entry of the "border", or the "reflection" of x about its edges.

    Raises ValueError for shapes that do not fit, unknown modes, and points that are not finite.
    Source: Jaderberg et al., "Spatial transformer networks", 2015, eq. 3 to 7.

        >>> x = md.tensor([[[1.0, 2.0, 3.0, 4.0]]])
        >>> F.grid_sample(x, md.tensor([[[-1.0], [0.0], [1.0]]]), align_corners=True)
        tensor([[[1. , 2.5, 4. ]]])
    """
    x, grid = as_tensor(x), as_tensor(grid)
    require_spatial("grid_sample", x)
    rank, size = x.ndim - 2, x.shape[2:]
    if grid.ndim != rank + 2 or grid.shape[0] != x.shape[0] or grid.shape[-1] != rank or 0 in size:
        raise ValueError(
            f"grid_sample: x {x.shape} and grid {grid.shape}: the grid needs shape ({x.shape[0]}, *output, {rank}) "
            f"with {rank} output axes, and x an entry along each axis"
        )
    if mode not in REACH or padding_mode not in PADDINGS:
        raise ValueError(
            f"grid_sample: mode {mode!r} and padding_mode {padding_mode!r}: the modes are {', '.join(REACH)}, "
            f"the paddings {', '.join(PADDINGS)}"
        )
    xp = namespace([x.data])
    if not xp.isfinite(grid.data).all():
        raise ValueError("grid_sample: the grid has points that are NaN or infinite")
    positions = [_position(grid[..., rank - 1 - a], n, align_corners) for a, n in enumerate(size)]
    return sampled(x, positions, mode, padding_mode, align_corners)


def sampled(
    x: Tensor, positions: Sequence[Tensor], mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool = False,
) -> Tensor:  # fmt: skip
    """`grid_sample` where entries are counted: entry i of an axis lies at i. One tensor (N, *output) for each spatial
    axis of x (N, C, *size), in their order, gives (N, C, *output)."""
    xp, rank, size = namespace([x.data]), x.ndim - 2, x.shape[2:]
    axes = [_taps(xp, p, n, mode, padding_mode, align_corners) for p, n in zip(positions, size, strict=True)]
    rows = reshape(transpose(x, 0, *range(2, x.ndim), 1), (-1, x.shape[1]))  # (N, C, *size) -> (N * cells, C)
    first = xp.arange(x.shape[0]).reshape(-1, *[1] * rank)  # (N, 1, ...)
    y: Any = 0
    for taps in itertools.product(*axes):
        at, weight, inside = first, None, True
        for (cells, share, valid), n in zip(taps, size, strict=True):
            at = at * n + cells
            weight = share if weight is None or share is None else weight * share
            inside = inside & valid
        values = rows[at]  # (N, *output, C)
        if padding_mode == "zeros":
            values = where(inside[..., None], values, 0.0)
        y = y + (values if weight is None else values * weight[..., None])
    return transpose(y, 0, y.ndim - 1, *range(1, y.ndim - 1))  # (N, *output, C) -> (N, C, *output)


def _position(coordinate: Tensor, n: int, align_corners: bool) -> Tensor:
    """Where -1 to 1 lies on an axis of n entries, the first at 0."""
    return (coordinate + 1) * ((n - 1) / 2) if align_corners else ((coordinate + 1) * n - 1) / 2


def _taps(
    xp: Any, position: Tensor, n: int, mode: str, padding_mode: str, align_corners: bool
) -> list[tuple[Any, Tensor | None, Any]]:
    """What samples at `position` take of an axis: for each tap the entries, their weights (None for 1), whether they
    are inside."""
    if mode != "bicubic":  # the position is brought inside, else each of its four entries is
        position = _brought_inside(xp, position, n, padding_mode, align_corners)
    low = xp.rint(position.data) if mode == "nearest" else xp.floor(position.data)
    if mode == "nearest":
        places = [(low, None)]
    else:
        t = position - Tensor(low)
        weights = [1 - t, t] if mode == "bilinear" else _cubic_weights(t)
        places = [(low + k, w) for k, w in enumerate(weights, start=0 if mode == "bilinear" else -1)]
    taps = []
    for place, weight in places:
        if mode == "bicubic":
            place = _brought_inside(xp, Tensor(place), n, padding_mode, align_corners).data
        cells = place.clip(0, n - 1).astype(xp.int64)
        taps.append((cells, weight, cells == place))
    return taps


def _cubic_weights(t: Tensor, a: float = -0.75) -> list[Tensor]:
    """Keys' kernel for the entries at -1, 0, 1 and 2, t after the one at 0."""

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _brought_inside(xp: Any, position: Tensor, n: int, padding_mode: str, align_corners: bool) -> Tensor:
    """The position in the axis that stands for one outside: on its border, or reflected about its edges."""
    if padding_mode == "zeros":
        return position
    if padding_mode == "reflection":
        low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
        if low == high:
            return Tensor(xp.zeros_like(position.data))
        away = position.data - low
        turns, rest = abs(away) // (high - low), abs(away) % (high - low)
        mirrored = turns % 2 == 1
        sign = xp.where(mirrored, -1.0, 1.0) * xp.where(away < 0, -1.0, 1.0)
        shift = low + xp.where(mirrored, high - low - rest, rest) - sign * position.data
        position = position * Tensor(sign.astype(position.dtype)) + Tensor(shift.astype(position.dtype))
    p = position.data
    return where((p > 0) & (p < n - 1), position, Tensor(p.clip(0, n - 1)))


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """The grid of an affine map for `grid_sample`: theta (N, rank, rank + 1) and size (N, C, *output) give
    (N, *output, rank).

    Entry o is ``theta[n] @ (x_1, ..., x_rank, 1)`` with x the point of output o, its coordinates from the last axis to
    the first, -1 to 1 as grid_sample has them. Raises ValueError if theta and size do not fit.
    Source: Jaderberg et al., "Spatial transformer networks", 2015, eq. 1.
    """
    theta, size = as_tensor(theta), tuple(size)
    rank = len(size) - 2
    if rank < 1 or theta.shape != (size[0], rank, rank + 1):
        raise ValueError(
            f"affine_grid: size {size} is (N, C, *output), it takes theta ({size[0]}, {rank}, {rank + 1}), "
            f"got {theta.shape}"
        )
    points = Tensor(to_device(_points(size[2:], align_corners), theta.device)).astype(theta.dtype)
    return reshape(matmul(points, swapaxes(theta, 1, 2)), (size[0], *size[2:], rank))


@made_once
def _points(size: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """(positions, rank + 1): the coordinates of each, and 1."""
    mesh = np.meshgrid(*[_coordinates(n, align_corners) for n in size], indexing="ij")[::-1]  # of the last axis first
    return np.stack([m.reshape(-1) for m in [*mesh, np.ones(size)]], axis=-1)


def _coordinates(n: int, align_corners: bool) -> np.ndarray:
    """Where the n entries of an axis lie between -1 and 1."""
    if n == 1:
        return np.zeros(1)
    return np.linspace(-1, 1, n) * (1 if align_corners else (n - 1) / n)
