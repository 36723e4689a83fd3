"""Window: the geometry that convolutions and pools share, and unfold/fold, its adjoint pair of primitives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ..core.primitive import primitive
from ..core.tensor import Tensor, as_tensor

Pairs = tuple[tuple[int, int], ...]
Slices = tuple[slice, ...]
Sizes = int | Sequence[int]  # one for all spatial axes, or one for each
Padding = int | str | Sequence[int | Sequence[int]]  # what users write: see `padding_pairs`

OUTPUT_SIZE = "output = (size + low + high - dilation * (kernel - 1) - 1) // stride + 1"


@dataclass(frozen=True)
class Window:
    """A window that slides over the spatial axes of an input: output ``o`` and tap ``k`` meet cell

        i = stride * o + dilation * k - low        (per axis; outside of 0 <= i < size it is padding)

    The input size is part of it, so the geometry is known in both directions: an output_padding is derived,
    and a stride that does not end exactly at the border is legal. `Window.of` reads what users write and
    validates it; here every field is a tuple with one entry per axis. A negative padding crops.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, relationship 6.
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # kernels look up by window what they have computed
        return hash((self.size, self.kernel, self.stride, self.dilation, self.padding))

    @classmethod
    def of(
        cls, size: Sequence[int], kernel: Any, *,
        stride: Any = 1, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, function: str = "",
    ) -> Window:
        """The window over an input of this spatial size.

        `kernel`, `stride`, `dilation`: an int, or one per axis. `padding`: an int; one int or one (low, high)
        pair per axis; "same" (output = ceil(size / stride), the odd cell after); "causal" (1-D: all before, so
        that an output sees no later input). `ceil_mode`: see `grown`. Raises ValueError with the formula for the
        output and its numbers, after the name of the public `function`.
        """
        with errors_of(function):
            window = cls.read(size, kernel, stride, padding, dilation)
            window = interned(window.grown() if ceil_mode else window)
            window._require_output()
        return window

    @classmethod
    def read(cls, size: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any) -> Window:
        """What `of` reads, whether or not the kernel fits the input."""
        size = tuple(int(n) for n in size)
        rank = len(size)
        if not 1 <= rank <= 3:
            raise ValueError(f"a window has 1 to 3 spatial axes, got {rank}: expected x of shape (N, C, 1 to 3 axes)")
        kernel = per_axis("kernel_size", kernel, rank, 1)
        stride = per_axis("stride", stride, rank, 1)
        dilation = per_axis("dilation", dilation, rank, 1)
        window = cls(size, kernel, stride, dilation, ((0, 0),) * rank)
        if isinstance(padding, str):
            pairs = window._named_padding(padding)
        else:
            pairs = padding_pairs(padding, rank)
        return cls(size, kernel, stride, dilation, pairs)

    def _named_padding(self, name: str) -> Pairs:
        if name == "same":
            pairs = []
            for n, s, span in zip(self.size, self.stride, self.span):
                total = max((math.ceil(n / s) - 1) * s + span - n, 0)
                pairs.append((total // 2, total - total // 2))
            return tuple(pairs)
        if name == "causal":
            if self.rank != 1:
                raise ValueError(f'padding "causal" is for one spatial axis, got {self.rank}; give pairs instead')
            return ((self.span[0] - 1, 0),)
        raise ValueError(f'padding {name!r} is unknown: an int, one int or pair per axis, "same" or "causal"')

    def _require_output(self) -> None:
        for axis, out in enumerate(self.output):
            if out >= 1 and self.size[axis] >= 1:
                continue
            n, k, s, d = (field[axis] for field in (self.size, self.kernel, self.stride, self.dilation))
            low, high = self.padding[axis]
            raise ValueError(
                f"spatial axis {axis}: a kernel of {k} with dilation {d} spans {self.span[axis]} cells, the padded "
                f"input has {n + low + high}; {OUTPUT_SIZE} = "
                f"({n} + {low} + {high} - {d} * ({k} - 1) - 1) // {s} + 1 = {out}; "
                "use a smaller kernel or dilation, a larger input or more padding"
            )

    # --- sizes

    @cached_property
    def rank(self) -> int:
        return len(self.size)

    @cached_property
    def span(self) -> tuple[int, ...]:
        """How many cells the dilated kernel covers."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))

    @cached_property
    def padded(self) -> tuple[int, ...]:
        return tuple(n + low + high for n, (low, high) in zip(self.size, self.padding))

    @cached_property
    def output(self) -> tuple[int, ...]:
        """The number of positions along each axis: see OUTPUT_SIZE."""
        return tuple((n - span) // s + 1 for n, span, s in zip(self.padded, self.span, self.stride))

    @cached_property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @cached_property
    def positions(self) -> int:
        return math.prod(self.output)

    # --- other windows

    def grown(self) -> Window:
        """With one more position along an axis where cells are left over, as torch's ceil_mode: it must start inside of
        the input or of the padding before it; the padding after the input grows to hold it."""
        pairs = []
        for n, span, s, out, (low, high) in zip(self.size, self.span, self.stride, self.output, self.padding):
            left_over = (n + low + high - span) % s
            fits = left_over and s * out < n + low
            pairs.append((low, s * out + span - n - low) if fits else (low, high))
        return Window(self.size, self.kernel, self.stride, self.dilation, tuple(pairs))

    # --- where the taps fall

    def axis_shifts(self, axis: int) -> list[tuple[int, slice, slice]]:
        """For each tap along one axis that meets the input at all: (tap, its outputs, the cells they meet)."""
        n, s, (low, _) = self.size[axis], self.stride[axis], self.padding[axis]
        shifts = []
        for k in range(self.kernel[axis]):
            offset = self.dilation[axis] * k - low  # output o meets cell s * o + offset
            first = max(0, -(offset // s))
            last = min(self.output[axis] - 1, (n - 1 - offset) // s)
            if first <= last:
                cells = slice(s * first + offset, s * last + offset + 1, s)
                shifts.append((k, slice(first, last + 1), cells))
        return shifts

    def shifts(self) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
        """For each tap that meets the input, in C order: (tap, slices of outputs, slices of the cells they meet)."""
        for combination in itertools.product(*(self.axis_shifts(axis) for axis in range(self.rank))):
            taps, outputs, cells = zip(*combination)
            yield taps, outputs, cells

    @cached_property
    def inner(self) -> tuple[Slices, Slices]:
        """(slices of the padded input, slices of the input): the cells that they share."""
        bounds = [(max(-low, 0), n - max(-high, 0), low) for n, (low, high) in zip(self.size, self.padding)]
        bounds = [(start, max(start, stop), low) for start, stop, low in bounds]
        return (
            tuple(slice(start + low, stop + low) for start, stop, low in bounds),
            tuple(slice(start, stop) for start, stop, _ in bounds),
        )

    def empty_positions(self) -> list[tuple[int, int]]:
        """The (axis, position) at which every tap falls on padding."""
        empty = []
        for axis in range(self.rank):
            met = {o for _, outputs, _ in self.axis_shifts(axis) for o in range(outputs.start, outputs.stop)}
            empty += [(axis, o) for o in range(self.output[axis]) if o not in met]
        return empty


@lru_cache(maxsize=1024)
def interned(window: Window) -> Window:
    """The first window that equals this one: what it has computed about itself serves every call of a layer."""
    return window


class errors_of:
    """A block whose TypeErrors and ValueErrors begin with the name of the public function that was called."""

    def __init__(self, function: str):
        self.function = function

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if self.function and isinstance(error, (TypeError, ValueError)):
            raise type(error)(f"{self.function}: {error}") from None


def per_axis(name: str, value: Any, rank: int, least: int) -> tuple[int, ...]:
    """An int, or one per axis, as a tuple of `rank` ints that are at least `least`."""
    values = tuple(value) if hasattr(value, "__len__") and not isinstance(value, str) else (value,) * rank
    if len(values) != rank:
        raise ValueError(
            f"{name}={value} has {len(values)} entries for {rank} spatial axes; give one int, or one per axis"
        )
    values = tuple(as_int(name, v) for v in values)
    if any(v < least for v in values):
        raise ValueError(f"{name}={value} must be at least {least} along every axis")
    return values


def padding_pairs(padding: Any, rank: int) -> Pairs:
    """An int, or one int or (low, high) pair per axis, as pairs."""
    entries = tuple(padding) if hasattr(padding, "__len__") else (padding,) * rank
    if len(entries) != rank:
        raise ValueError(
            f"padding={padding} has {len(entries)} entries for {rank} spatial axes; "
            "give one int, or one int or (low, high) pair per axis, such as [(1, 2)] for one axis"
        )
    pairs = [tuple(e) if hasattr(e, "__len__") else (e, e) for e in entries]
    if any(len(p) != 2 for p in pairs):
        raise ValueError(f"padding={padding}: each entry is an int or a (low, high) pair")
    pairs = tuple((as_int("padding", low), as_int("padding", high)) for low, high in pairs)
    if any(side < 0 for pair in pairs for side in pair):
        raise ValueError(f"padding={padding} must be at least 0 on every side; slice x to make it smaller")
    return pairs


def as_int(name: str, value: Any) -> int:
    try:
        return value.__index__()
    except AttributeError:
        raise TypeError(f"{name} must be made of ints, got {value!r}") from None


# --- arrays


def pad_array(xp: Any, x: Any, window: Window) -> Any:
    """x with the border of zeros that the window asks for: (..., *size) -> (..., *padded)."""
    if not any(map(any, window.padding)):
        return x
    padded = xp.zeros(x.shape[: -window.rank] + window.padded, x.dtype)
    inside, cells = window.inner
    padded[(..., *inside)] = x[(..., *cells)]
    return padded


def patches(xp: Any, padded: Any, window: Window) -> Any:
    """A view of the padded input, nothing copied: (..., *padded) -> (..., *kernel, *output)."""
    lead, strides = padded.shape[: -window.rank], padded.strides[-window.rank :]
    by_tap = tuple(step * d for step, d in zip(strides, window.dilation))
    by_output = tuple(step * s for step, s in zip(strides, window.stride))
    return xp.lib.stride_tricks.as_strided(
        padded, lead + window.kernel + window.output, padded.strides[: -window.rank] + by_tap + by_output
    )


def add_patches(into: Any, columns: Any, window: Window) -> None:
    """Add (..., *kernel, *output) to the cells of `into` (..., *size) that they came from."""
    for tap, outputs, cells in window.shifts():
        into[(..., *cells)] += columns[(..., *tap, *outputs)]


# --- primitives


@primitive(formula="y[n,(c,k),o] = x[n,c, s*o + d*k - p]", kind="linear")
def unfold_p(xp, x, *, window):
    """The patch under the window at each position, as a column: (N, C, *size) -> (N, C*taps, positions)."""
    columns = patches(xp, pad_array(xp, x, window), window)  # (N, C, *kernel, *output)
    return xp.ascontiguousarray(columns).reshape(x.shape[0], x.shape[1] * window.taps, window.positions)


@primitive(formula="y[n,c,i] = sum over (k,o) with s*o + d*k - p = i of columns[n,(c,k),o]", kind="linear")
def fold_p(xp, columns, *, window):
    """Each column added back where unfold took it from: (N, C*taps, positions) -> (N, C, *size)."""
    n, c = columns.shape[0], columns.shape[1] // window.taps
    y = xp.zeros((n, c, *window.size), columns.dtype)
    add_patches(y, columns.reshape(n, c, *window.kernel, *window.output), window)
    return y


@unfold_p.rule("x", formula="fold(g)")
def unfold_x(g, y, x, *, window):
    return fold_p(g, window=window)


@fold_p.rule("columns", formula="unfold(g)")
def fold_columns(g, y, columns, *, window):
    return unfold_p(g, window=window)


def unfold(x: Tensor, kernel_size: Sizes, *, dilation: Sizes = 1, padding: Padding = 0, stride: Sizes = 1) -> Tensor:
    """The patches of x as columns (im2col): (N, C, *size) -> (N, C * taps, positions).

    Definition: ``y[n, (c, k), o] = x[n, c, stride * o + dilation * k - padding]``, zero outside of x; taps and
    positions in C order. Any rank from 1 to 3. Raises ValueError as `Window.of`.
    Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
    processing", 2006.

        >>> F.unfold(md.tensor([[[1.0, 2.0, 3.0, 4.0]]]), 2)
        tensor([[[1., 2., 3.],
                 [2., 3., 4.]]])
    """
    x = as_tensor(x)
    require_spatial("unfold", x)
    window = Window.of(
        x.shape[2:], kernel_size, stride=stride, padding=padding, dilation=dilation, function="unfold"
    )
    return unfold_p(x, window=window)


def fold(
    columns: Tensor, output_size: Sizes, kernel_size: Sizes, *, dilation: Sizes = 1, padding: Padding = 0,
    stride: Sizes = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of `unfold`: columns (N, C * taps, positions) added up where they overlap, (N, C, *output_size).

    The number of spatial axes is that of `output_size`, or of whichever other argument lists one entry per axis;
    if all are ints it is 2, as in torch. Columns without N are a batch of one. Raises ValueError if the columns do not
    fit the window.
    """
    columns = as_tensor(columns)
    if columns.ndim == 2:  # a batch of one
        return fold(columns[None], output_size, kernel_size, dilation=dilation, padding=padding, stride=stride)[0]
    listed = [len(v) for v in (output_size, kernel_size, stride, dilation, padding) if isinstance(v, (tuple, list))]
    size = per_axis("fold: output_size", output_size, listed[0] if listed else 2, 1)
    window = Window.of(size, kernel_size, stride=stride, padding=padding, dilation=dilation, function="fold")
    if columns.ndim != 3 or columns.shape[1] % window.taps or columns.shape[2] != window.positions:
        raise ValueError(
            f"fold: columns of shape {columns.shape} do not fit: expected (N, C * taps, positions) with "
            f"taps = {' * '.join(map(str, window.kernel))} = {window.taps} and "
            f"positions = {' * '.join(map(str, window.output))} = {window.positions} for output_size={window.size}"
        )
    return fold_p(columns, window=window)


def require_spatial(name: str, x: Tensor) -> None:
    """Refuse an x that is not (N, C, 1 to 3 spatial axes)."""
    if not 3 <= x.ndim <= 5:
        raise ValueError(
            f"{name}: x must have shape (N, C, 1 to 3 spatial axes), got {x.shape}; "
            "x.reshape(1, ...) adds a batch of one"
        )


unfold.primitive, fold.primitive = unfold_p, fold_p
