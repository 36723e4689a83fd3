"""Every primitive there is: value, rules, second order, contract and formulas, against oracles that ask no rule."""

import json
import runpy

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.__main__ import main
from minidl.check.rules import load
from minidl.check.samples import SAMPLES, Sample, samples
from minidl.core.primitive import primitive, registry

load()
NAMES = sorted(name for name, p in registry.items() if p.__module__.startswith("minidl."))


@pytest.fixture
def own():
    """Registers primitives that are forgotten after the test."""
    before, known = dict(registry), dict(SAMPLES)
    yield
    for names, kept in ((registry, before), (SAMPLES, known)):
        names.clear()
        names.update(kept)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_rules(name, seed):
    report = md.check_rules(name, seed)
    assert report, report.text()


def test_samples_are_of_registered_primitives():
    assert {entry.primitive for entry in SAMPLES.values()} <= set(registry.values())
    assert set(SAMPLES) >= set(NAMES)


def test_the_table_has_a_row_per_primitive_with_measured_errors():
    report = md.check_rules("tanh")
    row = dict(zip(report.columns, report.rows[0], strict=True))
    assert row["primitive"] == "tanh"
    assert row["kind"] == "analytic"
    assert int(row["samples"]) >= 3
    assert float(row["order 1"]) <= 1e-12
    assert float(row["order 2"]) <= 1e-12
    assert row["verdict"] == report.verdict == "PASS"
    assert "tanh" in report.text()


def test_the_same_seed_gives_the_same_report():
    assert md.check_rules("matmul", 5).json() == md.check_rules("matmul", 5).json()


def test_a_primitive_is_named_by_itself_its_function_or_its_name():
    for chosen in ("relu", F.relu, registry["relu"], F.softmax):
        assert md.check_rules(chosen).title.startswith("check_rules of ")
    with pytest.raises(KeyError, match="no primitive is called 'nonsense'"):
        md.check_rules("nonsense")
    with pytest.raises(TypeError, match="needs a primitive"):
        md.check_rules(np.tanh)


def test_a_primitive_without_anything_fails(own):
    @primitive
    def bare(xp, x):
        return xp.tanh(x)

    messages = [f.message for f in md.check_rules(bare).findings]
    assert "it has no samples and no oracle in minidl.check.samples" in messages
    assert "it has no formula" in messages


def test_a_primitive_without_the_formula_of_a_rule_or_a_rule_fails(own):
    @primitive(formula="a * b", elementwise=True)
    def times(xp, a, b):
        return a * b

    @times.rule("a")
    def _(g, y, a, b):
        return g * b

    @samples(times, oracle=np.multiply)
    def _(rng):
        yield Sample((rng.standard_normal((2, 3)), rng.standard_normal((2, 3))), differentiate=(0,))

    assert [f.message for f in md.check_rules(times).findings] == ["the rule for 'a' has no formula"]

    @samples(times, oracle=np.multiply)
    def _(rng):
        yield Sample((rng.standard_normal((2, 3)), rng.standard_normal((2, 3))))

    assert "'b' has no rule" in [f.message for f in md.check_rules(times).findings]


def test_a_piecewise_primitive_needs_a_kink_and_samples_off_it(own):
    @primitive(formula="maximum(x, 0)", kind="piecewise", elementwise=True)
    def ramp(xp, x):
        return xp.maximum(x, 0)

    @ramp.rule("x", formula="g * (x > 0)")
    def _(g, y, x):
        return g * (x > 0)

    @samples(ramp, oracle=lambda x: np.maximum(x, 0))
    def _(rng):
        yield Sample((np.zeros((2, 3)),))

    assert any("no kink function" in f.message for f in md.check_rules(ramp).findings)
    ramp.kink = abs
    report = md.check_rules(ramp)
    assert report.verdict == "KINK"
    assert "all 9 points are near a kink" in report.text()  # the sample, and the batch of one that is cut from it

    @samples(ramp, oracle=lambda x: np.maximum(x, 0))
    def _(rng):
        yield Sample((np.array([[0.0, 1.0, -2.0], [3.0, 0.0, 1e-7]]),))

    report = md.check_rules(ramp)
    assert report, report.text()
    moved = dict(zip(report.columns, report.rows[0], strict=True))["moved"]
    assert moved == "4/9"


def test_an_order_that_is_only_right_in_value_fails(own):
    @primitive(formula="x**3", elementwise=True)
    def cube(xp, x):
        return x**3

    @cube.rule("x", formula="g * 3 * x**2")
    def _(g, y, x):
        return g * 3 * x.detach() ** 2

    @samples(cube, oracle=lambda x: x * x * x)
    def _(rng):
        yield Sample((rng.standard_normal((2, 3)),))

    report = md.check_rules(cube)
    assert report.verdict == "FAIL"
    assert "order 2" in report.findings[0].where


def test_it_refuses_inside_an_override():
    with md.relu_rule("guided"), pytest.raises(RuntimeError, match="rules of relu are overridden"):
        md.check_rules("tanh")


def test_command_line(tmp_path, capsys, own):
    assert main(["check", "tanh", "relu"]) == 0
    out = capsys.readouterr().out
    assert "check_rules of 2 primitives: PASS" in out
    assert main(["check", "tanh", "--json", "--seed", "3", "--html", str(tmp_path / "page.html")]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "PASS"
    assert "tanh" in (tmp_path / "page.html").read_text()

    @primitive
    def bare(xp, x):
        return xp.tanh(x)

    assert main(["check", "bare"]) == 1
    assert main(["check", "nonsense"]) == 2
    assert "no primitive is called 'nonsense'" in capsys.readouterr().err


def test_the_package_is_a_command_too(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["minidl.check", "tanh"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("minidl.check", run_name="__main__")
    assert not stop.value.code and "check_rules of tanh: PASS" in capsys.readouterr().out


@pytest.mark.parametrize(
    "factor",
    [
        lambda x: 1 / np.sqrt(np.var(x) + 1e-5),
        lambda x: 1 / np.std(x),
        lambda x: np.abs(x).sum(),
        lambda x: 1 / np.linalg.norm(x),
        lambda x: x.real,
        lambda x: np.abs(x) ** 2,
        lambda x: np.maximum(x.real, 0.1),
    ],
)
def test_a_forward_that_is_not_analytic_hides_no_term_of_its_rule(own, factor):
    @primitive(formula="x times a factor of x", kind="analytic")
    def scaled(xp, x):
        return x * factor(x)

    # the factor is held constant: the complex step, which loses its derivative as well, agrees
    scaled.rule("x", formula="g * factor")(lambda g, y, x: g * factor(x.data))

    @samples(scaled, oracle=lambda x: x * factor(x))
    def _(rng):
        yield Sample((rng.standard_normal((3, 2)),))

    report = md.check_rules("scaled")
    assert report.verdict == "FAIL"
    assert "order 1, the rule for 'x'" in report.text()
