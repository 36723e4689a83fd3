"""The page of a receptive field: every pixel that can be chosen lights what Python says, by mouse and by keyboard."""

import html
import re
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.study.receptive_field.page import GRADES, sentence
from tests.support.browser import SCHEMES, WIDTHS

POINT = """() => {  // at every cell that may be chosen, from the last layer's to the first's: what is then shown
  const strips = [...document.querySelectorAll("#strips > svg")].slice(0, -2);
  const lit = (strip) => [...strip.children].flatMap((cell, i) => cell.classList.contains("on") ? [i] : []);
  const number = (element, name) => Number(element.getAttribute(name));
  return strips.flatMap((strip, row) => [...strip.children].flatMap((cell, pixel) => {
    if (!cell.classList.contains("choice")) return [];
    cell.dispatchEvent(new PointerEvent("pointerenter"));
    const span = document.querySelector(".theory-span");
    return [{
      row, pixel, caption: document.getElementById("caption").textContent, lit: strips.map(lit),
      chosen: document.querySelectorAll(".cell.chosen").length, isChosen: cell.classList.contains("chosen"),
      bars: [...document.querySelectorAll("rect.bar")].map((bar) => number(bar, "height")),
      theory: [number(span, "x"), number(span, "width")],
    }];
  }));
}"""
LIT = """cells => cells.flatMap((cell, i) => cell.classList.contains("on") ? [i] : [])"""


@pytest.fixture(scope="module")
def chain():
    return md.receptive_field("c3 p2 c3d2 ( c3p1 ) t2", (1, 1, 26))


@pytest.fixture(scope="module")
def path(chain, tmp_path_factory):
    path = tmp_path_factory.mktemp("field") / "field.html"
    chain.html(path)
    return path


def strip_of_input(page):
    return page.locator("#strips > svg").nth(-3).locator("rect")


@pytest.mark.parametrize("width, scheme", [(w, s) for w in WIDTHS for s in SCHEMES])
def test_it_shows_the_pixel_asked_for(browser, path, chain, width, scheme):
    with browser.open(path, width=width, scheme=scheme) as page:
        assert page.locator("#caption").inner_text() == sentence(chain.theory, chain.exact(), chain.effective())
        assert page.locator("table.theory tbody tr").count() == len(chain.layers)
        sizes = page.locator("table.theory tbody td:nth-child(9)").all_inner_texts()
        assert [float(s) for s in sizes] == [row.size[0] for row in chain.layers]


def test_every_pixel_by_mouse(browser, path, chain):
    with browser.open(path) as page:
        shown = page.evaluate(POINT)
    last = len(chain.layers) - 1
    assert len(shown) == sum(len(chain.pixels(at)) for at in range(last + 1))
    for at, row in enumerate(chain.layers):
        cones = chain.cones(at, chain.pixels(at), range(at))
        effects = chain.effective_fields(at, chain.pixels(at))
        here = [s for s in shown if s["row"] == last - at]
        for got, cone, effect in zip(here, cones, effects, strict=True):
            field, (pixel,) = cone[-1], cone[-1].pixel
            assert got["pixel"] == pixel and got["chosen"] == 1 and got["isChosen"]
            assert got["caption"] == sentence(row, field, effect)
            below = [np.flatnonzero(f.mask).tolist() for f in reversed(cone[:-1])]
            assert got["lit"] == [[]] * (last - at + 1) + below + [np.flatnonzero(field.mask).tolist()]
            part = effect.share[field.first[0] :][: field.size[0]]
            assert got["bars"] == np.rint(part / effect.share.max() * GRADES).tolist()
            assert got["theory"] == [row.start[0] + row.jump[0] * pixel, row.size[0]]


def test_every_layer_and_its_pixels_by_keyboard(browser, path, chain):
    with browser.open(path) as page:
        buttons, slider = page.locator("#strips button"), page.locator("#pixel")
        assert buttons.count() == len(chain.layers)
        for i, at in enumerate(reversed(range(len(chain.layers)))):
            buttons.nth(i).focus()
            page.keyboard.press("Enter")
            assert buttons.nth(i).get_attribute("aria-pressed") == "true"
            slider.focus()
            page.keyboard.press("Home")
            for field in chain.fields(at, chain.pixels(at)[:3]):
                assert slider.get_attribute("aria-valuetext") == f"pixel {field.pixel[0]} of {chain.layers[at].name}"
                assert page.locator("#where").inner_text() == str(field.pixel[0])
                assert strip_of_input(page).evaluate_all(LIT) == np.flatnonzero(field.mask).tolist()
                page.keyboard.press("ArrowRight")


def test_two_axes(browser, tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 1, (1, 3), rng=0))
    found = md.receptive_field(net, (1, 1, 12, 16), draws=2)
    found.html(tmp_path / "field.html")
    for width in WIDTHS:
        with browser.open(tmp_path / "field.html", width=width) as page:
            field = found.exact()
            for axis in (0, 1):
                page.locator("#axis").select_option(str(axis))
                assert strip_of_input(page).evaluate_all(LIT) == np.flatnonzero(field.along(axis)).tolist()
            box = page.locator(".map .box")
            shown = [float(box.get_attribute(name)) for name in ("x", "y", "width", "height")]
            assert shown == [field.first[1], field.first[0], field.size[1], field.size[0]]
            assert page.locator(".map rect:not(.box)").count() == 12 * 16


def test_the_page_is_the_same_each_time(chain, path):
    again = md.receptive_field("c3 p2 c3d2 ( c3p1 ) t2", (1, 1, 26))
    bundle = again._repr_mimebundle_()
    assert html.escape(path.read_text(encoding="utf-8")) in bundle["text/html"].replace("&#10;", "\n")
    assert bundle["text/plain"] == chain.text() and again.page().picture == chain.page().picture


@pytest.mark.parametrize("spec, shape", [("c3 p2 c3d2 ( c3p1 ) t2", (1, 1, 26)), ("c3 p2 c3s2", (1, 1, 400))])
def test_the_picture_of_a_chain_has_the_cells_of_the_page(spec, shape):
    made = md.receptive_field(spec, shape).page()
    at, index = made.data["start"]
    pixel, counts = made.data["pixels"][at][index], [layer["count"][0] for layer in made.data["layers"]]
    drawn = Counter(re.findall(r'fill="(#[0-9a-f]+)"/>', made.picture))
    one_by_one = [n if n <= 160 else 1 for n in (*counts, shape[2])]
    seen = [runs[0] for runs in pixel["cone"]]
    lengths = [sum(runs[1::2]) if n <= 160 else len(runs) // 2 for runs, n in zip(seen, (*counts[:-1], shape[2]))]
    assert drawn["#c3cad2"] == sum(one_by_one) and drawn["#0b57b0"] == sum(lengths)
    assert drawn["#a40e26"] == 1 and drawn["#e8913c"] == len(pixel["effect"][0]) > 0
    assert ElementTree.fromstring(made.picture).tag.endswith("svg") and len(made.picture) < 100_000


def test_a_deep_network_shows_some_of_its_layers(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("minidl.study.receptive_field.page.ROWS", 4)
    found = md.receptive_field(" ".join(["c3"] * 7), (1, 1, 16), draws=1)
    found.html(tmp_path / "field.html")
    with browser.open(tmp_path / "field.html") as page:
        names = page.locator("#strips button span:first-child").all_inner_texts()
        assert names == ["7 c3", "5 c3", "3 c3", "1 c3"]
        assert page.locator("table.theory tbody tr").count() == 7


def test_a_large_classifier_offers_some_pixels_of_some_layers(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("minidl.study.receptive_field.page.WORK", 0)
    net = nn.Sequential(
        *[layer for _ in range(8) for layer in (nn.Conv2d(1, 1, 3, padding=1, rng=0), nn.ReLU())], nn.Flatten(),
        nn.Linear(64, 3, rng=0),
    )  # fmt: skip
    found = md.receptive_field(net, (1, 1, 8, 8), draws=1)
    found.html(tmp_path / "field.html")
    for width in WIDTHS:
        with browser.open(tmp_path / "field.html", width=width) as page:
            buttons = page.locator("#strips button")
            assert buttons.count() == 6
            assert buttons.nth(0).get_attribute("aria-pressed") == "true"  # the last that has places, not the output
            assert page.locator("#where").inner_text() == "4, 4"
            assert page.locator(".bars .bar").count() == 8 and "|gradient|" in page.locator("#caption").inner_text()
            buttons.nth(3).click()
            assert page.locator(".bars .bar").count() == 0 and "|gradient|" not in page.locator("#caption").inner_text()
            rows = page.locator("#strips").evaluate(
                "e => [...e.children].map(c => [c.tagName, c.getBoundingClientRect().right])"
            )
            left = page.locator("#strips svg").first.bounding_box()["x"]
            assert all(right <= left for tag, right in rows if tag != "svg")
            assert "The output over both axes" in page.locator("figcaption").inner_text()
            assert page.locator("#strips svg").first.evaluate("e => getComputedStyle(e).overflow") == "hidden"


def test_what_was_measured_is_not_measured_again():
    found = md.receptive_field("c3 p2 ( c3p1 )", (1, 1, 12), draws=1)
    assert found.exact() is found.exact() and found.effective() is found.effective()
    assert found.branches()["concat"][0] is found.branches()["concat"][0]
