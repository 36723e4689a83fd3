"""Mistakes that people make, as hypotheses: each yields (kind, words) where it gives the wrong gradient's own numbers.

Each one asks a `Suspect` for its numbers under some cotangent or at some other inputs, and for the right ones. The
table at the end is their order: what comes first explains more. `diagnose` believes none that does not hold at a second
place as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from .compare import jacobian
from .suspect import Found, Suspect, fits, inside, name_of
from .terms import terms

ROWS = 24  # rows of a Jacobian that is too large to look at whole,
ENTRIES = 4_000_000  # and entries beyond which it is not examined
DECIMALS = range(1, 9)
LARGE = 1e5  # times its size, an input makes an eps in a denominator vanish
SHARE = 1e-2  # of a variance, at most, an eps is


# --- how g is used


def forgotten(s: Suspect) -> Found:
    if s.same(s.claimed(s.random_g()), s.got):
        ones = s.explained_by(lambda v: s.true(v, u=np.ones(s.u.shape)))
        yield "forgotten g", f"the gradient is the same whatever g is{', and right for g = 1' if ones else ''}"


def nonlinear(s: Suspect) -> Found:
    other = s.random_g()
    if not s.same(s.claimed(s.u + other), s.got + s.claimed(other)):
        mask = s.u * (s.u > 0)
        masked = s.explained_by(lambda v: s.true(v, u=mask)) or (s.got.shape == s.u.shape and s.same(s.got, mask))
        why = ": g is masked by its own sign, and the input's was meant" if masked else ""
        yield "nonlinear", f"the gradient for the sum of two g is not the sum of their gradients{why}"


def some_of_g(s: Suspect) -> Found:
    """Only the first or the last along an axis arrives, or all but that one."""
    for axis, n in enumerate(s.u.shape):
        for which, index in (("first", 0), ("last", n - 1)):
            mask = np.zeros(s.u.shape)
            mask[(slice(None),) * axis + (index,)] = 1
            if n > 1 and s.explained_by(lambda v, mask=mask: s.true(v, u=s.u * mask)):
                yield "missing term", f"of g, only the {which} along axis {axis} arrives: an = where a += belongs?"
            if n > 2 and s.explained_by(lambda v, mask=mask: s.true(v, u=s.u * (1 - mask))):
                yield "missing term", f"of g, the {which} along axis {axis} does not arrive: does a loop miss it?"


# --- what was done to the result


def digits(s: Suspect) -> Found:
    if s.jacobian is None:
        return
    near = abs(s.got - s.right).max(initial=0.0) <= 1e-6 * abs(s.right).max(initial=0.0)
    if near and np.array_equal(s.got, s.got.astype(np.float32)):
        yield "single precision", "the gradient is right, and was cut to float32 on the way"
    for count in DECIMALS:
        unit = 10.0**-count
        whole = abs(s.got / unit - np.round(s.got / unit)) < 1e-6
        if whole.all() and (abs(s.got - s.right) <= 0.500001 * unit).all():
            yield "rounded", f"the gradient is right, and rounded to {count} decimals"
            return


def targets(s: Suspect) -> Found:
    """Wrong only where an integer input points, x[i, t[i]]."""
    wrong = abs(s.got - s.right) > s.agrees * abs(s.right).max(initial=0.0)
    for place, t in s.held.items():
        t = np.asarray(t)
        if t.dtype.kind not in "iu" or not t.ndim or t.shape != s.got.shape[:1] or s.got.ndim != 2:
            continue
        if not (t.min() >= 0 and t.max() < s.got.shape[1]) or s.got.shape[1] < 2:
            continue
        there = np.arange(s.got.shape[1]) == t[:, None]
        if np.array_equal(wrong, there & ((s.right != 0) | (s.got != 0))):
            yield "at the targets", f"the gradient is right but at [i, t[i]], t being {s.problem.name(place)}"
        elif np.array_equal(wrong, ~there):
            yield "at the targets", f"the gradient is right at [i, t[i]] alone, t being {s.problem.name(place)}"


def inverted(s: Suspect) -> Found:
    nothing = s.right == 0
    if s.got.shape == s.u.shape and nothing.any() and not nothing.all() and np.array_equal(s.got != 0, nothing):
        yield "inverted mask", "the gradient is zero just where it should not be, and only there"


def factor(s: Suspect) -> Found:
    """An array that the rule could know, once too often or not at all, at the gradient or at g."""
    with np.errstate(all="ignore"):
        for (name, c), (power, kind, words) in itertools.product(s.arrays(), POWERS):
            guesses = [s.right * c**power] if fits(c, s.got.shape) else []
            guesses += [s.right_for(s.u * c**power)] if fits(c, s.u.shape) else []
            if any(np.isfinite(guess).all() and s.same(s.got, guess) for guess in guesses):
                yield kind, words.format(name)


POWERS = (
    (-1.0, "missing factor", "it lacks the factor {}"),
    (1.0, "extra factor", "the factor {} is there once too often"),
    (2.0, "inverse factor", "it is multiplied by {}, and should be divided"),
    (-2.0, "inverse factor", "it is divided by {}, and should be multiplied"),
)


def masked(s: Suspect) -> Found:
    """A mask that is not there."""
    for name, c in s.arrays():
        if fits(c, s.got.shape) and (c > 0).any() and not (c > 0).all() and s.same(s.got * (c > 0), s.right):
            yield "missing mask", f"it lacks the mask {name} > 0"


def slices(s: Suspect) -> Found:
    """A factor of its own for each place along an axis: a standard deviation, say."""
    for axis in range(s.got.ndim):
        others = tuple(a for a in range(s.got.ndim) if a != axis)
        count = s.got.size // s.got.shape[axis]
        size = (s.right**2).sum(others, keepdims=True)
        if count < 2 or s.got.shape[axis] < 3 or not size.all():
            continue
        r = (s.got * s.right).sum(others, keepdims=True) / size
        if not s.same(s.got, s.right * r) or np.isclose(abs(r[..., None]), (0, 1), rtol=0, atol=1e-9).any():
            continue
        words = f"it is off by a factor that differs along axis {axis} and is one number along the others"
        variance = s.xs[s.k].var(others, keepdims=True)
        for power, name in ((1, "multiplied by the standard deviation"), (2, "multiplied by the variance"),
                            (-1, "divided by the standard deviation"), (-2, "divided by the variance")):  # fmt: skip
            eps = abs(r) ** (2 / power) - variance
            if np.ptp(eps) <= 1e-6 * variance.max() and abs(eps).max() <= SHARE * variance.max():
                words = f"it is {name} of the input along axis {', '.join(map(str, others))}, and should not be"
        yield "missing factor", words


def eps(s: Suspect) -> Found:
    """A function that only an eps keeps from being the same for the input times 1e5: the gradient without that eps."""
    xs = list(s.xs)
    xs[s.k] = LARGE * s.xs[s.k]
    y, far = s.problem.value(s.xs), s.problem.value(xs)
    same = np.isfinite(far).all() and abs(y - far).max(initial=0.0) <= SHARE * abs(y).max(initial=0.0)
    if same and s.explained_by(lambda v: LARGE * s.true(v, xs=xs)):
        yield "eps", "it is the gradient of a forward without the eps that this one has in a denominator"


# --- where the derivative is taken, and of what


def other_point(s: Suspect) -> Found:
    y = s.problem.value(s.xs)
    if y.shape != s.got.shape:
        return
    xs = list(s.xs)
    xs[s.k] = y
    if s.explained_by(lambda v: s.true(v, xs=xs)):
        yield "output for input", "the derivative is taken at the output, as if the function were applied twice"
    elif s.is_right(s.problem.pullback(xs)(s.u)[s.k]):
        yield "input for output", "it is a formula for the output y, into which the input was put"


def settings(s: Suspect) -> Found:
    """The gradient of the same forward with another value of a number or a switch that it is given."""
    for words, problem in s.problem.variants():
        y = problem.value_or_nan(s.xs)
        if y.ndim != s.u.ndim or not np.isfinite(y).all() or any(a < b for a, b in zip(y.shape, s.u.shape)):
            continue
        u = np.zeros(y.shape)
        u[tuple(slice(n) for n in s.u.shape)] = s.u

        def other(v: np.ndarray, problem=problem, u=u) -> float:
            vs = [np.zeros_like(x) for x in s.xs]
            vs[s.k] = v
            return float((u * s.slope(problem, s.xs, vs)[0]).sum())

        if s.explained_by(other):
            yield "setting", f"it is the gradient with {words}"


# --- a number, a place, a border


def constant(s: Suspect) -> Found:
    v = s.rng.standard_normal(s.got.shape)
    right = s.true(v)
    if not right:
        return
    c = float((s.got * v).sum() / right)
    if c and s.explained_by(lambda v: c * s.true(v)):
        if abs(c + 1) < s.agrees:
            yield "sign", "the gradient is the negative of the right one"
        else:
            yield "factor", f"the gradient is {name_of(c, s.got.shape, s.u.shape)} times the right one"


def swapped(s: Suspect) -> Found:
    for j, x in enumerate(s.xs):
        if j != s.k and x.shape == s.got.shape and s.explained_by(lambda v, j=j: s.true(v, k=j)):
            v = s.random_v()
            own = s.same((s.problem.pullback(s.xs)(s.u)[j] * v).sum(), np.asarray(s.true(v, k=j)))
            yield "another input" if own else "swapped", f"it is the gradient of {s.name(j)}"


def _moves(shape: tuple[int, ...]) -> Iterator[tuple[str, str, Callable, Callable]]:
    """(kind, words, move, its adjoint) for arrays of this shape."""
    axes = [a for a, n in enumerate(shape) if n > 1]
    for a, b in itertools.combinations(axes, 2):
        if shape[a] == shape[b]:
            swap = lambda t, a=a, b=b: t.swapaxes(a, b)  # noqa: E731
            yield "transposed", f"with axes {a} and {b} exchanged", swap, swap
    for count in range(1, min(len(axes), 5) + 1):
        for chosen in itertools.combinations(axes, count):
            flip = lambda t, chosen=chosen: np.flip(t, chosen)  # noqa: E731
            words = f"reversed along {'axis' if count == 1 else 'axes'} {', '.join(map(str, chosen))}"
            yield "flipped", words, flip, flip
    for count in (1, 2):
        for chosen in itertools.combinations([a for a in axes if shape[a] > 2], count):
            for by in (1, -1):
                words = f"shifted by {by} along {'axis' if count == 1 else 'axes'} {', '.join(map(str, chosen))}"
                roll = lambda t, a=chosen, by=by: np.roll(t, (by,) * len(a), a)  # noqa: E731
                back = lambda t, a=chosen, by=by: np.roll(t, (-by,) * len(a), a)  # noqa: E731
                yield "shifted", words, roll, back
    if 1 < len(shape) < 5:
        yield from _orders(shape)


def _orders(shape: tuple[int, ...]) -> Iterator[tuple[str, str, Callable, Callable]]:
    """The same numbers, reshaped with the axes in another order than they have."""
    for order in itertools.permutations(range(len(shape))):
        there = tuple(shape[a] for a in order)
        if there == shape:
            continue  # a transposition, which is tried by itself
        turn = lambda t, order=order: t.transpose(order).reshape(shape)  # noqa: E731
        back = lambda t, order=order, there=there: t.reshape(there).transpose(np.argsort(order))  # noqa: E731
        yield "reordered", f"with its axes in the order {order}, reshaped to {shape}", turn, back
        yield "reordered", f"read as {there}, and its axes put in order from {order}", back, turn


def moved_result(s: Suspect) -> Found:
    for kind, words, _, back in _moves(s.got.shape):
        mask = inside(s.got.shape) if kind == "shifted" else 1.0  # what falls over the edge is not compared
        if s.explained_by(lambda v, back=back: s.true(back(v)), mask):
            yield kind, f"the gradient is the right one {words}"


def moved_cotangent(s: Suspect) -> Found:
    for kind, words, move, _ in _moves(s.u.shape):
        if s.explained_by(lambda v, move=move: s.true(v, u=move(s.u))):
            yield kind, f"the rule uses g {words}"


def untransposed(s: Suspect) -> Found:
    if s.got.shape == s.u.shape and s.same(s.got.ravel(), np.nan_to_num(s.jacobian) @ s.u.ravel()):
        yield "transposed", "it is the Jacobian times g, as a change goes forwards; backwards it is the transposed one"


def moved_other(s: Suspect) -> Found:
    for j, x in enumerate(s.xs):
        if j == s.k or x.size < 2:
            continue
        for kind, words, move, _ in _moves(x.shape):
            xs = list(s.xs)
            xs[j] = np.ascontiguousarray(move(x))
            if not np.array_equal(xs[j], x) and s.explained_by(lambda v, xs=xs: s.true(v, xs=xs)):
                yield kind, f"the rule uses {s.name(j)} {words}"


def border(s: Suspect) -> Found:
    shape = s.got.shape
    axes = [a for a in range(len(shape)) if shape[a] > 2 and (a > 1 or len(shape) < 3)]
    for chosen in [(a,) for a in axes] + ([tuple(axes)] if len(axes) > 1 else []):
        if s.explained_by(s.true, inside(shape, chosen)) and _stays(s, chosen):
            where = f"{'axis' if len(chosen) == 1 else 'axes'} {', '.join(map(str, chosen))}"
            yield "border", f"wrong only at the border of {where}"


def _stays(s: Suspect, axes: tuple[int, ...]) -> bool:
    """Is the border still wrong, and the inside right, when other values of the input lie there?"""
    xs = list(s.xs)
    xs[s.k] = np.roll(s.xs[s.k], [s.got.shape[a] // 2 for a in axes], axes)
    got, mask = s.problem.pullback(xs)(s.u)[s.k], inside(s.got.shape, axes)
    v = s.random_v()
    size = abs(got * v).sum()
    off = [abs((got * v * m).sum() - s.true(v * m, xs=xs)) for m in (mask, 1 - mask)]
    return bool(off[0] <= s.agrees * size < off[1])


def support(s: Suspect) -> Found:
    """Entries of the Jacobian that are wrongly zero or wrongly not, or an error of low rank: a dropped sum or mean.

    Of a large Jacobian, a few rows are examined.
    """
    J = s.jacobian
    rows = np.arange(s.u.size) if J is not None else s.rng.permutation(s.u.size)[:ROWS]
    if J is None:
        if s.u.size * s.got.size > ENTRIES:
            return
        J = jacobian(s.problem, s.xs, s.slope, s.k, s.inside[s.k].ravel())[0][rows]
    pull = s.problem.pullback(s.xs)
    G = np.zeros(J.shape)  # (outputs, entries), as the rules have it
    for i, row in enumerate(rows):
        unit = np.zeros(s.u.size, s.u.dtype)
        unit[row] = 1
        G[i] = pull(unit.reshape(s.u.shape))[s.k].ravel()
    J, G = J[:, s.inside[s.k].ravel()], G[:, s.inside[s.k].ravel()]
    small = 1e-9 * abs(J).max()
    missing, extra = (abs(G) <= small) & (abs(J) > small), (abs(G) > small) & (abs(J) <= small)
    others = (abs(G - J) > 1e-6 * abs(J).max())[~missing & ~extra].any()
    if missing.any() and not extra.any():
        right, more = int((abs(J) > small).sum()), ", and others are wrong" if others else ""
        yield "missing term", f"{int(missing.sum())} of the {right} non-zero entries of the Jacobian are zero{more}"
        return
    elif extra.any() and not missing.any() and not others:
        yield "extra term", f"{int(extra.sum())} entries of the Jacobian should be zero and are not"
        return
    rank = np.linalg.matrix_rank(J - G, tol=1e-7 * abs(J).max())
    everywhere = (abs(J - G).max(axis=0, initial=0.0) > 1e-6 * abs(J).max()).all()
    if everywhere and 0 < rank <= min(J.shape) / 3 and rank < np.linalg.matrix_rank(J):
        size = f"{J.shape[0]} x {J.shape[1]}"
        yield "term of a sum", f"the error has rank {rank} in a Jacobian of {size}, as a sum or a mean over an axis has"


ALWAYS = (digits, forgotten, nonlinear, constant, swapped, some_of_g, moved_result, moved_cotangent, settings, eps)
WHOLE = (untransposed, targets, inverted, masked, factor, slices, terms)  # these need the whole Jacobian
LAST = (other_point, moved_other, border, support)
