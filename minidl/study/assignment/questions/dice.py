"""The segmentation network with a soft Dice loss: the loss, its gradient at the output, before the sigmoid, and at the
weights of the last layer."""

from __future__ import annotations

import numpy as np

from .... import functional as F
from ....core.tensor import Tensor, as_tensor
from ..question import Output, Question

TOPIC = "Soft Dice and the segmentation network"
REDUCTIONS = ("mean", "sum", "pooled")
CONVENTIONS = ("cross-correlation", "convolution")
IMAGE = ("image", "row", "column")

DEFINITION = """
For image i, summed over its pixels, let

    S_i = sum of p g        Q_i = sum of p² + sum of g²        D_i = 2 S_i / Q_i

where p holds probabilities and g is the mask, 1 on the object and 0 elsewhere. D_i is the soft Dice overlap. A batch
makes one loss of it, in one of three ways, which are three different losses:

    "sum"      L = -(D_1 + ... + D_B)
    "mean"     L = -(D_1 + ... + D_B) / B
    "pooled"   L = -2 (S_1 + ... + S_B) / (Q_1 + ... + Q_B)        the batch as one large image
"""


def masks(rng: np.random.Generator, seed: int, *shape: int) -> np.ndarray:
    """Masks (B, M, N): random, the last one empty in seeds 1, 6, 11, ..., but never all of a batch."""
    g = (rng.random(shape) < 0.4).astype(np.float64)
    g[:, 0, 0] = 1
    if seed % 5 == 1 and len(g) > 1:
        g[-1] = 0
    return g


def batch_shape(rng: np.random.Generator, seed: int) -> tuple[int, int, int]:
    """Images of odd and even sides, seldom square; batch 1 in seeds 0, 4, 8, ..."""
    images = 1 if seed % 4 == 0 else int(rng.integers(2, 4))
    return images, int(rng.integers(2, 4)), int(rng.integers(3, 6))


def batches(rng: np.random.Generator, seed: int) -> dict:
    shape = batch_shape(rng, seed)
    return {
        "p": rng.uniform(0.05, 0.95, shape),
        "u": rng.normal(0, 1.5, shape),
        "g": masks(rng, seed, *shape),
        "reduction": REDUCTIONS[seed % 3],
    }


def with_nothing(rng: np.random.Generator, seed: int) -> dict:
    """As `batches`; in seeds 2, 5, 8, ... one image has neither object nor prediction."""
    case = batches(rng, seed)
    case["reduction"] = REDUCTIONS[rng.integers(3)]
    if seed % 3 == 2:
        case["p"][-1] = case["g"][-1] = 0
    return case


def minus_dice(p: Tensor, g: np.ndarray, reduction: str) -> Tensor:
    """The loss of images (B, M, N), of one class."""
    return F.soft_dice_loss(as_tensor(p)[:, None], g[:, None], reduction=reduction)


def ignoring_reduction(question: Question) -> None:
    """Three mistakes: one reduction, whatever was asked."""
    words = {
        "mean": "It is the mean over the images, whatever the reduction.",
        "sum": "It is the sum over the images, whatever the reduction.",
        "pooled": "S and Q are added up over the batch before dividing, whatever the reduction.",
    }
    for name, sentence in words.items():
        question.altered(f"always {name}", sentence, reduction=name)


EPS_BELOW = "eps in the denominator", "The overlap is 2 S / (Q + eps): the question has no eps."
EPS_TWICE = "eps in both", "The overlap is (2 S + eps) / (Q + eps): the question has no eps."


# --- the loss

loss = Question(
    "dice-loss",
    "The soft Dice loss of a batch",
    TOPIC,
    f"""{DEFINITION}
If an image has Q_i = 0, nothing was found where there is nothing: then D_i = 1 (and -1 is the pooled loss if all of
the batch is so).

Arguments: `p` and `g`, arrays (B, M, N); `reduction`, one of the three words. Return L, a number.
""",
    (Output("L"),),
    with_nothing,
)


@loss.solution
def soft_dice_loss(p, g, reduction):
    S = (p * g).sum(axis=(1, 2))
    Q = (p**2).sum(axis=(1, 2)) + (g**2).sum(axis=(1, 2))
    if reduction == "pooled":
        S, Q = S.sum(keepdims=True), Q.sum(keepdims=True)
    D = np.where(Q > 0, 2 * S / np.where(Q > 0, Q, 1), 1.0)
    return -D.sum() if reduction == "sum" else -D.mean()


loss.oracle("minidl")(lambda p, g, reduction: minus_dice(p, g, reduction).item())


@loss.oracle("loops")
def loss_by_loops(p, g, reduction):
    pairs = []
    for image, mask in zip(p.tolist(), g.tolist(), strict=True):
        S = sum(a * b for row, marks in zip(image, mask) for a, b in zip(row, marks))
        pairs.append((S, sum(a * a for rows in (image, mask) for row in rows for a in row)))
    if reduction == "pooled":
        pairs = [(sum(S for S, _ in pairs), sum(Q for _, Q in pairs))]
    overlaps = [2 * S / Q if Q else 1.0 for S, Q in pairs]
    return -sum(overlaps) / (len(overlaps) if reduction == "mean" else 1)


def _dice_by(fraction, reduction, *sums):
    """-fraction(sums), where each of the sums is per image or over the batch."""
    sums = [a.sum(axis=(1, 2)) for a in sums]
    if reduction == "pooled":
        sums = [a.sum(keepdims=True) for a in sums]
    D = np.asarray(fraction(*sums))
    return -D.sum() if reduction == "sum" else -D.mean()


loss.mistake("0/0", "An image without object and without prediction gives 0/0; the question says what D is then.")(
    lambda p, g, reduction: _dice_by(lambda S, Q: 2 * S / Q, reduction, p * g, p**2 + g**2)
)


@loss.mistake("nothing counts 0", "An image without object and without prediction counts D = 0; it counts 1.")
def loss_nothing_counts_0(p, g, reduction):
    return _dice_by(lambda S, Q: np.where(Q > 0, 2 * S / np.where(Q > 0, Q, 1), 0), reduction, p * g, p**2 + g**2)


@loss.mistake("IoU", "This is intersection over union, S / (Q - S): another number than Dice, D = 2 J / (1 + J).")
def loss_iou(p, g, reduction):
    def jaccard(S, Q):
        return np.where(Q > 0, S / np.where(Q > 0, Q - S, 1), 1)

    return _dice_by(jaccard, reduction, p * g, p**2 + g**2)


@loss.mistake("linear denominator", "The denominator adds p and g; here it adds their squares.")
def loss_linear_denominator(p, g, reduction):
    return _dice_by(lambda S, T: np.where(T > 0, 2 * S / np.where(T > 0, T, 1), 1), reduction, p * g, p + g)


@loss.mistake("factor 2 dropped", "The 2 in front of S is missing: a perfect answer would have D = 1/2.")
def loss_factor_2_dropped(p, g, reduction):
    return _dice_by(lambda S, Q: np.where(Q > 0, S / np.where(Q > 0, Q, 1), 1), reduction, p * g, p**2 + g**2)


@loss.smoothed(*EPS_BELOW)
def loss_eps_below(eps, p, g, reduction):
    return _dice_by(lambda S, Q: 2 * S / (Q + eps), reduction, p * g, p**2 + g**2)


@loss.smoothed(*EPS_TWICE)
def loss_eps_twice(eps, p, g, reduction):
    return _dice_by(lambda S, Q: (2 * S + eps) / (Q + eps), reduction, p * g, p**2 + g**2)


loss.mistake("one minus Dice", "This is 1 - D; the loss asked for is -D. (Their gradients are the same.)")(
    lambda p, g, reduction: soft_dice_loss(p, g, reduction) + (len(p) if reduction == "sum" else 1)
)
loss.altered(
    "thresholded", "The probabilities are rounded to 0 and 1 first: that has no gradient.", p=lambda p: (p > 0.5) * 1.0
)
ignoring_reduction(loss)

# --- at the output

output = Question(
    "dice-output",
    "The gradient of the soft Dice loss at the network's output",
    TOPIC,
    f"""{DEFINITION}
Derive the derivative of L by each probability. Both S_i and Q_i depend on p. What is it if the mask is empty?

Arguments: `p` and `g`, arrays (B, M, N), no image with Q = 0; `reduction`, one of the three words. Return dL/dp, an
array (B, M, N).
""",
    (Output("dL/dp", IMAGE),),
    batches,
)


@output.solution
def dice_output_gradient(p, g, reduction):
    axes = (0, 1, 2) if reduction == "pooled" else (1, 2)
    S = (p * g).sum(axis=axes, keepdims=True)
    Q = (p**2 + g**2).sum(axis=axes, keepdims=True)
    D = 2 * S / Q
    gradient = 2 * (D * p - g) / Q
    return gradient / len(p) if reduction == "mean" else gradient


output.derivative("p")(minus_dice)


def _sums(p, g, reduction):
    """S, Q, shaped to broadcast against p, and what a mean divides by."""
    axes = (0, 1, 2) if reduction == "pooled" else (1, 2)
    S, Q = (a.sum(axis=axes, keepdims=True) for a in (p * g, p**2 + g**2))
    return S, Q, len(p) if reduction == "mean" else 1


@output.terms
def output_terms(p, g, reduction):
    S, Q, B = _sums(p, g, reduction)
    return {
        "the derivative of S (the numerator)": -2 * g / Q / B,
        "the derivative of Q (the denominator)": 4 * S * p / Q**2 / B,
    }


@output.mistake("Dice treated as 1", "Where the Dice overlap D stands, there is a 1: the answer of p = g only.")
def output_dice_treated_as_1(p, g, reduction):
    _, Q, B = _sums(p, g, reduction)
    return 2 * (p - g) / Q / B


@output.mistake("denominator not squared", "In the quotient rule, the square of the denominator is missing.")
def output_denominator_not_squared(p, g, reduction):
    S, Q, B = _sums(p, g, reduction)
    return (4 * S * p - 2 * g * Q) / Q / B


@output.mistake("linear denominator", "The denominator is differentiated as sum of p + sum of g, without squares.")
def output_linear_denominator(p, g, reduction):
    axes = (0, 1, 2) if reduction == "pooled" else (1, 2)
    S, T = (a.sum(axis=axes, keepdims=True) for a in (p * g, p + g))
    return (2 * S / T - 2 * g) / T / (len(p) if reduction == "mean" else 1)


output.mistake("cross entropy", "This is p - g: the cross entropy's gradient before the sigmoid, not that of Dice.")(
    lambda p, g, reduction: (p - g) / (len(p) if reduction == "mean" else 1)
)
ignoring_reduction(output)


@output.smoothed(*EPS_BELOW)
def output_eps_below(eps, p, g, reduction):
    S, Q, B = _sums(p, g, reduction)
    return 2 * (2 * S / (Q + eps) * p - g) / (Q + eps) / B


@output.smoothed(*EPS_TWICE)
def output_eps_twice(eps, p, g, reduction):
    S, Q, B = _sums(p, g, reduction)
    return 2 * ((2 * S + eps) / (Q + eps) * p - g) / (Q + eps) / B


@output.smoothed("eps beside the square", "The denominators are Q + eps and Q² + eps: the question has no eps.")
def output_eps_beside_the_square(eps, p, g, reduction):
    S, Q, B = _sums(p, g, reduction)
    return (4 * S * p / (Q**2 + eps) - 2 * g / (Q + eps)) / B

# --- before the sigmoid

delta = Question(
    "dice-delta",
    "Backwards through the sigmoid: delta of the soft Dice loss",
    TOPIC,
    f"""{DEFINITION}
The probabilities are p = φ(u) with the sigmoid φ(u) = 1 / (1 + exp(-u)). Derive δ = dL/du.

Look at your result at a pixel of the object that was missed with confidence, u far below 0: what is left of δ? (Cross
entropy would give -1.)

Arguments: `u` and `g`, arrays (B, M, N); `reduction`, one of the three words. Return δ, an array (B, M, N).
""",
    (Output("delta", IMAGE),),
    batches,
)


@delta.solution
def dice_delta(u, g, reduction):
    p = 1 / (1 + np.exp(-u))
    axes = (0, 1, 2) if reduction == "pooled" else (1, 2)
    Q = (p**2 + g**2).sum(axis=axes, keepdims=True)
    D = 2 * (p * g).sum(axis=axes, keepdims=True) / Q
    gradient = 2 * (D * p - g) / Q * p * (1 - p)
    return gradient / len(p) if reduction == "mean" else gradient


delta.derivative("u")(lambda u, g, reduction: minus_dice(F.sigmoid(u), g, reduction))


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


@delta.terms
def delta_terms(u, g, reduction):
    p = sigmoid(u)
    return {name: term * p * (1 - p) for name, term in output_terms(p, g, reduction).items()}


delta.mistake("activation's derivative forgotten", "This is dL/dp: the factor φ'(u) of the sigmoid is missing.")(
    lambda u, g, reduction: dice_output_gradient(sigmoid(u), g, reduction)
)
delta.mistake("activation's derivative twice", "The factor φ'(u) of the sigmoid stands there twice.")(
    lambda u, g, reduction: dice_delta(u, g, reduction) * sigmoid(u) * (1 - sigmoid(u))
)
delta.mistake("derivative of the sigmoid at u", "u (1 - u) is used for φ'(u): it is the output that belongs there.")(
    lambda u, g, reduction: dice_output_gradient(sigmoid(u), g, reduction) * u * (1 - u)
)


@delta.mistake("Dice of u", "S and Q are those of u: the sigmoid was not applied before the overlap.")
def delta_dice_of_u(u, g, reduction):
    p = sigmoid(u)
    return dice_output_gradient(u, g, reduction) * p * (1 - p)


delta.mistake("cross entropy", "This is p - g, the delta of the cross entropy, not that of Dice.")(
    lambda u, g, reduction: (sigmoid(u) - g) / (len(u) if reduction == "mean" else 1)
)
ignoring_reduction(delta)
for wrong in output.with_eps.values():

    @delta.smoothed(wrong.name, wrong.words)
    def delta_with_eps(eps, u, g, reduction, wrong=wrong):
        p = sigmoid(u)
        return wrong.function(eps, p, g, reduction) * p * (1 - p)


QUESTIONS = (loss, output, delta)
