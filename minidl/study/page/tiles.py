"""A matrix as a picture of its own, SVG: what a notebook shows that may not show the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

SIDE = 26  # pixels of a square with a word in it
PLAIN = 10  # and of one without
MOST = 64  # squares along an axis; neighbours are added up


def tiles(values: np.ndarray, title: str, words: Sequence[Sequence[str]] | None = None) -> str:
    """A square for each entry of a matrix (rows, columns), the bluer the larger; `words` stand in them.

    It brings its own ground, so that it can be read in a light and in a dark notebook.
    """
    values = abs(np.asarray(values, float))
    step = max(1, -(-max(values.shape) // MOST))
    if step > 1:
        rows, columns = (-(-n // step) for n in values.shape)
        padded = np.pad(values, [(0, rows * step - values.shape[0]), (0, columns * step - values.shape[1])])
        values, words = padded.reshape(rows, step, columns, step).sum(axis=(1, 3)), None
    side = SIDE if words else PLAIN
    height, width = (n * side + 2 for n in values.shape)
    shares = values / (values.max(initial=0) or 1)
    parts = []
    for i, row in enumerate(shares.tolist()):
        for j, share in enumerate(row):
            at = f'x="{j * side + 1}" y="{i * side + 1}" width="{side}" height="{side}"'
            parts.append(f'<rect {at} fill="#0b57b0" fill-opacity="{0.75 * share:.3g}" stroke="#c3cad2"/>')
            if words:
                place = f'x="{(j + 0.5) * side + 1:g}" y="{(i + 0.5) * side + 5:g}" fill="#1b1f24" text-anchor="middle"'
                parts.append(f'<text {place} font-family="monospace" font-size="12">{escape(words[i][j])}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )
