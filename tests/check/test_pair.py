"""gradcheck of a NumPy forward and its backward: mistakes of students are found, and named rightly or not at all."""

import functools
import inspect

import numpy as np
import pytest

import minidl as md
from minidl.core.primitive import registry
from tests.check import layers

# layer, a piece of its backward, what stands there instead, and the names that are right; the first 38 are those that
# people make in CS231n's assignments
MISTAKES = [
    ("affine", "dout.sum(axis=0)", "dout.mean(axis=0)", {"factor"}),
    ("affine", "dout.sum(axis=0)", "dout.sum(axis=1)", {"shape"}),
    ("affine", "dout.sum(axis=0)", "dout", {"not summed"}),
    ("affine", "dout @ w.T", "dout @ w", {"transposed"}),
    ("affine", ".reshape(x.shape)", "", {"shape"}),
    ("affine", "return dx, dw, db", "return dw, dx, db", {"swapped"}),
    ("affine", "rows.T @ dout", "(rows.T @ dout).T", {"transposed"}),
    ("relu", "dout * (x > 0)", "(x > 0) * 1.0", {"forgotten g"}),
    ("relu", "dout * (x > 0)", "dout", {"missing mask"}),
    ("relu", "x > 0", "dout > 0", {"nonlinear"}),
    ("relu", "x > 0", "x < 0", {"inverted mask"}),
    ("leaky", "1, alpha", "1, 0", {"setting"}),
    ("sigmoid", "y * (1 - y)", "x * (1 - x)", {"input for output"}),
    ("sigmoid", "y * (1 - y)", "y", {"missing factor"}),
    ("tanh", "1 - y**2", "1 - np.tanh(y) ** 2", {"output for input"}),
    ("softmax", "(dout - (dout * y).sum(axis=1, keepdims=True))", "dout * (1 - y)", {"missing term"}),
    ("softmax_loss", "2 * reg * W", "reg * W", {"setting"}),
    ("softmax_loss", "ds /= N", "", {"factor"}),
    ("cross_entropy", "dx[np.arange(N), t] -= 1", "", {"at the targets"}),
    ("cross_entropy", "dx /= N", "", {"factor"}),
    ("hinge", "dx[np.arange(N), t] -= dx.sum(axis=1)", "", {"at the targets"}),
    ("hinge", "(margins > 0).astype(float)", "margins.copy()", set()),
    ("conv", "dout.sum(axis=(0, 2, 3))", "dout.sum(axis=(0, 2))", {"not summed"}),
    ("conv", "dout[:, :, i, j], w,", "dout[:, :, i, j], w[:, :, ::-1, ::-1],", {"flipped"}),
    ("conv", "dw += np", "dw = np", {"missing term"}),
    ("conv", "rows, columns] += np", "rows, columns] = np", {"missing term"}),
    ("conv", "dx = dpadded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]", "dx = dpadded", {"padding"}),
    ("conv", "pad : pad + x.shape[2], pad : pad + x.shape[3]", ": x.shape[2], : x.shape[3]", {"shifted"}),
    ("conv", "i * stride, i * stride + K), slice(j * stride, j * stride", "i, i + K), slice(j, j", {"setting"}),
    ("im2col", "dout.transpose(1, 0, 2, 3)", "dout", {"reordered"}),
    ("max_pool", "np.eye(k * k)[windows.argmax(axis=4)]", "(windows == windows.max(4, keepdims=True))", {"ties"}),
    ("avg_pool", " / 4", "", {"factor"}),
    ("batchnorm", " - dn.mean(axis=0)", "", {"missing term"}),
    ("batchnorm", " - normed * (dn * normed).mean(axis=0)", "", {"missing term"}),
    ("batchnorm", "dn = dout * gamma", "dn = dout", {"missing factor"}),
    ("batchnorm", ") / std", ")", {"missing factor"}),
    ("layernorm", "normed).mean(axis=1, keepdims=True)", "normed).sum(axis=1, keepdims=True)", {"factor of a term"}),
    ("dropout", "dout * mask", "dout * (mask > 0)", {"factor"}),
    # more of the same
    ("tanh", "1 - y**2", "1 - x**2", {"input for output"}),
    ("softmax", "dout - (", "dout + (", {"sign of a term"}),
    ("softmax_loss", "dW += 2 * reg * W", "", {"setting"}),
    ("im2col", "reshape(w.shape)", "reshape(F, K, L, C).transpose(0, 3, 1, 2)", {"reordered"}),
    ("max_pool", "np.eye(k * k)[windows.argmax(axis=4)]", "np.ones(k * k) / k**2", set()),
    ("batchnorm", "var, std = cache", "var, std = cache; std = np.sqrt(var); normed = (x - mean) / std", {"setting"}),
    ("batchnorm", "(dout * normed).sum", "dout.sum", {"another input"}),
    ("layernorm", "dn.mean(axis=1, keepdims=True)", "dn.mean(axis=0, keepdims=True)", {"term of a sum"}),
    ("dropout", "dout * mask", "dout", {"setting"}),
    ("rnn_step", "1 - h**2", "1 - h", set()),
    ("rnn_step", "dnext * (1 - h**2)", "dnext", {"missing factor"}),
    ("rnn_step", "da @ Wh.T", "da @ Wh", set()),
]
CS231N = 38


def planted(name, old="", new=""):
    """The layer as arguments of gradcheck, its backward with one piece replaced."""
    single = getattr(layers, name, None)
    source = inspect.getsource(single or getattr(layers, f"{name}_backward"))
    assert old in source
    space = dict(vars(layers))
    exec(source.replace(old, new) if old else source, space)
    forward = space[name] if single else getattr(layers, f"{name}_forward")
    inputs = layers.INPUTS[name]
    if "windows ==" in new:
        inputs = [inputs[0].round(), *inputs[1:]]  # equal entries, where alone it shows
    return forward, inputs, True if single else space[f"{name}_backward"]


@functools.cache
def checked(*arguments):
    f, inputs, backward = planted(*arguments)
    return md.gradcheck(f, inputs, backward=backward)


@pytest.mark.parametrize("name", layers.INPUTS)
def test_right_layers_pass(name):
    report = checked(name)
    assert report, report.text()


@pytest.mark.parametrize("name, old, new, kinds", MISTAKES, ids=[f"{m[0]}-{i}" for i, m in enumerate(MISTAKES)])
def test_a_mistake_is_found_and_named_rightly_or_not_at_all(name, old, new, kinds):
    report = checked(name, old, new)
    assert report.verdict == "FAIL"
    assert {f.kind for f in report.findings} <= kinds | {"unknown"}, report.text()


def test_most_are_named():
    """Of those of CS231n at least 33."""
    named = [bool({f.kind for f in checked(*m[:3]).findings} & m[3]) for m in MISTAKES[:CS231N]]
    assert sum(named) >= 33


# --- functions of one line

A, X = layers.normal((4, 4)), layers.normal((3, 4))
POSITIVE, SORTED = abs(X) + 0.1, np.linspace(-2, 2, 8)


def counting(g, x, made=[]):  # noqa: B006 - it is the mistake
    made.append(2 * g * x)
    return sum(made)


def normalised(x):
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True) + 1e-3)


def without_eps(g, x):
    size = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return g / size - x * (g * x).sum(axis=1, keepdims=True) / size**3


def overwritten(g, x):
    dx = np.zeros_like(x)
    dx[[0, 2, 0]] = g
    return dx


LINES = {
    "sqrt": (np.sqrt, POSITIVE, lambda g, x: 0.5 * g * np.sqrt(x), {"extra factor"}),
    "log": (np.log, POSITIVE, lambda g, x: g * x, {"inverse factor"}),
    "exp": (np.exp, X, lambda g, x: g, {"missing factor"}),
    "cube": (lambda x: x**3, X, lambda g, x: 3 * g * x, {"missing factor"}),
    "abs": (abs, X, lambda g, x: g, {"missing factor"}),
    "cumsum": (lambda x: x.cumsum(), SORTED, lambda g, x: g.cumsum(), {"transposed"}),
    "matrix": (lambda x: A @ x, X[0], lambda g, x: A @ g, {"transposed"}),
    "clip": (lambda x: np.clip(x, -1.5, 1.5), SORTED, lambda g, x: g, {"extra term"}),  # at the ends, and no border
    "upsampling": (lambda x: x.repeat(2, 0).repeat(2, 1), X, lambda g, x: g[::2, ::2], {"missing term"}),
    "gather": (lambda x: x[[0, 2, 0]], X, overwritten, {"missing term"}),
    "norm": (normalised, X, without_eps, {"eps"}),
    "added up": (lambda x: x * x, X, counting, {"stale"}),
    "rounded": (lambda x: x * x, X, lambda g, x: (2 * g * x).round(3), {"rounded"}),
}


@pytest.mark.parametrize("name", LINES)
def test_a_mistake_in_one_line(name):
    forward, x, backward, kinds = LINES[name]
    report = md.gradcheck(forward, x, backward=backward)
    assert report.verdict in ("FAIL", "NONDETERMINISTIC")
    assert {f.kind for f in report.findings} <= kinds | {"unknown"}, report.text()


# --- what is odd and right


def halved_in_place(g, x):
    g *= x
    g *= 2
    return g


def centred_in_cache(g, cache):
    cache -= cache.mean()
    return g


def shared(g, x):
    among = x == x.max(axis=1, keepdims=True)
    return g[:, None] * among / among.sum(axis=1, keepdims=True)


ODD = {
    "a zero at a kink": (lambda x: np.maximum(x, 0), np.arange(-2.0, 3), lambda g, x: g * (x > 0), "near a kink"),
    "the kink taken in": (lambda x: np.maximum(x, 0), np.arange(-2.0, 3), lambda g, x: g * (x >= 0), "near a kink"),
    "float32": (lambda x: x * x, X, lambda g, x: (2 * g * x).astype(np.float32), "works at precision 1e-07"),
    "float32 input": (lambda x: x * x, X.astype(np.float32), lambda g, x: 2 * g * x, "checked in float64"),
    "g changed": (lambda x: x * x, X, halved_in_place, "changes g in place"),
    "cache changed": (lambda x: (x, x + 1), X, centred_in_cache, ""),
    "ties shared": (lambda x: x.max(axis=1), X.round(), shared, "near a kink"),
    "one entry": (lambda x: np.array([(x * x).sum()]), X, lambda g, x: 2 * g * x, ""),
    "a float": (lambda x: x * x, 1.5, lambda g, x: 2 * g * x, ""),
    "two outputs": (lambda x: (x.sum(axis=0), x * x, x), X, lambda g, h, x: g + 2 * h * x, ""),
    "a list": (lambda x, y: x * y, [X, X + 1], lambda g, x, y: [g * y, g * x], ""),
    "one left out": (lambda x, y: x * y, [X, X + 1], lambda g, x, y: (None, g * x), "input 0 (x): backward returns no"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_and_right_passes(name):
    forward, x, backward, note = ODD[name]
    report = md.gradcheck(forward, x, backward=backward)
    assert report, report.text()
    assert note in " ".join(report.notes)


def test_no_gradient_is_right_where_all_is_a_kink():
    report = md.gradcheck(lambda x: np.maximum(x, 0), np.zeros(3), backward=lambda g, x: g * (x > 0))
    assert report.verdict == "KINK"


def test_a_dictionary_of_the_caller_stays_as_it_is():
    f, inputs, backward = planted("batchnorm")
    assert md.gradcheck(f, inputs, backward=backward)
    assert inputs[3] == {"eps": 1e-5}


def test_what_cannot_be_checked():
    rng = np.random.default_rng(0)
    square, right = (lambda x: x * x), (lambda g, x: 2 * g * x)
    report = md.gradcheck(square, X, backward=lambda g, x: g @ x)
    assert (report.verdict, report.findings[0].kind) == ("FAIL", "error")
    assert "ValueError: matmul" in report.text()
    assert md.gradcheck(square, X, backward=lambda g, x: g * rng.random()).verdict == "NONDETERMINISTIC"
    for options, error, words in (
        ({"backward": 3}, TypeError, "must be a function, or True"),
        ({"backward": right, "order": 2}, ValueError, "no gradient of its own"),
        ({"backward": lambda g, x: None}, ValueError, "is there a return at its end"),
        ({"backward": lambda g, x: (g, g)}, ValueError, "2 gradients for 1 floating inputs"),
    ):
        with pytest.raises(error, match=words):
            md.gradcheck(square, X, **options)
    with pytest.raises(ValueError, match="none of the 1 inputs is floating"):
        md.gradcheck(square, np.arange(3), backward=right)


def test_a_primitive_of_the_user_with_ties():
    """The engine's own form: nobody says where such a primitive has its kinks."""

    @md.primitive(formula="the maximum of each row", kind="piecewise")
    def row_max(xp, x):
        return x.max(axis=1)

    @row_max.rule("x", formula="g where x is the maximum")
    def row_max_x(g, y, x):
        return g.reshape(-1, 1) * md.tensor((x.data == x.data.max(axis=1, keepdims=True)) * 1.0)

    try:
        assert md.gradcheck(row_max, X)
        assert md.gradcheck(row_max, X.round()).findings[0].kind == "ties"
    finally:
        del registry["row_max"]
