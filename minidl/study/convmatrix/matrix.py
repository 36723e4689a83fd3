"""The matrix X of a convolution, its transpose, and what else the two are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...ops.conv import conv, conv_transpose
from ...ops.window import OUTPUT_SIZE, Window
from . import letters
from .letters import Entry, added, dot

MOST = 4096  # entries of X: more cannot be read
TOLERANCE = 1e-12  # of the checks, in float64


@dataclass(frozen=True, repr=False)
class Matrix:
    """A convolution as a matrix: ``y = X ã``, where ã is the input with its padding, all axes in C order.

    kernel: an array of letters (dtype object) or numbers. window: the geometry. `taps` says which entry of the kernel
    stands where; the matrices of letters or numbers are read from it. Rows are outputs, columns cells of ã; ``inside``
    marks the columns that are input, and not padding. The kernel is not flipped, as in every framework: cross-
    correlation; `flipped` is what signal processing calls a convolution.
    """

    kernel: np.ndarray
    window: Window

    # --- the matrices

    @cached_property
    def taps(self) -> np.ndarray:
        """(outputs, padded cells): the flat position in the kernel of each entry of X, -1 where X is 0."""
        w = self.window
        grid = Window(w.padded, w.kernel, w.stride, w.dilation, ((0, 0),) * w.rank)
        flat, rows = (np.arange(math.prod(shape)).reshape(shape) for shape in (w.padded, w.output))
        taps = np.full((w.positions, flat.size), -1)
        for tap, outputs, cells in grid.shifts():
            taps[rows[outputs].ravel(), flat[cells].ravel()] = np.ravel_multi_index(tap, w.kernel)
        return taps

    @cached_property
    def inside(self) -> np.ndarray:
        """(padded cells,): True for the cells that are input."""
        padded = np.zeros(self.window.padded, bool)
        padded[self.window.inner[0]] = True
        return padded.ravel()

    @property
    def X(self) -> np.ndarray:
        """(outputs, padded cells), letters or numbers."""
        return self._filled(self.kernel)

    @property
    def flipped(self) -> np.ndarray:
        """X with the kernel reversed along every axis: convolution in the sense of signal processing."""
        return self._filled(np.flip(self.kernel))

    @property
    def columns(self) -> np.ndarray:
        """im2col: (taps, outputs), the flat padded cell that each tap of the kernel meets at each output."""
        met = np.zeros((self.window.taps, self.window.positions), int)
        outputs, cells = np.nonzero(self.taps >= 0)
        met[self.taps[outputs, cells], outputs] = cells
        return met

    def _filled(self, kernel: np.ndarray) -> np.ndarray:
        values = np.append(kernel.ravel(), np.zeros(1, kernel.dtype))
        return values[self.taps]

    # --- what is multiplied

    @property
    def symbolic(self) -> bool:
        return self.kernel.dtype == object

    @cached_property
    def inputs(self) -> list[str]:
        """The padded input as letters, "0" for padding."""
        free = iter(letters.names(int(self.inside.sum()), self.kernel.ravel().tolist()))
        return [next(free) if real else "0" for real in self.inside]

    @cached_property
    def cotangents(self) -> list[str]:
        """The letters that the transpose is applied to: one for each output."""
        return letters.names(self.window.positions, self.kernel.ravel().tolist())

    def outputs(self, flipped: bool = False) -> list[str]:
        """X ã, written out."""
        return [dot(row, self.inputs) for row in (self.flipped if flipped else self.X).tolist()]

    def transposed(self) -> list[str]:
        """Xᵀ u, written out, for every cell of the padded input."""
        return [dot(column, self.cotangents) for column in self.X.T.tolist()]

    # --- the transpose as an upsampling

    @cached_property
    def stuffed(self) -> list[str]:
        """The cotangent with stride - 1 zeros between neighbours along each axis, in C order over `stuffed_size`."""
        grid = np.full(self.stuffed_size, "0", object)
        grid[tuple(slice(None, None, s) for s in self.window.stride)] = np.reshape(
            np.array(self.cotangents, object), self.window.output
        )
        return grid.ravel().tolist()

    @property
    def stuffed_size(self) -> tuple[int, ...]:
        return tuple((n - 1) * s + 1 for n, s in zip(self.window.output, self.window.stride))

    @cached_property
    def unreached(self) -> tuple[int, ...]:
        """Cells at the end of each axis of ã that no window reaches: there Xᵀ gives 0: its output padding."""
        axes = zip(self.window.padded, self.stuffed_size, self.window.span)
        return tuple(n - (reached + span - 1) for n, reached, span in axes)

    def column_sums(self) -> list[str]:
        """Xᵀ on ones, for every padded cell: what upsampling makes of a constant. Uneven sums are a checkerboard."""
        entries = self.kernel.ravel().tolist()
        return [added(entries[k] for k in sorted(column[column >= 0].tolist())) for column in self.taps.T]

    def phase_sums(self) -> list[str]:
        """The sums that alternate far from the border: those taps along each axis that are s apart, for each phase.

        A constant stays constant if and only if they all agree.
        """
        w, sums = self.window, []
        for phase in np.ndindex(*w.stride):
            at = [[k for k in range(n) if k * d % s == p] for n, d, s, p in zip(w.kernel, w.dilation, w.stride, phase)]
            sums.append(added(self.kernel[np.ix_(*at)].ravel().tolist()))
        return sums

    # --- numbers

    @cached_property
    def numbers(self) -> np.ndarray:
        """The kernel as numbers: itself, or one draw for each letter."""
        if not self.symbolic:
            return self.kernel
        rng = np.random.default_rng(0)
        values = {name: rng.standard_normal() for name in sorted({e for e in self.kernel.ravel() if e != 0})}
        return np.array([values.get(e, 0.0) for e in self.kernel.ravel()], float).reshape(self.kernel.shape)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """X on an input (*size) of numbers."""
        padded = np.zeros(self.inside.size)
        padded[self.inside] = np.ravel(x)[self._kept]
        return (self._filled(self.numbers) @ padded).reshape(self.window.output)

    def apply_transposed(self, u: np.ndarray) -> np.ndarray:
        """Xᵀ on numbers (*output), where the padded cells that are no input are dropped: (*size)."""
        found = np.zeros(math.prod(self.window.size))
        found[self._kept] = (self._filled(self.numbers).T @ np.ravel(u))[self.inside]
        return found.reshape(self.window.size)

    @property
    def _kept(self) -> np.ndarray:
        """The flat positions of the input's cells that the padded input holds: all of them."""
        return np.arange(math.prod(self.window.size)).reshape(self.window.size)[self.window.inner[1]].ravel()

    @cached_property
    def checks(self) -> dict[str, float]:
        """On random numbers: the adjoint residual, and how far X and Xᵀ are from `F.conv` and `F.conv_transpose`."""
        rng, w = np.random.default_rng(1), self.window
        a, b = rng.standard_normal(w.size), rng.standard_normal(w.output)
        y, x = self.apply(a), self.apply_transposed(b)
        geometry = {"stride": w.stride, "dilation": w.dilation}
        weight = self.numbers[None, None]
        forward = conv(a[None, None], weight, padding=w.padding, **geometry).numpy()[0, 0]
        back = conv_transpose(b[None, None], weight, padding=w.padding, output_padding=self.unreached, **geometry)
        return {
            "adjoint": float(abs((y * b).sum() - (a * x).sum()) / (abs(y * b).sum() + abs(a * x).sum() or 1.0)),
            "conv": float(abs(y - forward).max()),
            "conv_transpose": float(abs(x - back.numpy()[0, 0]).max()),
        }


def read(
    kernel: str | Sequence[Any] | np.ndarray, size: int | Sequence[int], stride: Any, padding: Any, dilation: Any
) -> Matrix:
    """The matrix of what `convmatrix` is asked for. Raises ValueError."""
    array = read_kernel(kernel)
    sizes = (size,) * array.ndim if isinstance(size, (int, np.integer)) else tuple(size)
    if len(sizes) != array.ndim:
        raise ValueError(
            f"convmatrix: the kernel has {array.ndim} axes, size {sizes} has {len(sizes)}; give one size per axis"
        )
    window = Window.of(sizes, array.shape, stride=stride, padding=padding, dilation=dilation)
    entries = window.positions * math.prod(window.padded)
    if entries > MOST:
        raise ValueError(
            f"convmatrix: X would have {window.positions} x {math.prod(window.padded)} = {entries} entries, at most "
            f"{MOST} are shown; choose a smaller size (output = {OUTPUT_SIZE.split(' = ')[1]})"
        )
    return Matrix(array, window)


def read_kernel(kernel: Any) -> np.ndarray:
    """The kernel as an array of one or two axes: of letters (dtype object), or of floats. Raises ValueError."""
    if isinstance(kernel, str):
        kernel = [list(row) for row in kernel.split("/")]
        kernel = kernel[0] if len(kernel) == 1 else kernel
        if len({len(row) for row in kernel}) > 1:
            raise ValueError(f"convmatrix: the rows of the kernel have lengths {', '.join(map(str, map(len, kernel)))}")
    try:
        array = np.array(kernel)
    except ValueError:
        raise ValueError("convmatrix: the rows of the kernel differ in length") from None
    if not 1 <= array.ndim <= 2 or not array.size:
        raise ValueError(f"convmatrix: a kernel has one or two axes and a tap at least, got shape {array.shape}")
    if array.dtype.kind in "US":
        entries: list[Entry] = [_entry(e) for e in array.ravel().tolist()]
        letters_only = np.empty(array.size, object)
        letters_only[:] = entries
        return letters_only.reshape(array.shape)
    if array.dtype.kind not in "biuf" or not np.isfinite(array.astype(float)).all():
        raise ValueError("convmatrix: a kernel is made of letters, or of finite numbers")
    return array.astype(float)


def _entry(name: str) -> Entry:
    """A letter; "0" is 0."""
    if name == "0":
        return 0
    if not (name.isalpha() and len(name) == 1):
        raise ValueError(f"convmatrix: {name!r} in the kernel is no letter; write xyz, ab/cd, or numbers as a list")
    return name
