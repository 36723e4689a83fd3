"""gradcheck names the same mistakes inside a function of the user."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.tensor import Tensor
from minidl.ops.elementwise import exp
from tests.check.test_mutants import kernel_flipped, planted, right_once_only


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "name, wrong, kind",
    [
        ("tanh", lambda g, y, x: -g * (1 - y * y), "sign"),
        ("tanh", lambda g, y, x: 3 * g * (1 - y * y), "factor"),
        ("tanh", lambda g, y, x: g * 0.0, "zero"),
        ("softmax", lambda g, y, x, axis: y * g, "missing term"),
    ],
)
def test_gradcheck_names_the_rule(name, wrong, kind, large):
    x = np.random.default_rng(0).standard_normal((30, 20) if large else (3, 4))

    def f(x):
        return F.softmax(x.exp().tanh() * 2, axis=1) * 3

    with planted(name, x=wrong):
        report = md.gradcheck(f, x)
    assert report.verdict == "FAIL"
    assert report.findings[0].kind == kind
    assert name in report.findings[0].where
    assert md.gradcheck(f, x)


@pytest.mark.parametrize("size, entries", [((2, 2, 5, 4), 10_000), ((2, 3, 9, 8), 100)])
def test_gradcheck_names_a_flipped_kernel_at_any_size(size, entries):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(size), rng.standard_normal((2, size[1], 3, 3))
    with planted("conv", x=kernel_flipped):
        report = md.gradcheck(lambda x, w: F.conv(x, w, padding=1).exp(), [x, w], entries=entries)
    assert report.verdict == "FAIL"
    assert report.findings[0].kind == "flipped"
    assert "axes 2, 3" in report.findings[0].message


def test_gradcheck_sees_one_wrong_entry_among_many():
    x = np.random.default_rng(2).standard_normal(5000)

    def wrong(g, y, x):
        spoilt = np.ones(x.shape)
        spoilt[3210] = 1.001
        return g * y * Tensor(spoilt)

    with planted("exp", x=wrong):
        report = md.gradcheck(exp, x)
    assert report.verdict == "FAIL"
    assert report.findings[0].index == (3210,)


def test_gradcheck_finds_a_rule_that_is_only_right_once():
    with planted("tanh", x=right_once_only):
        assert md.gradcheck(lambda x: x.tanh(), np.array([0.3, -1.0]))
        report = md.gradcheck(lambda x: x.tanh(), np.array([0.3, -1.0]), order=2)
    assert report.verdict == "FAIL"
    assert report.findings[0].where.startswith("order 2")
