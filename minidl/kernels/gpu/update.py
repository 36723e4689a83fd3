"""Rules of optimisers for all parameters of a group and dtype in one launch: see update.cu."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.tensor import Parameter
from .flat import Flat, State
from .source import BLOCK, launch, supported


def sgd(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, *, lr: float, momentum: float, dampening: float,
    weight_decay: float, nesterov: bool,
) -> Any:  # fmt: skip
    """See `minidl.optim.rules.sgd`."""
    weights = [(1 - dampening if "momentum_buffer" in s else 1.0,) for s in states]
    numbers = float(lr), float(momentum), float(weight_decay), int(nesterov)
    return _run(params, states, cache, "sgd", ["momentum_buffer" if momentum else ""], weights, numbers)


def adam(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, *, lr: float, betas: tuple[float, float],
    eps: float, weight_decay: float, amsgrad: bool, factor: float = 1,
) -> Any:  # fmt: skip
    """See `minidl.optim.rules.adam`. The parameters are multiplied by `factor` first."""
    b1, b2 = betas
    scalars = [(lr / (1 - b1**t), math.sqrt(1 - b2**t)) for t in (s["step"] for s in states)]
    numbers = *map(float, (b1, b2, eps, factor, weight_decay)), int(amsgrad)
    arrays = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq" if amsgrad else ""]
    return _run(params, states, cache, "adam", arrays, scalars, numbers)


def adamw(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, *, lr: float, weight_decay: float, **options: Any
) -> Any:
    """See `minidl.optim.rules.adamw`."""
    return adam(params, states, cache, lr=lr, weight_decay=0, factor=1 - lr * weight_decay, **options)


def _run(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, kernel: str, arrays: list[str],
    scalars: list[tuple[float, ...]], numbers: tuple[float | int, ...],
) -> Any:  # fmt: skip
    """Launch a kernel. `arrays`: names in the state, in the order of its arguments, "" where it needs none; `scalars`
    of each parameter; `numbers` of all."""
    if not supported(params[0].data):
        return NotImplemented
    cupy, names = sys.modules["cupy"], [name for name in arrays if name]
    flat = cache.get("flat")
    if flat is None or not flat.fits(params, states, names):
        flat = cache["flat"] = Flat(params, states, names)
    new, nothing = cupy.empty_like(flat.w), cupy.empty(0, flat.w.dtype)
    # held until the launch
    grads = [None if p.grad is None else cupy.ascontiguousarray(p.grad.data, flat.w.dtype) for p in params]
    addresses = cupy.asarray(np.array([0 if g is None else g.data.ptr for g in grads], np.int64))
    if flat.layout.blocks:
        buffers = [flat.buffers.get(name, nothing) for name in arrays]
        per_parameter = addresses, cupy.asarray(np.array(scalars, np.float64)), flat.layout.table
        arguments = flat.w, new, *buffers, *per_parameter, *numbers
        launch("update", kernel, new.dtype, {}, (flat.layout.blocks,), (BLOCK,), *arguments)
    flat.replace(new)
    return None
