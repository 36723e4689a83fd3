"""The Dice lab: every number by hand, by differences or by a closed form, and the lab from end to end."""

import json
from contextlib import nullcontext
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason='the tasks need pip install -e ".[tasks]"')

import tasks.__main__ as frame
from tasks.labs import dice
from tasks.labs.cli import measured


def quiet(label, total):
    return nullcontext(lambda: None)


def soft(p, g, linear=False):
    """By hand."""
    return 2 * (p * g).sum() / ((p + g).sum() if linear else (p**2 + g**2).sum())


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


def test_the_golden_numbers():
    found = dice.golden()
    golden = {
        "S": 1.2, "Q": 2.85, "D": 0.842105, "linear": 0.685714, "hard": 2 / 3, "iou": 0.5, "dL/db": -0.124100,
        "dL/dp": [[-0.228994, -0.465374], [0.118190, 0.059095]],
        "dL/du": [[-0.036639, -0.111690], [0.018910, 0.005319]],
    }  # fmt: skip
    assert set(found) == set(golden)
    for name, wanted in golden.items():
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=5e-7, err_msg=name)
    assert found["iou"] == pytest.approx(found["hard"] / (2 - found["hard"]), rel=1e-14)


def test_the_golden_gradients_are_those_of_differences():
    p, g = (np.array(v) for v in (dice.GOLDEN_P, dice.GOLDEN_G))
    u, found = np.log(p / (1 - p)), dice.golden()
    for place in np.ndindex(2, 2):
        h = np.zeros((2, 2))
        h[place] = 1e-6
        by_p = -(soft(p + h, g) - soft(p - h, g)) / 2e-6
        by_u = -(soft(sigmoid(u + h), g) - soft(sigmoid(u - h), g)) / 2e-6
        assert found["dL/dp"][place[0]][place[1]] == pytest.approx(by_p, abs=1e-9)
        assert found["dL/du"][place[0]][place[1]] == pytest.approx(by_u, abs=1e-9)
    by_b = -(soft(sigmoid(u + 1e-6), g) - soft(sigmoid(u - 1e-6), g)) / 2e-6
    assert found["dL/db"] == pytest.approx(by_b, abs=1e-9)


@given(seed=st.integers(0, 10**6), side=st.integers(2, 6))
@settings(max_examples=15, deadline=None)
def test_an_empty_mask_has_no_gradient_at_all_without_eps_and_the_closed_form_with_it(seed, side):
    found = dice.empty(dice.Settings(side=side, eps=(0.0, 0.5, 3.0), seed=seed))
    assert found["squared"][0] == 0 == found["linear"][0]
    assert found["pooled"][0] > 0
    u = dice.data.generator(seed, dice.EMPTY).standard_normal((2, side**2))[0]
    p = sigmoid(u)
    for i, eps in ((1, 0.5), (2, 3.0)):  # D = eps / (Q + eps), dD/dQ = -eps / (Q + eps)^2
        slope = eps / ((p**2).sum() + eps) ** 2
        assert found["squared"][i] == pytest.approx((slope * 2 * p * p * (1 - p)).sum(), rel=1e-10)
        slope = eps / (p.sum() + eps) ** 2
        assert found["linear"][i] == pytest.approx((slope * p * (1 - p)).sum(), rel=1e-10)
    assert found["cross entropy"] == pytest.approx(p.mean(), rel=1e-10)
    nothing = found["nothing in nothing"]
    assert nothing == {"D": 1, "gradient": 0, "D of p = 1e-30": 0}


def test_a_missed_pixel_is_let_go_at_the_rate_of_its_probability_and_cross_entropy_holds_on():
    found = dice.missed(dice.Settings(deepest=12))
    rest, g = np.full(dice.PIXELS, dice.P_ELSE), np.zeros(dice.PIXELS)
    rest[: dice.LARGE], g[: dice.LARGE] = dice.P_LARGE, 1
    for place in (0, 7, 48):
        p = rest.copy()
        p[0] = sigmoid(-found["depth"][place])
        value, total, steep = soft(p, g), (p**2 + g**2).sum(), p[0] * (1 - p[0])
        assert found["squared"][place] == pytest.approx(2 * (value * p[0] - 1) / total * steep, rel=1e-9)
        value, total = soft(p, g, linear=True), (p + g).sum()
        assert found["linear"][place] == pytest.approx((value - 2) / total * steep, rel=1e-9)
        assert found["cross entropy"][place] == pytest.approx(p[0] - 1, rel=1e-9)
    for name in dice.DENOMINATORS:  # one logit deeper, e times less
        assert found[name][-5] / found[name][-1] == pytest.approx(np.e, rel=1e-3)
    assert found["cross entropy"][-1] < -0.99999 and found["focal"][-1] < -0.999


def test_the_best_answers_to_uncertain_pixels_are_the_closed_forms():
    q = np.linspace(0, 1, 20001)
    p, value = dice.best(q, "linear")  # D^2 / 4 - 3 D / 2 + 1 = 0 for q even on [0, 1]
    assert value == pytest.approx(3 - sqrt(5), abs=1e-4)
    assert q[p == 1].min() == pytest.approx((3 - sqrt(5)) / 2, abs=1e-4)
    p, value = dice.best(q, "squared")  # D^2 / 3 - 3 D / 2 + 1 = 0
    assert value == pytest.approx(1.5 * (1.5 - sqrt(2.25 - 4 / 3)), abs=1e-4)
    np.testing.assert_allclose(p, np.minimum(1, q / value), atol=1e-12)


@pytest.mark.parametrize("name", dice.DENOMINATORS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_no_other_answers_are_better(name, seed):
    rng = np.random.default_rng(seed)
    q = np.sort(rng.random(6))
    p, value = dice.best(q, name)

    def overlap(p):
        return 2 * (p * q).sum() / ((p if name == "linear" else p**2) + q).sum()

    assert value == pytest.approx(overlap(p), rel=1e-12)
    for _ in range(40):
        near = np.clip(p + 0.1 * rng.standard_normal(6), 0, 1)
        assert overlap(near) <= value + 1e-12 and overlap(rng.random(6)) <= value + 1e-12


def test_the_loss_itself_agrees_that_they_are_the_best():
    found = dice.uncertain(dice.Settings(levels=30))
    for name in dice.DENOMINATORS:
        assert found[name]["D reached"] == pytest.approx(found[name]["D"], rel=1e-12)
        assert found[name]["uphill"] < 1e-12
    assert found["linear"]["area"] > found["squared"]["area"] > 1


def test_three_averages_by_hand():
    found = dice.averages()
    s = [100 * 0.9, 4 * 0.5]
    q = [100 * 1.81 + 900 * 0.01, 4 * 1.25 + 996 * 0.01]
    each = [2 * a / b for a, b in zip(s, q)]
    pooled = 2 * sum(s) / sum(q)
    np.testing.assert_allclose(found["each"], each, rtol=1e-12)
    assert (round(found["mean"]["D"], 3), round(found["pooled"]["D"], 3)) == (0.607, 0.898)
    assert found["sum"]["D"] == pytest.approx(2 * found["mean"]["D"], rel=1e-12)
    slopes = [(each[1] * 0.5 - 1) / q[1], 2 * (pooled * 0.5 - 1) / sum(q)]
    np.testing.assert_allclose([found[r]["small"] for r in ("mean", "pooled")], slopes, rtol=1e-10)
    assert round(slopes[0] / slopes[1]) == 11


def test_a_quick_run_leaves_numbers_and_a_figure_and_is_repeatable(tmp_path, capsys):
    assert frame.main(["labs", "dice", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert all(claim in capsys.readouterr().out for claim in content["claims"][-1:])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert content["numbers"] == measured(dice, dice.QUICK, quiet)


def test_claims_say_so_if_they_are_not_borne_out():
    numbers = measured(dice, dice.Settings(side=4, levels=20), quiet)
    sentences = "\n".join(dice.claims(numbers))
    assert "exactly zero" in sentences and "focal: so" in sentences and "10.8 times weaker" in sentences
    numbers["empty"]["linear"][0] = 1e-9
    numbers["missed"]["cross entropy"][-1] = -0.5
    sentences = "\n".join(dice.claims(numbers))
    assert "NOT zero, against the theory" in sentences and "NOT so here" in sentences
