"""The lab on the trade-off: its pictures, its cells and their files, the front, the statements."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

from tasks.command import UsageError
from tasks.detect.data.scenes import Scenes
from tasks.labs import cli, tradeoff
from tasks.labs.tradeoff import Cell, Settings

ONE = replace(tradeoff.QUICK, models=("rfcn",), backbones=("mobilenet_v1",), steps=1, tested=1)


def quiet(label, total):
    return nullcontext(lambda: None)


def test_small_pictures_are_the_large_ones_two_by_two():
    settings = Settings(tell_apart=True)
    images, targets = tradeoff.Pictures(settings, "test", 96, 0)(1, 2)
    small, halved = tradeoff.Pictures(settings, "test", 48, 0)(1, 2)
    scenes, truths = Scenes(0, "test", 96, count=(1, 4)).batch(1, 2)
    np.testing.assert_allclose(images, scenes, atol=0.501 / 255)
    each = [images[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(small, sum(each) / 4, atol=1e-6)
    assert small.dtype == np.float32
    for a, b, truth in zip(targets, halved, truths):
        np.testing.assert_array_equal(a.boxes, 2 * b.boxes)
        assert (a.labels == truth.labels).all()
    assert not any(t.labels.any() for t in tradeoff.Pictures(Settings(), "test", 96, 0)(1, 2)[1])


@pytest.mark.parametrize("model", tradeoff.DETECTORS)
def test_anchors_are_as_large_against_the_objects_at_both_sizes(model):
    boxes = []
    for size in (48, 96):
        detector = tradeoff.detector(ONE, Cell(model, "mobilenet_v1", 0.25, size, 0))
        anchors = getattr(detector, "anchors", None) or detector.rpn.anchors
        boxes.append([np.asarray(level) * 96 / size for level in anchors.shapes])
        assert detector.num_classes == 1
    assert all(np.allclose(a, b) for a, b in zip(*boxes))


def test_a_cell_is_kept_and_trained_again_only_under_other_conditions(tmp_path, monkeypatch):
    numbers = cli.measured(tradeoff, ONE, quiet, tmp_path)
    (row,) = numbers["rows"]
    assert 0 <= row["ap"] <= row["ap50"] <= 1 and row["ms"] > 0 and row["memory"] > 1e5
    assert row["macs"] > row["body"] > 0 and row["parameters"] > 50_000
    (file,) = (tmp_path / "cells").iterdir()
    assert file.name == "rfcn-mobilenet_v1-0.25-48-0.json"
    tradeoff.draw(numbers).savefig("/dev/null", format="png")

    asked = []
    monkeypatch.setattr(tradeoff, "measured", lambda settings, cell, step: asked.append(cell.name) or row["runs"][0])
    assert cli.measured(tradeoff, ONE, quiet, tmp_path) == numbers and asked == []
    more = replace(ONE, seeds=2)
    found = cli.measured(tradeoff, more, quiet, tmp_path)
    assert asked == ["rfcn-mobilenet_v1-0.25-48-1"] and len(found["rows"][0]["runs"]) == 2
    cli.measured(tradeoff, replace(ONE, steps=3), quiet, tmp_path)
    assert asked[1:] == ["rfcn-mobilenet_v1-0.25-48-0"]
    assert json.loads(file.read_text())["conditions"]["steps"] == 3
    assert tradeoff.kept(ONE, Cell("rfcn", "mobilenet_v1", 0.25, 48, 0), tmp_path / "cells") is None


def test_the_same_seed_gives_the_same_scores():
    cell = next(tradeoff.cells(ONE))
    one, other = (tradeoff.trained(ONE, cell, lambda: None).state_dict() for _ in range(2))
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)


def test_the_front_is_what_nobody_beats():
    rng = np.random.default_rng(0)
    rows = [{"ms": float(t), "ap": float(a)} for t, a in rng.integers(0, 9, (40, 2))]

    def beaten(a):
        return any(b["ms"] <= a["ms"] and b["ap"] >= a["ap"] and (b["ms"], b["ap"]) != (a["ms"], a["ap"]) for b in rows)

    found = [rows[i] for i in tradeoff.front(rows)]
    assert {(r["ms"], r["ap"]) for r in found} == {(r["ms"], r["ap"]) for r in rows if not beaten(r)}
    assert [r["ms"] for r in found] == sorted(r["ms"] for r in found)


def row(model, backbone, ap, ms, body):
    costs = {"macs": 2.0 * body, "memory": 1e6, "parameters": 10.0, "body": body}
    return {"model": model, "backbone": backbone, "width": 1.0, "size": 96, "ap": ap, "ap50": ap, "ms": ms,
            "ap_spread": 0.01, "ap50_spread": 0.02, **costs}  # fmt: skip


def test_statements_are_borne_out_or_not():
    rows = [
        row("ssd", "resnet", 0.3, 2.0, 9e6), row("ssd", "mobilenet_v1", 0.2, 1.0, 3e6),
        row("faster_rcnn", "resnet", 0.5, 8.0, 9e6), row("faster_rcnn", "mobilenet_v1", 0.4, 6.0, 3e6),
        row("rfcn", "resnet", 0.45, 6.0, 9e6), row("rfcn", "mobilenet_v1", 0.35, 5.0, 3e6),
    ]  # fmt: skip
    lines = tradeoff.claims({"rows": rows, "seeds": 3})
    assert "AP  30.0 ± 1.0" in lines[1] and lines[1].endswith("on the front")
    assert "the slowest: so; than SSD +20.0 AP (more in 2 of 2), 4.90 times the time (slower in 2 of 2)" in lines[-3]
    assert "less accurate: so; Faster R-CNN takes 4.90 times its time (over 2 in 2 of 2) and has +20.0 AP" in lines[-2]
    assert "the better: so; rank correlation of multiply-adds and AP +1.00, above 0 in 3 of 3" in lines[-1]
    for other in rows[:2]:
        other["ap"], other["ms"] = 0.6 - other["ap"], 9.0
    lines = tradeoff.claims({"rows": rows, "seeds": 1})
    assert "so for the most part" in lines[-3] and "less accurate: NOT so" in lines[-2]
    assert "so for the most part; rank correlation of multiply-adds and AP +0.33, above 0 in 2 of 3" in lines[-1]
    assert "cannot be told" in tradeoff.claims({"rows": rows[:1], "seeds": 1})[-1]


def test_settings():
    with pytest.raises(UsageError, match="--sizes 64: pictures are 48 or 96 pixels wide"):
        Settings(sizes=(64, 96))
    options = cli.parser(tradeoff, "labs", "runs").parse_args(["--full", "--seeds", "1"])
    assert cli.chosen(tradeoff, options) == replace(tradeoff.FULL, seeds=1)
    options = cli.parser(tradeoff, "labs", "runs").parse_args(["--full", "--quick"])
    with pytest.raises(UsageError, match="give one of them"):
        cli.chosen(tradeoff, options)
    assert len(tradeoff.FULL.backbones) >= 5 and tradeoff.FULL.seeds == 3
    assert len(list(tradeoff.cells(tradeoff.FULL))) == 3 * 5 * 2 * 2 * 3
