"""A recorded step does what the step does: the same bits, in parameters, buffers, gradients and results."""

import copy
import weakref

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.recording import RecordError

RNG = np.random.default_rng(0)


def network(dropout: float = 0.0) -> nn.Module:
    md.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def batch(n: int = 4, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    return RNG.standard_normal((n, 1, 12, 12)).astype(dtype), RNG.integers(0, 10, n)


def training_step(model, optimiser, clear=True):
    def step(x, target):
        if clear:
            optimiser.zero_grad()
        loss = F.cross_entropy(model(md.Tensor(x)), target, label_smoothing=0.1)
        loss.backward()
        optimiser.step()
        return {"loss": loss, "lr": None}

    return step


def state(model, optimiser):
    arrays = [*model.state_dict().values(), *optimiser.state_dict().values()]
    return arrays + [p.grad.data for p in model.parameters()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clear", [True, False])
def test_training_has_the_same_bits(dtype, clear):
    models = [network(dropout=0.3).to(dtype) for _ in range(2)]
    optimisers = [optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in models]
    plain, recorded = (training_step(m, o, clear) for m, o in zip(models, optimisers))
    recorded = md.record(recorded)
    for i in range(6):
        x, target = batch(dtype=dtype)
        for optimiser in optimisers:
            optimiser.lr = 0.1 / (i + 1)
        expected, got = plain(x, target), recorded(x, target)
        assert got["loss"].data.tobytes() == expected["loss"].data.tobytes() and got["lr"] is None
        assert all(np.array_equal(a, b) for a, b in zip(*map(state, models, optimisers), strict=True))
    assert len(recorded.plans) == 1 and recorded.refusal is None


def test_each_shape_and_mode_has_a_plan():
    model = network()
    step = md.record(training_step(model, optim.SGD(model.parameters(), lr=0.1)))
    for n in (4, 4, 4, 5, 5, 5):
        step(*batch(n))
    assert len(step.plans) == 2
    model.eval()
    running = model[1].running_mean.copy()
    for _ in range(3):
        step(*batch(4))
    assert np.array_equal(model[1].running_mean, running)


def test_what_changed_is_noticed():
    """Attributes of modules, frozen parameters and replaced arrays."""
    model = network()
    step = md.record(lambda x: F.sum(model(x)) if False else model(x).sum())
    x = batch()[0]
    for _ in range(3):
        with md.no_grad():
            before = step(x)
    with md.no_grad():
        model.eval()
        model[9].bias.data = model[9].bias.data + 1
        model[1].eps = 0.5
        assert np.array_equal(step(x).data, model(md.Tensor(x)).sum().data)
        assert not np.array_equal(step(x).data, before.data)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x: (x * 2).sum().item(), "item"),
        (lambda x: x if x.sum() > 0 else -x, "bool"),
        (lambda x: np.asarray(x * 2), "NumPy"),
        (lambda x: x + md.Tensor(np.ones(3)), "add got an array float64 .3,., .* no operation made"),
        (lambda x: x * RNG.random(), "multiply got 0"),
    ],
)
def test_what_cannot_be_repeated_is_refused_by_name(step, message):
    recorded = md.record(lambda x: step(md.Tensor(x)))
    with pytest.raises(RecordError, match=message):
        for _ in range(4):
            recorded(np.ones(3))


def test_a_graph_that_is_left_is_refused():
    model = network()
    with pytest.raises(RecordError, match="still has a graph"):
        md.record(lambda x: model(md.Tensor(x)))(batch()[0])


def test_an_assigned_parameter_is_refused():
    model = network()

    def step(x):
        model[9].bias.data = np.zeros(10, np.float32)
        return None

    with pytest.raises(RecordError, match="assigns the data of"):
        md.record(step)(batch()[0])


def test_a_module_is_recorded_for_inference_only():
    model = md.record(network(), passes=())
    x = md.Tensor(batch()[0])
    assert model(x).requires_grad and not model.forward.plans
    with model.inference():
        expected = [model(x).data for _ in range(4)]
    assert len(model.forward.plans) == 1 and all(np.array_equal(e, expected[0]) for e in expected)
    assert "conv" in model.forward.text()


def test_contexts_that_look_at_operations_run_the_step_itself():
    model = network()
    step = md.record(lambda x: model(md.Tensor(x)).sum())
    x, seen = batch()[0], []
    with md.no_grad():
        for _ in range(3):
            step(x)
        with nn.watch(lambda module, *_: seen.append(module)):
            step(x)
    assert len(seen) == len(list(model.modules()))


def test_what_stands_for_a_value_that_is_not_read_takes_no_memory():
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Sigmoid(), nn.Flatten())
    step = md.record(training_step(model, optim.SGD(model.parameters(), lr=0.1)))
    data = RNG.standard_normal((4, 1, 30, 30)).astype("float32"), RNG.integers(0, 10, 4)
    for _ in range(3):
        step(*data)
    arrays = [v for v in step.plans[0].body.__globals__.values() if isinstance(v, np.ndarray)]
    forms = [a for a in arrays if a.shape == (4, 8, 30, 30)]
    assert forms and not any(a.strides[0] for a in forms)


def test_gradients_add_up_where_they_are_not_cleared():
    """A program for parameters without gradients is not one for those that have some."""
    model, twin = network(), network()
    rng = np.random.default_rng(0)

    def backward(model, x):
        loss = (model(md.Tensor(x)) ** 2).sum()
        loss.backward()
        return loss

    step = md.record(lambda x: backward(model, x))
    for clear in (1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1):
        x = rng.normal(size=(2, 1, 12, 12)).astype("f")
        if clear:
            model.zero_grad()
            twin.zero_grad()
        step(x)
        backward(twin, x)
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            assert np.array_equal(p.grad.data, q.grad.data)


def test_gradients_have_the_memory_of_those_before_them():
    """Steps that are recorded free them, replays use it again."""
    model, places, alive = network(), [], []
    optimiser = optim.SGD(model.parameters(), lr=0.1)

    @md.record
    def step(x, target):
        before = [weakref.ref(p.grad) for p in model.parameters() if p.grad is not None]
        optimiser.zero_grad()
        alive.append(any(reference() is not None for reference in before))
        F.cross_entropy(model(md.Tensor(x)), target).backward()

    for i in range(5):
        step(*batch())
        places.append(model[0].weight.grad.data.ctypes.data)
        if i == 2:  # the first replay
            given = [spare.array is not None for spare in step.plans[0].buffers.spare if spare is not None]
            assert given and all(given)
    assert alive == [False, False] and len(set(places[2:])) == 1


def test_a_copy_of_a_recorded_module_has_its_own_parameters():
    model = md.record(network())
    x = md.Tensor(batch()[0])
    with model.inference():
        for _ in range(4):
            model(x)
        twin = copy.deepcopy(model)
        twin[9].bias.data = twin[9].bias.data + 1
        for _ in range(4):
            assert np.allclose(twin(x).data, twin.forward.function(x).data, atol=1e-5)
            assert np.allclose(twin(x).data, model(x).data + 1, atol=1e-5)


def test_arrays_around_a_step_are_read_when_it_runs():
    weight = np.ones(3)
    step = md.record(lambda x: md.Tensor(x) * (md.Tensor(weight) * 2))
    for i in range(6):
        weight[...] = i
        assert np.array_equal(step(np.ones(3)).data, np.full(3, 2.0 * i))


def test_a_class_out_of_range_is_still_refused_and_the_next_step_is_right():
    model = network()
    step = md.record(training_step(model, optim.SGD(model.parameters(), lr=0.0)))
    x, target = batch()
    for _ in range(5):
        expected = step(x, target)["loss"].item()
    with pytest.raises(IndexError, match="target 10 at position"):
        step(x, np.array([0, 10, 1, 2]))
    model.train()
    assert step(x, target)["loss"].item() == expected


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda model, optimiser, ema: optim.clip_grad_norm(model.parameters(), 1.0), "reads numbers"),
        (lambda model, optimiser, ema: setattr(optimiser, "lr", 0.5), "sets a learning rate"),
        (lambda model, optimiser, ema: ema.update(), "averages of weights"),
        (lambda model, optimiser, ema: F.relu(md.Tensor(model[9].weight.data)), "takes the array of 9.weight"),
        (lambda model, optimiser, ema: md.checkpoint(model, md.Tensor(batch()[0])), "checkpoint"),
    ],
)
def test_what_has_effects_of_its_own_is_refused(act, message):
    model = network()
    optimiser, ema = optim.SGD(model.parameters(), lr=0.1), optim.EMA(model)

    @md.record
    def step(x, target):
        act(model, optimiser, ema)
        F.cross_entropy(model(md.Tensor(x)), target).backward()

    with pytest.raises(RecordError, match=message):
        step(*batch())
