"""A value in which a part has other numbers: what an in-place change of a view, or of entries, makes of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..core.array_function import made_once
from ..core.calculus import vjp
from ..core.context import current, setting
from ..core.tensor import Tensor as Value
from ..ops.indexing import put

BLOCK = (int, slice, type(Ellipsis))  # parts of an index that name each entry once, and are known without values


@made_once
def mask_of(shape: tuple[int, ...], parts: tuple) -> np.ndarray:
    """True in a block: of each axis the number, or the start, stop and step of a slice."""
    mask = np.zeros(shape, bool)
    mask[tuple([slice(*p) if type(p) is tuple else p for p in parts])] = True
    return mask


def with_view(whole: Value, view: Callable[[Value], Value], new: Value) -> Value:
    """`whole` where ``view(whole)`` has become `new`."""
    with setting(trace=None, recording=False):
        places = view(Value(np.arange(whole.data.size).reshape(whole.data.shape))).data.reshape(-1)
    if current().trace is None or whole.dtype.kind != "f":
        return F.scatter(whole.reshape(-1), 0, places, new.reshape(-1)).reshape(whole.data.shape)
    mask = np.zeros(whole.data.shape, bool)  # by the adjoint of the view, which a program has for any batch
    mask.reshape(-1)[places] = True
    return F.where(mask, vjp(view, whole)[1](new)[0], whole)


def with_block(x: Value, index: tuple, new: Any) -> Value:
    """x where ``x[index]``, of numbers, slices and an Ellipsis, has become `new`, which may broadcast."""
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    rest = x.ndim - len(index) + (Ellipsis in index)
    parts = (*index[:at], *[slice(None)] * rest, *index[at + 1 :])
    plain = tuple([(p.start, p.stop, p.step) if isinstance(p, slice) else p for p in parts])
    mask = mask_of(tuple([1 if p == slice(None) else n for p, n in zip(parts, x.shape)]), plain)
    if isinstance(new, Value) and new.ndim:
        new = new.astype(x.dtype)
        new = put(new.broadcast_to(np.empty(x.shape, bool)[parts].shape), index=parts, shape=x.shape)
    return F.where(mask, new, x).astype(x.dtype)
