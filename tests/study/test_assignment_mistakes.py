"""Mistakes planted in answers to the assignment: each is found, and named rightly or not at all."""

import numpy as np
import pytest

import minidl as md
from minidl.study.assignment.questions import QUESTIONS

# question, a piece of its solution, what stands there instead, and the names that are right
MISTAKES = [
    ("dice-loss", "2 * S / np", "S / np", {"factor 2 dropped"}),
    ("dice-loss", "(p**2)", "p", {"linear denominator"}),
    ("dice-loss", "-D.sum()", "D.sum()", {"sign"}),  # where the reduction is "sum"
    ("dice-output", "/ Q\n    return", "/ Q**2\n    return", set()),
    ("dice-output", "2 * (D * p - g)", "2 * (D * p + g)", {"sign of a term: the derivative of S (the numerator)"}),
    ("dice-output", "D * p - g", "2 * D * p - g", {"factor of a term: the derivative of Q (the denominator)"}),
    ("dice-output", "D = 2 * S / Q", "D = S / Q", {"factor of a term: the derivative of Q (the denominator)"}),
    ("dice-output", "keepdims=True)\n    D", "keepdims=True) + 1e-6\n    D", {"eps in the denominator"}),
    ("dice-output", "/ len(p)", "/ p.size", {"factor 1/N"}),
    ("dice-delta", "p * (1 - p)\n", "p\n", set()),
    ("dice-delta", "np.exp(-u)", "np.exp(u)", set()),
    ("layer-output", "float(b)", "0.0", {"bias forgotten"}),
    ("layer-output", "1 if conv", "-1 if conv", {"always convolution"}),
    ("dice-weights", ", delta.sum()", ", delta.mean()", {"factor 1/N"}),
    ("dice-weights", "Q * p * (1 - p)", "Q", {"activation's derivative forgotten"}),
    ("receptive-size", "(k - 1)", "k", {"k where k - 1 belongs"}),
    ("receptive-size", "r, jump = 1, 1", "r, jump = 0, 1", {"first pixel forgotten"}),
    ("receptive-start", "- p)", "+ p)", set()),
    ("skip-product", "J.T @ g", "J @ g", {"not transposed"}),
    ("concat-gradient", "g[n : n + a] + back[n:]", "back[n:]", {"dropped term: x through y1"}),
    ("conv-matrix", "- padding\n", "\n", {"padding forgotten"}),
    ("checkerboard", "(r + padding)", "r", {"padding forgotten"}),
    ("jacobian-full", "] = x", "] = -x", {"sign"}),
    ("relu-rules", "x > 0) * (R > 0)", "x > 0)", set()),
    ("shortcut-one", "s - c)", "c - s)", {"sign of the residual"}),
]


@pytest.mark.parametrize("name, old, new, right", MISTAKES, ids=[f"{m[0]}-{i}" for i, m in enumerate(MISTAKES)])
def test_a_mistake_is_found_and_named_rightly_or_not_at_all(name, old, new, right):
    question, space = QUESTIONS[name], {"np": np}
    source = question.reveal()
    assert old in source
    exec(source.replace(old, new), space)
    result = md.assignment.check(name, space[question.function])
    assert result.verdict == "wrong"
    assert {d.name for d in result.diagnoses} <= right, result.text()
