"""What a step does other than by operations is refused, or noticed before the next replay: never left out."""

import copy
import pickle
from collections import namedtuple

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.recording import RecordError

RNG = np.random.default_rng(0)


class Scaled(nn.Module):
    """A linear layer whose output is scaled by what it holds."""

    def __init__(self, change=lambda module: None):
        self.inner, self.change = nn.Linear(3, 2), change
        self.scale, self.options, self.mask = 1.0, {"factors": [2.0, 3.0]}, np.ones(2, np.float32)
        self.register_buffer("steps", np.ones(2, np.float32))

    def forward(self, x):
        self.change(self)
        y = self.inner(x) * self.scale * self.options["factors"][1]
        return y * (md.Tensor(self.mask) * 2) * md.Tensor(self.steps)


def step_of(model, optimiser, change=lambda *of: None, before=lambda *of: None):
    def step(x):
        before(model, optimiser, x)
        optimiser.zero_grad()
        loss = (model(md.Tensor(x)) ** 2).sum()
        loss.backward()
        change(model, optimiser, x)
        optimiser.step()
        return loss

    return step


def halve(array):
    array *= 0.5


CHANGES = {
    "gradients": lambda m, o, x: [halve(p.grad.data) for p in m.parameters()],
    "weights": lambda m, o, x: [np.clip(p.data, -0.1, 0.1, out=p.data) for p in m.parameters()],
    "an argument": lambda m, o, x: halve(x),
    "a buffer": lambda m, o, x: halve(m.steps),
    "an attribute": lambda m, o, x: halve(m.mask),
    "one of many": lambda m, o, x: m.inner.weight.data.__setitem__((1, 2), 0.25),
    "a new buffer": lambda m, o, x: setattr(m, "steps", m.steps * 2),
    "a counter": lambda m, o, x: setattr(m, "count", getattr(m, "count", 0) + 1),
    "the rate": lambda m, o, x: o.param_groups[0].update(lr=o.lr * 0.5),
    "an algorithm": lambda m, o, x: md.algorithm("im2col")(m)(md.Tensor(x)),
    "an average": lambda m, o, x: optim.EMA(m).update(),
}


REFUSED = "writes into an array float32|changes attributes|changes options|assigns|sets an|averages of|takes the array"


@pytest.mark.parametrize(
    ("when", "name"), [(when, name) for when in ("before", "change") for name in CHANGES][1:]  # no gradients before
)
def test_what_is_written_by_other_than_operations_is_refused(when, name):
    model = Scaled()
    step = md.record(step_of(model, optim.SGD(model.parameters(), lr=0.1), **{when: CHANGES[name]}))
    with pytest.raises(RecordError, match=REFUSED):
        for _ in range(3):
            step(RNG.normal(size=(4, 3)).astype("f"))


@pytest.mark.parametrize(
    "result", [namedtuple("Result", "loss"), lambda y: y.data.max() > 1e9, lambda y: {1: y}.values(), lambda y: [True]]
)
def test_results_are_tensors_in_tuples_lists_and_dicts(result):
    with pytest.raises(RecordError, match="it gives"):
        md.record(lambda x: result((md.Tensor(x) * 2).sum()))(np.ones(3))


def test_numbers_that_are_equal_and_not_the_same():
    step = md.record(lambda x, a: md.Tensor(x) / a)
    with np.errstate(divide="ignore"):
        for a in [0.0, 0.0, 0.0, -0.0, -0.0, -0.0, *[float("nan")] * 3]:
            assert np.array_equal(step(np.ones(2), a).data, np.ones(2) / np.float64(a), equal_nan=True)
    assert len(step.plans) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.options["factors"].__setitem__(1, 5.0),
        lambda m: setattr(m, "scale", -0.0),
        lambda m: m.mask.__setitem__(0, 7),
        lambda m: m.steps.__setitem__(0, 7),
        lambda m: setattr(m, "steps", m.steps * 3),
    ],
)
def test_contents_of_attributes_are_compared(change):
    model, x = Scaled(), np.ones((2, 3), "f")
    step = md.record(lambda x: model(md.Tensor(x)))
    with model.inference():
        for i in range(8):
            if i == 4:
                change(model)
            assert step(x).data.tobytes() == model(md.Tensor(x)).data.tobytes()
    assert len(step.plans) == 1


def test_what_a_step_changes_and_puts_back_is_no_hindrance():
    """A network is frozen, or in eval mode, for a part of a step."""
    md.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())

    def part(model, optimiser, x):
        model.eval()
        model[0].weight.requires_grad = False
        (model(md.Tensor(x)) ** 3).sum().backward()
        model[0].weight.requires_grad = True
        model.train()

    plain, recorded = (step_of(m, optim.Adam(m.parameters(), lr=0.1), before=part) for m in models)
    recorded = md.record(recorded)
    for _ in range(5):
        x = RNG.normal(size=(4, 3)).astype("f")
        assert np.array_equal(plain(x).data, recorded(x).data)
    assert len(recorded.plans) == 1


def test_a_result_that_is_computed_once_is_a_copy():
    model = nn.Linear(3, 2)
    step = md.record(lambda x: (model(md.Tensor(x)), model.weight * 2))
    with md.no_grad():
        for _ in range(5):
            doubled = step(np.ones((1, 3), "f"))[1].data
            assert np.array_equal(doubled, model.weight.data * 2)
            doubled[...] = 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_recorded_module_records_for_itself(copied):
    model, x = md.record(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))), md.Tensor(np.ones((2, 3), "f"))
    with model.inference():
        for _ in range(3):
            model(x)
        twin = copied(model)
        twin[0].weight.data = twin[0].weight.data * 3
        for _ in range(4):
            got = twin(x).data
            assert np.array_equal(got, type(twin).forward(twin, x).data)
            assert not np.array_equal(got, model(x).data)
    assert len(twin.forward.plans) == 1 and twin.forward.module is twin


@pytest.mark.parametrize("used", [True, False])
def test_random_numbers_are_drawn_anew_where_nothing_else_changes(used):
    """Dropout at inference is neither computed once nor, if nobody reads it, left out: the generator moves on."""
    layers = [nn.Dropout(0.5, rng=3) for _ in range(2)]

    def step(layer, x):
        return [layer(md.Tensor(x)).detach() if used else layer(md.Tensor(x)).sum() * 0, layer(md.Tensor(x))][not used]

    recorded = md.record(step)
    for _ in range(6):
        x = np.ones((4, 3), "f")
        assert np.array_equal(step(layers[0], x).data, recorded(layers[1], x).data)


def test_gradients_that_add_up_over_two_steps_have_two_plans():
    models = [nn.Linear(3, 2, rng=0) for _ in range(2)]

    def backward(model, x):
        loss = (model(md.Tensor(x)) ** 2).sum()
        loss.backward()
        return loss

    recorded = md.record(lambda x: backward(models[1], x))
    for i in range(12):
        x = RNG.normal(size=(4, 3)).astype("f")
        backward(models[0], x), recorded(x)
        for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
            assert np.array_equal(p.grad.data, q.grad.data)
        if i % 2:
            [model.zero_grad() for model in models]
    assert len(recorded.plans) == 2


def test_a_batch_norm_that_loses_its_averages_is_recorded_anew():
    norm = nn.BatchNorm1d(3)
    step = md.record(lambda x: norm(md.Tensor(x)).detach())
    for i in range(8):
        if i == 4:
            norm.running_mean = norm.running_var = None
        x = RNG.normal(size=(4, 3)).astype("f")
        assert step(x).data.tobytes() == norm(md.Tensor(x)).data.tobytes()


def test_a_method_is_recorded_with_its_module_as_an_argument():
    class Net(nn.Module):
        def __init__(self):
            self.inner, self.scale = nn.Linear(3, 2), 2.0

        @md.record
        def predict(self, x):
            return (self.inner(md.Tensor(x)) * self.scale).detach()

    nets, x = [Net(), Net()], np.ones((2, 3), "f")
    for i in range(8):
        for net in nets:
            if i == 4:
                net.scale = 3.0
            assert np.array_equal(net.predict(x).data, Net.predict.function(net, x).data)
    assert len(Net.predict.plans) == 2


def test_arguments_of_other_kinds():
    step = md.record(lambda x, other: md.Tensor(np.asarray(x)) * 2)
    for _ in range(4):
        assert step(np.ones(3), np.array([None, "text"])).data[0] == 2
    norm = nn.BatchNorm1d(3).eval()
    with pytest.raises(RecordError, match="running_mean of BatchNorm1d is also an argument"):
        md.record(lambda x, y: norm(md.Tensor(x)).detach() + md.Tensor(y))(np.ones((2, 3)), norm.running_mean)
