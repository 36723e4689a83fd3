"""Optimisers on the device, all parameters in one launch, beside the CPU's parameter by parameter."""

from __future__ import annotations

import numpy as np
import pytest

import minidl as md
from minidl import optim
from minidl.kernels.gpu import flat, update

from . import planted

OPTIMISERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD with decay": ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True}),
    "Adam": ("Adam", {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.1}),
    "amsgrad": ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.3}),
}
SHAPES = [(2, 3), (), (1030,), (4,), (0, 2)]  # one has more entries than a block
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def build(name, dtype, device, shapes=SHAPES):
    kind, options = OPTIMISERS[name]
    rng = np.random.default_rng(0)
    params = [md.Parameter(md.tensor(rng.normal(size=s).astype(dtype), device=device).data) for s in shapes]
    groups = [{"params": params[:2]}, {"params": params[2:], "lr": 0.02}]
    return params, getattr(optim, kind)(groups, **options)


def has_gradient(i, step):
    return i <= step and (i + step) % 3 != 2  # they join one after another, and some pause


def walk(params, optimiser, steps):
    for step in steps:
        rng = np.random.default_rng(step)
        for i, p in enumerate(params):
            g = rng.normal(size=p.shape).astype(p.dtype)
            p.grad = md.tensor(g, device=p.device) if has_gradient(i, step) else None
        optimiser.step()


def assert_same_run(params, optimiser, others, other):
    for p, q in zip(params, others, strict=True):
        assert p.shape == q.shape and p.dtype == q.dtype
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=TOLERANCE[p.dtype.name], atol=TOLERANCE[p.dtype.name])
    state, expected = optimiser.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    for name in state:
        assert state[name].dtype == expected[name].dtype and state[name].shape == expected[name].shape
        tolerance = TOLERANCE.get(state[name].dtype.name, 0)
        np.testing.assert_allclose(state[name], expected[name], rtol=tolerance, atol=tolerance)


def assert_as_on_the_cpu(name, dtype, steps=6, shapes=SHAPES):
    ours, theirs = (build(name, dtype, device, shapes) for device in ("gpu", "cpu"))
    for run in (ours, theirs):
        walk(*run, range(steps))
    assert_same_run(*ours, *theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_run_is_that_of_the_cpu(gpu, name, dtype):
    assert_as_on_the_cpu(name, dtype)


@pytest.mark.parametrize("name", ["momentum", "amsgrad"])
@pytest.mark.parametrize("first, then", [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_state_goes_from_one_device_to_the_other(gpu, name, first, then):
    start = build(name, "float64", first)
    walk(*start, range(4))
    params, optimiser = build(name, "float64", then)
    for p, q in zip(params, start[0]):
        p.data = q.to(then).data
    optimiser.load_state_dict(start[1].state_dict())
    whole = build(name, "float64", "cpu")
    walk(params, optimiser, range(4, 7))
    walk(*whole, range(7))
    assert_same_run(params, optimiser, *whole)


@pytest.mark.parametrize("name", ["momentum", "amsgrad"])
@pytest.mark.parametrize("first, then", [("gpu", "cpu"), ("cpu", "gpu")])
def test_parameters_may_be_moved_under_an_optimiser(gpu, name, first, then):
    params, optimiser = build(name, "float64", first)
    walk(params, optimiser, range(4))
    for p in params:
        p.data = p.to(then).data
        p.grad = None
    walk(params, optimiser, range(4, 7))
    whole = build(name, "float64", "cpu")
    walk(*whole, range(7))
    assert {p.device for p in params} == {then}
    assert_same_run(params, optimiser, *whole)


def launches(monkeypatch):
    seen = []
    launch = update.launch
    monkeypatch.setattr(update, "launch", lambda *a: (seen.append(a[1:3]), launch(*a)))
    return seen


def test_one_launch_updates_all_of_a_group_and_dtype(gpu, monkeypatch):
    seen = launches(monkeypatch)
    params, optimiser = build("Adam", "float32", "gpu", [(2, 3), (4,), (3, 5), (2,), (6,)])
    params[3].data = params[3].data.astype("float64")
    for p in params:
        p.grad = md.Tensor(gpu.ones(p.shape, p.dtype))
    optimiser.step()
    assert [(name, np.dtype(dtype).name) for name, dtype in seen] == [
        ("adam", "float32"), ("adam", "float32"), ("adam", "float64"),
    ]  # fmt: skip


def test_arrays_are_gathered_once(gpu, monkeypatch):
    made = []
    gather = flat.Flat.__init__
    monkeypatch.setattr(flat.Flat, "__init__", lambda self, *a: (made.append(1), gather(self, *a))[1])
    params, optimiser = build("momentum", "float32", "gpu")
    for _ in range(3):
        for p in params[:2]:
            p.grad = md.Tensor(gpu.ones(p.shape, p.dtype))
        optimiser.step()
    assert len(made) == 1
    params[1].grad = None  # a pause is no reason
    optimiser.step()
    assert len(made) == 1
    params[0].data = params[0].data.copy()
    optimiser.step()
    assert len(made) == 2


def test_values_taken_before_a_step_stay(gpu):
    params, optimiser = build("momentum", "float32", "gpu")
    walk(params, optimiser, range(6))
    taken, copies = [p.data for p in params], [p.numpy().copy() for p in params]
    walk(params, optimiser, range(6, 9))
    for array, copy in zip(taken, copies):
        np.testing.assert_array_equal(array.get(), copy)


def test_a_parameter_without_a_gradient_keeps_value_and_state_and_is_not_called_updated(gpu):
    params, optimiser = build("amsgrad", "float64", "gpu", [(3,), (2,), (4,)])
    walk(params, optimiser, range(4))
    p, other = params[:2]
    p.grad, other.grad = None, md.Tensor(gpu.ones(2))
    value, state = p.numpy().copy(), {k: v for k, v in optimiser.state_dict().items() if k.startswith("state.0.")}
    loss = (p * p).sum()
    optimiser.step()
    loss.backward()
    np.testing.assert_array_equal(p.numpy(), value)
    after = optimiser.state_dict()
    for name in state:
        np.testing.assert_array_equal(after[name], state[name])
    loss = (other * other).sum()
    other.grad = md.Tensor(gpu.ones(2))
    optimiser.step()
    with pytest.raises(RuntimeError, match="was updated after the forward pass"):
        loss.backward()


def test_gradients_of_other_layouts_and_dtypes(gpu):
    results = []
    for device in ("gpu", "cpu"):
        p = md.Parameter(md.tensor(np.ones((3, 2), "float32"), device=device).data)
        optimiser = optim.SGD([p], 0.1, momentum=0.9)
        for step in range(3):
            g = md.tensor(np.arange(6.0).reshape(2, 3) + step, device=device).data
            p.grad = md.Tensor(g.T)
            optimiser.step()
        results.append(p.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)


@pytest.mark.parametrize("switched", [{"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5}])
def test_momentum_may_be_switched_on_later(gpu, switched):
    runs = []
    for device in ("gpu", "cpu"):
        params, optimiser = build("SGD", "float64", device, [(3,), (2,)] * 2)
        walk(params, optimiser, range(4))
        for group in optimiser.param_groups:
            group.update(switched)
        walk(params, optimiser, range(4, 8))
        runs += [params, optimiser]
    assert_same_run(*runs)


def sign(xp, w, g, state, *, lr, **options):
    return w - lr * xp.sign(g), {}


class Sign(optim.SGD):
    """An optimiser with a rule of its own."""

    rule = optim.Rule(sign)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_has_no_flat_kernel_goes_parameter_by_parameter(gpu, monkeypatch, dtype):
    seen = launches(monkeypatch)
    kinds = (Sign,) if dtype == "float32" else (Sign, optim.SGD, optim.AdamW)
    for kind in kinds:
        results = []
        for device in ("gpu", "cpu"):
            params = [md.Parameter(md.tensor(np.ones(s, dtype), device=device).data) for s in [(2, 3), ()]]
            optimiser = kind(params, lr=0.5, weight_decay=0.25)
            walk(params, optimiser, range(3))
            results.append([p.numpy() for p in params])
        for a, b in zip(*results):
            np.testing.assert_array_equal(a, b)
    assert not seen


@pytest.mark.parametrize("norm_type", [1.0, 2.0, np.inf])
def test_clipping_is_that_of_the_cpu(gpu, norm_type):
    results = []
    for device in ("gpu", "cpu"):
        params, optimiser = build("SGD", "float64", device)
        walk(params, optimiser, range(4))
        total = optim.clip_grad_norm(params, 0.5, norm_type)
        results.append([total, *(p.grad.numpy() for p in params if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_weights_lie_in_c_order_after_a_step(gpu):
    w = np.ones((4, 3, 2, 2)).transpose(3, 0, 1, 2)
    p = md.Parameter(gpu.asarray(np.asfortranarray(w)))
    p.grad = md.Tensor(gpu.asarray(w.copy()))
    optim.SGD([p], 0.1).step()
    assert p.data.flags.c_contiguous
    np.testing.assert_allclose(p.numpy(), 0.9)


# --- planted faults


def whole(gpu):
    for name in ("momentum", "nesterov", "amsgrad", "AdamW"):
        assert_as_on_the_cpu(name, "float64")


FAULTS = {
    "last entry of a block": ("i < part.count", "i < part.count - 1", 0),
    "last entry of a block, SGD": ("i < part.count", "i < part.count - 1", 1),
    "last entry of a block, Adam": ("i < part.count", "i < part.count - 1", 2),
    "one entry too many": ("i < part.count", "i <= part.count", 1),
    "the gradient's start": ("address + part.start_of_gradient", "address", 0),
    "the weights' start": ("w[part.start + i]", "w[i]", 0),
    "a parameter without gradient": ("if (!gradient) return keep(w, next, part);", "if (!gradient) return;", 0),
    "dampening": ("mu * v[at] + share * g", "mu * v[at] + g", 0),
    "nesterov": ("if (nesterov)", "if (false)", 0),
    "amsgrad": ("if (amsgrad)", "if (false)", 0),
    "another parameter's step count": ("scalars[2 * part.parameter]", "scalars[0]", 0),
    "decoupled decay": ("(T)factor * w[at]", "w[at]", 0),
}


def test_the_check_for_faults_passes_without_one():
    assert planted.passes(whole, "update")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    assert planted.is_caught(whole, "update", *FAULTS[fault])
