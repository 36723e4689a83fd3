"""A chapter of the course as a notebook: ``minidl notebook 4`` writes one, ``minidl notebook all`` all of them.

``minidl notebook FILE.ipynb`` writes FILE-still.ipynb, a copy for Markdown, GitHub and paper: with a picture and the
text in place of each page that explain, gradcheck and the like have shown.

A chapter's notebook is its page, cut at its headings and at its Python blocks. What the blocks print is left out: run
them. Nothing but the standard library is needed to write one; to open it, Jupyter or Colab.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..files.atomic import replacing
from ..version import REPOSITORY
from . import still
from .terminal import Parser, UsageError

PAGES = "gh-pages"  # the branch that holds the built site, and with it the notebooks

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(((?!https?:|#)[^)\s]+)\)")
NEEDS = {17: "mpmath"}  # beyond the tasks


def folder() -> Path:
    """Where the chapters are: beside this file in an installed package, in docs/ in the project."""
    installed = Path(__file__).with_name("chapters")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "docs" / "chapters"


def chapters() -> list[Path]:
    """The pages of the chapters, in order."""
    return sorted(folder().glob("[0-9][0-9]-*.md"))


def colab(chapter: str) -> str:
    """The address that opens a chapter in Colab, "" without a repository."""
    place = f"{REPOSITORY}/blob/{PAGES}/notebooks/{chapter}.ipynb"
    return f"https://colab.research.google.com/github/{place}" if REPOSITORY else ""


def notebook(page: Path) -> dict[str, Any]:
    """A chapter as a notebook, in version 4.5 of the format, without outputs; the same page gives the same notebook."""
    cells = [_cell(kind, text, f"{page.stem[:2]}-{i}") for i, (kind, text) in enumerate(_parts(page))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write(page: Path, path: Path) -> None:
    """Write a chapter as a notebook, all at once."""
    with replacing(path) as file:
        file.write((json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n").encode())


def _parts(page: Path) -> Iterator[tuple[str, str]]:
    """The cells of a page: "markdown" or "code", and the text."""
    text = page.read_text(encoding="utf-8")
    number, last = int(page.stem[:2]), 0
    title, _, text = text.partition("\n")
    yield "markdown", f"{title}\n\n{_needs(number)}"
    if REPOSITORY:
        asked = f'"minidl[tasks] @ git+https://github.com/{REPOSITORY}" {NEEDS.get(number, "")}'.strip()
        yield "code", f'import sys\n\nif "google.colab" in sys.modules:\n    %pip install -q {asked}'
    for match in BLOCK.finditer(text):
        yield from _prose(text[last : match.start()], page)
        yield "code", match[1]
        last = match.end()
    yield from _prose(text[last:], page)


def _needs(number: int) -> str:
    extra = f" {NEEDS[number]}" if number in NEEDS else ""
    return f'*Chapter {number} of the course of minidl. It needs `pip install "minidl[tasks]"{extra}`.*'


def _prose(text: str, page: Path) -> Iterator[tuple[str, str]]:
    """Markdown, a cell for each heading; links lead to the other notebooks, or say which file is meant."""
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        if part.strip():
            yield "markdown", LINK.sub(lambda link: _link(link[1], link[2], page), part)


def _link(text: str, target: str, page: Path) -> str:
    path, _, anchor = target.partition("#")
    if re.fullmatch(r"\d\d-[\w-]+\.md", path):
        return f"[{text}]({path.removesuffix('.md')}.ipynb)"
    parts = ["docs", "chapters"]
    for step in path.split("/"):
        parts = parts[:-1] if step == ".." else [*parts, step]
    file = "/".join(parts)
    if REPOSITORY:
        return f"[{text}](https://github.com/{REPOSITORY}/blob/HEAD/{file}{'#' + anchor if anchor else ''})"
    return f"{text} (`{file}`)"


def _cell(kind: str, text: str, name: str) -> dict[str, Any]:
    """A cell; its id is its place, so that a notebook is the same each time it is made."""
    lines = text.strip("\n").splitlines(keepends=True)
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": lines}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def main(argv: list[str] | None = None) -> int:
    """Write notebooks, or list the chapters."""
    parser = Parser(prog="minidl notebook", description=__doc__)
    parser.add_argument(
        "chapter", nargs="?", help="its number, or all, or FILE.ipynb; without it the chapters are listed"
    )
    parser.add_argument("--out", metavar="FOLDER", default=".", help="where to write (here)")
    parser.add_argument("--overwrite", action="store_true", help="replace a notebook that is there")
    options = parser.parse_args(argv)
    pages = {int(page.stem[:2]): page for page in chapters()}
    if options.chapter is None:
        for number, page in pages.items():
            print(f"{number:4}  {page.read_text(encoding='utf-8').partition(chr(10))[0].partition('. ')[2]}")
        return 0
    out = Path(options.out)
    made = _asked(options.chapter, pages, out)
    if not options.overwrite and (there := [path for path in made if path.exists()]):
        raise UsageError(f"{there[0]} is there already, perhaps with your work; --out another folder, or --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    for path, (source, write_one) in made.items():
        write_one(source, path)
        print(f"wrote {path}")
    return 0


def _asked(what: str, pages: dict[int, Path], out: Path) -> dict[Path, tuple[Path, Callable[[Path, Path], None]]]:
    """Which files are to be written: out of what, and how."""
    if what.endswith(".ipynb"):
        if not Path(what).is_file():
            raise UsageError(f"{what}: there is no such file")
        return {out / f"{Path(what).stem}-still.ipynb": (Path(what), still.write)}
    wanted = list(pages) if what == "all" else [int(what) if what.isdecimal() else 0]
    if not set(wanted) <= set(pages):
        raise UsageError(f"there is no chapter {what!r}: 1 to {len(pages)}, or all")
    return {out / f"{pages[number].stem}.ipynb": (pages[number], write) for number in wanted}
