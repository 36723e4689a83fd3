"""The page of a convolution as a matrix: every part pointed at lights what belongs to it, and says what Python says."""

import numpy as np
import pytest

import minidl as md
from minidl.study.convmatrix.page import column_sentences, row_sentences
from tests.support.browser import SCHEMES, WIDTHS

MATRICES = {
    "letters": lambda: md.convmatrix("xyz", 4, stride=2, padding=1),
    "numbers": lambda: md.convmatrix([1, 2, -1], 4),
    "blocks": lambda: md.convmatrix("pq/rs", (2, 3), padding=1, stride=(1, 2)),
}
TABLES = """() => {
  const texts = (row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent);
  const tables = [...document.querySelectorAll("table[id]")];
  return Object.fromEntries(tables.map((t) => [t.id, [...t.rows].map(texts).filter((row) => row.length)]));
}"""
WHERE = "parts => parts.map(p => ['o', 'i', 'k'].map(n => p.hasAttribute(`data-${n}`) ? +p.dataset[n] : null))"


@pytest.fixture(params=MATRICES)
def shown(request, tmp_path):
    """(matrix, its page's path)"""
    m = MATRICES[request.param]()
    m.html(tmp_path / "matrix.html")
    return m, tmp_path / "matrix.html"


@pytest.mark.parametrize("width, scheme", [(w, s) for w in WIDTHS for s in SCHEMES])
def test_it_fits_every_window(browser, tmp_path, width, scheme):
    MATRICES["blocks"]().html(tmp_path / "matrix.html")
    with browser.open(tmp_path / "matrix.html", width=width, scheme=scheme) as page:
        assert page.locator("#X tr").count() == 1 + 6


def test_the_matrices_are_pythons(browser, shown):
    m, path = shown
    with browser.open(path) as page:
        tables = page.evaluate(TABLES)
    X = [[f"{e:g}" if not isinstance(e, str) else e for e in row] for row in m.X.tolist()]
    assert tables["X"] == X
    assert tables["XT"] == [list(column) for column in zip(*X, strict=True)]
    assert tables["im2col"] == [[m.inputs[i] for i in row] for row in m.columns]
    assert [row[0] for row in tables["spread"]] == m.transposed() == [row[1] for row in tables["spread"]]
    assert [row[2] for row in tables["spread"]] == m.column_sums()
    assert tables["conventions"] == [list(pair) for pair in zip(m.outputs(), m.outputs(flipped=True), strict=True)]


POINT = """() => {  // at every part: where it is, its caption, and which parts are lit and pinned
  const parts = [...document.querySelectorAll("[data-o], [data-i], [data-k]")];
  const at = (name) => parts.flatMap((part, n) => part.classList.contains(name) ? [n] : []);
  return parts.map((part) => {
    part.dispatchEvent(new PointerEvent("pointerenter"));
    return { caption: document.getElementById("caption").textContent, lit: at("lit"), pin: at("pin") };
  });
}"""


def belongs(m, at, chosen):
    """Is a part at (output, cell, tap) lit when that one is pointed at? From the matrix of taps."""
    if chosen[0] is not None:
        if at[0] is not None:
            return at[0] == chosen[0] and (at[1] is None or m.taps[at[0], at[1]] >= 0)
        return at[1] is not None and m.taps[chosen[0], at[1]] >= 0
    return at[1] == chosen[1] if chosen[1] is not None else at[2] == chosen[2]


def test_every_part_by_mouse(browser, shown):
    m, path = shown
    with browser.open(path) as page:
        where = page.locator("[data-o], [data-i], [data-k]").evaluate_all(WHERE)
        answers = page.evaluate(POINT)
    outputs, cells = row_sentences(m), column_sentences(m)
    for chosen, answer in zip(where, answers, strict=True):
        o, i, k = chosen
        assert answer["lit"] == [n for n, at in enumerate(where) if belongs(m, at, chosen)]
        pinned = [where[n] for n in answer["pin"]]
        if None in chosen:
            assert not pinned
        else:  # in X, in the transpose and in im2col; the tap in the kernel and beside im2col
            assert sorted(map(str, pinned)) == sorted(map(str, [[o, i, k]] * 3 + [[None, None, k]] * 2))
        if o is not None:
            assert answer["caption"] == outputs[o]
        elif i is not None:
            assert answer["caption"] == cells[i]
        else:
            assert answer["caption"].startswith(f"Tap {k} of the kernel")


def test_every_output_by_keyboard(browser, shown):
    m, path = shown
    with browser.open(path) as page:
        page.keyboard.press("Tab")
        for o in range(m.window.positions):
            assert page.locator("#outputs button").nth(o).evaluate("b => b === document.activeElement")
            assert page.locator("#caption").inner_text() == row_sentences(m)[o]
            lit = page.locator("#X td.lit").evaluate_all(WHERE)
            assert [i for _, i, _ in lit] == np.flatnonzero(m.taps[o] >= 0).tolist()
            assert page.locator("#outputs [aria-pressed=true]").count() == 1
            page.keyboard.press("ArrowRight")
        assert page.locator("#outputs button").first.evaluate("b => b === document.activeElement")


def test_the_page_is_the_same_each_time(shown):
    m, path = shown
    assert path.read_text(encoding="utf-8") == m.html()
    bundle = m._repr_mimebundle_()
    assert "data-page" in bundle["text/html"] and bundle["text/plain"] == m.text()
    assert m.page().picture.count("<rect") == 1 + m.X.size
