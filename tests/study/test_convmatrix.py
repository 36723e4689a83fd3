"""A convolution as a matrix: the course's letters, numbers against F.conv and a naive loop, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.__main__ import main
from minidl.study.convmatrix.matrix import TOLERANCE
from minidl.study.convmatrix.report import inserted


@pytest.fixture(scope="module")
def lecture():
    """Kernel x, y, z, stride 2, padding 1, input 0, a, b, c, d, 0."""
    return md.convmatrix("xyz", 4, stride=2, padding=1)


# --- the course's letters


def test_X_and_its_product(lecture):
    assert lecture.X.tolist() == [["x", "y", "z", 0, 0, 0], [0, 0, "x", "y", "z", 0]]
    assert lecture.inputs == ["0", "a", "b", "c", "d", "0"]
    assert lecture.inside.tolist() == [False, True, True, True, True, False]
    assert lecture.outputs() == ["ay + bz", "bx + cy + dz"]


def test_the_transpose(lecture):
    assert lecture.cotangents == ["a", "b"]
    assert lecture.transposed() == ["ax", "ay", "az + bx", "by", "bz", "0"]
    text = lecture.text()
    assert "output_padding 1:\n  (ay, az + bx, by, bz)" in text


def test_zero_insertion_is_a_true_convolution(lecture):
    assert lecture.stuffed == ["a", "0", "b"]
    assert inserted(lecture) == ["ax", "ay", "az + bx", "by", "bz"]
    assert "zero insertion: (a, 0, b) convolved with [x, y, z], or correlated with [z, y, x]" in lecture.text()


def test_both_conventions(lecture):
    assert lecture.outputs(flipped=True) == ["ay + bx", "bz + cy + dx"]
    assert lecture.flipped.tolist() == [["z", "y", "x", 0, 0, 0], [0, 0, "z", "y", "x", 0]]


def test_im2col(lecture):
    assert [[lecture.inputs[i] for i in row] for row in lecture.columns] == [["0", "b"], ["a", "c"], ["b", "d"]]


def test_the_checkerboard(lecture):
    assert lecture.column_sums() == ["x", "y", "x + z", "y", "z", "0"]
    assert lecture.phase_sums() == ["x + z", "y"]
    assert "a checkerboard unless x + z = y" in lecture.text()
    assert "2: a constant stays a constant" in md.convmatrix([1, 2, 1], 4, stride=2, padding=1).text()
    assert md.convmatrix([1, 2, 1], 4, stride=2, padding=1).phase_sums() == ["2", "2"]


def test_two_axes_make_blocks():
    m = md.convmatrix("pq/rs", (2, 3))
    a, b = [["p", "q", 0], [0, "p", "q"]], [["r", "s", 0], [0, "r", "s"]]
    assert m.X.tolist() == [x + y for x, y in zip(a, b, strict=True)]
    assert m.outputs() == ["ap + bq + dr + es", "bp + cq + er + fs"]
    assert "doubly block Toeplitz" in m.text()


def test_letters_that_the_kernel_uses_are_not_those_of_the_input():
    m = md.convmatrix("abc", 3)
    assert m.inputs == ["d", "e", "f"] and m.outputs() == ["da + eb + fc"]
    many = md.convmatrix("x", 30)
    assert many.inputs[:2] == ["a1", "a2"] and len(set(many.inputs)) == 30


def test_terms_with_numbers():
    assert md.convmatrix([1, -2, 0.5], 4).outputs() == ["a - 2b + 0.5c", "b - 2c + 0.5d"]
    assert md.convmatrix([-1, 0], 3).outputs() == ["-a", "-b"]
    assert md.convmatrix([0.0], 2).outputs() == ["0", "0"]
    assert md.convmatrix("x0z", 3).outputs() == ["ax + cz"]


# --- numbers


GEOMETRY = {
    "stride": st.integers(1, 3),
    "dilation": st.integers(1, 3),
    "padding": st.tuples(st.integers(0, 3), st.integers(0, 3)),
}


def naive(x, w, stride, dilation, padding):
    """Cross-correlation by the definition, one axis: y[o] = sum over k of w[k] x[s o + d k - p]."""
    y = []
    for o in range((len(x) + sum(padding) - dilation * (len(w) - 1) - 1) // stride + 1):
        cells = [stride * o + dilation * k - padding[0] for k in range(len(w))]
        y.append(sum(w[k] * x[i] for k, i in enumerate(cells) if 0 <= i < len(x)))
    return np.array(y)


@given(st.integers(1, 4), st.integers(1, 9), st.fixed_dictionaries(GEOMETRY), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_one_axis_against_the_definition(taps, size, geometry, seed):
    rng = np.random.default_rng(seed)
    w, x = rng.standard_normal(taps), rng.standard_normal(size)
    options = geometry | {"padding": [geometry["padding"]]}
    if size + sum(geometry["padding"]) < geometry["dilation"] * (taps - 1) + 1:
        with pytest.raises(ValueError, match="use a smaller kernel"):
            md.convmatrix(w, size, **options)
        return
    m = md.convmatrix(w, size, **options)
    y = naive(x, w, **geometry)
    padded = np.pad(x, geometry["padding"])
    np.testing.assert_allclose(m.X @ padded, y, atol=1e-13)
    np.testing.assert_allclose(m.apply(x), y, atol=1e-13)
    np.testing.assert_allclose(m.flipped @ padded, naive(x, w[::-1], **geometry), atol=1e-13)
    np.testing.assert_allclose(w @ padded[m.columns], y, atol=1e-13)
    u = rng.standard_normal(len(y))
    assert (m.apply(x) * u).sum() == pytest.approx((x * m.apply_transposed(u)).sum(), abs=1e-12)
    assert max(m.checks.values()) < TOLERANCE
    sums = [float(s) for s in m.column_sums()]
    np.testing.assert_allclose(sums, m.X.sum(axis=0), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(3, 5), st.integers(3, 4), st.integers(1, 2), st.integers(0, 1))
@settings(max_examples=40, deadline=None)
def test_two_axes_against_F_conv(k, l_, height, width, stride, padding):
    rng = np.random.default_rng([k, l_, height, width])
    w, x = rng.standard_normal((k, l_)), rng.standard_normal((height, width))
    m = md.convmatrix(w, (height, width), stride=(stride, 1), padding=padding)
    y = F.conv(x[None, None], w[None, None], stride=(stride, 1), padding=padding).numpy()[0, 0]
    np.testing.assert_allclose((m.X @ np.pad(x, padding).ravel()).reshape(y.shape), y, atol=1e-13)
    (jacobian,) = [md.jacobian(lambda x: F.conv(x, w[None, None], stride=(stride, 1), padding=padding), x[None, None])]
    by_hand = m.X[:, m.inside]
    np.testing.assert_allclose(jacobian.numpy().reshape(by_hand.shape), by_hand, atol=1e-13)
    u = rng.standard_normal(y.shape)
    x_u = (by_hand.T @ u.ravel()).reshape(x.shape)
    np.testing.assert_allclose(m.apply_transposed(u), x_u, atol=1e-13)
    back = F.conv_transpose(
        u[None, None], w[None, None], stride=(stride, 1), padding=padding, output_padding=m.unreached
    )
    np.testing.assert_allclose(back.numpy()[0, 0], x_u, atol=1e-13)


@given(st.integers(1, 4), st.integers(2, 8), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_letters_mean_what_numbers_do(taps, size, stride, dilation, padding):
    """Every line of letters, with numbers put in their place, is the product that it names."""
    if size + 2 * padding < dilation * (taps - 1) + 1:
        return
    m = md.convmatrix("wxyz"[:taps], size, stride=stride, dilation=dilation, padding=padding)
    rng = np.random.default_rng(0)
    value = dict(zip("wxyz", rng.standard_normal(4)))
    cells = {name: rng.standard_normal() for name in m.inputs if name != "0"} | {"0": 0.0}
    X = np.array([[value.get(e, 0.0) for e in row] for row in m.X.tolist()])

    def number(sum_of_terms, variables):
        if sum_of_terms == "0":
            return 0.0
        return sum(variables[t[0]] * value[t[1]] for t in sum_of_terms.split(" + "))

    np.testing.assert_allclose([number(t, cells) for t in m.outputs()], X @ [cells[n] for n in m.inputs], atol=1e-13)
    u = {name: rng.standard_normal() for name in m.cotangents}
    spread = X.T @ list(u.values())
    np.testing.assert_allclose([number(t, u) for t in m.transposed()], spread, atol=1e-13)
    full = [number(t, u) for t in inserted(m)]
    np.testing.assert_allclose(full + [0.0] * m.unreached[0], spread, atol=1e-13)


def test_the_transpose_of_one_axis_is_a_convolution_of_numpy():
    m = md.convmatrix([1.0, 2.0, 4.0], 6, stride=2, padding=1)
    u = np.array([3.0, 5.0, 7.0])
    stuffed = np.array([3.0, 0, 5.0, 0, 7.0])
    full = np.convolve(stuffed, [1.0, 2.0, 4.0])
    np.testing.assert_array_equal(m.X.T @ u, [*full, *[0.0] * m.unreached[0]])


# --- input, output


@pytest.mark.parametrize(
    "kernel, size, options, message",
    [
        ("", 4, {}, "a tap at least"),
        ("x!", 4, {}, "'!' in the kernel is no letter"),
        ("ab/c", 4, {}, "rows of the kernel have lengths 2, 1"),
        ([[1, 2], [3]], 4, {}, "rows of the kernel differ in length"),
        (np.ones((2, 2, 2)), 4, {}, "one or two axes"),
        ([1.0, np.nan], 4, {}, "finite numbers"),
        ([None], 4, {}, "letters, or of finite numbers"),
        ("xyz", (4, 4), {}, "the kernel has 1 axes, size \\(4, 4\\) has 2"),
        ("xyz", 2, {}, "spans 3 cells, the padded input has 2"),
        ("xyz", 100, {}, "98 x 100 = 9800 entries, at most 4096"),
        ("xyz", 4, {"stride": 0}, "stride=0 must be at least 1"),
    ],
)
def test_bad_input_is_one_clear_line(kernel, size, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        md.convmatrix(kernel, size, **options)
    assert "\n" not in str(caught.value)


def test_named_padding():
    assert md.convmatrix("xyz", 5, padding="same").outputs()[0] == "ay + bz"
    assert md.convmatrix("xyz", 5, padding="causal").outputs()[0] == "az"


def test_json_and_the_command(tmp_path, capsys, lecture):
    asked = ["convmatrix", "xyz", "--size", "4", "--stride", "2", "--padding", "1"]
    assert main([*asked, "--html", str(tmp_path / "a.html")]) == 0
    assert capsys.readouterr().out == lecture.text() + "\n"
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == lecture.html()
    assert main([*asked, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads(lecture.json())
    assert content["X"] == [["x", "y", "z", 0, 0, 0], [0, 0, "x", "y", "z", 0]]
    assert main(["convmatrix", "1,0,-1/2,0,-2/1,0,-1", "--size", "3x4", "--padding", "1x0"]) == 0
    assert "y(0,0)" in capsys.readouterr().out
    assert main(["convmatrix", "1,b", "--size", "4"]) == 2
    assert main(["convmatrix", "xyz", "--size", "four"]) == 2
    assert main(["convmatrix", "xyz"]) == 2
    assert main(["convmatrix", "xyz", "--size", "1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4
