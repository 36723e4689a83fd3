"""The network of the lecture: one hidden layer, theta = (W_H, b_H, W_o, b_o), and its gradient written out by hand.

    a = x W_H^T + b_H     h = tanh(a)     z = h W_o^T + b_o     p = softmax(z)
    L = mean over samples of - log p[label]

Backward, with B samples, t the labels as rows of 0 and 1, and * for products entry by entry:

    dL/dz = (p - t) / B
    dL/dW_o = (dL/dz)^T h       dL/db_o = sum over samples of dL/dz
    dL/da = (dL/dz W_o) * (1 - h^2)
    dL/dW_H = (dL/da)^T x       dL/db_H = sum over samples of dL/da

`loss` is the definition, on Tensors, for automatic differentiation. `gradients` is the same by hand, on arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor
from minidl import functional as F


class Theta(NamedTuple):
    """All that is learnt; also a gradient, which has the same shapes."""

    hidden: Any  # W_H: (hidden, inputs)
    hidden_bias: Any  # b_H: (hidden,)
    output: Any  # W_o: (classes, hidden)
    output_bias: Any  # b_o: (classes,)


def initial(inputs: int, hidden: int, classes: int, rng: np.random.Generator) -> Theta:
    """Weights with deviation 1 / sqrt(number of inputs of the layer), biases 0."""
    return Theta(
        rng.standard_normal((hidden, inputs)) / np.sqrt(inputs),
        np.zeros(hidden),
        rng.standard_normal((classes, hidden)) / np.sqrt(hidden),
        np.zeros(classes),
    )


def loss(theta: Theta, x: Any, labels: Any) -> Tensor:
    """The mean loss over samples x (B, inputs) with labels (B,)."""
    h = F.tanh(F.linear(x, theta.hidden, theta.hidden_bias))
    return F.cross_entropy(F.linear(h, theta.output, theta.output_bias), labels)


def gradients(theta: Theta, x: np.ndarray, labels: np.ndarray) -> tuple[float, Theta]:
    """The mean loss, and its gradient by the formulas above."""
    h = np.tanh(x @ theta.hidden.T + theta.hidden_bias)
    log_p = _log_softmax(h @ theta.output.T + theta.output_bias)
    rows = np.arange(len(x))
    dz = np.exp(log_p)
    dz[rows, labels] -= 1
    dz /= len(x)
    da = dz @ theta.output * (1 - h * h)
    gradient = Theta(da.T @ x, da.sum(axis=0), dz.T @ h, dz.sum(axis=0))
    return -float(log_p[rows, labels].mean()), gradient


def evaluate(theta: Theta, x: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The mean loss, and the share of samples whose largest logit is the label's."""
    log_p = _log_softmax(np.tanh(x @ theta.hidden.T + theta.hidden_bias) @ theta.output.T + theta.output_bias)
    return -float(log_p[np.arange(len(x)), labels].mean()), float((log_p.argmax(axis=1) == labels).mean())


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
