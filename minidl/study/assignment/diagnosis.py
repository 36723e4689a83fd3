"""What kind of mistake a wrong answer is.

A guess is a wrong answer of its own, computed for every case. It is named only if it gives the student's numbers in
nearly every case, to rounding, and differs from the right ones in several. Guesses that fit equally well are all named.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import brentq

from ...check.suspect import inside, name_of
from .question import Inputs, Outputs, Question

EXACT = 1e-8  # relative to the largest entry of an answer,
SINGLE = 1e-5  # of one in float32,
TINY = 1e-12  # and absolutely, where it is zero
COARSE = 1e-4  # an answer that is nearer to the right one than this is right to some digits
CLOSER = 1e-2  # times as far off as the right answer: what a guess may leave unexplained
DECIMALS = range(1, 8)  # that an answer may be rounded to
EPS = np.logspace(-12, 1, 27)  # what is added to a denominator lies between two of these
FEWEST = 3  # cases that must tell a mistake from the right answer: one factor fits any one number
SPATIAL = ("row", "column", "position")
FACTORS = (-1.0, 2.0, 0.5)  # tried together with a known mistake

Arrays = Sequence[np.ndarray]  # one for each case


@dataclass(frozen=True)
class Diagnosis:
    """A mistake that explains an answer: its name, one sentence, and the output it is about, if not all."""

    name: str
    words: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.name}{f' (in {self.output})' if self.output else ''}: {self.words}"


def same(a: np.ndarray, b: np.ndarray, tolerance: float | None = None) -> bool:
    """Equal to rounding, in shape and value, that of float32 if one is float32; nan equals nan."""
    if a.shape != b.shape:
        return False
    if tolerance is None:
        tolerance = SINGLE if np.float32 in (a.dtype, b.dtype) else EXACT
    finite = np.isfinite(a)
    if not finite.all() or not np.isfinite(b).all():
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return False
        a, b = a[finite], b[finite]
    scale = max(abs(a).max(initial=0), abs(b).max(initial=0))
    return bool(abs(a - b).max(initial=0) <= tolerance * scale + TINY)


def closer(guess: np.ndarray, got: np.ndarray, right: np.ndarray) -> bool:
    """Does a guess come far nearer to what was got than the right answer does?"""
    if not guess.shape == got.shape == right.shape or not np.isfinite(got).all():
        return True  # what is not near at all; what is not finite is equal or not
    return bool(abs(guess - got).max(initial=0) <= CLOSER * abs(right - got).max(initial=0))


def explains(guess: Arrays, got: Arrays, right: Arrays) -> bool:
    """Does a guess give what was got in all cases but one in ten, and in all but one in ten where it is not right?"""
    return explains_all([(a,) for a in guess], [(a,) for a in got], [(a,) for a in right])


def explains_all(guess: Sequence[Outputs], got: Sequence[Outputs], right: Sequence[Outputs]) -> bool:
    """`explains` for all outputs together."""

    def equal(a: Outputs, b: Outputs) -> bool:
        return all(same(x, y) for x, y in zip(a, b, strict=True))

    def nearer(a: Outputs, b: Outputs, c: Outputs) -> bool:
        return all(closer(x, y, z) or same(y, z) for x, y, z in zip(a, b, c, strict=True))

    fits = [equal(a, b) for a, b in zip(guess, got, strict=True)]
    if sum(fits) < len(fits) - len(fits) // 10:
        return False
    if sum(all(np.isfinite(x).all() for x in a) for a in got) < FEWEST:
        return False  # infinities are equal whatever was done
    rows = zip(fits, guess, got, right, strict=True)
    telling = [fit and nearer(a, b, c) for fit, a, b, c in rows if not equal(a, c)]
    return sum(telling) >= max(FEWEST, len(telling) - len(telling) // 10)


@dataclass
class WrongAnswer:
    """One output of a wrong answer, in all cases."""

    question: Question
    index: int
    cases: Sequence[Inputs]
    right: Arrays
    got: Arrays

    @property
    def axes(self) -> tuple[str, ...]:
        return self.question.outputs[self.index].axes

    def explained(self, guess: Callable[[np.ndarray], np.ndarray]) -> bool:
        """By a change of the right answer."""
        return explains([guess(a) for a in self.right], self.got, self.right)


@np.errstate(all="ignore")
def diagnose(
    question: Question,
    cases: Sequence[Inputs],
    right: Sequence[Outputs],
    known: Mapping[str, Sequence[Outputs]],
    got: Sequence[Outputs],
) -> list[Diagnosis]:
    """The mistakes that explain an answer, [] if none is known.

    First those that people are known to make with this question, whose answers are `known`; then, output by output,
    general ones.
    """
    found = [Diagnosis(name, question.mistakes[name].words) for name in known if explains_all(known[name], got, right)]
    found = found or list(_eps(question, cases, right, got))
    if found:
        return found
    for k, output in enumerate(question.outputs):
        suspect = WrongAnswer(question, k, cases, [a[k] for a in right], [a[k] for a in got])
        if all(same(a, b) for a, b in zip(suspect.got, suspect.right, strict=True)):
            continue
        guesses = {name: [a[k] for a in answers] for name, answers in known.items()}
        name = output.name if len(question.outputs) > 1 else ""
        found += [Diagnosis(kind, words, name) for kind, words in _of_one(suspect, guesses)]
    return found


def _of_one(s: WrongAnswer, known: dict[str, Arrays]) -> list[tuple[str, str]]:
    """The first kind of mistake that explains one output, with all its ties."""
    mistakes = s.question.mistakes
    found = [(name, mistakes[name].words) for name, guess in known.items() if explains(guess, s.got, s.right)]
    for look in (_digits, _factor, _size, _terms, _moved, _part, _offset, _precision):
        found = found or list(look(s))
    if found:
        return found
    for c, name in itertools.product(FACTORS, known):
        if explains([c * a for a in known[name]], s.got, s.right):
            found.append((f"{name}, and a factor {name_of(c) if c != -1 else -1}", mistakes[name].words))
    return found


def _eps(question: Question, cases: Sequence[Inputs], right: Sequence[Outputs], got: Sequence[Outputs]) -> Iterator:
    """Mistakes with an eps of the student's choice: fitted to one case, then tried on all."""
    off = [sum(abs(a - b).sum() for a, b in zip(x, y)) if _alike(x, y) else 0.0 for x, y in zip(got, right)]
    usual = [k for k in range(len(off)) if 0 < off[k] < np.inf]
    if not question.with_eps or len(usual) < FEWEST:
        return
    at = sorted(usual, key=off.__getitem__)[len(usual) // 2]
    for mistake in question.with_eps.values():

        def answers(eps: float, case: Inputs, mistake=mistake) -> Outputs:
            return question.values(partial(mistake.function, eps), case)

        def beyond(log: float, answers=answers) -> float:
            """How much farther from the right answer than what was got, along that direction."""
            found = answers(10.0**log, cases[at])
            return sum(((f - g) * (g - r)).sum() for f, g, r in zip(found, got[at], right[at]))

        signs = [beyond(log) > 0 for log in np.log10(EPS)]
        if True not in signs[1:] or signs[0]:
            continue
        k = signs.index(True)
        eps = 10.0 ** brentq(beyond, *np.log10(EPS[k - 1 : k + 1]), xtol=1e-12)
        if explains_all([answers(eps, case) for case in cases], got, right):
            yield Diagnosis(mistake.name, f"{mistake.words} Yours is right with eps = {eps:.3g}.")


def _alike(a: Outputs, b: Outputs) -> bool:
    return all(x.shape == y.shape for x, y in zip(a, b, strict=True))


# --- general mistakes, as (name, sentence)

Finding = Iterator[tuple[str, str]]


def _digits(s: WrongAnswer) -> Finding:
    """The right answer, written with fewer digits."""
    if all(a.dtype == np.float16 and same(a, b, 1e-2) for a, b in zip(s.got, s.right, strict=True)):
        yield "half precision", "It is right as far as float16 goes; compute in float64."
    elif s.explained(lambda a: a.astype(np.float32).astype(np.float64)) or all(
        same(a, b, SINGLE) and np.array_equal(a, a.astype(np.float32)) for a, b in zip(s.got, s.right, strict=True)
    ):
        yield "single precision", "It is right, and was cut to float32 on the way; compute in float64."
    for digits in DECIMALS:
        if all(_rounded(a, b, digits) for a, b in zip(s.got, s.right, strict=True)):
            yield "rounded", f"It is right, and rounded to {digits} decimal{'s' * (digits > 1)}; return all digits."
            return


def _rounded(got: np.ndarray, right: np.ndarray, digits: int) -> bool:
    """Is this the right answer with so many decimals, half a unit of the last one up or down?"""
    if got.shape != right.shape or not np.isfinite(got).all():
        return False
    unit, got = 10.0**-digits, got.astype(np.float64)
    whole = abs(got / unit - np.round(got / unit)) <= EXACT * np.maximum(1, abs(got / unit))
    return bool((whole & (abs(got - right) <= unit * (0.5 + 1e-6))).all())


def _precision(s: WrongAnswer) -> Finding:
    """The last word, where nothing says why."""
    if all(same(a, b, COARSE) for a, b in zip(s.got, s.right, strict=True)):
        yield "imprecise", "It is right to four digits or more, but not to eight; no known reason gives these numbers."


def _factor(s: WrongAnswer) -> Finding:
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(s.got, s.right, strict=True) if a.shape == b.shape]
    pairs = [(a, b) for a, b in pairs if np.isfinite(a).all()]
    weight = sum(b @ b for _, b in pairs)
    if not weight:
        return
    c = float(np.median([a @ b / (b @ b) for a, b in pairs if b.any()]))
    if not c:
        if s.explained(lambda a: 0.0 * a):
            yield "zero", "The answer is zero, and should not be."
    elif s.explained(lambda a: c * a):
        if any(a.dtype == np.float32 for a in s.got):
            c = float(f"{c:.5g}")
        if abs(c + 1) < EXACT:
            yield "sign", "It is the negative of the right answer."
        else:
            yield f"factor {name_of(c)}", f"It is {name_of(c)} times the right answer."


def _sizes(inputs: Inputs) -> Iterator[tuple[str, int]]:
    """What a sum or a mean could run over."""
    for name, value in inputs.items():
        if isinstance(value, np.ndarray):
            yield f"{name}.size", value.size
            for axis, n in enumerate(value.shape):
                yield f"{name}.shape[{axis}]", n
            for start in range(1, value.ndim - 1):
                yield f"the size of {name}[{', '.join(['0'] * start)}]", int(np.prod(value.shape[start:]))
        elif isinstance(value, int):
            yield name, value


def _size(s: WrongAnswer) -> Finding:
    """Times or over a number that differs from case to case: a sum for a mean, or the reverse."""
    tried = set()
    table = [dict(_sizes(case)) for case in s.cases]
    for name in table[0]:
        numbers = tuple(row.get(name, 0) for row in table)
        if numbers in tried or not all(numbers):
            continue
        tried.add(numbers)
        if explains([n * a for n, a in zip(numbers, s.right, strict=True)], s.got, s.right):
            yield "factor N", f"It is N times too large, N = {name}: a sum where a mean belongs?"
        if explains([a / n for n, a in zip(numbers, s.right, strict=True)], s.got, s.right):
            yield "factor 1/N", f"It is N times too small, N = {name}: a mean where a sum belongs?"


def _terms(s: WrongAnswer) -> Finding:
    """The factors with which the terms of the sum occur, by regression over all cases."""
    if s.question.parts is None or any(a.shape != b.shape for a, b in zip(s.got, s.right, strict=True)):
        return
    table = [s.question.parts(**case) for case in s.cases]
    names = list(table[0])
    terms = [[s.question.outputs_of(row[name])[s.index] for name in names] for row in table]
    columns = np.stack([np.concatenate([case[t].ravel() for case in terms]) for t in range(len(names))], axis=1)
    got = np.concatenate([a.ravel() for a in s.got])
    if not np.isfinite(got).all() or np.linalg.matrix_rank(columns) < len(names):
        return
    factors = np.linalg.lstsq(columns, got, rcond=None)[0]
    guess = [np.asarray(sum(c * term for c, term in zip(factors, case, strict=True))) for case in terms]
    if not explains(guess, s.got, s.right):
        return
    wrong = [(c, name) for c, name in zip(factors, names, strict=True) if abs(c - 1) > EXACT]
    kinds = [_term(c, name) for c, name in wrong]
    yield "; ".join(kind for kind, _ in kinds), " ".join(words for _, words in kinds)


def _term(c: float, name: str) -> tuple[str, str]:
    if abs(c) < EXACT:
        return f"dropped term: {name}", "This term of the sum is missing."
    if abs(c + 1) < EXACT:
        return f"sign of a term: {name}", "This term of the sum has the wrong sign."
    return f"factor of a term: {name}", f"This term of the sum is {name_of(c)} times what it should be."


def _moved(s: WrongAnswer) -> Finding:
    """The right numbers in the wrong places."""
    if len(s.axes) > 1 and s.explained(lambda a: a.swapaxes(-1, -2)):
        yield "transposed", f"{s.axes[-2]} and {s.axes[-1]} are exchanged."
    numbers = range(len(s.axes))
    for count in numbers:
        for axes in itertools.combinations(numbers, count + 1):
            if s.explained(lambda a, axes=axes: np.flip(a, axes)):
                yield "reversed", f"The order is reversed along {' and '.join(s.axes[a] for a in axes)}."
    for axis, by in itertools.product(numbers, (1, -1)):
        if s.explained(lambda a, axis=axis, by=by: np.roll(a, by, axis)):
            yield "shifted", f"The numbers are moved by {by} along {s.axes[axis]}, around the end."
        elif s.explained(lambda a, axis=axis, by=by: _shifted(a, axis, by)):
            yield "shifted", f"The numbers are moved by {by} along {s.axes[axis]}, zeros coming in."


def _shifted(a: np.ndarray, axis: int, by: int) -> np.ndarray:
    a = np.roll(a, by, axis)
    a[(slice(None),) * axis + (0 if by > 0 else -1,)] = 0
    return a


def _part(s: WrongAnswer) -> Finding:
    """Right in one part, wrong in the rest."""
    if any(a.shape != b.shape for a, b in zip(s.got, s.right, strict=True)):
        return
    pairs = list(zip(s.got, s.right, strict=True))
    for axis, name in enumerate(s.axes):
        several = [(np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)) for a, b in pairs if a.shape[axis] > 1]
        wrong = [not same(a[1:], b[1:]) for a, b in several]
        if all(same(a[:1], b[:1]) for a, b in several) and several and sum(wrong) > len(wrong) * 0.6:
            yield f"only the first {name}", f"It is right for {name} 0 and wrong for the others."
    spatial = tuple(axis for axis, name in enumerate(s.axes) if name in SPATIAL)
    if spatial:
        masks = [inside(a.shape, spatial) if min(a.shape[axis] for axis in spatial) > 2 else 0 * a for a in s.right]
        telling = [(a * m, b * m) for (a, b), m in zip(pairs, masks, strict=True) if m.any()]
        if len(telling) > len(pairs) / 2 and all(same(a, b) for a, b in telling):
            yield "border only", "It is right inside and wrong at the border: what lies outside, and how much of it?"


def _offset(s: WrongAnswer) -> Finding:
    if any(a.shape != b.shape or not a.size for a, b in zip(s.got, s.right, strict=True)):
        return
    c = float(s.got[0].flat[0] - s.right[0].flat[0])
    if np.isfinite(c) and s.explained(lambda a: a + c):
        yield f"offset {c:+.6g}", f"It is the right answer {c:+.6g}, in every case."
