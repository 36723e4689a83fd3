"""Optimisers beside their equations in plain Python numbers; their state, their care with arrays; schedules."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import optim
from minidl.kernels.cpu import update, workers

numbers = st.floats(-3, 3).map(lambda x: round(x, 3))
rates = st.sampled_from([0.0, 0.01, 0.3])


def run(name, w, gs, **options):
    """The value of one scalar parameter after a step with each gradient."""
    p = md.Parameter(np.array([w]))
    optimiser = getattr(optim, name)([p], **options)
    for g in gs:
        p.grad = md.Tensor(np.array([g]))
        optimiser.step()
    return float(p.data[0])


@given(numbers, st.lists(numbers, max_size=6), rates, st.sampled_from([0.0, 0.5, 0.9]), rates, rates, st.booleans())
@settings(max_examples=60, deadline=None)
def test_sgd_is_its_equations(w, gs, lr, momentum, dampening, decay, nesterov):
    nesterov = nesterov and momentum > 0 and dampening == 0
    options = {"momentum": momentum, "dampening": dampening, "weight_decay": decay, "nesterov": nesterov}
    result = run("SGD", w, gs, lr=lr, **options)
    v = None
    for g in gs:
        g += decay * w
        v = g if v is None else momentum * v + (1 - dampening) * g
        w -= lr * (g if momentum == 0 else g + momentum * v if nesterov else v)
    assert result == pytest.approx(w, rel=1e-12, abs=1e-12)


@given(numbers, st.lists(numbers, max_size=6), rates, st.floats(0, 0.99), st.floats(0, 0.999), rates,
       st.booleans(), st.booleans())  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_adam_is_its_equations(w, gs, lr, b1, b2, decay, amsgrad, decoupled):
    result = run(
        "AdamW" if decoupled else "Adam", w, gs, lr=lr, betas=(b1, b2), eps=1e-3, weight_decay=decay, amsgrad=amsgrad
    )
    m = v = largest = 0.0
    for t, g in enumerate(gs, start=1):
        if decoupled:
            w -= lr * decay * w
        else:
            g += decay * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        largest = max(largest, v)
        unbiased = (largest if amsgrad else v) / (1 - b2**t)
        w -= lr * m / (1 - b1**t) / (math.sqrt(unbiased) + 1e-3)
    assert result == pytest.approx(w, rel=1e-11, abs=1e-11)


# --- the state

OPTIMISERS = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.8)}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9, "centered": True}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.8)}),
    ("NAdam", {"lr": 0.1, "decoupled_weight_decay": True}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.1, "lr_decay": 0.1}),
]
WITH_KERNELS = OPTIMISERS[:4]


def two_groups(name, options, dtype=np.float32):
    rng = np.random.default_rng(0)
    params = [md.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in [(2, 3), (4,), ()]]
    return params, getattr(optim, name)([{"params": params[:2]}, {"params": params[2], "lr": 0.02}], **options)


def walk(params, optimiser, steps):
    for step in steps:
        rng = np.random.default_rng(step)
        for i, p in enumerate(params):
            p.grad = None if (i + step) % 3 == 0 else md.Tensor(rng.standard_normal(p.shape).astype(p.dtype))
        optimiser.step()


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_a_saved_run_goes_on_with_the_same_bits(name, options, tmp_path):
    params, optimiser = two_groups(name, options)
    walk(params, optimiser, range(5))
    np.savez(tmp_path / "optimiser.npz", **optimiser.state_dict())
    saved = [p.data for p in params]
    walk(params, optimiser, range(5, 9))

    others, other = two_groups(name, {"lr": 7.0})
    for p, value in zip(others, saved):
        p.data = value
    other.load_state_dict(np.load(tmp_path / "optimiser.npz"))
    assert [g["lr"] for g in other.param_groups] == [0.1, 0.02]
    walk(others, other, range(5, 9))
    for p, q in zip(params, others):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_the_state_is_plain(name, options):
    params, optimiser = two_groups(name, options)
    walk(params, optimiser, range(3))
    state = optimiser.state_dict()
    assert all(type(value) is np.ndarray and value.dtype.kind in "fib" for value in state.values())
    through_json = json.loads(json.dumps({name: value.tolist() for name, value in state.items()}))
    _, other = two_groups(name, {"lr": 7.0})
    other.load_state_dict(through_json)
    again = other.state_dict()
    assert list(again) == list(state)
    for key in state:
        np.testing.assert_array_equal(again[key], state[key])
        assert again[key].dtype == state[key].dtype
    assert other.param_groups[0].keys() == optimiser.param_groups[0].keys()
    assert all(g[k] == h[k] for g, h in zip(optimiser.param_groups, other.param_groups) for k in g if k != "params")


def test_the_state_is_a_copy():
    params, optimiser = two_groups("SGD", {"lr": 0.1, "momentum": 0.9})
    walk(params, optimiser, range(2))
    before, state = optimiser.state_dict(), optimiser.state_dict()
    for value in state.values():
        value[...] = 1
    for key, value in optimiser.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_a_state_that_does_not_fit_is_refused():
    params, adam = two_groups("Adam", {})
    walk(params, adam, range(2))
    state = adam.state_dict()
    _, sgd = two_groups("SGD", {})
    with pytest.raises(ValueError, match="SGD has no option 'betas'"):
        sgd.load_state_dict(state)
    with pytest.raises(ValueError, match=r"groups.*\[0, 1\].*\[2\].*this optimiser.*\[0, 1, 2\]"):
        optim.Adam(params).load_state_dict(state)
    state["state.0.exp_avg"] = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"state\.0\.exp_avg has shape \(3, 3\), its parameter \(2, 3\)"):
        adam.load_state_dict(state)


# --- arrays


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_values_taken_before_a_step_stay(name, options):
    params, optimiser = two_groups(name, options)
    walk(params, optimiser, range(2))
    arrays, detached = [p.data for p in params], [p.detach() for p in params]
    copies = [a.copy() for a in arrays]
    for p in params:
        p.grad = md.Tensor(np.ones(p.shape, p.dtype))
    grads = [p.grad.data for p in params]
    optimiser.step()
    for p, array, tensor, copy, grad in zip(params, arrays, detached, copies, grads):
        np.testing.assert_array_equal(array, copy)
        np.testing.assert_array_equal(tensor.data, copy)
        np.testing.assert_array_equal(grad, 1)
        assert (p.data != copy).all()


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_gradients_of_earlier_steps_stay(name, options):
    p = md.Parameter(np.ones(3))
    optimiser = getattr(optim, name)([p], **options)
    grads = [np.full(3, float(step)) for step in range(1, 4)]
    for g in grads:
        p.grad = md.Tensor(g)
        optimiser.step()
    np.testing.assert_array_equal(grads, [[1] * 3, [2] * 3, [3] * 3])


@pytest.mark.parametrize("name, options", WITH_KERNELS)
@pytest.mark.parametrize("held", [False, True])
def test_a_step_allocates_nothing_or_one_array_if_somebody_holds_the_old_one(monkeypatch, name, options, held):
    monkeypatch.setattr(workers, "thread_count", lambda: 1)  # another thread might ask for its scratch memory late
    p = md.Parameter(np.ones(250_000, np.float32))  # 1 MB
    optimiser = getattr(optim, name)([p], **{**options, "nesterov": False} if name == "SGD" else options, **(
        {"weight_decay": 0.0} if name == "AdamW" else {}))  # fmt: skip
    p.grad = md.Tensor(np.full(p.shape, 0.5, np.float32))
    optimiser.step()  # makes the state
    kept = p.data if held else None
    tracemalloc.start()
    try:
        optimiser.step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    arrays = peak / p.data.nbytes
    assert 0.99 < arrays < 1.1 if kept is not None else arrays < 0.1


@pytest.mark.parametrize("name, options", OPTIMISERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(name, options, dtype):
    params, optimiser = two_groups(name, {**options, "weight_decay": np.float64(0.1)}, dtype)
    optimiser.lr = np.float64(0.01)
    walk(params, optimiser, range(4))
    assert {p.dtype for p in params} == {np.dtype(dtype)}
    assert {v.dtype.type for k, v in optimiser.state_dict().items() if "exp_avg" in k or "momentum_b" in k} <= {dtype}
    assert [p.shape for p in params] == [(2, 3), (4,), ()]


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_a_gradient_of_another_layout_or_dtype_changes_neither(name, options):
    p = md.Parameter(np.ones((3, 2), np.float32))
    optimiser = getattr(optim, name)([p], **options)
    for _ in range(2):
        p.grad = md.Tensor(np.full((2, 3), 0.5).T)
        optimiser.step()
    assert p.data.flags.c_contiguous and p.dtype == np.float32
    assert all(v.flags.c_contiguous for v in optimiser.state_dict().values())


@pytest.mark.parametrize("name, options", WITH_KERNELS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_kernel_is_the_formula_bit_for_bit(name, options, dtype, decay):
    runs = [two_groups(name, {**options, "weight_decay": decay}, dtype) for _ in range(2)]
    walk(*runs[0], range(5))
    with md.definitions():
        walk(*runs[1], range(5))
    for p, q in zip(runs[0][0], runs[1][0]):
        assert p.dtype == q.dtype == dtype and p.shape == q.shape
        np.testing.assert_array_equal(p.data, q.data)
    state, expected = (optimiser.state_dict() for _, optimiser in runs)
    assert state.keys() == expected.keys()
    for key in state:
        np.testing.assert_array_equal(state[key], expected[key])


# --- large arrays, by blocks


def large_walk(name, options, dtype, layout, steps=3, saved_after=None):
    """The parameter and its state after some steps; `layout` is the order of the axes in memory, the gradient's C."""
    rng = np.random.default_rng(0)
    shape = (70, 33, 6, 7)
    w = rng.normal(size=shape).astype(dtype)
    w = np.ascontiguousarray(w.transpose(layout)).transpose(np.argsort(layout))
    p = md.Parameter(w)
    optimiser = getattr(optim, name)([p], **options)
    for step in range(steps):
        p.grad = md.Tensor(rng.normal(size=shape).astype(dtype))
        optimiser.step()
        assert p.data.strides == w.strides
        if step == saved_after:
            state = optimiser.state_dict()
            assert all(v.flags.c_contiguous for v in state.values())
            optimiser = getattr(optim, name)([p], **options)
            optimiser.load_state_dict(state)
    return p.data, optimiser.state_dict()


LARGE = [
    *OPTIMISERS,
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "dampening": 0.2, "weight_decay": 0.1}),
    ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
]


@pytest.mark.parametrize("name, options", LARGE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)])
def test_blocks_threads_layouts_and_saving_leave_the_bits(monkeypatch, name, options, dtype, layout):
    monkeypatch.setattr(update, "BLOCK", 1 << 40)  # whole
    whole, state = large_walk(name, options, dtype, (0, 1, 2, 3))
    monkeypatch.setattr(update, "BLOCK", 1 << 14)
    monkeypatch.setattr(workers, "WORTH_SHARING", 0)
    for threads, saved_after in ((1, None), (2, 1)):
        monkeypatch.setattr(workers, "thread_count", lambda n=threads: n)
        monkeypatch.setattr(workers, "_workers", None)
        value, again = large_walk(name, options, dtype, layout, saved_after=saved_after)
        assert value.size > update.BLOCK and value.dtype == dtype
        np.testing.assert_array_equal(value, whole)
        assert again.keys() == state.keys()
        for key in state:
            np.testing.assert_array_equal(again[key], state[key])


def test_a_parameter_with_gaps_in_memory_is_updated():
    p = md.Parameter(np.zeros((400, 400), "f")[::2])
    assert not p.data.flags.c_contiguous
    p.grad = md.Tensor(np.ones(p.shape, "f"))
    optim.SGD([p], 0.5, momentum=0.9).step()
    np.testing.assert_array_equal(p.data, -0.5)


def test_a_step_between_forward_and_backward_is_noticed():
    p = md.Parameter(np.ones(3), name="w")
    optimiser = optim.SGD([p], 0.1)
    loss = (p * p).sum()
    p.grad = md.Tensor(np.ones(3))
    optimiser.step()
    with pytest.raises(RuntimeError, match="w was updated after the forward pass"):
        loss.backward()


def test_parameters_without_a_gradient_stay():
    frozen, trained = md.Parameter(np.ones(2), requires_grad=False), md.Parameter(np.ones(2))
    optimiser = optim.AdamW([frozen, trained], weight_decay=0.5)
    (frozen * trained).sum().backward()
    optimiser.step()
    np.testing.assert_array_equal(frozen.data, 1)
    assert (trained.data < 1).all()
    optimiser.zero_grad()
    assert trained.grad is None
    before = trained.data
    optimiser.step()
    assert trained.data is before


@pytest.mark.parametrize("name, options", [*OPTIMISERS[:-1], ("SGD", {"lr": 0.1, "momentum": 0.5, "dampening": 0.2})])
def test_a_quadratic_is_minimised(name, options):
    target = np.array([1.0, -2.0, 0.5])
    p = md.Parameter(np.zeros(3))
    optimiser = getattr(optim, name)(p, **options)
    schedule = optim.cosine(0.1, 400)
    for step in range(400):
        optimiser.lr = schedule(step)
        optimiser.zero_grad()
        ((p - target) ** 2).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(p.data, target, atol=0.02)


# --- arguments


def test_a_shared_parameter_counts_once_in_the_norm_and_is_scaled_once():
    p, q = md.Parameter(np.zeros(2)), md.Parameter(np.zeros(1))
    p.grad, q.grad = md.Tensor(np.array([3.0, 0.0])), md.Tensor(np.array([4.0]))
    assert optim.clip_grad_norm([p, q, p], 1.0) == 5
    np.testing.assert_allclose([*p.grad.data, *q.grad.data], [0.6, 0, 0.8], rtol=1e-6)


@pytest.mark.parametrize("wrap", [md.tensor, np.float32, lambda x: np.array([x], np.float32)])
def test_options_may_be_tensors_and_arrays_of_one_number(wrap):
    p = md.Parameter(np.ones(3, np.float32))
    optimiser = optim.AdamW([p], lr=wrap(0.25), betas=(wrap(0.5), 0.75), weight_decay=wrap(0.125))
    assert optimiser.param_groups[0]["betas"] == (0.5, 0.75) and type(optimiser.lr) is float
    p.grad = md.Tensor(np.ones(3, np.float32))
    optimiser.step()
    optimiser.lr = wrap(0.5)
    assert p.dtype == np.float32 and optimiser.lr == 0.5 and type(optimiser.lr) is float


def test_groups_have_their_own_options():
    a, b = md.Parameter(np.ones(1)), md.Parameter(np.ones(1))
    optimiser = optim.SGD([{"params": [a]}], lr=0.1)
    optimiser.add_param_group({"params": [b], "lr": 0.5})
    for p in (a, b):
        p.grad = md.Tensor(np.ones(1))
    optimiser.step()
    assert (a.data[0], b.data[0]) == (0.9, 0.5)
    assert optimiser.parameters == [a, b]
    optimiser.lr = 0.25
    assert [g["lr"] for g in optimiser.param_groups] == [0.25, 0.25] and optimiser.lr == 0.25


def make(name, *args, **options):
    return lambda p: getattr(optim, name)([p], *args, **options)


@pytest.mark.parametrize(
    "build, error, message",
    [
        (make("SGD", -0.1), ValueError, "SGD: lr must be at least 0, got -0.1"),
        (make("SGD", math.nan), ValueError, "lr must be at least 0, got nan"),
        (make("SGD", momentum=-1), ValueError, "momentum must be at least 0"),
        (make("SGD", weight_decay=-1), ValueError, "weight_decay must be at least 0"),
        (make("SGD", nesterov=True), ValueError, "nesterov needs a momentum above 0"),
        (make("SGD", momentum=0.9, dampening=0.1, nesterov=True), ValueError, "and no dampening"),
        (make("Adam", betas=(0.9, 1.0)), ValueError, r"betas are two numbers in \[0, 1\)"),
        (make("Adam", betas=(0.9,)), ValueError, "betas are two numbers"),
        (make("AdamW", eps=-1e-8), ValueError, "AdamW: eps must be at least 0"),
        (lambda p: optim.SGD([]), ValueError, "got no parameters"),
        (lambda p: optim.SGD(iter(())), ValueError, "got no parameters"),
        (lambda p: optim.SGD([p, p]), ValueError, "weights is given twice"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "given twice"),
        (lambda p: optim.SGD([{"params": [p], "beta": 1}]), TypeError, "no option beta: its are lr, momentum"),
        (lambda p: optim.SGD([md.Tensor(np.ones(2), requires_grad=True)]), TypeError, r"wrap it: md\.Parameter"),
        (lambda p: setattr(optim.SGD([p]), "lr", -1), ValueError, "lr must be at least 0"),
        (lambda p: optim.cosine(0.1, 0), ValueError, "steps must be at least 1"),
        (lambda p: optim.step_decay(0.1, 0), ValueError, "steps must be at least 1"),
        (lambda p: optim.one_cycle(0.1, 3), ValueError, "no room to rise and fall in 3 steps"),
    ],
)
def test_refusals(build, error, message):
    with pytest.raises(error, match=message):
        build(md.Parameter(np.ones(2), name="weights"))
