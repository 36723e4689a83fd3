"""Integrated gradients, SmoothGrad and occlusion: completeness, averages, the plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from tasks.interpret.methods import METHODS
from tasks.interpret.occlusion import positions
from tasks.interpret.targets import class_score
from tests.tasks.interpret.test_methods import Small, pictures


def test_integrated_gradients_are_complete_on_a_smooth_network():
    model, x = Small(relu=F.softplus), pictures(3, 3, 9, 9)
    start = np.array([0.5, -1, 0.2])[:, None, None]
    found = METHODS["integrated_gradients"](model, x, class_score([0, 1, 2]), baseline=start, steps=24)
    model.eval()
    row = np.arange(3)
    difference = model(md.tensor(x)).numpy()[row, row] - model(md.tensor(start + 0 * x)).numpy()[row, row]
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)), difference, rtol=0, atol=1e-10)
    assert np.abs(found.gap).max() < 1e-10


@pytest.mark.slow
def test_the_gap_of_integrated_gradients_tells_of_kinks_and_shrinks():
    model, x = Small(), pictures(2, 3, 9, 9)
    model.eval()
    few, many = (METHODS["integrated_gradients"](model, x, class_score(0), steps=s) for s in (2, 400))
    change = model(md.tensor(x)).numpy()[:, 0] - model(md.tensor(0 * x)).numpy()[:, 0]
    for found in (few, many):
        np.testing.assert_allclose(found.gap, found.values.sum(axis=(1, 2)) - change, rtol=0, atol=1e-12)
    assert np.abs(few.gap).max() > 1e-6
    assert (np.abs(many.gap) < 1e-3 * np.abs(change)).all()


def test_gradient_x_input():
    model, x = Small(), pictures(2, 3, 9, 9)
    found = METHODS["gradient_x_input"](model, x, class_score(1))
    np.testing.assert_array_equal(found.full, x * METHODS["gradient"](model, x, class_score(1)).full)
    np.testing.assert_allclose(found.values, found.full.sum(axis=1), rtol=1e-13)
    linear = Small(relu=lambda x: x)  # the map and the score of an image of zeros are the score
    found = METHODS["gradient_x_input"](linear, x, class_score(1))
    rest = METHODS["gradient_x_input"](linear, 0 * x, class_score(1)).score
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)) + rest, found.score, rtol=1e-12)


def test_smoothgrad():
    model, x = Small(), pictures(2, 3, 9, 9)
    gradient = METHODS["gradient"](model, x, class_score(1))
    still = METHODS["smoothgrad"](model, x, class_score(1), sigma=0, samples=4)
    np.testing.assert_allclose(still.full, gradient.full, rtol=1e-12, atol=1e-16)
    rng = np.random.default_rng(7)
    expected = np.zeros_like(x)
    for i in range(2):
        for _ in range(5):
            noisy = x[i : i + 1] + 0.1 * (x[i].max() - x[i].min()) * rng.standard_normal((1, 3, 9, 9))
            expected[i] += METHODS["gradient"](model, noisy, class_score(1)).full[0] / 5
    found = METHODS["smoothgrad"](model, x, class_score(1), sigma=0.1, samples=5, rng=7, batch_size=3)
    np.testing.assert_allclose(found.full, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("patch", "stride"), [(3, 1), ((2, 4), (1, 3)), (5, 5)])
def test_occlusion_is_the_plain_loop(patch, stride):
    model, x, fill = Small(), pictures(2, 3, 8, 9), np.array([0.3, -1.0, 0.0])
    model.eval()
    high, wide = patch if isinstance(patch, tuple) else (patch, patch)
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    expected = np.zeros((2, 8, 9))
    for i in range(2):
        falls, counts = np.zeros((8, 9)), np.zeros((8, 9))
        score = model(md.tensor(x[i : i + 1])).numpy()[0, 3]
        for top in range(8 - high + 1):
            for left in range(9 - wide + 1):
                if (top % down and top != 8 - high) or (left % right and left != 9 - wide):
                    continue
                covered = x[i : i + 1].copy()
                for c in range(3):
                    covered[0, c, top : top + high, left : left + wide] = fill[c]
                falls[top : top + high, left : left + wide] += score - model(md.tensor(covered)).numpy()[0, 3]
                counts[top : top + high, left : left + wide] += 1
        expected[i] = falls / counts
    calls = []
    found = METHODS["occlusion"](
        model, x, class_score(3), patch=patch, stride=stride, fill=fill, batch_size=7,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    total = 2 * (1 + found.coarse[0].size)
    assert calls[-1] == (total, total) and len(calls) == -(-total // 7)


@given(st.integers(1, 40), st.data())
def test_occlusion_covers_every_pixel(size, data):
    patch = data.draw(st.integers(1, size))
    starts = positions(size, patch, data.draw(st.integers(1, patch)))
    covered = np.zeros(size, bool)
    for start in starts:
        covered[start : start + patch] = True
    assert covered.all() and starts[-1] + patch == size and len(set(starts)) == len(starts)
