"""What is wrong with an answer, in one clause: compared with the right one, entry by entry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...check.suspect import inside, name_of

EXACT = 1e-9  # relative to the largest entry
SINGLE = 1e-4  # the same in float32


def same(a: np.ndarray, b: np.ndarray, tolerance: float = EXACT) -> bool:
    """Equal in shape, and in value to rounding."""
    if a.shape != b.shape or not np.isfinite(a).all():
        return False
    return bool(abs(a - b).max(initial=0) <= tolerance * max(abs(b).max(initial=0), 1e-3))


def returned(value: Any, names: tuple[str, ...]) -> list[np.ndarray]:
    """What a function returned, as one array for each of the names. Raises ValueError with a clause."""
    if value is None:
        raise ValueError("it returns None: is there a return at its end?")
    if len(names) == 1:
        value = (value,)
    elif not isinstance(value, (tuple, list)) or len(value) != len(names):
        got = f"{len(value)} things" if isinstance(value, (tuple, list)) else f"one {type(value).__name__}"
        raise ValueError(f"it returns {got}, a tuple ({', '.join(names)}) is asked for")
    arrays = []
    for name, v in zip(names, value):
        try:
            array = np.asarray(v)
        except ValueError:
            raise ValueError(f"{name} is a list whose rows differ in length") from None
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name} is of dtype {array.dtype}: real numbers are asked for")
        arrays.append(array)
    return arrays


def explain(got: np.ndarray, right: np.ndarray, guesses: dict[str, np.ndarray]) -> str:
    """What is wrong with `got`: the words of the guess that gives these numbers, or what kind of difference it is."""
    for words, guess in guesses.items():
        if not same(guess, right) and _alike(got, guess):
            return words
    if got.shape != right.shape:
        return f"its shape is {got.shape}, {right.shape} is right"
    if not np.isfinite(got).all():
        return f"{int((~np.isfinite(got)).sum())} of {got.size} entries are not finite"
    words = next(_kinds(got, right), None)
    worst = np.unravel_index(int(abs(got - right).argmax()), got.shape)
    place = f"at [{', '.join(map(str, worst))}]" if worst else "it"
    numbers = f"{place} {'gives' if not worst else 'it gives'} {got[worst]:.6g}, right is {right[worst]:.6g}"
    return f"{words}; {numbers}" if words else f"it differs in {_share(got, right)}; {numbers}"


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """`same`, where entries that are not finite may stand in both."""
    if a.shape != b.shape:
        return False
    finite = np.isfinite(a)
    return np.array_equal(finite, np.isfinite(b)) and same(np.where(finite, a, 0), np.where(finite, b, 0))


def _share(got: np.ndarray, right: np.ndarray) -> str:
    wrong = abs(got - right) > EXACT * abs(right).max(initial=1e-3)
    return f"{int(wrong.sum())} of {got.size} entries"


def _kinds(got: np.ndarray, right: np.ndarray) -> Iterator[str]:
    if not got.any():
        yield "it is zero everywhere"
        return
    if same(got, right, SINGLE):
        yield "it is right to four digits only: was it computed in float32, or as a difference quotient?"
    if right.any():
        factor = float((got * right).sum() / (right * right).sum())
        if factor and same(got, factor * right):
            times = f"it is {name_of(factor, got.shape)} times too large"
            yield "the sign is wrong" if abs(factor + 1) < EXACT else times
    axes = [a for a, n in enumerate(got.shape) if n > 1]
    for a, b in itertools.combinations(axes, 2):
        if got.shape[a] == got.shape[b] and same(got, right.swapaxes(a, b)):
            yield f"axes {a} and {b} are exchanged"
    for count in range(1, len(axes) + 1):
        for chosen in itertools.combinations(axes, count):
            if same(got, np.flip(right, chosen)):
                yield f"it is reversed along {'axis' if count == 1 else 'axes'} {', '.join(map(str, chosen))}"
    spatial = [a for a in axes if got.ndim == 4 and a > 1 and got.shape[a] > 2]
    for a, by in itertools.product(spatial, (1, -1)):
        keep = [slice(None)] * got.ndim
        keep[a] = slice(1, -1)
        if same(got[tuple(keep)], np.roll(right, by, a)[tuple(keep)]):
            yield f"it is shifted by {by} along axis {a}"
    if spatial and same(got * (mask := inside(got.shape, tuple(spatial))), right * mask) and (right * mask).any():
        yield "only the border is wrong: look at the padding, and at the last window"
