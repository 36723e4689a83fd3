"""The stages of a plan as a page: the program as it was recorded, and what each pass changes in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from html import escape

from .passes import PASSES
from .program import Program
from .text import lines

STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em; color: #1a1a1a; background: #fff }
pre { font: 12.5px/1.45 monospace; overflow-x: auto; background: #f6f6f4; padding: .8em 1em; border-radius: 4px }
summary { cursor: pointer; font-weight: 600; margin-top: .6em }
.gone { color: #a32020; text-decoration: line-through } .new { color: #0b6b2d } .count { font-weight: 400; color: #666 }
"""


def as_page(stages: Mapping[str, Program]) -> str:
    """A page that needs no other file."""
    words = {improve.__name__: (improve.__doc__ or "").strip().splitlines()[0] for improve in PASSES}
    parts: list[str] = []
    before: list[str] | None = None
    for name, program in stages.items():
        now = lines(program)
        count = f"{len(program.instructions)} instructions" + (f", {len(program.once)} once" if program.once else "")
        body = map(escape, now) if before is None else changes(before, now)
        intro = f"<p>{escape(words[name])}</p>" if name in words else ""
        parts.append(
            f'<details{" open" if before != now else ""}><summary>{escape(name)} <span class="count">{count}</span>'
            f"</summary>{intro}<pre>{chr(10).join(body)}</pre></details>"
        )
        before = now
    title = "A step as a program"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1>{''.join(parts)}</html>\n"
    )


def changes(before: list[str], now: list[str]) -> Iterator[str]:
    """The lines of now, among them those of before that are gone; long stretches without a change are left out."""
    matcher = SequenceMatcher(None, before, now, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            kept = [escape(text) for text in now[c:d]]
            yield from kept if len(kept) <= 6 else [*kept[:2], f"   ... {len(kept) - 4} lines as before", *kept[-2:]]
            continue
        yield from (f'<span class="gone">{escape(text)}</span>' for text in before[a:b])
        yield from (f'<span class="new">{escape(text)}</span>' for text in now[c:d])
