"""The page of explain, in a browser: every box is clicked, every number compared with Python's."""

import re

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.study.explain.diagram import diagram, gradient_line
from minidl.study.explain.examples import EXAMPLES
from minidl.study.explain.trace import Vertex
from minidl.study.page import number
from tasks.denoise.model import LectureDenoiser
from tests.support.browser import SCHEMES, WIDTHS

ROWS = 6  # rows and columns of an array that a page of this size shows

READ = """() => {
  const panel = document.querySelector(".panel:not([hidden])");
  const texts = (root, selector) => [...root.querySelectorAll(selector)].map((e) => e.textContent.trim());
  return {
    id: panel.id, open: document.querySelectorAll(".panel:not([hidden])").length,
    title: panel.querySelector("h2").textContent,
    ones: [...panel.querySelectorAll(".one")].map((e) => [e.querySelector(".label").textContent,
      e.querySelector("b").textContent]),
    heats: [...panel.querySelectorAll("figure.heat")].map((e) => [e.querySelector("figcaption").textContent,
      [...e.querySelectorAll("tr")].map((row) => texts(row, "td"))]),
    sums: texts(panel, ".accumulation b"), worked: texts(panel, ".worked b"), to: texts(panel, ".contribution h3"),
    caption: document.getElementById("caption").textContent, slider: Number(document.getElementById("slider").value),
    flow: [...document.querySelectorAll(".edge.flow")].map((e) => e.id),
    gone: [...document.querySelectorAll(".edge.gone")].map((e) => e.id),
    amounts: texts(document, ".amount.flow"),
    gradients: Object.fromEntries([...document.querySelectorAll(".playable .box")].map(
      (e) => [e.id, e.querySelector(".gradient") ? e.querySelector(".gradient").textContent : null])),
    current: texts(document, ".playable .current .name"),
    selected: [...document.querySelectorAll('.playable .box[aria-pressed="true"]')].map((e) => e.id),
  };
}"""


def scalar():
    a, b = md.tensor(0.3, requires_grad=True), md.tensor(-2.0, requires_grad=True)
    return {"loss": (a * b + a.tanh()) ** 2 * a, "names": {"a": a, "b": b}}


def denoiser():
    rng = np.random.default_rng(0)
    model = LectureDenoiser(width=3, rng=0)
    model.main[9].weight.data = rng.normal(size=model.main[9].weight.shape).astype(np.float32)
    noisy, clean = (md.tensor(rng.normal(size=(2, 1, 9, 10)).astype(np.float32)) for _ in range(2))
    return {"loss": lambda: F.mse_loss(model(noisy), clean), "model": model, "names": {"noisy": noisy, "clean": clean}}


def replaced():
    x = md.tensor([[1.0, -1.0, 2.0]], requires_grad=True)
    return {"loss": (F.relu(x) * md.tensor([[-1.0, 1.0, 2.0]])).sum(), "names": {"x": x}}


def several():
    x = md.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    return {"loss": F.tanh(x) * x, "grad_output": [[1.0, -2.0], [0.5, 3.0]], "names": {"x": x}}


MADE = {"own": scalar, "denoiser": denoiser, "replaced": replaced, "several": several} | {
    name: EXAMPLES[name] for name in ("batchnorm", "relu", "nan", "second")
}


def traced(name):
    if name == "replaced":
        with md.relu_rule("guided"):
            return md.explain(**MADE[name]())
    return md.explain(**MADE[name]())


def cells(array):
    """What a heat table must show of an array."""
    array = array.reshape(-1, *array.shape[-2:])[0] if array.ndim > 2 else np.atleast_2d(array)
    return [[number(v) for v in row[:ROWS]] for row in array[:ROWS].tolist()]


def compare(seen, arrays):
    """The figures of a panel, in their order, against (label, array)."""
    ones = [[label, number(a.item())] for label, a in arrays if not a.ndim]
    heats = [[label, cells(a)] for label, a in arrays if a.ndim]
    assert seen["ones"] == ones
    assert [table for _, table in seen["heats"]] == [table for _, table in heats]
    assert all(shown.startswith(label) for (shown, _), (label, _) in zip(seen["heats"], heats))


def figures(step):
    """(label, array) of every figure of a step's panel."""
    inputs = dict.fromkeys(x for x in step.vertex.inputs if isinstance(x, Vertex) and x.value.ndim)
    arrays = [(f"input {x.name}", x.value) for x in inputs]
    arrays += [("value", step.vertex.value), ("gradient", step.gradient)]
    for c in step.contributions:
        if c.summed_over:
            arrays.append(("before the sum", c.unsummed))
        if c.before is None:
            arrays.append((f"gradient of {c.input.name}", c.value))
        elif c.value.ndim:
            arrays += [("before", c.before), ("contribution", c.value), ("after", c.after)]
    return arrays


def check_step(seen, trace, step):
    """Everything that the page shows at a step."""
    assert (seen["id"], seen["open"], seen["slider"]) == (f"step-{step.number}", 1, step.number)
    assert seen["title"] == f"Step {step.number} of {len(trace.steps)}: {step.vertex.primitive.name}"
    compare(seen, figures(step))
    assert seen["to"] == [f"To {c.input.name}" for c in step.contributions]
    added = [c for c in step.contributions if c.before is not None and not c.value.ndim]
    for shown, c in zip(seen["sums"], added, strict=True):
        before, rest = shown.split(" + ")
        value, after = rest.split(" = ")
        assert (before, value.strip("()"), after) == tuple(number(a.item()) for a in (c.before, c.value, c.after))
        assert c.before + c.value == c.after
    assert seen["worked"] == [number(c.local) for c in step.contributions if c.local is not None]


def check_graph(seen, trace, step):
    """The gradients in the boxes after a step: as far as they have arrived, with … while more is to come."""
    arrived, complete = {trace.output: trace.seed}, {}
    for s in trace.steps:
        for c in s.contributions:
            complete[c.input] = s.number
            if s.number <= step:
                arrived[c.input] = c.after
    for box in diagram(trace).boxes:
        shown = seen["gradients"][box.key]
        if shown is None:
            assert box.shows.gradient is None
            continue
        expected = gradient_line(arrived[box.shows]) if box.shows in arrived else ""
        more = " …" if expected and complete.get(box.shows, 0) > step else ""
        assert shown == expected + more


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Each trace and the path of its page, made once."""
    made, folder = {}, tmp_path_factory.mktemp("pages")

    def page(name):
        if name not in made:
            trace = traced(name)
            trace.html(folder / f"{name}.html")
            made[name] = trace, folder / f"{name}.html"
        return made[name]

    return page


@pytest.mark.parametrize("name", MADE)
def test_the_arrow_keys_play_every_step(browser, pages, name):
    trace, path = pages(name)
    graph = diagram(trace)
    gone = set()
    with browser.open(path) as page:
        for step in [None, *trace.steps]:
            if step:
                page.keyboard.press("ArrowRight")
            seen = page.evaluate(READ)
            check_graph(seen, trace, step.number if step else 0)
            vertex = step.vertex if step else trace.output
            assert seen["selected"] == [graph.of[vertex].key] and len(seen["current"]) == 1
            if step is None:
                assert seen["id"] == "step-0" and seen["flow"] == []
                compare(seen, [("value", trace.output.value), ("gradient", trace.seed)])
                continue
            check_step(seen, trace, step)
            between = {
                f"e{i}" for i, e in enumerate(graph.edges) if any(s is step for s, _ in e.contributions)
            }
            assert set(seen["flow"]) == between and set(seen["gone"]) == gone - between
            gone |= between
            assert step.vertex.name in seen["caption"] and seen["caption"].startswith(f"Step {step.number} of")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(READ)["slider"] == len(trace.steps)
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(READ)["slider"] == len(trace.steps) - 1
        page.keyboard.press("Home")
        assert page.evaluate(READ)["slider"] == 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["own", "denoiser"])
def test_every_box_opens_what_is_in_it(browser, pages, name, width, scheme):
    trace, path = pages(name)
    steps = {step.vertex: step for step in trace.steps}
    with browser.open(path, width=width, scheme=scheme) as page:
        for box in diagram(trace).boxes:
            page.locator(f"#{box.key}").click()
            seen = page.evaluate(READ)
            assert seen["selected"] == [box.key] and seen["open"] == 1
            if box.kind == "operation":
                check_step(seen, trace, steps[box.members[0]])
            elif box.kind == "group":
                leaves = [v for v in box.members if v.kind == "leaf"]
                assert seen["title"] == box.title
                compare(seen, [pair for v in leaves for pair in (("value", v.value), ("gradient", v.gradient))])
                inner = page.locator(f"#group-{box.key} .to").all_inner_texts()
                ours = [steps[v] for v in reversed(box.members) if v in steps]
                assert inner == [f"step {s.number}: {s.vertex.name}" for s in ours]
            else:
                (v,) = box.members
                assert seen["title"] == v.name
                compare(seen, [("value", v.value), *([("gradient", v.gradient)] if v.gradient is not None else [])])


def test_boxes_are_buttons_for_the_keyboard(browser, pages):
    trace, path = pages("own")
    with browser.open(path) as page:
        for box in diagram(trace).boxes:
            node = page.locator(f"#{box.key}")
            assert node.get_attribute("role") == "button" and box.title in node.get_attribute("aria-label")
            node.focus()
            assert page.evaluate("document.activeElement.id") == box.key
            page.keyboard.press("Enter" if box.kind == "leaf" else " ")
            assert page.evaluate(READ)["selected"] == [box.key]
        page.locator("#first").focus()
        order = []
        for _ in range(30):
            page.keyboard.press("Tab")
            order.append(page.evaluate("document.activeElement.id"))
        keys = [box.key for box in diagram(trace).boxes]
        assert [key for key in order if key in keys][: len(keys)] == keys


def test_slider_and_buttons(browser, pages):
    trace, path = pages("own")
    with browser.open(path, width=390) as page:
        slider = page.locator("#slider")
        assert slider.get_attribute("max") == str(len(trace.steps))
        for step in (3, 1, 5):
            slider.evaluate(f"s => {{ s.value = {step}; s.dispatchEvent(new Event('input')); }}")
            check_step(page.evaluate(READ), trace, trace.steps[step - 1])
        assert page.locator("#next").is_disabled() and page.locator("#last").is_disabled()
        page.locator("#previous").click()
        check_step(page.evaluate(READ), trace, trace.steps[3])
        slider.focus()
        page.keyboard.press("ArrowLeft")
        check_step(page.evaluate(READ), trace, trace.steps[2])
        page.locator("#first").click()
        assert page.locator("#previous").is_disabled()
        page.locator("#last").click()
        seen = page.evaluate(READ)
        check_graph(seen, trace, len(trace.steps))
        assert slider.get_attribute("aria-valuetext") == seen["caption"] == page.locator("#caption").inner_text()


@pytest.mark.parametrize("name", ["own", "second"])
def test_paths_add_up_on_the_page_and_light_up(browser, pages, name):
    trace, path = pages(name)
    graph = diagram(trace)
    with browser.open(path) as page:
        for leaf in trace.leaves:
            page.locator(f"#{graph.of[leaf].key}").click()
            rows = page.locator(".panel:not([hidden]) tr", has=page.locator(".path"))
            paths = trace.paths[leaf.name]
            assert rows.count() == paths.count
            total = 0.0
            for i, path in enumerate(paths.listed):
                way, factors, product = rows.nth(i).locator("td").all_inner_texts()
                assert way == " → ".join(v.name for v in path.vertices)
                assert [f.strip("()") for f in factors.split(" · ")] == [number(f) for f in path.factors]
                assert product == number(path.product)
                assert np.prod([float(f.strip("()")) for f in factors.split(" · ")]) == pytest.approx(
                    float(product), rel=1e-4, abs=1e-12)  # fmt: skip
                total += float(product)
                button = rows.nth(i).locator(".path")
                button.click()
                assert button.get_attribute("aria-pressed") == "true"
                lit = page.locator(".onpath").evaluate_all("all => all.map((e) => e.id)")
                assert set(lit) == {graph.of[v].key for v in path.vertices}
            assert total == pytest.approx(leaf.gradient.item(), rel=1e-4)
            shown = page.locator(".panel:not([hidden]) .sum").inner_text()
            assert shown == f"Sum {number(paths.sum)}, the gradient {number(leaf.gradient.item())}."


def test_the_table_of_gradients(browser, pages):
    trace, path = pages("own")
    with browser.open(path) as page:
        rows = [page.locator("#gradients tr").nth(i + 1).locator("td") for i in range(len(trace.leaves))]
        for row, leaf in zip(rows, trace.leaves):
            name, value, gradient, sums = row.all_inner_texts()
            assert (name, value, gradient) == (leaf.name, number(leaf.value.item()), number(leaf.gradient.item()))
            products = [number(p.product) for p in trace.paths[leaf.name].listed]
            assert re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", sums)[: len(products)] == products
            row.locator(".open").click()
            assert page.evaluate(READ)["title"] == leaf.name


def test_fused_steps_unfold(browser, pages):
    trace, path = pages("denoiser")
    step = next(s for s in trace.steps if s.fused)
    with browser.open(path, width=390) as page:
        for _ in range(step.number):
            page.keyboard.press("ArrowRight")
        panel = page.locator(".panel:not([hidden])")
        panel.locator("summary").click()
        assert "centred = x - x.mean" in panel.locator("pre").inner_text()
        rows = panel.locator("details tr")
        assert rows.count() == 1 + sum(len(s.contributions) for s in step.inside.steps)
        assert panel.locator("details svg .box").count() == len(diagram(step.inside).boxes)


@pytest.mark.parametrize("name", ["nan", "replaced", "relu"])
def test_warnings_are_on_the_page(browser, pages, name):
    trace, path = pages(name)
    with browser.open(path) as page:
        notes = page.locator(".notes li").all_inner_texts()
        assert [n.lower() for n in notes] == [f"{n}.".lower() for n in trace.notes]
        page.locator("#last").click()
        if name == "nan":
            assert page.locator(".playable .wrong").count() == 1  # the leaf: 0 / (2 * sqrt(0))
        else:
            assert page.locator(".panel:not([hidden]) .warn").count() == 1


def test_a_page_that_shows_a_part_says_so(browser, tmp_path):
    x = md.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(200):
        y = y * 1.01
    path = tmp_path / "long.html"
    md.explain(y).html(path)
    with browser.open(path, width=390) as page:
        assert page.locator(".notes li").count() == 2 and page.locator(".playable .box").count() == 60
        page.locator("#last").click()
        assert page.evaluate(READ)["slider"] == 60


@pytest.mark.parametrize("name", MADE)
def test_pages_are_the_same_bytes_and_small(pages, name):
    _, path = pages(name)
    assert traced(name).html() == path.read_text(encoding="utf-8")
    assert path.stat().st_size < 400_000
