"""A receptive field as lines of text and as plain values."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ...table import table
from ..page import number
from .extent import MASS, cells, place
from .field import Probe

COLUMNS = ("layer", "kind", "kernel", "stride", "dilation", "padding", "output", "jump", "size", "start", "centre")


def rows(found: Probe) -> list[tuple[str, ...]]:
    """The cells of the theory's table, a row for each layer, under COLUMNS."""
    return [
        (row.name, row.kind, *(cells(getattr(row, column)) for column in COLUMNS[2:]))
        for row in found.layers[: found.chosen + 1]
    ]


def sentences(found: Probe) -> list[str]:
    """What was measured, in words."""
    field, effective = found.exact(), found.effective()
    what = "the output" if not field.pixel else f"pixel {place(field.pixel)} of {cells(found.theory.output)}"
    ends = tuple(f + n - 1 for f, n in zip(field.first, field.size))
    span = math.prod(field.size)
    lines = [
        f"exact: {what} sees {cells(field.size)} cells, {place(field.first)} ... {place(ends)}; "
        f"{field.taps} of {span} are touched (density {number(round(field.density, 4))})"
    ]
    phases = found.phases()
    if len(phases) > 1:
        count = sum(phases.values())
        several = ", ".join(f"{cells(size)} ({n} of {count} pixels)" for size, n in phases.items())
        lines.append(f"the formula has one size for all pixels; by phase or at the border they differ: {several}")
    lines.append(
        f"effective: {MASS:.0%} of |gradient| within {number(effective.radius)} cells of the centre "
        f"({_weights(found)}), the exact field reaches {cells(tuple(n / 2 for n in field.size))}"
    )
    for name, fields in found.branches().items():
        if len({f.size for f in fields}) == 1:
            continue
        several = ", ".join(f"branch {i} alone {cells(f.size)}" for i, f in enumerate(fields, start=1))
        lines.append(f"if {name} passed one branch only: {several}")
    for name, size in found.readings.items():
        lines.append(f"{name}: {cells(size)}")
    return lines


def text(found: Probe) -> str:
    """The table, then the sentences."""
    lines = table([COLUMNS, *rows(found)], "<<>")
    return "\n".join([f"{heading(found)}:", *lines, *sentences(found)])


def heading(found: Probe) -> str:
    shape = " x ".join(map(str, found.image.shape[2:]))
    return f"receptive field of {found.title} on {shape} cells"


def content(found: Probe) -> dict[str, Any]:
    """The same as plain values, and the exact field of every pixel that was measured."""
    field, effective = found.exact(), found.effective()
    measured = found.fields(found.chosen, found.pixels(found.chosen))
    return {
        "model": found.title,
        "input": found.image.shape[2:],
        "layers": [asdict(row) for row in found.layers[: found.chosen + 1]],
        "readings": found.readings,
        "exact": {"pixel": field.pixel, "first": field.first, "size": field.size, "taps": field.taps,
                  "density": field.density},
        "branches": {name: [{"first": f.first, "size": f.size, "taps": f.taps} for f in fields]
                     for name, fields in found.branches().items()},
        "effective": {"mass": MASS, "radius": effective.radius, "draws": found.draws, "weights": _weights(found)},
        "pixels": [{"pixel": f.pixel, "first": f.first, "size": f.size, "taps": f.taps} for f in measured],
    }  # fmt: skip


def _weights(found: Probe) -> str:
    own = "the model's own weights" if found.own_weights else "random weights"
    return f"{own}, {found.draws} draws"

