"""Training on shards, in one process and on ranks that are threads: the same bits on any number of them."""

import json

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.ranks.bucket import filled
from minidl.ranks.step import ShardedStep
from minidl.train import fit
from tests.support.ranks import on_ranks

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 3, 4, 4)), RNG.integers(0, 3, 40)
RANKS = (1, 2, 3)


def batches(n, last=None):
    """Of n samples; each third has `last`."""

    def batch(step):
        samples = np.arange(step, step + (last if last is not None and step % 3 == 2 else n)) % len(X)
        return X[samples], Y[samples]

    return batch


TEN = batches(10)


def network(norm=True, dropout=0.3, dtype="float32"):
    rng = np.random.default_rng(1)
    layers = [nn.Conv2d(3, 4, 3, padding=1, rng=rng), nn.BatchNorm2d(4) if norm else None, nn.ReLU(),
              nn.Dropout(dropout, rng=2) if dropout else None, nn.Flatten(), nn.Linear(64, 3, rng=rng)]  # fmt: skip
    return nn.Sequential(*filter(None, layers)).to(dtype)


def loss(model, batch):
    x, target = batch
    return F.cross_entropy(model(md.Tensor(x).astype(next(model.parameters()).dtype)), target)


def adam(model):
    return optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)


def trained(group="alone", steps=4, *, model=network, optimiser=adam, loss=loss, of=TEN, shards=8, **options):
    """The state after training, as bytes, and the line of the last step."""
    model = model() if callable(model) and not isinstance(model, nn.Module) else model
    line = fit(model, optimiser(model), loss, of, steps, shards=shards, ranks=group, progress=False, **options)
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in model.state_dict().items()}, line


def on_every_number_of_ranks(run, sizes=RANKS):
    """What ``run(group)`` gives, after all ranks of any number have given the same."""
    found = [result for size in sizes for result in on_ranks(size, run, seed=size)]
    assert all(repr(other) == repr(found[0]) for other in found)
    return found[0]


def close(line, other, tolerance=1e-12):
    assert line.keys() == other.keys()
    for name in line:
        np.testing.assert_allclose(line[name], other[name], rtol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("sizes", "n", "last", "record"),
    [((2, 4), 16, None, False), ((2, 3), 16, None, True), ((3,), 9, 3, False)],  # 3 samples: some ranks have none
)
def test_the_same_bits_on_any_number_of_ranks(sizes, n, last, record):
    found = on_every_number_of_ranks(lambda group: trained(group, of=batches(n, last), record=record), sizes)
    assert found == trained(of=batches(n, last), record=not record)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_without_batch_norm_and_dropout_it_is_training_as_it_is_without_shards(accumulate):
    options = {
        "model": lambda: network(norm=False, dropout=0, dtype="float64"), "of": batches(10, 7), "clip": 0.1,
        "accumulate": accumulate, "optimiser": lambda model: optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "loss": lambda model, batch: {"a": loss(model, batch), "b": 2 * loss(model, batch), "plain": 3.0},
    }  # fmt: skip
    close(trained(shards=6, **options)[1], trained(shards=1, **options)[1])


def test_a_run_that_is_resumed_on_another_number_of_ranks_ends_in_the_same_bits(tmp_path):
    whole = trained(steps=6)

    def part(group, steps):
        return trained(group, steps, checkpoint=tmp_path / "c.npz", shards=None, resume=steps > 2)

    trained(steps=2, checkpoint=tmp_path / "c.npz")
    for size, steps in ((2, 4), (3, 6)):
        found = on_ranks(size, lambda group, steps=steps: part(group, steps))
    assert all(result == whole for result in found)


@pytest.mark.parametrize("shards, share", [(2, "2 shards: 1"), (1, "1 shard: 2")])
def test_more_ranks_than_shards_are_refused(shards, share):
    with pytest.raises(ValueError, match=f"3 ranks share {share} would have nothing to do; use at most {shards}, or"):
        on_ranks(3, lambda group: trained(group, shards=shards))


def test_a_step_without_samples_is_refused():
    with pytest.raises(ValueError, match="step 0 has no samples"):
        on_ranks(2, lambda group: trained(group, shards=2, of=batches(0)))


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_sent_while_the_backward_pass_still_runs(record, accumulate, monkeypatch):
    """With a bucket for each of six parameters, from the last to the first: in the last shard and batch, in any way."""
    options = {"shards": 4, "accumulate": accumulate, "of": batches(8, 8), "record": record}
    take, events, alone = ShardedStep._take, ([], []), trained(**options)

    def taken(self, leaf, gradient):
        events[self.group.rank].append(f"{self.shard} {next(p.name for p in self.parameters if p.node is leaf)}")
        take(self, leaf, gradient)

    def run(group):
        send = group.send
        group.send = lambda array, rank, tag: events[group.rank].append(tag) or send(array, rank, tag)
        return trained(group, **options)

    monkeypatch.setattr(ShardedStep, "_take", taken)
    monkeypatch.setattr("minidl.ranks.step.filled", lambda likes: filled(likes, most=1))
    assert on_ranks(2, run) == [alone, alone]
    tags = {"5.bias": 0, "5.weight": 1, "1.weight": 3, "1.bias": 2, "0.bias": 4, "0.weight": 5}
    for rank, found in enumerate(events):
        first = [f"{2 * rank} {name}" for name in tags]
        last = [event for name, tag in tags.items() for event in (f"{2 * rank + 1} {name}", tag)]
        step = [*first, *last, len(tags)]
        assert found == [*step, len(tags), *3 * step]  # the first one asks for the names of the terms


# --- what belongs to a step


def everything(group, **options):
    """Clipping, EMA, a plateau, dicts of terms, an evaluation that draws, accumulation."""
    rng, model, seen = np.random.default_rng(5), network(), []
    optimiser = adam(model)
    ema = optim.EMA(model, 0.5)
    plateau = optim.ReduceLROnPlateau(optimiser, factor=0.5, patience=0, monitor="score")

    def terms(model, batch):
        noise = md.tensor(rng.standard_normal(len(batch[0])).astype("float32"))
        value = loss(model, batch)
        return {"cross": value, "noise": (noise * noise).mean(), "samples": float(len(batch[0])), "loss": value * 1.0}

    def evaluate(step):
        seen.append(step)
        return {"score": float(rng.random() + step), "weight": float(abs(model[0].weight.data).sum())}

    line = fit(model, optimiser, terms, batches(5, 2), 3, shards=4, ranks=group, progress=False, ema=ema, clip=0.01,
               schedule=plateau, evaluate=evaluate, evaluate_every=1, accumulate=2, generators={"rng": rng},
               recompute=[model[0]], **options)  # fmt: skip
    assert len(seen) == (3 if getattr(group, "first", True) else 0)
    averages = {name: a.tobytes() for name, a in ema.state_dict().items()}
    return {n: a.tobytes() for n, a in model.state_dict().items()}, averages, line, optimiser.lr, rng.random()


def test_all_that_belongs_to_a_step_is_the_same_on_any_number_of_ranks(tmp_path):
    def run(group):
        path = tmp_path / f"{group.size}.jsonl"
        return everything(group, log=path)

    _, _, line, lr, _ = on_every_number_of_ranks(run)
    assert lr < 0.01 and line["grad_norm"] > 0.01 and 1 < line["samples"] < 2
    logs = [[json.loads(text) for text in (tmp_path / f"{n}.jsonl").read_text().splitlines()] for n in RANKS]
    assert all(log == logs[0] and len(log) == 3 for log in logs)


class Odd(nn.Module):
    """A parameter that is not used, one that is frozen, one that two modules share, two dtypes, none without axes."""

    def __init__(self):
        self.first, self.second = nn.Linear(48, 48, rng=0), nn.Linear(48, 48, rng=1)
        self.second.weight = self.first.weight
        self.unused, self.frozen = md.Parameter(np.ones(3)), md.Parameter(np.ones(48, "f4"), requires_grad=False)
        self.scale, self.complex = md.Parameter(np.array(2.0)), md.Parameter(np.array([1 + 1j, 2 - 1j]))
        self.sometimes = md.Parameter(np.ones(2))

    def forward(self, x):
        y = self.second(F.tanh(self.first(x.reshape(len(x), -1)))) * self.frozen
        y = y.astype("float64") * self.scale + abs(self.complex[0] * self.complex[1])
        return y * self.sometimes.sum() if x.data[0, 0, 0, 0] > 1 else y


def test_parameters_that_are_unused_frozen_shared_or_of_other_dtypes():
    def run(group):
        model = Odd()
        state, line = trained(
            group, 3, model=model, loss=lambda m, b: (m(md.tensor(b[0], dtype="float32")) ** 2).mean(), of=batches(9),
            optimiser=lambda m: optim.Adam(m.parameters(), lr=0.01, weight_decay=0.5),
        )  # fmt: skip
        assert model.unused.grad is None and (model.unused.data == 1).all() and (model.frozen.data == 1).all()
        assert model.sometimes.grad is not None and model.complex.grad.dtype == complex
        return state, line

    on_every_number_of_ranks(run)
