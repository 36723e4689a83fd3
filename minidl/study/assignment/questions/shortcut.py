"""The Hessian at zero of linear residual nets: what the depth of a shortcut does to it."""

from __future__ import annotations

import itertools

import numpy as np

from ....check import slopes
from ....check.compare import jacobian
from ....check.problem import Gradient, Problem
from ....core.calculus import hessian
from ....core.tensor import as_tensor
from ..question import Output, Question

TOPIC = "The Hessian at zero of shortcuts"

NET = """
A linear residual net of R blocks, with a shortcut over n layers in each:

    f(x) = (I + W_(R,n) ... W_(R,1)) ... (I + W_(1,n) ... W_(1,1)) x

with square matrices W (d by d), and the loss L = mean over the samples of |f(x) - y|² / 2. Let
S_xx = mean of x xᵀ, S_yx = mean of y xᵀ. Look at the point where all W are 0.
"""


def data(rng: np.random.Generator, seed: int) -> dict:
    """d = 1 or 2, R = 1 or 2, n = 2 or 3; x and y (d, samples)."""
    d = 1 + (seed % 3 > 0)
    x = rng.standard_normal((d, int(rng.integers(4, 8))))
    return {
        "X": x,
        "Y": (np.eye(d) + rng.standard_normal((d, d))) @ x + rng.normal(0, 0.1, x.shape),
        "blocks": 1 + seed % 2,
        "layers": 3 if seed % 5 == 2 else 2,
    }


def loss(weights, X, Y):
    """The loss of weights (R, n, d, d)."""
    h = as_tensor(X)
    for r in range(weights.shape[0]):
        z = h
        for k in range(weights.shape[1]):
            z = weights[r, k] @ z
        h = h + z
    return ((h - Y) ** 2).sum() / (2 * X.shape[1])


def spectrum(matrix) -> np.ndarray:
    return np.linalg.eigvalsh((matrix + matrix.T) / 2)


def by_rules(X, Y, blocks, layers) -> np.ndarray:
    """The Hessian's eigenvalues, by differentiating twice."""
    zero = np.zeros((blocks, layers, len(X), len(X)))
    return spectrum(hessian(lambda w: loss(w, X, Y), zero).numpy().reshape(zero.size, zero.size))


def by_slopes(X, Y, blocks, layers) -> np.ndarray:
    """The same, by the complex step of the gradient."""
    zero = np.zeros((blocks, layers, len(X), len(X)))
    problem = Gradient(Problem(lambda w: loss(w, X, Y)))
    return spectrum(jacobian(problem, [zero, np.ones(())], slopes.complex_step, 0)[0])


# --- spectrum

eigenvalues = Question(
    "shortcut-spectrum",
    "The eigenvalues of the Hessian at zero, for shortcuts over two and three layers",
    TOPIC,
    f"""{NET}
For n = 2 and for n = 3, what is the gradient there, and what are the eigenvalues of the Hessian by all entries of all
W? (At W = 0 a block's product of n matrices is of order n in them; which products survive two derivatives? The
singular values of C = S_yx - S_xx will appear.)

Arguments: `X` and `Y`, arrays (d, samples); `blocks`, R; `layers`, n, 2 or 3. Return all eigenvalues in ascending
order, an array (R n d d,).
""",
    (Output("eigenvalues", ("number",)),),
    data,
)


@eigenvalues.solution
def hessian_eigenvalues(X, Y, blocks, layers):
    d, samples = X.shape
    if layers > 2:
        return np.zeros(blocks * layers * d * d)
    C = (Y - X) @ X.T / samples
    sigma = np.linalg.svd(C, compute_uv=False)
    return np.sort(np.repeat([sigma, -sigma], blocks * d))


eigenvalues.oracle("autograd")(by_rules)
eigenvalues.oracle("complex step")(by_slopes)


def _from(sigma, X, blocks, layers):
    """Plus and minus sigma, R d times each, for n = 2."""
    if layers > 2:
        return np.zeros(blocks * layers * X.shape[0] ** 2)
    return np.sort(np.repeat([sigma, -sigma], blocks * len(X)))


def _sigma(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


def _moment(X, Y):
    return (Y - X) @ X.T / X.shape[1]


eigenvalues.mistake("shortcut forgotten", "C is taken as S_yx: the shortcut explains x already, so subtract S_xx.")(
    lambda X, Y, blocks, layers: _from(_sigma(Y @ X.T / X.shape[1]), X, blocks, layers)
)
eigenvalues.mistake("all positive", "The eigenvalues come in pairs, plus and minus: zero is a saddle, not a valley.")(
    lambda X, Y, blocks, layers: np.sort(abs(hessian_eigenvalues(X, Y, blocks, layers)))
)
eigenvalues.mistake("squares", "The eigenvalues are the squares of what they should be: those of C Cᵀ, not of C.")(
    lambda X, Y, blocks, layers: _from(_sigma(_moment(X, Y)) ** 2, X, blocks, layers)
)
eigenvalues.mistake("sum over samples", "The moments are sums over the samples; the loss is a mean.")(
    lambda X, Y, blocks, layers: hessian_eigenvalues(X, Y, blocks, layers) * X.shape[1]
)
eigenvalues.mistake("grows with depth", "The eigenvalues grow with the number of blocks; for n = 2 they do not.")(
    lambda X, Y, blocks, layers: hessian_eigenvalues(X, Y, blocks, layers) * blocks
)
eigenvalues.altered(
    "factor two", "There is a factor 2 too many: the loss has a half in front of the square.", then=lambda a: a * 2
)


@eigenvalues.mistake(
    "three layers like two", "For n = 3 the eigenvalues are those of n = 2: no product survives there."
)
def eigenvalues_three_layers_like_two(X, Y, blocks, layers):
    if layers == 2:
        return hessian_eigenvalues(X, Y, blocks, 2)
    sigma = _sigma(_moment(X, Y))
    zeros = np.zeros(blocks * len(X) ** 2)
    return np.sort(np.concatenate([np.repeat([sigma, -sigma], blocks * len(X)), zeros]))


# --- condition number

condition = Question(
    "shortcut-condition",
    "The condition number at zero, for shortcuts over two layers",
    TOPIC,
    f"""{NET}
For n = 2, what is the condition number of the Hessian, the largest absolute eigenvalue over the smallest? How does it
depend on the depth R?

Arguments: `X` and `Y`, arrays (d, samples); `blocks`, R. Return a number.
""",
    (Output("condition"),),
    lambda rng, seed: data(rng, 3 * seed + 1 + seed % 2),
)


@condition.solution
def condition_number(X, Y, blocks):
    C = (Y - X) @ X.T / X.shape[1]
    sigma = np.linalg.svd(C, compute_uv=False)
    return sigma.max() / sigma.min()


for _name, _way in (("autograd", by_rules), ("complex step", by_slopes)):

    @condition.oracle(_name)
    def condition_by_(X, Y, blocks, way=_way):
        found = abs(way(X, Y, blocks, 2))
        return found.max() / found.min()


condition.mistake("shortcut forgotten", "C is taken as S_yx: the shortcut explains x already, so subtract S_xx.")(
    lambda X, Y, blocks: np.linalg.cond(Y @ X.T)
)
condition.altered("squared", "This is the condition number of C Cᵀ, the square of that of C.", then=lambda a: a**2)
condition.mistake("of the data", "This is the condition number of S_xx, that of a net without layers in between.")(
    lambda X, Y, blocks: np.linalg.cond(X @ X.T)
)


@condition.mistake("eigenvalues of C", "C is not symmetric: its singular values are asked for, not its eigenvalues.")
def condition_eigenvalues_of_c(X, Y, blocks):
    found = abs(np.linalg.eigvals(_moment(X, Y)))
    return found.max() / found.min()


condition.mistake("grows with depth", "The condition number grows with R; for n = 2 it does not depend on depth.")(
    lambda X, Y, blocks: condition_number(X, Y, blocks) * blocks
)
condition.altered("upside down", "This is smallest over largest.", then=lambda a: 1 / a)


# --- one layer, one number

scalar = Question(
    "shortcut-one",
    "The eigenvalues of the Hessian at zero, for shortcuts over one layer",
    TOPIC,
    """
A linear residual net of R blocks on single numbers, with a shortcut over one layer in each: f(x) = (1 + w_R) ... (1 +
w_1) x, and the loss L = mean over the samples of (f(x) - y)² / 2. Let s = mean of x² and c = mean of y x, minus s. At
w = 0: what is the Hessian by w_1, ..., w_R, and what are its eigenvalues? How does the condition number grow with R,
and for which c does it not?

Arguments: `s` and `c`, numbers, s > 0; `blocks`, R. Return all eigenvalues in ascending order, an array (R,).
""",
    (Output("eigenvalues", ("number",)),),
    lambda rng, seed: {
        "s": float(rng.uniform(0.5, 2)),
        "c": float(rng.normal() + (0.3 if seed % 2 else -0.3)),
        "blocks": 2 + seed % 4,
    },
)


@scalar.solution
def one_layer_eigenvalues(s, c, blocks):
    hessian = np.full((blocks, blocks), s - c)
    np.fill_diagonal(hessian, s)
    return np.linalg.eigvalsh(hessian)


def _samples(s, c):
    """Two samples with these moments."""
    X = np.array([[1.0, 1.0]]) * s**0.5
    return X, X * (1 + c / s)


scalar.oracle("autograd")(lambda s, c, blocks: by_rules(*_samples(s, c), blocks, 1))
scalar.oracle("complex step")(lambda s, c, blocks: by_slopes(*_samples(s, c), blocks, 1))


@scalar.oracle("second differences")
def scalar_by_second_differences(s, c, blocks):
    """L is a polynomial of degree 2 in each w: differences of its second order, taken exactly where two w move."""

    def at(*moved):
        factor = np.prod(1 + sum((np.eye(blocks)[i] * h for i, h in moved), np.zeros(blocks)))
        return (factor**2 * s - 2 * factor * (c + s)) / 2

    H = np.zeros((blocks, blocks))
    for i, j in itertools.product(range(blocks), repeat=2):
        if i == j:
            H[i, i] = at((i, 1)) - 2 * at() + at((i, -1))
        else:
            H[i, j] = (at((i, 1), (j, 1)) - at((i, 1), (j, -1)) - at((i, -1), (j, 1)) + at((i, -1), (j, -1))) / 4
    return spectrum(H)


def _symmetric(diagonal, beside, blocks):
    H = np.full((blocks, blocks), float(beside))
    np.fill_diagonal(H, diagonal)
    return spectrum(H)


scalar.mistake("blocks apart", "The mixed derivatives are missing: each block sees all others as multiplied on.")(
    lambda s, c, blocks: _symmetric(s, 0, blocks)
)
scalar.mistake("residual forgotten", "Only products of first derivatives are there; f is not linear in all w at once.")(
    lambda s, c, blocks: _symmetric(s, s, blocks)
)
scalar.mistake("sign of the residual", "The second derivative of f has the wrong sign: it comes with f - y.")(
    lambda s, c, blocks: _symmetric(s, s + c, blocks)
)
scalar.mistake("residual on the diagonal", "f is linear in each single w: its second derivative is 0 on the diagonal.")(
    lambda s, c, blocks: _symmetric(s - c, s - c, blocks)
)
scalar.altered(
    "factor two", "There is a factor 2 too many: the loss has a half in front of the square.", then=lambda a: 2 * a
)


QUESTIONS = (eigenvalues, condition, scalar)
