"""The examples of ``minidl explain``: each gives what `explain` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import nn
from ...core.calculus import grad
from ...core.context import definitions
from ...core.tensor import tensor


def scalar() -> dict[str, Any]:
    """a graph of numbers: (a * b + tanh(a))**2, in which a is used twice"""
    a, b = tensor(0.5, requires_grad=True), tensor(-1.5, requires_grad=True)
    return {"loss": (a * b + a.tanh()) ** 2, "names": {"a": a, "b": b}}


def batchnorm() -> dict[str, Any]:
    """batch normalisation as its definition: why its gradient has three terms"""
    rng = np.random.default_rng(0)
    x = tensor(rng.normal(size=(4, 2)).round(1), requires_grad=True)
    weight, bias = tensor([1.0, 2.0], requires_grad=True), tensor([0.0, 0.5], requires_grad=True)
    target = tensor(rng.normal(size=(4, 2)).round(1))
    with definitions():
        y = F.batch_norm(x, None, None, weight, bias, training=True)
    names = {"x": x, "weight": weight, "bias": bias, "target": target}
    return {"loss": F.mse_loss(y, target, reduction="sum"), "names": names}


def relu() -> dict[str, Any]:
    """relu with one input at its kink"""
    x = tensor([-1.0, 0.0, 2.0], requires_grad=True)
    w = tensor([0.5, 3.0, 1.5], requires_grad=True)
    return {"loss": (F.relu(x) * w).sum(), "names": {"x": x, "w": w}}


def denoiser() -> dict[str, Any]:
    """the loss of a small residual denoiser, drawn by its modules"""
    rng = np.random.default_rng(2)
    stack = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=rng), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, bias=False, rng=rng), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 1, 3, padding=1, bias=False, rng=rng),
    )  # fmt: skip
    clean = np.tile(np.linspace(0, 1, 8, dtype=np.float32), (2, 1, 8, 1))  # (N, C, H, W)
    noisy = tensor(clean + 0.1 * rng.standard_normal(clean.shape, dtype=np.float32))
    target = tensor(clean)
    return {
        "loss": lambda: F.mse_loss(noisy - stack(noisy), target),
        "model": stack,
        "names": {"noisy": noisy, "clean": target},
    }


def nan() -> dict[str, Any]:
    """sqrt at 0: the loss is finite, the gradient is not"""
    x = tensor([4.0, 0.0, 1.0], requires_grad=True)
    w = tensor([1.0, 0.0, 2.0], requires_grad=True)
    return {"loss": (w * x.sqrt()).sum(), "names": {"x": x, "w": w}}


def second() -> dict[str, Any]:
    """a second derivative: the graph of a gradient, walked back again"""
    x = tensor(0.5, requires_grad=True)
    y = x**3
    (slope,) = grad(y, x, create_graph=True)
    return {"loss": slope, "names": {"x": x, "slope": slope}}


EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    f.__name__: f for f in (scalar, batchnorm, relu, denoiser, nan, second)
}
