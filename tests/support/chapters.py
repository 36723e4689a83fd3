"""The chapters in docs/chapters as programs: their Python blocks run in order, in one namespace for each page.

What a block prints stands in the ```text block that follows it; a block that prints nothing has none.
``python -m tests.support.chapters`` says which pages differ; ``--write`` puts what the blocks print into the pages.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from minidl.core.primitive import registry
from minidl.study.notebook import BLOCK
from minidl.study.notebook import chapters as pages

FOLDER = Path(__file__).parents[2] / "docs" / "chapters"


class Block(NamedTuple):
    """A Python block: its code, its first line in the page, and what the page says that it prints."""

    code: str
    line: int
    output: str


def blocks(text: str) -> list[Block]:
    return [Block(m[1], text.count("\n", 0, m.start(1)) + 1, m[2] or "") for m in BLOCK.finditer(text)]


def printed(text: str, name: str) -> list[str]:
    """Run the blocks of a page; what each prints. Primitives that a page makes are forgotten again."""
    found, namespace = [], {"__name__": name}
    try:
        for block in blocks(text):
            stream = io.StringIO()
            code = compile("\n" * (block.line - 1) + block.code, name, "exec")  # a traceback says the page's line
            with redirect_stdout(stream):
                exec(code, namespace)
            found.append(stream.getvalue())
    finally:
        for made in [p.name for p in registry.values() if p.__module__ == name]:
            del registry[made]
    return found


def refreshed(text: str, name: str) -> str:
    """The page with what its blocks print."""
    outputs = iter(printed(text, name))

    def replaced(match: re.Match) -> str:
        output = next(outputs)
        shown = f"\n```text\n{output}```\n" if output else ""
        return f"```python\n{match[1]}```\n{shown}"

    return BLOCK.sub(replaced, text)


def main(arguments: list[str]) -> int:
    stale = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        fresh = refreshed(text, page.name)
        if fresh != text:
            stale += 1
            print(f"{page.name} {'written' if '--write' in arguments else 'differs'}")
            if "--write" in arguments:
                page.write_text(fresh, encoding="utf-8")
    return int(stale > 0 and "--write" not in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
