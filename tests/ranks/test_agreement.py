"""What ranks must have alike is compared before they train; what differs is named, by rank, on all of them."""

import sys
import types
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.ranks import agreement
from minidl.ranks.agreement import agree, agree_on_loss, digest, program
from minidl.ranks.news import RanksError
from minidl.train import fit
from tests.support.ranks import on_ranks


def said(function, size=3):
    """What every rank says; the same."""

    def on(group):
        with pytest.raises(RanksError) as error:
            function(group)
        return str(error.value)

    (text,) = set(on_ranks(size, on))
    return text


def test_what_differs_is_named():
    def three(group):
        agree(group, {"steps": 10 if group.rank < 2 else 20, "data": digest([group.rank > 1]), "clip": None})

    assert said(three) == "rank 2 differs from rank 0 in steps (20, not 10), data"
    assert said(lambda group: agree(group, {"lr": min(group.rank, 1)})) == (
        "rank 1 differs from rank 0 in lr (1, not 0); so do 1 more"
    )


def test_what_only_some_have_is_not_compared():
    on_ranks(3, lambda group: agree(group, {"clip": 1.0, **({"code of log.py": "#1"} if group.first else {})}))


def test_a_loss_may_differ_by_rounding_only_and_a_warning_says_so():
    def off_by(amount):
        return lambda group: agree_on_loss(group, {"loss": 0.5 + amount * group.rank, "ce": 0.25})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_ranks(2, off_by(0.0))
        on_ranks(2, off_by(np.nan))
    with pytest.warns(UserWarning, match="will not end in the same bits"):
        on_ranks(2, off_by(1e-7))
    assert said(off_by(0.25), 2) == (
        "rank 1 differs from rank 0 in the loss of the first shard ({'loss': 0.75, 'ce': 0.25}, not "
        "{'loss': 0.5, 'ce': 0.25}): look for other data"
    )
    assert "in the loss" in said(lambda group: agree_on_loss(group, {"ab"[group.rank]: 1.0}), 2)


def test_digests_tell_apart_what_differs():
    array = np.arange(6.0)
    values = [
        None, 1, True, 1.0, "1", [], (1, 2), [[1], 2], {"a": 1}, {"b": 1}, array, array.reshape(2, 3), array[::-1],
        array.astype("f"), [array], [array, array],
    ]  # fmt: skip
    assert len({digest(value) for value in values}) == len(values)
    assert digest(md.tensor(array)) == digest(array) == digest(np.arange(12.0)[::2] / 2)
    assert digest([object()]) == digest([object()])  # by type: a repr holds an address


def test_the_program_is_versions_and_code(tmp_path, monkeypatch):
    path = tmp_path / "own.py"
    path.write_text("x = 1\n")
    module = types.ModuleType("own")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "own", module)
    odd = types.ModuleType("odd")
    odd.__file__ = "_odd.py"  # as torch.ops has it: there is no such file
    monkeypatch.setitem(sys.modules, "odd", odd)
    before = program.__wrapped__()
    assert "code of odd" not in before
    assert before["version of NumPy"] == np.__version__ and not any(name.startswith("code of numpy") for name in before)
    assert {"code of minidl", "code of own"} <= set(before)
    path.write_text("x = 2\n")
    after = program.__wrapped__()
    assert [name for name in before if before[name] != after[name]] == ["code of own"]


def train(group, rate=0.1, data=0.0, scale=1.0, steps=2, width=3):
    """Other arguments than these on rank 1."""
    x = np.random.default_rng(2).normal(size=(8, 2)).astype(np.float32)
    model = nn.Sequential(nn.Linear(2, width, rng=0), nn.BatchNorm1d(width), nn.Dropout(0.5, rng=1))

    def loss(model, batch):
        return F.mse_loss(model(md.Tensor(batch)) * scale, np.zeros((len(batch), width), np.float32))

    model_loss = fit(
        model, optim.Adam(model.parameters(), rate), loss, lambda step: x + np.float32(data), steps, ranks=group,
        shards=2, progress=False,
    )  # fmt: skip
    return model_loss["loss"], model.random_state()


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"rate": 0.2}, "rank 1 differs from rank 0 in lr of the main optimiser ([0.2], not [0.1])"),
        ({"steps": 3}, "rank 1 differs from rank 0 in steps (3, not 2)"),
        ({"width": 4}, "rank 1 differs from rank 0 in parameters' names, shapes and dtypes"),
        ({"data": 1.0}, "rank 1 differs from rank 0 in data"),
        ({"scale": 2.0}, "rank 1 differs from rank 0 in the loss of the first shard"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_fit_compares_settings_data_and_the_first_loss(other, what):
    assert said(lambda group: train(group, **(other if group.rank else {})), 2).startswith(what)


def test_to_compare_changes_nothing(monkeypatch):
    compared = on_ranks(2, train)
    monkeypatch.setattr("minidl.ranks.step.ShardedStep.agree", lambda *_: None)
    assert compared == on_ranks(2, train)


def test_batches_may_know_the_digest_of_all_their_data():
    class Batches:
        def __init__(self, version):
            self.version = version

        def __call__(self, step):
            return np.ones((4, 2), np.float32)

        def digest(self):
            return f"{agreement.DIGEST}{self.version}"

    def run(group):
        model = nn.Linear(2, 1, rng=0)
        fit(model, optim.SGD(model.parameters(), 0.1), lambda m, x: m(md.Tensor(x)).sum(), Batches(group.rank), 1,
            ranks=group, shards=2, progress=False)  # fmt: skip

    assert said(run, 2) == "rank 1 differs from rank 0 in data"
