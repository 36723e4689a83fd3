"""The last layer of the segmentation network: what it computes, and the gradients of its filters and its bias."""

from __future__ import annotations

import numpy as np

from .... import functional as F
from ....core.tensor import Tensor, as_tensor
from ..question import Output, Question
from .dice import (
    CONVENTIONS,
    DEFINITION,
    IMAGE,
    REDUCTIONS,
    TOPIC,
    batch_shape,
    ignoring_reduction,
    masks,
    minus_dice,
    output_terms,
    sigmoid,
)
from .dice import dice_output_gradient as by_output
from .dice import output as dice_output

LAYER = """
The last layer has one filter h_j for each feature map z_ij of image i, one bias b, and a sigmoid φ:

    u_i(m, n) = b + sum over j, k, l of  h_j(k, l) z_ij(m + k, n + l)        "cross-correlation"
    u_i(m, n) = b + sum over j, k, l of  h_j(k, l) z_ij(m - k, n - l)        "convolution"
    ŷ_i(m, n) = φ(u_i(m, n))

The first is what frameworks compute under the name of convolution; the second is the convolution of signal processing.
The taps are k = 0, ..., K-1 and l = 0, ..., L-1; outside of the image z is 0; u is as large as z.
"""


def layers(rng: np.random.Generator, seed: int) -> dict:
    """Feature maps, filters of odd and even sides (never 1x1), a bias, masks."""
    images, rows, columns = batch_shape(rng, seed)
    maps = int(rng.integers(1, 4)) if seed % 4 else 2
    kernel = [(2, 3), (3, 2), (3, 3), (2, 2), (1, 3)][seed % 5]
    return {
        "z": rng.standard_normal((images, maps, rows, columns)),
        "h": rng.normal(0, 0.7, (maps, *kernel)),
        "b": float(rng.normal()),
        "y": masks(rng, seed, images, rows, columns),
        "convention": CONVENTIONS[seed % 2],
        "reduction": REDUCTIONS[seed % 3],
    }


def probabilities(z: Tensor, h: Tensor, b: Tensor, convention: str) -> Tensor:
    """The layer by `F.conv`: (B, J, M, N) and (J, K, L) give (B, M, N). Convolution reads before, not after."""
    rows, columns = (side - 1 for side in h.shape[1:])
    h = as_tensor(h)[None]
    if convention == "convolution":
        h, padding = h[:, :, ::-1, ::-1], ((rows, 0), (columns, 0))
    else:
        padding = ((0, rows), (0, columns))
    return F.sigmoid(F.conv(z, h, padding=padding) + b)[:, 0]


# --- forward

forward = Question(
    "layer-output",
    "The output of the last layer, in both conventions",
    TOPIC,
    f"""{LAYER}
Arguments: `z`, feature maps (B, J, M, N); `h`, filters (J, K, L), K and L odd or even; `b`, a number; `convention`,
one of the two words. Return ŷ, an array (B, M, N).
""",
    (Output("output", IMAGE),),
    layers,
)


@forward.solution
def layer_output(z, h, b, convention):
    B, J, M, N = z.shape
    _, K, L = h.shape
    padded = np.zeros((B, J, M + 2 * (K - 1), N + 2 * (L - 1)))  # z(m, n) is padded[m + K - 1, n + L - 1]
    padded[:, :, K - 1 : K - 1 + M, L - 1 : L - 1 + N] = z
    sign = 1 if convention == "cross-correlation" else -1
    u = np.full((B, M, N), float(b))
    for k in range(K):
        for l in range(L):  # noqa: E741
            row, column = K - 1 + sign * k, L - 1 + sign * l
            u += np.einsum("j,bjmn->bmn", h[:, k, l], padded[:, :, row : row + M, column : column + N])
    return 1 / (1 + np.exp(-u))


forward.oracle("minidl")(lambda z, h, b, convention: probabilities(as_tensor(z), h, b, convention).numpy())


@forward.oracle("loops")
def forward_by_loops(z, h, b, convention):
    sign = 1 if convention == "cross-correlation" else -1
    B, _, M, N = z.shape
    u = np.full((B, M, N), b)
    for i, m, n in np.ndindex(B, M, N):
        for j, k, l in np.ndindex(*h.shape):  # noqa: E741
            row, column = m + sign * k, n + sign * l
            if 0 <= row < M and 0 <= column < N:
                u[i, m, n] += h[j, k, l] * z[i, j, row, column]
    return 1 / (1 + np.exp(-u))


def other(convention):
    return CONVENTIONS[1 - CONVENTIONS.index(convention)]


def logit(p):
    return np.log(p) - np.log1p(-p)


def lagged(z, row, column, cyclic=False):
    """z(m + row, n + column), zero outside or cyclic."""
    moved = np.roll(z, (-row, -column), axis=(-2, -1))
    if cyclic:
        return moved
    M, N = z.shape[-2:]
    rows, columns = np.arange(M) + row, np.arange(N) + column
    return moved * np.outer((rows >= 0) & (rows < M), (columns >= 0) & (columns < N))


def before_sigmoid(z, h, b, convention, cyclic=False, shift=(0, 0)):
    """u, with the lags moved by `shift`."""
    sign = 1 if convention == "cross-correlation" else -1
    u = b
    for tap in np.ndindex(*h.shape):
        j, (row, column) = tap[0], sign * np.array(tap[1:]) - shift
        u = u + h[tap] * lagged(z[:, j], row, column, cyclic)
    return u


forward.altered("flipped kernel", "The two conventions are exchanged: the filter is reversed.", convention=other)
forward.altered(
    "always cross-correlation", "It is the cross-correlation, whatever the convention.", convention="cross-correlation"
)
forward.altered("always convolution", "It is the convolution, whatever the convention.", convention="convolution")


@forward.mistake("centred filter", "The filter is centred on the pixel; here its first tap (0, 0) lies on it.")
def forward_centred_filter(z, h, b, convention):
    sign = 1 if convention == "cross-correlation" else -1
    return sigmoid(before_sigmoid(z, h, b, convention, shift=(sign * (h.shape[1] // 2), sign * (h.shape[2] // 2))))


forward.mistake("wraps around", "What lies outside of the image is taken from its other side; it is 0.")(
    lambda z, h, b, convention: sigmoid(before_sigmoid(z, h, b, convention, cyclic=True))
)
forward.altered("activation forgotten", "This is u: the sigmoid is missing.", before_sigmoid)
forward.altered("bias forgotten", "The bias is missing.", b=0.0)
forward.mistake("bias in every map", "The bias is added once for each feature map; it belongs there once.")(
    lambda z, h, b, convention: layer_output(z, h, b * len(h), convention)
)
forward.altered(
    "first map only", "Only the first feature map is used: u is a sum over j.", z=lambda z: z[:, :1], h=lambda h: h[:1]
)


# --- backward

weights = Question(
    "dice-weights",
    "The gradients of the soft Dice loss for filters and bias of the last layer",
    TOPIC,
    f"""{LAYER}
Its loss is the soft Dice loss of p = ŷ and the mask g = y. {DEFINITION.strip()}

Derive dL/dh_j(k, l) and dL/db. (The two conventions give gradients of the same shape; no test of shapes can tell them
apart.)

Arguments: `z`, feature maps (B, J, M, N); `h`, filters (J, K, L), K and L odd or even; `b`, a number; `y`, masks
(B, M, N); `convention` and `reduction`, one of the words above. Return a pair: dL/dh, an array (J, K, L), and dL/db, a
number.
""",
    (Output("dL/dh", ("map", "row", "column")), Output("dL/db")),
    layers,
)


@weights.solution
def dice_layer_gradients(z, h, b, y, convention, reduction):
    B, J, M, N = z.shape
    _, K, L = h.shape
    padded = np.zeros((B, J, M + 2 * (K - 1), N + 2 * (L - 1)))  # z(m, n) is padded[m + K - 1, n + L - 1]
    padded[:, :, K - 1 : K - 1 + M, L - 1 : L - 1 + N] = z
    sign = 1 if convention == "cross-correlation" else -1
    moved = np.zeros((K, L, B, J, M, N))  # z(m ± k, n ± l)
    for k in range(K):
        for l in range(L):  # noqa: E741
            row, column = K - 1 + sign * k, L - 1 + sign * l
            moved[k, l] = padded[:, :, row : row + M, column : column + N]

    p = 1 / (1 + np.exp(-b - np.einsum("jkl,klbjmn->bmn", h, moved)))
    axes = (0, 1, 2) if reduction == "pooled" else (1, 2)
    Q = (p**2 + y**2).sum(axis=axes, keepdims=True)
    D = 2 * (p * y).sum(axis=axes, keepdims=True) / Q
    delta = 2 * (D * p - y) / Q * p * (1 - p)
    if reduction == "mean":
        delta = delta / B
    return np.einsum("bmn,klbjmn->jkl", delta, moved), delta.sum()


weights.derivative("h", "b")(
    lambda z, h, b, y, convention, reduction: minus_dice(probabilities(as_tensor(z), h, b, convention), y, reduction)
)


def gradients(delta, z, h, convention, cyclic=False):
    """Filters and bias from delta: the correlation of delta with z at the lag of each tap."""
    sign = 1 if convention == "cross-correlation" else -1
    by_h = np.zeros(h.shape)
    for tap in np.ndindex(*h.shape):
        by_h[tap] = (delta * lagged(z[:, tap[0]], sign * tap[1], sign * tap[2], cyclic)).sum()
    return by_h, delta.sum()


def forms(z, h, b, y, convention, reduction):
    """(p, dL/dp, delta) of the right answer."""
    p = layer_output(z, h, b, convention)
    by_p = by_output(p, y, reduction)
    return p, by_p, by_p * p * (1 - p)


@weights.terms
def weights_terms(z, h, b, y, convention, reduction):
    p = layer_output(z, h, b, convention)
    return {
        name: gradients(term * p * (1 - p), z, h, convention) for name, term in output_terms(p, y, reduction).items()
    }


@weights.mistake("flipped kernel", "The lag has the wrong sign: z(m - k, n - l) for z(m + k, n + l), or the reverse.")
def weights_flipped_kernel(z, h, b, y, convention, reduction):
    return gradients(forms(z, h, b, y, convention, reduction)[2], z, h, other(convention))


for wrong in dice_output.with_eps.values():

    @weights.smoothed(wrong.name, wrong.words)
    def weights_with_eps(eps, z, h, b, y, convention, reduction, wrong=wrong):
        p = layer_output(z, h, b, convention)
        return gradients(wrong.function(eps, p, y, reduction) * p * (1 - p), z, h, convention)


weights.altered(
    "other convention", "All of it is right for the other convention, forwards and backwards.", convention=other
)
weights.mistake("always cross-correlation", "It is right for cross-correlation, whatever the convention.")(
    lambda z, h, b, y, convention, reduction: dice_layer_gradients(z, h, b, y, "cross-correlation", reduction)
)
weights.altered("always convolution", "It is right for convolution, whatever the convention.", convention="convolution")


@weights.mistake("lag of cross-correlation", "dL/dh takes z(m + k, n + l), whatever the convention; ŷ is right.")
def weights_lag_of_cross_correlation(z, h, b, y, convention, reduction):
    return gradients(forms(z, h, b, y, convention, reduction)[2], z, h, "cross-correlation")


@weights.mistake("lag of convolution", "dL/dh takes z(m - k, n - l), whatever the convention; ŷ is right.")
def weights_lag_of_convolution(z, h, b, y, convention, reduction):
    return gradients(forms(z, h, b, y, convention, reduction)[2], z, h, "convolution")


weights.altered(
    "array reversed",
    "The gradient's array is reversed along rows and columns.",
    then=lambda a: (a[0][:, ::-1, ::-1], a[1]),
)
weights.mistake("activation's derivative forgotten", "dL/dŷ is used for delta: the factor φ'(u) is missing.")(
    lambda z, h, b, y, convention, reduction: gradients(forms(z, h, b, y, convention, reduction)[1], z, h, convention)
)


@weights.mistake("activation's derivative twice", "The factor φ'(u) stands there twice.")
def weights_activations_derivative_twice(z, h, b, y, convention, reduction):
    p, _, delta = forms(z, h, b, y, convention, reduction)
    return gradients(delta * p * (1 - p), z, h, convention)


@weights.mistake("derivative of the sigmoid at u", "u (1 - u) is used for φ'(u): it is the output that belongs there.")
def weights_derivative_of_the_sigmoid_at_u(z, h, b, y, convention, reduction):
    p, by_p, _ = forms(z, h, b, y, convention, reduction)
    return gradients(by_p * logit(p) * (1 - logit(p)), z, h, convention)


@weights.mistake("Dice treated as 1", "Where the Dice overlap D stands, there is a 1: the answer of ŷ = y only.")
def weights_dice_treated_as_1(z, h, b, y, convention, reduction):
    p, _, _ = forms(z, h, b, y, convention, reduction)
    axes = (0, 1, 2) if reduction == "pooled" else (1, 2)
    Q = (p**2 + y**2).sum(axis=axes, keepdims=True) * (len(z) if reduction == "mean" else 1)
    return gradients(2 * (p - y) / Q * p * (1 - p), z, h, convention)


@weights.mistake("cross entropy", "delta is ŷ - y, that of the cross entropy, not that of Dice.")
def weights_cross_entropy(z, h, b, y, convention, reduction):
    p = layer_output(z, h, b, convention)
    return gradients((p - y) / (len(z) if reduction == "mean" else 1), z, h, convention)


@weights.mistake("wraps around", "In dL/dh, what lies outside of the image is taken from its other side; it is 0.")
def weights_wraps_around(z, h, b, y, convention, reduction):
    return gradients(forms(z, h, b, y, convention, reduction)[2], z, h, convention, cyclic=True)


@weights.mistake("mean over pixels", "delta is averaged over the pixels of an image; it is summed.")
def weights_mean_over_pixels(z, h, b, y, convention, reduction):
    by_h, by_b = dice_layer_gradients(z, h, b, y, convention, reduction)
    return by_h / y[0].size, by_b / y[0].size


@weights.mistake("first image only", "Only the first image counts: the gradients are sums over the batch.")
def weights_first_image_only(z, h, b, y, convention, reduction):
    delta = forms(z, h, b, y, convention, reduction)[2]
    return gradients(delta[:1], z[:1], h, convention)


ignoring_reduction(weights)
QUESTIONS = (forward, weights)
