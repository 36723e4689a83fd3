"""The strips of the page as a picture of its own, SVG: what a notebook shows that may not show the page."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LEFT, ROW = 640, 120, 22  # pixels: of the cells, of the names before them, of a strip
MOST = 160  # cells of a layer that are drawn one by one
INK, CELL, SEEN, CHOSEN, BAR = "#1b1f24", "#c3cad2", "#0b57b0", "#a40e26", "#e8913c"


def strips(data: dict[str, Any], title: str) -> str:
    """The cells of each layer along one axis, those that the pixel shown first depends on, and its |gradient|.

    data: what the page's script gets. It brings its own ground, so that it can be read in a light and a dark notebook.
    """
    at, index = data["start"]
    [size], layers, pixel = data["cells"], data["layers"][: at + 1], data["pixels"][at][index]
    scale, height = WIDTH / size, ROW * (len(layers) + 3)
    *cones, below = [field[0] for field in pixel["cone"]]  # of the layers before the pixel's, and of the input
    rows = [("input", [0, 1], size, below)]
    rows += [(x["name"], x["places"][0], x["count"][0], seen) for x, seen in zip(layers, [*cones, []], strict=True)]
    parts = []
    for k, (name, (first, jump), count, seen) in enumerate(rows):
        y = ROW * (len(layers) - k) + 4
        parts.append(_name(name, y))
        runs = [(0, count, CELL), *((a, n, SEEN) for a, n in zip(seen[::2], seen[1::2]))]
        runs += [(pixel["at"][0], 1, CHOSEN)] if k == len(layers) else []
        for start, length, colour in runs:
            step = 1 if count <= MOST else length
            for cell in range(start, start + length, step):
                wide = max(jump * (step - 0.14), 0.1)
                x = LEFT + scale * (first + jump * (cell + step / 2 - 0.5) + 0.5 - wide / 2)
                parts.append(_rect(x, y, scale * wide, ROW - 8, colour))
    bars = pixel["effect"][0]
    parts += [_name("|gradient|", ROW * (len(layers) + 1) + 12)] * bool(bars)
    for cell, bar in enumerate(bars, below[0] if below else 0):
        tall = 1.6 * ROW * bar / 1000
        parts.append(_rect(LEFT + scale * (cell + 0.07), height - 4 - tall, scale * 0.86, tall, BAR))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 8} {height}" width="{LEFT + WIDTH + 8}" '
        f'height="{height}"><title>{escape(title)}</title><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{''.join(parts)}</svg>"
    )


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.5g}" y="{y:.5g}" width="{width:.4g}" height="{height:.4g}" fill="{colour}"/>'


def _name(text: str, y: float) -> str:
    place = f'x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="{INK}"'
    return f'<text {place} font-family="monospace" font-size="12">{escape(text[:15])}</text>'
