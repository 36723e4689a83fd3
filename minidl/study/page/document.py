"""The frame of a page: one file without network, its scripts and styles named by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ...files.atomic import replacing

LARGEST = 2 << 20  # bytes of a page
INLINE = "data:image/svg+xml;base64,"
EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@dataclass(frozen=True)
class Page:
    """A page that is one file: no network, no library, light and dark, the same bytes for the same input.

    title: of the window, and of the heading. body: HTML, without scripts and without ``style`` attributes, which the
    content-security policy forbids (use classes, or set ``element.style`` in the script). script: JavaScript that runs
    once the body is there. style: CSS beyond the shared style.css. data: what the script finds as
    ``JSON.parse(document.getElementById("data").textContent)``; see `plain` for how arrays and NaN are written.
    picture: SVG, what a notebook shows where it may not show the page.

    Raises ValueError when it is written, if it is larger than 2 MiB.
    """

    title: str
    body: str
    script: str = ""
    style: str = ""
    data: Any = None
    picture: str = ""

    def text(self) -> str:
        """The page as HTML."""
        style = shared_style() + self.style
        policy = f"default-src 'none'; style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"
        policy += f"; script-src {_hash(self.script)}" if self.script else ""
        lines = [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{escape(self.title)}</h1>\n{self.body}\n</main>",
        ]
        if self.data is not None:
            lines.append(f'<script type="application/json" id="data">{_json(self.data)}</script>')
        if self.script:
            lines.append(f"<script>{self.script}</script>")
        text = "\n".join([*lines, "</body>\n</html>\n"])
        if (size := len(text.encode())) > LARGEST:
            raise ValueError(
                f"the page {self.title!r} would have {size / 2**20:.1f} MiB, at most {LARGEST >> 20} are written: "
                "show less of it"
            )
        return text

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, all at once: a reader finds the whole file or the one before."""
        text = self.text()
        with replacing(path) as file:
            file.write(text.encode())
        return Path(path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: see `bundle`."""
        return self.bundle(self.title)

    def bundle(self, text: str) -> dict[str, str]:
        """What a notebook may show: the picture and `text`, which says the same, until the picture's handler puts the
        page in their place, in a frame of its own and in the theme of the notebook (see notebook.js).

        Where handlers are taken out (a notebook that is not trusted, GitHub) and on paper, picture and text stay. There
        is no SVG of its own: nbconvert stops at one on its way to LaTeX where there is no Inkscape. The lines are laid
        out so that Markdown takes them for HTML: no empty line but that before <pre>.
        """
        image = base64.b64encode((self.picture or EMPTY).encode()).decode()
        html = (
            f'<div class="minidl-still"><img src="{INLINE}{image}" alt="{escape(self.title)}" '
            f'data-page="{_in_line(self.text())}" onload="{escape(_handler())}">\n\n<pre>\n{escape(text)}</pre></div>'
        )
        return {"text/html": html, "text/plain": text}


class Shown:
    """What has a `page`, a `text` and a `content`: tools give it to be printed, written, or shown by a notebook."""

    def text(self) -> str:
        """As lines of text."""
        raise NotImplementedError(f"{type(self).__name__} defines no text()")

    def content(self) -> dict[str, Any]:
        """As values that JSON can hold: see `plain`."""
        raise NotImplementedError(f"{type(self).__name__} defines no content()")

    def page(self) -> Page:
        """As a page."""
        raise NotImplementedError(f"{type(self).__name__} defines no page()")

    def json(self) -> str:
        """The content as JSON text."""
        return json.dumps(plain(self.content()), indent=2, ensure_ascii=False, allow_nan=False)

    def html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The page as HTML, one file without network; written to `path` if given."""
        made = self.page()
        if path is not None:
            made.save(path)
        return made.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.page().bundle(self.text())


def plain(value: Any) -> Any:
    """What JSON can say of `value`: arrays become lists, numbers that are not finite "nan", "inf" and "-inf"."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


@cache
def shared_style() -> str:
    """style.css: colours, tables, forms, focus."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


@cache
def _handler() -> str:
    """notebook.js in one line."""
    return " ".join(Path(__file__).with_name("notebook.js").read_text(encoding="utf-8").split())


def _in_line(text: str) -> str:
    """As the value of an attribute, without line ends."""
    return escape(text).replace("\n", "&#10;")


def _json(data: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(plain(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
