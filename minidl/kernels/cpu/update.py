"""Rules of optimisers, block by block: several passes over a block in cache, one over memory. Arrays of the state
change in place, and so does a large parameter's if nobody else holds it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...core.tensor import Parameter
from .layout import alike, memory_order, shaped_as
from .memory import scratch
from .workers import share

BLOCK = 1 << 17  # entries
PASSES = 8  # multiplications: so long an entry takes to come from memory and go back

State = dict[str, Any]


def sgd(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, *, lr: float, momentum: float, dampening: float,
    weight_decay: float, nesterov: bool,
) -> None:  # fmt: skip
    """See `minidl.optim.rules.sgd`."""

    def step(state: State) -> Callable[..., None]:
        weight = 1 - dampening if "momentum_buffer" in state else 1  # of the gradient in v

        def entries(new: Any, w: Any, g: Any, v: Any = None) -> None:
            if weight_decay:
                decayed = np.multiply(w, weight_decay, out=scratch("decayed", w.shape, w))
                g = np.add(decayed, g, out=decayed)
            if momentum:
                v *= momentum
                v += g if weight == 1 else np.multiply(g, weight, out=new)
            if nesterov:
                np.multiply(v, momentum, out=new)
                new += g
                new *= lr
            else:
                np.multiply(v if momentum else g, lr, out=new)
            np.subtract(w, new, out=new)

        return entries

    _update(params, states, ("momentum_buffer",) if momentum else (), step)


def adam(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, *, lr: float, betas: tuple[float, float],
    eps: float, weight_decay: float, amsgrad: bool, factor: float = 1,
) -> None:  # fmt: skip
    """See `minidl.optim.rules.adam`. The parameters are multiplied by `factor` first."""
    b1, b2 = betas

    def step(state: State) -> Callable[..., None]:
        t = state["step"]

        def entries(new: Any, w: Any, g: Any, m: Any, v: Any, largest: Any = None) -> None:
            if weight_decay:
                decayed = np.multiply(w, weight_decay, out=scratch("decayed", w.shape, w))
                g = np.add(decayed, g, out=decayed)
            if factor != 1:
                w = np.multiply(w, factor, out=scratch("scaled", w.shape, w))
            np.multiply(g, 1 - b1, out=new)  # one array serves all that follows
            m *= b1
            m += new
            np.multiply(g, g, out=new)
            new *= 1 - b2
            v *= b2
            v += new
            if largest is not None:
                v = np.maximum(largest, v, out=largest)
            np.sqrt(v, out=new)
            new /= math.sqrt(1 - b2**t)
            new += eps
            np.divide(m, new, out=new)
            new *= -lr / (1 - b1**t)
            new += w

        return entries

    _update(params, states, ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if amsgrad else 2], step)


def adamw(
    params: Sequence[Parameter], states: Sequence[State], cache: dict, *, lr: float, weight_decay: float, **options: Any
) -> None:
    """See `minidl.optim.rules.adamw`."""
    adam(params, states, cache, lr=lr, weight_decay=0, factor=1 - lr * weight_decay, **options)


def _update(
    params: Sequence[Parameter], states: Sequence[State], names: Sequence[str], step: Callable[[State], Callable]
) -> None:
    """Give every parameter that has a gradient the values that ``step(state)(new, w, g, *arrays)`` fills in entry by
    entry, `arrays` being those of the state, which it changes. Neither w nor g is changed by it."""
    for p, state in zip(params, states):
        if p.grad is None:
            continue
        alone, entries = _is_alone(p), step(state)
        w, g = p.data, p.grad.data
        if not w.ndim:
            w, g = w.reshape(1), g.reshape(1)  # arithmetic on an array without axes gives a NumPy scalar
        if not w.transpose(memory_order(w)).flags.c_contiguous:
            w = _laid_as(np.empty_like(w), w)  # without gaps
        for name in names:
            state[name] = _laid_as(w, state[name]) if name in state else np.zeros_like(w)
        new = _fill(entries, alone, w, _laid_as(w, g), *[state[name] for name in names])
        p.data = new if p.data.ndim else new.reshape(())


def _laid_as(like: np.ndarray, a: np.ndarray) -> np.ndarray:
    """An array in the dtype and the memory layout of `like`: `a` itself if it has them."""
    if alike(a, like):
        return a
    copy = np.empty_like(like)
    copy[...] = a
    return copy


def _is_alone(p: Parameter) -> bool:
    """Does nobody but p hold its array, so that nobody sees it change?"""
    return p.data.base is None and p.data.flags.writeable and _references(p) == _NO_OTHERS


def _references(p: Parameter) -> int:
    return sys.getrefcount(p.data)


_NO_OTHERS = _references(Parameter(np.zeros(1)))


def _fill(entries: Callable[..., None], in_place: bool, w: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """The array `new` that ``entries(new, w, *others)`` fills: w itself if `in_place`."""
    if w.size <= BLOCK:
        new = shaped_as(w, w.shape, partial(scratch, "new", like=w)) if in_place else np.empty_like(w)
        entries(new, w, *others)
        if in_place:
            w[...] = new
        return w if in_place else new
    if not in_place:
        new = np.empty_like(w)
        blockwise(entries, new, w, *others)
        return new

    def replace(w: np.ndarray, *others: np.ndarray) -> None:
        new = scratch("new", w.shape, w)
        entries(new, w, *others)
        w[...] = new

    blockwise(replace, w, *others)
    return w


def blockwise(function: Callable[..., None], *arrays: np.ndarray) -> None:
    """``function(*blocks)``, which writes into some of them, for equal blocks of all the arrays.

    The arrays have one shape, and lie in memory alike and without gaps.
    """
    order = memory_order(arrays[0])
    flat = [a.transpose(order).reshape(-1) for a in arrays]  # views

    def work(start: int) -> None:
        function(*[a[start : start + BLOCK] for a in flat])

    size = arrays[0].size
    share(work, [(start,) for start in range(0, size, BLOCK)], PASSES * size, products=False)
