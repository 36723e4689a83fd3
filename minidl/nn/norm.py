"""Normalisation layers."""

from __future__ import annotations

import numpy as np

from .. import functional as F
from ..core.context import current
from ..core.tensor import Parameter, Tensor
from . import init
from .module import Module, in_ranks


def _affine(module: Module, size: int, affine: bool, bias: bool) -> None:
    module.weight = Parameter(init.ones((size,))) if affine else None
    module.bias = Parameter(init.zeros((size,))) if affine and bias else None


class BatchNorm(Module):
    """Each channel minus its mean over the batch, divided by its standard deviation; then ``weight * x + bias``.

    In eval mode the running averages take the place of the batch's, unless there are none. `momentum` is the weight of
    the newest batch in them; None makes them plain averages over all batches. ``layer(x, relu=True)`` is the relu of
    ``layer(x)`` at less cost. See F.batch_norm.
    Source: Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.
    """

    rank: int
    optional_state = ("num_batches_tracked",)

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, bias: bool = True,
    ):  # fmt: skip
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _affine(self, num_features, affine, bias)
        self.register_buffer("running_mean", init.zeros((num_features,)) if track_running_stats else None)
        self.register_buffer("running_var", init.ones((num_features,)) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.array(0) if track_running_stats else None)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        ranks = (2, 3) if self.rank == 1 else (self.rank + 2,)
        if x.ndim not in ranks or x.shape[1] != self.num_features:
            axes = " or ".join(map(str, ranks))
            raise ValueError(
                f"{type(self).__name__}({self.num_features}) takes {axes} axes with {self.num_features} channels "
                f"on axis 1, got {x.shape}"
            )
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked += not current().repeating  # a checkpoint comes by twice
            if momentum is None:
                momentum = 1 / float(self.num_batches_tracked)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            training=self.training or not self.track_running_stats, momentum=momentum or 0.0, eps=self.eps, relu=relu,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


BatchNorm1d, BatchNorm2d, BatchNorm3d = in_ranks(BatchNorm)


class GroupNorm(Module):
    """As batch normalisation, but over each group of channels of each image alone: see F.group_norm.

    Source: Wu and He, "Group normalization", ECCV 2018, eq. 7.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True
    ):
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _affine(self, num_channels, affine, bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class LocalResponseNorm(Module):
    """Each entry divided by ``(k + alpha * mean of squares over the size nearest channels) ** beta``.

    See F.local_response_norm. Source: Krizhevsky et al. 2012, section 3.3 (where alpha multiplies the sum).
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, alpha=self.alpha, beta=self.beta, k=self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
