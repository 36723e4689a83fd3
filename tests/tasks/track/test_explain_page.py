"""The page that plays a clip, in a browser."""

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

from tasks.track import explain, scenes
from tasks.track.find import Found

SHOWN = """() => [document.getElementById("number").value,
  ...["truth", "faint", "tube:not(.faint)"].map((kind) => document.querySelectorAll(`#view .${kind}`).length)]"""

DRAWN = """() => new Promise((done) => new MutationObserver(() => done(1)).observe(
  document.getElementById("view"), { childList: true }))"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A clip of four frames, in which the first object and something else were found."""
    clip = scenes.clip("test", 0, 2, 4, posts=0)
    found = Found(np.stack([clip.tubes[0], clip.tubes[0] / 2]), np.array([clip.classes[0], 3]), np.array([0.9, 0.4]))
    return clip, explain.page(clip, found, "a clip <i>").save(tmp_path_factory.mktemp("page") / "page.html")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_clip_is_played_and_a_tube_is_seen_alone(browser, saved, width, scheme):
    clip, path = saved
    objects = len(clip.tubes)
    with browser.open(path, width=width, scheme=scheme) as page:
        assert page.title() == "a clip <i>" and page.locator("#tubes tr").count() == 2
        assert page.locator("#tubes tr").first.locator("td").all_inner_texts()[2:4] == ["0.90", "1.00"]
        assert page.evaluate(SHOWN) == ["1", objects, 0, 2]
        page.locator("#tubes tr").nth(1).click()
        assert page.evaluate(SHOWN) == ["1", 0, 3, 1]
        page.locator("#tubes tr").nth(1).press("Enter")
        page.click("#all")
        page.locator("#frame").fill("2")
        assert page.evaluate(SHOWN) == ["3", objects, 0, 2]
        page.click("#play")
        page.evaluate(DRAWN)
        assert page.evaluate(SHOWN)[0] != "3"
        page.click("#play")
        assert page.locator("#play").inner_text() == "Play"
