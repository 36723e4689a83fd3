"""The part of YAML in which a data.yaml of YOLO is written: keys with numbers, texts, lists and tables of these."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def read_yaml(path: Path) -> dict[Any, Any]:
    """A table of keys, each with a scalar, a list or a table, in brackets or in lines of their own that are indented.

    Deeper nesting is left out. Raises ValueError in one line for a line that is none of this.
    """
    result: dict[Any, Any] = {}
    key, block = None, False
    for i, raw in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        line = _uncommented(raw).rstrip()
        block = block and (not raw.strip() or raw[0].isspace())
        if block or not line.strip() or line.strip() in ("---", "..."):
            continue
        item = re.fullmatch(r"\s*- +(.*)|\s*-", line)
        pair = re.fullmatch(r"""(\s*)("[^"]*"|'[^']*'|[^\s:"'\[{][^:]*?)\s*:(?:\s+(.*))?""", line)
        if item and key is not None:
            if not isinstance(result[key], list):
                result[key] = []
            result[key].append(_scalar(item[1] or ""))
        elif pair and not pair[1]:
            key = _scalar(pair[2])
            result[key] = _value(pair[3] or "")
            block = bool(re.fullmatch(r"[|>][-+]?", pair[3] or ""))  # text in the lines below, such as a script
        elif pair and key is not None:
            if not isinstance(result[key], dict):
                result[key] = {}
            result[key][_scalar(pair[2])] = _value(pair[3] or "")
        elif key is not None and isinstance(result[key], str) and result[key][:1] in ("[", "{"):  # in several lines
            result[key] = _value(f"{result[key]} {line.strip()}")
        else:
            raise ValueError(f"{path}: line {i} is not read: {raw.strip()[:60]!r}; write KEY: VALUE, or - ITEM")
    return result


def _uncommented(line: str) -> str:
    """Without what follows a # outside of quotes."""
    quote = ""
    for i, char in enumerate(line):
        before = line[i - 1] if i else " "
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and before in " [{,:":
            quote = char
        elif char == "#" and before.isspace():
            return line[:i]
    return line


def _value(text: str) -> Any:
    text = text.strip()
    if text[:1] == "[" and text[-1:] == "]":
        return [_scalar(part) for part in _parts(text[1:-1])]
    if text[:1] == "{" and text[-1:] == "}":
        pairs = (part.split(":", 1) for part in _parts(text[1:-1]))
        return {_scalar(pair[0]): _scalar(pair[-1]) for pair in pairs}
    return _scalar(text)


def _parts(text: str) -> list[str]:
    """What stands between commas outside of quotes."""
    return [part for part in re.findall(r"""(?:"[^"]*"|'[^']*'|[^,])+""", text) if part.strip()]


def _scalar(text: str) -> Any:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
