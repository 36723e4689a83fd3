"""torch.nn.utils: clipping of gradients, parameters as one vector, weights that are computed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ....core.context import no_grad
from ....optim import clip_grad_norm
from ... import advice, shaping
from ...tensor import Tensor, lifted, wrap
from ...values import Plain
from . import parametrizations, parametrize, rnn
from .norms import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

_cat = lifted(shaping.cat)


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
) -> Tensor:
    """Scale all gradients by one factor so that their joint norm is at most `max_norm`; gives the norm before."""
    values = [p.value for p in ([parameters] if isinstance(parameters, Tensor) else parameters)]
    norm = clip_grad_norm(values, float(max_norm), float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients is non-finite, so it cannot be clipped")
    return wrap(Plain(np.asarray(norm, np.float32)))


def clip_grad_value_(parameters: Any, clip_value: float, foreach: Any = None) -> None:
    """Hold each entry of each gradient between minus and plus `clip_value`."""
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        if p.grad is not None:
            with no_grad():
                p.grad.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    return _cat([p.view(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    start = 0
    for p in parameters:
        p.data = vec[start : start + p.numel()].view_as(p).detach().clone()
        start += p.numel()


def get_total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    return wrap(Plain(np.asarray(math.sqrt(sum(float((t.value.data**2).sum()) for t in tensors)), np.float32)))


__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "parametrizations", "parametrize",
    "remove_spectral_norm", "remove_weight_norm", "rnn", "spectral_norm", "vector_to_parameters", "weight_norm",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise AttributeError(advice.unknown(f"torch.nn.utils.{name}", name, globals()))
