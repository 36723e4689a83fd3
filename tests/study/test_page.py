"""The frame of pages: one file, no network, the same bytes, nothing that its policy forbids."""

import html
import json
import re

import numpy as np
import pytest

from minidl.study.page import Page, heat_table, level, mathml, number, plain
from tests.support.browser import SCHEMES, WIDTHS

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
document.getElementById("caption").textContent = data.word;
"""


def sample(word: str = "caption") -> Page:
    heat = heat_table(np.array([[-2.0, 0.0], [1.0, np.nan]]), "a & b")
    body = f'<p id="caption"></p>{heat}{mathml("g * (1 - y**2)")}'
    return Page("A <page>", body, script=SCRIPT, data={"word": word}, picture="<svg/>")


def test_the_same_page_is_the_same_bytes_and_one_file(tmp_path):
    page = sample()
    assert page.text() == sample().text()
    path = page.save(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == page.text() and [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert not re.search(r"(src|href)=|@import|url\(", page.text())
    assert "<title>A &lt;page&gt;</title>" in page.text()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_shows_it_without_complaint(browser, tmp_path, width, scheme):
    word = "</script><script>alert(1)</script> & <b>"
    path = sample(word).save(tmp_path / "page.html")
    with browser.open(path, width=width, scheme=scheme) as page:
        assert page.locator("#caption").inner_text() == word
        assert page.locator(".heat td").all_inner_texts() == ["-2", "0", "1", "nan"]


def test_what_the_policy_forbids_is_seen(browser, tmp_path):
    bad = Page("bad", '<p style="color: red">red</p>').save(tmp_path / "bad.html")
    with pytest.raises(AssertionError, match="Content Security Policy"), browser.open(bad):
        pass
    wide = Page("wide", "<p>wide</p>", style="p { width: 3000px; }").save(tmp_path / "wide.html")
    with pytest.raises(AssertionError, match="wider than the window"), browser.open(wide):
        pass


def test_a_page_that_is_too_large_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"would have 3\.\d MiB, at most 2"):
        Page("large", "x" * (3 << 20)).save(tmp_path / "large.html")
    assert not list(tmp_path.iterdir())


def test_a_notebook_gets_page_picture_and_text():
    bundle = sample().bundle("a < b\n\nc")
    assert bundle["text/plain"] == "a < b\n\nc" and set(bundle) == {"text/plain", "text/html"}
    [page] = re.findall(r' data-page="([^"]*)"', bundle["text/html"])
    assert html.unescape(page) == sample().text() and "\n" not in page
    assert bundle["text/html"].count("\n\n") == 2  # before <pre>, and the one of the text
    for word in ("<iframe", "<script", "<style"):  # which GitHub's Markdown would print
        assert word not in bundle["text/html"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("trusted", [True, False])
def test_without_its_handler_an_output_shows_picture_and_text(browser, trusted, theme):
    """What is not trusted loses handlers and data; paper shows no frame. The page has the notebook's theme."""
    made = Page("title", "<p>the page</p>", picture='<svg xmlns="http://www.w3.org/2000/svg" width="90" height="9"/>')
    shown = made.bundle("a < b")["text/html"]
    shown = shown if trusted else re.sub(r' (data-page|onload)="[^"]*"', "", shown)
    page = browser.chromium.new_page(color_scheme="light" if theme == "dark" else "dark")  # the system's is the other
    ink, paper = ("#eeeeee", "#111111") if theme == "dark" else ("#222222", "#ffffff")
    page.set_content(f'<body style="color: {ink}; background: {paper}"><div>{shown}</div></body>')
    image = page.locator("img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 90
    frames = page.locator("iframe.minidl-page")
    assert frames.count() == trusted
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        still = media == "print" or not trusted
        assert [page.locator(part).is_visible() for part in ("img", "pre")] == [still, still]
        assert not still or page.locator("pre").inner_text() == "a < b"
        assert not trusted or frames.is_visible() != still
    if trusted:
        page.emulate_media(media="screen")
        inside = page.frame_locator("iframe.minidl-page")
        assert inside.locator("main").inner_text() == "title\n\nthe page" and frames.get_attribute("title") == "title"
        red = inside.locator("html").evaluate("e => Number(getComputedStyle(e).backgroundColor.match(/\\d+/)[0])")
        assert (red > 127) == (theme == "light")
    page.close()


def test_a_page_without_a_picture_is_shown_too(browser):
    page = browser.chromium.new_page()
    page.set_content(Page("title", "<p>the page</p>").bundle("text")["text/html"])
    assert page.frame_locator("iframe.minidl-page").locator("h1").inner_text() == "title"
    page.close()


def test_numbers_that_are_not_finite_survive_json():
    value = {"a": np.array([[1.5, np.nan], [np.inf, -np.inf]]), "b": (np.int64(3), np.True_, None), 4: np.float32(0.5)}
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "a": [[1.5, "nan"], ["inf", "-inf"]], "b": [3, True, None], "4": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "value, text",
    [(0.0, "0"), (-0.0, "0"), (1 / 3, "0.333333"), (-1e-9, "-1e-09"), (np.nan, "nan"), (True, "True"), (7, "7"),
     (1 + 2j, "1+2j"), (3 + 0j, "3")],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


def test_levels_are_symmetric_and_rise_with_size():
    values = [-1.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 1.0]
    assert [level(v, 1.0) for v in values] == ["n6", "n3", "n1", "z", "p1", "p3", "p6"]
    assert level(np.inf, 1.0) == "nan" and level(5.0, 1.0) == "p6" and level(0.0, 0.0) == "z"


def test_heat_tables_say_what_they_leave_out():
    text = heat_table(np.ones((20, 30)), "large", most=5)
    assert text.count("<td") == 25 and "the first 5 rows and columns of (20, 30)" in text
    assert heat_table(np.float64(3.0), "scalar").count("<td") == 1
    assert "2 more of 6 matrices are not shown" in heat_table(np.ones((2, 3, 2, 2)), "stack", most=4)


@pytest.mark.parametrize(
    "formula, parts",
    [
        ("g * (1 - y**2)", ["<mi>g</mi><mo>·</mo><mo>(</mo><mn>1</mn><mo>−</mo><msup>"]),
        ("y = sqrt(x) / abs(mu_B)",
         ["<mi>y</mi><mo>=</mo><mfrac>", "<msqrt>", "<mo>|</mo><msub><mi>μ</mi><mi>B</mi></msub>"]),
        ("w[f, c].T @ x", ["<msub>", "<mo>,</mo>", "<mi>T</mi></msup><mo>@</mo>"]),
        ("a - (b - c)", ["<mi>a</mi><mo>−</mo><mo>(</mo><mi>b</mi>"]),
        ("(a - b) - c", ["<mi>a</mi><mo>−</mo><mi>b</mi><mo>−</mo><mi>c</mi>"]),
        ("exp(-x) >= 0", ["<msup><mi>e</mi>", "<mo>≥</mo>"]),
        ("(-x)**2", ['<msup><mrow><mo>(</mo><mo form="prefix">−</mo>']),
        ("a * -2", ['<mo>·</mo><mo>(</mo><mo form="prefix">−</mo><mn>2</mn><mo>)</mo>']),
        ("conv_transpose(g, w_1)", ["<mi>conv_transpose</mi><mo>(</mo>", "<msub><mi>w</mi><mi>1</mi></msub>"]),
    ],
)  # fmt: skip
def test_formulas_become_mathml(formula, parts):
    text = mathml(formula)
    assert text.startswith("<math") and all(part in text for part in parts), text


def test_what_is_no_expression_stays_text():
    assert mathml("y[n] = sum over k of <w>") == "<code>y[n] = sum over k of &lt;w&gt;</code>"
