"""Cross entropy: the naive sum, its kernel in blocks, its Hessian, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.kernels.cpu import loss as kernel
from minidl.kernels.cpu import workers
from minidl.ops.cross_entropy import cross_entropy_p, soft_cross_entropy
from tests.ops.test_loss import (
    assert_kernel_is_definition,
    assert_same,
    assert_second_order_is_that_of_the_kernel,
    shapes,
)

drawn = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**32 - 1)
reductions = st.sampled_from(["none", "mean", "sum"])


@st.composite
def class_problems(draw):
    shape = draw(shapes)
    rng = np.random.default_rng(draw(seeds))
    target = rng.integers(shape[1], size=shape[:1] + shape[2:])
    ignore_index = draw(st.sampled_from([None, -100, 255, 0, -1]))
    if ignore_index is not None:
        target = np.where(rng.random(target.shape) < 0.3, ignore_index, target)
    weight = rng.uniform(0.2, 2, shape[1]) if draw(st.booleans()) else None
    return rng.normal(size=shape) * 3, target, weight, ignore_index


def naive_cross_entropy(x, target, weight, ignore_index):
    """The loss and the weight at every position."""
    y, scale = np.zeros(target.shape), np.zeros(target.shape)
    for i in np.ndindex(target.shape):
        if target[i] != ignore_index:
            scale[i] = 1 if weight is None else weight[target[i]]
            y[i] = -scale[i] * log_softmax(x[(i[0], slice(None), *i[1:])])[target[i]]
    return y, scale.sum()


@drawn
@given(class_problems(), reductions, seeds)
def test_cross_entropy_is_the_naive_sum_and_its_kernel_the_definition(problem, reduction, seed):
    x, target, weight, ignore_index = problem

    def f(x):
        return F.cross_entropy(x, target, weight=weight, ignore_index=ignore_index, reduction=reduction)

    y, total = naive_cross_entropy(*problem)
    expected = {"none": y, "sum": y.sum(), "mean": y.sum() / (total or 1)}[reduction]
    assert_same(f(md.Tensor(x)).numpy(), expected)
    assert_kernel_is_definition(f, [x], seed)


@drawn
@given(shapes, reductions, st.booleans(), seeds)
def test_cross_entropy_of_probabilities(shape, reduction, weighted, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=shape) * 3, rng.uniform(size=shape)
    weight = rng.uniform(0.2, 2, shape[1]) if weighted else None

    def f(x, t):
        return F.cross_entropy(x, t, weight=weight, reduction=reduction)

    column = weight.reshape((1, -1) + (1,) * (x.ndim - 2)) if weighted else 1
    y = -(column * t * log_softmax(x, axis=1)).sum(axis=1)
    assert_same(f(md.Tensor(x), md.Tensor(t)).numpy(), {"none": y, "sum": y.sum(), "mean": y.mean()}[reduction])
    assert_kernel_is_definition(f, [x, t], seed)


def test_a_loss_module_takes_probabilities_and_positions_without_a_batch():
    x, t = md.tensor([[1.0, 2, 3], [0.5, -1, 2]]), [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]
    assert_same(nn.CrossEntropyLoss()(x, t).item(), 0.8994586, 1e-7)
    assert_same(F.cross_entropy(x[0], t[0]).item(), -log_softmax([1, 2, 3]) @ t[0])
    assert_same(F.cross_entropy(x[0], 2, reduction="none").item(), -log_softmax([1, 2, 3])[2])


@pytest.mark.parametrize("weight", [None, [0.5, 0.0, 2.0]])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_label_smoothing_mixes_each_target_with_equal_shares(weight, reduction):
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(4, 3, 2)), np.array([[0, 1], [2, 7], [1, 2], [0, 0]])
    w, log_p = np.ones(3) if weight is None else np.array(weight), log_softmax(x, axis=1)
    hard, y = np.zeros((4, 3, 2)), np.zeros((4, 2))
    for n, s in zip(*np.nonzero(target != 7)):
        hard[n, target[n, s], s] = 1
        y[n, s] = -(w * (0.9 * hard[n, :, s] + 0.1 / 3)) @ log_p[n, :, s]
    options = {"weight": weight, "reduction": reduction, "label_smoothing": 0.1}
    total = w[target[target != 7]].sum()
    got = F.cross_entropy(md.Tensor(x), target, ignore_index=7, **options).numpy()
    assert_same(got, {"none": y, "sum": y.sum(), "mean": y.sum() / total}[reduction])
    y = -(w[:, None] * (0.9 * hard + 0.1 / 3) * log_p).sum(axis=1)
    got = nn.CrossEntropyLoss(**options)(md.Tensor(x), hard).numpy()
    assert_same(got, {"none": y, "sum": y.sum(), "mean": y.mean()}[reduction])


@drawn
@given(shapes, seeds)
def test_one_hot_probabilities_are_classes(shape, seed):
    rng = np.random.default_rng(seed)
    x, target = rng.normal(size=shape), rng.integers(shape[1], size=shape[:1] + shape[2:])
    one_hot = np.moveaxis(np.eye(shape[1])[target], -1, 1)  # (N, *S, C) -> (N, C, *S)
    assert_same(F.cross_entropy(md.Tensor(x), one_hot).item(), F.cross_entropy(md.Tensor(x), target).item())


@drawn
@given(shapes, seeds)
def test_cross_entropy_of_second_order(shape, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=shape), rng.uniform(size=shape)
    target, scale = rng.integers(shape[1], size=shape[:1] + shape[2:]), rng.uniform(size=shape[:1] + shape[2:])
    assert_second_order_is_that_of_the_kernel(lambda x: cross_entropy_p(x, target=target, scale=scale), x, seed)
    assert_second_order_is_that_of_the_kernel(lambda x: soft_cross_entropy(x, md.Tensor(t)), x, seed)


LAYOUTS = {
    "C": lambda x: x,
    "channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    "gaps": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "Fortran": np.asfortranarray,
}


@drawn
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 30), st.integers(1, 3)),
    st.integers(2, 4),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1.0, 20.0, 1000.0]),
    st.sampled_from([(1 << 6, 0), (1 << 17, 1 << 12)]),
    seeds,
)
def test_cross_entropy_in_blocks_is_that_of_scipy(shape, ndim, layout, dtype, size, blocks, seed):
    rng = np.random.default_rng(seed)
    shape = shape[:ndim]
    x = LAYOUTS[layout]((rng.normal(size=shape) * size).astype(dtype))
    target = rng.integers(shape[1], size=shape[:1] + shape[2:])
    scale, g = (rng.normal(size=target.shape).astype(dtype) for _ in range(2))
    scale[rng.random(scale.shape) < 0.2] = 0
    exact = log_softmax(x.astype(np.float64), axis=1)
    one_hot = np.moveaxis(np.eye(shape[1])[target], -1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "BLOCK", blocks[0])
        patch.setattr(kernel, "FEW", blocks[1])
        y = kernel.cross_entropy(x, target=target, scale=scale)
        (gx,) = kernel.cross_entropy_backward(g, y, x, needed=[True], target=target, scale=scale)
    assert y.dtype == gx.dtype == dtype and gx.shape == shape
    eps = np.finfo(dtype).eps
    assert_same(y, -scale.astype(np.float64) * (exact * one_hot).sum(axis=1), 30 * eps)
    assert_same(gx, (g.astype(np.float64) * scale)[:, None] * (np.exp(exact) - one_hot), 50 * eps)


@pytest.mark.parametrize("layout", ["C", "channels last"])
def test_a_block_with_infinite_or_huge_logits_is_right_beside_others(layout):
    x = np.random.default_rng(0).normal(size=(2, 8, 70, 70)).astype("f")
    x[0, 3, 0, :4] = [-np.inf, 200, -200, 88]
    x[1, :, 2, 2] = -150  # all unlikely
    x[1, :, 2, 3] = -np.inf
    x[1, 5, 2, 3] = 0
    target = np.full((2, 70, 70), 3)
    target[0, 0, 0], target[1, 2, 3] = 0, 5
    x, scale = LAYOUTS[layout](x), np.ones(target.shape, "f")
    exact = log_softmax(x.astype(np.float64), axis=1)
    one_hot = np.moveaxis(np.eye(8)[target], -1, 1)
    with np.errstate(all="raise", under="ignore"):
        y = kernel.cross_entropy(x, target=target, scale=scale)
        (gx,) = kernel.cross_entropy_backward(scale, y, x, needed=[True], target=target, scale=scale)
    assert_same(y, -np.where(one_hot, exact, 0).sum(axis=1), 2e-7)
    assert_same(gx, np.exp(exact) - one_hot, 1e-6)


@pytest.mark.parametrize("layout", ["C", "channels last"])
@pytest.mark.parametrize("shape", [(900, 300), (3, 21, 64, 70)])
def test_cross_entropy_has_the_same_bits_on_any_number_of_threads(monkeypatch, shape, layout):
    rng = np.random.default_rng(0)
    x = LAYOUTS[layout](rng.normal(size=shape).astype("f"))
    target = rng.integers(shape[1], size=shape[:1] + shape[2:])
    assert kernel.EXP * x.size > workers.WORTH_SHARING and x.size > kernel.BLOCK
    results = set()
    for n in (1, 2, 3):
        monkeypatch.setattr(workers, "thread_count", lambda n=n: n)
        monkeypatch.setattr(workers, "_workers", None)
        logits = md.tensor(x, requires_grad=True)
        y = F.cross_entropy(logits, target, reduction="none")
        y.backward(np.cos(np.arange(y.size, dtype="f")).reshape(y.shape))
        results.add(y.numpy().tobytes() + logits.grad.numpy().tobytes())
    assert len(results) == 1


def test_hessian_of_cross_entropy_is_the_covariance_of_a_choice():
    x = np.random.default_rng(0).normal(size=4)
    p = softmax(x)
    hessian = md.hessian(lambda x: F.cross_entropy(x.reshape(1, 4), [2]), x).numpy()
    assert_same(hessian, np.diag(p) - np.outer(p, p))
    with md.definitions():
        assert_same(md.hessian(lambda x: F.cross_entropy(x.reshape(1, 4), [2]), x).numpy(), hessian)


def test_targets_may_be_lists_arrays_or_tensors():
    x = md.Tensor(np.random.default_rng(0).normal(size=(3, 4)))
    values = {
        F.cross_entropy(x, t, weight=w).item()
        for t in ([0, 3, 1], np.array([0, 3, 1], np.uint8), md.Tensor(np.array([0, 3, 1])))
        for w in ([1.0, 2, 3, 4], np.array([1.0, 2, 3, 4]), md.Tensor(np.array([1.0, 2, 3, 4])))
    }
    assert len(values) == 1


def test_all_ignored_gives_0_and_no_gradient():
    x = md.tensor(np.random.default_rng(0).normal(size=(2, 3)), requires_grad=True)
    for reduction in ("mean", "sum"):
        y = F.cross_entropy(x, [7, 7], ignore_index=7, reduction=reduction)
        assert y.item() == 0
        assert (md.grad(y, x)[0].numpy() == 0).all()


@pytest.mark.parametrize("defined", [False, True])
def test_a_class_ruled_out_by_an_infinite_logit_does_no_harm(defined):
    x = md.tensor([[-np.inf, 1.0, 2.0], [-np.inf, 0.0, 0.0]], requires_grad=True)

    def loss_and_gradient():
        y = F.cross_entropy(x, [1, -100], ignore_index=-100)  # position 1 is ignored, its class 0 infinitely unlikely
        return y.item(), md.grad(y, x)[0].numpy()

    if defined:
        with md.definitions():
            value, gradient = loss_and_gradient()
    else:
        value, gradient = loss_and_gradient()
    assert_same(value, np.log(1 + np.e))
    assert_same(gradient, [[0, -expit(1), expit(1)], [0, 0, 0]])


def test_cross_entropy_of_large_logits_is_finite():
    x = md.tensor(np.array([[1000.0, -1000.0], [0.0, 1000.0]]), requires_grad=True)
    y = F.cross_entropy(x, [1, 1], reduction="none")
    assert y.tolist() == [2000, 0]
    assert md.grad(y.sum(), x)[0].tolist() == [[1, -1], [0, 0]]


def test_a_class_out_of_range_is_named_with_its_position():
    x = md.Tensor(np.zeros((2, 3, 4)))
    target = np.zeros((2, 4), int)
    for bad in (3, -1, -100):
        target[1, 2] = bad
        with pytest.raises(IndexError, match=rf"target {bad} at position \(1, 2\) is not one of the 3 classes"):
            F.cross_entropy(x, target)
        F.cross_entropy(x, target, ignore_index=bad)


def test_cross_entropy_errors():
    x = md.Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"target has shape \(3,\)"):
        F.cross_entropy(x, [0, 1, 2])
    with pytest.raises(TypeError, match="must be integers, got float64"):
        F.cross_entropy(x, [0.0, 1.0])
    with pytest.raises(TypeError, match="must be floats"):
        F.cross_entropy(x, np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="ignore_index needs class numbers"):
        F.cross_entropy(x, np.zeros((2, 3)), ignore_index=1)
    with pytest.raises(ValueError, match=r"label_smoothing must be between 0 and 1, got 1\.5"):
        F.cross_entropy(x, [0, 1], label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"weight has shape \(2,\)"):
        F.cross_entropy(x, [0, 1], weight=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        F.cross_entropy(md.Tensor(np.zeros(3)), [0])
