"""A trained network on pictures of any size. Planes are float32 (H, W) in [0, 1]; results are not clipped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl import Tensor
from minidl.device import to_device

from .. import tiles
from ..colour import to_rgb, to_ycc
from .data import holed
from .model import Completer, Enlarger, bicubic

TILE = 256


VIEWS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]  # the symmetries of the square


def completed(
    model: Completer, plane: np.ndarray, missing: np.ndarray, *, device: str = "cpu", show: Callable | None = None
) -> np.ndarray:
    """A plane with its missing pixels filled, tile by tile (see `tiles`): the mean of what the network gives for the
    plane turned and mirrored in all eight ways, whose errors are partly different ones.

    Source: Timofte, Rothe and Van Gool, "Seven ways to improve example-based single image super resolution", CVPR 2016,
    section 2.5.
    """
    x, total = holed(plane, missing), np.zeros(plane.shape, np.float32)
    for turns, mirrored in VIEWS:
        view = np.rot90(x, turns, (1, 2))
        view = view[:, :, ::-1] if mirrored else view
        y = tiles.predict(model, np.ascontiguousarray(view), tile=TILE, device=device, show=show)[0]
        total += np.rot90(y[:, ::-1] if mirrored else y, -turns)
    return np.where(missing, total / np.float32(len(VIEWS)), plane)


def enlarged(
    model: Enlarger, plane: np.ndarray, *, device: str = "cpu", tile: int = TILE // 2, show: Callable | None = None
) -> np.ndarray:
    """A plane `model.scale` times as large, tile by tile, each with all the pixels that it depends on."""
    scale, margin = model.scale, model.radius
    result = np.empty([n * scale for n in plane.shape], np.float32)
    with model.inference():
        for top, left in corners(plane.shape, tile):
            y, x = max(top - margin, 0), max(left - margin, 0)
            part = np.ascontiguousarray(plane[y : top + tile + margin, x : left + tile + margin])
            large = model(Tensor(to_device(part[None, None], device))).numpy()[0, 0]
            large = large[(top - y) * scale :, (left - x) * scale :][: tile * scale, : tile * scale]
            rows, columns = (slice(c * scale, c * scale + n) for c, n in zip((top, left), large.shape))
            result[rows, columns] = large
            if show is not None:
                show()
    return result


def corners(shape: tuple[int, int], tile: int = TILE // 2) -> list[tuple[int, int]]:
    """Where the tiles of `enlarged` begin."""
    return [(top, left) for top in range(0, shape[0], tile) for left in range(0, shape[1], tile)]


def enlarged_picture(
    model: Enlarger, channels: np.ndarray, *, device: str = "cpu", show: Callable | None = None
) -> np.ndarray:
    """A gray or colour picture (C, H, W) enlarged: its luma by the network, its colours by bicubic interpolation, as
    the eye sees little detail in them."""
    if len(channels) == 1:
        return enlarged(model, channels[0], device=device, show=show)[None]
    luma, *colours = to_ycc(channels)
    large = interpolated(np.stack(colours), model.scale)
    ycc = np.concatenate([enlarged(model, luma, device=device, show=show)[None], large])
    return to_rgb(ycc)


def interpolated(planes: np.ndarray, scale: float) -> np.ndarray:
    """Planes (C, H, W) enlarged, or reduced, by bicubic interpolation."""
    return bicubic(Tensor(planes.astype(np.float32)[None]), scale).numpy()[0]
