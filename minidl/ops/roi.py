"""Regions of interest: a grid of bins over each box, and one number per bin and channel, from maps (N, C, H, W)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from ..device import namespace, to_device
from .shape import cast
from .window import Sizes, per_axis


@dataclass(frozen=True, eq=False)
class Regions:
    """Boxes (R, 5), each the number of an image and x1, y1, x2, y2, and the bins that they are cut into.

    Box coordinates times `spatial_scale` are coordinates of the map. What `sampling_ratio` and `aligned` mean stands at
    `roi_align`; `roi_pool` has no use for them. With `parts`, boxes come in runs of A x B equal ones, and of each run
    the first box is cut down to the first of A x B equal parts of it, the second to the second, row by row.
    """

    boxes: Any  # float64, where the map is
    output: tuple[int, int]  # bins along y and along x
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    aligned: bool = True
    parts: tuple[int, int] = (1, 1)

    @property
    def images(self) -> Any:
        """The number of each box's image: (R,)."""
        return self.boxes[:, 0].astype(np.int64)

    def grid(self, axis: int) -> tuple[Any, Any, Any]:
        """Along y (axis 0) or x (axis 1): where each box starts, the length of its bins, the samples per bin: 3 x (R,).

        Computed in double whatever dtype the map has, and in these steps on every device: the ceiling jumps.
        """
        xp, parts = namespace([self.boxes]), self.parts[axis]
        offset = 0.5 if self.aligned else 0.0
        start = self.boxes[:, 2 - axis] * self.spatial_scale - offset
        size = self.boxes[:, 4 - axis] * self.spatial_scale - offset - start
        if not self.aligned:
            size = xp.maximum(size, 1.0)
        length = size / (self.output[axis] * parts)
        if parts > 1:
            part = xp.arange(len(start)) // (self.parts[1] if axis == 0 else 1) % parts
            start = start + part * self.output[axis] * length
        if self.sampling_ratio > 0:
            return start, length, xp.full(size.shape, self.sampling_ratio, np.int64)
        return start, length, xp.maximum(xp.ceil(length), 0.0).astype(np.int64)

    def ranges(self, axis: int, cells: int, dtype: Any, closed: bool = True) -> Any:
        """Along y (axis 0) or x (axis 1): the first cell of each bin of `roi_pool` and one past the last: (R, bins, 2).

        closed: the cell of a box's second corner belongs to it. A bin that lies outside is empty. Bins
        are cut in the dtype of the map, as torchvision has it: in float32 the last of 7 bins of 57 cells then ends one
        cell late, in float64 that of 29.
        """
        xp, bins, dtype = namespace([self.boxes]), self.output[axis], np.dtype(dtype).type
        corners = self.boxes.astype(dtype) * dtype(self.spatial_scale)
        rounded = xp.floor(abs(corners) + dtype(0.5)).astype(np.int64)
        corners = xp.where(corners < 0, -rounded, rounded)  # halves away from 0
        start, last = corners[:, 2 - axis, None], corners[:, 4 - axis, None]  # (R, 1)
        length = xp.maximum(last - start + closed, 1).astype(dtype) / dtype(bins)
        edges = xp.arange(bins + 1).astype(dtype) * length  # (R, bins + 1)
        low = start + xp.floor(edges[:, :-1]).astype(np.int64)
        high = start + xp.ceil(edges[:, 1:]).astype(np.int64)
        return xp.stack([low.clip(0, cells), high.clip(0, cells)], axis=2)


# --- the mean of samples between cells


@primitive(
    formula="y[r,c,p,q] = sum over i,j of a[r,p,i] * b[r,q,j] * x[n[r],c,i,j], a, b the weights of interpolation",
    kind="linear",
    saves=(),
)
def roi_align_p(xp, x, *, regions):
    """The mean over the samples of each bin: (N, C, H, W) -> (R, C, P, Q).

    A bilinear sample at (y, x) is one of rows at y and one of columns at x, so two small matrices do it, A x B^T.
    """
    a, b = sample_weights(xp, x, regions)  # (R, P, H), (R, Q, W)
    y = xp.zeros((len(a), x.shape[1], *regions.output), x.dtype)
    for n in range(len(x)):
        of_image = regions.images == n
        rows, columns = a[of_image][:, None], b[of_image][:, None]
        y[of_image] = rows @ x[n] @ columns.swapaxes(2, 3)  # (R, 1, P, H) @ (C, H, W) @ (R, 1, W, Q)
    return y


@primitive(
    formula="y[n,c,i,j] = sum over r,p,q with n[r] = n of a[r,p,i] * b[r,q,j] * x[r,c,p,q], a and b as in roi_align",
    kind="linear",
    saves=(),
)
def roi_spread(xp, x, *, regions, size):
    """Each bin's entry shared among the cells that its mean was taken of: (R, C, P, Q) -> size, (N, C, H, W)."""
    y = xp.zeros(size, x.dtype)
    a, b = sample_weights(xp, y, regions)  # (R, P, H), (R, Q, W)
    for n in range(len(y)):
        of_image = regions.images == n
        wide = x[of_image] @ b[of_image][:, None]  # (R, C, P, Q) @ (R, 1, Q, W)
        y[n] = xp.tensordot(a[of_image], wide, axes=((0, 1), (0, 2))).swapaxes(0, 1)  # (H, C, W) -> (C, H, W)
    return y


def sample_weights(xp: Any, x: Any, regions: Regions) -> list[Any]:
    """What each cell of a row, and of a column, of x counts in the mean over each bin: (R, P, H), (R, Q, W)."""
    return [_weights_along(xp, regions.grid(k), regions.output[k], x.shape[2 + k], x.real.dtype) for k in (0, 1)]


def _weights_along(xp: Any, grid: tuple[Any, Any, Any], bins: int, cells: int, dtype: Any) -> Any:
    """One axis: (R, bins, cells). Samples more than a cell outside count 0, others are held to the nearest cell."""
    start, length, samples = (v[:, None, None] for v in grid)
    p = xp.arange(bins)[:, None]
    s = xp.arange(int(samples.max()) if samples.size else 0)
    position = start + p * length + (s + 0.5) * length / xp.maximum(samples, 1)  # (R, bins, S)
    counts = (s < samples) & (position >= -1) & (position <= cells)
    position = position.clip(0, cells - 1)
    low = xp.floor(position).astype(np.int64)
    share = position - low
    weights = xp.zeros((len(start), bins, cells))
    row = cells * xp.arange(len(start) * bins).reshape(-1, bins, 1)  # where it begins in weights laid flat
    for cell, weight in ((low, 1 - share), (xp.minimum(low + 1, cells - 1), share)):
        xp.add.at(weights.reshape(-1), (row + cell)[counts], weight[counts])
    return (weights / xp.maximum(samples, 1)).astype(dtype)


@roi_align_p.rule("x", formula="roi_spread(g)")
def roi_align_x(g, y, x, *, regions):
    return roi_spread(g, regions=regions, size=x.shape)


@roi_spread.rule("x", formula="roi_align(g)")
def roi_spread_x(g, y, x, *, regions, size):
    return roi_align_p(g, regions=regions)


def roi_align(
    x: Tensor, boxes: Operand, output_size: Sizes, *,
    spatial_scale: float = 1.0, sampling_ratio: int = -1, aligned: bool = True,
) -> Tensor:
    """The mean of bilinear samples in each bin of each box: (N, C, H, W) and (R, 5) -> (R, C, *output_size).

    Definition: a box (image, x1, y1, x2, y2), times `spatial_scale` and moved by half a cell up and left if `aligned`
    (cell centres then lie at whole numbers plus 1/2), is cut into P x Q equal bins. Bin (p, q) has s x t samples, the
    centres of its s x t equal parts: `sampling_ratio` of them along each axis, or ceil(length of the bin) if that is
    not positive. A sample more than one cell outside of the map counts 0, one closer is held to the border. Without
    `aligned` a box is at least one cell long. The result is linear in x; boxes have no gradient. As torchvision has it.

    Raises ValueError for another shape of x or boxes, a box that is not finite, or one of an image that is not there.
    Source: He et al., "Mask R-CNN", ICCV 2017, section 3.

        >>> x = md.tensor([[[[0.0, 1.0, 2.0, 3.0]] * 4]])
        >>> F.roi_align(x, [[0, 1.0, 1.0, 3.0, 3.0]], 2, sampling_ratio=1)[0, 0]
        tensor([[1., 2.],
                [1., 2.]])
    """
    x = as_tensor(x)
    if x.dtype.kind not in "fc":
        raise TypeError(f"roi_align needs a float x, got {x.dtype}; use .astype(float)")
    boxes, output = _checked("roi_align", x, boxes, output_size, spatial_scale)
    regions = Regions(boxes, output, float(spatial_scale), int(sampling_ratio), bool(aligned))
    return roi_align_p(x, regions=regions)


roi_align.primitive = roi_align_p


# --- the largest cell


@ArrayFunction
def largest_of_bins(xp: Any, x: Any, *, regions: Regions) -> tuple[Any, Any]:
    """The largest cell of each bin and its flat position in its map, the first among equals: 2 x (R, C, P, Q).

    An empty bin has 0, and position -1. A NaN is larger than anything.
    """
    n, c, h, w = x.shape
    rows, columns = (regions.ranges(k, x.shape[2 + k], x.dtype) for k in (0, 1))  # (R, P, 2), (R, Q, 2)
    bins = (len(rows), *regions.output)
    height = xp.broadcast_to((rows[..., 1] - rows[..., 0])[:, :, None], bins).reshape(-1)
    width = xp.broadcast_to((columns[..., 1] - columns[..., 0])[:, None], bins).reshape(-1)
    first = (rows[:, :, None, 0] * w + columns[:, None, :, 0]).reshape(-1)
    image = xp.broadcast_to(regions.images[:, None, None] * (h * w), bins).reshape(-1)
    cells = x.transpose(0, 2, 3, 1).reshape(n * h * w, c)  # (N, C, H, W) -> (N * H * W, C)
    largest, at = xp.zeros((first.size, c), x.dtype), xp.full((first.size, c), -1)
    for i in range(int(height.max()) if height.size else 0):
        for j in range(int(width.max())):
            inside = ((i < height) & (j < width)).nonzero()[0]
            position = (first[inside] + (i * w + j))[:, None]
            value, held = cells[image[inside] + position[:, 0]], largest[inside]
            better = ~(value <= held) & (held == held) if i or j else xp.ones(value.shape, bool)
            largest[inside] = xp.where(better, value, held)
            at[inside] = xp.where(better, position, at[inside])
    return tuple(v.reshape(*bins, c).transpose(0, 3, 1, 2) for v in (largest, at))  # (R, P, Q, C) -> (R, C, P, Q)


def _gap_to_largest(x, *, regions):
    """How far the largest cell of each bin stands from the next one: (R, C, P, Q)."""
    rows, columns = (regions.ranges(k, x.shape[2 + k], x.dtype) for k in (0, 1))
    gaps = np.full((len(rows), x.shape[1], *regions.output), np.inf)
    for r, p, q in np.ndindex(len(rows), *regions.output):
        part = x[regions.images[r], :, slice(*rows[r, p]), slice(*columns[r, q])]
        part = np.sort(part.reshape(part.shape[0], -1), axis=1)
        if part.shape[1] > 1:
            gaps[r, :, p, q] = part[:, -1] - part[:, -2]
    return gaps


@primitive(
    formula="y[r,c,p,q] = max over the cells i,j of bin p,q of box r of x[n[r],c,i,j], 0 if there are none",
    kind="piecewise",
    kink=_gap_to_largest,
    saves=("x",),
)
def roi_pool_p(xp, x, *, regions):
    """The largest cell of each bin: (N, C, H, W) -> (R, C, P, Q)."""
    return largest_of_bins(x, regions=regions)[0]


@primitive(formula="y[n[r],c,argmax[r,c,p,q]] += x[r,c,p,q], from zeros", kind="linear")
def roi_to_largest(xp, x, *, among, regions):
    """Each entry added at the largest cell of its bin in `among`, (N, C, H, W): (R, C, P, Q) -> (N, C, H, W)."""
    y = xp.zeros(among.shape, x.dtype)
    cells, held = _positions(xp, among, regions)
    xp.add.at(y.reshape(-1), cells[held], x[held])
    return y


@primitive(formula="y[r,c,p,q] = x[n[r],c,argmax[r,c,p,q]], 0 for an empty bin", kind="linear")
def roi_from_largest(xp, x, *, among, regions):
    """The entry where each bin of `among` has its largest cell: (N, C, H, W) -> (R, C, P, Q)."""
    cells, held = _positions(xp, among, regions)
    y = x.reshape(-1)[xp.where(held, cells, 0)] if x.size else xp.zeros(cells.shape, x.dtype)
    return xp.where(held, y, xp.zeros((), x.dtype))


def _positions(xp: Any, among: Any, regions: Regions) -> tuple[Any, Any]:
    """The largest cell of each bin as a flat position in all of `among`, and whether there is one: 2 x (R, C, P, Q)."""
    at = largest_of_bins(among, regions=regions)[1]
    c, cells = among.shape[1], among.shape[2] * among.shape[3]
    maps = regions.images[:, None] * c + xp.arange(c)  # (R, C)
    return maps[:, :, None, None] * cells + at, at >= 0


@roi_pool_p.rule("x", formula="g added up at the position of each maximum, the first among equals")
def roi_pool_x(g, y, x, *, regions):
    return roi_to_largest(g, among=x.data, regions=regions)


@roi_to_largest.rule("x", formula="g[n[r],c,argmax[r,c,p,q]]")
def roi_to_largest_x(g, y, x, **parameters):
    return roi_from_largest(g, **parameters)


@roi_from_largest.rule("x", formula="g added up at argmax, 0 elsewhere")
def roi_from_largest_x(g, y, x, **parameters):
    return roi_to_largest(g, **parameters)


def roi_pool(x: Tensor, boxes: Operand, output_size: Sizes, *, spatial_scale: float = 1.0) -> Tensor:
    """The largest cell in each bin of each box: (N, C, H, W) and (R, 5) -> (R, C, *output_size).

    Definition: a box (image, x1, y1, x2, y2) times `spatial_scale`, rounded (halves away from 0), covers the cells from
    x1 to x2 and y1 to y2, both included, and at least one. Of P bins over h rows, bin p has those from floor(p h / P)
    up to ceil((p + 1) h / P), so neighbours may share one. Cells outside of the map do not count; a bin without cells
    gives 0. The gradient goes to the largest cell, the first in C order among equals. As torchvision has it.

    Raises ValueError for another shape of x or boxes, a box that is not finite, or one of an image that is not there.
    Source: Girshick, "Fast R-CNN", ICCV 2015, section 2.1.
    """
    x = as_tensor(x)
    x = x if x.dtype.kind == "f" else x.astype(float)
    boxes, output = _checked("roi_pool", x, boxes, output_size, spatial_scale)
    return roi_pool_p(x, regions=Regions(boxes, output, float(spatial_scale)))


roi_pool.primitive = roi_pool_p


# --- position-sensitive: each bin has maps of its own


def ps_roi_align(
    x: Tensor, boxes: Operand, output_size: Sizes, spatial_scale: float = 1.0, sampling_ratio: int = -1
) -> Tensor:
    """`roi_align` in which each bin looks at maps of its own: (N, C * P * Q, H, W) and (R, 5) -> (R, C, P, Q).

    Definition: ``y[r, c, p, q] = roi_align(x, boxes, (P, Q), ...)[r, (c * P + p) * Q + q, p, q]``, aligned, with
    output_size (P, Q). Only those entries are computed: the maps of bin (p, q) are taken for an image of their own, and
    the bin for a box in it. As torchvision has it, but for a bin without samples (a box without a side, no
    `sampling_ratio`), which gives 0 here and 0 / 0 there.

    Raises ValueError as `roi_align` does, and for channels that are no multiple of P * Q.
    Source: Dai et al., "R-FCN", NeurIPS 2016, equation 1, with the samples of He et al., "Mask R-CNN", 2017.
    """
    x, boxes, output = _position_sensitive("ps_roi_align", x, boxes, output_size, spatial_scale)
    p, q = output
    times, number = np.array([p * q, 1, 1, 1, 1.0]), np.zeros((p * q, 5))
    number[:, 0] = np.arange(p * q)
    times, number = (to_device(array, x.device) for array in (times, number))
    parts = Tensor(boxes).reshape(-1, 1, 5) * times + number  # (R, P * Q, 5)
    regions = Regions(
        parts.reshape(-1, 5).data, (1, 1), float(spatial_scale), int(sampling_ratio), aligned=True, parts=output
    )
    return _one_bin_each(x, regions, output)


def ps_roi_pool(x: Tensor, boxes: Operand, output_size: Sizes, spatial_scale: float = 1.0) -> Tensor:
    """The mean cell of each bin of each box, in maps of the bin's own: (N, C * P * Q, H, W), (R, 5) -> (R, C, P, Q).

    Definition: ``y[r, c, p, q]`` is the mean of ``x[image, (c * P + p) * Q + q]`` over the cells of bin (p, q). A box
    times `spatial_scale`, rounded (halves away from 0), covers the cells from x1 up to x2, which is left out, and at
    least one; its bins are cut as those of `roi_pool`, and one without cells gives 0. torchvision's, but for the last
    row and column of the map: they count here, forward and backward; there only in the gradient.

    Raises ValueError as `roi_pool` does, and for channels that are no multiple of P * Q.
    Source: Dai et al., "R-FCN", NeurIPS 2016, equation 1.
    """
    x, boxes, output = _position_sensitive("ps_roi_pool", x, boxes, output_size, spatial_scale)
    xp, given, (p, q) = namespace([boxes]), Regions(boxes, output, float(spatial_scale)), output
    rows, columns = (given.ranges(axis, x.shape[2 + axis], x.data.real.dtype, closed=False) for axis in (0, 1))
    image = given.images[:, None, None] * (p * q) + xp.arange(p * q).reshape(p, q)
    edges = image, columns[:, None, :, 0], rows[:, :, None, 0], columns[:, None, :, 1], rows[:, :, None, 1]
    bins = xp.stack([xp.broadcast_to(edge, image.shape) for edge in edges], axis=-1)  # (R, P, Q, 5)
    return _one_bin_each(x, Regions(bins.reshape(-1, 5).astype(np.float64), (1, 1)), output)  # a sample in each cell


def _position_sensitive(name: str, x: Tensor, boxes: Any, output_size: Any, spatial_scale: float) -> tuple:
    """The maps of each bin as an image of their own, (N * P * Q, C, H, W), the boxes, and (P, Q)."""
    x = as_tensor(x)
    if x.dtype.kind not in "fc":
        raise TypeError(f"{name} needs a float x, got {x.dtype}; use .astype(float)")
    boxes, (p, q) = _checked(name, x, boxes, output_size, spatial_scale)
    n, c, h, w = x.shape
    if c % (p * q):
        raise ValueError(
            f"{name}: {p} x {q} bins need a multiple of {p * q} channels, got {c}; "
            f"the nearest is {max(1, round(c / (p * q))) * p * q}"
        )
    x = x.reshape(n, c // (p * q), p * q, h, w).transpose(0, 2, 1, 3, 4)  # (N, C, P * Q, ...) -> (N, P * Q, C, ...)
    return x.reshape(n * p * q, c // (p * q), h, w), boxes, (p, q)


def _one_bin_each(x: Tensor, regions: Regions, output: tuple[int, int]) -> Tensor:
    """Boxes of one bin, those of a region in a row, as (R, C, P, Q)."""
    y, c = roi_align_p(x, regions=regions), x.shape[1]  # (R * P * Q, C, 1, 1)
    return y.reshape(len(regions.boxes) // (output[0] * output[1]), *output, c).transpose(0, 3, 1, 2)


def _checked(name: str, x: Tensor, boxes: Any, output_size: Any, spatial_scale: float) -> tuple[Any, tuple[int, int]]:
    """The boxes in double where x is, and the bins along y and x, once all are found to fit."""
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(f"{name} needs x of shape (N, C, H, W) with cells in it, got {x.shape}")
    boxes, output = as_array(boxes), per_axis("output_size", output_size, 2, 1)
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f"{name} needs boxes of shape (R, 5), image, x1, y1, x2, y2 each, got {boxes.shape}")
    if not 0 < spatial_scale < float("inf"):
        raise ValueError(f"{name}: spatial_scale={spatial_scale} must be a positive number: cells per unit of a box")
    boxes = cast(to_device(boxes, x.device), dtype=np.float64)
    xp, image = namespace([boxes]), boxes[:, 0]
    wrong = (image < 0) | (image >= len(x)) | (image != xp.floor(image)) | ~xp.isfinite(boxes).all(axis=1)
    if bool(wrong.any()):
        r = int(wrong.argmax())
        raise ValueError(
            f"{name}: box {r} is {boxes[r].tolist()}; its first entry must be the number of an image, "
            f"0 to {len(x) - 1} for x of shape {x.shape}, and the others finite"
        )
    return boxes, output
