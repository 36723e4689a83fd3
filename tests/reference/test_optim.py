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
CASES += [("SGD", {}), ("Adam", {}), ("AdamW", {})]  # the defaults


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


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
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
