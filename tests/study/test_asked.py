"""What command lines ask about: values of inputs, and one language of expressions for every command."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.__main__ import main
from minidl.core.tensor import Tensor
from minidl.study import asked
from minidl.study.expression import FUNCTIONS, METHODS, SIZES, Expression
from minidl.study.terminal import UsageError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x=0.5", 0.5),
        ("x=3", 3),
        ("x=-1e-3", -1e-3),
        ("x=nan", np.nan),
        ("x=1,2", [1.0, 2.0]),
        ("w = 1,-2;3,4", [[1.0, -2.0], [3.0, 4.0]]),
        ("w=1;2", [[1.0], [2.0]]),
        ("t=[0, 2]", [0, 2]),
        ("t=[True]", [True]),
        ("x=[[0.5, -1]]", [[0.5, -1.0]]),
    ],
)
def test_values(text, expected):
    _, found = asked.value(text, np.random.default_rng(0))
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("text, shape", [("x=2x3", (2, 3)), ("x=(3,)", (3,)), ("x=(2, 1)", (2, 1)), ("x=()", ())])
def test_random_values(text, shape):
    found = asked.value(text, np.random.default_rng(5))[1]
    assert np.array_equal(found, np.random.default_rng(5).standard_normal(shape)) and np.shape(found) == shape


@pytest.mark.parametrize(
    "text", ["x", "1=2", "x=", "x=a", "x=1,a", "x=1,2;3", "x=(0.5,)", "x=(-1,)", "x=[[1], [2, 3]]", "x='a'"]
)
def test_what_is_no_value_is_one_line(text):
    with pytest.raises(UsageError) as error:
        asked.value(text, np.random.default_rng(0))
    assert text in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("expression", [
    "tanh(x @ w).sum()", "sum(F.tanh(x @ w))", "F.cross_entropy(x @ w, t)", "(x[0] * w.T[1]).mean() / w.shape[0]",
    "sum(relu(x)) - -x[0, :2].max()", "conv(x[None], w[None, None], padding=1).var()",
])  # fmt: skip
def test_explain_and_gradcheck_take_the_same(expression, tmp_path, capsys):
    names = Expression(expression).names
    values = [v for v in ("x=2x3", "w=3x2", "t=[0, 1]") if v[0] in names]
    assert main(["gradcheck", expression, *values]) == 0
    assert main(["explain", expression, *values, "--html", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.splitlines()[1:]


def test_both_differentiate_at_the_same_random_numbers(monkeypatch, tmp_path, capsys):
    seen = []
    watched = md.explain
    monkeypatch.setattr(
        "minidl.study.explain.__main__.explain", lambda *a, **o: seen.append(watched(*a, **o)) or seen[0]
    )
    assert main(["explain", "sum(x**3)", "x=2x2", "--seed", "4", "--text"]) == 0
    x = asked.read("sum(x**3)", ["x=2x2"], seed=4).inputs["x"]
    np.testing.assert_allclose(seen[0].gradients["x"], 3 * x**2, rtol=1e-12)
    assert seen[0].asked == "sum(x**3)"


def test_names_are_those_that_need_a_value():
    assert Expression("norm(norm) + F.relu(b).sum() + x.T[a:b] + F").names == ("norm", "b", "x", "a", "F")
    assert Expression("sign(sign)").value({"sign": md.tensor(-2.0)}).item() == -1


def test_functions_and_methods_are_those_of_tensors():
    assert all(callable(f) for f in FUNCTIONS.values()) and set(F.__all__) < set(FUNCTIONS)
    assert all(hasattr(Tensor, name) for name in (*METHODS, *SIZES))
    assert not any(name.startswith("_") for name in (*METHODS, *SIZES, *FUNCTIONS))
