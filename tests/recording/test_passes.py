"""Each pass gives a program that computes the same: to the bit, or within its bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.recording import PASSES
from minidl.recording.passes import compute_again, fold_batch_norm


class Residual(nn.Module):
    """Two layers with or without bias, normalisation and relu, around which a shortcut leads."""

    def __init__(self, c, kernel, bias, norm, relu, shortcut):
        self.conv = nn.Conv2d(c, c, kernel, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(c) if norm else nn.Identity()
        self.relu, self.shortcut = relu, shortcut

    def forward(self, x):
        y = self.norm(self.conv(x))
        y = y + x if self.shortcut else y
        return F.relu(y) if self.relu else y


@st.composite
def networks(draw):
    flag = st.booleans()
    c = draw(st.sampled_from([3, 8, 16, 20]))
    depth, kernels = draw(st.integers(1, 4)), st.sampled_from([1, 3])
    layers = [Residual(c, draw(kernels), *(draw(flag) for _ in range(4))) for _ in range(depth)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 3)
    model = nn.Sequential(nn.Conv2d(1, c, 3, padding=1), *layers, *head)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean[...] = rng.normal(size=c)
            module.running_var[...] = rng.uniform(0.5, 2, c)
            module.weight.data, module.bias.data = (rng.normal(size=c).astype("f") for _ in range(2))
    return model.to(draw(st.sampled_from(["float32", "float64"])))


def batch(model, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 1, 17, 18)).astype(model[0].weight.dtype), rng.integers(0, 3, 2)


@pytest.mark.slow
@given(networks(), st.sampled_from([*PASSES, compute_again, "all"]))
@settings(max_examples=40, deadline=None)
def test_a_training_step_has_the_same_bits(model, improve):
    copy = nn.Module.__new__(nn.Sequential)
    copy = _copied(model)
    losses = []
    for net, passes in ((model, ()), (copy, (*PASSES, compute_again) if improve == "all" else (improve,))):
        optimiser = optim.SGD(net.parameters(), lr=0.1)

        def step(x, target, net=net, optimiser=optimiser):
            optimiser.zero_grad()
            loss = F.cross_entropy(net(md.Tensor(x)), target)
            loss.backward()
            optimiser.step()
            return loss

        step = md.record(step, passes=passes)
        losses.append([step(*batch(net, seed)).data.tobytes() for seed in range(5)])
        assert len(step.plans) == 1
    assert losses[0] == losses[1]
    assert all(np.array_equal(p.data, q.data) for p, q in zip(model.parameters(), copy.parameters(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(model.buffers(), copy.buffers(), strict=True))


@pytest.mark.slow
@given(networks())
@settings(max_examples=30, deadline=None)
def test_inference_has_the_same_bits_but_for_folding(model):
    x = md.Tensor(batch(model)[0])
    with model.inference():
        expected = model(x).data
        for passes in ([p for p in PASSES if p is not fold_batch_norm], PASSES):
            recorded = md.record(lambda x: model(x), passes=passes)
            got = [recorded(x).data for _ in range(4)][-1]
            if passes is PASSES:
                eps = np.finfo(got.dtype).eps
                assert np.abs(got - expected).max() <= 300 * eps * max(np.abs(expected).max(), 10)
            else:
                assert np.array_equal(got, expected)


def _copied(model):
    import copy

    return copy.deepcopy(model)


def close(a, b):
    return np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def inference_program(model):
    with model.inference():
        recorded, x = md.record(lambda x: model(x)), md.Tensor(batch(model)[0])
        for _ in range(2):
            recorded(x)
    return recorded, x


def test_a_residual_block_is_one_convolution_at_inference():
    md.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 32, 3), Residual(32, 3, True, True, True, True))
    recorded, _ = inference_program(model)
    names = [instruction.name for instruction in recorded.plans[0].program.instructions]
    assert names == ["conv", "conv"]
    last = recorded.plans[0].program.instructions[-1].parameters
    assert last["relu"] and last["residual"] is not None and "kernels" in last
    assert "once:" in recorded.text() and "once:" not in recorded.text("recording")


def test_what_is_computed_once_is_computed_again_when_it_changes():
    md.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 32, 3), Residual(32, 3, True, True, True, True))
    recorded, x = inference_program(model)
    with model.inference():
        recorded(x)
        for change in (
            lambda: setattr(model[1].conv.weight, "data", 2 * model[1].conv.weight.data),
            lambda: model[1].norm.running_var.__imul__(3),
            lambda: model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}),
        ):
            before = recorded(x).data
            change()
            got = recorded(x).data
            assert not close(got, before)
            assert close(got, model(x).data)
    with pytest.raises(ValueError, match="read-only"):
        model[1].conv.weight.data[...] = 0


def test_steps_after_inference_may_write_again():
    """Optimisers write into large parameters in place, but not into those that a plan has read."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Flatten(), nn.Linear(16 * 15 * 16, 40))
    recorded, x = inference_program(model)
    with model.inference():
        before = recorded(x).data
    optimiser = optim.SGD(model.parameters(), lr=0.1)
    model(x).sum().backward()
    optimiser.step()
    with model.inference():
        assert not close(recorded(x).data, before) and close(recorded(x).data, model(x).data)


class Reversed(Residual):
    """The shortcut is what comes first."""

    def forward(self, x):
        return F.relu(x + self.norm(self.conv(x)))


@pytest.mark.parametrize("norm", [True, False])
def test_a_shortcut_in_another_layout_leaves_that_of_the_result(norm):
    """The sums that follow are added in its order: the bits depend on it."""
    md.manual_seed(0)
    net = Reversed(16, 3, True, norm, True, True)
    x, strides = np.random.default_rng(0).normal(size=(2, 16, 17, 40)).astype("f"), []  # in C order
    for passes in ((), PASSES):
        recorded = md.record(lambda x: net(md.Tensor(x)), passes=passes)
        with md.no_grad():
            strides.append([recorded(x).data.strides for _ in range(4)])
    assert strides[0] == strides[1]


def plan_of_training(model, *more):
    optimiser, x = optim.SGD(model.parameters(), lr=0.1), md.Tensor(np.ones((4, 8, 32, 32), np.float32))

    def step(x):
        optimiser.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimiser.step()
        return loss

    recorded = md.record(step, passes=[*PASSES, *more])
    for _ in range(3):
        recorded(x)
    return recorded.plans[0]


def test_what_waits_for_the_backward_pass_is_computed_again():
    """Of each layer the result of the convolution is held, and not that of the normalisation as well."""
    md.manual_seed(0)
    layers = [[nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()] for _ in range(6)]
    model = nn.Sequential(*[part for layer in layers for part in layer])
    plain, shorter = plan_of_training(model), plan_of_training(model, compute_again)
    names = [[ins.name for ins in plan.program.instructions] for plan in (plain, shorter)]
    again = names[1].count("batch_norm") - names[0].count("batch_norm")
    assert again >= 4
    assert shorter.buffers.size <= plain.buffers.size - 4 * (4 * 8 * 32 * 32 * 4)


def test_nothing_is_computed_again_from_what_has_gone():
    """A relu's argument is not held for the backward pass: its result is."""
    md.manual_seed(0)
    model = nn.Sequential(*[part for _ in range(4) for part in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())])
    plans = plan_of_training(model), plan_of_training(model, compute_again)
    assert len(plans[0].program.instructions) == len(plans[1].program.instructions)
