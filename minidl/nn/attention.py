"""Attention as a layer, and the encoder layer of the transformer."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core.tensor import Parameter, Tensor
from . import init
from .linear import Linear
from .module import Module


class MultiheadAttention(Module):
    """Attention in several subspaces: see F.multi_head_attention. Names and shapes of the parameters are torch's.

    query (L, N, E), key (S, N, K), value (S, N, V), or with `batch_first` N before, or without N; gives the output,
    shaped as the query, and the weights, their mean over the heads (N, L, S), or None without `need_weights`.
    `key_padding_mask` (N, S) is True at keys to leave out, a boolean `attn_mask` where a query may not look.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False, *,
        rng: Any = None,
    ):  # fmt: skip
        if embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: {embed_dim} channels do not divide among {num_heads} heads")
        if add_bias_kv or add_zero_attn:
            raise NotImplementedError("MultiheadAttention: add_bias_kv and add_zero_attn are not there")
        rng = init.generator(rng)
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.rng = init.own_generator()
        if kdim in (None, embed_dim) and vdim in (None, embed_dim):
            self.in_proj_weight = Parameter(init.xavier_uniform((3 * embed_dim, embed_dim), rng))
        else:
            self.in_proj_weight = None
            for name, width in (("q", embed_dim), ("k", kdim or embed_dim), ("v", vdim or embed_dim)):
                setattr(self, f"{name}_proj_weight", Parameter(init.xavier_uniform((embed_dim, width), rng)))
        self.in_proj_bias = Parameter(init.zeros((3 * embed_dim,))) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng)
        if bias:
            self.out_proj.bias.data = init.zeros((embed_dim,))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        single = query.ndim == 2
        if single:
            query, key, value = (x[None] for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.swapaxes(0, 1) for x in (query, key, value))
        out = vars(self.out_proj)
        y, weights = F.multi_head_attention(
            query, key, value, self.num_heads, self._matrices(), self.in_proj_bias, out["weight"], out["bias"],
            mask=self._mask(attn_mask, key_padding_mask), dropout=self.dropout if self.training else 0.0, rng=self.rng,
        )  # fmt: skip
        weights = weights.mean(axis=1) if average_attn_weights else weights
        if single:
            y, weights = y[0], weights[0]
        elif not self.batch_first:
            y = y.swapaxes(0, 1)
        return y, weights if need_weights else None

    def _matrices(self) -> Any:
        if self.in_proj_weight is not None:
            return self.in_proj_weight
        return [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]

    def _mask(self, attn_mask: Any, key_padding_mask: Any) -> Any:
        """One mask that is added, (..., L, S): minus infinity where a query may not look."""
        mask = None
        for given, axes in ((attn_mask, None), (key_padding_mask, (slice(None), None, None))):
            if given is not None:
                given = given if isinstance(given, Tensor) else Tensor(given)
                added = F.where(given, -float("inf"), 0.0).astype("float32") if given.dtype == bool else given
                if axes is None and added.ndim == 3:  # (N * heads, L, S)
                    added = added.reshape(-1, self.num_heads, *added.shape[1:])
                added = added if axes is None else added[axes]
                mask = added if mask is None else mask + added
        return mask
