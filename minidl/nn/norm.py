"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from ..core.context import current
from ..core.tensor import Parameter, Tensor
from ..ops.norm import count_batch
from . import init
from .module import Module, Ranked


def _affine(module: Module, size: int, affine: bool, bias: bool) -> None:
    module.weight = Parameter(init.ones((size,))) if affine else None
    module.bias = Parameter(init.zeros((size,))) if affine and bias else None


class BatchNorm(Ranked):
    """Each channel minus its mean over the batch, divided by its standard deviation; then ``weight * x + bias``.

    In eval mode the running averages take the place of the batch's, unless there are none. `momentum` is the weight of
    the newest batch in them; None makes them plain averages over all batches. ``layer(x, relu=True)`` is the relu of
    ``layer(x)`` at less cost. See F.batch_norm.
    Source: Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.

        >>> norm = nn.BatchNorm2d(1, momentum=0.5)
        >>> y = norm(md.Tensor(np.full((2, 1, 4, 4), 6.0, "f")))
        >>> norm.running_mean
        array([3.], dtype=float32)
        >>> norm.eval()(md.Tensor(np.full((1, 1, 1, 1), 3.0, "f"))).item()
        0.0
    """

    function = staticmethod(F.batch_norm)
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
        ranks = {0: (2, 3, 4, 5), 1: (2, 3)}.get(self.rank, (self.rank + 2,))
        if x.ndim not in ranks or x.shape[1] != self.num_features:
            axes = " or ".join(map(str, ranks))
            raise ValueError(
                f"{type(self).__name__}({self.num_features}) takes {axes} axes with {self.num_features} channels "
                f"on axis 1, got {x.shape}"
            )
        momentum = self.momentum
        if self.training and self.track_running_stats:
            now = current()
            if not now.repeating:  # a checkpoint comes by twice
                count_batch(self.num_batches_tracked)
            if momentum is None:
                if now.trace is not None:
                    now.trace.refuse("BatchNorm with momentum=None reads how many batches there were")
                momentum = 1 / float(self.num_batches_tracked)
        return self.function(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            training=self.training or not self.track_running_stats, momentum=momentum or 0.0, eps=self.eps, relu=relu,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(BatchNorm, rank=1): ...
class BatchNorm2d(BatchNorm, rank=2): ...
class BatchNorm3d(BatchNorm, rank=3): ...


class SyncBatchNorm(BatchNorm):
    """Batch normalisation with mean and variance of the whole batch, where `fit` cuts it into shards.

    x has any number of axes from 2 to 5. On shards, `BatchNorm` has mean and variance of each shard alone; without, and
    in eval mode, the two layers are the same. `process_group` is there for torch's sake: all shards take part. See
    F.sync_batch_norm.
    """

    rank = 0  # any
    function = staticmethod(F.sync_batch_norm)

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, process_group: None = None, *, bias: bool = True,
    ):  # fmt: skip
        if process_group is not None:
            raise ValueError("SyncBatchNorm: process_group must be None, all shards take part")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: None = None) -> Module:
        """The module with each BatchNorm1d to 3d in it, or itself, replaced by one of these. Parameters and buffers are
        the same objects, so that optimisers stay valid."""
        return cls._converted(module, {})

    @classmethod
    def _converted(cls, module: Module, done: dict[Module, Module]) -> Module:
        if module not in done:
            done[module] = module
            if isinstance(module, BatchNorm) and not isinstance(module, InstanceNorm | SyncBatchNorm):
                done[module] = cls.__new__(cls)
                vars(done[module]).update(vars(module))
            for name, child in list(module.named_children()):
                setattr(module, name, cls._converted(child, done))
        return done[module]


class InstanceNorm(BatchNorm):
    """As batch normalisation, but over each channel of each image alone: see F.instance_norm.

    x is (N, C, *spatial), or (C, *spatial) for one image. With `track_running_stats`, eval mode takes running averages
    over images in place of each image's own.
    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization", arXiv:1607.08022.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
        track_running_stats: bool = False, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == self.rank + 1:
            return self.forward(x[None])[0]
        if x.ndim != self.rank + 2 or x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}({self.num_features}) takes (N, {self.num_features}) and {self.rank} spatial "
                f"axes, or one image without N, got {x.shape}"
            )
        return F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, momentum=self.momentum or 0.0,
            use_input_stats=self.training or not self.track_running_stats, eps=self.eps,
        )  # fmt: skip


class InstanceNorm1d(InstanceNorm, rank=1): ...
class InstanceNorm2d(InstanceNorm, rank=2): ...
class InstanceNorm3d(InstanceNorm, rank=3): ...


class LayerNorm(Module):
    """As batch normalisation, but over the last axes of each example alone: see F.layer_norm.

    `normalized_shape` names their lengths, which weight and bias have as well.
    Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True,
    ):  # fmt: skip
        self.normalized_shape = per_example(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(init.ones(self.normalized_shape)) if elementwise_affine else None
        self.bias = Parameter(init.zeros(self.normalized_shape)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        affine, bias = self.elementwise_affine, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


class RMSNorm(Module):
    """The last axes of each example divided by the root of their mean square: see F.rms_norm.

    Source: Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True
    ):
        self.normalized_shape = per_example(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(init.ones(self.normalized_shape)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


def per_example(shape: int | Sequence[int]) -> tuple[int, ...]:
    """The lengths of the axes that belong to one example."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


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
