"""With which constants each `.cu` file is compiled in the tests that count its resources: every rank, both dtypes."""

from __future__ import annotations

from typing import Any

from minidl.kernels.gpu import source
from minidl.ops.window import Window

DTYPES = ("float32", "float64")

# A geometry of each rank in which stride, dilation and padding matter, and a plain one for what is common.
WINDOWS = {
    "1-D 5 stride 2": source.geometry(Window.of((50,), 5, stride=2, padding=2)),
    "2-D 3x3": source.geometry(Window.of((56, 56), 3, padding=1)),
    "2-D 7x7 stride 2": source.geometry(Window.of((224, 224), 7, stride=2, padding=3)),
    "2-D 3x3 dilated": source.geometry(Window.of((30, 28), 3, dilation=2, padding=(2, 1))),
    "3-D 3x3x3": source.geometry(Window.of((16, 16, 16), 3, padding=1)),
}
POOLS = {
    "1-D 3 stride 2": source.geometry(Window.of((50,), 3, stride=2, padding=1)),
    "2-D 2x2 stride 2": source.geometry(Window.of((56, 56), 2, stride=2)),
    "2-D 3x3 stride 2": source.geometry(Window.of((112, 112), 3, stride=2, padding=1)),
    "3-D 2x2x2 stride 2": source.geometry(Window.of((16, 16, 16), 2, stride=2)),
}
CELLS = {name: {"CELLS": cells} for name, cells in (("(N, C)", 1), ("maps of 56x56", 56 * 56), ("16x16x16", 16**3))}
BINS = {"7x7 bins": {"OUTPUT": (7, 7)}, "14x14 bins": {"OUTPUT": (14, 14)}}
NOTHING: dict[str, dict[str, Any]] = {"": {}}

# file: (constants by name, dtypes)
TABLE: dict[str, tuple[dict[str, dict[str, Any]], tuple[str, ...]]] = {
    "columns": (WINDOWS, DTYPES),
    "entries": (CELLS, DTYPES),
    "loss": (CELLS, DTYPES),
    "nms": (NOTHING, DTYPES),
    "norm": (CELLS, DTYPES),
    "pool": (POOLS, DTYPES),
    "roi": (BINS, DTYPES),
    "tensor_cores": (WINDOWS, ("float32",)),
    "update": (NOTHING, DTYPES),
}


def cases() -> list[tuple[str, str, str, str]]:
    """(name of the case, file, dtype, text) for all that is compiled."""
    found = []
    for file, (geometries, dtypes) in TABLE.items():
        for name, constants in geometries.items():
            for dtype in dtypes:
                text = source.text(file, dtype, tuple(constants.items()))
                found.append((", ".join(filter(None, (file, name, dtype))), file, dtype, text))
    return found
