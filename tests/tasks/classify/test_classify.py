"""Measures of classification, and the chart of the networks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from minidl import nn
from tasks.classify import chart, data, evaluate
from tasks.classify.train import Settings
from tasks.models import MODELS


def run(*argv):
    """The command, in this process."""
    return frame.main(["classify", *map(str, argv)])


# --- measures


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_wilson_interval_is_scipys(n, share):
    correct = round(share * n)
    wanted = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(evaluate.wilson(correct, n), (wanted.low, wanted.high), atol=1e-7)


def result():
    """Four pictures of a cat, two of a dog, none of a cow; one cat is taken for a cow, surely, a dog for a cat."""
    rows = [[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.01, 0.04, 0.95], [0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]
    return evaluate.Result(np.array(rows), np.array([0, 0, 0, 0, 1, 1]))


def test_what_is_counted():
    r = result()
    assert (r.correct, r.accuracy) == (4, 4 / 6)
    assert r.confusion.tolist() == [[3, 0, 1], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(r.margins, [0.7, 0.8, 0.1, -0.94, 0.5, -0.1])
    assert r.loss == pytest.approx(-np.log([0.8, 0.9, 0.5, 0.01, 0.7, 0.4]).mean())


def test_the_table_has_a_row_per_class_with_its_recall():
    head, cat, dog, cow = evaluate.table(result(), ["cat", "dog", "cow"]).splitlines()
    assert head.split() == ["truth", "cat", "dog", "cow", "recall"]
    assert cat.split() == ["cat", "3", ".", "1", "75.0%", "of", "4"]
    assert dog.split() == ["dog", "1", "1", ".", "50.0%", "of", "2"]
    assert cow.split() == ["cow", ".", ".", ".", "none", "tested"]
    assert "66.67% on test images: 4 of 6; 95 % interval 30.00% to 90.32%" in evaluate.accuracy_line(result())


def test_of_many_classes_the_worst_are_reported():
    labels = np.arange(30).repeat(2)
    predicted = labels.copy()
    predicted[:2], predicted[3] = 7, 4
    text = evaluate.table(evaluate.Result(np.eye(30)[predicted], labels), [f"c{i}" for i in range(30)])
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:3] == ["commonest confusions:", "c0 taken for c7: 2 times", "c1 taken for c4: 1 times"]
    assert lines[3:6] == ["lowest recalls:", "c0: 0.0% of 2", "c1: 50.0% of 2"]


def test_predictions_are_the_softmax_of_the_logits_in_eval_mode_whatever_the_batch():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(),
                          nn.Linear(4 * 36, 3, rng=0))  # fmt: skip
    model[1].eval()  # one module in another mode: it must be so again
    images = np.random.default_rng(0).integers(0, 256, (11, 1, 8, 8), dtype=np.uint8)
    calls = []
    probabilities = evaluate.predict(model, images, 4, show=lambda: calls.append(1))
    assert len(calls) == 3 and model.training and not model[1].training and model[2].training
    logits = model.eval()(md.Tensor(data.like_imagenet(images))).data.astype(float)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, wanted, rtol=1e-5)
    floats = evaluate.predict(model, data.like_imagenet(images), 11)
    np.testing.assert_allclose(floats, wanted, rtol=1e-5)


# --- the chart


def test_every_published_network_is_here_and_counted():
    assert set(chart.PUBLISHED) <= set(MODELS)
    assert all(50 < top1 < top5 < 95 for top1, top5 in chart.PUBLISHED.values())
    entry = chart.counted("googlenet")
    assert (entry.parameters, round(entry.macs / 1e9, 2), entry.top1) == (6_624_904, 1.50, 69.778)


@pytest.mark.usefixtures("figures")
def test_the_chart_is_drawn_and_printed(tmp_path, monkeypatch, capsys):
    few = {name: chart.PUBLISHED[name] for name in ("alexnet", "resnet18", "densenet121")}
    monkeypatch.setattr(chart, "PUBLISHED", few)
    assert run("--chart", tmp_path / "new" / "chart.png", "--quiet") == 0
    output = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["resnet18", "11,689,512", "1,814,073,344", "69.758", "89.078"] in output
    with Image.open(tmp_path / "new" / "chart.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 50


def test_a_vision_transformer_is_made_for_the_size_of_the_pictures():
    settings = Settings(model="vit_b_32", size=96)
    assert settings.options() == {"image_size": 96}
    assert Settings.of({"model": "swin_t"}).lr == Settings.of({"model": "vgg11"}).lr == 0.01 and Settings().lr == 0.1
