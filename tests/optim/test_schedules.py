"""Clipping and schedules of the learning rate."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import nn, optim

numbers = st.floats(-3, 3).map(lambda x: round(x, 3))


# --- clipping


@given(st.lists(st.lists(numbers, min_size=1, max_size=4), max_size=3), st.floats(0.1, 20).map(np.float64),
       st.sampled_from([1.0, 2.0, math.inf]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_clip_grad_norm(grads, max_norm, norm_type):
    params = [md.Parameter(np.zeros(len(g), np.float32)) for g in grads] + [md.Parameter(np.zeros(2))]
    for p, g in zip(params, grads):
        p.grad = md.Tensor(np.array(g, np.float32))
    total = optim.clip_grad_norm(params, max_norm, norm_type)
    flat = np.concatenate([np.array(g, np.float32).astype(float) for g in grads] + [[0.0]])
    assert total == pytest.approx(np.linalg.norm(flat, norm_type), rel=1e-6)
    after = np.concatenate([p.grad.data for p in params[:-1]] + [[0.0]])
    assert np.linalg.norm(after, norm_type) <= max_norm * (1 + 1e-6)
    np.testing.assert_allclose(after, flat * min(1, max_norm / max(total, 1e-30)), rtol=2e-5, atol=1e-6)
    assert all(p.grad.dtype == np.float32 for p in params[:-1]) and params[-1].grad is None


# --- schedules


@given(st.integers(1, 60), st.floats(0.001, 1), st.floats(0, 0.001))
@settings(max_examples=40, deadline=None)
def test_cosine_falls_from_end_to_end(steps, lr, final):
    values = [optim.cosine(lr, steps, final)(step) for step in range(steps + 5)]
    assert values[0] == pytest.approx(lr)
    assert values[steps:] == pytest.approx([final] * 5)
    assert values == sorted(values, reverse=True)
    middle = [values[step] + values[steps - step] for step in range(steps + 1)]
    assert middle == pytest.approx([lr + final] * (steps + 1))  # symmetric about its centre


def test_step_decay_and_constant():
    decay = optim.step_decay(1.0, 3, 0.5)
    assert [decay(step) for step in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    decay = optim.step_decay(1.0, [5, 2], 0.5)
    assert [decay(step) for step in range(7)] == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert {optim.constant(0.3)(step) for step in range(5)} == {0.3}


def test_warmup_rises_by_equal_steps_to_its_schedule():
    schedule = optim.warmup(optim.constant(1.0), 4)
    assert [schedule(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    schedule = optim.warmup(optim.step_decay(1.0, 6), 4, start=0.5)
    assert [schedule(step) for step in range(7)] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1, 1, 0.1])


def test_other_shapes():
    def values(schedule, n):
        return [round(schedule(step), 12) for step in range(n)]

    assert values(optim.constant(0.5, 0.2, 2), 4) == [0.1, 0.1, 0.5, 0.5]
    assert values(optim.linear(1.0, 4, 0.2), 6) == [0.2, 0.4, 0.6, 0.8, 1, 1]
    assert values(optim.exponential(8.0, 0.5), 4) == [8, 4, 2, 1]
    assert values(optim.polynomial(1.0, 4, 2.0), 6) == [1, 0.5625, 0.25, 0.0625, 0, 0]
    assert values(optim.warm_restarts(1.0, 2), 5) == [1, 0.5, 1, 0.5, 1]
    assert values(optim.warm_restarts(1.0, 1, 2), 8) == [1, 1, 0.5, *values(optim.cosine(1, 4), 4), 1]
    assert values(optim.sequence([optim.constant(3), optim.exponential(4, 0.5), optim.constant(1)], [2, 4]), 6) == [
        3, 3, 4, 2, 1, 1
    ]  # fmt: skip
    for make, message in (
        (lambda: optim.polynomial(1.0, 0), "polynomial: steps must be at least 1, got 0"),
        (lambda: optim.warm_restarts(1.0, 2, 0), "multiply must be at least 1, got 0"),
        (lambda: optim.sequence([optim.constant(1)], [3]), r"1 schedules need 0 rising milestones, got \[3\]"),
        (lambda: optim.sequence([optim.constant(1)] * 3, [3, 2]), r"got \[3, 2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_plateau_is_left_by_a_smaller_rate():
    a, b = md.Parameter(np.ones(1)), md.Parameter(np.ones(1))
    optimiser = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.2}], 1.0)
    schedule = optim.ReduceLROnPlateau(optimiser, factor=0.5, patience=1, cooldown=1, min_lr=0.1, threshold=0.1)
    rates, other = [], optim.ReduceLROnPlateau(optimiser, mode="max", patience=0)
    for metric in (5, 4, 3.7, 3.65, 3.64, 3, math.nan, 3, 3):  # 3.7 is no tenth below 4
        schedule.step(metric)
        rates.append([group["lr"] for group in optimiser.param_groups])
    assert rates == [[1, 0.2]] * 3 + [[0.5, 0.1]] * 3 + [[0.5, 0.1], [0.25, 0.1], [0.25, 0.1]]
    other.load_state_dict({**schedule.state_dict(), "lr": [3.0, 2.0]})
    assert other.best == 3 and optimiser.lr == 3.0
    for options, message in (
        ({"mode": "least"}, 'mode is "min" or "max"'),
        ({"factor": 1.0}, "factor must be below 1"),
        ({"min_lr": [0.1]}, "1 numbers min_lr for 2 groups"),
    ):
        with pytest.raises(ValueError, match=message):
            optim.ReduceLROnPlateau(optimiser, **options)
    with pytest.raises(ValueError, match="the state has 1 groups"):
        schedule.load_state_dict({**schedule.state_dict(), "lr": [1.0]})


@given(st.integers(10, 80), st.floats(0.2, 0.8))
@settings(max_examples=40, deadline=None)
def test_one_cycle_rises_then_falls(steps, share):
    schedule = optim.one_cycle(1.0, steps, share)
    values = [schedule(step) for step in range(steps)]
    top = int(np.argmax(values))
    assert abs(top - (share * steps - 1)) <= 1
    assert values[: top + 1] == sorted(values[: top + 1]) and values[top:] == sorted(values[top:], reverse=True)
    assert values[0] == pytest.approx(1 / 25) and values[-1] == pytest.approx(1 / 25 / 1e4) == schedule(steps + 9)


@pytest.mark.parametrize("give", [lambda m: m, lambda m: m.named_parameters()])
def test_what_gives_parameters_is_named(give):
    with pytest.raises(TypeError, match=r"pass model\.parameters\(\)"):
        optim.SGD(give(nn.Linear(2, 1)))


@pytest.mark.parametrize("make", [lambda p: optim.SGD([p], 0.1, momentum=0.9), lambda p: optim.AdamW([p], 0.1)])
def test_large_arrays_change_in_place_only_if_nobody_else_has_them(make):
    rng = np.random.default_rng(0)
    start, gradient = rng.normal(size=(400, 400)), rng.normal(size=(400, 400))
    results = []
    for take in (
        lambda p: None, lambda p: p.data, lambda p: p.detach(), lambda p: p.data[1:2], lambda p: memoryview(p.data)
    ):  # fmt: skip
        p = md.Parameter(start.copy())
        optimiser = make(p)
        for _ in range(3):
            address, taken = p.data.ctypes.data, take(p)
            before = None if taken is None else np.array(taken)
            p.grad = gradient
            optimiser.step()
            assert (p.data.ctypes.data == address) == (taken is None)
            assert taken is None or np.array_equal(np.asarray(taken), before)
        results.append(p.data.tobytes())
    assert len(set(results)) == 1


def test_the_array_that_a_parameter_was_made_of_is_not_changed_through_a_view():
    whole = np.ones((4, 400, 400))
    p = md.Parameter(whole[1])
    optimiser = optim.SGD([p], 0.1)
    p.grad = np.ones((400, 400))
    optimiser.step()
    assert (whole == 1).all() and (p.data == 0.9).all()


def test_an_update_in_place_is_noticed_by_backward():
    p = md.Parameter(np.ones((400, 400)))
    loss = (p * p).sum()
    p.grad = np.ones((400, 400))
    optim.SGD([p], 0.1).step()
    with pytest.raises(RuntimeError, match="was updated after the forward pass"):
        loss.backward()
