"""Binary, focal and Dice losses and distances: formulas, golden numbers, large logits, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit

import minidl as md
from minidl import functional as F
from minidl.ops import loss

drawn = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**32 - 1)
reductions = st.sampled_from(["none", "mean", "sum"])
shapes = st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple)

PAIRED = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "smooth l1": F.smooth_l1_loss,
    "binary": F.binary_cross_entropy_with_logits,
    "focal": F.sigmoid_focal_loss,
}


def assert_same(actual, expected, tolerance=1e-12):
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale)


def gradients(f, arrays, seed):
    """The value of f and its gradients, for a random cotangent."""
    tensors = [md.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    grads = md.grad(y, tensors, np.random.default_rng(seed).normal(size=y.shape))
    return [y.numpy(), *(g.numpy() for g in grads)]


def assert_kernel_is_definition(f, arrays, seed):
    fused = gradients(f, arrays, seed)
    with md.definitions():
        defined = gradients(f, arrays, seed)
    for a, b in zip(fused, defined, strict=True):
        assert_same(a, b)


def assert_second_order_is_that_of_the_kernel(primitive, x, seed):
    """hvp goes through the definition; a complex step differentiates the backward kernel."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=x.shape)
    _, hv = md.hvp(lambda x: (primitive(x) ** 2).sum(), x, v)
    z = md.Tensor(x + 1e-30j * v, requires_grad=True)
    y = primitive(z)
    (stepped,) = md.grad(y, z, 2 * y.data)
    assert_same(hv.numpy(), stepped.numpy().imag / 1e-30, 1e-11)


# --- binary and focal


@drawn
@given(shapes, reductions, st.booleans(), st.booleans(), seeds)
def test_binary_cross_entropy_is_the_formula_and_its_kernel_the_definition(shape, reduction, weighted, positive, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=shape) * 4, rng.uniform(size=shape)
    weight = rng.uniform(size=shape) if weighted else None
    pos_weight = rng.uniform(0.5, 3, shape[-1]) if positive else None

    def f(x, t):
        return F.binary_cross_entropy_with_logits(x, t, weight=weight, pos_weight=pos_weight, reduction=reduction)

    y = -(t * log_expit(x) * (pos_weight if positive else 1) + (1 - t) * log_expit(-x)) * (weight if weighted else 1)
    assert_same(f(md.Tensor(x), md.Tensor(t)).numpy(), {"none": y, "sum": y.sum(), "mean": y.mean()}[reduction])
    assert_kernel_is_definition(f, [x, t], seed)
    options = {"pos_weight": pos_weight} if positive else {}
    assert_second_order_is_that_of_the_kernel(
        lambda x: loss.binary_cross_entropy_with_logits_p(x, md.Tensor(t), **options), x, seed
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_losses_are_accurate_for_large_logits(dtype):
    x = md.tensor([-800.0, -20.0, 20.0, 800.0], requires_grad=True, dtype=dtype)
    for t in (0.0, 1.0):
        wrong = x.numpy().astype(float) * (1 - 2 * t)  # how far the logit is on the wrong side
        y = F.binary_cross_entropy_with_logits(x, [t] * 4, reduction="none")
        assert y.dtype == dtype
        np.testing.assert_allclose(y.numpy(), -log_expit(-wrong), rtol=1e-6, atol=1e-37)
        for gamma in (0.0, 0.5, 1.0, 2.0):
            y = F.sigmoid_focal_loss(x, [t] * 4, alpha=-1, gamma=gamma, reduction="none")
            np.testing.assert_allclose(y.numpy(), -log_expit(-wrong) * expit(wrong) ** gamma, rtol=1e-5, atol=1e-37)
            (g,) = md.grad(y.sum(), x, create_graph=True)
            (h,) = md.grad(g.sum(), x)
            assert np.isfinite(g.numpy()).all() and np.isfinite(h.numpy()).all()


@drawn
@given(shapes, reductions, st.sampled_from([-1, 0, 0.25, 1]), st.sampled_from([0, 0.5, 2.0]), st.booleans(), seeds)
def test_focal_loss_is_the_formula(shape, reduction, alpha, gamma, hard, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=shape) * 3, rng.uniform(size=shape)
    t = np.round(t) if hard else t
    p = expit(x)
    y = -(t * np.log(p) + (1 - t) * np.log(1 - p)) * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    if alpha >= 0:
        y = y * (alpha * t + (1 - alpha) * (1 - t))
    actual = F.sigmoid_focal_loss(md.Tensor(x), t, alpha=alpha, gamma=gamma, reduction=reduction).numpy()
    assert_same(actual, {"none": y, "sum": y.sum(), "mean": y.mean()}[reduction], 1e-10)


def test_binary_errors():
    x = md.Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"pos_weight of shape \(2,\) does not broadcast"):
        F.binary_cross_entropy_with_logits(x, np.zeros((2, 3)), pos_weight=[1.0, 2.0])
    with pytest.raises(ValueError, match="weight of shape"):
        F.binary_cross_entropy_with_logits(x, np.zeros((2, 3)), weight=np.ones((4, 2, 3)))
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.sigmoid_focal_loss(x, np.full((2, 3), 1.5))
    for options in ({"alpha": 1.5}, {"gamma": -1.0}):
        with pytest.raises(ValueError, match="alpha of at most 1"):
            F.sigmoid_focal_loss(x, np.zeros((2, 3)), **options)


# --- distances


@drawn
@given(shapes, reductions, st.sampled_from([0.0, 1 / 9, 1.0, 3.0]), seeds)
def test_distances_are_the_formulas(shape, reduction, beta, seed):
    x, t = np.random.default_rng(seed).normal(size=(2, *shape)) * 2
    d = abs(x - t)
    smooth = np.where(d < beta, d**2 / (2 * (beta or 1)), d - beta / 2)
    for f, y in ((F.mse_loss, d**2), (F.l1_loss, d), (lambda *a, **k: F.smooth_l1_loss(*a, beta=beta, **k), smooth)):
        actual = f(md.Tensor(x), t, reduction=reduction).numpy()
        assert_same(actual, {"none": y, "sum": y.sum(), "mean": y.mean()}[reduction])


def test_smooth_l1_at_its_minimum_has_curvature_1_over_beta():
    hessian = md.hessian(lambda x: F.smooth_l1_loss(x, [0.0], beta=0.5, reduction="sum"), np.zeros(1))
    assert hessian.item() == 2
    with pytest.raises(ValueError, match="beta must be 0 or more"):
        F.smooth_l1_loss(md.Tensor(np.zeros(1)), [0.0], beta=-1)


@pytest.mark.parametrize("name", PAIRED)
def test_every_loss_refuses_shapes_that_differ_and_unknown_reductions(name):
    x = md.Tensor(np.zeros((2, 3)))
    for shape in ((3,), (2, 1), (2, 3, 1), ()):
        with pytest.raises(ValueError, match="they must be equal"):
            PAIRED[name](x, np.zeros(shape))
    with pytest.raises(ValueError, match="'avg' is unknown"):
        PAIRED[name](x, np.zeros((2, 3)), reduction="avg")


@pytest.mark.parametrize("name", [*PAIRED, "classes", "probabilities", "dice"])
def test_nothing_has_a_sum_but_no_mean(name):
    x = md.tensor(np.zeros((0, 3, 2)), requires_grad=True)
    f = {**PAIRED, "classes": F.cross_entropy, "probabilities": F.cross_entropy, "dice": F.soft_dice_loss}[name]
    target = np.zeros((0, 2), int) if name == "classes" else np.zeros((0, 3, 2))
    assert f(x, target, reduction="none").size == 0
    y = f(x, target, reduction="sum")
    assert y.item() == 0 and md.grad(y, x)[0].shape == x.shape
    with pytest.raises(ValueError, match="mean over nothing"):
        f(x, target)


@pytest.mark.parametrize("name", [*PAIRED, "classes", "probabilities", "dice"])
def test_single_precision_stays(name):
    rng = np.random.default_rng(0)
    x = md.tensor(rng.uniform(size=(2, 3, 2)), requires_grad=True, dtype=np.float32)
    f = {**PAIRED, "classes": F.cross_entropy, "probabilities": F.cross_entropy, "dice": F.soft_dice_loss}[name]
    target = [[0, 1], [2, 0]] if name == "classes" else rng.uniform(size=(2, 3, 2))  # double, as data comes
    options = {"weight": [1.0, 2, 3]} if name in ("classes", "probabilities") else {}
    y = f(x, target, **options)
    (g,) = md.grad(y, x)
    assert y.dtype == g.dtype == np.float32
    double = f(md.Tensor(x.numpy().astype(float)), target, **options)
    np.testing.assert_allclose(y.item(), double.item(), rtol=1e-5)


# --- Dice

GOLDEN_P, GOLDEN_G = np.array([[0.8, 0.4], [0.2, 0.1]]), np.array([[1.0, 1.0], [0.0, 0.0]])


def test_golden_dice():
    overlap, total = 1.2, 2.85  # 0.8 + 0.4;  0.64 + 0.16 + 0.04 + 0.01 + 2
    p = md.tensor(GOLDEN_P[None, None], requires_grad=True)
    y = F.soft_dice_loss(p, GOLDEN_G[None, None])
    dice = 2 * overlap / total
    assert_same(y.item(), -dice)
    (g,) = md.grad(y, p)
    assert_same(g.numpy()[0, 0], 2 * (dice * GOLDEN_P - GOLDEN_G) / total)
    np.testing.assert_allclose(g.numpy()[0, 0], [[-0.228994, -0.465374], [0.118190, 0.059095]], atol=1e-6)
    linear = F.soft_dice_loss(p, GOLDEN_G[None, None], denominator="linear").item()
    assert_same(linear, -2 * overlap / (1.5 + 2))


def test_golden_dice_through_a_sigmoid():
    u = md.tensor(np.log(GOLDEN_P / (1 - GOLDEN_P))[None, None], requires_grad=True)
    (g,) = md.grad(F.soft_dice_loss(F.sigmoid(u), GOLDEN_G[None, None]), u)
    np.testing.assert_allclose(g.numpy()[0, 0], [[-0.036639, -0.111690], [0.018910, 0.005319]], atol=1e-6)
    np.testing.assert_allclose(g.sum().item(), -0.124100, atol=1e-6)


@drawn
@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), st.sampled_from([0.0, 1.0]),
       st.sampled_from(["squared", "linear"]), seeds)
def test_dice_is_the_formula_for_every_reduction(shape, eps, denominator, seed):
    rng = np.random.default_rng(seed)
    p, g = rng.uniform(size=shape), (rng.random(shape) < 0.5) * 1.0
    power = 2 if denominator == "squared" else 1
    axes = tuple(range(2, p.ndim))
    s, q = (p * g).sum(axes), (p**power + g**power).sum(axes)
    dice = (2 * s + eps) / (q + eps)
    pooled = (2 * s.sum(0) + eps) / (q.sum(0) + eps)
    expected = {"none": -dice, "mean": -dice.mean(), "sum": -dice.sum(), "pooled": -pooled.mean()}
    for reduction, value in expected.items():
        actual = F.soft_dice_loss(md.Tensor(p), g, eps=eps, reduction=reduction, denominator=denominator)
        assert_same(actual.numpy(), value)


def test_dice_of_nothing_found_where_nothing_is_is_1_without_gradient():
    p = md.tensor(np.zeros((1, 2, 3)), requires_grad=True)
    for eps in (0.0, 1.0):
        for denominator in ("squared", "linear"):
            y = F.soft_dice_loss(p, np.zeros((1, 2, 3)), eps=eps, reduction="none", denominator=denominator)
            assert y.tolist() == [[-1, -1]]
    (g,) = md.grad(F.soft_dice_loss(p, np.zeros((1, 2, 3))), p)
    assert (g.numpy() == 0).all()


def test_an_empty_mask_has_no_dice_gradient():
    p = md.tensor(np.random.default_rng(0).uniform(size=(1, 1, 5)), requires_grad=True)
    y = F.soft_dice_loss(p, np.zeros((1, 1, 5)))
    assert y.item() == 0
    assert (md.grad(y, p)[0].numpy() == 0).all()
    assert (md.grad(F.soft_dice_loss(p, np.zeros((1, 1, 5)), eps=1.0), p)[0].numpy() > 0).all()


def test_a_confidently_missed_pixel_has_no_dice_gradient_but_one_of_cross_entropy():
    u = md.tensor(np.array([[[-40.0, 3.0]]]), requires_grad=True)
    mask = np.ones((1, 1, 2))
    (dice,) = md.grad(F.soft_dice_loss(F.sigmoid(u), mask), u)
    (binary,) = md.grad(F.binary_cross_entropy_with_logits(u, mask, reduction="sum"), u)
    assert abs(dice.numpy()[0, 0, 0]) < 1e-15
    assert_same(binary.numpy()[0, 0, 0], -1.0)


def test_pooling_hides_a_small_object():
    """One object of 1000 pixels found well, one of 4 found badly."""
    p, g = np.zeros((2, 1, 2000)), np.zeros((2, 1, 2000))
    g[0, 0, :1000], p[0, 0, :1000] = 1, 0.8
    g[1, 0, :4], p[1, 0, :4], p[1, 0, 4:20] = 1, 0.3, 0.3
    p = md.tensor(p, requires_grad=True)
    mean, pooled = F.soft_dice_loss(p, g), F.soft_dice_loss(p, g, reduction="pooled")
    assert pooled.item() < mean.item()
    small = (1, 0, 0)
    assert abs(md.grad(pooled, p)[0].numpy()[small]) < 0.1 * abs(md.grad(mean, p)[0].numpy()[small])


def test_dice_errors():
    with pytest.raises(ValueError, match=r"p\[None, None\]"):
        F.soft_dice_loss(md.Tensor(GOLDEN_P), GOLDEN_G)
    x = md.Tensor(GOLDEN_P[None, None])
    with pytest.raises(ValueError, match="they must be equal"):
        F.soft_dice_loss(x, GOLDEN_G)
    with pytest.raises(ValueError, match="denominator 'cubed'"):
        F.soft_dice_loss(x, GOLDEN_G[None, None], denominator="cubed")
    with pytest.raises(ValueError, match="'pooled'"):
        F.soft_dice_loss(x, GOLDEN_G[None, None], reduction="batch")
    with pytest.raises(ValueError, match="'pooled' is unknown"):
        F.mse_loss(x, GOLDEN_G[None, None], reduction="pooled")
