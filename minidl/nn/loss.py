"""Losses as modules: they hold the options, the functions do the work. Class weights are buffers, as torch's are."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core.tensor import Tensor
from .module import Module


class Loss(Module):
    def __init__(self, reduction: str = "mean"):
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f'reduction {reduction!r} is unknown: "none", "mean" or "sum"')
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """Minus the log probability of the target class, from logits (N, classes, ...): see F.cross_entropy."""

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):
        super().__init__(reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, target: Any) -> Tensor:
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

    def forward(self, log_p: Tensor, target: Any) -> Tensor:
        return F.nll_loss(log_p, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of ``sigmoid(logits)``: see F.binary_cross_entropy_with_logits."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class MSELoss(Loss):
    """The squared difference: see F.mse_loss."""

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return F.mse_loss(x, target, reduction=self.reduction)


class L1Loss(Loss):
    """The absolute difference: see F.l1_loss."""

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return F.l1_loss(x, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Squared below `beta`, absolute above: see F.smooth_l1_loss."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return F.smooth_l1_loss(x, target, beta=self.beta, reduction=self.reduction)


class HuberLoss(Loss):
    """Half the square below `delta`, a line above: see F.huber_loss."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return F.huber_loss(x, target, delta=self.delta, reduction=self.reduction)
