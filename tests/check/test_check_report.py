"""What a gradcheck reports: the sweep of steps, the worst entries, advice; the page; the command and its exit codes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.__main__ import main
from minidl.check.report import ADVICE, VERDICTS
from minidl.core.primitive import primitive, registry
from minidl.study.gradient_report.page import page as page_of
from minidl.study.page import number
from tests.support.browser import SCHEMES, WIDTHS


def draw(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def rough_report():
    @primitive(formula="rough", kind="piecewise")
    def rough(xp, x):
        return x + 1e-3 * xp.sin(1e14 * x)

    rough.rule("x")(lambda g, y, x: g)
    try:
        report = md.gradcheck(rough, draw(3))
        report.json()  # works the sweep out while the primitive is there
    finally:
        del registry["rough"]
    return report


def random_report():
    source = np.random.default_rng(0)
    return md.gradcheck(lambda x: x * source.standard_normal(3), draw(3))


REPORTS = {
    "PASS": lambda: md.gradcheck(lambda x, w: (x @ w).tanh(), [draw(3, 4), draw(4, 2)]),
    "FAIL": lambda: md.gradcheck(lambda x, w: (x * x.detach()) @ w.tanh(), [draw(3, 4), draw(4, 2)]),
    "KINK": lambda: md.gradcheck(F.relu, np.zeros(4)),
    "INCONCLUSIVE": rough_report,
    "NONDETERMINISTIC": random_report,
}


@pytest.fixture(scope="module", params=VERDICTS)
def report(request):
    made = REPORTS[request.param]()
    assert made.verdict == request.param
    return made


# --- the sweep


def test_a_wrong_rule_is_flat_and_a_right_one_a_U():
    wrong, right = REPORTS["FAIL"]().sweep, REPORTS["PASS"]().sweep
    assert (wrong.shape, right.shape) == ("flat", "U")
    errors = [p.rules for p in wrong.points]
    assert max(errors) < 1.01 * min(errors) and min(errors) == pytest.approx(wrong.gap, rel=1e-2)
    errors = [p.rules for p in right.points]
    lowest = int(np.argmin(errors))
    assert errors[0] > 1e3 * errors[lowest] and errors[-1] > 1e3 * errors[lowest]
    assert 1e-8 < right.points[lowest].step < 1e-3
    assert "U-curve" in right.sentence() and "the rule is wrong, not the step" in wrong.sentence()


def test_the_truncation_error_of_a_right_rule_falls_with_the_square_of_the_step():
    points = [p for p in md.gradcheck(lambda x: x.exp(), draw(3)).sweep.points if p.step > 1e-3]
    for coarse, fine in pairwise(points):
        assert fine.rules / coarse.rules == pytest.approx((fine.step / coarse.step) ** 2, rel=0.02)


def test_a_linear_function_has_no_truncation_error():
    sweep = md.gradcheck(lambda x: x * 3.0, draw(3)).sweep
    assert "only rounding, f is linear" in sweep.sentence()


def test_what_differences_cannot_see_is_said():
    sweep = md.gradcheck(lambda x: x.tanh() + 5e-12 * x.detach(), draw(3))
    assert sweep.verdict == "FAIL"
    assert "less than differences can see" in sweep.sweep.sentence()
    little = md.gradcheck(lambda x: x.tanh() + 1e-8 * x.detach(), draw(3)).sweep
    assert little.shape == "floor" and "by little" in little.sentence()


@given(st.floats(1e-6, 10), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_gap_is_what_was_left_out(factor, negative):
    factor = -factor if negative else factor
    report = md.gradcheck(lambda x: x.tanh() + factor * x.detach(), draw(2, 3))
    assert report.verdict == "FAIL"
    (c,) = report.compared
    missing = c.entries.expected - c.entries.got
    u = missing / factor  # the cotangent: a term factor * x was left out
    np.testing.assert_allclose(c.entries.got, u * (1 - np.tanh(draw(2, 3)) ** 2), rtol=1e-4, atol=1e-8)
    assert report.sweep.gap > 0 and report.sweep.shape in ("flat", "floor")


def test_a_rough_function_proves_nothing():
    sweep = rough_report().sweep
    assert sweep.shape == "rough" and "too rough, or too steep" in sweep.sentence()


def test_steps_across_a_kink_are_left_out():
    sweep = md.gradcheck(lambda x: F.relu(x) * x.exp(), np.array([1e-2, -1e-2])).sweep
    assert sweep.shape == "U" and 1e-4 < max(p.step for p in sweep.points) < 0.1


# --- worst entries, advice


def test_the_worst_entries_are_sorted_and_right():
    def f(x):
        spoilt = np.zeros((3, 4))
        spoilt[1, 2], spoilt[0, 3] = 1.0, 1e-3
        return x.tanh() + x.detach() * md.tensor(spoilt)

    report = md.gradcheck(f, draw(3, 4))
    assert [w.index for w in report.worst[:2]] == [(1, 2), (0, 3)]
    errors = [w.error for w in report.worst]
    assert errors == sorted(errors, reverse=True) and len(errors) == 8 and errors[2] < 1e-12
    finding = report.findings[0]
    assert (finding.index, finding.expected, finding.got) == ((1, 2), report.worst[0].expected, report.worst[0].got)


def test_where_only_directions_were_compared_there_are_no_entries():
    report = md.gradcheck(lambda x: x.tanh() * x, draw(120, 100))
    assert report and not report.worst and report.sweep.shape == "U"


def test_every_verdict_has_one_sentence_of_advice(report):
    assert report.advice and "\n" not in report.advice
    assert set(ADVICE) == set(VERDICTS)
    content = json.loads(report.json())
    assert (content["verdict"], content["advice"]) == (report.verdict, report.advice)
    assert (content["sweep"] is None) == (report.verdict in ("KINK", "NONDETERMINISTIC"))


# --- the page


@pytest.mark.parametrize("width, scheme", [(WIDTHS[0], SCHEMES[0]), (WIDTHS[1], SCHEMES[1])])
def test_the_page_of_every_verdict(browser, report, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    assert report.html(path) == path.read_text(encoding="utf-8") == page_of(report).text()
    with browser.open(path, width=width, scheme=scheme) as page:
        assert page.locator(".verdict").inner_text() == report.verdict
        assert page.locator(".outcome span").last.inner_text() == report.advice
        worst = [row.locator("td").all_inner_texts() for row in page.locator("table.numbers tbody tr").all()]
        assert worst == [
            [str(list(w.index)), number(w.expected), number(w.got), f"{w.error:.1e}"] for w in report.worst
        ]
        maps = [cells.locator("td").all_inner_texts() for cells in page.locator(".maps figure").all()]
        inputs = sorted(report.compared, key=lambda c: -c.entries.error.max())
        arrays = [a for c in inputs for a in (c.entries.got - c.entries.expected, c.entries.expected, c.entries.got)]
        assert maps == [[number(v) for v in a.ravel()] for a in arrays]
        points = len(report.sweep.points) if report.sweep else 0
        assert page.locator("circle.rules").count() == page.locator("circle.oracle").count() == points
        if points:
            assert report.sweep.sentence()[1:] in page.locator("main").inner_text()
        for region in page.locator(".scroll").all():
            region.focus()
            assert region.evaluate("r => r === document.activeElement")


# --- the command


STUDENT = """
import numpy as np
from minidl import functional as F
source = np.random.default_rng(0)
w = np.arange(6.0).reshape(3, 2)

def right(x, w):
    print("hello")
    return F.tanh(x @ w).sum()

def wrong(x, w):
    return (x * x.detach()).sum() + w.sum()

def kink(x=np.zeros(4)):
    return F.relu(x)

def unknown(x=np.array([1.0, -1.0])):
    return x.log()

def draws(x):
    return x * source.standard_normal(x.shape)

def raises(x):
    return x / undefined

def leaves(x):
    raise SystemExit(0)

def slow(x):
    while True:
        try:
            x.sum()
        except Exception:
            pass

def array(x):
    return x.numpy()
"""


@pytest.fixture
def student(tmp_path):
    path = tmp_path / "student.py"
    path.write_text(STUDENT)
    return path


@pytest.mark.parametrize(
    "function, values, code, word",
    [
        ("right", ["x=2x3"], 0, "PASS"),
        ("wrong", ["x=2x3"], 1, "FAIL"),
        ("kink", [], 4, "KINK"),
        ("kink", ["x=[1.0, -2.0]"], 0, "PASS"),
        ("unknown", [], 4, "INCONCLUSIVE"),
        ("draws", ["x=(3,)"], 1, "NONDETERMINISTIC"),
        ("raises", ["x=0.5"], 3, "student.py:24: NameError: name 'undefined' is not defined"),
        ("leaves", ["x=0.5"], 3, "SystemExit: 0"),
        ("slow", ["x=0.5", "--timeout", "0.3"], 3, "stopped after 0.3 s"),
        ("array", ["x=0.5"], 2, "must return one Tensor, got ndarray"),
        ("right", [], 2, "right() needs a value for 'x'"),
        ("right", ["x=2x3", "z=1"], 2, "right() has no input 'z'; it takes x, w"),
        ("other", [], 2, "has no function 'other'; it has right, wrong"),
    ],
)
def test_a_function_of_a_file(student, capsys, function, values, code, word):
    assert main(["gradcheck", f"{student}:{function}", *values]) == code
    out, err = capsys.readouterr()
    assert word in (out if code in (0, 1, 4) else err)
    if code in (2, 3):
        assert not out and len(err.splitlines()) == 1
    if function == "right" and code == 0:
        assert "hello" in err and "hello" not in out


@pytest.mark.parametrize(
    "arguments, code, word",
    [
        (["tanh(x @ w).sum()", "x=2x3", "w=3x2"], 0, "PASS"),
        (["F.conv(x, w, padding=1)", "x=1x1x4", "w=1x1x3", "--order", "2"], 0, "PASS"),
        (["(x * x.detach()).sum()", "x=2x2"], 1, "FAIL"),
        (["x[i]", "x=[1.0, 2.0]", "i=[0, 0, 1]"], 0, "PASS"),
        (["relu(x)", "x=[0.0, 0.0]"], 4, "KINK"),
        (["sum(F.tanh(x)) / x.size", "x=1,-2;3,4"], 0, "PASS"),
        (["x**2", "x=3"], 0, "PASS"),
        (["x @ w", "x=2x3", "w=2x2"], 2, "x @ w: matmul: (2, 3) @ (2, 2)"),
        (["x +", "x=2x3"], 2, "is not an expression"),
        (["md.no_grad()", "x=2x3"], 2, "needs a value for 'md'"),
        (["exec('1')", "x=2x3"], 2, "has no input 'x'"),
        (["x + y", "x=2x3"], 2, "needs a value for 'y'"),
        (["x", "x=abc"], 2, "neither numbers such as 0.5"),
        (["x", "x"], 2, "is not NAME=VALUE"),
        (["x", "x=[3]"], 2, "none of the 1 inputs is floating"),
        (["x", "x=2x3", "--order", "0"], 2, "order must be"),
        (["nowhere.py:f"], 2, "there is no such file"),
    ],
)
def test_an_expression(capsys, arguments, code, word):
    assert main(["gradcheck", *arguments]) == code
    out, err = capsys.readouterr()
    assert word in (out if code in (0, 1, 4) else err)
    assert code in (0, 1, 4) or len(err.splitlines()) == 1


def test_a_file_that_cannot_be_loaded(tmp_path, capsys):
    (tmp_path / "a.py").write_text("def f(x):\n    return x +\n")
    (tmp_path / "b.py").write_text("y = 1\n1 / 0\n")
    assert main(["gradcheck", f"{tmp_path}/a.py:f"]) == 3
    assert main(["gradcheck", f"{tmp_path}/b.py:f"]) == 3
    first, second = capsys.readouterr().err.splitlines()
    assert "a.py:2: SyntaxError" in first and "b.py:2: ZeroDivisionError" in second


def test_json_and_html_of_the_command(tmp_path, capsys):
    asked = ["gradcheck", "tanh(x)", "x=2x2", "--json", "--html", str(tmp_path / "a.html")]
    assert main(asked) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["title"] == "gradcheck of tanh(x)" and content["worst"][0]["name"] == "order 1, input 0 (x)"
    assert "gradcheck of tanh(x)" in (tmp_path / "a.html").read_text(encoding="utf-8")
    before = (tmp_path / "a.html").read_bytes()
    assert main(asked) == 0 and (tmp_path / "a.html").read_bytes() == before
