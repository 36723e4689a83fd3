"""The Transformer of Vaswani et al. 2017, as torch has it: post-norm unless `norm_first`, parameters by its names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .. import creation, shaping
from ..tensor import Tensor, lifted
from . import functional as F
from . import init
from .containers import ModuleList
from .layers import LAYERS
from .module import Module

_triu = lifted(shaping.triu)


def _activation(name: Any) -> Callable:
    if callable(name):
        return name
    if name not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {name}")
    return getattr(F, name)


class _Layer(Module):
    """What both kinds of layers have: attention to itself, two linear layers, norms and dropout around them."""

    norms = 2

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = "relu",
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        def attention() -> Module:
            return LAYERS["MultiheadAttention"](d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first)

        self.self_attn = attention()
        if self.norms == 3:
            self.multihead_attn = attention()
        self.linear1 = LAYERS["Linear"](d_model, dim_feedforward, bias=bias)
        self.dropout = LAYERS["Dropout"](dropout)
        self.linear2 = LAYERS["Linear"](dim_feedforward, d_model, bias=bias)
        self.norm_first = norm_first
        for i in range(1, self.norms + 1):
            setattr(self, f"norm{i}", LAYERS["LayerNorm"](d_model, eps=layer_norm_eps, bias=bias))
        for i in range(1, self.norms + 1):
            setattr(self, f"dropout{i}", LAYERS["Dropout"](dropout))
        self.activation = _activation(activation)
        if dtype is not None:
            self.to(dtype)

    def _residual(self, x: Tensor, number: int, block: Callable[[Tensor], Tensor]) -> Tensor:
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        return x + dropout(block(norm(x))) if self.norm_first else norm(x + dropout(block(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _attend_self(self, x: Tensor, mask: Any, padding: Any, causal: bool) -> Tensor:
        mask = _causal(x, self.self_attn.batch_first) if causal and mask is None else mask
        return self.self_attn(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]


def _causal(x: Tensor, batch_first: bool) -> Tensor:
    return Transformer.generate_square_subsequent_mask(x.shape[1 if batch_first and x.ndim == 3 else 0])


class TransformerEncoderLayer(_Layer):
    """Attention of a sequence to itself, then two linear layers at each place."""

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        x = self._residual(src, 1, lambda x: self._attend_self(x, src_mask, src_key_padding_mask, is_causal))
        return self._residual(x, 2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Attention to itself, to the encoder's output, then two linear layers."""

    norms = 3

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        def attend(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x, memory, memory, attn_mask=memory_mask, key_padding_mask=memory_key_padding_mask, need_weights=False
            )[0]

        x = self._residual(tgt, 1, lambda x: self._attend_self(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        return self._residual(self._residual(x, 2, attend), 3, self._feed_forward)


class _Stack(Module):
    """Copies of a layer, one after the other, and perhaps a norm."""

    def _build(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm


class TransformerEncoder(_Stack):
    """A stack of encoder layers."""

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):  # fmt: skip
        self._build(encoder_layer, num_layers, norm)

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Tensor:
        for layer in self.layers:
            src = layer(
                src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal)
            )
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(_Stack):
    """A stack of decoder layers."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        self._build(decoder_layer, num_layers, norm)

    def forward(self, tgt: Tensor, memory: Tensor, **masks: Any) -> Tensor:
        masks["tgt_is_causal"] = bool(masks.get("tgt_is_causal"))
        for layer in self.layers:
            tgt = layer(tgt, memory, **masks)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder."""

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = "relu", custom_encoder: Any = None,
        custom_decoder: Any = None, layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        norms = [LAYERS["LayerNorm"](d_model, eps=layer_norm_eps, bias=bias) for _ in range(2)]
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*options), num_encoder_layers, norms[0]
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*options), num_decoder_layers, norms[1]
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)
        if dtype is not None:
            self.to(dtype)

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """-inf where a place would see a later one, 0 elsewhere."""
        return _triu(creation.full((sz, sz), float("-inf"), dtype=dtype), diagonal=1)


TRANSFORMERS: dict[str, type] = {
    c.__name__: c for c in (
        Transformer, TransformerEncoder, TransformerDecoder, TransformerEncoderLayer, TransformerDecoderLayer,
    )
}  # fmt: skip
for _class in TRANSFORMERS.values():
    _class.__module__ = "torch.nn"
