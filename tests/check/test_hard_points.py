"""gradcheck where it is hard: ill-conditioned data, tiny and large numbers, steep functions, kinks and edges close by,
functions that are not analytic. The right ones pass, planted mistakes are found beside them."""

import json

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.primitive import primitive, registry
from minidl.core.tensor import Tensor


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def batch_norm(x):
    centred = x - x.mean(axis=0)
    return centred / ((centred**2).mean(axis=0) + 1e-5) ** 0.5


def unstable_batch_norm(x):
    return (x - x.mean(axis=0)) / ((x * x).mean(axis=0) - x.mean(axis=0) ** 2 + 1e-5) ** 0.5


def masked_softmax(x):
    return F.softmax(F.where(np.arange(x.size).reshape(x.shape) % 3 > 0, x, -1e9), axis=0)


def huber(x):
    return F.where(abs(x.data) < 1, 0.5 * x * x, F.absolute(x) - 0.5)


FUNCTIONS = {
    "batch norm": batch_norm,
    "unstable batch norm": unstable_batch_norm,
    "softmax": lambda x: F.softmax(x, axis=0),
    "log softmax": lambda x: F.log_softmax(x, axis=0),
    "masked softmax": masked_softmax,
    "tanh": lambda x: x.tanh(),
    "square": lambda x: x * x,
    "cube over size": lambda x: x * x * x / (1 + (x * x).sum()) ** 0.5,
    "exp": lambda x: (-x * x).exp(),
    "sine": lambda x: F.sin(x),
    "sum": lambda x: x.sum(),
    "relu": lambda x: F.relu(x) * x,
    "max": lambda x: x.max(axis=0) * x.sum(),
    "huber": huber,
    "sigmoid": lambda x: F.sigmoid(x),
    "logits": lambda x: F.binary_cross_entropy_with_logits(x, np.arange(x.size).reshape(x.shape) % 2),
}
PLACES = {
    "usual": normal(4, 2),
    "mean 300, spread 0.1": 300 + 0.1 * normal(4, 2),
    "mean -1e5, spread 4": -1e5 + 4 * normal(4, 2),
    "tiny": 1e-6 * normal(4, 2),
    "one tiny": np.array([[1e-7, 1.0], [2.0, -0.5], [-1.5, 0.7], [0.3, -3.0]]),
    "large": 30 * normal(4, 2),
    "one large": np.array([[1e4, 1.0], [2.0, -0.5], [-1.5, 0.7], [0.3, -3.0]]),
}
SPECIAL = {
    "log of probabilities": (lambda p: -(p.log()).sum(), np.array([1e-8, 1e-4, 0.3, 1 - 1e-9])),
    "log near zero": (lambda p: (p + 1e-8).log(), np.array([1e-9, 0.5, 1.0])),
    "square root of tiny": (lambda x: x.sqrt(), np.array([1e-12, 1e-6, 1.0])),
    "power": (lambda x: x**1.5, np.array([1e-10, 1e-3, 2.0])),
    "reciprocal of small": (lambda x: 1 / x, np.array([1e-7, -1e-5, 2.0])),
    "steep sine": (lambda x: F.sin(1e6 * x) / 1e6 + x, np.array([0.3, -1.2])),
    "steep tanh": (lambda x: F.tanh(1e5 * x), np.array([1e-6, -3e-6, 0.5])),
    "large constant": (lambda x: x * x + 1e9, np.array([0.3, -1.2])),
    "cancelling": (lambda x: (x + 1e7) - 1e7 + x * x, np.array([0.3, -1.2])),
    "polynomial": (lambda x: (x - 1) ** 7 * (x + 2), np.array([1.001, 0.9, -2.0])),
    "norm": (lambda x: x / ((x * x).sum()) ** 0.5, 1e-5 * normal(5)),
    "cosine of parallel": (
        lambda x, y: (x * y).sum() / ((x * x).sum() * (y * y).sum()) ** 0.5,
        [normal(5), 2 * normal(5)],
    ),
    "ties far away": (lambda x: x.max(), np.array([100001.0, 100005.0, 100009.0])),
    "missing targets": (
        lambda x, t: (x * x * np.where(np.isnan(t.data), 0.0, 1.0)).sum(),
        [normal(2), np.array([np.nan, 3.0])],
    ),
    "gate above a root": (lambda x: F.relu(x).sqrt(), np.array([-1.0, 2.0, -0.3, 0.7])),
    "gate above a logarithm": (lambda x: F.where(x.data > 0, x, 1.0).log(), np.array([-1.0, 2.0, -0.3, 0.7])),
    "large sum": (lambda x: (x * x).sum(), 100 * normal(40, 50)),
    "convolution of a picture": (
        lambda x, w: F.conv(x, w, padding=1),
        [255 * abs(normal(1, 1, 4, 4)), normal(2, 1, 3, 3)],
    ),
    "focal": (lambda x: F.sigmoid_focal_loss(x, np.array([0, 1, 1, 0])), np.array([-20.0, 15.0, 0.01, 3.0])),
    "cross entropy, sure": (lambda x: F.cross_entropy(x, [0, 1]), np.array([[30.0, -20.0, 1.0], [5.0, 40.0, 2.0]])),
    "dice": (lambda x: F.soft_dice_loss(F.sigmoid(x), (np.arange(16) % 2).reshape(1, 1, 4, 4)), 3 * normal(1, 1, 4, 4)),
    "float32 inside": (lambda x: (x.astype(np.float32).exp() * 2).sum(), normal(3)),
    "layer norm of nearly equal": (lambda x: F.layer_norm(x, (4,)), 5 + 1e-3 * normal(3, 4)),
}
EDGES = {
    "square root at 0": (lambda x: x.sqrt() + x * x, np.array([0.0, 1.0, 2.0])),
    "power at 0": (lambda x: x**0.3 + x, np.array([1.0, 0.0, 2.0])),
    "logarithm with a tiny constant at 0": (lambda x: (x + 1e-12).log(), np.array([0.5, 1.0, 0.0])),
    "circle at 1": (lambda x: (1 - x * x).sqrt() * x, np.array([0.2, -0.4, 1.0])),
    "arc cosine by hand": (lambda x: ((1 - x) * (1 + x)).sqrt() + x * x, np.array([0.2, -1.0, 0.5])),
    "large, one at 0": (lambda x: x.sqrt() * x, np.abs(np.r_[normal(300), 0.0, normal(300)])),
    "entropy": (lambda x: -(x * x.log(), x * (x + 1e-300).log())[1].sum(), np.array([0.3, 0.7, 0.0])),
    "a refused target": (
        lambda x, t: F.binary_cross_entropy_with_logits(x, t).sum(),
        [normal(3), np.array([0.0, 0.4, 1.0])],
    ),
}
RIGHT = {f"{n}, {place}": (f, x) for n, f in FUNCTIONS.items() for place, x in PLACES.items()} | SPECIAL


def listed(inputs):
    return inputs if isinstance(inputs, list) else [inputs]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_function_passes(name):
    f, inputs = RIGHT[name]
    report = md.gradcheck(f, inputs)
    assert report.verdict == "PASS", report.text()


@pytest.mark.parametrize("name", EDGES)
def test_on_the_edge_of_a_domain_nothing_is_claimed(name):
    f, inputs = EDGES[name]
    report = md.gradcheck(f, inputs)
    assert report.verdict == "INCONCLUSIVE", report.text()
    assert "edge of the domain" in report.text()


def test_a_report_of_an_entry_without_an_oracle_can_be_read_and_kept(tmp_path):
    report = md.gradcheck(lambda x: F.sqrt(x).sum(), np.array([0.0, 1.0]))
    assert "the input is 0 at [0]" in report.text()
    assert json.loads(report.json())["worst"][-1]["expected"] == "nan"
    assert "INCONCLUSIVE" in report.html(tmp_path / "report.html")


# --- planted mistakes


def spoiling(rule):
    """A function whose first argument goes through an identity with this rule for its gradient."""

    def spoilt(f, *inputs):
        @primitive(formula="x")
        def spoil(xp, x):
            return x + 0

        at = usual(f, inputs)
        spoil.rule("x")(lambda g, y, x: F.where(at, rule(g), g))
        del registry["spoil"]
        return lambda x, *others: f(spoil(x), *others)

    return spoilt


def usual(f, inputs):
    """True at the entry of the first input whose gradient is in the middle, of those that are finite and not 0."""
    x, *others = [Tensor(np.asarray(a), requires_grad=i == 0) for i, a in enumerate(inputs)]
    with np.errstate(all="ignore"):
        y = f(x, *others)
        u = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
        (g,) = md.grad(y, x, Tensor(u))
    sizes = np.where(np.isfinite(g.data), abs(g.data), 0.0)
    return sizes == np.sort(sizes[sizes > 0])[(sizes > 0).sum() // 2]


def spread_held_constant(f, x0, *_):
    """The textbook mistake of batch norm: NumPy's std, which loses the imaginary part, is a constant of the graph."""
    return lambda x, *others: f(x, *others) * Tensor(1 + np.std(x.data) / np.std(x0))


MISTAKES = {
    "an entry off by a thousandth": spoiling(lambda g: 1.001 * g),
    "the sign of an entry": spoiling(lambda g: -g),
    "an entry dropped": spoiling(lambda g: 0 * g),
    "a spread held constant": spread_held_constant,
}
FLAT = {  # no gradient above the rounding of the function: nothing to get wrong
    *(f"{f}, {place}" for f in ("tanh", "exp", "sigmoid") for place in ("mean 300, spread 0.1", "mean -1e5, spread 4")),
    *("exp, large", "softmax, large", "masked softmax, large", "relu, mean -1e5, spread 4"),
    *("cosine of parallel", "cross entropy, sure"),
}
CASES = [case for case in (RIGHT | EDGES).items() if case[0] not in FLAT]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_planted_mistake_is_found(number):
    name, (f, inputs) = CASES[number]
    mistake = list(MISTAKES)[number % len(MISTAKES)]
    report = md.gradcheck(MISTAKES[mistake](f, *listed(inputs)), inputs)
    assert report.verdict == "FAIL", f"{mistake} in {name}: {report.text()}"
