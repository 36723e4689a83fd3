"""Jacobians of full and of convolutional layers, by their inputs and by their weights; how large they would be."""

from __future__ import annotations

import numpy as np

from .... import functional as F
from ....core.tensor import as_tensor
from ..question import Output, Question, by_rules

TOPIC = "Jacobians of layers"
SIDES = ("row", "column")


# --- full


def layers(rng: np.random.Generator, seed: int) -> dict:
    m, n = [(2, 2), (1, 3), (3, 1)][seed % 5] if seed % 5 < 3 else rng.integers(2, 5, 2)
    return {"W": rng.standard_normal((m, n)), "x": rng.standard_normal(n)}


full = Question(
    "jacobian-full",
    "The Jacobian of a full layer by its weights",
    TOPIC,
    """
A full layer computes y = W x. Write W as one long vector, row by row (as NumPy's `ravel` does): what is the Jacobian of
y by it? Say in words what backpropagation saves by never writing it down.

Arguments: `W`, an array (m, n); `x`, an array (n,). Return an array (m, m n): row i for y_i.
""",
    (Output("jacobian", SIDES),),
    layers,
)


@full.solution
def full_layer_jacobian(W, x):
    m, n = W.shape
    jacobian = np.zeros((m, m * n))
    for i in range(m):
        jacobian[i, i * n : (i + 1) * n] = x
    return jacobian


full.derivative("W", flat=True)(lambda W, x: as_tensor(W) @ x)
full.mistake("columns first", "W is written column by column here; row by row was asked for.")(
    lambda W, x: np.kron(x[None], np.eye(len(W)))
)
full.mistake("by the input", "This is W: the Jacobian of y by x, not by the weights.")(lambda W, x: W)
full.altered("transposed", "This is the transpose: one row per y_i was asked for.", then=lambda a: a.T)
full.mistake("one block for all", "Every row has x in every block; y_i depends on row i of W alone.")(
    lambda W, x: np.tile(x, (len(W), len(W)))
)


@full.mistake("W in the blocks", "The blocks hold rows of W; they hold what W is multiplied with.")
def full_w_in_the_blocks(W, x):
    m, n = W.shape
    return np.kron(np.eye(m), np.ones((1, n))) * W.ravel()


# --- convolution by its input

CONV = """
A convolutional layer (cross-correlation, stride 1, no padding) computes

    y_f(m, n) = sum over c, k, l of  w_fc(k, l) x_c(m + k, n + l)

with filters f, channels c, and a kernel of K by L. All arrays are written as vectors in the order of NumPy's `ravel`:
channel or filter first, then rows, then columns.
"""


def conv(x, w, **_):
    return F.conv(as_tensor(x)[None], w)[0]


def convs(rng: np.random.Generator, seed: int) -> dict:
    """Images and kernels, odd, even, seldom square."""
    channels, filters = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    kernel = [(2, 2), (1, 2), (2, 1), (2, 3), (3, 2)][seed % 5]
    height, width = kernel[0] + int(rng.integers(1, 3)), kernel[1] + int(rng.integers(0, 2))
    return {
        "w": rng.standard_normal((filters, channels, *kernel)),
        "x": rng.standard_normal((channels, height, width)),
        "height": height,
        "width": width,
        "filters": filters,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
    }


by_input = Question(
    "jacobian-conv-input",
    "The Jacobian of a convolutional layer by its input",
    TOPIC,
    f"""{CONV}
Write down the Jacobian of y by x. (It is made of blocks, one for each filter and channel, and each block is Toeplitz in
rows and in columns.)

Arguments: `w`, an array (F, C, K, L); `height` and `width` of x. Return an array (F P Q, C height width) with
P = height - K + 1 and Q = width - L + 1.
""",
    (Output("jacobian", SIDES),),
    convs,
)


@by_input.solution
def conv_input_jacobian(w, height, width):
    F, C, K, L = w.shape
    P, Q = height - K + 1, width - L + 1
    jacobian = np.zeros((F, P, Q, C, height, width))
    for m in range(P):
        for n in range(Q):
            jacobian[:, m, n, :, m : m + K, n : n + L] = w
    return jacobian.reshape(F * P * Q, C * height * width)


by_input.derivative("x", flat=True, at={"x": lambda w, height, width: np.ones((w.shape[1], height, width))})(conv)


@by_input.oracle("unit inputs")
def by_input_by_unit_inputs(w, height, width):
    units = np.eye(w.shape[1] * height * width).reshape(-1, w.shape[1], height, width)
    windows = np.lib.stride_tricks.sliding_window_view(units, w.shape[2:], axis=(2, 3))  # (units, C, P, Q, K, L)
    return np.einsum("fckl,ucpqkl->fpqu", w, windows).reshape(-1, len(units))


by_input.mistake("flipped kernel", "The kernel is reversed: this is the Jacobian of a true convolution.")(
    lambda w, height, width: conv_input_jacobian(w[:, :, ::-1, ::-1], height, width)
)
by_input.altered("transposed", "This is the transpose: one row per output was asked for.", then=lambda a: a.T)


@by_input.mistake("rows and columns exchanged", "The vectors run down an image's columns; they run along its rows.")
def by_input_rows_and_columns_exchanged(w, height, width):
    F, C, K, L = w.shape
    jacobian = conv_input_jacobian(w, height, width).reshape(F, height - K + 1, width - L + 1, C, height, width)
    return jacobian.transpose(0, 2, 1, 3, 5, 4).reshape(F * (height - K + 1) * (width - L + 1), C * height * width)


@by_input.mistake("channels last", "The channel is the last index of the vectors; it is the first.")
def by_input_channels_last(w, height, width):
    F, C = w.shape[:2]
    jacobian = conv_input_jacobian(w, height, width).reshape(F, -1, C, height * width)
    return jacobian.transpose(1, 0, 3, 2).reshape(-1, C * height * width)


# --- convolution by its weights

by_weights = Question(
    "jacobian-conv-weights",
    "The Jacobian of a convolutional layer by its weights",
    TOPIC,
    f"""{CONV}
Write down the Jacobian of y by w. (Each output reads one window of x; the matrix of all windows is what "im2col"
makes. Does the Jacobian depend on w?)

Arguments: `x`, an array (C, H, W); `filters`, F; `kernel_height` and `kernel_width`, K and L. Return an array
(F P Q, F C K L) with P = H - K + 1 and Q = W - L + 1.
""",
    (Output("jacobian", SIDES),),
    convs,
)


@by_weights.solution
def conv_weight_jacobian(x, filters, kernel_height, kernel_width):
    _, H, W = x.shape
    P, Q = H - kernel_height + 1, W - kernel_width + 1
    windows = [x[:, m : m + kernel_height, n : n + kernel_width].ravel() for m in range(P) for n in range(Q)]
    return np.kron(np.eye(filters), np.array(windows))


def _any_weights(x, filters, kernel_height, kernel_width):
    """The layer is linear in its weights, so that its Jacobian is the same at all of them."""
    return np.ones((filters, len(x), kernel_height, kernel_width))


by_weights.derivative("w", flat=True, at={"w": _any_weights})(conv)


@by_weights.mistake("flipped windows", "The windows are reversed: this is the Jacobian of a true convolution.")
def by_weights_flipped_windows(x, filters, kernel_height, kernel_width):
    back = conv_weight_jacobian(x[:, ::-1, ::-1], filters, kernel_height, kernel_width)
    rows = back.reshape(filters, -1, back.shape[1])[:, ::-1]
    return rows.reshape(back.shape)


@by_weights.mistake("one filter only", "This is the block of one filter; each filter has its own weights and outputs.")
def by_weights_one_filter_only(x, filters, kernel_height, kernel_width):
    block = conv_weight_jacobian(x, 1, kernel_height, kernel_width)
    return np.kron(np.diag(np.eye(filters)[0]), block)


@by_weights.mistake("shared by all filters", "All filters' outputs depend on all weights; filter f's on its own alone.")
def by_weights_shared_by_all_filters(x, filters, kernel_height, kernel_width):
    return np.tile(conv_weight_jacobian(x, 1, kernel_height, kernel_width), (filters, filters))


by_weights.altered(
    "transposed", "This is the transpose, one window per column: one row per output was asked for.", then=lambda a: a.T
)


# --- how large

counts = Question(
    "jacobian-size",
    "How many different numbers a convolution's Jacobian has, and how large it is",
    TOPIC,
    """
A convolutional layer without padding: F filters, C channels, a kernel of K by L, stride s, an input of H by W. All its
weights are different from each other and from 0. In the Jacobian of its output by its input:

- how many different non-zero values are there?
- how many bytes would all its entries take in float32?

Look at the first layer of AlexNet: C = 3, F = 96, K = L = 11, s = 4, H = W = 227.

Arguments: `channels`, `filters`, `kernel_height`, `kernel_width`, `height`, `width`, `stride`. Return a pair of whole
numbers.
""",
    (Output("values"), Output("bytes")),
    lambda rng, seed: {
        **{k: v for k, v in convs(rng, seed).items() if k in ("kernel_height", "kernel_width")},
        "height": 4 + int(rng.integers(0, 3)),
        "width": 4 + int(rng.integers(0, 3)),
        "channels": int(rng.integers(1, 4)),
        "filters": int(rng.integers(1, 4)),
        "stride": 1 + int(rng.integers(2)),
    },
    rarer=lambda rng, seed: {
        "channels": int(rng.integers(1, 4)),
        "filters": int(rng.integers(1, 4)),
        **{name: int(rng.integers(2, 4)) for name in ("kernel_height", "kernel_width")},
        **{name: int(rng.integers(7, 10)) for name in ("height", "width")},
        "stride": int(rng.integers(1, 4)),
    },
)


@counts.solution
def jacobian_size(channels, filters, kernel_height, kernel_width, height, width, stride):
    rows = (height - kernel_height) // stride + 1
    columns = (width - kernel_width) // stride + 1
    values = filters * channels * kernel_height * kernel_width
    return values, 4 * (filters * rows * columns) * (channels * height * width)


@counts.oracle("autograd")
def counts_by_autograd(channels, filters, kernel_height, kernel_width, height, width, stride):
    w = np.arange(1.0, 1 + filters * channels * kernel_height * kernel_width)
    w = w.reshape(filters, channels, kernel_height, kernel_width)
    x = np.zeros((channels, height, width))
    J = by_rules(lambda x: F.conv(x[None], w, stride=stride)[0], ("x",), {"x": x}, flat=True)
    return len(np.unique(J[J != 0])), J.astype(np.float32).nbytes


@counts.oracle("windows")
def counts_by_windows(channels, filters, kernel_height, kernel_width, height, width, stride):
    image = np.zeros((channels, height, width), np.float32)
    kernel = (kernel_height, kernel_width)
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(1, 2))[:, ::stride, ::stride]
    positions = windows[0, :, :, 0, 0].size
    return filters * windows[:, 0, 0].size, filters * positions * image.nbytes


@counts.mistake("biases counted", "The biases are counted: they do not occur in the derivative by the input.")
def counts_biases_counted(filters, **layer):
    values, size = jacobian_size(filters=filters, **layer)
    return values + filters, size


@counts.mistake("one channel", "A filter has a kernel for every channel of its input.")
def counts_one_channel(channels, **layer):
    values, size = jacobian_size(channels=channels, **layer)
    return values // channels, size


counts.altered(
    "entries, not bytes",
    "This is the number of entries; float32 takes 4 bytes for each.",
    then=lambda a: (a[0], a[1] // 4),
)
counts.altered(
    "float64",
    "This is the size in float64: float32 takes 4 bytes for each entry, not 8.",
    then=lambda a: (a[0], a[1] * 2),
)


@counts.mistake("non-zero entries", "Every non-zero entry is counted; most of them repeat the same weights.")
def counts_non_zero_entries(filters, channels, kernel_height, kernel_width, **image):
    values, size = jacobian_size(channels, filters, kernel_height, kernel_width, **image)
    return values * (size // 4 // (channels * image["height"] * image["width"])) // filters, size


counts.altered("stride forgotten", "The size is that of stride 1: the stride leaves fewer outputs.", stride=1)


@counts.mistake("only what is not zero", "Only entries that are not zero are counted in the bytes; all were asked for.")
def counts_only_what_is_not_zero(channels, filters, kernel_height, kernel_width, height, width, **rest):
    values, size = jacobian_size(channels, filters, kernel_height, kernel_width, height, width, **rest)
    return values, size // (height * width) * kernel_height * kernel_width


QUESTIONS = (full, by_input, by_weights, counts)
