"""A NumPy forward and the NumPy backward that is said to belong to it, as a problem like any other."""

from __future__ import annotations

import copy
import itertools
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import slopes
from .compare import jacobian
from .diagnosis import Finding
from .oracle import doubt
from .problem import Arrays, Graph, Problem, placed

CLOSE = 1e-6  # relative difference of numbers that are the same


class Stopped(ValueError):
    """backward, or forward at other inputs, raised an exception; the message says which, and where."""


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[1:]  # without the line here that called it
    at = f" (line {last[0].lineno}: {last[0].line})" if last and last[0].line else ""
    return f"{type(error).__name__}: {error}{at}"


class Pair(Problem):
    """forward(*every) and its backward, as functions of the inputs at `slots`, which are arrays of float64.

    forward returns y, and the gradients are backward(g, *every); or a tuple (y, ..., cache), and they are
    backward(g, ..., cache), as in CS231n; or, if backward is True, a number and its gradients. Several outputs are
    joined into one vector. Every call gets copies, a dictionary of settings among them.
    """

    def __init__(
        self, forward: Callable, backward: Callable | bool, every: list[Any], slots: list[int], names: list[str]
    ):
        super().__init__(forward)
        self.backward, self.every, self.slots = backward, every, slots
        self.names = names
        self.claims = list(range(len(slots)))  # which of the gradients that backward returns are theirs
        self.coarsest = np.dtype(np.float64)
        self.ran = False  # after that, what forward raises is because of the inputs that a check tries

    def claimed(self, xs: Arrays) -> None:
        """Leave out the inputs that backward gives no gradient for. Raises ValueError if none is left, or too many."""
        found = self.backward_of(xs)(np.ones(self.value(xs).shape))
        if len(found) > len(self.slots):
            words = f"{len(found)} gradients for {len(self.slots)} floating inputs"
            raise ValueError(f"gradcheck: backward returns {words}; return None for an input without one")
        self.claims = [i for i, g in enumerate(found) if g is not None]
        self.slots = [self.slots[i] for i in self.claims]
        if not self.slots:
            raise ValueError("gradcheck: backward returns None: is there a return at its end?")
        self.ran = True

    # --- calls

    def called(self, xs: Arrays) -> tuple[list[np.ndarray], Any, list[Any]]:
        """(outputs, what stands beside them in the tuple, or None, what backward gets beside their gradients)."""
        inputs = [copy.deepcopy(x) for x in placed(self.every, self.slots, [np.array(x) for x in xs])]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            returned = self._forward(inputs)
        several = isinstance(returned, tuple) and len(returned) > 1
        ys, cache = (returned[:-1], returned[-1]) if several else ((returned,), None)
        ys = [np.asarray(y) for y in ys]
        if any(y.dtype.kind not in "biufc" for y in ys):
            raise TypeError("gradcheck: forward must return an array or a number, or a tuple of these and a cache")
        self._meet(ys)
        return ys, cache, [cache] if several else inputs

    def _forward(self, inputs: list[Any]) -> Any:
        try:
            return self.f(*inputs)
        except Exception as error:
            if any(np.iscomplexobj(x) for x in inputs):  # only the complex step asks for that
                raise TypeError(f"{error}") from error
            if self.ran:
                raise Stopped(f"forward raised {type(error).__name__}: {error}") from error
            raise

    def _meet(self, arrays: Sequence[np.ndarray]) -> None:
        met = [self.coarsest, *(a.dtype for a in arrays if a.dtype.kind == "f")]
        self.coarsest = min(met, key=lambda dtype: dtype.itemsize)

    def value(self, xs: Arrays) -> np.ndarray:
        ys = self.called(xs)[0]
        joined = ys[0] if len(ys) == 1 else np.concatenate([y.ravel() for y in ys])
        return joined if joined.dtype.kind == "c" else joined.astype(np.float64)

    def backward_of(self, xs: Arrays) -> Callable[[np.ndarray], list[Any]]:
        """One run forward; the function from the output's gradient to what backward returns, as a list."""
        ys, cache, rest = self.called(xs)
        ends = np.cumsum([y.size for y in ys])[:-1]

        def run(u: np.ndarray) -> list[Any]:
            if self.backward is True:
                found = list(cache) if isinstance(cache, (tuple, list)) else [cache]
                return [None if g is None else float(np.sum(u)) * np.asarray(g) for g in found]
            gs = [part.reshape(y.shape) for part, y in zip(np.split(u.ravel(), ends), ys, strict=True)]
            try:
                with np.errstate(all="ignore"):
                    found = self.backward(*(g if g.ndim else g[()] for g in gs), *rest)
            except Exception as error:
                raise Stopped(_place(error)) from error
            return list(found) if isinstance(found, (tuple, list)) else [found]

        return run

    def pullback(self, xs: Arrays) -> Callable[[np.ndarray], list[np.ndarray]]:
        """Each call runs forward again: a cache that backward has changed does no harm."""

        def pull(u: np.ndarray) -> list[np.ndarray]:
            found = self.backward_of(xs)(np.array(u, np.float64))
            found = [np.asarray(found[i]) for i in self.claims]
            self._meet(found)
            return [g.astype(np.float64) for g in found]

        return pull

    def graph(self, xs: Arrays) -> Graph:
        """No operation is known; the precision is that of the coarsest array that was met."""
        try:
            y = self.value(xs)
        except (ValueError, ArithmeticError):
            return Graph(finite=False)
        return Graph(values=[y], precision=float(np.finfo(self.coarsest).eps), finite=bool(np.isfinite(y).all()))

    @property
    def held(self) -> dict[int, Any]:
        """The inputs that do not move, by their places."""
        return {i: x for i, x in enumerate(self.every) if i not in self.slots}

    def name(self, place: int) -> str:
        return f"input {place}{self.names[place]}"

    def variants(self) -> Iterator[tuple[str, Problem]]:
        for i, x in self.held.items():
            for key, value in x.items() if isinstance(x, dict) else [(None, x)]:
                for other in _others(value):
                    changed = copy.copy(self)
                    changed._origin = None
                    changed.every = placed(self.every, [i], [other if key is None else {**x, key: other}])
                    name = self.name(i) if key is None else repr(key)
                    yield f"{name} = {other!r}, which is {value!r} here", changed

    # --- before anything is compared

    def manners(self, xs: Arrays) -> Iterator[str]:
        """What backward does beside its job: it is told, and not held against it."""
        if self.backward is True:
            return
        run, u = self.backward_of(xs), np.random.default_rng(0).standard_normal(self.value(xs).shape)
        given = u.copy()
        first = [np.array(g) for g in run(given) if g is not None]
        if not np.array_equal(given, u):
            yield "backward changes g in place: whoever else reads it gets other numbers"
        second = [np.array(g) for g in run(u.copy()) if g is not None]
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True)):
            yield "backward changes what forward cached: called again on it, it gives other gradients"

    def shapes(self, xs: Arrays, names: Sequence[str]) -> Iterator[Finding]:
        """Gradients that have not the shape of their input, and what is wrong with them."""
        u = np.random.default_rng(0).standard_normal(self.value(xs).shape)
        found = self.pullback(xs)(u)
        if all(g.shape == x.shape for g, x in zip(found, xs, strict=True)):
            return
        right = [self._right(xs, k, u) for k in range(len(xs))]
        for order in itertools.permutations(range(len(xs))) if len(xs) < 6 else ():
            if all(_same(found[i], right[k]) for k, i in enumerate(order)):
                words = "the gradients are right, and come in another order than the inputs"
                yield Finding("swapped", "backward", words)
                return
        for g, x, r, name in zip(found, xs, right, names, strict=True):
            if g.shape != x.shape:
                kind, why = next(_reshaped(g, r), ("shape", "its numbers are others, too"))
                yield Finding(kind, name, f"the gradient has shape {g.shape}, the input {x.shape}: {why}")

    def _right(self, xs: Arrays, k: int, u: np.ndarray) -> np.ndarray:
        slope = slopes.differences if doubt(self, xs, np.random.default_rng(0)) else slopes.complex_step
        return (jacobian(self, xs, slope, k)[0].T @ u.ravel()).reshape(xs[k].shape)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((abs(a - b) <= CLOSE * abs(b).max(initial=0.0)).all())


def _reshaped(got: np.ndarray, right: np.ndarray) -> Iterator[tuple[str, str]]:
    """How to get from one to the other."""
    for axes in itertools.permutations(range(got.ndim)):
        if got.ndim > 1 and axes != tuple(range(got.ndim)) and _same(got.transpose(axes), right):
            yield "transposed", f"it is the right one with its axes in the order {axes}"
    if got.size == right.size and _same(got.reshape(right.shape), right):
        yield "shape", "its numbers are right, reshape it"
    for count in range(1, got.ndim + 1):
        for axes in itertools.combinations(range(got.ndim), count):
            for keep in (False, True):
                if _same(got.sum(axes, keepdims=keep), right):
                    many = "axes" if count > 1 else "axis"
                    yield "not summed", f"summed over {many} {', '.join(map(str, axes))} it is right"
    if got.ndim == right.ndim and all(a >= b for a, b in zip(got.shape, right.shape, strict=True)):
        more = [a - b for a, b in zip(got.shape, right.shape, strict=True)]
        inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(more, right.shape, strict=True))
        if _same(got[inner], right):
            yield "padding", "inside it is right, and what was padded is still around it"
    elif right.ndim and not got.ndim:
        total = right.sum()
        if abs(got - total) <= CLOSE * abs(right).sum():
            yield "summed", "it is the sum of the right one's entries"


def _others(value: Any) -> list[Any]:
    """What a setting is mistaken for."""
    if isinstance(value, bool):
        return [not value]
    if not isinstance(value, (int, float)):
        return []
    more = [value / 2, 2 * value, 1 - value] if isinstance(value, float) else []
    return [other for other in (0 * value, 1, -value, *more) if other != value]
