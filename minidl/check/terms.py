"""Which term of a sum is missing, or wrong: by regression on the Jacobian."""

from __future__ import annotations

import itertools

import numpy as np

from .suspect import Found, Suspect, fits

BASES = (
    (("y", "y · sum(g · y)"),),
    (("1", "a mean or a sum"), ("x - mean", "a variance")),
    (("x", "a norm"),),
    (("1", "a mean or a sum"),),
)


def terms(s: Suspect) -> Found:
    """How often a term of the Jacobian occurs, by regression: it is something elementwise plus terms a[i] b[j], with i
    and j along some axes (a mean, a variance, the y y' of a softmax), and these are read off beside the diagonal."""
    x, y = s.xs[s.k], s.problem.value(s.xs)
    if y.shape != x.shape or not 4 <= x.size <= 400:
        return
    G = np.stack([s.claimed(unit.reshape(y.shape)).ravel() for unit in np.eye(y.size)])
    weights = [np.ones(1), *(a for j, a in enumerate(s.xs) if j != s.k and fits(a, y.shape))]
    axes = range(x.ndim)
    for chosen in itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(1, x.ndim + 1)):
        rows, blocks = _blocks(x.shape, chosen)
        J_, G_ = s.jacobian[blocks], G[blocks]  # (slices, along, along)
        if rows.shape[1] < 3 or not np.isclose((J_**2).sum(), (s.jacobian**2).sum(), rtol=1e-9):
            continue
        vectors = {"1": np.ones(x.shape), "x": x, "y": y, "x - mean": x - x.mean(chosen, keepdims=True)}
        for basis, w in itertools.product(BASES, weights):
            w = np.broadcast_to(w, x.shape).ravel()[rows][:, :, None]
            parts = (vectors[name].ravel()[rows] for name, _ in basis)
            columns = np.stack([w * v[:, :, None] * v[:, None] for v in parts], -1)
            factors = _occurrences(columns, J_, G_, s.agrees)
            if factors is not None:
                yield from (_term(c, why, chosen) for c, (_, why) in zip(factors, basis) if abs(c - 1) > 1e-6)
                return


def _blocks(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The flat indices of each slice along these axes, (slices, along), and of the pairs in one."""
    numbers = np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), axes, range(-len(axes), 0))
    rows = numbers.reshape(-1, int(np.prod([shape[a] for a in axes])))
    return rows, (rows[:, :, None], rows[:, None, :])


def _occurrences(columns: np.ndarray, J: np.ndarray, G: np.ndarray, agrees: float) -> np.ndarray | None:
    """How often each term of J occurs in G, if that explains G - J; the terms are fitted beside the diagonal."""
    beside = ~np.eye(J.shape[1], dtype=bool)
    fitted = [np.linalg.lstsq(c[beside], np.stack([j[beside], g[beside]], 1), rcond=None)[0]
              for c, j, g in zip(columns, J, G, strict=True)]  # fmt: skip
    of_J, of_G = np.moveaxis(np.stack(fitted), 2, 0)  # (slices, terms) each
    if not (abs(of_J) > 1e-9 * abs(of_J).max(initial=0.0)).all():
        return None
    c = np.median(of_G / of_J, axis=0)
    whole = np.einsum("sabt,st->sab", columns, of_J)
    size = abs(J).max()
    if abs((whole - J)[:, beside]).max() > 1e-6 * size:
        return None
    guess = J + np.einsum("sabt,st,t->sab", columns, of_J, c - 1)
    return c if abs(guess - G).max() <= max(agrees, 1e-9) * size else None


def _term(c: float, why: str, axes: tuple[int, ...]) -> tuple[str, str]:
    along = f"{why}, along axis {', '.join(map(str, axes))}"
    if abs(c) < 1e-6:
        return "missing term", f"the term that comes through {along}, is missing"
    if abs(c + 1) < 1e-6:
        return "sign of a term", f"the term that comes through {along}, has the wrong sign"
    return "factor of a term", f"the term that comes through {along}, is there {c:.6g} times"
