"""A page that plays a clip, tube by tube."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np

from minidl.study.page import Page

from .find import Found
from .scenes import CLASSES, HEIGHT, WIDTH, Clip
from .tubes import tube_overlap

SCALE = 6  # screen pixels for one of the clip
SCRIPT = (Path(__file__).with_name("explain.js")).read_text(encoding="utf-8")
STYLE = (Path(__file__).with_name("explain.css")).read_text(encoding="utf-8")


def page(clip: Clip, found: Found, title: str) -> Page:
    """The clip with a slider and a button that plays it; below, every tube: click one to see it alone."""
    overlap = tube_overlap(found.tubes, clip.tubes)
    rows = "".join(
        f"<tr data-tube={i} tabindex=0><td>{i + 1}<td>{escape(CLASSES[c])}<td>{s:.2f}<td>{o.max():.2f}"
        f"<td>{escape(CLASSES[clip.classes[o.argmax()]])}"
        for i, (c, s, o) in enumerate(zip(found.classes, found.scores, overlap))
    )
    body = f"""<p>Dashed: the objects. In colour: the tubes that were found. Of a tube that is shown alone the boxes of
all other frames are faint.</p>
<figure><svg id="view" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="the clip"></svg></figure>
<p class="controls"><button id="play" type="button">Play</button>
<label>frame <input id="frame" type="range" min="0" max="{len(clip.frames) - 1}" value="0"></label>
<output id="number">1</output>
<button id="all" type="button">all tubes</button></p>
<table><thead><tr><th>tube<th>class<th>score<th>overlap<th>object's class</thead>
<tbody id="tubes">{rows}</tbody></table>"""
    content = {
        "frames": [picture(frame[0]) for frame in clip.frames],
        "truth": np.round(clip.tubes.astype(float), 2).tolist(),
        "found": np.round(found.tubes.astype(float), 2).tolist(),
        "width": WIDTH,
        "height": HEIGHT,
    }
    return Page(title, body, SCRIPT, STYLE, content)


def picture(frame: np.ndarray) -> str:
    """A frame (H, W) as the data of an image."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(frame * 255).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
