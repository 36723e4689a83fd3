"""Normalisations."""

from __future__ import annotations

from ... import functional as F
from ...ops.reduce import power_at_least_0
from ...ops.shape import reshape
from .table import operator

AFFINE = ("scale", "bias")


@operator("BatchNormalization", since=14, learns=AFFINE)
def batch_norm(x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    if not training_mode:
        return F.batch_norm(x, mean, var, scale, bias, eps=epsilon)
    axes = (0, *range(2, x.ndim))
    y = F.batch_norm(x, None, None, scale, bias, training=True, eps=epsilon)
    running = [r * momentum + b * (1 - momentum) for r, b in zip((mean, var), (x.mean(axes), x.var(axes)))]
    return y, *running


@operator("BatchNormalization", since=7, learns=AFFINE, only={"spatial": (1,)}, ignores=("momentum",))
def batch_norm_7(x, scale, bias, mean, var, *, epsilon=1e-5, spatial=1):
    return F.batch_norm(x, mean, var, scale, bias, eps=epsilon)


@operator("InstanceNormalization", learns=AFFINE)
def instance_norm(x, scale, bias, *, epsilon=1e-5):
    return F.group_norm(x, x.shape[1], scale, bias, eps=epsilon)


@operator("GroupNormalization", since=21, learns=AFFINE, ignores=("stash_type",))
def group_norm(x, scale, bias, *, num_groups, epsilon=1e-5):
    return F.group_norm(x, num_groups, scale, bias, eps=epsilon)


@operator("GroupNormalization", since=18, learns=AFFINE, ignores=("stash_type",))
def group_norm_18(x, scale, bias, *, num_groups, epsilon=1e-5):
    """The scale and the bias are those of the groups."""
    shape = (1, num_groups) + (1,) * (x.ndim - 1)
    y = reshape(F.group_norm(x, num_groups, eps=epsilon), x.shape[0], num_groups, -1, *x.shape[2:])
    return reshape(y * reshape(scale, shape) + reshape(bias, shape), x.shape)


@operator("LayerNormalization", learns=AFFINE, ignores=("stash_type",))
def layer_norm(x, scale, bias=None, *, axis=-1, epsilon=1e-5, count=1):
    axes = tuple(range(axis % x.ndim, x.ndim))
    y = F.layer_norm(x, x.shape[axes[0] :], eps=epsilon) * scale
    y = y if bias is None else y + bias
    if count == 1:
        return y
    return y, x.mean(axes, keepdims=True), 1 / F.sqrt(x.var(axes, keepdims=True) + epsilon)


@operator("RMSNormalization", learns=("scale",), ignores=("stash_type",))
def rms_norm(x, scale, *, axis=-1, epsilon=1e-5):
    return F.rms_norm(x, x.shape[axis % x.ndim :], eps=epsilon) * scale


@operator("LRN")
def local_response_norm(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    if size % 2:
        return F.local_response_norm(x, size, alpha=alpha, beta=beta, k=bias)
    mirrored = F.local_response_norm(F.flip(x, 1), size, alpha=alpha, beta=beta, k=bias)
    return F.flip(mirrored, 1)  # the channel that an even size has on one side only is the one after


@operator("LpNormalization", only={"p": (1, 2)})
def lp_norm(x, *, axis=-1, p=2):
    length = power_at_least_0((F.absolute(x) ** p).sum(axis, keepdims=True), 1 / p)
    return x / F.where(length == 0, 1.0, length)


@operator("MeanVarianceNormalization")
def mean_variance_norm(x, *, axes=(0, 2, 3)):
    centred = x - x.mean(axes, keepdims=True)
    return centred / (F.sqrt((centred * centred).mean(axes, keepdims=True)) + 1e-9)
