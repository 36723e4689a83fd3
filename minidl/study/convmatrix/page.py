"""A convolution's matrices as a page: pointing at an output lights its row, its window, its column in the transpose."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..page import Page, capital, level, scroll
from ..page.tiles import tiles
from .letters import shown
from .matrix import Matrix
from .report import MANY, equations, facts, inserted, output_names, size_formula, title

COLOURS = ("p3", "n3", "p5", "n5", "p1", "n1", "p6", "n6", "p4", "n4", "p2", "n2")  # of letters, tap after tap

FEW = 12  # outputs whose equations are also given in one line


def page(m: Matrix) -> Page:
    """The page."""
    body = "\n".join([
        f'<p class="lead">{"; ".join(f"output = {line}" for line in dict.fromkeys(size_formula(m)))}. Each output is a '
        "row of X, each cell of the padded input ã a column.</p>",
        _outputs(m), '<p id="caption" class="caption" aria-live="polite"></p>',
        '<div class="pair">', _input(m), _kernel(m), "</div>",
        "<h2>X and its transpose</h2>",
        '<div class="pair">', _matrix(m), _transpose(m), "</div>",
        "<h2>im2col</h2>", _im2col(m),
        "<h2>Both conventions</h2>", _conventions(m),
        "<h2>The transpose spreads</h2>", _spread(m),
        f"<h2>What holds</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in facts(m))}</ul>",
        _equations(m),
    ])  # fmt: skip
    here = Path(__file__)
    script, style = (here.with_suffix(ending).read_text(encoding="utf-8") for ending in (".js", ".css"))
    words = [[shown(entry) for entry in row] for row in m.X.tolist()]
    picture = tiles(m.taps >= 0, title(m), words if all(len(word) <= 3 for row in words for word in row) else None)
    return Page(capital(title(m)), body, script=script, style=style, data=_data(m), picture=picture)


def _data(m: Matrix) -> dict[str, Any]:
    return {"taps": m.taps, "captions": row_sentences(m), "spread": column_sentences(m)}


def row_sentences(m: Matrix) -> list[str]:
    """For each output, what its row says."""
    lines = []
    for name, row, value in zip(output_names(m), m.X.tolist(), m.outputs()):
        window = [m.inputs[i] for i in np.flatnonzero(m.taps[len(lines)] >= 0)]
        entries = f"Row {len(lines)} of X is {' '.join(shown(e) for e in row)}; its" if len(row) <= MANY else "Its"
        lines.append(
            f"{name} = {value}. {entries} window in ã holds {', '.join(window)}; column {len(lines)} of Xᵀ has the "
            f"entries of row {len(lines)} of X."
        )
    return lines


def column_sentences(m: Matrix) -> list[str]:
    """For each cell of the padded input, what the transpose puts there."""
    sums = m.column_sums()
    return [
        f"Cell {i} of ã ({'padding' if name == '0' else name}): Xᵀ u puts {value} there; the column adds up to {s}."
        for i, (name, value, s) in enumerate(zip(m.inputs, m.transposed(), sums))
    ]


# --- the parts


def _outputs(m: Matrix) -> str:
    values = [f" = {escape(value)}" if m.window.positions <= FEW else "" for value in m.outputs()]
    buttons = "".join(
        f'<button data-o="{o}" aria-pressed="false" tabindex="{0 if o == 0 else -1}"><span class="mono">{name}</span>'
        f"{value}</button>"
        for o, (name, value) in enumerate(zip(output_names(m), values))
    )
    return (
        "<p>Point at anything, or choose an output here (arrow keys go from one to the next).</p>"
        f'<div class="outputs" id="outputs" role="group" aria-label="outputs">{buttons}</div>'
    )


def _figure(label: str, table: str) -> str:
    return f"<figure><figcaption>{label}</figcaption>{scroll(table, label)}</figure>"


def _input(m: Matrix) -> str:
    """ã as it lies in space."""
    width = m.window.padded[-1]
    cells = [
        f'<td data-i="{i}" class="cell{"" if real else " pad"}">{name}</td>'
        for i, (name, real) in enumerate(zip(m.inputs, m.inside))
    ]
    rows = "".join(f"<tr>{''.join(cells[i : i + width])}</tr>" for i in range(0, len(cells), width))
    return _figure("the padded input ã", f'<table class="matrix">{rows}</table>')


def _kernel(m: Matrix) -> str:
    width = m.window.kernel[-1]
    entries = enumerate(m.kernel.ravel().tolist())
    cells = [f'<td data-k="{k}" class="{_colour(m, k)}">{shown(e)}</td>' for k, e in entries]
    rows = "".join(f"<tr>{''.join(cells[i : i + width])}</tr>" for i in range(0, len(cells), width))
    return _figure("the kernel", f'<table class="matrix">{rows}</table>')


def _colour(m: Matrix, tap: int) -> str:
    """A colour for each letter, or one that says sign and size."""
    if tap < 0:
        return "z"
    if m.symbolic:
        return COLOURS[tap % len(COLOURS)]
    return level(float(m.kernel.flat[tap]), float(abs(m.kernel).max()))


def _matrix(m: Matrix) -> str:
    head = "".join(f'<th scope="col" data-i="{i}"{_edge(m, None, i)}>{name}</th>' for i, name in enumerate(m.inputs))
    rows = "".join(
        f'<tr><th scope="row" data-o="{o}">{name}</th>'
        + "".join(_cell(m, o, i, _edge(m, o, i, " ")) for i in range(len(m.inputs)))
        + "</tr>"
        for o, name in enumerate(output_names(m))
    )
    return _figure("X", f'<table class="matrix" id="X"><thead><tr><th></th>{head}</tr></thead>{rows}</table>')


def _transpose(m: Matrix) -> str:
    head = "".join(f'<th scope="col" data-o="{o}">{name}</th>' for o, name in enumerate(m.cotangents))
    rows = "".join(
        f'<tr><th scope="row" data-i="{i}">{name}</th>'
        + "".join(_cell(m, o, i, "") for o in range(m.window.positions))
        + "</tr>"
        for i, name in enumerate(m.inputs)
    )
    return _figure("Xᵀ", f'<table class="matrix" id="XT"><thead><tr><th></th>{head}</tr></thead>{rows}</table>')


def _cell(m: Matrix, o: int, i: int, edge: str) -> str:
    tap = int(m.taps[o, i])
    entry = m.kernel.flat[tap] if tap >= 0 else 0
    at = f' data-k="{tap}"' if tap >= 0 else ""
    return f'<td data-o="{o}" data-i="{i}"{at} class="{_colour(m, tap)}{edge}">{shown(entry)}</td>'


def _edge(m: Matrix, o: int | None, i: int, alone: str = "") -> str:
    """The class of a cell where a block of X begins: two axes make blocks, one for each pair of rows."""
    if m.window.rank == 1:
        return ""
    names = [" left"] if i and i % m.window.padded[-1] == 0 else []
    names += [" top"] if o and o % m.window.output[-1] == 0 else []
    return "".join(names) if alone or not names else f' class="{"".join(names).strip()}"'


def _im2col(m: Matrix) -> str:
    head = "".join(f'<th scope="col" data-o="{o}">{name}</th>' for o, name in enumerate(output_names(m)))
    rows = "".join(
        f'<tr><th scope="row" data-k="{k}" class="{_colour(m, k)}">{shown(entry)}</th>'
        + "".join(f'<td data-o="{o}" data-i="{i}" data-k="{k}">{m.inputs[i]}</td>' for o, i in enumerate(line))
        + "</tr>"
        for k, (entry, line) in enumerate(zip(m.kernel.ravel().tolist(), m.columns.tolist()))
    )
    table = f'<table class="matrix" id="im2col"><thead><tr><th></th>{head}</tr></thead>{rows}</table>'
    words = "<p>The cells under the window, a column for each output: y = kernel · columns.</p>"
    return words + scroll(table, "im2col")


def _conventions(m: Matrix) -> str:
    rows = "".join(
        f'<tr><th scope="row" data-o="{o}">{name}</th>'
        f'<td data-o="{o}">{escape(a)}</td><td data-o="{o}">{escape(b)}</td></tr>'
        for o, (name, a, b) in enumerate(zip(output_names(m), m.outputs(), m.outputs(flipped=True)))
    )
    table = (
        '<table id="conventions"><thead><tr><th></th><th scope="col">cross-correlation (every framework)</th>'
        f'<th scope="col">convolution (kernel flipped)</th></tr></thead>{rows}</table>'
    )
    return scroll(table, "both conventions")


def _spread(m: Matrix) -> str:
    w = m.window
    size = tuple(n + span - 1 for n, span in zip(m.stuffed_size, w.span))
    full = np.full(w.padded, "0", object)
    full[tuple(slice(0, n) for n in size)] = np.reshape(np.array(inserted(m), object), size)
    rows = "".join(
        f'<tr><th scope="row" data-i="{i}">{name}</th><td data-i="{i}">{escape(a)}</td>'
        f'<td data-i="{i}">{escape(b)}</td><td data-i="{i}">{escape(s)}</td></tr>'
        for i, (name, a, b, s) in enumerate(zip(m.inputs, m.transposed(), full.ravel().tolist(), m.column_sums()))
    )
    table = (
        '<table id="spread"><thead><tr><th scope="col">ã</th><th scope="col">Xᵀ u</th>'
        '<th scope="col">u with zeros inserted, convolved</th><th scope="col">Xᵀ 1</th></tr></thead>'
        f"{rows}</table>"
    )
    return scroll(table, "the transpose, cell by cell")


def _equations(m: Matrix) -> str:
    if m.window.positions > FEW:
        return ""
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in equations(m).items())
    return f"<h2>In one line each</h2><dl>{items}</dl>"
