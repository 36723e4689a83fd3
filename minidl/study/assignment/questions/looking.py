"""Looking inside: three rules at a relu, CAM within Grad-CAM."""

from __future__ import annotations

import numpy as np

from .... import functional as F
from ....core.calculus import grad
from ....core.tensor import Tensor, as_tensor
from ....ops.elementwise import relu_rule
from ..question import Output, Question, by_slopes
from ..question import by_rules as derivative

TOPIC = "Looking inside"
RULES = ("gradient", "deconvnet", "guided")


# --- relu


def signals(rng: np.random.Generator, seed: int) -> dict:
    """Forward inputs of which some are exactly 0, and what arrives."""
    shape = tuple(rng.integers(3, 6, 2))
    return {
        "x": rng.integers(-2, 3, shape) * rng.uniform(0.5, 1, shape),
        "R": rng.standard_normal(shape),
        "rule": RULES[seed % 3],
    }


rules = Question(
    "relu-rules",
    "Three ways back through a relu",
    TOPIC,
    """
A relu has the input x in the forward pass. On the way back, the signal R arrives at its output. What leaves it towards
the input,

    "gradient"    in backpropagation;
    "deconvnet"   in a deconvnet, which sends R itself through a relu and does not look at x;
    "guided"      in guided backpropagation, which asks for both?

At x = 0 and at R = 0 nothing passes. Which of the three are derivatives of something?

Arguments: `x` and `R`, arrays of one shape; `rule`, one of the three words. Return an array of that shape.
""",
    (Output("signal", ("row", "column")),),
    signals,
)


@rules.solution
def relu_backward(x, R, rule):
    if rule == "gradient":
        return R * (x > 0)
    if rule == "deconvnet":
        return R * (R > 0)
    return R * (x > 0) * (R > 0)


@rules.oracle("minidl.relu_rule")
def rules_by_minidl_relu_rule(x, R, rule):
    leaf = Tensor(x, requires_grad=True)
    with relu_rule(rule):
        return grad(F.relu(leaf), leaf, R)[0].numpy()


@rules.oracle("entry by entry")
def rules_entry_by_entry(x, R, rule):
    def signal(f, incoming):
        forward = f > 0 or rule == "deconvnet"
        backward = incoming > 0 or rule == "gradient"
        return incoming if forward and backward else 0.0

    return np.vectorize(signal, otypes=[float])(x, R)


for _rule in RULES:

    @rules.mistake(f"always {_rule}", f"It is the rule {_rule!r}, whatever was asked.")
    def rules_other_rule(x, R, rule, one=_rule):
        return relu_backward(x, R, one)


EXCHANGED = {"gradient": "deconvnet", "deconvnet": "gradient", "guided": "guided"}
rules.altered(
    "gradient and deconvnet exchanged", "The gates of gradient and deconvnet are exchanged.", rule=EXCHANGED.get
)
rules.altered(
    "open at zero", "The gate of x is open at x = 0; nothing passes there.", x=lambda x: np.where(x == 0, 1, x)
)
rules.mistake("guided by either", "Guided passes where one of the two is positive; it asks for both.")(
    lambda x, R, rule: R * ((x > 0) | (R > 0)) if rule == "guided" else relu_backward(x, R, rule)
)
rules.mistake("relu of x", "The values of x pass, gated; it is the signal R that goes back.")(
    lambda x, R, rule: np.maximum(x, 0)
)
rules.altered("magnitude", "The absolute value of the signal passes.", then=abs)


# --- Grad-CAM


def maps(rng: np.random.Generator, seed: int) -> dict:
    """Feature maps of both signs, seldom square, a weight for each; weights of several classes, and one of these."""
    K, H, W = [(1, 2, 3), (3, 2, 4), (2, 3, 3), (4, 3, 2)][seed % 4]
    classes = int(rng.integers(2, 5))
    return {
        "A": rng.standard_normal((K, H, W)),
        "w": rng.standard_normal(K),
        "W": rng.standard_normal((classes, K)),
        "c": int(rng.integers(classes)),
    }


cam = Question(
    "grad-cam",
    "Grad-CAM of a net that ends with pooling: CAM again",
    TOPIC,
    """
A net ends with feature maps A_1, ..., A_K of Z = H W pixels each, global average pooling and a full layer. The score of
a class, before any softmax, is S = sum over k of w_k mean(A_k). CAM draws the map sum over k of w_k A_k.

Grad-CAM asks for no such ending: its weights α_k are the mean, over the pixels of A_k, of dS/dA_k, and it draws
relu(sum over k of α_k A_k). Derive both for this net, and compare with CAM.

Arguments: `A`, an array (K, H, W); `w`, an array (K,). Return a pair: α, an array (K,), and the map, an array (H, W).
""",
    (Output("alpha", ("map",)), Output("picture", ("row", "column"))),
    maps,
)


@cam.solution
def grad_cam(A, w):
    alpha = w / A[0].size
    return alpha, np.maximum(np.einsum("k,khw->hw", alpha, A), 0)


def _score(A, w):
    return (F.global_avg_pool(as_tensor(A)[None])[0] * w).sum()


def _drawn(by_A, A):
    alpha = by_A.mean(axis=(1, 2))
    return alpha, F.relu((alpha[:, None, None] * as_tensor(A)).sum(axis=0)).numpy()


cam.oracle("autograd")(lambda A, w: _drawn(derivative(_score, ("A",), {"A": A, "w": w}), A))
cam.oracle("complex step")(lambda A, w: _drawn(by_slopes(_score, ("A",), {"A": A, "w": w}), A))


def _with(alpha, A, relu=True):
    picture = np.einsum("k,khw->hw", alpha, A)
    return alpha, np.maximum(picture, 0) if relu else picture


cam.mistake("sum against mean", "α is summed over the pixels: that gives CAM's own weights. Grad-CAM takes the mean.")(
    lambda A, w: _with(w, A)
)
cam.mistake("mean taken twice", "There is a 1/Z too many.")(lambda A, w: _with(w / A[0].size ** 2, A))
cam.mistake("relu forgotten", "The map is not cut off at 0.")(lambda A, w: _with(w / A[0].size, A, relu=False))
cam.mistake("relu on the weights", "The weights are cut off at 0; the relu belongs around the sum.")(
    lambda A, w: (w / A[0].size, _with(np.maximum(w, 0) / A[0].size, A)[1])
)


@cam.mistake("relu on each map", "Each weighted map is cut off at 0; the relu belongs around the sum.")
def cam_relu_on_each_map(A, w):
    terms = np.maximum(w[:, None, None] * A / A[0].size, 0)
    return w / A[0].size, terms.sum(axis=0)


cam.mistake("CAM drawn", "α is right, but the map is that of CAM: its weights are w.")(
    lambda A, w: (w / A[0].size, _with(w, A)[1])
)
cam.mistake("divided by the number of maps", "The mean is taken over the maps; α is a mean over pixels.")(
    lambda A, w: _with(w / len(A), A)
)


# --- after a softmax

softmax = Question(
    "grad-cam-softmax",
    "Grad-CAM of a probability: where CAM is left",
    TOPIC,
    """
A net ends with feature maps A_1, ..., A_K of Z = H W pixels each, global average pooling and a full layer. The score of
class j is S_j = sum over k of W_jk mean(A_k), and the softmax of the scores gives the probabilities p_j. Let Grad-CAM
differentiate the probability of class c, not its score: α_k is the mean, over the pixels of A_k, of dp_c/dA_k. Derive
it. Are these weights still in proportion to those of CAM, W_ck?

Arguments: `A`, an array (K, H, W); `W`, an array (classes, K); `c`, the class. Return α, an array (K,).
""",
    (Output("alpha", ("map",)),),
    maps,
)


@softmax.solution
def softmax_alpha(A, W, c):
    S = W @ A.mean(axis=(1, 2))
    p = np.exp(S - S.max())
    p = p / p.sum()
    return p[c] * (W[c] - p @ W) / A[0].size


def _probability(A, W, c):
    return F.softmax(as_tensor(W) @ F.global_avg_pool(as_tensor(A)[None])[0], axis=0)[c]


softmax.oracle("autograd")(lambda A, W, c: derivative(_probability, ("A",), {"A": A, "W": W, "c": c}).mean(axis=(1, 2)))
softmax.oracle("complex step")(
    lambda A, W, c: by_slopes(_probability, ("A",), {"A": A, "W": W, "c": c}).mean(axis=(1, 2))
)


def probabilities(A, W):
    S = np.exp(W @ A.mean(axis=(1, 2)))
    return S / S.sum()


@softmax.terms
def softmax_terms(A, W, c):
    p = probabilities(A, W)
    return {
        "the class's own score": p[c] * W[c] / A[0].size,
        "all scores through the softmax's sum": -p[c] * (p @ W) / A[0].size,
    }


softmax.mistake("softmax's derivative forgotten", "This is the answer for the score before the softmax.")(
    lambda A, W, c: W[c] / A[0].size
)


@softmax.mistake("other classes forgotten", "Only p_c (1 - p_c) is used: the other scores move p_c, too.")
def softmax_other_classes_forgotten(A, W, c):
    p = probabilities(A, W)
    return p[c] * (1 - p[c]) * W[c] / A[0].size


softmax.mistake("logarithm", "This differentiates log p_c: the factor p_c is missing.")(
    lambda A, W, c: (W[c] - probabilities(A, W) @ W) / A[0].size
)
softmax.mistake("sum against mean", "α is summed over the pixels of a map; it is the mean.")(
    lambda A, W, c: softmax_alpha(A, W, c) * A[0].size
)
softmax.mistake(
    "one hot minus p", "This has the sign of the cross entropy's gradient, p minus one hot, and no factor p_c."
)(lambda A, W, c: (probabilities(A, W) @ W - W[c]) / A[0].size)


QUESTIONS = (rules, cam, softmax)
