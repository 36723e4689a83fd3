"""The skips lab: distances by brute force, scores, parameters, and the lab from end to end."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("scipy", reason='the tasks need pip install -e ".[tasks]"')

import tasks.__main__ as frame
from tasks.command import UsageError
from tasks.labs import skips as lab
from tasks.labs.cli import measured


def quiet(label, total):
    return nullcontext(lambda: None)


@given(seed=st.integers(0, 10**6), height=st.integers(1, 7), width=st.integers(1, 7), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_distances_are_those_to_the_nearest_pixel_of_the_other_class(seed, height, width, share):
    classes = (np.random.default_rng(seed).random((height, width)) < share).astype(int)
    found = lab.distances(classes)
    for place in np.ndindex(classes.shape):
        others = np.argwhere(classes != classes[place])
        wanted = np.hypot(*(others - place).T).min() if len(others) else np.inf
        assert found[place] == pytest.approx(wanted, rel=1e-12)


def test_errors_are_counted_at_their_distance():
    classes = np.zeros((1, 20, 20), int)
    classes[:, :, 10:] = 1  # columns 9 and 10 have distance 1, 8 and 11 have 2, ...
    called = classes.copy()
    called[0, :5, 9] = 1  # a quarter of a column beside the outline
    called[0, :, 0] = 1  # all of the column at distance 10
    found = lab.score(np.where(called, 1.0, -1.0)[:, None], classes)
    assert found["pixels"] == [40, 40, 40, 40, 120, 120]  # distances 1, 2, 3, 4, 5 to 7, 8 to 10
    assert found["errors"] == [5 / 40, 0, 0, 0, 0, 20 / 120]
    assert (found["near"], found["far"]) == (5 / 80, 20 / 240)
    assert found["dice"] == pytest.approx(2 * 200 / (200 + 225))


def test_a_picture_of_one_class_is_all_far_and_what_is_not_there_has_no_rate():
    found = lab.score(-np.ones((1, 1, 6, 6)), np.zeros((1, 6, 6), int))
    assert found["near"] is None and found["far"] == 0


def test_skips_and_width_decide_the_parameters():
    chosen = replace(lab.QUICK, base=4, depth=2)
    count = {kind: lab.size(lab.net(kind, chosen)) for kind in lab.STYLES}
    # each decoder level has o more input maps to its first 3x3 convolution into o maps: 9 o^2 weights
    assert count["skips"] - count["none"] == 9 * (4**2 + 8**2)
    narrower = lab.UNet(1, 1, base=lab.wider(chosen) - 1, depth=2, padded=True, skips=False)
    assert count["none, wider"] >= count["skips"] > lab.size(narrower)


def test_patches_are_cut_from_picture_and_truth_alike():
    x = np.arange(3 * 100.0).reshape(3, 1, 10, 10)
    cut, classes = lab.patches(x, x[:, 0].astype(int), 6, 4, np.random.default_rng(0))
    assert cut.shape == (6, 1, 4, 4) and np.array_equal(cut[:, 0], classes)
    for patch in classes:
        assert np.array_equal(np.diff(patch, axis=0), np.full((3, 4), 10)) and (np.diff(patch) == 1).all()


def test_pictures_are_standardised_and_have_both_classes_and_lines_between_cells():
    x, classes = lab.pictures(2, 0, lab.TRAIN)
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=(1, 2, 3)), 1, atol=1e-4)
    for i, mask in enumerate(classes):
        instances = lab.cells.generate(0, lab.TRAIN, i).instances
        assert set(np.unique(mask)) == {0, 1} and (mask[instances == 0] == 0).all()
        assert 0 < ((instances > 0) & (mask == 0)).sum() < 0.2 * mask.sum()


def test_a_patch_larger_than_a_picture_is_refused():
    with pytest.raises(UsageError, match="--side 161"):
        replace(lab.Settings(), side=161)


def test_a_quick_run_leaves_numbers_and_a_figure_and_is_repeatable(tmp_path, capsys):
    assert frame.main(["labs", "skips", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert all(claim in capsys.readouterr().out for claim in content["claims"][-1:])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert content["numbers"] == measured(lab, lab.QUICK, quiet)


def test_claims_say_so_if_they_are_not_borne_out():
    def run(dice, near, far):
        return {"dice": dice, "near": near, "far": far, "errors": [near] * 6, "pixels": [1] * 6}

    def net(*runs):
        return {"base": 2, "parameters": 100, "runs": [run(*r) for r in runs], "called": [[0]]}

    nets = {"skips": net((0.9, 0.1, 0.01), (0.92, 0.1, 0.01)), "none": net((0.8, 0.2, 0.02), (0.82, 0.2, 0.02)),
            "none, wider": net((0.91, 0.09, 0.2), (0.91, 0.2, None))}  # fmt: skip
    claims = lab.claims({"nets": nets})
    dice, near, far, where = claims[4:8]
    assert "+0.1000" in dice and "better in every run" in dice and "-0.1000" in near and "-0.0100" in far
    assert "near 0.50, far 0.50" in where and where.endswith("is so")
    assert all("NOT borne out" in line for line in claims[8:10]) and "-0.1900" in claims[10]  # one run decides
    assert claims[11].endswith("is NOT so")
    for found in nets.values():
        for r in found["runs"]:
            r["far"] = None
    assert sum("cannot be told" in line for line in lab.claims({"nets": nets})) == 4
