"""Shapes and entries, by torch's names, of the engine's values. What `VIEWS` gives shows the memory of its input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..core.tensor import as_array, as_tensor, computed
from ..ops import shape as shapes
from ..ops.indexing import getitem_p
from .dtypes import result_type


def _flat(sizes: tuple) -> tuple[int, ...]:
    """``x.view(2, 3)`` and ``x.view((2, 3))``."""
    sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence | np.ndarray) else sizes
    return tuple([int(n.item() if isinstance(n, Value) else n) for n in sizes])


def reshape(input: Value, *shape: Any) -> Value:
    return shapes.reshape(input, _flat(shape))


def view(input: Value, *shape: Any) -> Value:
    if len(shape) == 1 and hasattr(shape[0], "dtype"):
        return computed(input.data.view(np.dtype(shape[0])))
    return shapes.reshape(input, _flat(shape))  # the engine may have laid out the memory in another way than torch


def view_as(input: Value, other: Value) -> Value:
    return shapes.reshape(input, other.shape)


def permute(input: Value, *dims: Any) -> Value:
    dims = _flat(dims)
    if len(dims) != input.ndim:
        raise RuntimeError(f"permute: {len(dims)} dimensions for a tensor of {input.ndim}")
    return shapes.transpose(input, dims)


def transpose(input: Value, dim0: int, dim1: int) -> Value:
    return shapes.swapaxes(input, dim0, dim1)


def t(input: Value) -> Value:
    if input.ndim > 2:
        raise RuntimeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D; use .transpose(0, 1)"
        )
    return shapes.transpose(input)


def squeeze(input: Value, dim: Any = None) -> Value:
    dims = range(input.ndim) if dim is None else [d % max(input.ndim, 1) for d in np.atleast_1d(dim)]
    return shapes.squeeze(input, tuple(d for d in dims if input.ndim and input.shape[d] == 1))


def unsqueeze(input: Value, dim: int) -> Value:
    return shapes.expand_dims(input, dim)


def flatten(input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if not input.ndim:
        return input.reshape(1)
    first, last = start_dim % input.ndim, end_dim % input.ndim
    return input.reshape((*input.shape[:first], math.prod(input.shape[first : last + 1]), *input.shape[last + 1 :]))


def unflatten(input: Value, dim: int, sizes: Any) -> Value:
    dim = dim % input.ndim
    known = math.prod([n for n in sizes if n != -1])
    sizes = [input.shape[dim] // max(known, 1) if n == -1 else n for n in sizes]
    return input.reshape((*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def ravel(input: Value) -> Value:
    return input.reshape(-1)


def expand(input: Value, *sizes: Any) -> Value:
    sizes = _flat(sizes)
    new = len(sizes) - input.ndim
    return shapes.broadcast_to(input, tuple(input.shape[i - new] if n == -1 else n for i, n in enumerate(sizes)))


def expand_as(input: Value, other: Value) -> Value:
    return shapes.broadcast_to(input, other.shape)


def broadcast_to(input: Value, *sizes: Any) -> Value:
    return expand(input, *sizes)


def _moved(ndim: int, source: Any, destination: Any) -> tuple[int, ...]:
    source, destination = ([d % ndim for d in np.atleast_1d(dims)] for dims in (source, destination))
    order = [d for d in range(ndim) if d not in source]
    for to, d in sorted(zip(destination, source)):
        order.insert(to, d)
    return tuple(order)


def at_places(input: Value, dim: int, part: Any) -> Value:
    return getitem_p(input, index=(slice(None),) * (dim % input.ndim) + (part,))


def narrow(input: Value, dim: int, start: int, length: int) -> Value:
    return at_places(input, dim, slice(start, start + length))


def select(input: Value, dim: int, index: int) -> Value:
    return at_places(input, dim, int(index))


def diagonal(input: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    x = shapes.transpose(input, _moved(input.ndim, (dim1, dim2), (-2, -1)))
    rows, columns = x.shape[-2:]
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = np.arange(n)
    return getitem_p(x, index=(Ellipsis, i - min(offset, 0), i + max(offset, 0)))


def unfold(input: Value, dimension: int, size: int, step: int) -> Value:
    """Windows of `size` along a dimension, `step` apart; they become the last dimension."""
    dim = dimension % input.ndim
    starts = np.arange(0, input.shape[dim] - size + 1, step)
    windows = at_places(input, dim, starts[:, None] + np.arange(size))
    return shapes.transpose(windows, _moved(windows.ndim, dim + 1, -1))


VIEWS: dict[str, Callable] = {
    f.__name__: f
    for f in (
        reshape, view, view_as, permute, transpose, t, squeeze, unsqueeze, flatten, unflatten, ravel, expand, expand_as,
        broadcast_to, narrow, select,
    )
}  # fmt: skip
VIEWS |= {
    "reshape_as": view_as, "swapaxes": transpose, "swapdims": transpose, "detach": Value.detach,
    "movedim": lambda input, source, destination: shapes.transpose(input, _moved(input.ndim, source, destination)),
    "adjoint": lambda input: shapes.swapaxes(input, -1, -2),
}  # fmt: skip
VIEWS["moveaxis"] = VIEWS["movedim"]


# --- several views: lists of slices along a dimension


def parts(input: Value, sizes: Any, dim: int = 0) -> list[slice]:
    n = input.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, n - start) for start in range(0, n, sizes)] or [0]
    if sum(sizes) != n:
        raise RuntimeError(f"split expects sizes that sum to {n}, the length of dimension {dim}, got {list(sizes)}")
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends)]


def chunks(input: Value, chunks: int, dim: int = 0) -> list[slice]:
    return parts(input, max(1, -(-input.shape[dim] // chunks)), dim)


def tensor_parts(input: Value, indices_or_sections: Any, dim: int = 0) -> list[slice]:
    n = input.shape[dim]
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        return parts(input, [n // k + (i < n % k) for i in range(k)], dim)
    ends = [0, *[int(i) for i in indices_or_sections], n]
    return [slice(a, b) for a, b in pairwise(ends)]


SPLITS: dict[str, Callable] = {
    "split": parts, "chunk": chunks, "tensor_split": tensor_parts, "split_with_sizes": parts,
    "unbind": lambda input, dim=0: list(range(input.shape[dim])),
}  # fmt: skip


# --- copies


def cat(tensors: Sequence[Value], dim: int = 0) -> Value:
    tensors = [as_tensor(t) for t in tensors]
    full = [t for t in tensors if t.shape != (0,)] or tensors[:1]
    kind = result_type(*tensors)
    return F.concat([t if t.dtype == kind else t.astype(kind) for t in full], dim)


def stack(tensors: Sequence[Value], dim: int = 0) -> Value:
    kind = result_type(*tensors)
    return F.stack([t if t.dtype == kind else t.astype(kind) for t in tensors], dim)


def _at_least(n: int) -> Callable:
    def function(*tensors: Any) -> Any:
        several = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple | list) else tensors
        found = []
        for x in several:
            full = {1: (1,), 2: (1, x.size), 3: (*x.shape, 1) if x.ndim == 2 else (1, x.size, 1)}[n]
            found.append(x.reshape(full) if x.ndim < n else x)
        return found[0] if several is tensors and len(found) == 1 else tuple(found)

    return function


def hstack(tensors: Sequence[Value]) -> Value:
    tensors = [t if t.ndim else t.reshape(1) for t in tensors]
    return cat(tensors, min(1, tensors[0].ndim - 1))


def vstack(tensors: Sequence[Value]) -> Value:
    return cat([t if t.ndim > 1 else t.reshape(1, -1) for t in tensors], 0)


def dstack(tensors: Sequence[Value]) -> Value:
    return cat(list(_at_least(3)(list(tensors))), 2)


def clone(input: Value, *, memory_format: Any = None) -> Value:
    return input * 1 if input.node is not None else computed(input.data.copy())


def contiguous(input: Value) -> Value:
    return input.reshape(-1).reshape(input.shape)  # copies into C order


def repeat(input: Value, *sizes: Any) -> Value:
    return F.tile(input, _flat(sizes))


def tile(input: Value, *dims: Any) -> Value:
    return F.tile(input, _flat(dims))


def repeat_interleave(input: Value, repeats: Any, dim: int | None = None) -> Value:
    x = input.reshape(-1) if dim is None else input
    axis = 0 if dim is None else dim
    return at_places(x, axis, np.repeat(np.arange(x.shape[axis]), as_array(repeats)))


def roll(input: Value, shifts: Any, dims: Any = None) -> Value:
    return F.roll(input, shifts, dims)


def flip(input: Value, *dims: Any) -> Value:
    return clone(F.flip(input, _flat(dims)))


def rot90(input: Value, k: int = 1, dims: Sequence[int] = (0, 1)) -> Value:
    a, b = dims
    for _ in range(k % 4):
        input = F.flip(shapes.swapaxes(input, a, b), a)
    return clone(input)


def tril(input: Value, diagonal: int = 0) -> Value:
    return F.where(np.tri(*input.shape[-2:], diagonal, bool), input, np.zeros((), input.dtype))


def triu(input: Value, diagonal: int = 0) -> Value:
    return F.where(~np.tri(*input.shape[-2:], diagonal - 1, bool), input, np.zeros((), input.dtype))


def diag(input: Value, diagonal: int = 0) -> Value:
    return globals()["diagonal"](input, diagonal) if input.ndim == 2 else diag_embed(input, diagonal)


def diag_embed(input: Value, offset: int = 0) -> Value:
    n = input.shape[-1] + abs(offset)
    i, j = np.arange(n)[:, None], np.arange(n)
    at = np.clip(np.where(offset >= 0, i, j), 0, input.shape[-1] - 1)
    return F.where(j - i == offset, getitem_p(input, index=(Ellipsis, at)), np.zeros((), input.dtype))


def trace(input: Value) -> Value:
    return F_sum(diagonal(input))


F_sum = Value.sum


def block_diag(*tensors: Value) -> Value:
    """The matrices along the diagonal, zeros elsewhere."""
    parts = [t.reshape((1,) * (2 - t.ndim) + t.shape) for t in tensors]
    widths = [t.shape[1] for t in parts]
    rows = [F.pad(t, [(0, 0), (sum(widths[:i]), sum(widths[i + 1 :]))]) for i, t in enumerate(parts)]
    return cat(rows, 0)


def vander(x: Value, N: int | None = None, increasing: bool = False) -> Value:
    n = x.size if N is None else N
    powers = range(n) if increasing else range(n - 1, -1, -1)
    return stack([x**p for p in powers], 1)


def renorm(input: Value, p: float, dim: int, maxnorm: float) -> Value:
    """Each slice along dim scaled so that its norm is at most `maxnorm`."""
    axes = tuple(i for i in range(input.ndim) if i != dim % input.ndim)
    size = F.norm(input, float(p), axes, keepdims=True)
    return input * F.where(size > maxnorm, maxnorm / (size + 1e-7), 1.0).astype(input.dtype)


COPIES: tuple[Callable, ...] = (
    clone, repeat, tile, repeat_interleave, roll, flip, rot90, tril, triu, diag, diag_embed, diagonal, trace, renorm,
)  # fmt: skip
TABLE: dict[str, Callable] = {f.__name__: f for f in COPIES}
TABLE |= {"fliplr": lambda input: flip(input, 1), "flipud": lambda input: flip(input, 0)}
FUNCTIONS: dict[str, Callable] = {
    "cat": cat, "concat": cat, "concatenate": cat, "stack": stack, "hstack": hstack, "vstack": vstack, "dstack": dstack,
    "row_stack": vstack, "atleast_1d": _at_least(1), "atleast_2d": _at_least(2), "atleast_3d": _at_least(3),
    "block_diag": block_diag, "vander": vander,
    "column_stack": lambda tensors: cat([t.reshape(-1, 1) if t.ndim < 2 else t for t in tensors], 1),
}  # fmt: skip
METHODS_ONLY: dict[str, Callable] = {"unfold": unfold}
