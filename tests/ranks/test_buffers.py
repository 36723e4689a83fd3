"""What becomes of the buffers of a model that is trained on shards."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.ranks.buffers import Buffers
from minidl.train import fit
from tests.ranks.test_step import on_every_number_of_ranks
from tests.support.ranks import on_ranks

BATCHES = [np.array(values, float) for values in ([1, 2, 3, 4, 5], [2, 9], [7, 7, 7])]


class Counting(nn.Module):
    """A buffer of each kind; `anew` assigns new arrays to them in place of writing into them."""

    def __init__(self, anew):
        self.weight, self.anew = md.Parameter(np.array(1.0)), anew
        for name, start in self.expected([]).items():
            self.register_buffer(name, start)

    @staticmethod
    def expected(batches):
        """The values after training, as defined, one shard per sample."""
        total = 2.0
        for batch in batches:
            total += np.mean([0.5 * (x - total) for x in batch])
        samples = np.concatenate([np.empty(0), *batches]).astype(int)
        return {
            "average": np.array([total, 0]), "complex": np.array(total * (1 + 2j) + 3j),
            "batches": np.array(7 + len(batches)), "histogram": np.bincount(samples, minlength=10),
            "small": np.array([len(samples)], np.uint8), "present": np.isin(np.arange(10), samples),
            "large": np.array([2**62 + 1, -1]), "fixed": np.arange(4, dtype="f4").reshape(2, 2).T,
        }  # fmt: skip

    def forward(self, x):
        new = {
            "average": self.average + [0.5 * (x.mean() - self.average[0]), 0], "batches": self.batches + 1,
            "complex": self.complex + 0.5 * (x.mean() - self.average[0]) * (1 + 2j),
            "histogram": self.histogram + np.bincount(x.astype(int), minlength=10),
            "small": self.small + np.uint8(len(x)), "present": self.present | np.isin(np.arange(10), x),
        }  # fmt: skip
        for name, array in new.items():
            if self.anew:
                setattr(self, name, array)
            else:
                getattr(self, name)[...] = array
        return (self.weight * x).mean()


def count(group, model, manual=False, shards=5):
    optimiser = optim.SGD(model.parameters(), lr=0.1)

    def forward(model, batch):
        value = model(batch)
        if manual:
            value.backward()
            optimiser.step()
        return {"loss": value}

    fit(model, optimiser, forward, BATCHES.__getitem__, 3, shards=shards, ranks=group, manual=manual, progress=False)
    return {name: (b.dtype, b.tobytes()) for name, b in model.named_buffers()}


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("manual", [False, True])
def test_each_kind_of_buffer_becomes_what_is_defined(anew, manual):
    model = Counting(anew)
    state = count("alone", model, manual)
    for name, expected in Counting.expected(BATCHES).items():
        found = getattr(model, name)
        np.testing.assert_allclose(found, expected, 1e-15, err_msg=name)
        assert found.dtype == expected.dtype and found.shape == expected.shape and found.strides == expected.strides
    assert on_every_number_of_ranks(lambda group: count(group, Counting(anew), manual), (2, 3)) == state


@pytest.mark.parametrize(
    ("change", "match"),
    [(lambda m: setattr(m, "fixed", np.ones(3)), r"from float32\[2, 2\] to float64\[3\]"),
     (lambda m: setattr(m, "fixed", m.fixed.astype(float)), r"from float32\[2, 2\] to float64\[2, 2\]"),
     (lambda m: setattr(m, "fixed", None), "to None"),
     (lambda m: setattr(m, "late", np.ones(1)), r"late .* from None")],
)  # fmt: skip
def test_a_buffer_that_changes_its_form_is_refused(change, match):
    model = Counting(False)
    model.register_buffer("late", None)
    forward = model.forward
    model.forward = lambda x: change(model) or forward(x)
    with pytest.raises(ValueError, match=f"a shard changes buffer .*{match}.*: such changes cannot be added up"):
        count("alone", model)


def test_an_array_that_two_modules_share_is_changed_once():
    model, shared = nn.Sequential(nn.BatchNorm1d(1), nn.BatchNorm1d(1)).to("float64"), np.zeros(1)
    model[0].running_mean = model[1].running_mean = shared
    before = Buffers(model)
    shared += 1
    row = before.changes(0.5)
    before.restore()
    before.change(2 * row)
    assert shared.tolist() == [1] and model[0].running_mean is model[1].running_mean is shared


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_are_those_of_ghost_batches(momentum):
    """The mean over the shards of each one's mean and unbiased variance; with momentum=None averaged over all steps."""
    x, model = np.random.default_rng(0).normal(size=(3, 12, 2)), nn.BatchNorm1d(2, momentum=momentum).to("float64")

    def loss(model, batch):
        return F.mse_loss(model(md.tensor(batch)), 0 * batch)

    fit(model, optim.SGD(model.parameters(), lr=0.0), loss, x.__getitem__, 3, shards=4, progress=False)
    mean, var = np.zeros(2), np.ones(2)
    for step, batch in enumerate(x):
        ghosts = batch.reshape(4, 3, 2)
        weight = 1 / (step + 1) if momentum is None else momentum
        mean = (1 - weight) * mean + weight * ghosts.mean(1).mean(0)
        var = (1 - weight) * var + weight * ghosts.var(1, ddof=1).mean(0)
    np.testing.assert_allclose((model.running_mean, model.running_var), (mean, var), 1e-12)
    assert model.num_batches_tracked == 3


def test_a_loss_may_begin_to_have_other_terms(tmp_path):
    """As after a warm-up. Ranks without samples learn of it, too."""

    def run(group):
        model, log = Counting(False), tmp_path / f"{group.size}.jsonl"
        optimiser = optim.SGD(model.parameters(), lr=0.1)

        def terms(model, batch):
            value = model(batch)
            return {"main": value} if (batch == 7).all() else {"late": 2 * value, "main": value}

        order = [BATCHES[2], BATCHES[1], BATCHES[2], BATCHES[0][:1]]
        fit(model, optimiser, terms, order.__getitem__, 4, shards=3, ranks=group, log=log, progress=False)
        return log.read_text() if group.first else None

    logs = [next(filter(None, on_ranks(size, run))) for size in (1, 3)]
    assert logs[0] == logs[1] and ["late" in line for line in logs[0].splitlines()] == [False, True, False, True]
