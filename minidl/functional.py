"""The public list of functions: ``from minidl import functional as F``."""

from typing import TYPE_CHECKING, Any

from .core.advice import FUNCTIONS, missing
from .ops.activation import gelu, hardsigmoid, hardswish, hardtanh, mish, relu6, selu, silu
from .ops.arithmetic import maximum, minimum
from .ops.attention import multi_head_attention, scaled_dot_product_attention
from .ops.boxes import batched_nms, box_iou, clip_boxes, decode_boxes, encode_boxes, generalized_box_iou, nms
from .ops.conv import conv, conv_transpose
from .ops.cross_entropy import cross_entropy, nll_loss
from .ops.distance import (
    cosine_embedding_loss,
    cosine_similarity,
    norm,
    normalize,
    pairwise_distance,
    triplet_margin_loss,
)
from .ops.einsum import einsum
from .ops.elementwise import (
    absolute,
    clip,
    cos,
    elu,
    exp,
    leaky_relu,
    log,
    prelu,
    relu,
    sigmoid,
    sin,
    softplus,
    sqrt,
    tanh,
)
from .ops.embedding import embedding
from .ops.gather import gather, masked_fill, one_hot, scatter, scatter_add
from .ops.grid import affine_grid, grid_sample
from .ops.hook import hooked
from .ops.indexing import concat, flip, pad, stack, where
from .ops.layer_norm import instance_norm, layer_norm, rms_norm
from .ops.likelihood import binary_cross_entropy, kl_div
from .ops.linear import linear, matmul
from .ops.loss import (
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
    soft_dice_loss,
)
from .ops.norm import batch_norm, dropout, dropout1d, dropout2d, dropout3d, group_norm, local_response_norm
from .ops.ordering import argmax, argmin, argsort, sort, topk
from .ops.pool import adaptive_avg_pool, adaptive_max_pool, avg_pool, global_avg_pool, max_pool, max_unpool
from .ops.rearrange import channel_shuffle, chunk, pixel_shuffle, pixel_unshuffle, roll, split, tile
from .ops.reduce import all, any, cumsum, log_softmax, logsumexp, softmax, std
from .ops.resample import interpolate
from .ops.roi import ps_roi_align, ps_roi_pool, roi_align, roi_pool
from .ops.rounding import ceil, floor, round, sign, trunc
from .ops.special import arctan, erf, erfc, expm1, log1p
from .ops.sync_norm import sync_batch_norm
from .ops.window import fold, unfold

__all__ = [
    "absolute",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "affine_grid",
    "all",
    "any",
    "arctan",
    "argmax",
    "argmin",
    "argsort",
    "avg_pool",
    "batch_norm",
    "batched_nms",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "box_iou",
    "ceil",
    "channel_shuffle",
    "chunk",
    "clip",
    "clip_boxes",
    "concat",
    "conv",
    "conv_transpose",
    "cos",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "cumsum",
    "decode_boxes",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "einsum",
    "elu",
    "embedding",
    "encode_boxes",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "flip",
    "floor",
    "fold",
    "gather",
    "gelu",
    "generalized_box_iou",
    "global_avg_pool",
    "grid_sample",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hooked",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "masked_fill",
    "matmul",
    "max_pool",
    "max_unpool",
    "maximum",
    "minimum",
    "mish",
    "mse_loss",
    "multi_head_attention",
    "nll_loss",
    "nms",
    "norm",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "ps_roi_align",
    "ps_roi_pool",
    "relu",
    "relu6",
    "rms_norm",
    "roi_align",
    "roi_pool",
    "roll",
    "round",
    "scaled_dot_product_attention",
    "scatter",
    "scatter_add",
    "selu",
    "sigmoid",
    "sigmoid_focal_loss",
    "sign",
    "silu",
    "sin",
    "smooth_l1_loss",
    "soft_dice_loss",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "stack",
    "std",
    "sync_batch_norm",
    "tanh",
    "tile",
    "topk",
    "triplet_margin_loss",
    "trunc",
    "unfold",
    "where",
]

if not TYPE_CHECKING:  # for a type checker there is no other name

    def __getattr__(name: str) -> Any:
        raise missing("minidl.functional", name, FUNCTIONS)

    def __dir__() -> list[str]:
        return __all__
