"""The focal lab: its three losses on the same boxes, whose loss it is, and the lab from end to end."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from tasks.command import UsageError
from tasks.detect.losses.matching import NEGATIVE, POSITIVE
from tasks.labs import focal


def quiet(label, total):
    return nullcontext(lambda: None)


@pytest.fixture(scope="module")
def seen():
    """What each detector's training pass computes of the same pictures, before training."""
    pictures = focal.Pictures(focal.QUICK, "train", 0)(0, 3)
    with md.no_grad():
        return {kind: focal.detector(kind, focal.QUICK, 0).training_pass(*pictures) for kind in focal.KINDS}


def plain(computed):
    """By definition: labels, -log p_t and p_t of every box, and the number of positive ones."""
    labels = np.stack([m.labels for m in computed.matches])
    x = computed.outputs.logits.numpy()[:, :, 0].astype(float)
    right = 1 / (1 + np.exp(np.where(labels == POSITIVE, -x, x)))
    return labels, -np.log(right), right, np.count_nonzero(labels == POSITIVE)


def test_the_detectors_start_from_the_same_weights(seen):
    first, *others = (focal.detector(kind, focal.QUICK, 3).state_dict() for kind in focal.KINDS)
    assert all(np.array_equal(first[name], other[name]) for other in others for name in first)
    assert len({seen[kind].terms["box"].value.numpy().sum() for kind in focal.KINDS}) == 1


def test_cross_entropy_is_that_of_all_boxes_but_the_ignored(seen):
    labels, surprise, _, count = plain(seen["cross entropy"])
    terms = seen["cross entropy"].terms["class"].value.numpy()
    np.testing.assert_allclose(terms, np.where(labels >= 0, surprise, 0).ravel() / count, rtol=1e-4)


def test_focal_is_turned_down_by_its_factors(seen):
    labels, surprise, right, count = plain(seen["focal"])
    weight = np.where(labels == POSITIVE, 0.25, 0.75) * (labels >= 0)
    terms = seen["focal"].terms["class"].value.numpy()
    np.testing.assert_allclose(terms, (weight * (1 - right) ** 2 * surprise).ravel() / count, rtol=1e-4)


def test_hard_negatives_are_three_for_each_positive_and_the_worst(seen):
    labels, surprise, _, count = plain(seen["hard"])
    terms = seen["hard"].terms["class"].value.numpy().reshape(labels.shape)
    for label, loss, term in zip(labels, surprise, terms):
        trained = (term > 0) & (label == NEGATIVE)
        assert trained.sum() == 3 * (label == POSITIVE).sum()
        assert loss[trained].min() >= loss[(label == NEGATIVE) & ~trained].max() - 1e-6
        np.testing.assert_allclose(term[label == POSITIVE], loss[label == POSITIVE] / count, rtol=1e-4)


def test_shares_are_parts_of_the_loss():
    pictures = focal.Pictures(focal.QUICK, "test", 0)(0, 2)
    for kind in focal.KINDS:
        parts = focal.shares(focal.detector(kind, focal.QUICK, 0).eval(), *pictures)
        assert np.isclose(sum(parts.values()), 1) and min(parts.values()) >= 0
    model = focal.detector("cross entropy", focal.QUICK, 0).eval()
    last = model.head["classification_head"].cls_logits, model.head["regression_head"].bbox_reg
    for layer in last:
        layer.weight.data[...] = 0
    last[0].bias.data[...] = -np.log(99)  # every box says 0.01, as the paper has it at the start
    images, targets = pictures
    numbers = focal.imbalance(model, replace(focal.QUICK, tested=2), focal.Pictures(focal.QUICK, "test", 0))
    easy, positive = numbers["negative"] * -np.log(0.99), numbers["positive"] * np.log(100)
    found = focal.shares(model, images, targets)
    assert np.isclose(found["easy"], easy / (easy + positive), rtol=1e-4) and found["other"] == 0


def test_all_digits_are_of_one_class():
    images, targets = focal.Pictures(focal.QUICK, "train", 0)(0, 4)
    assert images.shape == (4, 3, 48, 48)
    assert all((t.labels == 0).all() and 1 <= len(t) <= 2 for t in targets)


def test_the_lab_runs_and_draws():
    numbers = json.loads(json.dumps(focal.measure(focal.QUICK, quiet), allow_nan=False))
    assert numbers == focal.measure(focal.QUICK, quiet)
    for runs in numbers["runs"].values():
        assert [run["step"] for run in runs] == [[0, 2, 4]]
        assert all(len(run[name]) == 3 for run in runs for name in ("class", "box", "easy"))
        assert all(0 <= run["ap50"] <= 1 for run in runs)
    assert "negative for each positive" in focal.claims(numbers)[0]
    focal.draw(numbers).savefig("/dev/null", format="png")


@pytest.mark.parametrize(("focal_ap", "message"), [((0.6, 0.7), "better in every run"), ((0.6, 0.4), "NOT better in")])
def test_claims_say_what_is_not_borne_out(focal_ap, message):
    def runs(values):
        return [{"ap50": v, "easy": [0.5, 0.1], "positive": [0.2, 0.3]} for v in values]

    numbers = {
        "boxes": {"positive": 10, "negative": 990, "ignored": 5}, "steps": 9,
        "runs": {"focal": runs(focal_ap), "cross entropy": runs((0.5, 0.5)), "hard": runs((0.1, 0.1))},
    }  # fmt: skip
    text = focal.claims(numbers)
    assert "99 negative for each positive" in text[0]
    assert f"focal against cross entropy: {message}" in text[4] and "hard: better in every run" in text[5]


def test_impossible_settings():
    for options in ({"size": 60}, {"looks": 500}, {"lr": 0.0}):
        with pytest.raises(UsageError):
            focal.Settings(**options)
