"""Every public function and every method of a tensor, on the interface of CuPy: it gives what the CPU gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.ops.methods import Methods

ONE = np.array([1])


class Draw:
    """Tensors on one device, the same numbers whichever it is; those that need a gradient are remembered."""

    def __init__(self, device: str):
        self.device, self.rng = device, np.random.default_rng(7)
        self.leaves: list[md.Tensor] = []

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> md.Tensor:
        t = self.constant(self.rng.uniform(low, high, shape))
        t.requires_grad = True
        self.leaves.append(t)
        return t

    def constant(self, values: Any) -> md.Tensor:
        return md.tensor(np.asarray(values), device=self.device)

    def ints(self, high: int, *shape: int) -> md.Tensor:
        return self.constant(self.rng.integers(0, high, shape))

    def boxes(self, n: int) -> md.Tensor:
        corners = self(n, 2, low=0, high=4)
        return F.concat([corners, corners + self(n, 2, low=1, high=5)], axis=1)

    def regions(self, n: int) -> md.Tensor:
        corner, image = self.rng.uniform(0, 3, (n, 2)), self.rng.integers(0, 2, (n, 1))
        return self.constant(np.hstack([image, corner, corner + self.rng.uniform(1, 5, (n, 2))]))


def unpooled(t: Draw) -> md.Tensor:
    y, indices = F.max_pool(t(2, 3, 7, 6), 3, stride=2, return_indices=True)
    return F.max_unpool(y, indices, 3, stride=2, output_size=(7, 6))


def normalised(t: Draw, training: bool, norm: Callable = F.batch_norm) -> tuple:
    mean, var = md.Parameter(t.constant(np.zeros(3)).data, False), md.Parameter(t.constant(np.ones(3)).data, False)
    y = norm(t(4, 3, 5), mean, var, t(3), t(3), training=training)
    return y, md.Tensor(mean.data), md.Tensor(var.data)


FUNCTIONS = {
    "absolute": lambda t: F.absolute(t(3, 4)),
    "adaptive_avg_pool": lambda t: F.adaptive_avg_pool(t(2, 3, 7, 5), (3, 2)),
    "avg_pool": lambda t: F.avg_pool(t(2, 3, 7, 5), 3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
    "batch_norm": lambda t: (*normalised(t, True), *normalised(t, False)),
    "sync_batch_norm": lambda t: normalised(t, True, F.sync_batch_norm),
    "batched_nms": lambda t: F.batched_nms(t.boxes(9).detach(), t(9).detach(), t.ints(2, 9), 0.2),
    "binary_cross_entropy_with_logits": lambda t: F.binary_cross_entropy_with_logits(
        t(3, 4), t.constant(t.rng.uniform(0, 1, (3, 4))), pos_weight=t.constant([1.0, 2.0, 3.0, 4.0])
    ),
    "box_iou": lambda t: F.box_iou(t.boxes(4), t.boxes(3)),
    "clip": lambda t: F.clip(t(3, 4), -1, 1),
    "clip_boxes": lambda t: F.clip_boxes(t.boxes(4), (5, 6)),
    "concat": lambda t: F.concat([t(2, 1), t(2, 3)]),
    "conv": lambda t: F.conv(t(2, 4, 7, 6), t(6, 2, 3, 3), t(6), stride=2, padding=1, groups=2),
    "conv_transpose": lambda t: F.conv_transpose(t(2, 4, 5), t(4, 3, 3), t(3), stride=2, padding=1, output_padding=1),
    "cross_entropy": lambda t: (
        F.cross_entropy(t(5, 3), t.ints(3, 5)),
        F.cross_entropy(t(5, 3), t.constant([0, 1, -1, 2, 1]), weight=t.constant([1.0, 2, 3]), ignore_index=-1),
        F.cross_entropy(t(2, 3, 4), t.ints(3, 2, 4), reduction="none"),
        F.cross_entropy(t(5, 3), F.softmax(t(5, 3), axis=1)),
    ),
    "decode_boxes": lambda t: F.decode_boxes(t(4, 4, low=-0.5, high=0.5), t.boxes(4)),
    "dropout": lambda t: F.dropout(t(3, 4), 0.4, rng=np.random.default_rng(0)),
    "elu": lambda t: F.elu(t(3, 4), 0.7),
    "encode_boxes": lambda t: F.encode_boxes(t.boxes(4), t.boxes(4)),
    "exp": lambda t: F.exp(t(3, 4)),
    "flip": lambda t: F.flip(t(3, 4), axis=1),
    "fold": lambda t: F.fold(t(2, 12, 9), (4, 4), 2),
    "generalized_box_iou": lambda t: F.generalized_box_iou(t.boxes(4), t.boxes(3)),
    "global_avg_pool": lambda t: F.global_avg_pool(t(2, 3, 4, 5)),
    "group_norm": lambda t: F.group_norm(t(2, 4, 5), 2, t(4), t(4)),
    "interpolate": lambda t: (
        F.interpolate(t(2, 3, 4, 5), scale_factor=2),
        F.interpolate(t(2, 3, 4, 5), size=(7, 3), mode="linear"),
    ),
    "l1_loss": lambda t: F.l1_loss(t(3, 4), t(3, 4)),
    "leaky_relu": lambda t: F.leaky_relu(t(3, 4), 0.2),
    "linear": lambda t: F.linear(t(2, 3, 4), t(5, 4), t(5)),
    "local_response_norm": lambda t: F.local_response_norm(t(2, 7, 3), 5),
    "log": lambda t: F.log(t(3, 4, low=0.1)),
    "log_softmax": lambda t: F.log_softmax(t(3, 4), axis=1),
    "logsumexp": lambda t: F.logsumexp(t(3, 4), axis=0),
    "matmul": lambda t: (F.matmul(t(3, 4), t(4, 5)), F.matmul(t(4), t(2, 4, 3)), F.matmul(t(2, 1, 3, 4), t(5, 4, 2))),
    "max_pool": lambda t: F.max_pool(t(2, 3, 7, 6), 3, stride=2, padding=1, return_indices=True),
    "max_unpool": unpooled,
    "maximum": lambda t: F.maximum(t(3, 4), t(4)),
    "minimum": lambda t: F.minimum(t(3, 4), 0.5),
    "mse_loss": lambda t: F.mse_loss(t(3, 4), t(3, 4), reduction="sum"),
    "nms": lambda t: F.nms(t.boxes(9).detach(), t(9).detach(), 0.2),
    "pad": lambda t: (
        [F.pad(t(2, 3, 4), [(1, 2)], mode=m) for m in ("constant", "reflect", "replicate", "circular")]
        + [F.pad(t(2, 3, 4), 1, value=3.5)]
    ),
    "prelu": lambda t: F.prelu(t(2, 3, 4), t(3)),
    "ps_roi_align": lambda t: F.ps_roi_align(t(2, 12, 8, 9), t.regions(3), (2, 3)),
    "ps_roi_pool": lambda t: F.ps_roi_pool(t(2, 8, 8, 9), t.regions(3), 2),
    "relu": lambda t: F.relu(t(3, 4)),
    "roi_align": lambda t: F.roi_align(t(2, 3, 8, 9), t.regions(3), (2, 3)),
    "roi_pool": lambda t: F.roi_pool(t(2, 3, 8, 9), t.regions(3), 2),
    "sigmoid": lambda t: F.sigmoid(t(3, 4)),
    "sigmoid_focal_loss": lambda t: F.sigmoid_focal_loss(t(3, 4), t.constant(np.eye(3, 4))),
    "smooth_l1_loss": lambda t: F.smooth_l1_loss(t(3, 4), t(3, 4), beta=0.5),
    "soft_dice_loss": lambda t: F.soft_dice_loss(t(2, 3, 4, low=0, high=1), t.constant(np.ones((2, 3, 4)))),
    "softmax": lambda t: F.softmax(t(3, 4), axis=0),
    "softplus": lambda t: F.softplus(t(3, 4)),
    "sqrt": lambda t: F.sqrt(t(3, 4, low=0.1)),
    "sin": lambda t: F.sin(t(3, 4)),
    "cos": lambda t: F.cos(t(3, 4)),
    "stack": lambda t: F.stack([t(3, 4), t(3, 4)], axis=1),
    "tanh": lambda t: F.tanh(t(3, 4)),
    "unfold": lambda t: F.unfold(t(2, 3, 5, 6), 3, padding=1, stride=2),
    "where": lambda t: (F.where(t(3, 4) > 0, t(3, 4), t(4)), F.where(t(3, 4) > 0, 1.0, t(4))),
    **{
        name: lambda t, name=name: getattr(F, name)(t(3, 4))
        for name in (
            "ceil",
            "erf",
            "erfc",
            "expm1",
            "floor",
            "gelu",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "mish",
            "norm",
            "normalize",
            "relu6",
            "round",
            "selu",
            "sign",
            "silu",
            "trunc",
        )
    },
    "log1p": lambda t: F.log1p(t(3, 4, low=-0.9)),
    "adaptive_max_pool": lambda t: F.adaptive_max_pool(t(2, 3, 7, 5), (3, 2), return_indices=True),
    "affine_grid": lambda t: F.affine_grid(t(2, 2, 3), (2, 1, 4, 5)),
    "grid_sample": lambda t: F.grid_sample(t(2, 3, 4, 5), t(2, 3, 3, 2), padding_mode="reflection"),
    "binary_cross_entropy": lambda t: F.binary_cross_entropy(t(3, 4, low=0.1, high=0.9), t.constant(np.eye(3, 4))),
    "cosine_embedding_loss": lambda t: F.cosine_embedding_loss(t(3, 4), t(3, 4), t.constant([1, -1, 1])),
    "cosine_similarity": lambda t: F.cosine_similarity(t(3, 4), t(3, 4)),
    "pairwise_distance": lambda t: F.pairwise_distance(t(3, 4), t(3, 4)),
    "triplet_margin_loss": lambda t: F.triplet_margin_loss(t(3, 4), t(3, 4), t(3, 4), swap=True),
    **{
        name: lambda t, name=name: getattr(F, name)(t(2, 3, *[4] * int(name[-2])), 0.4, rng=np.random.default_rng(0))
        for name in ("dropout1d", "dropout2d", "dropout3d")
    },
    "huber_loss": lambda t: F.huber_loss(t(3, 4), t(3, 4), delta=0.5),
    "kl_div": lambda t: F.kl_div(F.log_softmax(t(3, 4), 1), t.constant(np.full((3, 4), 0.25))),
    "nll_loss": lambda t: F.nll_loss(F.log_softmax(t(3, 4), 1), t.ints(4, 3), weight=t.constant([1.0, 2, 3, 4])),
    "instance_norm": lambda t: F.instance_norm(t(2, 3, 5), weight=t(3), bias=t(3)),
    "layer_norm": lambda t: F.layer_norm(t(2, 3, 4), (3, 4), t(3, 4), t(3, 4)),
    "rms_norm": lambda t: F.rms_norm(t(2, 3, 4), 4, t(4)),
    **{name: lambda t, name=name: getattr(F, name)(t(3, 4) > 0, axis=1) for name in ("all", "any")},
    **{
        name: lambda t, name=name: getattr(F, name)(t(3, 4), axis=1)
        for name in ("argmax", "argmin", "argsort", "cumsum", "sort", "std")
    },
    **{name: lambda t, name=name: getattr(F, name)(t(5, 4), 2) for name in ("chunk", "split", "tile", "roll")},
    "topk": lambda t: F.topk(t(3, 4), 2),
    "channel_shuffle": lambda t: F.channel_shuffle(t(2, 6, 3), 3),
    "pixel_shuffle": lambda t: F.pixel_shuffle(t(2, 8, 3, 2), 2),
    "pixel_unshuffle": lambda t: F.pixel_unshuffle(t(2, 3, 4, 6), 2),
    "einsum": lambda t: (F.einsum("bij,bkj->bik", t(2, 3, 4), t(2, 2, 4)), F.einsum("ii->i", t(3, 3))),
    "arctan": lambda t: F.arctan(t(3, 4)),
    "embedding": lambda t: F.embedding(t.ints(4, 3, 2), t(4, 5), 1),
    "hooked": lambda t: F.hooked(t(3, 4), lambda g: 2 * g),
    "scaled_dot_product_attention": lambda t: F.scaled_dot_product_attention(
        t(2, 3, 4), t(2, 3, 4), t(2, 3, 5), causal=True
    ),
    "multi_head_attention": lambda t: F.multi_head_attention(
        t(2, 3, 4), t(2, 5, 4), t(2, 5, 4), 2, t(12, 4), t(12), t(4, 4), t(4)
    ),
    "gather": lambda t: F.gather(t(3, 4), 1, t.ints(4, 3, 2)),
    "scatter": lambda t: F.scatter(t(3, 4), 1, t.ints(4, 3, 2), t(3, 2)),
    "scatter_add": lambda t: F.scatter_add(t(3, 4), 1, t.ints(4, 3, 2), t(3, 2)),
    "masked_fill": lambda t: F.masked_fill(t(3, 4), t(3, 4) > 0, -2.0),
    "one_hot": lambda t: F.one_hot(t.ints(4, 3), 4),
}

MEMBERS = {
    "exp": lambda x, t: x.exp(),
    "log": lambda x, t: (x * x).log(),
    "sqrt": lambda x, t: (x * x + 1).sqrt(),
    "abs": lambda x, t: x.abs(),
    "tanh": lambda x, t: x.tanh(),
    "sigmoid": lambda x, t: x.sigmoid(),
    "relu": lambda x, t: x.relu(),
    "clip": lambda x, t: x.clip(0),
    "sum": lambda x, t: (x.sum(), x.sum(axis=(0, 2)), x.sum(axis=-1, keepdims=True)),
    "mean": lambda x, t: x.mean(axis=1),
    "max": lambda x, t: (x.max(), x.max(axis=(0, 1))),
    "min": lambda x, t: (x.min(), t.ints(9, 3).min()),
    "prod": lambda x, t: x.prod(axis=(1, 2)),
    "var": lambda x, t: x.var(axis=0, ddof=1),
    "std": lambda x, t: x.std(axis=0, ddof=1),
    "norm": lambda x, t: (x.norm(), x.norm(1, axis=1)),
    **{
        name: lambda x, t, name=name: getattr(x, name)()
        for name in ("erf", "expm1", "sign", "floor", "ceil", "trunc", "round")
    },
    "log1p": lambda x, t: (x * x).log1p(),
    **{
        name: lambda x, t, name=name: getattr(x, name)(1)
        for name in (
            "all", "any", "argmax", "argmin", "argsort", "chunk", "cumsum", "roll", "sort", "split", "tile", "topk",
        )
    },
    "gather": lambda x, t: x.gather(1, t.ints(3, 2, 2, 4)),
    "scatter": lambda x, t: x.scatter(1, t.ints(3, 2, 2, 4), 0.5),
    "scatter_add": lambda x, t: x.scatter_add(1, t.ints(3, 2, 2, 4), t(2, 2, 4)),
    "masked_fill": lambda x, t: x.masked_fill(x > 0, 1.0),
    "logsumexp": lambda x, t: x.logsumexp(),
    "reshape": lambda x, t: x.reshape(4, -1),
    "transpose": lambda x, t: x.transpose(2, 0, 1),
    "swapaxes": lambda x, t: x.swapaxes(0, 2),
    "squeeze": lambda x, t: x[:, :1].squeeze(),
    "expand_dims": lambda x, t: x.expand_dims((0, -1)),
    "broadcast_to": lambda x, t: x[:1].broadcast_to(5, *x.shape[1:]),
    "sum_to": lambda x, t: x.sum_to((3, 1)),
    "flip": lambda x, t: x.flip(),
    "__getitem__": lambda x, t: (
        x[0], x[..., 1:, None], x[[1, 0, 1]], x[x > 0], x[t.constant([1, 1]), :, t.constant([0, 3])], x[:, (0, 2)],
        x[ONE],
    ),
    "__abs__": lambda x, t: abs(x),
    "__matmul__": lambda x, t: x @ t(4, 2),
    "__rmatmul__": lambda x, t: t(5, 3) @ x,
}  # fmt: skip

OTHERS = {
    "arithmetic": lambda x, t: (x + 1, 1 - x, x * x, 2 / (x + 9), x**2, 2**x, (-x) / 3, (x + 9) ** t(4), x - t(4)),
    "comparisons": lambda x, t: (x > 0, x == x, (x < 0) | (x >= 1), ~(x != 0), x <= t(4)),
    "astype": lambda x, t: x.astype("float32") * 2,
    "there and back": lambda x, t: x.to("cpu").to("gpu" if t.device == "gpu" else "cpu") * x,
    "like": lambda x, t: (x.zeros_like(), x.ones_like() * x, x.T),
    "second order": lambda x, t: md.hvp(lambda x: (x.tanh() * x).sum(), x, x.detach()),
}
CASES = {
    **{f"F.{name}": case for name, case in FUNCTIONS.items()},
    **{name: (lambda t, case=case: case(t(2, 3, 4), t)) for name, case in {**MEMBERS, **OTHERS}.items()},
}


def outcome(case: Any, device: str) -> list[np.ndarray]:
    """What a case gives on a device, and the gradients of its tensors for random cotangents."""
    t = Draw(device)
    ys = case(t)
    ys = list(ys) if isinstance(ys, (tuple, list)) else [ys]
    assert {y.device for y in ys} == {device}
    for y in ys:
        if y.requires_grad:
            y.backward(md.tensor(t.rng.standard_normal(y.shape), dtype=y.dtype, device=device), retain_graph=True)
    gradients = [x.grad for x in t.leaves if x.grad is not None]
    assert all(g.device == device for g in gradients)
    return [y.numpy() for y in [*ys, *gradients]]


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_the_cpu_gives(gpu, name):
    ours, theirs = outcome(CASES[name], "cpu"), outcome(CASES[name], "gpu")
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)


def test_every_public_function_and_method_is_tried():
    assert set(FUNCTIONS) == {n for n in F.__all__ if getattr(F, n).__module__.startswith("minidl.ops")}
    assert {name for name in MEMBERS if not name.startswith("__")} == {
        name for name in vars(Methods) if not name.startswith("__")
    } - {"backward", "T", "astype", "to", "zeros_like", "ones_like"}  # made of functions that are tried
