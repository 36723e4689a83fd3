"""The training loop: what it computes, logs, saves, and how it stops."""

import gc
import json
import os
import threading
import tracemalloc

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.train import Diverged, fit, load_model
from minidl.training.checkpoint import pack, unpack

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.tanh(X @ np.array([[1.0], [-2.0], [0.5]], np.float32))


def network(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(3, 8, rng=rng), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3, rng=seed), nn.Linear(8, 1, rng=rng)
    )


def loss(model, batch):
    return F.mse_loss(model(md.tensor(X[batch])), Y[batch])


BATCHES = data.Batches(20, 6, seed=3)
OPTIMISERS = {
    "sgd": lambda model: optim.SGD(model.parameters(), lr=0.05),
    "momentum": lambda model: optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda model: optim.Adam(model.parameters(), lr=0.01),
    "adamw": lambda model: optim.AdamW(model.parameters(), lr=0.01, amsgrad=True),
}


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert list(a) == list(b)
    return all(a[name].tobytes() == b[name].tobytes() and a[name].dtype == b[name].dtype for name in a)


def test_a_step_is_the_step_written_by_hand(tmp_path):
    """fit against the loop that its docstring describes, clipping written out."""
    ours, theirs = network(), network()
    schedule = optim.cosine(0.1, 30)
    fit(ours, optim.SGD(ours.parameters(), lr=9.0, momentum=0.9), loss, BATCHES, 30, schedule=schedule, clip=0.5,
        log=tmp_path / "log.jsonl", progress=False)  # fmt: skip
    optimiser = optim.SGD(theirs.parameters(), lr=9.0, momentum=0.9)
    norms = []
    for step in range(30):
        optimiser.lr = schedule(step)
        optimiser.zero_grad()
        loss(theirs, BATCHES(step)).backward()
        grads = [p.grad.data.astype(np.float64) for p in theirs.parameters()]
        norms.append(np.sqrt(sum((g**2).sum() for g in grads)))
        for p in theirs.parameters():
            p.grad = p.grad.data * np.float32(min(1, 0.5 / norms[-1]))
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(a.data, b.data, rtol=2e-4, atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(30))
    assert [line["lr"] for line in lines] == [schedule(step) for step in range(30)]
    np.testing.assert_allclose([line["grad_norm"] for line in lines], norms, rtol=1e-3)
    assert min(norms) < 0.5 < max(norms), "both sides of the clip are tried"


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("stop", [1, 4, 7])
def test_resume_ends_in_the_same_bits(tmp_path, name, stop):
    """Stop after a save and go on in new objects, with other weights: same model, optimiser, dropout, noise, log."""
    noise = {run: np.random.default_rng(5) for run in ("whole", "first", "second")}

    def run(model, steps, run, folder, resume=False):
        def noisy(model, batch):
            x = X[batch] + noise[run].normal(size=(len(batch), 3)).astype(np.float32)
            error = F.mse_loss(model(md.tensor(x)), Y[batch])
            return {"error": error, "size": 0.01 * (model[0].weight ** 2).sum(), "count": len(batch)}

        optimiser = OPTIMISERS[name](model)
        record = fit(model, optimiser, noisy, BATCHES, steps, checkpoint=folder / "c.npz", save_every=3, resume=resume,
                     log=folder / "log.jsonl", generators={"noise": noise[run]}, progress=False,
                     evaluate=lambda step: {"seen": step}, evaluate_every=2)  # fmt: skip
        return optimiser, record

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first, straight, resumed = network(), network(), network(seed=1)
    a, record = run(straight, 10, "whole", whole)
    run(first, stop, "first", parts)
    noise["second"].normal(size=100)
    b, again = run(resumed, 10, "second", parts, resume=True)
    assert same_state(straight, resumed) and same_state(a, b) and record == again
    assert noise["whole"].bit_generator.state == noise["second"].bit_generator.state
    whole_log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    parts_log = [json.loads(line) for line in (parts / "log.jsonl").read_text().splitlines()]
    parts_log[stop - 1].pop("seen")  # the last step of a run is evaluated
    whole_log[stop - 1].pop("seen", None)
    assert parts_log == whole_log
    assert (whole / "c.npz").read_bytes() == (parts / "c.npz").read_bytes()


def test_parameters_have_the_layout_of_new_ones():
    """Whatever was assigned to them: sums are made in the same order, and convolutions find their channels last."""
    for make in OPTIMISERS.values():
        model = network()
        model[0].weight.data = np.asfortranarray(model[0].weight.data)
        fit(model, make(model), loss, BATCHES, 2, progress=False)
        assert all(p.data.flags.c_contiguous for p in model.parameters())
        conv = nn.Conv2d(8, 2, 3, rng=0)
        wanted, held = conv.weight.data.strides, conv.weight.data
        assert held.transpose(0, 2, 3, 1).flags.c_contiguous
        for assigned in (held, np.ascontiguousarray(held), np.asfortranarray(held)):
            conv.weight.data = assigned
            fit(conv, make(conv), lambda m, b: m.weight.sum(), BATCHES, 1, progress=False)
            assert conv.weight.data.strides == wanted


@pytest.mark.parametrize("name", OPTIMISERS)
def test_resume_gives_convolutions_the_same_bits_whatever_layout_was_assigned(tmp_path, name):
    x = np.random.default_rng(0).normal(size=(4, 8, 9, 9)).astype(np.float32)

    def run(steps, layout, folder, resume=False):
        model = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1, rng=0), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=4, rng=1))
        for layer in (model[0], model[2]):
            layer.weight.data = layout(layer.weight.data)

        def squares(model, step):
            return ((model(md.tensor(x)) - step) ** 2).mean() + 0.1 * (model[0].weight ** 2).sum()

        fit(model, OPTIMISERS[name](model), squares, lambda step: step, steps, checkpoint=folder / "c.npz",
            resume=resume, clip=0.5, progress=False)  # fmt: skip
        return (folder / "c.npz").read_bytes()

    whole = run(6, np.asarray, tmp_path / "whole")
    run(3, np.asfortranarray, tmp_path / "parts")
    assert run(6, np.ascontiguousarray, tmp_path / "parts", resume=True) == whole


def test_log_is_cut_back_to_the_checkpoint(tmp_path):
    log, checkpoint = tmp_path / "log.jsonl", tmp_path / "c.npz"

    def run(steps, resume):
        model = network()
        fit(model, OPTIMISERS["adam"](model), loss, BATCHES, steps, checkpoint=checkpoint, log=log, resume=resume,
            progress=False)  # fmt: skip

    run(5, resume=False)
    five = log.read_bytes()
    for rest in (b'{"step": 5, "loss": 1.0}\n{"step": 6, "lo', b'{"step": 5', b""):
        log.write_bytes(five + rest)
        run(5, resume=True)
        assert log.read_bytes() == five
    run(7, resume=True)
    assert log.read_bytes().startswith(five) and log.read_bytes().count(b"\n") == 7
    run(5, resume=False)
    assert log.read_bytes() == five, "without resume a run starts from the beginning"


def test_every_term_is_logged_and_the_right_ones_are_trained(tmp_path):
    def gradient(terms):
        model = nn.Linear(3, 1, rng=0)
        before = model.weight.data.copy()
        fit(model, optim.SGD(model.parameters(), lr=1.0), lambda model, batch: terms(model.weight), BATCHES, 1,
            log=tmp_path / "log.jsonl", progress=False)  # fmt: skip
        return before - model.weight.data, json.loads((tmp_path / "log.jsonl").read_text())

    moved, line = gradient(lambda w: {"a": w.sum(), "b": (3 * w).sum(), "free": w.detach().sum(), "n": 7})
    np.testing.assert_allclose(moved, 4, rtol=1e-5)
    assert line["loss"] == pytest.approx(line["a"] + line["b"]) and line["n"] == 7 and "free" in line
    moved, line = gradient(lambda w: {"a": w.sum(), "loss": (2 * w).sum()})
    np.testing.assert_allclose(moved, 2, rtol=1e-5)
    with pytest.raises(TypeError, match="loss gives a scalar Tensor that requires a gradient"):
        gradient(lambda w: w.detach().sum())
    with pytest.raises(TypeError, match="loss gives a scalar Tensor"):
        gradient(lambda w: w * 2)


def test_evaluation_is_in_eval_mode_and_leaves_no_trace():
    model, seen = network(), []
    model[1].eval()

    def evaluate(step):
        seen.append(step)
        assert not any(module.training for module in model.modules())
        assert not model(md.tensor(X)).requires_grad
        return {"score": 1.5}

    record = fit(model, OPTIMISERS["sgd"](model), loss, BATCHES, 8, evaluate=evaluate, evaluate_every=3, progress=False)
    assert seen == [2, 5, 7] and record["score"] == 1.5
    assert [module.training for module in model] == [True, False, True, True, True]


def test_manual_steps_of_two_optimisers_resume_too(tmp_path):
    def run(steps, path, resume=False):
        model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Linear(2, 1, rng=1))
        two = {"first": optim.Adam(model[0].parameters(), 0.1), "second": optim.SGD(model[1].parameters(), 0.1, 0.9)}

        def update(model, batch):
            terms = {}
            for name, optimiser in two.items():
                value = loss(model, batch)
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                terms[name] = value.item()
            return terms

        record = fit(model, two, update, BATCHES, steps, checkpoint=path, resume=resume, manual=True, progress=False)
        assert set(record) == {"step", "first", "second"}
        return model

    whole = run(6, tmp_path / "whole.npz")
    run(4, tmp_path / "parts.npz")
    assert same_state(whole, run(6, tmp_path / "parts.npz", resume=True))


# --- a loss that is not finite


def test_nan_names_the_operation_and_the_step_and_keeps_the_checkpoint(tmp_path):
    checkpoint = tmp_path / "c.npz"

    def breaking(model, batch):
        steps.append(1)
        value = loss(model, batch)
        return value if len(steps) < 6 else value + F.log(-(value**2)) * 0

    steps, model = [], network()
    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match=r"step 5: loss nan.*: log made 1 of 1") as stopped:
        fit(model, OPTIMISERS["adam"](model), breaking, BATCHES, 10, checkpoint=checkpoint, save_every=2,
            progress=False)  # fmt: skip
    assert "test_train.py" in str(stopped.value) and "checkpoint after 4 steps" in str(stopped.value)
    fresh = network()
    assert load_model(checkpoint, fresh) == 4 and np.isfinite(fresh[0].weight.data).all()


def test_a_gradient_that_is_not_finite_stops_before_the_update():
    model = nn.Linear(3, 1, rng=0)
    before = model.weight.data.copy()

    def root(model, batch):
        return F.sqrt((model.weight - before) ** 2).sum()  # 0, with an infinite slope

    message = "step 0: loss 0, grad_norm nan: the backward rule of sqrt made 3 of 3"
    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match=message):
        fit(model, optim.SGD(model.parameters(), lr=0.1), root, BATCHES, 3, progress=False)
    assert np.array_equal(model.weight.data, before)


def test_an_update_too_large_is_distinguished_from_a_wrong_operation(tmp_path):
    model = nn.Linear(3, 1, rng=0)
    arguments = (model, optim.SGD(model.parameters(), lr=1e38), loss, BATCHES, 100)
    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match=r"weight was not finite before|made .* of"):
        fit(*arguments, progress=False)
    model = nn.Linear(3, 1, rng=0)
    arguments = (model, optim.SGD(model.parameters(), lr=1e38), lambda m, b: 1e3 * m.weight.sum(), BATCHES, 1)
    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match="step 0: the update made weight NaN or infinite"):
        fit(*arguments, checkpoint=tmp_path / "c.npz", progress=False)
    assert not (tmp_path / "c.npz").exists()


def test_nan_in_the_batch_is_said_to_be_there():
    model = nn.Linear(3, 1, rng=0)
    with pytest.raises(Diverged, match="look for it in the batch"):
        fit(model, OPTIMISERS["sgd"](model), lambda m, x: m(md.tensor(x)).sum(), lambda step: X * np.float32("nan"), 3,
            progress=False)  # fmt: skip


def test_dropout_draws_the_same_mask_when_the_step_is_run_again():
    """The operation at fault is only reached under the mask of that step: it must be found again."""
    model = nn.Sequential(nn.Dropout(0.5, rng=0), nn.Linear(1, 1, rng=0))

    def rare(model, batch):
        kept = model[0](md.tensor(np.ones(8, np.float32)))
        value = (model[1].weight * 1).sum()
        return value * F.log(kept.sum() * 0) if (kept.data != 0).sum() == 7 else value

    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match="log made 1 of 1"):
        fit(model, OPTIMISERS["sgd"](model), rare, BATCHES, 1000, progress=False)


# --- checkpoints that do not fit


def test_wrong_checkpoints_give_one_line(tmp_path):
    path = tmp_path / "c.npz"
    model = network()
    fit(model, OPTIMISERS["adam"](model), loss, BATCHES, 3, checkpoint=path, progress=False)
    good = path.read_bytes()

    def resume(model, optimiser="adam", **options):
        fit(model, OPTIMISERS[optimiser](model), loss, BATCHES, 5, checkpoint=path, resume=True, progress=False,
            **options)  # fmt: skip

    with pytest.raises(ValueError, match=r"c\.npz is not a checkpoint of this run: .*Linear"):
        resume(nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"c\.npz is not a checkpoint of this run"):
        resume(network(), "sgd")
    with pytest.raises(ValueError, match="generators"):
        resume(network(), generators={"noise": np.random.default_rng(0)})
    with pytest.raises(ValueError, match="resume=True needs checkpoint"):
        fit(model, OPTIMISERS["sgd"](model), loss, BATCHES, 1, resume=True, progress=False)
    for size in np.random.default_rng(0).integers(0, len(good), 40):
        path.write_bytes(good[:size])
        with pytest.raises(md.WeightsError, match=r"c\.npz: ") as refused:
            resume(network())
        assert "\n" not in str(refused.value)
    md.save_weights(path, {"w": np.ones(3)})
    with pytest.raises(md.WeightsError, match="not a checkpoint"):
        resume(network())


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_trees_come_back_as_they_were(kind):
    generator = np.random.Generator(kind(0))
    generator.integers(0, 10, 3, dtype=np.int32)
    tree = {"random": generator.bit_generator.state, 3: [1, 2.5, None, True, "text", np.float32(3)], "e": {}}
    tree["a"] = {"x": np.arange(4, dtype=np.int8), "y": np.zeros((0, 2))}
    back = unpack(pack(tree))
    other = np.random.Generator(kind(1))
    other.bit_generator.state = back["random"]
    assert np.array_equal(generator.random(5), other.random(5))
    assert back[3][:5] == tree[3][:5] and back[3][5] == 3 and back[3][5].dtype == np.float32 and back["e"] == {}
    assert back["a"]["x"].dtype == np.int8 and back["a"]["y"].shape == (0, 2)
    with pytest.raises(TypeError):
        pack({"f": print})
    with pytest.raises(ValueError, match="two entries"):
        pack({"a.b": np.ones(1), "a": {"b": np.ones(1)}})


def test_checkpoint_opens_in_numpy(tmp_path):
    model = network()
    fit(model, OPTIMISERS["adam"](model), loss, BATCHES, 2, checkpoint=tmp_path / "deep" / "c.npz", progress=False)
    with np.load(tmp_path / "deep" / "c.npz") as arrays:
        assert np.array_equal(arrays["model.0.weight"], model[0].weight.data)
    assert sorted(os.listdir(tmp_path / "deep")) == ["c.npz"], "nothing is left beside"


# --- memory, threads, progress


def test_memory_is_flat_without_the_garbage_collector():
    """No cycles, no history: 10,000 steps (MINIDL_STEPS=10000; 300 by default) hold as much as one."""
    steps = int(os.environ.get("MINIDL_STEPS", "300"))
    model, objects, numbers = network(), [], []
    arrays_only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)

    def measured(step):
        objects.append(len(gc.get_objects()))
        traces = tracemalloc.take_snapshot().filter_traces([arrays_only]).traces
        numbers.append(sum(trace.size for trace in traces))

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        fit(model, OPTIMISERS["adam"](model), loss, BATCHES, steps, evaluate=measured, evaluate_every=steps // 10,
            progress=False)  # fmt: skip
    finally:
        tracemalloc.stop()
        gc.enable()
    assert len(objects) == 10 and numbers[0] > 0
    assert objects[-1] - objects[1] < 10, f"{objects}: a step keeps objects"
    assert numbers[-1] == numbers[1], f"{numbers}: a step keeps arrays"


def test_runs_outside_the_main_thread():
    model = network()
    thread = threading.Thread(target=fit, args=(model, OPTIMISERS["sgd"](model), loss, BATCHES, 3))
    thread.start()
    thread.join()
    assert model[1].num_batches_tracked == 3


def test_progress_is_lines_where_nobody_looks_at_a_terminal(capsys):
    model = network()
    fit(model, OPTIMISERS["sgd"](model), loss, BATCHES, 40)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20 and lines[-1].startswith("step 40/40: loss ")
