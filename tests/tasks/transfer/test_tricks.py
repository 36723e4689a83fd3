"""The tricks of training: what each changes, and the table of all."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import tasks.__main__ as frame
from minidl import Tensor, nn
from minidl import functional as F
from tasks.classify.data import Part
from tasks.transfer import compare, photographs, tricks
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
    own = photographs.Own("x", "resnet_small", size=16, epochs=3, batch=4)
    learner, learned = tricks.Tricks(tricks.of_photographs(own, parts, 2), "cpu", lambda: None), []
    learn = learner.learn

    def noted(model, *rest):
        accuracies = learn(model, *rest)
        learned.append(tricks.layer(model).state_dict())
        return accuracies

    monkeypatch.setattr(learner, "learn", noted)
    assert learner.on_features(tricks.PLANS[name], 3, 0.01) == learner.on_pictures(tricks.PLANS[name], 3, 0.01)
    for key, array in learned[0].items():
        np.testing.assert_allclose(learned[1][key], array, atol=1e-5)


def test_the_command_compares_all(tmp_path, capsys):
    root = folder(tmp_path / "own", {"a": 5, "b": 5})
    argv = ["--data", root, "--model", "resnet_small", "--size", 16, "--epochs", 1, "--batch", 4, "--seeds", 1]
    argv += ["--lr", 0.01]
    assert frame.main(["transfer", *map(str, argv), "--tricks", "--quiet", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "rates per layer" in text and "± 0.0" in text
    (found,) = json.loads((tmp_path / "out/tricks.json").read_text()).values()
    assert list(found) == list(tricks.PLANS)


def test_the_rate_is_chosen_on_validation_and_the_test_part_is_reported(monkeypatch):
    subject = tricks.Subject(None, lambda rng: nn.Identity(), (0.1, 0.2, 0.3), 1, 4, False)
    learner = tricks.Tricks(subject, "cpu", lambda: None)
    scores = {0.1: (0.5, 0.9), 0.2: (0.7, 0.3), 0.3: (0.6, 0.8)}
    monkeypatch.setattr(learner, "on_features", lambda plan, seed, rate: scores[rate])
    found = learner.compared(tricks.PLAIN, [0, 1])
    assert found["rate"] == 0.2 and found["accuracies"] == [0.3, 0.3]
    lines = tricks.table({"none": found, "dropout": found | {"accuracies": [0.4, 0.3], "rate": 0.3}}, 9)
    assert lines[1].split() == ["none", "30.0", "±", "0.0", "0.2"]
    assert lines[2].split() == ["dropout", "35.0", "±", "7.1", "+5.0", "±", "7.1", "1", "of", "2", "0.3*"]


def test_on_digits_each_seed_has_other_labels_and_none_of_them_twice():
    labels = np.tile(np.arange(3), 9)
    pool = Part(np.arange(27, dtype=np.uint8).reshape(27, 1, 1, 1), labels)
    learner = SimpleNamespace(pool=pool, settings=compare.Comparison(), pretrained=None, classes=3)
    subject = tricks.of_digits(learner, "test", 2, None)
    train, validation, test = subject.parts(4)
    seen = np.concatenate([train.images.ravel(), validation.images.ravel()])
    assert test == "test" and len(set(seen.tolist())) == 12 and subject.parts(4)[0] is train
    assert all(np.bincount(part.labels).tolist() == [2, 2, 2] for part in (train, validation))
    assert subject.parts(5)[0].images.tobytes() != train.images.tobytes()
    assert subject.batch == 6 and subject.epochs == 100 and not subject.mirror


def test_the_command_compares_tricks_on_digits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tricks, "PLANS", {name: tricks.PLANS[name] for name in ("none", "all")})
    monkeypatch.setattr("tasks.transfer.source.HELD_OUT", 1)
    argv = ["--variants", "3", "--width", "2", "--steps", "2", "--labels", "2", "--tune", "1", "--seeds", "2"]
    argv += ["--lr", "0.01", "--quiet", "--out", str(tmp_path)]
    assert frame.main(["transfer", "--tricks", *argv]) == 0
    text = capsys.readouterr().out
    assert "digits 0 to 9, 2 labels per class to train on, 2 to choose by\naccuracy (%) on 450 test pictures" in text
    assert (tmp_path / "tricks.txt").read_text() in text and (tmp_path / "tricks.png").exists()


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["--tricks", "--runs", "3"], "--runs cannot be with --tricks"),
        (["--seeds", "3"], "--seeds: for your own photographs"),
        (["--tricks", "--epochs", "3"], "--epochs: for your own photographs"),
        (["--tricks", "--labels", "70"], "2 x 70 = 140 of each class, and a class has 1"),
    ],
)
def test_what_does_not_go_with_tricks(argv, what, tmp_path, capsys):
    assert frame.main(["transfer", *argv, "--quiet", "--out", str(tmp_path)]) == 2
    assert what in capsys.readouterr().err
