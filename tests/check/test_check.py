"""gradcheck on functions of a user: verdicts, oracles, kinks, errors, the report."""

import base64
import html
import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.check import slopes
from minidl.check.problem import Problem
from minidl.core.primitive import primitive, registry
from minidl.core.tensor import Tensor


def draw(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def row(report, order=1):
    return dict(zip(report.columns, report.rows[order - 1], strict=True))


# --- verdicts and oracles


def test_an_analytic_function_is_checked_by_complex_step():
    report = md.gradcheck(lambda x, w: (x @ w).tanh(), [draw(3, 4), draw(4, 2)], order=3)
    assert report, report.text()
    assert len(report.rows) == 3
    assert row(report)["oracle"] == "complex step"
    assert row(report)["compared"] == "full Jacobian 6 x 20"
    assert float(row(report)["worst error"]) < 1e-12


def test_a_piecewise_function_is_checked_by_differences():
    report = md.gradcheck(lambda x, w: F.relu(x @ w).sum(), [draw(3, 4), draw(4, 2)], order=2)
    assert report, report.text()
    assert row(report)["oracle"] == "differences"
    assert float(row(report)["error bar"]) < 1e-6


def test_fused_primitives_are_checked_as_their_definitions():
    report = md.gradcheck(lambda x: F.cross_entropy(x, [0, 2, 1]), draw(3, 4), order=2)
    assert report, report.text()
    assert row(report)["oracle"] == "complex step"


@pytest.mark.slow
def test_a_network():
    def net(x, w1, b, w2):
        x = F.max_pool(F.relu(F.conv(x, w1, b, padding=1)), 2)
        return F.cross_entropy(x.reshape(2, -1) @ w2, [0, 2])

    report = md.gradcheck(net, [draw(2, 2, 6, 6), draw(3, 2, 3, 3), draw(3), draw(27, 4)], order=2)
    assert report, report.text()
    assert "directions" in row(report)["compared"]


def test_large_inputs_are_checked_in_random_directions():
    report = md.gradcheck(lambda x: x.tanh() * x, draw(300, 300))
    assert report
    assert row(report)["compared"] == "8 directions of 90000 x 90000"


@given(st.integers(0, 2**32 - 1), st.sampled_from(["tanh", "exp", "sigmoid"]), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_a_planted_factor_is_always_caught(seed, name, n, m):
    p = registry[name]
    right = p.rules["x"]
    x = np.random.default_rng(seed).standard_normal((n, m))
    f = p.__call__
    try:
        p.rules["x"] = lambda g, y, x: right(g, y, x) * (1 + 1e-9)
        assert md.gradcheck(lambda x: f(x) * 2, x, seed=seed).verdict == "FAIL"
    finally:
        p.rules["x"] = right
    assert md.gradcheck(lambda x: f(x) * 2, x, seed=seed)


def test_a_dependence_that_left_the_graph():
    report = md.gradcheck(lambda x: x * x.detach(), draw(3))
    assert report.verdict == "FAIL"
    assert report.findings[0].kind == "factor"
    assert "1/2" in report.findings[0].message
    assert "detach" in report.findings[0].message
    report = md.gradcheck(lambda x: x.exp() + Tensor(x.data**2), draw(3))
    assert report.findings[0].kind == "missing term"


def test_localises_the_worst_entry():
    def f(x):
        spoilt = np.zeros(x.shape)
        spoilt[1, 2] = 1.0
        return x.tanh() + x.detach() * Tensor(spoilt)

    report = md.gradcheck(f, draw(3, 4))
    assert report.verdict == "FAIL"
    assert report.findings[0].index == (1, 2)
    assert report.findings[0].expected != report.findings[0].got


def test_a_function_that_ignores_an_input_passes_with_zeros():
    assert md.gradcheck(lambda x, y: x * 2, [draw(3), draw(2)], order=2)
    assert md.gradcheck(lambda x: Tensor(np.ones(3)), draw(2))


def test_identity_and_views():
    assert md.gradcheck(lambda x: x, draw(2, 3), order=2)
    assert md.gradcheck(lambda x: x.T[::-1, None], draw(2, 3), order=2)


def test_a_gradient_that_cancels_is_not_noise():
    assert md.gradcheck(lambda x: F.softmax(x, axis=1).sum(), draw(3, 4), order=2)
    assert md.gradcheck(lambda x: x.exp() - x.exp(), draw(3))


def test_a_function_with_a_gradient_inside():
    def penalty(x):
        (g,) = md.grad((x * x * x).sum(), x, create_graph=True)
        return (g * g).sum()

    assert md.gradcheck(penalty, draw(3), order=2)


def test_nondeterministic():
    source = np.random.default_rng(0)
    report = md.gradcheck(lambda x: x * source.standard_normal(3), draw(3))
    assert report.verdict == "NONDETERMINISTIC"
    assert not report
    assert md.gradcheck(lambda x: F.dropout(x, 0.5, rng=np.random.default_rng(0)), draw(4, 3))


def test_a_function_that_changes_its_input():
    def f(x):
        x.data[0] += 1
        return x * x

    report = md.gradcheck(f, draw(3))
    assert (report.verdict, report.findings[0].kind) == ("FAIL", "mutated")


def test_inconclusive_where_the_value_is_not_finite():
    report = md.gradcheck(lambda x: x.log(), np.array([1.0, -1.0]))
    assert report.verdict == "INCONCLUSIVE"
    assert "1 of 2 values" in report.text()


def test_inconclusive_where_the_function_is_too_rough():
    @primitive(formula="rough", kind="piecewise")
    def rough(xp, x):
        return x + 1e-3 * xp.sin(1e14 * x)

    rough.rule("x")(lambda g, y, x: g)
    try:
        assert md.gradcheck(rough, draw(3)).verdict == "INCONCLUSIVE"
    finally:
        del registry["rough"]


def test_a_function_that_is_not_analytic_though_its_graph_is():
    def f(x):
        return x * Tensor(np.floor(x.data.real))  # floor refuses complex numbers no more, but has a constant slope

    assert md.gradcheck(f, np.array([0.3, 1.7, -2.2]))

    def refuses(x):
        if x.data.dtype.kind == "c":
            raise TypeError("no complex numbers here")
        return x.exp()

    report = md.gradcheck(refuses, draw(3))
    assert report
    assert row(report)["oracle"] == "differences"
    assert "no complex numbers here" in report.text()


def test_the_backward_pass_that_stops_is_a_failure():
    p = registry["tanh"]
    right = p.rules["x"]
    try:
        p.rules["x"] = lambda g, y, x: (g * (1 - y * y)).T
        report = md.gradcheck(lambda x: x.tanh(), draw(3, 4))
    finally:
        p.rules["x"] = right
    assert report.verdict == "FAIL"
    assert "tanh" in report.text()


# --- kinks


def test_points_near_a_kink_are_moved_and_counted():
    report = md.gradcheck(F.relu, np.array([0.0, 1.0, -2.0, 1e-7]), order=2)
    assert report, report.text()
    assert "2 of 4 points were near a kink" in report.text()


def test_all_points_at_a_kink_are_a_failure():
    report = md.gradcheck(F.relu, np.zeros(4))
    assert report.verdict == "KINK"
    assert not report


def test_a_kink_that_cannot_be_left():
    def f(x):  # everywhere close to a kink
        return (x * 1e9).sum() * 0 + sawtooth(x).sum()

    @primitive(formula="saw", kind="piecewise", elementwise=True, kink=lambda x: abs(x % 1e-7))
    def sawtooth(xp, x):
        return abs(x % 1e-7) if x.dtype.kind == "f" else x

    sawtooth.rule("x")(lambda g, y, x: g)
    try:
        assert md.gradcheck(f, np.array([0.3, 0.7])).verdict == "KINK"
    finally:
        del registry["sawtooth"]


def test_constant_entries_at_a_kink_are_no_danger():
    assert md.gradcheck(lambda x: F.relu(F.relu(x)), np.array([1.0, -2.0, 3.0]), order=2)  # relu(0) below
    assert md.gradcheck(lambda x: F.relu(x * 1e-9), np.array([1.0, -2.0, 3.0]))
    assert md.gradcheck(lambda x: F.maximum(x, x), draw(3))


def test_ties_are_moved_apart():
    report = md.gradcheck(lambda x: x.max(axis=1), np.array([[1.0, 1.0, 0.0], [3.0, 2.0, 1.0]]))
    assert report, report.text()
    assert "1 of 2 points" in report.text()


# --- inputs


def test_float32_is_checked_in_float64():
    report = md.gradcheck(lambda x: x.exp(), draw(3).astype(np.float32))
    assert report
    assert "float32: checked in float64" in report.text()
    assert float(row(report)["worst error"]) < 1e-12


def test_a_function_that_works_in_float32_is_judged_by_its_precision():
    report = md.gradcheck(lambda x: (x.astype(np.float32).exp() * 2).sum(), draw(3))
    assert report, report.text()
    assert "precision" in report.text()


def test_kinds_of_inputs():
    assert md.gradcheck(lambda x, i: x[i], [draw(4), np.array([1, 1, 3])])
    assert md.gradcheck(lambda x, n: x**n, [md.tensor([1.0, 2.0]), 3])
    assert md.gradcheck(lambda a, b: a * b, [2.0, md.tensor(3.0, requires_grad=True)])
    x = md.tensor([1.0, 2.0], requires_grad=True)
    assert md.gradcheck(lambda x: x * x, x)
    assert x.grad is None


@pytest.mark.parametrize(
    "f, inputs, error, message",
    [
        (lambda x: x, [], ValueError, "no inputs"),
        (lambda x: x, np.arange(3), ValueError, "none of the 1 inputs is floating"),
        (lambda x: x, np.zeros((0, 3)), ValueError, "every floating input is empty"),
        (lambda x: x[:0], np.ones(3), ValueError, "empty tensor of shape \\(0,\\)"),
        (lambda x: x, np.ones(3, complex), TypeError, "input 0 is complex"),
        (lambda x: x, ["abc"], TypeError, "input 0 is a str"),
        (lambda x: x, [None], TypeError, "input 0 is a NoneType"),
        (lambda x: x.numpy(), np.ones(3), TypeError, "must return one Tensor, got ndarray"),
        (lambda x: (x, x), np.ones(3), TypeError, "must return one Tensor, got tuple of 2"),
        (lambda x: x > 0, np.ones(3), TypeError, "returns bool"),
        (3, np.ones(3), TypeError, "must be a function"),
    ],
)
def test_bad_input_is_one_clear_line(f, inputs, error, message):
    with pytest.raises(error, match=message) as caught:
        md.gradcheck(f, inputs)
    assert "\n" not in str(caught.value)


def test_order_must_be_a_positive_number():
    for order in (0, -1, 1.5, None):
        with pytest.raises(ValueError, match="order must be"):
            md.gradcheck(lambda x: x, np.ones(2), order=order)


def test_it_refuses_inside_an_override():
    with md.override(F.relu, x=lambda g, y, x: g), pytest.raises(RuntimeError, match="relu are overridden"):
        md.gradcheck(F.relu, np.ones(2))


# --- slopes, against calculus


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_slopes_are_exact_and_bars_hold(seed):
    source = np.random.default_rng(seed)
    x, v = source.uniform(0.5, 2, 4), source.standard_normal(4)
    problem = Problem(lambda x: (x * x).log() + x.tanh())
    truth = (2 / x + 1 - np.tanh(x) ** 2) * v
    exact, bar = slopes.complex_step(problem, [x], [v])
    assert not bar.any()
    np.testing.assert_allclose(exact, truth, rtol=1e-13)
    near, bar = slopes.differences(problem, [x], [v])
    assert (abs(near - truth) <= 10 * bar).all()
    assert bar.max() < 1e-8


def test_differences_stay_on_their_side_of_a_kink():
    x = np.array([1e-3, -1e-3])
    slope, bar = slopes.differences(Problem(F.relu), [x], [np.ones(2)])
    np.testing.assert_allclose(slope, [1, 0], atol=1e-9)
    assert bar.max() < 1e-8


# --- the report


@pytest.fixture(scope="module")
def failure():
    return md.gradcheck(lambda x: x * x.detach() + "<b>".__len__() * x, np.array([1.0, 2.0, 3.0]))


def test_text(failure):
    text = failure.text()
    assert text.startswith("gradcheck of <lambda>: FAIL")
    assert "expected" in text
    assert "the error is flat" in text


def test_json(failure):
    content = json.loads(failure.json())
    assert content["verdict"] == "FAIL"
    assert content["findings"][0]["diagnosis"] == failure.findings[0].kind
    assert content["rows"][0]["oracle"] == "complex step"


def test_html_is_one_offline_page(failure, tmp_path):
    text = failure.html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert text.startswith("<!doctype html>")
    assert '<html lang="en">' in text
    assert "prefers-color-scheme: dark" in text
    assert "<script" not in text
    assert not re.search(r"https?://|src=|href=", text)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "&lt;lambda&gt;" in text
    assert "<lambda>" not in text
    assert "<svg" in text and "<title id=" in text
    assert md.gradcheck(F.relu, np.zeros(2)).html().count("<svg") == 0  # on a kink there is nothing to sweep


def test_a_notebook_shows_the_page_and_elsewhere_the_curve(failure):
    bundle = failure._repr_mimebundle_()
    assert html.escape(failure.html()) in bundle["text/html"].replace("&#10;", "\n")
    assert bundle["text/plain"] == failure.text()
    picture = failure.page().picture
    assert picture.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and ElementTree.fromstring(picture)
    assert base64.b64encode(picture.encode()).decode() in bundle["text/html"]


def test_truth_is_the_verdict(failure):
    assert not failure
    assert md.gradcheck(lambda x: x, np.ones(2))


def test_import_is_light():
    code = "import sys, minidl; print(*[m for m in sys.modules if m.startswith(('scipy', 'minidl.check.samples.'))])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ""
