"""Attention: weighted means of values, the weights a softmax of how well queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.array_function import made_once
from ..core.tensor import Operand, Tensor, as_tensor
from ..device import to_device
from .indexing import where
from .linear import linear, matmul
from .norm import dropout
from .reduce import softmax
from .shape import reshape, swapaxes, transpose


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Operand | None = None, causal: bool = False,
    scale: float | None = None, dropout: float = 0.0, rng: np.random.Generator | None = None,
) -> Tensor:  # fmt: skip
    """``softmax(scale * query key^T + mask) value``: (..., L, E), (..., S, E) and (..., S, V) give (..., L, V).

    A boolean `mask`, broadcasting to (..., L, S), is True where a query may look; another is added. With `causal` query
    i looks at keys 0 to i. `scale` is 1 / sqrt(E) by default. Source: Vaswani et al., "Attention is all you need",
    2017, eq. 1.
    """
    return matmul(attention_weights(query, key, mask, causal, scale, dropout, rng), value)


def attention_weights(
    query: Tensor, key: Tensor, mask: Any, causal: bool, scale: float | None, p: float, rng: Any
) -> Tensor:
    """The softmax, (..., L, S), of which `p` is dropped."""
    scores = matmul(query * (query.shape[-1] ** -0.5 if scale is None else scale), swapaxes(key, -1, -2))
    if causal:
        scores = where(to_device(_past(*scores.shape[-2:]), scores.device), scores, -math.inf)
    if mask is not None:
        mask = as_tensor(mask)
        scores = where(mask, scores, -math.inf) if mask.dtype == bool else scores + mask
    weights = softmax(scores, -1)
    return dropout(weights, p, rng=rng) if p else weights


@made_once
def _past(rows: int, columns: int) -> np.ndarray:
    """Which keys a query may look at: those before it, and its own."""
    return np.tri(rows, columns, dtype=bool)


def multi_head_attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, in_weight: Operand, in_bias: Operand | None,
    out_weight: Tensor, out_bias: Operand | None, *, mask: Operand | None = None, dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Attention in `heads` subspaces side by side: (N, L, E), (N, S, K) and (N, S, V) give (N, L, E) and the weights
    (N, heads, L, S).

    `in_weight` is one matrix (3E, E) for all three or a sequence of three, as `in_bias`. Vaswani et al., sec. 3.2.2.
    """
    width = out_weight.shape[1]
    if isinstance(in_weight, Tensor):
        in_weight = [in_weight[i * width : (i + 1) * width] for i in range(3)]
    biases = [None] * 3 if in_bias is None else [in_bias[i * width : (i + 1) * width] for i in range(3)]
    q, k, v = (_heads(linear(x, w, b), heads) for x, w, b in zip((query, key, value), in_weight, biases))
    weights = attention_weights(q, k, mask, False, None, dropout, rng)
    y = transpose(matmul(weights, v), (0, 2, 1, 3))  # (N, heads, L, E/heads) -> (N, L, heads, E/heads)
    return linear(reshape(y, (y.shape[0], y.shape[1], width)), out_weight, out_bias), weights


def _heads(x: Tensor, heads: int) -> Tensor:
    n, length, width = x.shape
    return transpose(reshape(x, (n, length, heads, width // heads)), (0, 2, 1, 3))  # (N, heads, L, width/heads)
