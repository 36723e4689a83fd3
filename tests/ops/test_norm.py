"""Normalisation and dropout: kernels against definitions, statistics, precision, traps."""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.kernels.cpu import batch_norm, channels, layout, workers
from minidl.ops import norm

drawn = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def batches(draw):
    """x of 2 to 5 axes with at least two values per channel; weight and bias, each perhaps None."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5).filter(lambda s: np.prod(s) > s[1]))
    rng = np.random.default_rng(draw(seeds))
    x = rng.normal(size=shape) * rng.uniform(0.5, 3) + rng.normal() * 3
    weight, bias = (rng.normal(size=shape[1]) if draw(st.booleans()) else None for _ in range(2))
    return rng, x, weight, bias


def gradients(f, arrays, g):
    """The value of f and its gradient with respect to each array that is not None."""
    tensors = [None if a is None else md.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    return y.numpy(), [t.numpy() for t in md.grad(y, [t for t in tensors if t is not None], g)]


def assert_same(actual, expected, tolerance=1e-11):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * (1 + abs(expected).max(initial=0)))


@drawn
@given(batches(), st.booleans(), st.sampled_from([1e-5, 0.1]), st.booleans())
def test_kernel_equals_definition(batch, training, eps, relu):
    rng, x, weight, bias = batch
    mean, var = rng.normal(size=x.shape[1]), rng.uniform(0.3, 2, x.shape[1])
    g = rng.normal(size=x.shape)

    def f(x, weight, bias):
        return F.batch_norm(x, mean.copy(), var.copy(), weight, bias, training=training, eps=eps, relu=relu)

    y, grads = gradients(f, (x, weight, bias), g)
    with md.definitions():
        defined, expected = gradients(f, (x, weight, bias), g)
    assert_same(y, defined)
    for a, b in zip(grads, expected, strict=True):
        assert_same(a, b, 1e-9)  # eps = 1e-5 can magnify by 300


@drawn
@given(batches(), st.booleans())
def test_second_order_is_the_derivative_of_the_backward_kernel(batch, training):
    rng, x, weight, bias = batch
    weight = np.ones(x.shape[1]) if weight is None else weight
    mean, var = rng.normal(size=x.shape[1]), rng.uniform(0.3, 2, x.shape[1])
    g, v = rng.normal(size=x.shape), rng.normal(size=x.shape)

    def primitive(x):
        if training:
            return norm.batch_norm_p(x, md.Tensor(weight), bias, eps=0.1)
        return norm.batch_norm_eval(x, md.Tensor(weight), bias, mean=mean, var=var, eps=0.1)

    _, hv = md.hvp(lambda x: (primitive(x) ** 2 * g).sum(), x, v)
    z = md.Tensor(x + 1e-30j * v, requires_grad=True)
    y = primitive(z)
    (stepped,) = md.grad(y, z, 2 * y.data * g)  # complex step through the kernel
    assert_same(hv.numpy(), stepped.numpy().imag / 1e-30, 1e-10)


def test_hessian_is_the_same_through_kernel_and_definition():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))

    def f(x):
        return (F.batch_norm(x, None, None, training=True) * g).sum()

    fused = md.hessian(f, x).numpy()
    with md.definitions():
        defined = md.hessian(f, x).numpy()
    assert_same(fused, defined)
    assert_same(fused, fused.transpose(2, 3, 0, 1))


def test_definitions_show_the_composition():
    def nodes(y):
        return 1 + sum(nodes(x) for x in y.node.inputs if isinstance(x, md.Tensor) and not x.is_leaf)

    x = md.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    assert nodes(F.batch_norm(x, None, None, training=True)) == 1
    with md.definitions():
        assert nodes(F.batch_norm(x, None, None, training=True)) > 5


@drawn
@given(batches())
def test_output_has_mean_0_and_variance_1(batch):
    _, x, _, _ = batch
    y = F.batch_norm(md.Tensor(x), None, None, training=True, eps=1e-30).numpy()
    axes = (0, *range(2, x.ndim))
    assert_same(y.mean(axes), np.zeros(x.shape[1]), 1e-12)
    assert_same(y.var(axes), np.ones(x.shape[1]), 1e-10)


@pytest.mark.parametrize("wrap", [np.asarray, md.Tensor])
def test_running_statistics_are_updated_in_place_when_training_only(wrap):
    x = np.random.default_rng(1).normal(size=(5, 2, 3)) * 2 + 1
    mean, var = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    F.batch_norm(md.Tensor(x), wrap(mean), wrap(var))
    assert mean.tolist() == [1, 2] and var.tolist() == [3, 4]
    F.batch_norm(md.Tensor(x), wrap(mean), wrap(var), training=True, momentum=0.25)
    assert_same(mean, 0.75 * np.array([1, 2]) + 0.25 * x.mean((0, 2)))
    assert_same(var, 0.75 * np.array([3, 4]) + 0.25 * x.var((0, 2), ddof=1))


def test_a_second_derivative_does_not_update_running_statistics_again():
    mean, var = np.zeros(2), np.ones(2)
    x = md.tensor(np.random.default_rng(1).normal(size=(4, 2)), requires_grad=True)
    y = F.batch_norm(x, mean, var, training=True)
    before = mean.copy()
    (g,) = md.grad((y**3).sum(), x, create_graph=True)
    md.grad((g * g).sum(), x)
    assert (mean == before).all()


def test_eval_backward_uses_the_statistics_of_its_own_forward():
    x = md.tensor(np.random.default_rng(1).normal(size=(4, 2)), requires_grad=True)
    mean, var = np.zeros(2), np.full(2, 4.0)
    y = F.batch_norm(x, mean, var, eps=1e-30)
    F.batch_norm(x, mean, var, training=True)  # changes the running arrays
    (g,) = md.grad(y.sum(), x)
    assert_same(g.numpy(), np.full((4, 2), 0.5))


@drawn
@given(seeds, st.sampled_from([0.0, 30.0, 1e3]), st.sampled_from([(6, 3, 5, 5), (400, 2), (2, 2, 200, 200)]))
def test_single_precision_agrees_with_double_however_large_the_mean(seed, offset, shape):
    rng = np.random.default_rng(seed)
    arrays = [(rng.normal(size=s) + m).astype(np.float32) for s, m in ((shape, offset), (shape[1], 0), (shape[1], 0))]
    g = rng.normal(size=shape).astype(np.float32)

    def f(x, weight, bias):
        return F.batch_norm(x, None, None, weight, bias, training=True)

    y, grads = gradients(f, arrays, g)
    exact, expected = gradients(f, [a.astype(np.float64) for a in arrays], g.astype(np.float64))
    size = np.sqrt(g.size / shape[1])  # a gradient of weight or bias adds up this many entries' worth
    for a, b, scale in zip((y, *grads), (exact, *expected), (1, 1, size, size), strict=True):
        assert a.dtype == np.float32
        assert abs(a - b).max() <= 1e-5 * max(abs(b).max(), scale)


# --- kernels for the CPU

LAYOUTS = ["C order", "channels last", "Fortran order", "gaps", "broadcast"]


def laid_out(x, how):
    """The same values, in another place in memory."""
    if how == "channels last":
        return layout.channels_first(layout.channels_last(x).copy())
    if how == "Fortran order":
        return np.asfortranarray(x)
    if how == "gaps":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    return np.broadcast_to(x[:1], x.shape) if how == "broadcast" else x.copy()


@st.composite
def cut(draw):
    """Sizes of blocks and rows that make many of them, with rests, out of small arrays."""
    return {name: draw(st.integers(1, 60)) for name in ("BLOCK", "ROW", "SUMMED", "IMAGE")}


@contextmanager
def sizes(chosen):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "FEW", 0)
        for name, value in chosen.items():
            patch.setattr(channels, name, value)
        for plan in ("Rows", "Columns"):  # not those of other sizes, which are remembered
            patch.setattr(channels, plan.lower() + "_of", getattr(channels, plan))
        yield


@drawn
@given(batches(), st.sampled_from(LAYOUTS), cut())
def test_blocks_cover_an_array_once(batch, how, chosen):
    x = laid_out(batch[1], how)
    with sizes(chosen):
        plan, matrix = channels.as_matrix(x)
    covered, places = np.zeros(matrix.shape, int), np.zeros(plan.table_shape, int)
    for block in plan.blocks:
        part = plan.part(covered, block)
        part += 1
        places[plan.place(block, plan.summed(part))] += 1
    assert (covered == 1).all() and (places <= 1).all()


@drawn
@given(batches(), st.sampled_from(LAYOUTS), cut())
def test_moments_do_not_depend_on_blocks_or_layout(batch, how, chosen):
    x = laid_out(batch[1], how)
    with sizes(chosen):
        mean, var = channels.moments(x)
    axes = (0, *range(2, x.ndim))
    assert_same(mean, x.mean(axes))
    assert_same(var, x.var(axes))
    assert_same(np.stack(norm.moments(x)), np.stack([x.mean(axes), x.var(axes)]))  # the plain version


@drawn
@given(
    batches(),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.sampled_from([np.float32, np.float64]),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.booleans(),
    st.booleans(),
    cut(),
)
def test_kernel_equals_the_array_function(batch, how, how_g, dtype, needed, training, relu, chosen):
    rng, x, weight, bias = batch
    x = laid_out(x.astype(dtype), how)
    weight, bias = (None if v is None else v.astype(dtype) for v in (weight, bias))
    needed = [n and v is not None for n, v in zip(needed, (x, weight, bias), strict=True)]
    g = laid_out(rng.normal(size=x.shape).astype(dtype), how_g)
    parameters = {"eps": 0.1, "relu": relu}
    if not training:
        parameters |= {"mean": rng.normal(size=x.shape[1]), "var": rng.uniform(0.3, 2, x.shape[1])}
    p = norm.batch_norm_p if training else norm.batch_norm_eval
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    with sizes(chosen):
        y = p.cpu(x, weight, bias, **parameters)
        grads = p.reverse.cpu(g, y, x, weight, bias, needed=needed, **parameters)
    expected = p.forward(np, x, weight, bias, **parameters)
    assert y.dtype == expected.dtype == dtype
    assert_same(y, expected, tolerance)
    others = p.reverse.forward(np, g, expected, x, weight, bias, needed=needed, **parameters)
    for a, b, need in zip(grads, others, needed, strict=True):
        assert (a is not None) == (b is not None) == need
        if need:
            assert a.dtype == b.dtype == dtype
            assert_same(a, b, tolerance)


RULES = ["gradient", "guided", "deconvnet"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5), (40, 3, 9, 9)])
@pytest.mark.parametrize("rule", RULES)
def test_relu_within_is_relu_after_whatever_its_rule(rule, shape, training):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape), *rng.normal(size=(2, 3))]
    g, mean, var = rng.normal(size=shape), rng.normal(size=3), rng.uniform(0.5, 2, 3)
    found = []
    for within in (True, False):
        x, weight, bias = (md.tensor(a, requires_grad=True) for a in arrays)
        y = F.batch_norm(x, mean.copy(), var.copy(), weight, bias, training=training, relu=within)
        y = y if within else F.relu(y)
        with md.relu_rule(rule):
            y.backward(g)
        found.append([t.numpy() for t in (y, x.grad, weight.grad, bias.grad)])
    for a, b in zip(*found, strict=True):
        assert_same(a, b)
    assert (found[0][0] >= 0).all() and (found[0][0] == 0).any()


def test_the_rules_of_relu_within_differ():
    values, results = np.random.default_rng(0).normal(size=(4, 3, 5)), []
    for rule in RULES:
        x = md.tensor(values, requires_grad=True)
        with md.relu_rule(rule):
            F.batch_norm(x, None, None, training=True, relu=True).backward(np.cos(np.arange(60.0).reshape(4, 3, 5)))
        results.append(x.grad.numpy().tobytes())
    assert len(set(results)) == 3


def test_a_layer_takes_its_relu_along():
    layer = nn.BatchNorm1d(3)
    x = md.Tensor(np.random.default_rng(0).normal(size=(5, 3)).astype("f"))
    plain, positive = layer(x), layer(x, relu=True)
    np.testing.assert_array_equal(positive.numpy(), np.maximum(plain.numpy(), 0))


@pytest.mark.parametrize("how", ["C order", "channels last"])
def test_results_lie_in_memory_as_the_input_does(how):
    x = laid_out(np.random.default_rng(0).normal(size=(3, 8, 5, 4)), how)
    given, training = {"mean": np.zeros(8), "var": np.ones(8), "eps": 1e-5}, {"eps": 1e-5}
    needed = [True, False, False]
    with sizes({}):
        y, z = norm.batch_norm_p.cpu(x, None, None, **training), norm.batch_norm_eval.cpu(x, None, None, **given)
        gx, _, _ = norm.batch_norm_p.reverse.cpu(np.ones(x.shape), y, x, None, None, needed=needed, **training)
        gz, _, _ = norm.batch_norm_eval.reverse.cpu(x, z, x, None, None, needed=needed, **given)
    for a in (y, z, gx, gz):
        assert a.strides == x.strides


@pytest.mark.parametrize("shape", [(9, 16, 40, 37), (9, 1500, 5, 5)])
@pytest.mark.parametrize("how", ["C order", "channels last"])
def test_batch_norm_has_the_same_bits_on_any_number_of_threads(monkeypatch, shape, how):
    rng = np.random.default_rng(0)
    x = laid_out(rng.normal(size=shape).astype("f"), how)
    weight, bias = rng.normal(size=(2, shape[1])).astype("f")
    monkeypatch.setattr(workers, "WORTH_SHARING", 0)
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr(workers, "thread_count", lambda n=n: n)
        monkeypatch.setattr(workers, "_workers", None)
        tensors = [md.tensor(v, requires_grad=True) for v in (x, weight, bias)]
        y = F.batch_norm(tensors[0], None, None, *tensors[1:], training=True)
        y.backward(np.cos(x))
        results.append([y.numpy().tobytes(), *(t.grad.numpy().tobytes() for t in tensors)])
    assert results[0] == results[1] == results[2]


# --- group norm, local response norm


@drawn
@given(batches(), st.integers(1, 4), st.integers(1, 2))
def test_group_norm_is_the_formula(batch, groups, per_group):
    rng, x, _, _ = batch
    x = rng.normal(size=(x.shape[0], groups * per_group, *x.shape[2:]))
    weight, bias = rng.normal(size=(2, x.shape[1]))
    expected = np.empty_like(x)
    for n in range(len(x)):
        for k in range(groups):
            part = x[n, k * per_group : (k + 1) * per_group]
            expected[n, k * per_group : (k + 1) * per_group] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    scale = (1, -1) + (1,) * (x.ndim - 2)
    expected = expected * weight.reshape(scale) + bias.reshape(scale)
    assert_same(F.group_norm(md.Tensor(x), groups, md.Tensor(weight), md.Tensor(bias)).numpy(), expected, 1e-9)


@drawn
@given(batches(), st.integers(1, 6))
def test_local_response_norm_is_the_formula(batch, size):
    _, x, _, _ = batch
    expected = np.empty_like(x)
    channels = x.shape[1]
    for c in range(channels):
        near = range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1))
        expected[:, c] = x[:, c] / (2 + 0.5 / size * sum(x[:, j] ** 2 for j in near)) ** 0.75
    assert_same(F.local_response_norm(md.Tensor(x), size, alpha=0.5, k=2.0).numpy(), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("defined", [True, False])
def test_an_empty_batch_works(training, defined):
    mean, var = np.zeros(3), np.ones(3)
    x, weight = md.tensor(np.zeros((0, 3, 2)), requires_grad=True), md.tensor(np.ones(3), requires_grad=True)
    if defined:
        with md.definitions():
            y = F.batch_norm(x, mean, var, weight, training=training)
    else:
        y = F.batch_norm(x, mean, var, weight, training=training)
    gx, gw = md.grad(y.sum(), [x, weight])
    assert gx.shape == (0, 3, 2) and gw.tolist() == [0, 0, 0]
    assert mean.tolist() == [0, 0, 0] and var.tolist() == [1, 1, 1]
    assert F.group_norm(x, 3, weight).shape == F.local_response_norm(x, 2).shape == (0, 3, 2)


def test_errors():
    x = md.Tensor(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"more than one value per channel.*1 = 1"):
        F.batch_norm(x, None, None, training=True)
    with pytest.raises(ValueError, match="running_mean and running_var"):
        F.batch_norm(x, None, None)
    with pytest.raises(ValueError, match=r"weight has shape \(2,\).*3 channels"):
        F.batch_norm(x, np.zeros(3), np.ones(3), np.ones(2))
    with pytest.raises(TypeError, match="in place"):
        F.batch_norm(md.Tensor(np.ones((2, 3))), [0.0] * 3, [1.0] * 3, training=True)
    with pytest.raises(ValueError, match=r"\(N, C, \.\.\.\)"):
        F.batch_norm(md.Tensor(np.ones(3)), None, None, training=True)
    with pytest.raises(TypeError, match="float"):
        F.batch_norm(md.Tensor(np.ones((2, 3), int)), None, None, training=True)
    with pytest.raises(ValueError, match="3 channels do not split into 2"):
        F.group_norm(x, 2)
    with pytest.raises(ValueError, match="size must be 1"):
        F.local_response_norm(x, 0)


# --- dropout


@drawn
@given(seeds, st.floats(0.05, 0.95), st.sampled_from([np.float32, np.float64]))
def test_dropout_keeps_each_entry_scaled_or_drops_it(seed, p, dtype):
    x = md.tensor(np.random.default_rng(seed).normal(size=(30, 40)), requires_grad=True, dtype=dtype)
    y = F.dropout(x, p, rng=np.random.default_rng(seed))
    kept = y.numpy() != 0
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy()[kept], (x.numpy() / (1 - p))[kept], rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 6 * np.sqrt(p * (1 - p) / x.size)  # six standard deviations
    (g,) = md.grad(y.sum(), x)
    np.testing.assert_allclose(g.numpy(), kept / (1 - p), rtol=1e-6)
    again = F.dropout(x, p, rng=np.random.default_rng(seed))
    assert (again.numpy() == y.numpy()).all()


def test_dropout_at_the_ends():
    x = md.Tensor(np.random.default_rng(0).normal(size=(3, 4)))
    rng = np.random.default_rng(0)
    assert F.dropout(x, 0.0, rng=rng) is x
    assert F.dropout(x, 0.5, rng=rng, training=False) is x
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn
    assert (F.dropout(x, 1.0, rng=rng).numpy() == 0).all()
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            F.dropout(x, p, rng=rng)
    with pytest.raises(TypeError, match="Generator"):
        F.dropout(x, 0.5, rng=0)
