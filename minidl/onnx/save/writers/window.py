"""Convolution, pooling, normalisation by running statistics, patches, regions of interest."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..recording import SaveError
from .table import writer


def _geometry(window: Any) -> dict[str, list[int]]:
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "dilations": list(window.dilation)}


def _pads(window: Any) -> list[int]:
    return [low for low, _ in window.padding] + [high for _, high in window.padding]


def _in_result_dtype(g: Any, *values: Any) -> list[Any]:
    return [None if v is None else g.cast(v, g.out.dtype) for v in values]


@writer("conv")
def conv(g: Any, x: Any, w: Any, *, window: Any, groups: int, bias: Any = None) -> Any:
    x, w, bias = _in_result_dtype(g, x, w, bias)
    pads = _pads(window)
    if min(pads) < 0:  # it crops
        x, pads = _padded(g, x, window, 0), [0] * len(pads)
    return g.Conv(x, w, bias, **_geometry(window), pads=pads, group=groups)


@writer("conv_transpose")
def conv_transpose(g: Any, u: Any, w: Any, *, window: Any, groups: int, bias: Any = None) -> Any:
    u, w, bias = _in_result_dtype(g, u, w, bias)
    each = zip(window.size, window.output, window.stride, window.span, window.padding)
    beyond = [n - (s * (o - 1) + span - low - high) for n, o, s, span, (low, high) in each]  # what output_padding adds
    return g.ConvTranspose(u, w, bias, **_geometry(window), pads=_pads(window), output_padding=beyond, group=groups)


@writer("unfold")
def unfold(g: Any, x: Any, *, window: Any) -> Any:
    """A convolution of each channel with kernels that are 1 at one tap each."""
    y = g.Conv(x, _taps(x, window), **_geometry(window), pads=_pads(window), group=x.shape[1])
    return g.Reshape(y, g.shape(g.out.shape))


@writer("fold")
def fold(g: Any, columns: Any, *, window: Any) -> Any:
    """The transpose of that."""
    n, channels, _ = columns.shape
    u = g.Reshape(columns, g.shape([n, channels, *window.output]))
    kernels = _taps(columns, window, channels // window.taps)
    return conv_transpose(g, u, kernels, window=window, groups=channels // window.taps)


def _taps(x: Any, window: Any, channels: int | None = None) -> np.ndarray:
    """(C * taps, 1, *kernel): kernel k of each channel is 1 at tap k."""
    kernels = np.eye(window.taps, dtype=x.dtype).reshape(window.taps, 1, *window.kernel)
    return np.tile(kernels, (channels or x.shape[1], *[1] * (window.rank + 1)))


# --- pooling


def _padded(g: Any, x: Any, window: Any, value: float) -> Any:
    """x with the border of the window around it; a negative one crops."""
    pairs = [(0, 0), (0, 0), *window.padding]
    pads = g.ints([low for low, _ in pairs] + [high for _, high in pairs])
    return g.Pad(x, pads, g.value(value, x.dtype))


def _wide(window: Any) -> bool:
    """Is the border wider than runtimes allow for pooling?"""
    return any(max(pair) >= k or min(pair) < 0 for pair, k in zip(window.padding, window.kernel))


def _lowest(dtype: np.dtype) -> float:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


@writer("max_pool")
def max_pool(g: Any, x: Any, *, window: Any) -> Any:
    return _max_pool(g, x, window, 1)


def _max_pool(g: Any, x: Any, window: Any, outputs: int) -> Any:
    if x.dtype.kind != "f":
        x = g.cast(x, np.float64)
    pads = _pads(window)
    if _wide(window):
        x, pads = _padded(g, x, window, _lowest(x.dtype)), None
    return g.MaxPool(x, **_geometry(window), pads=pads, outputs=outputs)


@writer("window_argmax")
def window_argmax(g: Any, x: Any, y: Any, *, window: Any) -> Any:
    """The second output of MaxPool, which counts through all maps, as positions in each."""
    if _wide(window):
        raise SaveError("positions of maxima under a border as wide as the kernel")
    return g.Mod(_max_pool(g, x, window, 2)[1], np.array(int(np.prod(window.size))))


@writer("window_mean")
def window_mean(g: Any, x: Any, *, window: Any) -> Any:
    pads = _pads(window)
    if any(d != 1 for d in window.dilation):
        kernels = np.full((x.shape[1], 1, *window.kernel), 1 / window.taps, x.dtype)
        return g.Conv(x, kernels, **_geometry(window), pads=pads, group=x.shape[1])
    if _wide(window):
        x, pads = _padded(g, x, window, 0), None
    geometry = {"kernel_shape": list(window.kernel), "strides": list(window.stride)}
    return g.AveragePool(x, **geometry, pads=pads, count_include_pad=1)


@writer("window_sum")
def window_sum(g: Any, x: Any, *, window: Any) -> Any:
    return g.Mul(window_mean(g, x, window=window), window.taps)


@writer("scatter_cells", dependent=("repeats",))
def scatter_cells(g: Any, x: Any, *, indices: Any, size: tuple, repeats: bool) -> Any:
    n, c = x.shape[:2]
    flat, at = (g.Reshape(v, g.shape([n, c, int(np.prod(x.shape[2:]))])) for v in (x, g.value(indices)))
    zeros = g.Expand(g.value(0, x.dtype), g.ints([n, c, int(np.prod(size))]))
    y = g.ScatterElements(zeros, at, flat, axis=2, reduction="add" if repeats else None)
    return g.Reshape(y, g.shape([n, c, *size]))


@writer("gather_cells")
def gather_cells(g: Any, x: Any, *, indices: Any, repeats: bool) -> Any:
    n, c = x.shape[:2]
    flat, at = (g.Reshape(v, g.shape([n, c, -1])) for v in (x, g.value(indices)))
    return g.Reshape(g.GatherElements(flat, at, axis=2), g.shape(g.out.shape))


# --- normalisation


@writer("batch_norm_eval")
def batch_norm_eval(
    g: Any, x: Any, weight: Any, bias: Any, *, mean: Any, var: Any, eps: float, relu: bool = False
) -> Any:  # fmt: skip
    x = g.cast(x, g.out.dtype)
    weight = np.ones(x.shape[1], x.dtype) if weight is None else weight
    bias = np.zeros(x.shape[1], x.dtype) if bias is None else bias
    # the statistics were widened to double precision: the operator gets them as they are stored
    mean, var = (g.casts.get(v.name, v) if hasattr(v, "name") else v for v in (mean, var))
    y = g.BatchNormalization(x, *(g.cast(v, x.dtype) for v in (weight, bias, mean, var)), epsilon=float(eps))
    return g.Relu(y) if relu else y


# --- regions of interest


def _boxes(g: Any, x: Any, regions: dict) -> tuple[Any, Any]:
    """(R, 4) corners in the dtype of x, and (R,) the number of each box's image."""
    boxes = g.value(regions["boxes"])
    boxes = g.casts.get(boxes.name, boxes)
    corners = g.Slice(boxes, np.array([1]), np.array([5]), np.array([1]))
    images = g.Gather(boxes, np.array(0), axis=1)
    corners = g.cast(corners, x.dtype)
    if regions["parts"] != (1, 1):
        if regions["sampling_ratio"] <= 0:  # it would be rounded up from parts that are rounded themselves
            raise SaveError("ps_roi_align without a number of samples; give it a sampling_ratio")
        corners = _parts(g, corners, g.out.shape[0], regions["parts"])
    return corners, images


def _parts(g: Any, corners: Any, count: int, parts: tuple[int, int]) -> Any:
    """Of each run of equal boxes the first cut down to its first part, the second to its second, row by row: a corner
    is so much of the box's own and the rest of the opposite one."""
    down, across = parts
    y, x = np.divmod(np.arange(count) % (down * across), across)
    own = np.stack([1 - x / across, 1 - y / down, (x + 1) / across, (y + 1) / down], axis=1).astype(corners.dtype)
    opposite = g.Gather(corners, np.array([2, 3, 0, 1]), axis=1)
    return g.Add(g.Mul(corners, own), g.Mul(opposite, 1 - own))


@writer("roi_align")
def roi_align(g: Any, x: Any, *, regions: dict) -> Any:
    corners, images = _boxes(g, x, regions)
    return g.RoiAlign(
        x, corners, g.cast(images, np.int64), mode="avg", output_height=regions["output"][0],
        output_width=regions["output"][1], sampling_ratio=max(regions["sampling_ratio"], 0),
        spatial_scale=regions["spatial_scale"],
        coordinate_transformation_mode="half_pixel" if regions["aligned"] else "output_half_pixel",
    )  # fmt: skip


@writer("roi_pool")
def roi_pool(g: Any, x: Any, *, regions: dict) -> Any:
    corners, images = _boxes(g, x, regions)
    rois = g.Concat(g.Unsqueeze(g.cast(images, x.dtype), np.array([1])), corners, axis=1)
    return g.MaxRoiPool(x, rois, pooled_shape=list(regions["output"]), spatial_scale=regions["spatial_scale"])
