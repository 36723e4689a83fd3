"""The tricks of training: what each changes, and the table of all."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import tasks.__main__ as frame
from minidl import Tensor, nn
from minidl import functional as F
from tasks.classify.data import Part
from tasks.transfer import photographs, tricks
from tests.tasks.transfer.test_transfer import folder


def test_rates_fall_from_the_last_layer_to_the_first():
    net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU(), nn.Linear(3, 4, rng=0))
    groups = tricks.by_layer(net)
    assert [[p.shape for p in params] for params in groups] == [[(4, 3), (4,)], [(3, 2), (3,)]]
    optimiser = tricks.Falling(groups, 0.1)
    optimiser.lr = 0.2
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.2, 0.14])


def test_smoothed_labels_are_those_of_the_paper():
    logits, labels = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    q = 0.9 * np.eye(4)[labels] + 0.1 / 4
    expected = -(q * F.log_softmax(Tensor(logits), axis=1).numpy()).sum(axis=1).mean()
    assert tricks.cross_entropy(nn.Identity(), logits, labels, 0.1, "cpu").item() == pytest.approx(expected, rel=1e-12)


def test_each_plan_takes_one_trick_and_the_last_all():
    taken = {name: sum(vars(plan).values()) for name, plan in tricks.PLANS.items()}
    assert list(taken.values()) == [0, 1, 1, 1, 1, 1, 1, 6]


@pytest.mark.parametrize("name", ["none", "dropout", "warm up", "label smoothing", "early stopping"])
def test_what_leaves_the_features_alone_is_the_same_through_the_whole_network(name, monkeypatch):
    """A head on features that are computed once learns what it learns on top of the frozen layers."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 6)
    images = (rng.integers(0, 90, (12, 3, 16, 16)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    parts = [Part(images[i::3], labels[i::3]) for i in range(3)]
    own = photographs.Own("x", "resnet_small", size=16, epochs=3, batch=4, lr=0.01)
    learner, learned = tricks.Tricks(own, parts, 2, "cpu", lambda: None), []
    learn = learner.learn

    def noted(model, *rest):
        learn(model, *rest)
        learned.append(tricks.layer(model).state_dict())

    monkeypatch.setattr(learner, "learn", noted)
    assert learner.on_features(tricks.PLANS[name], 3) == learner.on_pictures(tricks.PLANS[name], 3)
    for key, array in learned[0].items():
        np.testing.assert_allclose(learned[1][key], array, atol=1e-5)


def test_the_command_compares_all(tmp_path, capsys):
    root = folder(tmp_path / "own", {"a": 5, "b": 5})
    argv = ["--data", root, "--model", "resnet_small", "--size", 16, "--epochs", 1, "--batch", 4, "--seeds", 1]
    assert frame.main(["transfer", *map(str, argv), "--tricks", "--quiet", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "rates per layer" in text and "± 0.0" in text
    assert list(json.loads((tmp_path / "out/tricks.json").read_text())) == list(tricks.PLANS)
