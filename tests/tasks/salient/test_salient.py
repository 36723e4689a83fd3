"""Scenes, scores against their definitions, classical maps, and the command from end to end."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import tasks.__main__ as frame
from minidl import Tensor
from tasks.salient import SaliencyNet, metrics, report, scenes


@pytest.mark.parametrize("feature", scenes.FEATURES)
def test_the_odd_thing_is_small_and_differs_in_one_feature(feature):
    one, again = (scenes.scene(64, "train", 3, 7, feature) for _ in range(2))
    assert (one.image == again.image).all() and one.feature == feature
    assert one.image.shape == (3, 64, 64) and 0 <= one.image.min() <= one.image.max() <= 1
    assert 4 <= one.truth.sum() < 0.15 * one.truth.size


def test_things_change_in_what_is_asked_alone():
    rng = np.random.default_rng(0)
    for _ in range(30):
        thing = scenes.Thing("bar", scenes.colour(rng.random()), 8.0, rng.random())
        for feature, field in zip(scenes.FEATURES, ("colour", "angle", "size", "shape")):
            other = thing.changed(feature, rng)
            assert {f for f in thing._fields if getattr(thing, f) != getattr(other, f)} == {field}


def test_textures_are_kept_apart():
    names = [name for each in scenes.TEXTURES.values() for name in each]
    assert len(names) == len(set(names))


# --- scores


def test_auc_is_the_area_under_the_curve():
    from sklearn.metrics import fbeta_score, roc_auc_score

    rng = np.random.default_rng(0)
    truth = rng.random((9, 11)) < 0.2
    found = np.round(rng.random(truth.shape) + 0.3 * truth, 1)  # with ties
    score = metrics.scores(found, truth)
    assert score.auc == pytest.approx(roc_auc_score(truth.ravel(), found.ravel()))
    assert score.nss == pytest.approx(((found - found.mean()) / found.std())[truth].mean())
    chosen = found >= 2 * found.mean()
    assert score.f == pytest.approx(fbeta_score(truth.ravel(), chosen.ravel(), beta=0.3**0.5))


def test_scores_at_their_limits():
    truth = np.zeros((8, 8), bool)
    truth[2:4, 2:4] = True
    assert metrics.scores(truth.astype(float), truth) == pytest.approx((1, np.sqrt(15), 1))
    assert metrics.scores(1.0 - truth, truth).auc == 0
    flat = metrics.scores(np.ones((8, 8)), truth)
    assert flat.auc == 0.5 and flat.nss == 0
    with pytest.raises(ValueError, match="covers 0 of 64"):
        metrics.scores(np.ones((8, 8)), truth & False)


def test_classical_maps_find_what_they_are_for():
    image = np.full((3, 60, 80), 0.5) + np.random.default_rng(0).normal(0, 0.01, (3, 60, 80))
    image[:, 10:14, 60:64] = 1
    truth = np.zeros((60, 80), bool)
    truth[10:14, 60:64] = True
    found = metrics.spectral_residual(image)
    assert found.shape == truth.shape and metrics.auc_judd(found, truth) > 0.95
    centre = metrics.centre_prior(image)
    assert centre.max() == pytest.approx(centre[30, 40], rel=0.01) and centre[0, 0] == centre.min()


# --- the network


def test_contrast_is_with_the_mean_of_the_things_and_any_size_goes():
    net = SaliencyNet(4, rng=0)
    assert net(Tensor(np.zeros((2, 3, 21, 34), np.float32))).shape == (2, 1, 21, 34)
    maps = np.random.default_rng(0).random((1, 4, 3, 5), np.float32)
    features, weight = net.features(Tensor(maps)).numpy(), 1 / (1 + np.exp(-net.thing(Tensor(maps)).numpy()))
    mean = np.average(features, axis=(2, 3), weights=np.broadcast_to(weight, features.shape), keepdims=True)
    expected = weight * (features - mean) ** 2
    np.testing.assert_allclose(net.contrast(Tensor(maps)).numpy(), expected, rtol=1e-2, atol=1e-4)


# --- the command


def run(out, *argv):
    return frame.main(["salient", "--quiet", "--out", str(out), *map(str, argv)])


def test_the_command_from_end_to_end(tmp_path, capsys, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(report, "TESTED", 4)
    assert run(tmp_path / "a", "--steps", 2, "--width", 2, "--side", 32, "--batch", 1) == 0
    assert "spectral residual" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "a" / "scores.json").read_text())["ours"]["size"]) == 1
    Image.fromarray(np.zeros((20, 50), np.uint8)).save(tmp_path / "gray.png")
    assert run(tmp_path / "b", "--checkpoint", tmp_path / "a" / "checkpoint.npz", "--image", tmp_path / "gray.png") == 0
    assert Image.open(tmp_path / "b" / "gray-saliency.png").size == (50, 20)
