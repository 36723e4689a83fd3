"""The update of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..piece import Case, Function, Piece

# --- sgd, by its closed form: one entry after the other


def _sgd(w, g, v, lr, momentum):
    v = np.array([momentum * a + b for a, b in zip(v.flat, g.flat)]).reshape(w.shape)
    return np.array([a - lr * b for a, b in zip(w.flat, v.flat)]).reshape(w.shape), v


def _steps(rng: np.random.Generator) -> Iterator[Case]:
    w, g, v = rng.standard_normal((3, 2, 3))
    yield "no momentum", (w, g, np.zeros_like(w), 0.1, 0.0)
    yield "momentum, at the first step", (w, g, np.zeros_like(w), 0.1, 0.9)
    yield "momentum, at a later step", (w, g, v, 0.1, 0.9)


SGD = Piece("sgd", "gradient descent with momentum", 3, (
    Function("sgd", _sgd, _steps, ("w", "v"), {
        "w goes uphill: subtract": lambda w, g, v, lr, m: _sgd(w, g, v, -lr, m),
        "g is multiplied by 1 - momentum": lambda w, g, v, lr, m: _sgd(w, (1 - m) * g, v, lr, m),
        "w moves by the old v: by the new one": lambda w, g, v, lr, m: (w - lr * v, m * v + g),
        "w moves by g alone: by the new v": lambda w, g, v, lr, m: (w - lr * g, m * v + g),
        "v holds lr * g: lr multiplies the new v": lambda w, g, v, lr, m: (w - m * v - lr * g, m * v + lr * g),
    }),
), drives=True)  # fmt: skip


# --- adam


def _adam(w, g, m, v, step, lr, b1, b2, eps, corrected=(True, True), inside=False, power=2):
    def entry(w: float, g: float, m: float, v: float) -> tuple[float, float, float]:
        m, v = m + (1 - b1) * (g - m), v + (1 - b2) * (g**power - v)
        mean = m / (1 - math.pow(b1, step)) if corrected[0] else m
        square = v / (1 - math.pow(b2, step)) if corrected[1] else v
        down = np.sqrt(square + eps) if inside else np.sqrt(square) + eps
        return w - lr * mean / down, m, v

    found = [entry(*numbers) for numbers in zip(w.flat, g.flat, m.flat, v.flat)]
    return tuple(np.array(column).reshape(w.shape) for column in zip(*found))


def _adam_steps(rng: np.random.Generator) -> Iterator[Case]:
    w, g, m = rng.standard_normal((3, 2, 3))
    zero = np.zeros_like(w)
    yield "the first step", (w, g, zero, zero.copy(), 1, 0.1, 0.9, 0.999, 1e-3)
    yield "a later step", (w, g, m, rng.random(w.shape), 7, 0.1, 0.9, 0.999, 1e-3)


def _uncorrected(*corrected):
    return lambda *arguments: _adam(*arguments, corrected=corrected)


ADAM = Piece("adam", "steps scaled by running averages, which trains the denoiser", 3, (
    Function("adam", _adam, _adam_steps, ("w", "m", "v"), {
        "neither average is corrected: divide by 1 - beta^step": _uncorrected(False, False),
        "m is not corrected: divide it by 1 - beta1^step": _uncorrected(False, True),
        "v is not corrected: divide it by 1 - beta2^step": _uncorrected(True, False),
        "eps is inside of the root: add it to the root": lambda *a: _adam(*a, inside=True),
        "eps is left out": lambda *a: _adam(*a[:-1], 0.0),
        "w goes uphill: subtract": lambda w, g, m, v, step, lr, *rest: _adam(w, g, m, v, step, -lr, *rest),
        "step counts from 0: it is given, from 1": (
            lambda w, g, m, v, step, *rest: _adam(w, g, m, v, step + 1, *rest)
        ),
        "v averages g, not its square": lambda *a: _adam(*a, power=1),
        "it returns the corrected averages: the next step needs those before": (
            lambda w, g, m, v, step, lr, b1, b2, eps: (lambda a: (a[0], a[1] / (1 - b1**step), a[2] / (1 - b2**step)))(
                _adam(w, g, m, v, step, lr, b1, b2, eps)
            )
        ),
    }),
), drives=True)  # fmt: skip
