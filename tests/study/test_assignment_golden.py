"""The numbers that the assignment's questions must arrive at, worked out by hand elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.study.assignment.questions import QUESTIONS

P, G = np.array([[[0.8, 0.4], [0.2, 0.1]]]), np.array([[[1.0, 1.0], [0.0, 0.0]]])
U = np.log(P / (1 - P))
BY_P = [[[-0.228994, -0.465374], [0.118190, 0.059095]]]
BY_U = [[[-0.036639, -0.111690], [0.018910, 0.005319]]]


def solve(name, *arguments):
    """The solution, which marking has compared with its oracles."""
    return QUESTIONS[name].answer(*arguments)


def wrong(name, mistake, *arguments):
    question = QUESTIONS[name]
    return question.mistakes[mistake].function(**dict(zip(question.arguments, arguments, strict=True)))


# --- soft Dice


@pytest.mark.parametrize("reduction", ["mean", "sum", "pooled"])
def test_dice_of_four_pixels(reduction):
    assert solve("dice-loss", P, G, reduction) == pytest.approx(-0.842105, abs=1e-6)
    assert solve("dice-output", P, G, reduction) == pytest.approx(np.array(BY_P), abs=1e-6)
    assert solve("dice-delta", U, G, reduction) == pytest.approx(np.array(BY_U), abs=1e-6)
    one = np.ones((1, 1, 1))
    for convention in ("convolution", "cross-correlation"):
        _, by_b = solve("dice-weights", U[:, None], one, 0.0, G, convention, reduction)
        assert by_b == pytest.approx(-0.124100, abs=1e-6)


def test_four_numbers_that_go_by_the_name_of_dice():
    hard = (P > 0.5) * 1.0
    assert wrong("dice-loss", "linear denominator", P, G, "mean") == pytest.approx(-0.685714, abs=1e-6)
    assert wrong("dice-loss", "thresholded", P, G, "mean") == pytest.approx(-2 / 3)
    assert wrong("dice-loss", "IoU", hard, G, "mean") == pytest.approx(-1 / 2)


def test_three_reductions_are_three_losses():
    """A large object of 100 pixels and one of 4, of 1000: p = 0.9 and 0.5 on them, 0.1 elsewhere."""
    p, g = np.full((2, 1, 1000), 0.1), np.zeros((2, 1, 1000))
    p[0, 0, :100], p[1, 0, :4] = 0.9, 0.5
    g[0, 0, :100], g[1, 0, :4] = 1, 1
    assert solve("dice-loss", p, g, "mean") == pytest.approx(-0.607, abs=5e-4)
    assert solve("dice-loss", p, g, "pooled") == pytest.approx(-0.898, abs=5e-4)
    mean, pooled = (solve("dice-output", p, g, r)[1, 0, 0] for r in ("mean", "pooled"))
    assert round(mean / pooled) == 11


def test_traps_of_dice():
    empty = 0 * G
    assert not solve("dice-output", P, empty, "mean").any()
    assert np.isnan(QUESTIONS["dice-loss"].values(QUESTIONS["dice-loss"].mistakes["0/0"].function, {
        "p": 0 * P, "g": empty, "reduction": "mean"})[0])  # fmt: skip
    assert solve("dice-loss", 0 * P, empty, "mean") == -1
    missed = U.copy()
    missed[0, 0, 0] = -30
    assert abs(solve("dice-delta", missed, G, "mean")[0, 0, 0]) < 1e-12


def test_the_conventions_differ_in_value_and_not_in_shape():
    case = QUESTIONS["dice-weights"].case(1)
    by_h, _ = solve("dice-weights", *case.values())
    flipped, _ = wrong("dice-weights", "flipped kernel", *case.values())
    assert by_h.shape == flipped.shape
    assert np.linalg.norm(by_h - flipped) > 0.5 * np.linalg.norm(by_h)


# --- receptive fields


def three(*dilation):
    return 3 * np.ones(3, int), np.ones(3, int), np.array(dilation)


def test_receptive_fields_of_the_assignment():
    assert solve("receptive-size", *three(1, 1, 1)) == 7
    assert solve("receptive-size", *three(1, 2, 2)) == 11
    assert solve("receptive-size", *three(1, 2, 4)) == 15
    assert [solve("receptive-pooled", 3, 3, 2, r) for r in ("after", "before", "decimation")] == [22, 18, 15]
    assert solve("gridding", 3, np.array([2, 2, 2])) == (13, 7)
    assert solve("gridding", 3, np.array([1, 2, 4])) == (15, 15)
    assert solve("pooling-cost", 3, 2) == 0.4375


@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 5), st.integers(1, 8))
def test_start_of_a_dilated_layer(k, d, pad, jump):
    """It moves by (d (k - 1) / 2 - pad) jump, the jump being that of the layer before."""
    kernel, stride, dilation, padding = np.array([[1, k], [jump, 1], [1, d], [0, pad]])
    assert solve("receptive-start", kernel, stride, dilation, padding) == (d * (k - 1) / 2 - pad) * jump


# --- skips


@given(st.integers(1, 8), st.floats(0.01, 0.9))
def test_skips(layers, eps):
    g = np.array([1.0, -2.0])
    assert not solve("skip-product", np.stack([-np.eye(2)] * layers), g).any()  # J = -I kills it
    assert np.array_equal(solve("skip-product", np.zeros((layers, 2, 2)), g), g)
    low, high, plain = solve("skip-bounds", eps, layers)
    J = np.random.default_rng(layers).standard_normal((layers, 2, 2))
    J *= eps / np.linalg.norm(J, 2, axis=(1, 2))[:, None, None]
    gains = np.linalg.svd(np.stack([solve("skip-product", J, unit) for unit in np.eye(2)]), compute_uv=False)
    assert low - 1e-12 <= gains.min() <= gains.max() <= high + 1e-12
    assert plain == eps**layers
    by_length = solve("skip-paths", J, g)
    assert by_length.sum(axis=0) == pytest.approx(solve("skip-product", J, g))


def test_random_branches():
    assert solve("skip-random", 0.5, 10)[0] == pytest.approx(1.25**10)


# --- U-Net


def test_unet():
    found = [solve("unet-fields", 4, pixel) for pixel in range(64)]
    assert {(skip, bottom) for skip, _, bottom in found} == {(9, 140)}
    below = [below for _, below, _ in found]
    assert set(below) == {188, 204}
    assert below == below[:16] * 4  # the phase modulo 16 decides


# --- convolution as a matrix


@given(*[st.floats(-3, 3).map(lambda v: round(v, 3)) for _ in range(7)])
def test_the_course_matrix(x, y, z, a, b, c, d):
    kernel = np.array([x, y, z])
    X = solve("conv-matrix", kernel, 4, 2, 1, "cross-correlation")
    assert X @ [a, b, c, d] == pytest.approx([a * y + b * z, b * x + c * y + d * z])
    up = solve("conv-transpose", np.array([a, b]), kernel, 4, 2, 1)
    assert up == pytest.approx([a * y, a * z + b * x, b * y, b * z])
    padded = solve("conv-transpose", np.array([a, b]), kernel, 6, 2, 0)
    assert padded == pytest.approx([a * x, a * y, a * z + b * x, b * y, b * z, 0])
    stuffed, sliding = solve("zero-insertion", np.array([a, b]), kernel, 2)
    assert list(stuffed) == [a, 0, b]
    assert list(sliding) == [z, y, x]
    assert np.convolve(stuffed, kernel) == pytest.approx(np.correlate(stuffed, sliding, "full"))
    assert solve("checkerboard", kernel, 2, 1) == pytest.approx([y, x + z])


def test_the_transpose_is_no_inverse():
    X = solve("conv-matrix", np.array([1.0, 2.0, 3.0]), 4, 2, 1, "cross-correlation")
    assert not np.allclose(X.T @ X, np.eye(4))


# --- Jacobians


def test_jacobians():
    W, x = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 3.0])
    assert np.array_equal(solve("jacobian-full", W, x), np.kron(np.eye(2), x))
    assert solve("jacobian-size", 3, 96, 11, 11, 227, 227, 4) == (34848, 4 * 96 * 55 * 55 * 3 * 227 * 227)
    assert round(solve("jacobian-size", 3, 96, 11, 11, 227, 227, 4)[1] / 1e9) == 180


# --- looking inside


def test_grad_cam_is_cam():
    rng = np.random.default_rng(0)
    A, w = rng.standard_normal((3, 4, 5)), rng.standard_normal(3)
    alpha, picture = solve("grad-cam", A, w)
    assert alpha == pytest.approx(w / 20)
    assert picture == pytest.approx(np.maximum(np.einsum("k,khw->hw", w, A), 0) / 20)
    W = rng.standard_normal((4, 3))
    ratio = solve("grad-cam-softmax", A, W, 1) / W[1]
    assert np.ptp(ratio) > 0.01  # after a softmax it is no multiple of CAM's weights


def test_relu_rules():
    x, R = np.array([[1.0, -1.0, 1.0, -1.0]]), np.array([[2.0, 2.0, -2.0, -2.0]])
    assert solve("relu-rules", x, R, "gradient").tolist() == [[2, 0, -2, 0]]
    assert solve("relu-rules", x, R, "deconvnet").tolist() == [[2, 2, 0, 0]]
    assert solve("relu-rules", x, R, "guided").tolist() == [[2, 0, 0, 0]]


# --- shortcuts


def test_shortcuts():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((2, 2, 9))
    sigma = np.linalg.svd(Y @ X.T / 9 - X @ X.T / 9, compute_uv=False)
    conditions = [solve("shortcut-condition", X, Y, blocks) for blocks in (1, 3, 9)]
    assert conditions == pytest.approx([sigma[0] / sigma[1]] * 3)
    found = solve("shortcut-spectrum", X, Y, 3, 2)
    assert found.min() < 0 < found.max()  # indefinite
    assert not solve("shortcut-spectrum", X, Y, 3, 3).any()


@given(st.floats(0.5, 2), st.floats(0.1, 3), st.integers(2, 9))
def test_shortcuts_over_one_layer(s, c, blocks):
    """c, and c + R (s - c): the condition number grows linearly, unless c = s."""
    found = solve("shortcut-one", s, c, blocks)
    assert found == pytest.approx(np.sort([c] * (blocks - 1) + [c + blocks * (s - c)]), abs=1e-9)
    assert solve("shortcut-one", s, s, blocks) == pytest.approx([s] * blocks)
