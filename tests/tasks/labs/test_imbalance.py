"""The imbalance lab: its images, its gradients against closed forms, its scores, and the lab from end to end."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason='the tasks need pip install -e ".[tasks]"')

import tasks.__main__ as frame
from tasks.command import UsageError
from tasks.labs import imbalance as lab
from tasks.labs.cli import measured
from tasks.segment import metrics

SEEDS = st.integers(0, 10**6)


def quiet(label, total):
    return nullcontext(lambda: None)


@given(share=st.floats(0.01, 0.45), side=st.integers(12, 40), seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_object_has_exactly_its_share_and_is_brighter_by_one(share, side, seed):
    chosen = replace(lab.Settings(), side=side, noise=0.0)
    images, masks = lab.draws(3, share, chosen, np.random.default_rng(seed))
    assert images.shape == (3, 1, side, side) and images.dtype == np.float32
    assert masks.sum(axis=(1, 2)).tolist() == [round(share * side**2)] * 3
    assert np.array_equal(images[:, 0], masks)


def test_the_noise_has_its_deviation():
    images, masks = lab.draws(40, 0.1, lab.Settings(noise=1.5), np.random.default_rng(0))
    rest = images[:, 0] - masks
    assert rest.std() == pytest.approx(1.5, rel=0.02) and abs(rest.mean()) < 0.02


@pytest.mark.parametrize("name", lab.STYLES)
@given(share=st.sampled_from([0.3, 0.1, 0.03, 0.01]), seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_the_objects_part_of_the_gradient_at_one_half_is_the_closed_form(name, share, seed):
    chosen = lab.Settings(side=40)  # the shares are whole numbers of its 1600 pixels
    _, masks = lab.draws(3, share, chosen, np.random.default_rng(seed))
    found = lab.object_part(lab.losses(share)[name], np.zeros((3, 1, 40, 40)), masks)
    wanted = lab.part_at_half(name, share)
    if wanted is not None:
        assert found == pytest.approx(wanted, rel=1e-9)
    else:  # the sum of the two lies between them
        assert lab.part_at_half("cross entropy", share) < found < lab.part_at_half("Dice", share)


def test_the_formula_for_dice_by_hand():
    """100 pixels, one of them object, p = 1/2: S = 1/2, Q = 100 / 4 + 1, D = 1 / 26; |dL/dp| ~ 1 - D/2 and D/2."""
    mine, others = 1 - 1 / 52, 99 / 52
    assert lab.part_at_half("Dice", 0.01) == pytest.approx(mine / (mine + others), rel=1e-12)


@given(seed=SEEDS, threshold=st.sampled_from([0.2, 0.5, 0.9]))
@settings(max_examples=20, deadline=None)
def test_the_dice_of_each_image_is_that_of_its_confusion(seed, threshold):
    rng = np.random.default_rng(seed)
    logits, masks = rng.standard_normal((3, 1, 5, 6)), rng.integers(0, 2, (3, 5, 6))
    masks[:, 0, 0] = 1  # never empty
    called = (1 / (1 + np.exp(-logits[:, 0])) > threshold).astype(int)
    wanted = [metrics.dice(metrics.confusion(c, m, 2))[1] for c, m in zip(called, masks)]
    np.testing.assert_allclose(lab.overlaps(logits, masks, threshold), wanted, rtol=1e-12)


def test_the_best_threshold_parts_what_can_be_parted():
    masks = np.zeros((1, 4, 4), int)
    masks[0, 1:3, 1:3] = 1
    logits = np.where(masks, -2.0, -3.0)[:, None]  # p 0.119 and 0.047: nothing is called at 1/2
    threshold = lab.best_threshold(logits, masks)
    assert 0.047 < threshold < 0.119
    assert lab.overlaps(logits, masks, 0.5).tolist() == [0] and lab.overlaps(logits, masks, threshold).tolist() == [1]


def test_shares_that_are_impossible_are_refused():
    for share in (0.0, 0.5, 0.0001):
        with pytest.raises(UsageError, match="--shares"):
            replace(lab.Settings(), shares=(share,))


def test_a_quick_run_leaves_numbers_and_a_figure_and_is_repeatable(tmp_path, capsys):
    assert frame.main(["labs", "imbalance", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert all(claim in capsys.readouterr().out for claim in content["claims"][-1:])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert content["numbers"] == measured(lab, lab.QUICK, quiet)
    assert content["numbers"] != measured(lab, replace(lab.QUICK, seed=1), quiet)


def test_a_net_learns_to_find_a_clear_object():
    easy = replace(lab.Settings(), noise=0.1, side=16, base=2, batch=2, steps=60, rate=0.03, tested=4)
    assert lab._run(easy, "Dice", 0.2, 0, lambda: None)["chosen"] > 0.9


def test_claims_say_so_if_they_are_not_borne_out():
    numbers = measured(lab, lab.QUICK, quiet)
    ours, theirs = (numbers["losses"][name][-1] for name in ("Dice", "cross entropy"))
    ours["dice"], theirs["dice"], ours["chosen"], theirs["chosen"] = [0.8], [0.1], [0.7], [0.75]
    *_, half, best = lab.claims(numbers)
    assert "+0.700" in half and "better in every run" in half and "NOT" not in half
    assert "-0.050" in best and "NOT borne out" in best
