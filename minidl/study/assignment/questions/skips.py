"""Skip connections: the gradient as a product, as a sum over paths, its bounds; concatenation."""

from __future__ import annotations

import itertools

import numpy as np

from .... import functional as F
from ....core.tensor import as_tensor
from ..question import Output, Question
from ..question import by_rules as derivative

TOPIC = "Why skips let gradients through"

NET = """
A residual net of L layers: h_l = h_(l-1) + f_l(h_(l-1)), for l = 1, ..., L. Let J_l be the Jacobian of f_l at its
input, rows for outputs and columns for inputs, and g the gradient of the loss by h_L.
"""


def branches(rng: np.random.Generator, seed: int) -> dict:
    """Jacobians (L, n, n), not symmetric, that do not commute."""
    layers, width = int(rng.integers(3, 6)), int(rng.integers(2, 4))
    return {"jacobians": rng.normal(0, 0.6, (layers, width, width)), "g": rng.standard_normal(width)}


# --- product

product = Question(
    "skip-product",
    "The gradient through a residual net",
    TOPIC,
    f"""{NET}
Derive the gradient of the loss by h_0. What becomes of it if all J_l are 0? And if they are all -I?

Arguments: `jacobians`, an array (L, n, n), layer 1 first; `g`, an array (n,). Return dL/dh_0, an array (n,).
""",
    (Output("dL/dh0", ("entry",)),),
    branches,
)


@product.solution
def skip_gradient(jacobians, g):
    for J in jacobians[::-1]:
        g = g + J.T @ g
    return g


def _score(h, jacobians, g):
    for J in jacobians:
        h = h + F.tanh(as_tensor(J) @ h)  # at h = 0 the Jacobian of tanh(J h) is J
    return (h * g).sum()


product.derivative("h", at={"h": lambda jacobians, g: np.zeros(len(g))})(_score)


@product.mistake("identity forgotten", "This is the product of the J alone: a plain net. The skip is missing.")
def product_identity_forgotten(jacobians, g):
    for J in jacobians[::-1]:
        g = J.T @ g
    return g


product.mistake("not transposed", "The Jacobians carry changes forwards; gradients go back through the transposes.")(
    lambda jacobians, g: skip_gradient(jacobians.swapaxes(1, 2), g)
)
product.mistake("order reversed", "The layers are passed first to last; the gradient meets the last one first.")(
    lambda jacobians, g: skip_gradient(jacobians[::-1], g)
)
product.mistake("not transposed, order reversed", "This carries a change of h_0 forwards; it is not the gradient.")(
    lambda jacobians, g: skip_gradient(jacobians[::-1].swapaxes(1, 2), g)
)
product.mistake("first order", "Products of two or more J are dropped: paths through several branches count.")(
    lambda jacobians, g: g + sum(J.T @ g for J in jacobians)
)
product.mistake("skips only", "This is g as it came: only the path through all skips.")(lambda jacobians, g: g)


# --- paths

paths = Question(
    "skip-paths",
    "The gradient as a sum over 2^L paths",
    TOPIC,
    f"""{NET}
Each layer is passed by its skip or through its branch f_l, so that there are 2^L paths back, and the gradient by h_0
is the sum over all of them. Sort it: what do the paths through exactly k branches bring, for k = 0, ..., L?

(Their sum is the answer of skip-product. No need to list all paths: go back layer by layer.)

Arguments: `jacobians`, an array (L, n, n), layer 1 first; `g`, an array (n,). Return an array (L + 1, n), row k for the
paths through k branches.
""",
    (Output("by length", ("branches", "entry")),),
    branches,
)


@paths.solution
def paths_by_length(jacobians, g):
    found = np.zeros((len(jacobians) + 1, len(g)))
    found[0] = g
    for J in jacobians[::-1]:
        found[1:] += found[:-1] @ J  # (row) @ J is J transposed times the row
    return found


@paths.oracle("every path")
def paths_by_every_path(jacobians, g):
    found = np.zeros((len(jacobians) + 1, len(g)))
    for taken in itertools.product([False, True], repeat=len(jacobians)):
        v = g
        for J, through in list(zip(jacobians, taken))[::-1]:
            v = J.T @ v if through else v
        found[sum(taken)] += v
    return found


@paths.oracle("interpolation")
def paths_by_interpolation(jacobians, g):
    roots = np.exp(2j * np.pi * np.arange(len(jacobians) + 1) / (len(jacobians) + 1))
    return np.fft.fft([skip_gradient(t * jacobians, g) for t in roots], axis=0).real / len(roots)


paths.mistake("added up", "Row k holds all paths through up to k branches; it asks for exactly k.")(
    lambda jacobians, g: paths_by_length(jacobians, g).cumsum(axis=0)
)
paths.mistake("not transposed", "The Jacobians carry changes forwards; gradients go back through the transposes.")(
    lambda jacobians, g: paths_by_length(jacobians.swapaxes(1, 2), g)
)
paths.mistake("order reversed", "The layers are passed first to last; the gradient meets the last one first.")(
    lambda jacobians, g: paths_by_length(jacobians[::-1], g)
)


@paths.mistake("last layers only", "Row k is the one path through the last k branches; any k of the L may be taken.")
def paths_last_layers_only(jacobians, g):
    rows = [g]
    for J in jacobians[::-1]:
        rows.append(J.T @ rows[-1])
    return np.array(rows)


@paths.mistake("average path", "The paths of a length are averaged; the gradient is their sum.")
def paths_average_path(jacobians, g):
    lengths = [sum(taken) for taken in itertools.product([0, 1], repeat=len(jacobians))]
    return paths_by_length(jacobians, g) / np.bincount(lengths)[:, None]


paths.altered(
    "longest first", "The rows are in reverse: row 0 is for the path through the skips alone.", then=lambda a: a[::-1]
)


# --- bounds

bounds = Question(
    "skip-bounds",
    "How much a residual net can shrink or stretch a gradient",
    TOPIC,
    f"""{NET}
Suppose that no J_l stretches a vector by more than eps < 1: its largest singular value is at most eps. In dL/dh_0 =
A g, how small and how large can the singular values of A be? Give bounds in terms of eps and L, and see that they are
reached, by J_l = -eps I and J_l = eps I. And without the skips, h_l = f_l(h_(l-1)), how large can they be?

Arguments: `eps`, a number between 0 and 1; `layers`, L. Return three numbers: the lower bound and the upper bound with
skips, and the upper bound without.
""",
    (Output("lower"), Output("upper"), Output("plain")),
    lambda rng, seed: {"eps": float(rng.uniform(0.05, 0.9)), "layers": int(rng.integers(2, 9))},
)


@bounds.solution
def gain_bounds(eps, layers):
    return (1 - eps) ** layers, (1 + eps) ** layers, eps**layers


def _measured(eps, layers, identity=1.0):
    """The singular value of a net whose Jacobians are eps times the identity, by the engine."""

    def net(h):
        for _ in range(layers):
            h = identity * h + F.tanh(eps * h)
        return h

    return float(np.linalg.svd(derivative(net, ("h",), {"h": np.zeros(2)}, flat=True))[1][0])


bounds.oracle("autograd")(
    lambda eps, layers: (_measured(-eps, layers), _measured(eps, layers), _measured(eps, layers, 0.0))
)


@bounds.oracle("products")
def bounds_by_products(eps, layers):
    product = lambda J: np.linalg.norm(np.linalg.multi_dot([J] * layers + [np.eye(2)]), 2)  # noqa: E731
    identity = np.eye(2)
    return product(identity - eps * identity), product(identity + eps * identity), product(eps * identity)


bounds.mistake("first order", "The layers' deviations are added, 1 - L eps and 1 + L eps; they multiply.")(
    lambda eps, layers: (1 - layers * eps, 1 + layers * eps, eps**layers)
)
bounds.mistake("one layer", "These are the bounds of one layer, not of L.")(lambda eps, layers: (1 - eps, 1 + eps, eps))
bounds.mistake("lower is one over upper", "The lower bound is taken as 1 over the upper one; it is smaller.")(
    lambda eps, layers: ((1 + eps) ** -float(layers), (1 + eps) ** layers, eps**layers)
)
bounds.mistake("skips in the plain net", "Without skips there is no 1 + in the factor of a layer.")(
    lambda eps, layers: ((1 - eps) ** layers, (1 + eps) ** layers, (1 + eps) ** layers)
)
bounds.mistake("skips never shrink", "The lower bound is taken as 1: a branch may work against its skip.")(
    lambda eps, layers: (1.0, (1 + eps) ** layers, eps**layers)
)


# --- random branches

random = Question(
    "skip-random",
    "The expected gradient of a residual net with random branches",
    TOPIC,
    f"""{NET}
Suppose that the entries of all J_l (n by n) are independent, of mean 0 and variance s² / n. By what factor is the
expectation of |dL/dh_0|² larger than |g|²? By what factor is it in a net without skips?

Arguments: `s`, a number; `layers`, L. Return two numbers: the factor with skips, and without.
""",
    (Output("with skips"), Output("plain")),
    lambda rng, seed: {"s": float(rng.uniform(0.2, 1.5)), "layers": int(rng.integers(2, 6))},
)


@random.solution
def expected_growth(s, layers):
    return (1 + s**2) ** layers, s ** (2 * layers)


@random.oracle("all signs, n = 1")
def random_by_all_signs_n_1(s, layers):
    signs = np.array(list(itertools.product([-1, 1], repeat=layers)))
    return (np.prod(1 + s * signs, axis=1) ** 2).mean(), (np.prod(s * signs, axis=1) ** 2).mean()


@random.oracle("all signs, n = 2")
def random_by_all_signs(s, layers):
    """E of (I + J) M (I + J)' layer by layer, over the 16 matrices J of entries +-s / sqrt 2: exact."""
    matrices = [s / 2**0.5 * np.reshape(signs, (2, 2)) for signs in itertools.product([-1, 1], repeat=4)]

    def growth(identity):
        M = np.diag([1.0, 0.0])  # g g'
        for _ in range(layers):
            M = np.mean([(identity + J).T @ M @ (identity + J) for J in matrices], axis=0)
        return np.trace(M)

    return growth(np.eye(2)), growth(np.zeros((2, 2)))


random.mistake("square of the sum", "This is (1 + s)²: the mixed term has mean 0.")(
    lambda s, layers: ((1 + s) ** (2 * layers), s ** (2 * layers))
)
random.mistake("not squared", "This is the growth of |g| with s; |g|² was asked for, and variances add.")(
    lambda s, layers: ((1 + s) ** layers, s**layers)
)
random.mistake("one layer", "This is the factor of one layer; they multiply.")(lambda s, layers: (1 + s**2, s**2))
random.mistake("first order", "The variances of the layers are added: 1 + L s². Their factors multiply.")(
    lambda s, layers: (1 + layers * s**2, s ** (2 * layers))
)
random.mistake("unbiased, so unchanged", "The mean of dL/dh_0 is g; but its squared length grows.")(
    lambda s, layers: (1.0, s ** (2 * layers))
)


# --- concatenation


def dense(rng: np.random.Generator, seed: int) -> dict:
    n, a, c = rng.integers(2, 5, 3)
    return {
        "W1": rng.standard_normal((a, n)),
        "W2": rng.standard_normal((c, n + a)),
        "g": rng.standard_normal(n + a + c),
    }


concat = Question(
    "concat-gradient",
    "The gradient through concatenation",
    TOPIC,
    """
Two dense layers keep what was there and append to it:

    y1 = W1 x        y2 = W2 [x, y1]        output = [x, y1, y2]

with [ , ] for concatenation: the entries of x come first. The gradient g of a loss by the output is given, of one entry
for each of x, y1 and y2. Derive the gradient by x: everyone who read x sends back the slice that belongs to it.

Arguments: `W1`, an array (a, n); `W2`, an array (c, n + a); `g`, an array (n + a + c,). Return dL/dx, an array (n,).
""",
    (Output("dL/dx", ("entry",)),),
    dense,
)


@concat.solution
def concat_gradient(W1, W2, g):
    a, n = W1.shape
    back = W2.T @ g[n + a :]  # by x and by y1, through y2
    by_y1 = g[n : n + a] + back[n:]
    return g[:n] + back[:n] + W1.T @ by_y1


def _concatenated(x, W1, W2, g):
    y1 = as_tensor(W1) @ x
    y2 = as_tensor(W2) @ F.concat([x, y1], axis=0)
    return (F.concat([x, y1, y2], axis=0) * g).sum()


concat.derivative("x", at={"x": lambda W1, W2, g: np.ones(W1.shape[1])})(_concatenated)


@concat.oracle("unit vectors")
def concat_by_unit_vectors(W1, W2, g):
    x = np.eye(W1.shape[1])  # the net is linear: each column is one change of x
    y1 = W1 @ x
    y2 = W2 @ np.concatenate([x, y1])
    return g @ np.concatenate([x, y1, y2])


@concat.terms
def concat_terms(W1, W2, g):
    a, n = W1.shape
    g0, g1, g2 = np.split(g, [n, n + a])
    A, B = W2[:, :n], W2[:, n:]
    return {
        "x as part of the output": g0,
        "x through y1": W1.T @ g1,
        "x through y2": A.T @ g2,
        "x through y1 and then y2": W1.T @ (B.T @ g2),
    }


@concat.mistake("last reader only", "Only what y2 sends back counts; the output itself and y1 send gradients, too.")
def concat_last_reader_only(W1, W2, g):
    a, n = W1.shape
    return W2[:, :n].T @ g[n + a :]


@concat.mistake("wrong end", "The slices are cut as if x came last in each concatenation.")
def concat_wrong_end(W1, W2, g):
    a, c = len(W1), len(W2)
    back = W2.T @ g[:c]
    return g[c + a :] + back[a:] + W1.T @ (g[c : c + a] + back[:a])


QUESTIONS = (product, paths, bounds, random, concat)
