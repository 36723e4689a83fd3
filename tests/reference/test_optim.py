"""Twenty steps of each optimiser beside torch's, in double precision, for all combinations of its options."""

from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch")

import minidl as md  # noqa: E402
from minidl import optim  # noqa: E402

pytestmark = pytest.mark.reference

STEPS = 20
SHAPES = [(3, 4), (5,), ()]


def combinations(**choices):
    return [dict(zip(choices, values)) for values in product(*choices.values())]


SGD = [
    options
    for options in combinations(
        lr=[0.1], momentum=[0.0, 0.9], dampening=[0.0, 0.3], weight_decay=[0.0, 0.05], nesterov=[False, True]
    )
    if not options["nesterov"] or (options["momentum"] and not options["dampening"])
]
ADAM = combinations(
    lr=[0.05], betas=[(0.9, 0.999), (0.5, 0.9)], eps=[1e-8, 1e-3], weight_decay=[0.0, 0.1], amsgrad=[False, True]
)
CASES = [("SGD", o) for o in SGD] + [(name, o) for name in ("Adam", "AdamW") for o in ADAM]
CASES += [
    ("RMSprop", o)
    for o in combinations(lr=[0.02], alpha=[0.9], weight_decay=[0.0, 0.1], momentum=[0.0, 0.9], centered=[False, True])
]
CASES += [
    ("Adagrad", o)
    for o in combinations(lr=[0.3], lr_decay=[0.0, 0.1], weight_decay=[0.0, 0.1], initial_accumulator_value=[0.0, 0.2])
]
DECOUPLED = combinations(betas=[(0.9, 0.99), (0.5, 0.9)], weight_decay=[0.0, 0.1], decoupled_weight_decay=[False, True])
CASES += [(name, {"lr": 0.05, **o}) for name in ("NAdam", "RAdam") for o in DECOUPLED]
CASES += [("NAdam", {"momentum_decay": 0.1})]
CASES += [("Adadelta", o) for o in combinations(lr=[0.5], rho=[0.9, 0.5], weight_decay=[0.0, 0.1])]
CASES += [("Adamax", o) for o in combinations(lr=[0.05], betas=[(0.9, 0.99), (0.5, 0.9)], weight_decay=[0.0, 0.1])]
NAMES = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam")
CASES += [(name, options) for name in NAMES for options in ({}, {"maximize": True, "weight_decay": 0.1})]


@pytest.fixture(autouse=True)
def double():
    """torch's NAdam holds the product of its momenta in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients(rng, step):
    """One gradient for each parameter; the second has none at some steps, the sizes fall with time."""
    return [None if i == 1 and step % 3 == 0 else rng.standard_normal(s) / (1 + step) for i, s in enumerate(SHAPES)]


def set_gradients(ours, theirs, values):
    for p, q, g in zip(ours, theirs, values):
        p.grad = None if g is None else md.Tensor(g)
        q.grad = None if g is None else torch.tensor(g)


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(s) for s in SHAPES]
    return [md.Parameter(np.array(v)) for v in values], [torch.nn.Parameter(torch.tensor(v)) for v in values]


def assert_same(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name, options", CASES)
def test_steps_equal_torch(name, options):
    ours, theirs = parameters()
    a, b = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(1)
    for step in range(STEPS):
        set_gradients(ours, theirs, gradients(rng, step))
        a.step(), b.step()
        assert_same(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_groups_and_changing_rates_equal_torch(name):
    ours, theirs = parameters()
    own = {"lr": 0.3, "weight_decay": 0.2}
    a = getattr(optim, name)([{"params": ours[:1]}, {"params": ours[1:], **own}], lr=0.01)
    b = getattr(torch.optim, name)([{"params": theirs[:1]}, {"params": theirs[1:], **own}], lr=0.01)
    rng = np.random.default_rng(1)
    for step in range(STEPS):
        if step == 5:
            a.lr = 0.02
            for group in b.param_groups:
                group["lr"] = 0.02
        set_gradients(ours, theirs, gradients(rng, step))
        a.step(), b.step()
        assert_same(ours, theirs)


def rosenbrock(x, y):
    """A valley with a turn: sum of 100 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2, and a term for another parameter."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum() + ((y - x.sum()) ** 2).sum()


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
@pytest.mark.parametrize("options", [{"lr": 0.05}, {"max_iter": 5, "history_size": 3}, {"max_eval": 7, "lr": 0.01}])
def test_lbfgs_equals_torch(options, line_search_fn):
    start = [np.linspace(-1.2, 1, 5), np.array([[0.3], [2.0]])]
    ours, theirs = [md.Parameter(v) for v in start], [torch.nn.Parameter(torch.tensor(v)) for v in start]
    a = optim.LBFGS(ours, **options, line_search_fn=line_search_fn)
    b = torch.optim.LBFGS(theirs, **options, line_search_fn=line_search_fn)

    def closure(optimiser, params):
        def run():
            optimiser.zero_grad()
            loss = rosenbrock(*params)
            loss.backward()
            return loss

        return run

    for step in range(6):
        losses = a.step(closure(a, ours)), b.step(closure(b, theirs))
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-7)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-6, atol=1e-8, err_msg=f"step {step}")
    state = b.state[theirs[0]]
    assert (a.memory["func_evals"], a.memory["n_iter"]) == (state["func_evals"], state["n_iter"])


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm_equals_torch(norm_type, max_norm):
    ours, theirs = parameters()
    set_gradients(ours, theirs, gradients(np.random.default_rng(2), 0))
    total = optim.clip_grad_norm(ours, max_norm, norm_type)
    assert total == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)), rel=1e-12)
    for p, q in zip(ours, theirs):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-12)


SCHEDULES = [
    (optim.step_decay(0.3, 7, 0.5), 30, lambda o, s: s.StepLR(o, 7, 0.5)),
    (optim.step_decay(0.3, [12, 4, 20]), 30, lambda o, s: s.MultiStepLR(o, [4, 12, 20])),
    (optim.cosine(0.3, 30, 0.02), 31, lambda o, s: s.CosineAnnealingLR(o, 30, 0.02)),
    (optim.constant(0.3, 0.2, 4), 9, lambda o, s: s.ConstantLR(o, 0.2, 4)),
    (optim.linear(0.3, 6), 9, lambda o, s: s.LinearLR(o, total_iters=6)),
    (optim.linear(0.3, 6, 0.1, 0.7), 9, lambda o, s: s.LinearLR(o, 0.1, 0.7, 6)),
    (optim.exponential(0.3, 0.9), 9, lambda o, s: s.ExponentialLR(o, 0.9)),
    (optim.polynomial(0.3, 12, 0.9), 15, lambda o, s: s.PolynomialLR(o, 12, 0.9)),
    (optim.warm_restarts(0.3, 7, final=0.01), 30, lambda o, s: s.CosineAnnealingWarmRestarts(o, 7, eta_min=0.01)),
    (optim.warm_restarts(0.3, 4, 2), 40, lambda o, s: s.CosineAnnealingWarmRestarts(o, 4, 2)),
    (
        optim.sequence([optim.constant(0.3, 0.1, 9), optim.polynomial(0.3, 8), optim.exponential(0.3, 0.5)], [3, 9]),
        14,
        lambda o, s: s.SequentialLR(
            o, [s.ConstantLR(o, 0.1, 9), s.PolynomialLR(o, 8), s.ExponentialLR(o, 0.5)], milestones=[3, 9]
        ),
    ),
    (optim.one_cycle(0.3, 30), 30, lambda o, s: s.OneCycleLR(o, 0.3, 30, cycle_momentum=False)),
    (
        optim.one_cycle(0.3, 41, 0.5, 10.0, 100.0),
        41,
        lambda o, s: s.OneCycleLR(
            o, 0.3, 41, pct_start=0.5, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
]


@pytest.mark.parametrize("schedule, steps, make", SCHEDULES)
def test_schedules_equal_torch(schedule, steps, make):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimiser, torch.optim.lr_scheduler)
    for step in range(steps):
        assert schedule(step) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        optimiser.step()
        if step < steps - 1:
            scheduler.step()


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1, "factor": 0.5},
        {"mode": "max", "patience": 2, "cooldown": 2, "threshold": 0.1},
        {"threshold_mode": "abs", "threshold": 0.3, "patience": 0, "min_lr": [0.01, 0.02]},
        {"mode": "max", "threshold_mode": "abs", "patience": 0, "eps": 0.05},
    ],
)
def test_reduce_on_plateau_equals_torch(options):
    ours, theirs = parameters()
    groups = lambda p: [{"params": p[:1]}, {"params": p[1:], "lr": 0.5}]  # noqa: E731
    a, b = optim.SGD(groups(ours), lr=0.3), torch.optim.SGD(groups(theirs), lr=0.3)
    s, t = optim.ReduceLROnPlateau(a, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options)
    for metric in np.random.default_rng(0).normal(size=40).round(1):
        s.step(metric), t.step(metric)
        assert [g["lr"] for g in a.param_groups] == pytest.approx([g["lr"] for g in b.param_groups], rel=1e-12)


def test_ema_equals_torch():
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from minidl import nn

    ours, theirs = nn.Linear(3, 2, rng=0).to(float), torch.nn.Linear(3, 2)
    a, b = optim.EMA(ours, 0.9), AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=(2, 3))
        ours.weight.data, theirs.weight.data = values, torch.tensor(values)
        a.update(), b.update_parameters(theirs)
    np.testing.assert_allclose(a.state_dict()["weight"], b.module.weight.detach().numpy(), rtol=1e-12)
