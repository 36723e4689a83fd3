"""Options of fit: several batches a step, averages of the weights, recomputed modules, a schedule that looks on."""

import json

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.train import Diverged, fit, load_model
from minidl.training.checkpoint import load_tree

from .test_train import BATCHES, loss, network, same_state


def by_hand(model, steps, k, clip=None):
    optimiser, losses = optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
    for step in range(steps):
        optimiser.zero_grad()
        parts = [loss(model, BATCHES(number)) / k for number in range(step * k, (step + 1) * k)]
        for part in parts:
            part.backward()
        losses.append(sum(p.item() for p in parts))
        if clip:
            optim.clip_grad_norm(model.parameters(), clip)
        optimiser.step()
    return losses


def plain(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(3, 8, rng=rng), nn.Tanh(), nn.Linear(8, 1, rng=rng))


def test_accumulated_batches_are_the_mean_of_their_losses(tmp_path):
    ours, theirs = plain(), plain()
    fit(ours, optim.SGD(ours.parameters(), lr=0.05, momentum=0.9), loss, BATCHES, 5, accumulate=3, clip=0.5,
        log=tmp_path / "log", progress=False)  # fmt: skip
    losses = by_hand(theirs, 5, 3, clip=0.5)
    assert same_state(ours, theirs)
    logged = [json.loads(line)["loss"] for line in (tmp_path / "log").read_text().splitlines()]
    np.testing.assert_allclose(logged, losses, rtol=1e-6)


def test_accumulated_equal_parts_of_a_batch_are_the_batch():
    whole, parts = plain().to(float), plain().to(float)
    batch = np.arange(12)
    for model, k, batches in ((whole, 1, lambda step: batch), (parts, 3, lambda i: batch[i % 3 * 4 :][:4])):
        fit(model, optim.Adam(model.parameters()), loss, batches, 4, accumulate=k, progress=False)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-10)


def test_the_average_is_its_equation_and_the_evaluation_sees_it():
    model, history, seen = plain(), [], []
    ema = optim.EMA(model, decay=0.8)

    def noted(m, batch):
        history.append(m[0].weight.data.copy())
        return loss(m, batch)

    fit(model, optim.SGD(model.parameters(), lr=0.05), noted, BATCHES, 6, ema=ema, progress=False,
        evaluate=lambda step: seen.append(model[0].weight.data.copy()), evaluate_every=2)  # fmt: skip
    weights = [*history[1:], model[0].weight.data]
    average = weights[0].astype(float)
    for w in weights[1:]:
        average = 0.8 * average + 0.2 * w
    np.testing.assert_allclose(ema.averages[model[0].weight], average, rtol=1e-5)
    np.testing.assert_allclose(seen[-1], average, rtol=1e-5)
    with pytest.raises(ZeroDivisionError), ema.applied():
        assert not np.array_equal(model[0].weight.data, weights[-1])
        raise ZeroDivisionError
    np.testing.assert_array_equal(model[0].weight.data, weights[-1])


class Shared(nn.Module):
    def __init__(self):
        self.a = self.b = nn.Conv2d(8, 8, 3, padding=1, rng=0)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


def test_averages_are_saved_and_loaded_for_shared_weights_and_layouts_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 8, 5, 5)).astype("float32")

    def run(steps, folder, resume=False):
        model, seen = Shared(), []
        ema = optim.EMA(model, decay=0.5)
        fit(model, optim.SGD(model.parameters(), lr=0.01), lambda m, b: (m(md.tensor(x)) ** 2).mean(), int, steps,
            checkpoint=folder / "c.npz", resume=resume, ema=ema, evaluate_every=2, progress=False,
            evaluate=lambda step: seen.append(model(md.tensor(x)).data))  # fmt: skip
        return model, ema, seen[-1]

    whole, ema, seen = run(4, tmp_path / "whole")
    run(2, tmp_path / "parts")
    again, _, seen_again = run(4, tmp_path / "parts", resume=True)
    assert (tmp_path / "whole" / "c.npz").read_bytes() == (tmp_path / "parts" / "c.npz").read_bytes()
    assert seen.tobytes() == seen_again.tobytes() and same_state(whole, again)
    loaded = Shared()
    assert load_model(tmp_path / "whole" / "c.npz", loaded, ema=True) == 4
    np.testing.assert_array_equal(loaded.a.weight.data, ema.averages[whole.a.weight])
    load_model(tmp_path / "whole" / "c.npz", loaded)
    assert same_state(loaded, whole)
    fit(whole, optim.SGD(whole.parameters()), lambda m, b: m.a.weight.sum(), lambda s: s, 1, progress=False,
        checkpoint=tmp_path / "none.npz")  # fmt: skip
    with pytest.raises(ValueError, match=r"none\.npz holds no averages"):
        load_model(tmp_path / "none.npz", loaded, ema=True)
    with pytest.raises(ValueError, match=r"no parameter 0\.weight; the averages are of another model"):
        optim.EMA(loaded).load_state_dict({"0.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"a\.bias has shape \(3,\), the parameter \(8,\)"):
        optim.EMA(loaded).load_state_dict({"a.bias": np.zeros(3)})
    with pytest.raises(ValueError, match=r"decay must lie between 0 and 1, got 1\.5"):
        optim.EMA(loaded, 1.5)


def test_recomputed_modules_leave_the_bits_and_the_modules():
    def run(options):
        model = network()
        fit(model, optim.SGD(model.parameters(), lr=0.05), loss, BATCHES, 5, progress=False, **options(model))
        return model

    one, other = run(lambda model: {}), run(lambda model: {"recompute": [*model, model[1]], "accumulate": 1})
    assert same_state(one, other) and one.random_state() == other.random_state()
    assert all("forward" not in vars(module) for module in other)


def test_a_plateau_lowers_the_rate_and_resumes(tmp_path):
    scores = iter([5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    scored = {}

    def run(steps, folder, resume=False):
        model = plain()
        optimiser = optim.SGD(model.parameters(), lr=1.0)
        schedule = optim.ReduceLROnPlateau(optimiser, factor=0.5, patience=1, monitor="score")
        fit(model, optimiser, loss, BATCHES, steps, schedule=schedule, evaluate_every=1, resume=resume, progress=False,
            checkpoint=folder / "c.npz", log=folder / "log",
            evaluate=lambda step: {"score": scored.setdefault(step, next(scores, 0))})  # fmt: skip
        return [json.loads(line)["lr"] for line in (folder / "log").read_text().splitlines()]

    assert run(10, tmp_path / "whole") == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    run(4, tmp_path / "parts")
    run(10, tmp_path / "parts", resume=True)
    assert (tmp_path / "parts" / "log").read_bytes() == (tmp_path / "whole" / "log").read_bytes()
    assert (tmp_path / "parts" / "c.npz").read_bytes() == (tmp_path / "whole" / "c.npz").read_bytes()


def test_what_cannot_be_is_refused():
    model = plain()
    optimiser = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="accumulate must be at least 1"):
        fit(model, optimiser, loss, BATCHES, 1, accumulate=0)
    with pytest.raises(ValueError, match="and 1 if the loss steps by itself"):
        fit(model, optimiser, loss, BATCHES, 1, accumulate=2, manual=True)
    schedule = optim.ReduceLROnPlateau(optimiser, monitor="accuracy")
    with pytest.raises(ValueError, match="monitors 'accuracy', a step has step, lr, loss, grad_norm"):
        fit(model, optimiser, loss, BATCHES, 1, schedule=schedule, evaluate_every=1, progress=False)


@pytest.mark.parametrize(("kind", "first", "then"), [
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1, "nesterov": True}),
    (optim.AdamW, {"lr": 0.1}, {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.2, "eps": 1e-6, "amsgrad": True}),
    (optim.RMSprop, {"lr": 0.01}, {"alpha": 0.9, "centered": True, "momentum": 0.5}),
])  # fmt: skip
def test_a_resumed_run_takes_the_options_it_is_given(tmp_path, kind, first, then):
    """Against a run by hand, whose optimiser loads the state and is then given the options."""

    def run(steps, options, **more):
        model = plain()
        optimiser = kind([{"params": [p], **options} for p in model.parameters()])
        fit(model, optimiser, loss, BATCHES, steps, checkpoint=tmp_path / "c.npz", resume=True, progress=False, **more)
        return model, optimiser

    run(3, first)
    other = plain()
    load_model(tmp_path / "c.npz", other)
    optimiser = kind([{"params": [p], **first} for p in other.parameters()])
    optimiser.load_state_dict(load_tree(tmp_path / "c.npz")["optimisers"]["main"])
    for group in optimiser.param_groups:
        group.update(then)
    for step in range(3, 6):
        optimiser.zero_grad()
        loss(other, BATCHES(step)).backward()
        optimiser.step()
    model, resumed = run(6, then)
    assert same_state(model, other)
    assert all(group[name] == value for group in resumed.param_groups for name, value in then.items())
    model, resumed = run(6, then)  # nothing is left to do, and nothing changes
    assert same_state(model, other) and resumed.lr == then.get("lr", first["lr"])


def test_a_rate_that_changed_on_the_way_is_resumed_unless_another_is_asked_for(tmp_path):
    def run(steps, lr):
        model = plain()
        optimiser = optim.SGD(model.parameters(), lr)

        def halve(step):
            optimiser.lr /= 2

        fit(model, optimiser, loss, BATCHES, steps, checkpoint=tmp_path / "c.npz", resume=True, progress=False,
            evaluate=halve, evaluate_every=1)  # fmt: skip
        return optimiser.lr

    assert [run(2, 1.0), run(4, 1.0), run(5, 0.8), run(6, 0.8), run(7, 1.0)] == [0.25, 0.0625, 0.4, 0.2, 0.5]


def test_a_plateau_takes_a_lower_rate_on_resuming(tmp_path):
    def run(steps, lr):
        model = plain()
        optimiser = optim.SGD(model.parameters(), lr)
        plateau = optim.ReduceLROnPlateau(optimiser, patience=100)
        fit(model, optimiser, loss, BATCHES, steps, schedule=plateau, checkpoint=tmp_path / "c.npz", resume=True,
            progress=False)  # fmt: skip
        return optimiser.lr

    assert [run(2, 0.1), run(4, 0.01)] == [0.1, 0.01]


def test_a_run_that_diverged_is_rescued_by_a_lower_rate(tmp_path):
    def run(steps, lr, path):
        model = plain()
        fit(model, optim.SGD(model.parameters(), lr), lambda m, b: (loss(m, b) * 1e3) ** 2, BATCHES, steps,
            checkpoint=path, save_every=3, resume=True, progress=False)  # fmt: skip
        return model

    path = tmp_path / "c.npz"
    run(3, 1e-9, path)
    with pytest.raises(Diverged, match="holds the checkpoint after 3 steps"), np.errstate(all="ignore"):
        run(30, 1e9, path)
    assert same_state(run(30, 1e-9, path), run(30, 1e-9, tmp_path / "sound.npz"))


def test_an_optimiser_of_another_model_is_refused():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"none of the 2 parameters of the optimiser is one of the 2 of the model"):
        fit(model, optim.SGD(other.parameters(), lr=0.1), lambda m, b: m(b).sum(), lambda s: None, 1, progress=False)
