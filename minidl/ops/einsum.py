"""Sums of products of tensors, written with letters: einsum, by matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.tensor import Tensor, as_tensor
from .indexing import getitem
from .linear import matmul_p
from .reduce import sum
from .shape import reshape, transpose

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum of products that `equation` writes down: ``einsum("ncij,fc->nfij", x, w)`` is a 1x1 convolution.

    Each operand's axes get letters; axes with the same letter go together. Letters that do not stand after ``->`` are
    summed over. Without ``->`` the result has the letters that occur once, in alphabetical order. ``...`` stands for
    any number of axes, which broadcast; a letter twice in one operand takes the diagonal; an axis of length 1 repeats.
    Operands are joined from left to right. Raises ValueError for letters and shapes that do not fit.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [as_tensor(x) for x in operands]
    terms, output = _letters(equation, [x.ndim for x in tensors])
    lengths: dict[str, int] = {}
    for x, term in zip(tensors, terms):
        for letter, n in zip(term, x.shape):
            if lengths.setdefault(letter, n) == 1:
                lengths[letter] = n
            if n not in (1, lengths[letter]):
                raise ValueError(
                    f"einsum {equation!r}: {letter!r} is {lengths[letter]} long and {n} long, "
                    f"the shapes are {', '.join(str(t.shape) for t in tensors)}"
                )
    if unknown := set(output) - lengths.keys():
        raise ValueError(f"einsum {equation!r}: the result has {min(unknown)!r}, no operand has")
    x, term = _own(tensors[0], terms[0], lengths)
    for k in range(1, len(tensors)):
        x, term = _joined((x, term), _own(tensors[k], terms[k], lengths), set(output).union(*terms[k + 1 :]))
    return _arranged(x, term, output)


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """A letter for each axis of each operand, and of the result; dots are letters as well."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"einsum {equation!r} is for {len(terms)} operands, got {len(ranks)}")
    free = [letter for letter in LETTERS if letter not in equation]
    missing = [n - len(t.replace("...", "")) for t, n in zip(terms, ranks)]
    for term, n, more in zip(terms, ranks, missing):
        if more < 0 or (more and "..." not in term):
            raise ValueError(f"einsum {equation!r}: {term!r} does not fit an operand of {n} axes")
    dots = "".join(free[: max((m for t, m in zip(terms, missing) if "..." in t), default=0)])
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        output = "..." * ("..." in left) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    terms = [t.replace("...", dots[len(dots) - m :]) for t, m in zip(terms, missing)]
    output = output.replace("...", dots)
    if set("".join([*terms, output])) - set(LETTERS) or len(set(output)) < len(output):
        raise ValueError(f"einsum {equation!r}: axes are letters, those of the result each once")
    return terms, output


def _own(x: Tensor, term: str, lengths: dict[str, int]) -> tuple[Tensor, str]:
    """Diagonals taken, and axes of length 1 dropped that are longer elsewhere: each letter at most once."""
    for letter in sorted(set(term)):
        while term.count(letter) > 1:
            i = term.index(letter)
            j = term.index(letter, i + 1)
            rest = [a for a in range(x.ndim) if a not in (i, j)]
            x = transpose(x, i, j, *rest)  # the two axes first
            steps = [np.arange(max(n, m)) % n for n, m in (x.shape[:2], x.shape[1::-1])]
            x, term = getitem(x, tuple(steps)), letter + "".join(term[a] for a in rest)
    repeated = [a for a, letter in enumerate(term) if x.shape[a] == 1 and lengths[letter] != 1]
    term = "".join(letter for a, letter in enumerate(term) if a not in repeated)
    return reshape(x, [n for a, n in enumerate(x.shape) if a not in repeated]), term


def _joined(first: tuple[Tensor, str], second: tuple[Tensor, str], wanted: set[str]) -> tuple[Tensor, str]:
    """The product of two operands, summed over the letters that are not needed any more."""
    a, p = _summed(*first, wanted.union(second[1]))
    b, q = _summed(*second, wanted.union(first[1]))
    both = [c for c in p if c in q]
    batch, inner = [c for c in both if c in wanted], [c for c in both if c not in wanted]
    rows, columns = [c for c in p if c not in both], [c for c in q if c not in both]
    lengths = dict(zip(p, a.shape)) | dict(zip(q, b.shape))

    def size(letters: Iterable[str]) -> list[int]:
        return [lengths[c] for c in letters]

    a, b = _arranged(a, p, [*batch, *rows, *inner]), _arranged(b, q, [*batch, *inner, *columns])
    if inner:
        stack, i, k, j = (math.prod(size(letters)) for letters in (batch, rows, inner, columns))
        y = matmul_p(reshape(a, stack, i, k), reshape(b, stack, k, j))
    else:
        y = reshape(a, *size([*batch, *rows]), *[1] * len(columns)) * reshape(
            b, *size(batch), *[1] * len(rows), *size(columns)
        )
    return reshape(y, size([*batch, *rows, *columns])), "".join([*batch, *rows, *columns])


def _summed(x: Tensor, term: str, wanted: Iterable[str]) -> tuple[Tensor, str]:
    axes = tuple(a for a, letter in enumerate(term) if letter not in wanted)
    return (sum(x, axes) if axes else x), "".join(letter for letter in term if letter in wanted)


def _arranged(x: Tensor, term: str, letters: Iterable[str]) -> Tensor:
    """The axes in the order of these letters, other axes summed over."""
    x, term = _summed(x, term, set(letters))
    axes = [term.index(letter) for letter in letters]
    return x if axes == list(range(len(axes))) else transpose(x, *axes)
