"""A receptive field as a page: choosing a pixel lights what it sees in every layer below, down to the input."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..page import Page, capital, level, number, text_table
from ..page.tiles import tiles
from .extent import MASS, Effective, Field, LayerField, cells, place
from .field import PIXELS, Probe
from .report import COLUMNS, heading, rows, sentences
from .strips import strips

ROWS = 24  # layers that are shown
WORK = 5e10  # multiply-adds that effective fields of pixels to choose from may cost
CELL = 100  # what a cell of the input costs at least
LARGE = 6, 3  # where that is not enough: layers to choose from, and pixels of each; effective fields of the last
BLOCKS = 48  # squares along each axis of the picture of two axes
GRADES = 999  # the largest height of a bar


def page(found: Probe) -> Page:
    """The page. Raises ValueError for inputs of three axes."""
    rank = found.image.ndim - 2
    if rank > 2:
        raise ValueError(f"receptive_field: a page shows one or two axes, this input has {rank}; use text() or json()")
    shown = _shown(found)
    measured, with_effect = _measured(found, shown)
    body = "\n".join([
        _intro(found), _controls(found), '<div id="strips" class="strips"></div>', LEGEND,
        _picture(found) if rank == 2 else "", _said(found), _table(found),
    ])  # fmt: skip
    here = Path(__file__)
    script, style = (here.with_suffix(ending).read_text(encoding="utf-8") for ending in (".js", ".css"))
    data, title = _data(found, shown, measured, with_effect), capital(heading(found))
    picture = strips(data, title) if rank == 1 and measured else _still(found)
    return Page(title, body, script=script, style=style, data=data, picture=picture)


def _still(found: Probe) -> str:
    """The effective field as a picture: a row of squares, or over the last two axes."""
    share = found.effective().share
    share = share[None] if share.ndim == 1 else share.sum(axis=tuple(range(share.ndim - 2)))
    return tiles(share, f"effective field, {heading(found)}")


# --- what is measured


def _shown(found: Probe) -> list[int]:
    """The layers that get a strip: all that have places, or some of them evenly, the chosen one always."""
    placed = [i for i, row in enumerate(found.layers[: found.chosen + 1]) if row.output]
    if len(placed) <= ROWS:
        return placed
    return [placed[round(i)] for i in np.linspace(0, len(placed) - 1, ROWS)]


def _measured(found: Probe, shown: list[int]) -> tuple[dict[int, list[tuple[int, ...]]], list[int]]:
    """The pixels of each layer that may be chosen, and the layers of which effective fields are shown: all, or where
    that would cost too much some of them, and the last."""
    cost = max(found.macs, CELL * found.image[0].size) * (found.draws + 1)
    most = int(WORK / cost / max(len(shown), 1))
    if most >= 8:
        return {i: _middle(found.pixels(i), min(PIXELS, most)) for i in shown}, shown
    layers, pixels = LARGE
    several = [i for i in shown if max(found.layers[i].output) > 1]
    some = [several[round(i)] for i in np.linspace(0, len(several) - 1, layers)] if several else []
    chosen = sorted({*some, *shown[-1:]} if found.chosen in shown or not several else {*some})
    return {i: _middle(found.pixels(i), pixels) for i in chosen}, chosen[-1:]


def _middle(pixels: list, most: int) -> list:
    spare = max(len(pixels) - most, 0)
    return pixels[spare // 2 : spare // 2 + most]


def _data(found: Probe, shown: list[int], measured: dict[int, list], with_effect: list[int]) -> dict[str, Any]:
    size, last = found.image.shape[2:], max(measured, default=0)
    return {
        "axes": ["rows", "columns"][: len(size)] if len(size) > 1 else [""],
        "cells": size,
        "layers": [_strip(found.layers[i], size) for i in shown],
        "pixels": [
            _pixels(found, shown[: at + 1], measured.get(i, []), i in with_effect) for at, i in enumerate(shown)
        ],
        "start": [shown.index(last) if shown else -1, _nearest(measured.get(last, []), _start(found, last))],
    }


def _start(found: Probe, layer: int) -> tuple[int, ...]:
    """The pixel that is shown first: the one asked for, or the middle one."""
    return found.pixel if layer == found.chosen else tuple(n // 2 for n in found.layers[layer].output)


def _nearest(pixels: list[tuple[int, ...]], wanted: tuple[int, ...]) -> int:
    return min(range(len(pixels)), key=lambda i: sum(abs(a - b) for a, b in zip(pixels[i], wanted)), default=0)


def _strip(row: LayerField, size: tuple[int, ...]) -> dict[str, Any]:
    """Where the cells of a layer stand above the input's, along each axis: [centre of the first, distance]."""
    places = [[c, j] for c, j in zip(row.centre, row.jump)] if row.centre else None
    even = [[n / m / 2 - 0.5, n / m] for n, m in zip(size, row.output)]
    return {"name": row.name, "size": cells(row.size), "count": row.output, "places": places or even}


def _pixels(found: Probe, shown: list[int], pixels: list[tuple[int, ...]], with_effect: bool) -> list[dict[str, Any]]:
    """For each pixel of the last layer shown: what it sees in those below and in the input, and what to say of it."""
    if not pixels:
        return []
    layer = shown[-1]
    cones = found.cones(layer, pixels, shown[:-1])
    effects = found.effective_fields(layer, pixels) if with_effect else [None] * len(pixels)
    return [
        {
            "at": pixel,
            "caption": sentence(found.layers[layer], cone[-1], effect),
            "theory": _theory_ends(found.layers[layer], pixel),
            "cone": [[_runs(field.along(axis)) for axis in range(len(pixel))] for field in cone],
            "effect": [_profile(cone[-1], effect, axis) if effect else [] for axis in range(len(pixel))],
        }
        for pixel, cone, effect in zip(pixels, cones, effects)
    ]


def sentence(row: LayerField, field: Field, effect: Effective | None) -> str:
    """What is known of one pixel, in two sentences."""
    ends = tuple(f + n - 1 for f, n in zip(field.first, field.size))
    text = (
        f"Pixel {place(field.pixel)} of {row.name} sees {cells(field.size)} cells exactly, {place(field.first)} to "
        f"{place(ends)}: {field.taps} are touched, density {number(round(field.density, 4))}. "
    )
    if row.size:
        first = tuple(s + j * p for s, j, p in zip(row.start, row.jump, field.pixel))
        last = tuple(f + n - 1 for f, n in zip(first, row.size))
        text += f"The formula says {cells(row.size)}, {place(first)} to {place(last)}. "
    if effect:
        text += f"{MASS:.0%} of |gradient| lie within {number(effect.radius)} cells of the centre."
    return text.rstrip()


def _theory_ends(row: LayerField, pixel: tuple[int, ...]) -> list[list[float]]:
    if not row.size:
        return []
    return [[s + j * p, n] for s, j, p, n in zip(row.start, row.jump, pixel, row.size)]


def _runs(touched: np.ndarray) -> list[int]:
    """True stretches as [first, length, first, length, ...]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], touched, [False]]).astype(np.int8)))
    return [int(v) for first, stop in edges.reshape(-1, 2) for v in (first, stop - first)]


def _profile(field: Field, effect: Effective, axis: int) -> list[int]:
    """The gradient along one axis, summed over the other, from the first cell touched on; the largest is GRADES."""
    profile = effect.share.sum(axis=tuple(a for a in range(effect.share.ndim) if a != axis))
    part = profile[field.first[axis] : field.first[axis] + field.size[axis]]
    return np.rint(part / (profile.max() or 1) * GRADES).astype(int).tolist()


# --- what stands on the page


def _intro(found: Probe) -> str:
    return (
        f'<p class="lead">{escape(capital(sentences(found)[0]))}.</p>'
        "<p>Choose a layer by its button, then a pixel with the slider, or point at any cell. "
        "All that it depends on lights up, layer by layer, down to the input.</p>"
    )


def _controls(found: Probe) -> str:
    options = '<option value="0">rows</option><option value="1">columns</option>'
    axis = f'<label>axis <select id="axis">{options}</select></label>' if found.image.ndim == 4 else ""
    return (
        f'<div class="controls">{axis}<label class="wide">pixel <input type="range" id="pixel" min="0" value="0">'
        '<output id="where" for="pixel"></output></label></div>'
        '<p id="caption" class="caption" aria-live="polite"></p>'
    )


LEGEND = (
    '<p class="note legend"><span class="key chosen"></span> the pixel chosen <span class="key on"></span> what it '
    'depends on, exactly <span class="key theory"></span> what the formula says <span class="key bar"></span> how '
    "strongly: |gradient|, averaged</p>"
)


def _said(found: Probe) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in sentences(found)[1:])
    return f"<h2>What was found</h2><ul>{items}</ul>"


def _table(found: Probe) -> str:
    return (
        "<h2>By formula</h2><p>Size grows by dilation · (kernel − 1) · jump, jump is multiplied by the stride; start "
        "is the first cell that output 0 sees, negative in the padding.</p>"
        + text_table(COLUMNS, rows(found), "the formula, layer by layer", "theory")
    )


def _picture(found: Probe) -> str:
    """The effective field of the pixel in the middle over both axes, and the box of the exact one, as SVG."""
    field, effect = found.exact(), found.effective()
    what = f"Pixel {place(field.pixel)} of {escape(found.theory.name)}" if field.pixel else "The output"
    height, width = effect.share.shape
    step = max(1, -(-max(height, width) // BLOCKS))
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(effect.share, ((0, rows * step - height), (0, columns * step - width)))
    blocks = padded.reshape(rows, step, columns, step).sum(axis=(1, 3))
    squares = "".join(
        f'<rect class="{level(v, blocks.max())}" x="{j}" y="{i}" width="1" height="1"/>'
        for i, line in enumerate(blocks.tolist())
        for j, v in enumerate(line)
    )
    (top, left), (tall, wide) = ((v / step for v in pair) for pair in (field.first, field.size))
    return (
        '<figure><svg class="map" role="img" aria-label="effective field over both axes; the box is the exact field" '
        f'viewBox="-0.5 -0.5 {columns + 1} {rows + 1}">{squares}'
        f'<rect class="box" x="{left:g}" y="{top:g}" width="{wide:g}" height="{tall:g}"/></svg>'
        f"<figcaption>{what} over both axes: |gradient| by colour, the exact field as a box; a "
        f"square is {step} x {step} cells.</figcaption></figure>"
    )
