"""One parameter's array and those of its state, changed entry by entry."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Parameter
from ..device import device_of, namespace, to_device
from ..kernels.cpu.update import BLOCK, blockwise
from ..kernels.cpu.workers import scratch


def lying_as(like: Any, a: Any) -> Any:
    """An array in the dtype and the memory layout of `like`: `a` itself if it has them."""
    if a.dtype == like.dtype and (
        a.strides == like.strides or all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, like.strides))
    ):
        return a
    copy = namespace([like]).empty_like(like)
    copy[...] = a
    return copy


def buffer(state: dict[str, Any], name: str, w: Any) -> Any:
    """An array of the state that lies as w does, at first zeros."""
    if name not in state:
        state[name] = namespace([w]).zeros_like(w)
    elif type(state[name]) is not type(w):  # the parameter has been moved
        state[name] = to_device(state[name], device_of(w))
    state[name] = lying_as(w, state[name])
    return state[name]


def room(xp: Any, name: str, like: Any) -> Any:
    """An array with anything in it, as `like`; fresh memory costs nothing on a GPU, where CuPy keeps what is freed."""
    return scratch(name, like.shape, like) if xp is np else xp.empty_like(like)


def is_alone(p: Parameter) -> bool:
    """Does nobody but p hold its array, so that nobody sees it change?"""
    array = type(p.data) is np.ndarray and p.data.base is None and p.data.flags.writeable
    return array and _references(p) == _NO_OTHERS


def _references(p: Parameter) -> int:
    return sys.getrefcount(p.data)


_lonely = Parameter(np.zeros(1))
_NO_OTHERS = _references(_lonely)


def entrywise(xp: Any, function: Callable[..., None], in_place: bool, w: Any, *others: Any) -> Any:
    """The array `new` that ``function(new, w, *others)`` fills entry by entry: w itself if `in_place`."""
    if xp is not np or w.size <= BLOCK:
        new = xp.empty_like(w)
        function(new, w, *others)
        return new
    if not in_place:
        new = np.empty_like(w)
        blockwise(function, new, w, *others)
        return new

    def replace(w: Any, *others: Any) -> None:
        new = scratch("new", w.shape, w)
        function(new, w, *others)
        w[...] = new

    blockwise(replace, w, *others)
    return w
