"""Normalisation against PyTorch: value, gradients, double backward, running statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.reference

drawn = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def assert_same(ours, theirs, tolerance=1e-9):
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * (1 + abs(theirs).max(initial=0)))


def compare(ours, theirs, arrays, seed):
    """Value, gradients and the gradients of a random combination of the gradients; None stands for itself."""
    rng = np.random.default_rng(seed)
    a = [None if v is None else md.tensor(v, requires_grad=True) for v in arrays]
    b = [None if v is None else torch.tensor(v, requires_grad=True) for v in arrays]
    y, z = ours(*a), theirs(*b)
    a, b = [v for v in a if v is not None], [v for v in b if v is not None]
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
        assert_same(u, v, 1e-8)


@st.composite
def batches(draw, most=5):
    """x, weight, bias; at least two values per channel, and deviations that eps = 1e-5 is small beside."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=most).filter(lambda s: np.prod(s) > 2 * s[1]))
    rng = np.random.default_rng(draw(seeds))
    given = draw(st.integers(0, 2))  # neither, weight, both: torch's backward fails with a bias alone
    affine = [rng.normal(size=shape[1]) if k < given else None for k in range(2)]
    return [rng.normal(size=shape) * rng.uniform(0.5, 3) + rng.normal(), *affine]


@drawn
@given(batches(), st.booleans(), st.sampled_from([1e-5, 0.1]), st.floats(0, 1), seeds)
def test_batch_norm(arrays, training, eps, momentum, seed):
    rng = np.random.default_rng(seed)
    channels = arrays[0].shape[1]
    running = rng.normal(size=channels), rng.uniform(0.3, 2, channels)
    theirs = [torch.tensor(r) for r in running]  # copies

    compare(
        lambda x, w, b: F.batch_norm(x, *running, w, b, training=training, momentum=momentum, eps=eps),
        lambda x, w, b: torch.nn.functional.batch_norm(x, *theirs, w, b, training, momentum, eps),
        arrays,
        seed,
    )
    for ours, t in zip(running, theirs, strict=True):
        assert_same(ours, t)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_batch_norm_in_single_precision_is_no_worse_than_torch(offset):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(4, 3, 32, 32)) + offset).astype(np.float32)
    exact = torch.nn.functional.batch_norm(torch.tensor(x.astype(float)), None, None, training=True).numpy()
    ours = F.batch_norm(md.Tensor(x), None, None, training=True).numpy()
    theirs = torch.nn.functional.batch_norm(torch.tensor(x), None, None, training=True).numpy()
    assert abs(ours - exact).max() <= max(abs(theirs - exact).max(), 1e-6)


def test_an_empty_batch_leaves_the_running_statistics_as_torch_does():
    running = [np.zeros(3), np.ones(3)]
    theirs = [torch.zeros(3), torch.ones(3)]
    F.batch_norm(md.Tensor(np.zeros((0, 3, 2))), *running, training=True)
    torch.nn.functional.batch_norm(torch.zeros(0, 3, 2), *theirs, training=True)
    for a, b in zip(running, theirs, strict=True):
        assert a.tolist() == b.tolist()


def test_one_value_per_channel_is_refused_as_by_torch():
    for shape in ((1, 3), (1, 3, 1), (1, 2, 1, 1)):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            torch.nn.functional.batch_norm(torch.zeros(shape), None, None, training=True)
        with pytest.raises(ValueError, match="more than one value per channel"):
            F.batch_norm(md.Tensor(np.zeros(shape)), None, None, training=True)


@drawn
@given(batches(), st.integers(1, 3), st.integers(1, 3), seeds)
def test_group_norm(arrays, groups, per_group, seed):
    rng = np.random.default_rng(seed)
    shape = list(arrays[0].shape)
    shape[1] = groups * per_group
    shape += [2]  # more than one value per group
    weight, bias = (None if v is None else rng.normal(size=shape[1]) for v in arrays[1:])
    compare(
        lambda x, w, b: F.group_norm(x, groups, w, b, eps=1e-2),
        lambda x, w, b: torch.nn.functional.group_norm(x, groups, w, b, eps=1e-2),
        [rng.normal(size=shape), weight, bias],
        seed,
    )


@drawn
@given(batches(4).filter(lambda a: a[0].ndim > 2), st.integers(1, 6), st.floats(0.1, 1.5), st.floats(0.5, 3), seeds)
def test_local_response_norm(arrays, size, beta, k, seed):
    compare(
        lambda x: F.local_response_norm(x, size, alpha=0.3, beta=beta, k=k),
        lambda x: torch.nn.functional.local_response_norm(x, size, alpha=0.3, beta=beta, k=k),
        arrays[:1],
        seed,
    )


def test_batch_norms_are_converted_as_torch_does():
    def converted(lib):
        inner = lib.Sequential(lib.BatchNorm1d(3, eps=0.1).eval(), lib.InstanceNorm1d(3))
        model = lib.Sequential(lib.BatchNorm2d(2, momentum=None), inner)
        model.add_module("last", lib.BatchNorm3d(2, affine=False, track_running_stats=False))
        before = list(model.parameters())
        model = lib.SyncBatchNorm.convert_sync_batchnorm(model)
        assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
        kinds = [(name, type(m).__name__, m.training) for name, m in model.named_modules()]
        options = [(m.eps, m.momentum, m.affine, m.num_features) for m in model.modules() if hasattr(m, "eps")]
        return kinds[1:], options, list(model.state_dict())

    assert converted(nn) == converted(torch.nn)
