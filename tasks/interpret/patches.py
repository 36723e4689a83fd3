"""The patches of a set of images that a map answers most to, and the pixels that each answer comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import Tensor, nn
from minidl import functional as F
from minidl.ops.arithmetic import multiply
from minidl.ops.pool import window_spread

from . import layers
from .layers import Progress


@dataclass(frozen=True)
class Patch:
    """One answer of one map, and where it comes from."""

    image: int
    position: tuple[int, int]  # of the cell in the map: row, column
    activation: float
    box: tuple[int, int, int, int]  # top, left, bottom, right; the last two are the first row and column outside
    pixels: np.ndarray  # (C, bottom - top, right - left)


def top_patches(
    model: nn.Module, images: Any, layer: str, channel: int, count: int = 9, *, batch_size: int = 16,
    progress: Progress | None = None,
) -> list[Patch]:  # fmt: skip
    """The largest answers of a channel of a layer over the images, the largest first, at most one of each image.

    The box has all pixels of the image that the cell can depend on: see `receptive_boxes`. Raises ValueError for a
    channel that the layer does not have.
    """
    images = layers.require_images(images)
    values, cells = np.empty(len(images)), np.empty((len(images), 2), int)
    with layers.observed(model), md.no_grad():
        for batch in layers.batches(len(images), batch_size, progress):
            x = layers.placed(model, images[batch])
            maps = layers.with_maps(model, x, layer)[1].numpy()
            if not 0 <= channel < maps.shape[1]:
                raise ValueError(f"channel {channel} is out of range: {layer} has maps 0 to {maps.shape[1] - 1}")
            flat = maps[:, channel].reshape(len(batch), -1)
            cells[batch] = np.stack(np.unravel_index(flat.argmax(axis=1), maps.shape[2:]), axis=1)
            values[batch] = flat.max(axis=1)
    best = np.argsort(-values, kind="stable")[:count]
    boxes = np.empty((0, 4), int)
    for batch in layers.batches(len(best), batch_size):
        chosen = best[batch]
        boxes = np.concatenate([boxes, receptive_boxes(model, images[chosen], layer, cells[chosen])])
    found = []
    for i, box in zip(best.tolist(), boxes.tolist()):
        top, left, bottom, right = box
        pixels = images[i, :, top:bottom, left:right].copy()
        found.append(Patch(i, tuple(cells[i].tolist()), float(values[i]), tuple(box), pixels))
    return found


def receptive_boxes(model: nn.Module, images: Any, layer: str, cells: Sequence[Sequence[int]]) -> np.ndarray:
    """For a cell (row, column) of the layer's maps in each image, the smallest box of pixels that holds all that it can
    depend on: (N, 4) of top, left, bottom, right.

    By a backward pass that carries marks instead of gradients: see `marked`. Gaps between dilated taps are inside.
    """
    images = layers.require_images(images)
    with layers.observed(model):
        x = layers.placed(model, images, True)
        maps = layers.with_maps(model, x, layer)[1]
        unit = np.zeros(maps.shape, maps.dtype)
        rows, columns = np.asarray(cells).T
        unit[np.arange(len(images)), :, rows, columns] = 1
        with marked():
            (found,) = md.grad(maps, [x], Tensor(unit).to(maps.device))
    reached = found.numpy().any(axis=1)  # (N, H, W)
    return np.stack([_box(mask) for mask in reached])


@contextmanager
def marked() -> Iterator[None]:
    """Inside the block a backward pass brings to each pixel something positive, if the output can depend on it at all,
    whatever the weights and values are, and else 0.

    Convolutions mark all their taps, max pooling its whole window; ReLUs and factors let every mark pass.
    """
    with ExitStack() as stack:
        for primitive, rules in _MARKS:
            stack.enter_context(md.override(primitive, **rules))
        yield


def _mark(g: Tensor, least: float = 0.0) -> Tensor:
    """1 where |g| is larger than `least`: numbers do not grow from layer to layer."""
    return Tensor((abs(g.data) > least).astype(g.dtype))


def _conv(g: Tensor, y: Tensor, x: Tensor, w: Tensor, **geometry: Any) -> Tensor:
    return _mark(F.conv_transpose.primitive(_mark(g), w.ones_like(), **geometry), 0.5)  # counts of taps, rounded


def _conv_transpose(g: Tensor, y: Tensor, u: Tensor, w: Tensor, **geometry: Any) -> Tensor:
    return _mark(F.conv.primitive(_mark(g), w.ones_like(), **geometry), 0.5)


def _max_pool(g: Tensor, y: Tensor, x: Tensor, *, window: Any) -> Tensor:
    return window_spread(_mark(g), window=window)


def _pass(g: Tensor, *others: Any) -> Tensor:
    return _mark(g)


_MARKS = (
    (F.conv, {"x": _conv}), (F.conv_transpose, {"u": _conv_transpose}), (F.max_pool, {"x": _max_pool}),
    (F.relu, {"x": _pass}), (multiply, {"a": _pass, "b": _pass}),
)  # fmt: skip


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Around what is True: top, left, bottom, right; all 0 if nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows.size else (0, 0, 0, 0)
