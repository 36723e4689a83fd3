"""RMSprop, Adagrad, NAdam, RAdam beside their equations in plain numbers; steps uphill; L-BFGS."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.optim.lbfgs import Point, strong_wolfe
from minidl.train import fit

from .test_optim import OPTIMISERS, run

GS = [0.5, -1.5, 0.2, 0.0, 2.0, -0.3, 0.7, 0.1]


def rmsprop(w, gs, lr, alpha, eps, decay, momentum, centered):
    v = m = b = 0.0
    for g in gs:
        g += decay * w
        v, m = alpha * v + (1 - alpha) * g * g, alpha * m + (1 - alpha) * g
        b = momentum * b + g / (math.sqrt(v - (m * m if centered else 0)) + eps)
        w -= lr * b
    return w


def adagrad(w, gs, lr, lr_decay, decay, initial, eps):
    total = initial
    for t, g in enumerate(gs):
        g += decay * w
        total += g * g
        w -= lr / (1 + t * lr_decay) * g / (math.sqrt(total) + eps)
    return w


def nadam(w, gs, lr, betas, eps, decay, momentum_decay, decoupled):
    (b1, b2), m, v = betas, 0.0, 0.0
    mu = [b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(1, len(gs) + 2)]
    for t, g in enumerate(gs, 1):
        w, g = (w - lr * decay * w, g) if decoupled else (w, g + decay * w)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        ahead = mu[t] * m / (1 - math.prod(mu[: t + 1])) + (1 - mu[t - 1]) * g / (1 - math.prod(mu[:t]))
        w -= lr * ahead / (math.sqrt(v / (1 - b2**t)) + eps)
    return w


def radam(w, gs, lr, betas, eps, decay, decoupled):
    (b1, b2), m, v = betas, 0.0, 0.0
    p = 2 / (1 - b2) - 1
    for t, g in enumerate(gs, 1):
        w, g = (w - lr * decay * w, g) if decoupled else (w, g + decay * w)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p_t, step = p - 2 * t * b2**t / (1 - b2**t), m / (1 - b1**t)
        if p_t > 5:
            rectified = math.sqrt((p_t - 4) * (p_t - 2) * p / ((p - 4) * (p - 2) * p_t))
            step *= rectified * math.sqrt(1 - b2**t) / (math.sqrt(v) + eps)
        w -= lr * step
    return w


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("flag", [False, True])
def test_they_are_their_equations(decay, flag):
    betas = (0.6, 0.9)
    coupled = {"betas": betas, "eps": 1e-3, "weight_decay": decay, "decoupled_weight_decay": flag}
    cases = [
        ("RMSprop", {"alpha": 0.8, "eps": 1e-3, "weight_decay": decay, "momentum": 0.5 * flag, "centered": flag},
         rmsprop(1.3, GS, 0.1, 0.8, 1e-3, decay, 0.5 * flag, flag)),
        ("Adagrad", {"lr_decay": 0.2 * flag, "weight_decay": decay, "initial_accumulator_value": 0.3 * flag},
         adagrad(1.3, GS, 0.1, 0.2 * flag, decay, 0.3 * flag, 1e-10)),
        ("NAdam", {**coupled, "momentum_decay": 0.1}, nadam(1.3, GS, 0.1, betas, 1e-3, decay, 0.1, flag)),
        ("RAdam", coupled, radam(1.3, GS, 0.1, betas, 1e-3, decay, flag)),
    ]  # fmt: skip
    for name, options, expected in cases:
        assert run(name, 1.3, GS, lr=0.1, **options) == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("name, options", OPTIMISERS)
def test_maximising_is_minimising_the_negative(name, options):
    options = {"weight_decay": 0.1, **options}
    assert run(name, 1.3, GS, **options, maximize=True) == run(name, 1.3, [-g for g in GS], **options)
    p = md.Parameter(np.ones(3))
    p.grad = g = md.Tensor(np.ones(3))
    getattr(optim, name)([p], maximize=True, **options).step()
    assert p.grad is g and (g.data == 1).all()


def test_a_constant_gradient_leaves_no_spread_to_divide_by():
    assert math.isfinite(run("RMSprop", 1.0, [0.1] * 500, centered=True))


# --- L-BFGS


def rosenbrock(p):
    return (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()


def closure_of(optimiser, p, f=rosenbrock):
    def closure():
        optimiser.zero_grad()
        loss = f(p)
        loss.backward()
        return loss

    return closure


def test_lbfgs_finds_the_minimum_in_few_steps_and_of_a_quadratic_exactly():
    p = md.Parameter(np.array([-1.2, 1.0]))
    optimiser = optim.LBFGS([p], max_iter=100, tolerance_change=1e-16, line_search_fn="strong_wolfe")
    first = optimiser.step(closure_of(optimiser, p))
    assert first.item() == pytest.approx(24.2)
    np.testing.assert_allclose(p.data, 1, atol=1e-6)
    assert optimiser.memory["func_evals"] < 80
    matrix = np.diag([1.0, 5.0, 30.0])
    p = md.Parameter(np.ones(3, np.float32))
    optimiser = optim.LBFGS(p, line_search_fn="strong_wolfe", history_size=2)
    for _ in range(3):
        optimiser.step(closure_of(optimiser, p, lambda p: (p @ md.Tensor(matrix.astype("f")) * p).sum()))
    np.testing.assert_allclose(p.data, 0, atol=1e-4)
    assert p.dtype == np.float32


def test_lbfgs_goes_on_with_the_same_bits(tmp_path):
    def start():
        p = md.Parameter(np.array([-1.2, 1.0, 0.5, 2.0]))
        return p, optim.LBFGS([p], lr=0.01, max_iter=4, history_size=3)

    p, optimiser = start()
    for step in range(4):
        if step == 2:
            np.savez(tmp_path / "state.npz", **optimiser.state_dict())
            saved = p.data
        optimiser.step(closure_of(optimiser, p))
    q, other = start()
    q.data = saved
    other.load_state_dict(np.load(tmp_path / "state.npz"))
    for _ in range(2):
        other.step(closure_of(other, q))
    assert p.data.tobytes() == q.data.tobytes()
    a, b = optimiser.state_dict(), other.state_dict()
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("seed", range(5))
def test_the_line_search_meets_the_wolfe_conditions(seed):
    c = np.random.default_rng(seed).uniform(0.2, 3, 3)

    def at(t):  # a curve that falls at first
        loss = -c[0] * t + c[1] * t * t + math.cos(c[2] * t)
        slope = -c[0] + 2 * c[1] * t - c[2] * math.sin(c[2] * t)
        return Point(t, loss, None, slope)

    for t in (1e-3, 1.0, 40.0):
        found, tried = strong_wolfe(at, at(0.0), t, 1.0, 1e-9, 25)
        assert found.loss <= at(0.0).loss + 1e-4 * found.t * at(0.0).slope
        assert abs(found.slope) <= 0.9 * abs(at(0.0).slope) and tried <= 26


def test_lbfgs_in_fit_steps_by_itself():
    model, x = nn.Linear(2, 1, rng=0).to(float), np.array([[1.0, 2], [3, 1], [0, 1]])
    optimiser = optim.LBFGS(model.parameters())

    def loss(model, batch):
        def closure():
            optimiser.zero_grad()
            error = F.mse_loss(model(md.Tensor(x)), x @ [[2.0], [-1.0]] + 3)
            error.backward()
            return error

        return {"loss": optimiser.step(closure)}

    assert fit(model, optimiser, loss, lambda step: step, 4, manual=True, progress=False)["loss"] < 1e-8


def test_what_lbfgs_refuses():
    p, q = md.Parameter(np.ones(2)), md.Parameter(np.ones(2))
    with pytest.raises(ValueError, match="one group of parameters"):
        optim.LBFGS([{"params": [p]}, {"params": [q]}])
    with pytest.raises(ValueError, match='None or "strong_wolfe", got \'armijo\''):
        optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(TypeError, match="needs a closure"):
        optim.LBFGS([p]).step()
