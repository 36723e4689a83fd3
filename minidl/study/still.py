"""A notebook with pictures and text in place of pages, for what shows no pages: Markdown, GitHub, paper."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from ..files.atomic import replacing
from .page.document import EMPTY, INLINE
from .terminal import UsageError

PICTURE = re.compile(rf'<div class="minidl-still"><img src="{re.escape(INLINE)}([^"]*)"')


def write(path: Path, target: Path) -> None:
    """Write the notebook at `path` with its pages replaced. Raises UsageError for a file that is no notebook."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [part for output in cell["outputs"] for part in _parts(output)]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a notebook of format 4: {type(error).__name__}: {error}") from None
    with replacing(target) as file:
        file.write((json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())


def _parts(output: dict[str, Any]) -> list[dict[str, Any]]:
    """An output as it is, or a page's picture and its text, each an output."""
    data = output.get("data", {})
    page = PICTURE.match("".join(data.get("text/html", "")))
    if not page:
        return [output]
    picture = base64.b64decode(page[1]).decode()
    shown = {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": picture}}
    return [shown] * (picture != EMPTY) + [output | {"data": {"text/plain": data["text/plain"]}}]
