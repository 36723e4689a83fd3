"""Convolution as a matrix, along one axis: X, its transpose, zero insertion, checkerboards."""

from __future__ import annotations

import numpy as np

from .... import functional as F
from ....core.tensor import as_tensor
from ..question import Output, Question
from ..question import by_rules as derivative
from .dice import CONVENTIONS

TOPIC = "Convolution as a matrix"

LAYER = """
A layer along one axis has kernel w_0, ..., w_(K-1), stride s and padding p (zeros on both sides), and computes from an
input x of `size` entries

    y_o = sum over t of  w_t x_(s o + t - p)            "cross-correlation"
    y_o = sum over t of  w_(K-1-t) x_(s o + t - p)      "convolution": the same with the kernel reversed

for all o for which the window fits into the padded input. So y = X x, with a matrix X.
"""


def windows(rng: np.random.Generator, seed: int) -> dict:
    """A kernel that is not symmetric, sizes that the stride need not divide; the assignment's own (3, 2, 1) first."""
    taps, stride = (3, 2) if seed < 2 else (int(rng.integers(2, 5)), int(rng.integers(2, 4)))
    padding = 1 if seed < 2 else int(rng.integers(0, taps))
    size = 4 if seed < 2 else int(rng.integers(taps + 2, 10))
    outputs = (size + 2 * padding - taps) // stride + 1
    return {
        "kernel": rng.standard_normal(taps),
        "size": size,
        "stride": stride,
        "padding": padding,
        "convention": CONVENTIONS[seed % 2],
        "a": rng.standard_normal(outputs),
    }


# --- X

matrix = Question(
    "conv-matrix",
    "The matrix X of a convolution, in both conventions",
    TOPIC,
    f"""{LAYER}
Write down X, of one row per output and one column per entry of the input (not of the padded input). With kernel
(x, y, z), stride 2, padding 1 and four inputs you should see what the lecture writes, without the padding's columns.

Arguments: `kernel`, an array (K,); `size`, `stride`, `padding`, whole numbers; `convention`, one of the two words.
Return X, an array (outputs, size).
""",
    (Output("X", ("row", "column")),),
    windows,
)


@matrix.solution
def convolution_matrix(kernel, size, stride, padding, convention):
    w = kernel if convention == "cross-correlation" else kernel[::-1]
    outputs = (size + 2 * padding - len(w)) // stride + 1
    X = np.zeros((outputs, size))
    for o in range(outputs):
        for t in range(len(w)):
            column = stride * o + t - padding
            if 0 <= column < size:
                X[o, column] = w[t]
    return X


@matrix.oracle("autograd")
def matrix_by_autograd(kernel, size, stride, padding, convention):
    w = kernel if convention == "cross-correlation" else kernel[::-1].copy()
    layer = lambda x: F.conv(x[None, None], w[None, None], stride=stride, padding=padding)[0, 0]  # noqa: E731
    return derivative(layer, ("x",), {"x": np.zeros(size)}, flat=True)


@matrix.oracle("unit inputs")
def matrix_by_unit_inputs(kernel, size, stride, padding, convention):
    slide = {"cross-correlation": np.correlate, "convolution": np.convolve}[convention]
    return np.stack([slide(np.pad(unit, padding), kernel, "valid")[::stride] for unit in np.eye(size)], axis=1)


matrix.altered("flipped kernel", "The two conventions are exchanged: the kernel is reversed.", kernel=lambda k: k[::-1])
matrix.altered(
    "always cross-correlation", "It is the cross-correlation, whatever the convention.", convention="cross-correlation"
)
matrix.altered("always convolution", "It is the convolution, whatever the convention.", convention="convolution")
matrix.altered("transposed", "This is the transpose of X: one row per output is asked for.", then=lambda a: a.T)


@matrix.mistake("padding's columns kept", "X has columns for the padding; one column per entry of the input itself.")
def matrix_paddings_columns_kept(kernel, size, stride, padding, convention):
    return convolution_matrix(kernel, size + 2 * padding, stride, 0, convention)


matrix.altered("stride forgotten", "This is X for stride 1.", stride=1)
matrix.altered("padding forgotten", "This is X without padding.", padding=0)


@matrix.mistake("wraps around", "Taps that fall into the padding come back at the other side; they meet zeros.")
def matrix_wraps_around(kernel, size, stride, padding, convention):
    wide = convolution_matrix(kernel, size + 2 * padding, stride, 0, convention)
    X = np.zeros((len(wide), size))
    np.add.at(X.T, (np.arange(size + 2 * padding) - padding) % size, wide.T)
    return X


# --- its transpose

transpose = Question(
    "conv-transpose",
    "The transpose of a convolution",
    TOPIC,
    f"""{LAYER}
Compute Xᵀ a for a vector a of one entry per output, in the convention "cross-correlation". This is what carries a
gradient back to the layer's input, and what networks use to upsample. Is Xᵀ X the identity?

Arguments: `a`, an array (outputs,); `kernel`, an array (K,); `size`, `stride`, `padding`, whole numbers. Return an
array (size,).
""",
    (Output("upsampled", ("position",)),),
    windows,
)


@transpose.solution
def transposed_convolution(a, kernel, size, stride, padding):
    padded = np.zeros(size + 2 * padding)
    for o in range(len(a)):
        padded[stride * o : stride * o + len(kernel)] += a[o] * kernel
    return padded[padding : padding + size]


@transpose.oracle("conv_transpose")
def transpose_by_conv_transpose(a, kernel, size, stride, padding):
    extra = size - ((len(a) - 1) * stride - 2 * padding + len(kernel))
    up = F.conv_transpose(
        as_tensor(a)[None, None], kernel[None, None], stride=stride, padding=padding, output_padding=extra
    )
    return up.numpy()[0, 0]


@transpose.oracle("matrix")
def transpose_by_matrix(a, kernel, size, stride, padding):
    return convolution_matrix(kernel, size, stride, padding, "cross-correlation").T @ a


@transpose.mistake("pseudo-inverse", "This undoes X as well as it can; the transpose does not undo it.")
def transpose_pseudo_inverse(a, kernel, size, stride, padding):
    return np.linalg.pinv(convolution_matrix(kernel, size, stride, padding, "cross-correlation")) @ a


transpose.mistake("flipped kernel", "The kernel is reversed: each entry of a places the kernel as it stands.")(
    lambda a, kernel, size, stride, padding: transposed_convolution(a, kernel[::-1], size, stride, padding)
)
transpose.mistake("padding not cut off", "The result begins in the padding; the padding is cut off in front.")(
    lambda a, kernel, size, stride, padding: transposed_convolution(a, kernel, size + 2 * padding, stride, 0)[:size]
)


@transpose.mistake("overlaps overwritten", "Where two windows overlap, the later one replaces the earlier; they add.")
def transpose_overlaps_overwritten(a, kernel, size, stride, padding):
    padded = np.zeros(size + 2 * padding)
    for o in range(len(a)):
        padded[stride * o : stride * o + len(kernel)] = a[o] * kernel
    return padded[padding : padding + size]


@transpose.mistake("overlaps averaged", "Where windows overlap, the result is divided by their number; they add.")
def transpose_overlaps_averaged(a, kernel, size, stride, padding):
    count = transposed_convolution(np.ones_like(a), np.ones_like(kernel), size, stride, padding)
    return transposed_convolution(a, kernel, size, stride, padding) / np.maximum(count, 1)


transpose.altered("order of a reversed", "The entries of a are placed last to first.", a=lambda a: a[::-1])


# --- zero insertion

insertion = Question(
    "zero-insertion",
    "Transposed convolution by inserting zeros",
    TOPIC,
    """
A transposed convolution of stride s, before its padding is cut off, adds up the kernel w times a_0 at position 0, times
a_1 at position s, times a_2 at position 2s, and so on. The same comes from sliding a filter over a stuffed signal:
insert s - 1 zeros between neighbours of a (none at the ends), and slide.

Which filter, if "sliding" is a cross-correlation with zeros around, as `np.correlate(stuffed, filter, "full")` does it
and as every framework does? (The lecture names a filter without naming the convention.)

Arguments: `a`, an array; `kernel`, an array (K,); `stride`, s. Return a pair: the stuffed signal, and the filter, an
array (K,).
""",
    (Output("stuffed", ("position",)), Output("filter", ("tap",))),
    windows,
)


@insertion.solution
def insert_zeros(a, kernel, stride):
    stuffed = np.zeros((len(a) - 1) * stride + 1)
    stuffed[::stride] = a
    return stuffed, kernel[::-1]


def _placed(a, kernel, stride):
    return F.conv_transpose(as_tensor(a)[None, None], kernel[None, None], stride=stride).numpy()[0, 0]


@insertion.oracle("conv_transpose")
def insertion_by_conv_transpose(a, kernel, stride):
    """A kernel of one tap only stuffs; the filter is the answer to an impulse, read backwards by a correlation."""
    return _placed(a, np.ones(1), stride), _placed(np.ones(1), kernel, stride)[::-1]


@insertion.oracle("least squares")
def insertion_by_least_squares(a, kernel, stride):
    """The filter whose correlation with the stuffed signal gives the transposed convolution."""
    stuffed = np.kron(a, np.eye(stride)[0])[: (len(a) - 1) * stride + 1]
    columns = [np.correlate(stuffed, unit, "full") for unit in np.eye(len(kernel))]
    return stuffed, np.linalg.lstsq(np.stack(columns, axis=1), _placed(a, kernel, stride), rcond=None)[0]


insertion.mistake(
    "filter not reversed", "That filter is right for a true convolution; a correlation reads it reversed."
)(lambda a, kernel, stride: insert_zeros(a, kernel[::-1], stride))
insertion.mistake("zeros at the end", "There are zeros after the last entry, too: they belong between entries only.")(
    lambda a, kernel, stride: (np.kron(a, np.eye(stride)[0]), kernel[::-1])
)
insertion.altered(
    "one zero too many", "There are s zeros between neighbours; s - 1 keep a distance of s.", stride=lambda s: s + 1
)
insertion.mistake("repeated", "The entries are repeated in place of inserting zeros: that is nearest upsampling.")(
    lambda a, kernel, stride: (np.repeat(a, stride)[: (len(a) - 1) * stride + 1], kernel[::-1])
)


# --- checkerboard

checkerboard = Question(
    "checkerboard",
    "The checkerboard of a transposed convolution",
    TOPIC,
    """
A transposed convolution with kernel w_0, ..., w_(K-1), stride s and padding p places the kernel times a_o so that its
first tap falls on position s o - p, and adds up what overlaps. Let all a_o be 1, over a long signal. Away from the
borders, what are the results at positions 0, 1, ..., s-1 (modulo s)? For which kernels (x, y, z) with stride 2 is the
result uniform?

Arguments: `kernel`, an array (K,); `stride` and `padding`, whole numbers. Return an array (stride,): entry r for all
positions r, r + s, r + 2s, ...
""",
    (Output("pattern", ("phase",)),),
    windows,
)


@checkerboard.solution
def checkerboard_pattern(kernel, stride, padding):
    return np.array([kernel[(r + padding) % stride :: stride].sum() for r in range(stride)])


@checkerboard.oracle("conv_transpose")
def checkerboard_by_conv_transpose(kernel, stride, padding):
    far = 2 * len(kernel)
    up = F.conv_transpose(np.ones((1, 1, 2 * far)), kernel[None, None], stride=stride, padding=padding).numpy()[0, 0]
    return up[far * stride : (far + 1) * stride]


@checkerboard.oracle("column sums of X")
def checkerboard_by_column_sums_of_x(kernel, stride, padding):
    far = 2 * len(kernel)
    X = convolution_matrix(kernel, 3 * far * stride, stride, padding, "cross-correlation")
    return X.sum(axis=0)[far * stride : (far + 1) * stride]


checkerboard.altered("padding forgotten", "The pattern begins with the first tap; the padding moves it.", padding=0)
checkerboard.altered("padding the other way", "The padding moves the pattern to the wrong side.", padding=lambda p: -p)
checkerboard.altered("flipped kernel", "The kernel is reversed.", kernel=lambda k: k[::-1])
checkerboard.mistake("no pattern seen", "Every position is given the mean of the kernel's taps: the phases differ.")(
    lambda kernel, stride, padding: np.full(stride, kernel.sum() / stride)
)


@checkerboard.mistake("averaged", "Each result is divided by the number of taps that meet there; they add.")
def checkerboard_averaged(kernel, stride, padding):
    counts = checkerboard_pattern(np.ones_like(kernel), stride, padding)
    return checkerboard_pattern(kernel, stride, padding) / np.maximum(counts, 1)


QUESTIONS = (matrix, transpose, insertion, checkerboard)
