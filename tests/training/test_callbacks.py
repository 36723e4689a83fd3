"""Callbacks of fit, early stopping, the best weights, metrics: what they see, and that a resume changes nothing."""

import json
import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.ranks.group import Alone
from minidl.train import Best, EarlyStopping, Metrics, State, fit
from minidl.training.checkpoint import load_tree
from tests.support.ranks import on_ranks

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.tanh(X @ np.array([[1.0], [-2.0], [0.5]], np.float32))
BATCHES = data.Batches(20, 6, seed=3)
NUMBER = st.one_of(st.integers(0, 5).map(float), st.just(math.nan))


def network():
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Tanh(), nn.Dropout(0.3, rng=1), nn.Linear(4, 1, rng=rng))


def loss(model, batch):
    return F.mse_loss(model(md.tensor(X[batch])), Y[batch])


def errors(model, batch):
    return (model(md.tensor(X[batch])).data - Y[batch]) ** 2


def states(values, name="v"):
    """The states of evaluations that found these numbers."""
    model = nn.Linear(1, 1)
    for step, value in enumerate(values):
        model.weight.data = np.full((1, 1), step, np.float32)
        yield State(step, {"step": step, name: value}, model)


# --- the definitions


@settings(deadline=None)
@given(
    values=st.lists(NUMBER, max_size=12), patience=st.integers(1, 4), mode=st.sampled_from(["min", "max"]),
    delta=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_training_stops_where_patience_evaluations_have_not_improved(values, patience, mode, delta):
    early = EarlyStopping("v", patience, mode=mode, min_delta=delta)
    stops = [early(state) for state in states(values)]
    sign = -1 if mode == "max" else 1
    improving, best = [], math.inf
    for value in values:
        improving.append(best - sign * value > delta)
        best = sign * value if improving[-1] else best
    for i, stop in enumerate(stops):
        assert stop == (i + 1 >= patience and not any(improving[i + 1 - patience : i + 1]))


@settings(deadline=None)
@given(values=st.lists(NUMBER, max_size=12), mode=st.sampled_from(["min", "max"]))
def test_the_first_of_the_best_weights_are_kept(values, mode):
    best = Best("v", mode=mode)
    for state in states(values):
        assert best(state) is None
    known = [value for value in values if not math.isnan(value)]
    if not known:
        assert best.weights == {} and best.best_step == -1
    else:
        wanted = values.index({"min": min, "max": max}[mode](known))
        assert best.best_step == wanted == best.weights["weight"].item() == best.record["step"]
        assert best.best == values[wanted]


def test_what_cannot_be_monitored_is_refused():
    with pytest.raises(ValueError, match='mode is "min" or "max", min_delta at least 0; got \'least\' and 0'):
        EarlyStopping("v", mode="least")
    with pytest.raises(ValueError, match="at least 0; got 'min' and -1"):
        EarlyStopping("v", min_delta=-1)
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        EarlyStopping("v", 0)
    model = network()
    with pytest.raises(ValueError, match="Best monitors 'accuracy', a step has step, loss, grad_norm; give monitor="):
        fit(model, optim.SGD(model.parameters(), 0.1), loss, BATCHES, 1, callbacks=[Best("accuracy")], progress=False)
    with pytest.raises(ValueError, match="EarlyStopping monitored 'a' there, not 'b'"):
        EarlyStopping("b").load_state_dict(EarlyStopping("a").state_dict())


# --- in fit


def test_callbacks_see_each_evaluation_and_the_last_step_and_one_of_them_stops():
    model, seen, after = network(), [], []

    def look(state):
        assert state.model is model and state.optimiser is optimiser and state.first
        seen.append((state.step, state.record["score"]))
        return state.step == 8

    optimiser = optim.SGD(model.parameters(), lr=0.1)
    options = {"evaluate": lambda step: {"score": 10 * step}, "evaluate_every": 3, "progress": False}
    record = fit(model, optimiser, loss, BATCHES, 7, callbacks=[look], **options)
    assert seen == [(2, 20), (5, 50), (6, 60)] and record["step"] == 6
    record = fit(model, optimiser, loss, BATCHES, 20, callbacks=[look, lambda s: after.append(s.step)], **options)
    assert record["step"] == 8 and after == [2, 5, 8], "those after the one that stops are called, too"


def test_without_an_evaluation_the_loss_is_monitored():
    model = network()
    early = EarlyStopping("loss", 2, mode="max")
    record = fit(model, optim.SGD(model.parameters(), 0.01), lambda m, b: (m[0].weight ** 2).sum(), BATCHES, 50,
                 evaluate_every=4, callbacks=[early], progress=False)  # fmt: skip
    assert record["step"] == 11, "the loss falls: after the first look none is better"


def test_that_a_callback_stopped_is_said(capsys):
    model = network()
    fit(model, optim.SGD(model.parameters(), 0.1), loss, BATCHES, 40, evaluate_every=3, callbacks=[lambda s: True])
    assert capsys.readouterr().err.splitlines()[-1].startswith("step 3/40: loss ")
    fit(model, optim.SGD(model.parameters(), 0.1), loss, BATCHES, 3, evaluate_every=3, callbacks=[lambda s: True])
    assert "stopped" not in capsys.readouterr().err


def test_with_averages_the_best_weights_are_those_that_were_evaluated():
    model, seen = network(), {}
    ema = optim.EMA(model, decay=0.5)
    best = Best("score", mode="max")

    def evaluate(step):
        seen[step] = model[0].weight.data.copy()
        return {"score": -abs(step - 5)}

    fit(model, optim.SGD(model.parameters(), 0.3), loss, BATCHES, 9, ema=ema, evaluate=evaluate, evaluate_every=3,
        callbacks=[best], progress=False)  # fmt: skip
    assert best.best_step == 5 and np.array_equal(best.weights["0.weight"], seen[5])
    assert not np.array_equal(model[0].weight.data, seen[8]), "the model has its own weights after the evaluation"


class Killed(Exception):
    pass


def trained(folder, steps, patience, every, save_every, resume=False, kill=None):
    """A run that stops early; what it is at the end."""
    folder.mkdir(exist_ok=True)
    model = network()
    validation = Metrics(model, data.Batches(20, 7, shuffle=False).epoch(), {"error": errors})

    def evaluate(step):
        return {**validation(step), "score": step * 7 % 11}

    def dying(model, batch):
        count.append(1)
        if start + len(count) - 1 == kill:
            raise Killed
        return loss(model, batch)

    saved = folder / "c.npz"
    start, count = load_tree(saved)["step"] if resume and saved.exists() else 0, []
    callbacks = [EarlyStopping("score", patience, mode="max"), Best("error", path=folder / "best.npz"), Best("score")]
    record = fit(
        model, optim.Adam(model.parameters(), 0.05), dying, BATCHES, steps, evaluate=evaluate, evaluate_every=every,
        callbacks=callbacks, checkpoint=saved, save_every=save_every, resume=resume, log=folder / "log.csv",
        progress=False,
    )  # fmt: skip
    return record, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@settings(max_examples=10, deadline=None)
@given(
    patience=st.integers(1, 4), every=st.integers(1, 4), save_every=st.integers(1, 7),
    kills=st.lists(st.integers(0, 19), max_size=3),
)  # fmt: skip
def test_a_run_that_is_killed_and_resumed_ends_in_the_same_bits(tmp_path_factory, patience, every, save_every, kills):
    """Checkpoint, with all that the callbacks know, log, best weights, and the step at which it is stopped."""
    folder = tmp_path_factory.mktemp("runs")
    whole = trained(folder / "whole", 20, patience, every, save_every)
    for kill in kills:
        with suppress(Killed):
            trained(folder / "parts", 20, patience, every, save_every, resume=True, kill=kill)
    again = trained(folder / "parts", 20, patience, every, save_every, resume=True)
    assert again == whole
    assert trained(folder / "parts", 20, patience, every, save_every, resume=True) == whole, "nothing is left to do"


def test_a_run_that_was_stopped_goes_on_with_more_patience(tmp_path):
    stopped, _ = trained(tmp_path / "run", 20, 1, 2, 20)
    assert stopped["step"] < 19
    record, files = trained(tmp_path / "run", 20, 20, 2, 20, resume=True)
    straight, wanted = trained(tmp_path / "straight", 20, 20, 2, 20)
    assert record == straight and files == wanted


def test_the_best_file_of_an_abandoned_time_line_is_written_anew(tmp_path):
    """The checkpoint is older than the best weights in the file; what follows is another run, to which they are not."""
    scores = {1: 1.0, 3: 5.0}

    def run(lr, kill, resume):
        model = network()

        def dying(model, batch):
            count.append(1)
            if len(count) == kill:
                raise Killed
            return loss(model, batch)

        count, best = [], Best("score", mode="max", path=tmp_path / "best.npz")
        fit(model, optim.SGD(model.parameters(), lr), dying, BATCHES, 6, evaluate=lambda s: {"score": scores.get(s, 0)},
            evaluate_every=2, callbacks=[best], checkpoint=tmp_path / "c.npz", save_every=3, resume=resume,
            progress=False)  # fmt: skip
        return best

    with pytest.raises(Killed):
        run(0.1, 6, False)
    scores[3] = 0.5
    best = run(0.01, None, True)
    kept = md.load_weights(tmp_path / "best.npz")
    assert best.best_step == 1 and all(np.array_equal(kept[name], array) for name, array in best.weights.items())


def test_the_best_weights_are_read_as_any_weights(tmp_path):
    model = network()
    for name in ("best.npz", "best.safetensors"):
        best = Best("loss", path=tmp_path / name)
        fit(model, optim.SGD(model.parameters(), 0.05), loss, BATCHES, 6, evaluate_every=2, callbacks=[best],
            progress=False)  # fmt: skip
        other = network()
        other.load_state_dict(md.load_weights(tmp_path / name))
        assert all(np.array_equal(other.state_dict()[name], array) for name, array in best.weights.items())


# --- metrics


def test_metrics_are_those_of_all_samples_at_once():
    model = network()

    def big(model, batch):
        found, truth = model(md.tensor(X[batch])).data > 0, Y[batch] > 0
        return (found & truth).sum(), (found | truth).sum()

    metrics = {"error": errors, "right": lambda m, b: (errors(m, b) < 0.5)[:, 0], "iou": big,
               "tensor": lambda m, b: m(md.tensor(X[b])), "none": lambda m, b: (0, 0)}  # fmt: skip
    validation = Metrics(model, data.Batches(20, 7, shuffle=False).epoch(), metrics)
    with model.inference():
        found, output = validation(0), model(md.tensor(X)).data
    whole = (output - Y) ** 2
    assert found["error"] == pytest.approx(whole.mean()) and found["right"] == (whole < 0.5).mean()
    assert found["iou"] == ((output > 0) & (Y > 0)).sum() / ((output > 0) | (Y > 0)).sum()
    assert found["tensor"] == pytest.approx(output.mean()) and math.isnan(found["none"])
    assert list(found) == list(metrics)


# --- ranks


def test_ranks_stop_together_and_the_first_alone_writes(tmp_path):
    def run(group):
        out = tmp_path / f"of-{group.size}"
        out.mkdir(exist_ok=True)
        model = network()
        validation = Metrics(model, data.Batches(20, 3, shuffle=False).epoch(), {"error": errors})
        best, firsts = Best("error", path=out / "best.npz"), []
        early = EarlyStopping("error", 2, mode="max")
        record = fit(
            model, optim.SGD(model.parameters(), 0.05), loss, BATCHES, 40, evaluate=validation, evaluate_every=2,
            callbacks=[early, best, lambda state: firsts.append(state.first)], checkpoint=out / "c.npz", save_every=3,
            log=out / "log.jsonl", progress=False, ranks=group, shards=4,
        )  # fmt: skip
        assert set(firsts) == {group.first} and (best.written == best.best_step) == group.first
        return record, {name: array.tobytes() for name, array in best.weights.items()}

    one = run(Alone())
    assert one[0]["step"] < 39
    for size in (2, 3):
        assert on_ranks(size, run) == [one] * size
        for name in ("c.npz", "best.npz", "log.jsonl"):
            assert (tmp_path / f"of-{size}" / name).read_bytes() == (tmp_path / "of-1" / name).read_bytes()


def test_the_first_rank_decides_whether_training_stops():
    def run(group, which):
        model = network()
        return fit(model, optim.SGD(model.parameters(), 0.05), loss, BATCHES, 6, evaluate_every=2, progress=False,
                   callbacks=[lambda state: group.rank == which], ranks=group, shards=2)["step"]  # fmt: skip

    assert on_ranks(2, lambda group: run(group, 0)) == [1, 1]
    assert on_ranks(2, lambda group: run(group, 1)) == [5, 5]


def test_a_checkpoint_without_callbacks_is_resumed_with_them(tmp_path):
    def run(steps, callbacks):
        model = network()
        return fit(model, optim.SGD(model.parameters(), 0.05), loss, BATCHES, steps, evaluate_every=2, resume=True,
                   callbacks=callbacks, checkpoint=tmp_path / "c.npz", progress=False)["step"]  # fmt: skip

    assert run(4, []) == 3 and "callbacks" not in load_tree(tmp_path / "c.npz")
    best = Best("loss")
    assert run(6, [lambda state: None, best]) == 5 and best.best_step == 5
    two = [Best("loss"), Best("grad_norm", mode="max")]
    assert run(8, two) == 7 and json.dumps(list(load_tree(tmp_path / "c.npz")["callbacks"]["states"])) == (
        '["Best", "Best 2"]'
    )
