"""Numbers as text and as colour: blue below zero, orange above, distinguishable with every kind of colour vision."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from .parts import scroll

LEVELS = 6  # of colour on each side of zero; style.css has a class for each: n6 ... n1, z, p1 ... p6


def number(value: complex) -> str:
    """A number as pages and reports print it: six significant digits at most."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, complex) and value.imag:
        return f"{value:.6g}"
    value = float(np.real(value))
    return f"{value:.6g}" if value else "0"  # never "-0"


def level(value: float, largest: float) -> str:
    """The class of the colour of a value among values up to `largest` in size: n6 to n1, z, p1 to p6, or nan."""
    if not math.isfinite(value):
        return "nan"
    if value == 0 or largest == 0:
        return "z"
    step = max(1, math.ceil(min(abs(value) / largest, 1) * LEVELS))
    return f"{'n' if value < 0 else 'p'}{step}"


def heat_table(values: np.ndarray, label: str, *, largest: float | None = None, most: int = 12) -> str:
    """An array as an HTML table whose cells are coloured by size and sign; one table for each matrix of more axes.

    label: what it is, for screen readers and as the caption. largest: the size that gets the full colour (that of the
    array). most: rows and columns that are shown; a line says what is left out.
    """
    values = np.asarray(values)
    finite = values[np.isfinite(values)]
    largest = largest if largest is not None else float(np.abs(finite).max()) if finite.size else 0.0
    matrices = values.reshape(-1, *values.shape[-2:]) if values.ndim > 2 else np.atleast_2d(values)[None]
    shape = "x".join(map(str, values.shape)) or "a number"
    shown = [_matrix(m, f"{label}", largest, most) for m in matrices[:most]]
    left = len(matrices) - most
    note = f'<p class="note">{left} more of {len(matrices)} matrices are not shown</p>' if left > 0 else ""
    return f'<figure class="heat"><figcaption>{escape(label)} ({shape})</figcaption>{"".join(shown)}{note}</figure>'


def _matrix(values: np.ndarray, label: str, largest: float, most: int) -> str:
    rows = "".join(
        "<tr>" + "".join(f'<td class="{level(v, largest)}">{number(v)}</td>' for v in row[:most].tolist()) + "</tr>"
        for row in values[:most]
    )
    cut = values.shape[0] > most or values.shape[1] > most
    note = f'<p class="note">the first {most} rows and columns of {values.shape}</p>' if cut else ""
    return scroll(f"<table>{rows}</table>", label) + note
