"""Losses, which graphs for training end in."""

from __future__ import annotations

from ... import functional as F
from .table import operator

ONLY = {"reduction": ("mean", "sum", "none")}


@operator("NegativeLogLikelihoodLoss", only=ONLY)
def nll_loss(log_p, target, weight=None, *, ignore_index=None, reduction="mean"):
    return F.nll_loss(log_p, target, weight=weight, ignore_index=ignore_index, reduction=reduction)


@operator("SoftmaxCrossEntropyLoss", only=ONLY)
def softmax_cross_entropy(scores, target, weight=None, *, ignore_index=None, reduction="mean", count=1):
    log_p = F.log_softmax(scores, 1)
    loss = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)
    return (loss, log_p) if count > 1 else loss
