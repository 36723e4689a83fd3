"""How far an output pixel sees: by formula, exactly, and in effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...core.tensor import Tensor
from ...nn.module import Module
from ..page import Shown
from . import page, report, spec
from .field import Probe
from .length import length

__all__ = ["ReceptiveField", "receptive_field"]


class ReceptiveField(Probe, Shown):
    """A network's receptive fields to print, to write as JSON, and on a page on which pixels are chosen."""

    text, content, page = report.text, report.content, page.page


def receptive_field(
    model: Callable[[Tensor], Tensor] | str, input_shape: Sequence[int] | None = None, *,
    layer: str | int | None = None, pixel: int | Sequence[int] | None = None, draws: int | None = None, seed: int = 0,
    own_weights: bool = False,
) -> ReceptiveField:  # fmt: skip
    """Which input cells a layer's pixels depend on: by formula, exactly, and how strongly.

        >>> md.receptive_field("c3 p2 c3 p2 c3 p2")
        receptive field of c3 p2 c3 p2 c3 p2 on 102 cells:
        ...
        after the last downsampling: 22
        before the last downsampling: 18
        with decimation in place of pooling: 15
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.Conv2d(4, 1, 3, rng=1))
        >>> field = md.receptive_field(net, (1, 1, 16, 16), layer="0")

    model: a Module, any function of one Tensor (N, C, 1 to 3 axes), or text (see `spec.py`), which is one
    axis. input_shape: batch included; text may leave it out. layer: a name or number of a row; the last. pixel: of that
    layer's output; its centre.

    Theory is the recursion ``r += d (k - 1) j, j *= s``. Exact is the set of cells that a backward pass
    reaches when every rule carries yes or no: branches, skips, phases after upsampling and borders are in it, values
    are not. Effective is |gradient| averaged over `draws` random inputs and (unless `own_weights`) random weights,
    in eval mode; weights, modes and random streams are put back. draws: 16; for networks of over 5 * 10^8 multiply-adds
    fewer, 4 at least.

    Raises ValueError for text that is no network, a layer or a pixel that is not there, and shapes that do not fit.
    """
    if draws is not None and draws < 1:
        raise ValueError(f"receptive_field: draws must be 1 or more, got {draws}")
    title, names = "", {}
    if isinstance(model, str):
        title = " ".join(model.split())
        model, names = spec.read(model)
        model.to("float64")
        input_shape = (1, 1, length(model) if input_shape is None else input_shape[-1])
    elif isinstance(model, Module):
        names = {module: path or type(model).__name__ for path, module in model.named_modules()}
    elif not callable(model):
        raise TypeError(f"receptive_field: a Module, a function or text is needed, got {type(model).__name__}")
    if input_shape is None:
        raise ValueError("receptive_field: a model needs input_shape=, batch included, such as (1, 3, 64, 64)")
    shape = tuple(input_shape)
    if not 3 <= len(shape) <= 5 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"receptive_field: input_shape must be (N, C, 1 to 3 axes), got {shape}")
    title = title or getattr(model, "__name__", type(model).__name__)
    dtype = next((p.dtype for p in model.parameters()), np.float64) if isinstance(model, Module) else np.float64
    x = np.random.default_rng(seed).standard_normal((1, *shape[1:])).astype(dtype)
    return ReceptiveField(model, x, title, names, layer, pixel, draws, seed, own_weights)
