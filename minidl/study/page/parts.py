"""Parts that pages share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def scroll(html: str, label: str, kind: str = "") -> str:
    """A frame in which wide content scrolls by itself. label: for screen readers; kind: further classes."""
    kind = f"scroll {kind}".strip()
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(label)}">{html}</div>'


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], label: str, kind: str) -> str:
    """Rows of text under their heads, the first cell of a row its heading, in a frame that scrolls.

    kind: the class of the table. A cell in capitals, such as a verdict, has itself as its class.
    """
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for row in rows:
        first, *rest = map(escape, row)
        cells = "".join(f'<td class="{cell}">{cell}</td>' if cell.isupper() else f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    body = "\n".join(lines)
    return scroll(f'<table class="{kind}"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>', label)


def capital(text: str) -> str:
    """The text with a capital letter first, the rest as it is."""
    return text[:1].upper() + text[1:]
