"""Losses as modules: they hold the options, the functions do the work. Class weights are buffers, as torch's are."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core.tensor import Operand, Tensor
from .module import Module


class Loss(Module):
    reductions = ("none", "mean", "sum")

    def __init__(self, reduction: str = "mean"):
        if reduction not in self.reductions:
            raise ValueError(f"reduction {reduction!r} is unknown: one of {', '.join(map(repr, self.reductions))}")
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """Minus the log probability of the target class, from logits (N, classes, ...): see F.cross_entropy.

        >>> round(nn.CrossEntropyLoss()(md.tensor([[2.0, 0.0]]), [0]).item(), 4)
        0.1269
    """

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):
        super().__init__(reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, target: Operand) -> Tensor:
        return F.cross_entropy(
            logits, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip


class NLLLoss(Loss):
    """Minus the log probability of the target class, from log probabilities: see F.nll_loss."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.ignore_index = ignore_index
        self.register_buffer("weight", weight)

    def forward(self, log_p: Tensor, target: Operand) -> Tensor:
        return F.nll_loss(log_p, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCELoss(Loss):
    """Binary cross entropy of probabilities: see F.binary_cross_entropy."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, p: Tensor, target: Operand) -> Tensor:
        return F.binary_cross_entropy(p, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of ``sigmoid(logits)``: see F.binary_cross_entropy_with_logits."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: Operand) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class MSELoss(Loss):
    """The squared difference: see F.mse_loss."""

    def forward(self, x: Tensor, target: Operand) -> Tensor:
        return F.mse_loss(x, target, reduction=self.reduction)


class L1Loss(Loss):
    """The absolute difference: see F.l1_loss."""

    def forward(self, x: Tensor, target: Operand) -> Tensor:
        return F.l1_loss(x, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Squared below `beta`, absolute above: see F.smooth_l1_loss."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, x: Tensor, target: Operand) -> Tensor:
        return F.smooth_l1_loss(x, target, beta=self.beta, reduction=self.reduction)


class HuberLoss(Loss):
    """Half the square below `delta`, a line above: see F.huber_loss."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x: Tensor, target: Operand) -> Tensor:
        return F.huber_loss(x, target, delta=self.delta, reduction=self.reduction)


class KLDivLoss(Loss):
    """The Kullback-Leibler divergence, from log probabilities: see F.kl_div."""

    reductions = ("none", "mean", "sum", "batchmean")

    def __init__(self, *, reduction: str = "mean", log_target: bool = False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, log_p: Tensor, target: Operand) -> Tensor:
        return F.kl_div(log_p, target, reduction=self.reduction, log_target=self.log_target)


class TripletMarginLoss(Loss):
    """An anchor is to be nearer to the positive than to the negative, by a margin: see F.triplet_margin_loss."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, *, reduction: str = "mean"
    ):
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            anchor, positive, negative, margin=self.margin, p=self.p, eps=self.eps, swap=self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class CosineEmbeddingLoss(Loss):
    """Pairs of vectors are to point the same way (target 1), or not (-1): see F.cosine_embedding_loss."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x1: Tensor, x2: Tensor, target: Operand) -> Tensor:
        return F.cosine_embedding_loss(x1, x2, target, margin=self.margin, reduction=self.reduction)


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along axis `dim`: see F.cosine_similarity."""

    def __init__(self, dim: int = 1, eps: float = 1e-8):
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of the difference of vectors along the last axis: see F.pairwise_distance."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
