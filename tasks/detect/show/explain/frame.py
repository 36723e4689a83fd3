"""The page that the stages are put into: the picture, the words, the buttons that step through."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from minidl.study.page import Page, number

from .stage import Case, Stage, as_data, counted, photograph

HERE = Path(__file__).parent
FRAME = """<p class="lead">{detector}: {objects}, {found}; {losses} losses that add up to <b>{total}</b></p>
<nav class="stepper" aria-label="Steps">
<button type="button" id="back" aria-label="the step before">&larr; Back</button>
<input type="range" id="slider" min="0" max="{last}" value="0" aria-label="step">
<button type="button" id="next" aria-label="the next step">Next &rarr;</button>
<span id="where" aria-live="polite"></span>
</nav>
<ol class="index" aria-label="All steps">{index}</ol>
<div class="board">
<section class="text" aria-label="What happens in this step">{words}</section>
<figure class="picture"><svg id="picture" role="img" aria-label="The picture with boxes"></svg>
<figcaption><p id="legend"></p><button type="button" id="zoom" aria-pressed="false">Zoom to the chosen box</button>
<p id="caption" aria-live="polite"></p></figcaption></figure>
<section class="lists" aria-label="The numbers of this step">
<div id="summary"></div><div id="groups" role="group" aria-label="What is shown"></div>
<div id="details" aria-label="The chosen line"></div><div id="tables"></div><p id="note" class="note"></p>
</section>
</div>"""


def page(case: Case, steps: list[Stage], image: np.ndarray, title: str) -> Page:
    """The page of the stages of a picture (3, H, W) in [0, 1]."""
    shown = {
        "image": {"uri": photograph(image), "width": case.size[1], "height": case.size[0]},
        "truth": as_data([*case.target.boxes]),
        "stages": as_data(steps),
    }
    script, style = ((HERE / name).read_text(encoding="utf-8") for name in ("explain.js", "explain.css"))
    return Page(title, body(case, steps), script=script, style=style, data=shown)


def body(case: Case, steps: list[Stage]) -> str:
    """The frame that the script fills."""
    total = number(sum(case.losses.values()))
    parts: dict[str, list[str]] = {}
    for n, step in enumerate(steps):
        button = f'<button type="button" data-step="{n}"><b>{n + 1}</b> {escape(step.title)}</button>'
        parts.setdefault(step.part, []).append(f"<li>{button}</li>")
    index = "".join(f"<li><span>{escape(part)}</span><ol>{''.join(each)}</ol></li>" for part, each in parts.items())
    words = "".join(
        f'<div class="words" id="words-{step.key}" hidden><p class="part">{escape(step.part)}</p>'
        f"<h2>{n + 1}. {escape(step.title)}</h2>{step.text}</div>"
        for n, step in enumerate(steps)
    )
    return FRAME.format(
        index=index, words=words, last=len(steps) - 1, detector=type(case.model).__name__,
        objects=counted(len(case.target), "object"), total=total, losses=len(case.losses),
        found=counted(len(case.prediction.detections[0]), "detection"),
    )  # fmt: skip
