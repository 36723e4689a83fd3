"""Matrix product, batch normalisation, and two losses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..piece import Case, Function, Piece, gradient

# --- matmul


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a[:, :, None] * b).sum(1)


def _product_gradients(g: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return gradient(lambda z: _product(z, b), a, g), gradient(lambda z: _product(a, z), b, g)


def _matrices(rng: np.random.Generator) -> Iterator[Case]:
    draw = rng.standard_normal
    yield "one row and one column", (draw((1, 3)), draw((3, 1)))
    yield "a of shape (2, 3), b (3, 4)", (draw((2, 3)), draw((3, 4)))
    yield "square a and b", (draw((3, 3)), draw((3, 3)))


def _matrices_and_g(rng: np.random.Generator) -> Iterator[Case]:
    for words, (a, b) in _matrices(rng):
        yield words, (rng.standard_normal((len(a), b.shape[1])), a, b)


MATMUL = Piece("matmul", "the matrix product", 4, (
    Function("matmul", _product, _matrices, mistakes={"it is b @ a": lambda a, b: b @ a}),
    Function(
        "matmul_backward", _product_gradients, _matrices_and_g, ("ga", "gb"),
        {
            "the factor is not transposed: ga = g @ b^T, gb = a^T @ g": lambda g, a, b: (
                (g @ b, a @ g) if a.shape == b.shape else (a, b)
            ),
            "ga and gb are exchanged": lambda g, a, b: (a.T @ g, g @ b.T),
        },
    ),
), drives=True)  # fmt: skip


# --- batch norm


def _per_channel(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (C, N * H * W)"""
    return np.stack([x[:, c].ravel() for c in range(x.shape[1])])


def _moments(x: np.ndarray, less: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = _per_channel(x)
    mean = rows.sum(1) / rows.shape[1]
    return mean, ((rows - mean[:, None]) ** 2).sum(1) / (rows.shape[1] - less)


def _over(x: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return x.mean(axes), x.var(axes)


def _normal(x, mean, var, weight, bias, eps):
    return np.stack(
        [(x[:, c] - mean[c]) / np.sqrt(var[c] + eps) * weight[c] + bias[c] for c in range(len(mean))], axis=1
    )


def _trained(x, weight, bias, eps):
    return _normal(x, *_moments(x), weight, bias, eps)


def _normal_gradients(g, x, weight, eps):
    bias = np.zeros(len(weight))
    return (
        gradient(lambda z: _trained(z, weight, bias, eps), x, g),
        gradient(lambda z: _trained(x, z, bias, eps), weight, g),
        gradient(lambda z: _trained(x, weight, z, eps), bias, g),
    )


def _normal_wrongly(g, x, weight, eps, mean_g=1.0, mean_gh=1.0, scaled=True, total=False):
    c = lambda v: v[:, None, None]  # noqa: E731  (C,) -> (C, 1, 1)
    mean, var = _moments(x)
    h = (x - c(mean)) / np.sqrt(c(var) + eps)
    average = np.sum if total else np.mean
    inner = g - mean_g * c(average(g, (0, 2, 3))) - mean_gh * h * c(average(g * h, (0, 2, 3)))
    gx = (c(weight) if scaled else 1) / np.sqrt(c(var) + eps) * inner
    means = total is None
    return gx, (g * h).mean((0, 2, 3)) if means else (g * h).sum((0, 2, 3)), g.sum((0, 2, 3))


def _maps(rng: np.random.Generator) -> Iterator[Case]:
    yield "one channel", (2 * rng.standard_normal((2, 1, 2, 3)) + 1,)
    yield "several channels", (2 * rng.standard_normal((2, 3, 2, 3)) - 1,)
    yield "one image", (rng.standard_normal((1, 2, 3, 2)) * [[[[1.0]], [[5.0]]]],)


def _maps_and_moments(rng: np.random.Generator) -> Iterator[Case]:
    for words, (x,) in _maps(rng):
        n = x.shape[1]
        weight, bias = rng.standard_normal((2, n))
        yield words, (x, *_moments(x), weight, bias, 1e-5)
    yield "other means and variances than those of x, as in eval mode", (
        x, rng.standard_normal(n), rng.uniform(0.5, 2, n), weight, bias, 1e-2,
    )  # fmt: skip


def _maps_and_g(rng: np.random.Generator) -> Iterator[Case]:
    for words, (x,) in _maps(rng):
        yield words, (rng.standard_normal(x.shape), x, rng.standard_normal(x.shape[1]), 1e-3)


def _wrong(**changes):
    return partial(_normal_wrongly, **changes)


BATCH_NORM = Piece("batch-norm", "each channel with mean 0 and variance 1", 7, (
    Function("moments", _moments, _maps, ("mean", "var"), {
        "the variance divides by n - 1: divide by n": partial(_moments, less=1),
        "they are taken over images only: over positions, too": partial(_over, axes=(0,)),
        "they are taken over positions only: over images, too": partial(_over, axes=(2, 3)),
        "it is the standard deviation: the variance is its square": lambda x: (_moments(x)[0], _moments(x)[1] ** 0.5),
    }),
    Function("batch_norm", _normal, _maps_and_moments, mistakes={
        "eps is added to the standard deviation: add it to the variance, inside of the root": (
            lambda x, m, v, w, b, eps: _normal(x, m, (v**0.5 + eps) ** 2, w, b, 0)
        ),
        "eps is left out": lambda x, m, v, w, b, eps: _normal(x, m, v, w, b, 0),
        "the bias is left out": lambda x, m, v, w, b, eps: _normal(x, m, v, w, 0 * b, eps),
        "the weight is left out": lambda x, m, v, w, b, eps: _normal(x, m, v, 1 + 0 * w, b, eps),
        "it divides by the variance: by its root": lambda x, m, v, w, b, eps: _normal(x, m, (v + eps) ** 2, w, b, 0),
        "it uses the moments of x, whatever mean and var are given": (
            lambda x, m, v, w, b, eps: _normal(x, *_moments(x), w, b, eps)
        ),
    }),
    Function("batch_norm_backward", _normal_gradients, _maps_and_g, ("gx", "gweight", "gbias"), {
        "mean and variance are taken for constants: x acts by them, too": _wrong(mean_g=0, mean_gh=0),
        "the term of the mean, minus the mean of g, is missing": _wrong(mean_g=0),
        "the term of the variance, minus h times the mean of g * h, is missing": _wrong(mean_gh=0),
        "the factor weight is missing": _wrong(scaled=False),
        "sums stand where means of g and of g * h should": _wrong(total=True),
        "gweight is the mean of g * h: the sum": _wrong(total=None),
    }),
), drives=True)  # fmt: skip


# --- losses


def _entropy(z: np.ndarray, target: np.ndarray) -> np.ndarray:
    top = z.real.max(1)
    return np.array([np.log(np.exp(row - m).sum()) + m - row[t] for row, m, t in zip(z, top, target)])


def _entropy_gradient(g: np.ndarray, z: np.ndarray, target: np.ndarray) -> np.ndarray:
    return gradient(lambda z: _entropy(z, target), z, g)


def _logits(rng: np.random.Generator) -> Iterator[Case]:
    yield "two classes", (rng.standard_normal((1, 2)), np.array([1]))
    yield "several samples", (rng.standard_normal((4, 3)), np.array([2, 0, 1, 2]))
    yield "logits of up to 1000", (np.array([[1000.0, 0, -3], [-1000, -999, 3], [2, 1, 990]]), np.array([1, 0, 2]))


def _logits_and_g(rng: np.random.Generator) -> Iterator[Case]:
    for words, (z, target) in _logits(rng):
        yield words, (rng.standard_normal(len(z)), z, target)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


CROSS_ENTROPY = Piece("cross-entropy", "minus the log probability of the right class", 3, (
    Function("cross_entropy", _entropy, _logits, mistakes={
        "it is the mean over the samples: one loss for each is asked for": lambda z, t: _entropy(z, t).mean(),
        "the sign is wrong": lambda z, t: -_entropy(z, t),
        "the largest logit was subtracted once only: from the logit of the target, too": (
            lambda z, t: _entropy(z, t) - z.max(1)
        ),
        "exp overflows: subtract the largest logit of each row first": lambda z, t: (
            np.log(np.exp(z).sum(1)) - z[np.arange(len(t)), t]
        ),
    }),
    Function("cross_entropy_backward", _entropy_gradient, _logits_and_g, mistakes={
        "the one at the target class is not subtracted": lambda g, z, t: g[:, None] * _softmax(z),
        "g is left out": lambda g, z, t: _entropy_gradient(np.ones(len(g)), z, t),
        "it is divided by the number of samples: g does that, if it is to be done": (
            lambda g, z, t: _entropy_gradient(g / len(g), z, t)
        ),
    }),
), drives=True)  # fmt: skip


def _dice(p: np.ndarray, t: np.ndarray, eps: float) -> np.ndarray:
    flat = lambda a: a.reshape(*a.shape[:2], -1)  # noqa: E731  (N, C, H, W) -> (N, C, H * W)
    p, t = flat(p), flat(t)
    return (2 * (p * t).sum(-1) + eps) / ((p * p).sum(-1) + (t * t).sum(-1) + eps)


def _dice_gradient(g: np.ndarray, p: np.ndarray, t: np.ndarray, eps: float) -> np.ndarray:
    return gradient(lambda z: _dice(z, t, eps), p, g)


def _masks(rng: np.random.Generator) -> Iterator[Case]:
    draw = lambda *shape: (rng.uniform(0.1, 0.9, shape), (rng.random(shape) < 0.5).astype(float))  # noqa: E731
    yield "one map", (*draw(1, 1, 2, 3), 1.0)
    yield "several images and channels", (*draw(2, 3, 2, 2), 0.5)
    yield "an empty mask", (rng.uniform(0.1, 0.9, (2, 1, 2, 2)), np.zeros((2, 1, 2, 2)), 1.0)


def _masks_and_g(rng: np.random.Generator) -> Iterator[Case]:
    for words, (p, t, eps) in _masks(rng):
        yield words, (rng.standard_normal(p.shape[:2]), p, t, eps)


def _quotient(g, p, t, eps, own=1.0):
    c = lambda v: v[:, :, None, None]  # noqa: E731
    total = (p * p + t * t).sum((2, 3)) + eps
    return c(g) * 2 * (t - own * c(_dice(p, t, eps)) * p) / c(total)


SOFT_DICE = Piece("soft-dice", "how much two masks overlap", 9, (
    Function("soft_dice", _dice, _masks, mistakes={
        "p and t are not squared in the denominator": lambda p, t, eps: (
            (2 * (p * t).sum((2, 3)) + eps) / ((p + t).sum((2, 3)) + eps)
        ),
        "the 2 is missing": lambda p, t, eps: (
            ((p * t).sum((2, 3)) + eps) / ((p * p + t * t).sum((2, 3)) + eps)
        ),
        "eps is missing in the numerator: an empty mask that is found empty must give 1": lambda p, t, eps: (
            2 * (p * t).sum((2, 3)) / ((p * p + t * t).sum((2, 3)) + eps)
        ),
        "it is the loss 1 - D": lambda p, t, eps: 1 - _dice(p, t, eps),
        "it is the loss -D": lambda p, t, eps: -_dice(p, t, eps),
    }),
    Function("soft_dice_backward", _dice_gradient, _masks_and_g, mistakes={
        "the denominator is taken for a constant: p is in it, too": partial(_quotient, own=0.0),
        "the sign of the term of the denominator is wrong": partial(_quotient, own=-1.0),
        "the term of the denominator is halved: the derivative of p^2 is 2 p": partial(_quotient, own=0.5),
    }),
))  # fmt: skip
