"""Losses against PyTorch: value, gradients, double backward."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.reference

drawn = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)
reductions = st.sampled_from(["none", "mean", "sum"])
shapes = st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple)


def assert_same(ours, theirs, tolerance=1e-10):
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * (1 + abs(theirs).max(initial=0)))


def compare(ours, theirs, arrays, seed):
    """Value, gradients and the gradients of a random combination of the gradients."""
    rng = np.random.default_rng(seed)
    a = [md.tensor(v, requires_grad=True) for v in arrays]
    b = [torch.tensor(v, requires_grad=True) for v in arrays]
    y, z = ours(*a), theirs(*b)
    assert_same(y, z)
    g = rng.normal(size=y.shape)
    for u, v in zip(md.grad(y, a, g, retain_graph=True), torch.autograd.grad(z, b, torch.tensor(g), retain_graph=True)):
        assert_same(u, v)
    first = md.grad((y**2 * g).sum(), a, create_graph=True)
    second = torch.autograd.grad((z**2 * torch.tensor(g)).sum(), b, create_graph=True)
    mix = [rng.normal(size=u.shape) for u in first]
    ours_2 = md.grad(sum((u * m).sum() for u, m in zip(first, mix)), a)
    theirs_2 = torch.autograd.grad(sum((v * torch.tensor(m)).sum() for v, m in zip(second, mix)), b)
    for u, v in zip(ours_2, theirs_2, strict=True):
        assert_same(u, v)


def tensor_or_none(v):
    return None if v is None else torch.tensor(v)


@drawn
@given(shapes, reductions, st.booleans(), st.sampled_from([None, 255, -1, 0]), seeds)
def test_cross_entropy_of_classes(shape, reduction, weighted, ignore_index, seed):
    rng = np.random.default_rng(seed)
    target = rng.integers(shape[1], size=shape[:1] + shape[2:])
    if ignore_index is not None:
        target = np.where(rng.random(target.shape) < 0.3, ignore_index, target)
        target.flat[0] = shape[1] - 1  # torch's mean over nothing but ignored positions is nan, ours 0
        if reduction == "mean" and ignore_index == target.flat[0]:
            return
    weight = rng.uniform(0.2, 2, shape[1]) if weighted else None
    compare(
        lambda x: F.cross_entropy(x, target, weight=weight, ignore_index=ignore_index, reduction=reduction),
        lambda x: torch.nn.functional.cross_entropy(
            x,
            torch.tensor(target),
            tensor_or_none(weight),
            ignore_index=-100 if ignore_index is None else ignore_index,
            reduction=reduction,
        ),
        [rng.normal(size=shape) * 3],
        seed,
    )


@drawn
@given(shapes, reductions, st.booleans(), seeds)
def test_cross_entropy_of_probabilities(shape, reduction, weighted, seed):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 2, shape[1]) if weighted else None
    compare(
        lambda x, t: F.cross_entropy(x, t, weight=weight, reduction=reduction),
        lambda x, t: torch.nn.functional.cross_entropy(x, t, tensor_or_none(weight), reduction=reduction),
        [rng.normal(size=shape) * 3, rng.uniform(size=shape)],
        seed,
    )


@drawn
@given(shapes, reductions, st.booleans(), st.booleans(), seeds)
def test_binary_cross_entropy_with_logits(shape, reduction, weighted, positive, seed):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 2, shape[1:]) if weighted else None
    pos_weight = rng.uniform(0.2, 3, shape[-1]) if positive else None
    compare(
        lambda x, t: F.binary_cross_entropy_with_logits(
            x, t, weight=weight, pos_weight=pos_weight, reduction=reduction
        ),
        lambda x, t: torch.nn.functional.binary_cross_entropy_with_logits(
            x, t, tensor_or_none(weight), pos_weight=tensor_or_none(pos_weight), reduction=reduction
        ),
        [rng.normal(size=shape) * 4, rng.uniform(size=shape)],
        seed,
    )


@drawn
@given(st.sampled_from(["mse_loss", "l1_loss"]), shapes, reductions, seeds)
def test_distances(name, shape, reduction, seed):
    compare(
        lambda x, t: getattr(F, name)(x, t, reduction=reduction),
        lambda x, t: getattr(torch.nn.functional, name)(x, t, reduction=reduction),
        list(np.random.default_rng(seed).normal(size=(2, *shape))),
        seed,
    )


@drawn
@given(st.sampled_from([0.0, 1 / 9, 1.0, 2.5]), shapes, reductions, seeds)
def test_smooth_l1(beta, shape, reduction, seed):
    compare(
        lambda x, t: F.smooth_l1_loss(x, t, beta=beta, reduction=reduction),
        lambda x, t: torch.nn.functional.smooth_l1_loss(x, t, beta=beta, reduction=reduction),
        list(np.random.default_rng(seed).normal(size=(2, *shape)) * 2),
        seed,
    )


def focal(x, t, alpha, gamma, reduction):
    """The focal loss by PyTorch's own cross entropy and powers (Lin et al. 2017, eq. 5)."""
    p = torch.sigmoid(x)
    y = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    y = y * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    if alpha >= 0:
        y = y * (alpha * t + (1 - alpha) * (1 - t))
    return y if reduction == "none" else getattr(y, reduction)()


@drawn
@given(shapes, reductions, st.sampled_from([-1, 0.25, 1]), st.sampled_from([0, 1, 1.5, 2]), st.booleans(), seeds)
def test_focal_loss(shape, reduction, alpha, gamma, hard, seed):
    rng = np.random.default_rng(seed)
    t = rng.uniform(size=shape)
    t = np.round(t) if hard else t
    compare(
        lambda x: F.sigmoid_focal_loss(x, t, alpha=alpha, gamma=gamma, reduction=reduction),
        lambda x: focal(x, torch.tensor(t), alpha, gamma, reduction),
        [rng.normal(size=shape) * 2],
        seed,
    )
