"""The graph: a number, an array, the walk back, and what broadcasting repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ....check.slopes import TINY
from ..diagnosis import explain, same
from ..piece import Case, Function, Piece
from ..student import Student

DEEP = 10_000


# --- value


class Complex:
    """A number with the operations of Value: its imaginary part is its derivative, times a tiny step."""

    def __init__(self, z: complex):
        self.z = z

    def __add__(self, other: Any) -> Complex:
        return Complex(self.z + getattr(other, "z", other))

    def __mul__(self, other: Any) -> Complex:
        return Complex(self.z * getattr(other, "z", other))

    def tanh(self) -> Complex:
        t = math.tanh(self.z.real)
        return Complex(complex(t, self.z.imag * (1 - t * t)))

    __radd__, __rmul__ = __add__, __mul__


def _diamond(a: Any, b: Any) -> Any:
    c = a * b
    d = c + a
    return c * d + d


EXPRESSIONS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("a + b", lambda a, b: a + b),
    ("a * b", lambda a, b: a * b),
    ("a.tanh() + b", lambda a, b: a.tanh() + b),
    ("(a + 3) * (2 * b)", lambda a, b: (a + 3) * (2 * b)),
    ("3 + a * b", lambda a, b: 3 + a * b),
    ("a * a + b (a is used twice)", lambda a, b: a * a + b),
    ("a + a + b (a is used twice)", lambda a, b: a + a + b),
    ("c * d + d with c = a * b, d = c + a (c and d are used twice)", _diamond),
    ("e * e, e = (a * b).tanh() + a", lambda a, b: (lambda e: e * e)((a * b).tanh() + a)),
)


def values(student: Student) -> Iterator[str]:
    """Expressions, their values, and their derivatives against the complex step."""
    for words, f in EXPRESSIONS:
        with student.running("Value"):
            a, b = student.call("Value", 0.6), student.call("Value", -1.7)
            y = f(a, b)
            value = y.data
            y.backward()
            found = {"a": a.grad, "b": b.grad, "the result itself": y.grad}
        right = f(Complex(0.6), Complex(-1.7)).z.real
        if _number(value) is None:
            yield f"{words}: data is {value!r:.60}, a number is asked for"
            continue
        if not math.isclose(value, right, rel_tol=1e-12):
            yield f"{words} at a = 0.6, b = -1.7 is {value:.6g}, right is {right:.6g}"
        expected = {
            "a": f(Complex(0.6 + 1j * TINY), Complex(-1.7)).z.imag / TINY,
            "b": f(Complex(0.6), Complex(-1.7 + 1j * TINY)).z.imag / TINY,
            "the result itself": 1.0,
        }
        for name, got in found.items():
            if _number(got) is None or not math.isclose(got, expected[name], rel_tol=1e-9, abs_tol=1e-12):
                got = got if _number(got) is None else f"{got:.6g}"
                yield f"{words} at a = 0.6, b = -1.7: the grad of {name} is {got}, right is {expected[name]:.6g}"
    with student.running("Value.backward"):
        a = y = student.call("Value", 1.0)
        for _ in range(DEEP):
            y = y + 0.0
        y.backward()
        found = a.grad
    if found != 1:
        yield f"a chain of {DEEP} additions of 0 has the grad {found}, right is 1"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) else None


VALUE = Piece("value", "a number that knows where it came from", 1, checks=(values,))


# --- tensor


class Made:
    """A tensor of the checker's own: it counts how often its pullback is called, and after whom."""

    def __init__(self, inputs: tuple = (), factors: tuple = (), log: list | None = None):
        self.inputs, self.factors, self.log = inputs, factors, log

    def pullback(self, g: Any) -> tuple:
        self.log.append(self)
        return tuple(c * g for c in self.factors)


def walks(student: Student) -> Iterator[str]:
    """Graphs that the checker made."""
    log: list[Made] = []
    a, b = Made(), Made()
    g = np.array([1.0, 2.0])
    c = Made((a, b), (3.0, 5.0), log)  # c = 3 a + 5 b
    d = Made((c, a), (2.0, 7.0), log)  # d = 2 c + 7 a
    e = Made((c, d, d), (1.0, 1.0, 4.0), log)  # e = c + 5 d = 11 c + 35 a
    cases = {
        "a leaf alone": (a, {a: 1}),
        "3 a + 5 b": (c, {a: 3, b: 5}),
        "2 c + 7 a, c = 3 a + 5 b": (d, {a: 13, b: 10}),
        "c + d + 4 d, d = 2 c + 7 a, c = 3 a + 5 b": (e, {a: 68, b: 55}),
    }
    for words, (output, right) in cases.items():
        log.clear()
        found = student.call("walk", output, g.copy())
        if not isinstance(found, dict):
            yield f"walk returns a {type(found).__name__}, a dict {{leaf: cotangent}} is asked for"
            return
        if len(log) != len(set(map(id, log))):
            yield f"walk of {words} calls a pullback twice: add up first, then call it once"
        if set(map(id, found)) != set(map(id, right)):
            yield f"walk of {words} gives {len(found)} cotangents, one for each leaf is asked for: {len(right)}"
            return
        for name, leaf in (("a", a), ("b", b)):
            if leaf in right and not same(np.asarray(found[leaf], float), right[leaf] * g):
                got = np.asarray(found[leaf])
                yield f"walk of {words}: the cotangent of {name} is {got}, right is {right[leaf] * g}"
    tail = a
    for _ in range(DEEP):
        tail = Made((tail,), (1.0,), log)
    if not same(np.asarray(student.call("walk", tail, g.copy())[a], float), g):
        yield f"walk of a chain of {DEEP} tensors is wrong"


def tensors(student: Student) -> Iterator[str]:
    """Expressions of the student's tensors, walked by the student."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 2, 3))
    yield from _expression(student, "(a * b).sum()", lambda a, b: (a * b).sum(), x, y)
    yield from _expression(student, "(a + b).sum()", lambda a, b: (a + b).sum(), x, y)
    yield from _expression(student, "(a * a * b + a).sum()", lambda a, b: (a * a * b + a).sum(), x, y)


def _expression(student: Student, words: str, f: Callable, x: np.ndarray, y: np.ndarray) -> Iterator[str]:
    with student.running("Tensor"):
        a, b = student.call("Tensor", x.copy()), student.call("Tensor", y.copy())
        out = f(a, b)
        value = out.data
        found = student.call("walk", out, np.ones(()))
        grads = [found.get(a), found.get(b)]
    right = f(x, y)
    if np.shape(value) != () or not np.isclose(value, right):
        yield f"{words} is {value!r:.60}, right is {right:.6g}"
    for name, z, grad, g in zip("ab", (x, y), grads, _slopes(f, x, y)):
        if grad is None:
            yield f"{words}: no cotangent of {name}: is it among the inputs?"
        elif np.shape(grad) != z.shape:
            yield f"{words}: the cotangent of {name} has shape {np.shape(grad)}, {name} has {z.shape}"
        elif not same(np.asarray(grad, float), g):
            yield f"{words}: the cotangent of {name}: {explain(np.asarray(grad, float), g, {})}"


def _slopes(f: Callable, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The gradients of f(x, y), a number, by the complex step."""
    found = [np.zeros(x.shape), np.zeros(y.shape)]
    for k, at in [(k, i) for k, gradient in enumerate(found) for i in np.ndindex(gradient.shape)]:
        z = [x.astype(complex), y.astype(complex)]
        z[k][at] += 1j * TINY
        found[k][at] = f(*z).imag / TINY
    return found


TENSOR = Piece(
    "tensor", "an array that knows where it came from, and the walk back", 1, checks=(walks, tensors), drives=True
)  # fmt: skip


# --- broadcasting


def _sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """By indices: each entry of g is added where broadcasting had read."""
    out = np.zeros(shape)
    source = np.broadcast_to(np.arange(out.size).reshape(shape), g.shape)
    np.add.at(out.reshape(-1), source.reshape(-1), g.reshape(-1))
    return out


def _repeated(rng: np.random.Generator) -> Iterator[Case]:
    yield "equal shapes", (rng.standard_normal((2, 3)), (2, 3))
    yield "an axis in front, (2, 3) from (3,)", (rng.standard_normal((2, 3)), (3,))
    yield "an axis of length 1, (2, 3) from (2, 1)", (rng.standard_normal((2, 3)), (2, 1))
    yield "a number, (2, 3) from ()", (rng.standard_normal((2, 3)), ())
    yield "both, (4, 2, 3) from (2, 1)", (rng.standard_normal((4, 2, 3)), (2, 1))
    yield "length 1 on both sides, (4, 1, 3) from (1, 3)", (rng.standard_normal((4, 1, 3)), (1, 3))
    yield "a bias, (2, 3, 4, 5) from (1, 3, 1, 1)", (rng.standard_normal((2, 3, 4, 5)), (1, 3, 1, 1))


def _mean_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return _sum_to(g, shape) / (g.size / max(math.prod(shape), 1))


UNBROADCAST = Function(
    "unbroadcast", _sum_to, _repeated,
    mistakes={"it is the mean over what was repeated: add up, each copy contributes": _mean_to},
)  # fmt: skip


def broadcast(student: Student) -> Iterator[str]:
    """+ and * of tensors whose shapes broadcast."""
    problem = UNBROADCAST.problem(student)
    if problem:
        yield f"unbroadcast: {problem}"
    rng = np.random.default_rng(0)
    for shape in ((3,), (2, 1), ()):
        x, y = rng.standard_normal((2, 3)), rng.standard_normal(shape)
        yield from _expression(student, f"(a + b).sum(), shapes (2, 3) and {shape}", lambda a, b: (a + b).sum(), x, y)
        yield from _expression(student, f"(a * b).sum(), shapes (2, 3) and {shape}", lambda a, b: (a * b).sum(), x, y)


BROADCASTING = Piece("broadcasting", "what was repeated is added up", 1, (UNBROADCAST,), (broadcast,), drives=True)
