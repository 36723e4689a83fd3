"""The page that steps through one picture, in a browser; the file, and the command that writes it."""

from functools import cache

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

from minidl import nn
from tasks.detect import Target
from tasks.detect.cli import main
from tasks.detect.instances import cli as instances
from tasks.detect.show import explain
from tasks.detect.show.explain.frame import page as framed
from tests.support.annotations import coco
from tests.tasks.detect.test_explain import CLASSES, POINTS, SIZE, STAGES, case, scene, stages, suppressions, tiny


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The file of a detector's page."""
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def saved(name):
        return framed(case(name), list(stages(name).values()), scene()[0], f"{name} <i>").save(folder / f"{name}.html")

    return saved


# --- in a browser

HERE = """() => {
  const all = (where) => [...document.querySelectorAll(where)];
  return [all("#where")[0].textContent, all(".words:not([hidden]) h2").map((head) => head.textContent),
    all("[aria-current=step]")[0].textContent, all("#slider")[0].value, all("#picture .truths .truth").length,
    document.documentElement.scrollWidth <= document.documentElement.clientWidth];
}"""
READ = """() => {
  const shown = [];
  data.stages.forEach((stage, n) => {
    for (const group of stage.groups || []) pressed[n].add(group.key);
    go(n);
    const texts = (line) => [...line.cells].map((cell) => cell.textContent);
    const lines = (table) => [...table.querySelectorAll("tbody tr[data-row], tfoot tr")].map(texts);
    shown.push([...document.querySelectorAll("#tables table")].map(lines));
  });
  return shown;
}"""
LIT = """(count) => Array.from({ length: count }, (_, row) => {
  const line = document.querySelector(`#tables tr[data-row="0 ${row}"]`);
  if (!line.classList.contains("picked")) line.querySelector("button").click();
  const row_of = (node) => Number(node.dataset.row.split(" ")[1]);
  const rows = (where) => [...document.querySelectorAll(where)].map(row_of).sort((a, b) => a - b);
  return ["#tables tr.lit", "#picture .box.lit", "#tables tr.picked", "#picture .chosen [data-row]"].map(rows)
    .concat(document.getElementById("caption").textContent);
})"""


@pytest.mark.parametrize("name", STAGES)
def test_a_browser_shows_every_stage_every_number_and_who_suppressed_whom(browser, pages, name):
    with browser.open(pages(name)) as page:
        for n, stage in enumerate(stages(name).values()):
            where, heads, step, slider, truths, fits = page.evaluate(HERE)
            assert where == f"{n + 1} of {len(STAGES[name])}: {stage.title}"
            assert heads == [f"{n + 1}. {stage.title}"] and step == f"{n + 1} {stage.title}"
            assert slider == str(n) and truths == len(case(name).target) and fits
            page.keyboard.press("ArrowRight")
        assert page.locator("#next").is_disabled()
        shown = page.evaluate(READ)
        for stage, tables in zip(stages(name).values(), shown):
            expected = [[row.cells for row in table.rows] + table.foot for table in stage.tables]
            assert tables == expected
        for key, *_ in suppressions(name):  # choosing a box lights those it suppressed, or the one that did
            rows = stages(name)[key].tables[0].rows[:30]
            page.evaluate(f"go({STAGES[name].index(key)})")
            for r, (row, (*lit, caption)) in enumerate(zip(rows, page.evaluate(LIT, len(rows)), strict=True)):
                assert lit == [row.lights, row.lights, [r], [r]]
                assert caption == row.sentence or row.kind == "ignored"


def test_groups_rows_and_the_slider_answer_to_the_keyboard(browser, pages):
    stage = stages("mask_rcnn")["labels"]
    with browser.open(pages("mask_rcnn")) as page:
        page.locator("#slider").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert page.locator("#where").inner_text().endswith("Labels")
        for group in stage.groups:
            button = page.locator(f'#groups [data-group="{group.key}"]')
            assert button.inner_text() == f"{group.name}: {group.count}"
            assert button.get_attribute("aria-pressed") == str(group.shown).lower()
        page.locator('#groups [data-group="negative"]').press("Enter")
        rows = [row for row in stage.tables[0].rows if set(row.groups) & {"positive", "negative", "best"}]
        assert page.locator("#tables tr[data-row]").count() == page.locator("#picture > .box").count() == len(rows)
        page.locator("#tables tr[data-row] button").first.press("Enter")
        page.keyboard.press("ArrowDown")
        assert page.locator("tr.picked").count() == 1
        assert page.locator("tr.picked button").inner_text() == rows[1].cells[0]
        assert rows[1].cells[0] in page.locator("#caption").inner_text()
        page.locator("#zoom").press("Enter")
        x, y, width, height = map(float, page.locator("#picture").get_attribute("viewBox").split())
        assert x <= rows[1].box[0] and y <= rows[1].box[1] and width == pytest.approx(height) and width < 10 * SIZE
        page.keyboard.press("Escape")
        assert page.locator("tr.picked").count() == 0
        assert page.locator("#picture").get_attribute("viewBox") == f"0 0 {SIZE} {SIZE}"


@pytest.mark.parametrize("width, scheme", [(1280, "dark"), (390, "light"), (390, "dark")])
def test_pages_fit_narrow_windows_and_the_dark(browser, pages, width, scheme):
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    with browser.open(pages("mask_rcnn"), width=width, scheme=scheme) as page:
        for n, key in enumerate(STAGES["mask_rcnn"]):
            page.evaluate(f"go({n})")
            assert page.evaluate(fits), key
        page.evaluate("go(0)")
        box = page.locator("#picture").bounding_box()
        x, y = (scene()[1].boxes[0].reshape(2, 2).mean(axis=0) / SIZE).tolist()
        page.locator("#picture").click(position={"x": x * box["width"], "y": y * box["height"]})
        assert page.locator("tr.picked").count() == 1  # a box under the pointer


# --- the file


def test_the_same_input_gives_the_same_bytes():
    model, (image, target) = case("mask_rcnn").model, scene()
    first, second = (
        explain.explained(model, image, target, CLASSES, np.random.default_rng(1), "twice", points=POINTS).text()
        for _ in range(2)
    )
    assert first == second


def test_many_boxes_are_not_all_written():
    image = np.random.default_rng(0).random((3, 160, 160), dtype=np.float32)
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 124, (60, 2))
    target = Target(np.concatenate([corner, corner + rng.integers(8, 36, (60, 2))], axis=1), rng.integers(0, 2, 60))
    for name in ("retinanet", "faster_rcnn"):
        page = explain.explained(tiny(name), image, target, CLASSES, np.random.default_rng(0), "many")
        assert len(page.text().encode()) < 1_500_000
        assert "are listed and drawn" in page.text()


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("kind", ["nothing", "crowd"])
def test_pictures_without_objects_and_crowds(name, kind):
    image, target = scene(count=2)
    if kind == "nothing":
        target = Target(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, SIZE, SIZE), bool), np.zeros((0, 2, 3)))
    else:
        target.crowd[:] = True
    it = explain.traced(tiny(name), image, target, CLASSES, np.random.default_rng(0), points=POINTS)
    found = explain.stages(it)
    assert [stage.key for stage in found] == STAGES[name]
    assert framed(it, found, image, kind).text()
    assert all(line[2] != "nan" for table in found[-1].tables for line in table.foot)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STAGES)
def test_a_detector_that_has_diverged_is_shown_too(name):
    model, (image, target) = tiny(name), scene()
    for parameter in model.parameters():
        parameter.data[...] = np.nan
    it = explain.traced(model, image, target, CLASSES, np.random.default_rng(0), points=POINTS)
    found = explain.stages(it)
    assert found[-1].summary.rows[-1][3] == "nan" and framed(it, found, image, "NaN").text()


def test_other_models_are_refused():
    image, target = scene()
    with pytest.raises(TypeError, match="only FasterRCNN, SSD, RetinaNet, YOLO can be explained, got Linear"):
        explain.explained(nn.Linear(1, 1), image, target, CLASSES, np.random.default_rng(0), "")


def test_the_command_writes_the_page(tmp_path, capsys):
    out = tmp_path / "run"
    run = ["--model", "yolo", "--steps", "1", "--batch", "1", "--test", "1", "--quiet", "--out", str(out)]
    assert main([*run, "--explain", "2"]) == 0
    assert f"step by step: {out / 'explain-2.html'}" in capsys.readouterr().out
    first = (out / "explain-2.html").read_bytes()
    assert main(["--checkpoint", str(out / "checkpoint.npz"), "--out", str(out), "--explain", "2"]) == 0
    assert "average precision" not in capsys.readouterr().out
    assert (out / "explain-2.html").read_bytes() == first
    assert b"number 2 of the test scenes</h1>" in first


@pytest.mark.slow
def test_pictures_of_ones_own_with_masks_and_named_keypoints(tmp_path, capsys):
    file, out = coco(tmp_path), tmp_path / "run"
    of = ["--data", str(file), "--images", str(tmp_path / "pictures"), "--size", "48", "--quiet", "--out", str(out)]
    assert instances.main([*of, "--steps", "1", "--batch", "1", "--test", "1", "--explain", "1"]) == 0
    text = (out / "explain-1.html").read_text(encoding="utf-8")
    assert all(word in text for word in ('id="words-masks"', 'id="words-keypoints"', "lamp", "right top"))
    with pytest.raises(ValueError, match="--explain 2: there are 2 test pictures, 0 to 1"):
        instances.main([*of, "--steps", "1", "--explain", "2"])
