"""md.explain on fused primitives, modules and large graphs; the layout, its forms and the command."""

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.__main__ import main
from minidl.core.tensor import Placeholder
from minidl.study import asked
from minidl.study.explain.diagram import MOST, diagram
from minidl.study.explain.examples import EXAMPLES
from minidl.study.explain.layout import GAP_X, layout
from tasks.denoise.model import LectureDenoiser
from tests.study.test_explain import small
from tests.support.browser import WIDTHS

# --- fused primitives


def normalised(relu=False):
    rng = np.random.default_rng(3)
    x = md.tensor(rng.normal(size=(5, 2, 3)), requires_grad=True)
    w, b = md.tensor(rng.normal(size=2), requires_grad=True), md.tensor(rng.normal(size=2), requires_grad=True)
    weights = md.tensor(rng.normal(size=(5, 2, 3)))
    loss = (F.batch_norm(x, None, None, w, b, training=True, relu=relu) * weights).sum()
    return loss, {"x": x, "w": w, "b": b}


@pytest.mark.parametrize("relu", [False, True])
def test_a_fused_step_unfolds_into_its_definition(relu):
    loss, names = normalised(relu)
    trace = md.explain(loss, names=names)
    (step,) = [s for s in trace.steps if s.fused]
    inside = step.inside
    assert len(inside.steps) == 13 + relu and not any(s.fused for s in inside.steps)
    assert set(inside.gradients) == {"x", "weight", "bias"}
    for c in step.contributions:
        assert np.allclose(inside.gradients[c.argument], c.value, rtol=1e-10, atol=1e-12)
    assert np.allclose(inside.output.value, step.vertex.value, rtol=1e-12)
    page = trace.html()
    assert f"Unfold batch_norm: {13 + relu} steps of its definition" in page and "centred = x - x.mean" in page
    assert [s.inside for s in trace.steps if not s.fused] == [None] * (len(trace.steps) - 1)


def test_batch_norm_as_its_definition():
    with md.definitions():
        loss, names = normalised()
    trace = md.explain(loss, names=names)
    assert len(trace.steps) == 15 and not any(s.fused for s in trace.steps)
    fused = md.explain(*normalised()[:1])
    for name, g in zip("xwb", fused.gradients.values()):
        assert np.allclose(trace.gradients[name], g, rtol=1e-10, atol=1e-12)
    into_x = [s.vertex.primitive.name for s in trace.steps for c in s.contributions if c.input.name == "x"]
    assert into_x == ["subtract", "sum"]  # directly, and through the mean
    assert [c.summed_over for s in trace.steps for c in s.contributions if c.summed_over]


def test_other_fused_primitives_unfold():
    logits = md.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    for loss in (F.cross_entropy(logits, [0, 2, 1, 1]), F.binary_cross_entropy_with_logits(logits, np.eye(4, 3))):
        (step,) = [s for s in md.explain(loss).steps if s.fused]
        assert np.allclose(step.inside.gradients[step.contributions[0].argument], step.contributions[0].value)


def test_large_inputs_that_the_graph_has_let_go_of_are_worked_out_again():
    x = md.tensor(np.linspace(-1, 1, 20000), requires_grad=True)
    loss = ((x + 1.0) - 0.5 + x).tanh().sum()
    assert any(isinstance(i, Placeholder) for i in _below(loss))
    trace = md.explain(loss, names={"x": x})
    assert np.array_equal(trace.vertices[2].value, (x.data + 1.0) - 0.5)
    assert np.array_equal(trace.gradients["x"], md.grad(loss, x)[0].data)


def _below(y):
    for x in y.node.inputs:
        if isinstance(x, md.Tensor):
            yield x
            if x.node is not None:
                yield from _below(x)


# --- modules and large graphs


def denoiser():
    rng = np.random.default_rng(0)
    model = LectureDenoiser(width=3, rng=0)
    model.main[9].weight.data = rng.normal(size=model.main[9].weight.shape).astype(np.float32)
    noisy = md.tensor(rng.normal(size=(2, 1, 5, 6)).astype(np.float32))
    clean = rng.normal(size=(2, 1, 5, 6)).astype(np.float32)
    return model, lambda: F.mse_loss(model(noisy), clean)


def test_the_denoiser_collapses_by_module():
    model, loss = denoiser()
    buffers = {name: array.copy() for name, array in model.named_buffers()}
    trace = md.explain(loss, model=model)
    assert all(np.array_equal(array, buffers[name]) for name, array in model.named_buffers())
    assert all(p.grad is None for p in model.parameters())
    boxes = diagram(trace).boxes
    groups = [box.title for box in boxes if box.kind == "group"]
    kinds = ["Conv2d", "BatchNorm2d", "ReLU"] * 3 + ["Conv2d"]
    assert groups == [f"main.{i} {kind}" for i, kind in enumerate(kinds)]
    gradients = dict(zip(dict(model.named_parameters()), md.grad(loss(), list(model.parameters()))))
    assert set(trace.gradients) == set(gradients)
    assert all(np.array_equal(trace.gradients[name], g.data) for name, g in gradients.items())
    made = {v.primitive.name: v.calls[0].name for v in trace.vertices if v.primitive and v.calls}
    assert made["subtract"] == "" and made["conv"] == "main.9"  # the model's own forward; the last of the stack
    assert {v.name.rpartition(".")[0] for v in trace.leaves} <= {v.calls[0].name for v in trace.leaves}


def test_without_a_function_modules_are_known_by_their_parameters():
    model, loss = denoiser()
    exact, guessed = (md.explain(x, model=model) for x in (loss, loss()))
    known = {v.name: v.calls[0].title for v in guessed.vertices if v.calls}
    assert known == {v.name: v.calls[0].title for v in exact.vertices if v.calls and v.calls[0].type in
                     ("Conv2d", "BatchNorm2d")}  # fmt: skip


def test_a_module_that_is_called_twice_is_two_boxes():
    class Twice(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2, rng=0)

        def forward(self, x):
            return self.layer(F.tanh(self.layer(x)))

    model = Twice()
    x = md.tensor(np.ones((1, 2), np.float32))
    for loss in (lambda: model(x).sum(), model(x).sum()):
        titles = [box.title for box in diagram(md.explain(loss, model=model)).boxes if box.kind == "group"]
        assert titles == ["layer Linear", "layer Linear (call 2)"]


def test_deep_models_collapse_to_as_many_boxes_as_can_be_drawn():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(2, 2, rng=i), nn.Tanh()) for i in range(MOST)])
    x = md.tensor(np.ones((1, 2), np.float32))
    boxes = diagram(md.explain(lambda: model(x).sum(), model=model)).boxes
    assert len(boxes) > MOST // 2 and len(boxes) <= MOST and not any("." in box.title.split()[0] for box in boxes)


def test_a_long_graph_draws_its_newest_part_and_says_so():
    x = md.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(600):
        y = y * 1.0001
    trace = md.explain(y, names={"x": x})
    assert len(trace.steps) == 600 and trace.gradients["x"] == md.grad(y, x, retain_graph=True)[0].data
    page = trace.html()
    assert f"the newest {MOST} of 601 boxes are drawn" in page.replace("The", "the") and len(page) < 2 << 20
    assert f"{MOST} of 600 steps are on this page" in page and trace.svg().count('class="box ') == MOST
    assert len(json.loads(trace.json())["steps"]) == 600


def test_large_arrays_are_shown_in_part_and_json_leaves_them_out():
    x = md.tensor(np.random.default_rng(0).normal(size=(8, 16, 40, 40)), requires_grad=True)
    trace = md.explain(F.relu(x * 2).sum())
    content = json.loads(trace.json())
    assert content["values"][0]["value"]["values"] is None
    assert content["values"][0]["value"]["max"] == x.data.max()
    assert len(trace.html()) < 200_000 and "[0, 0] of 8x16x40x40" in trace.html()


# --- the layout


@st.composite
def directed(draw):
    n = draw(st.integers(1, 14))
    sizes = {i: (draw(st.integers(40, 200)), draw(st.integers(20, 80))) for i in range(n)}
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    return sizes, draw(st.lists(pairs, max_size=25)), draw(st.booleans())


@given(directed())
@settings(deadline=None, max_examples=80)
def test_boxes_do_not_overlap_and_edges_lead_down(drawn):
    sizes, pairs, cycles = drawn
    edges = pairs if cycles else [(min(a, b), max(a, b)) for a, b in pairs]
    found = layout(sizes, edges)
    boxes = [(*found.centres[k], *sizes[k]) for k in sizes]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x - w / 2 >= -1e-6 and x + w / 2 <= found.width + 1e-6
        assert y - h / 2 >= -1e-6 and y + h / 2 <= found.height + 1e-6
        for x2, y2, w2, h2 in boxes[:i]:
            assert abs(x - x2) >= (w + w2) / 2 + GAP_X - 1e-6 or abs(y - y2) >= (h + h2) / 2 + 1
    for (a, b), points in found.edges.items():
        if not cycles:
            assert found.centres[a][1] < found.centres[b][1]
            assert all(p[1] <= q[1] + 1e-9 for p, q in itertools.pairwise(points))
        for x, y in points[1:-1]:  # an edge passes no box
            assert not any(abs(x - bx) < w / 2 and abs(y - by) < h / 2 for bx, by, w, h in boxes)
    again = layout(dict(sizes), list(edges))
    assert again.centres == found.centres and again.edges == found.edges


def test_a_chain_is_straight_and_a_diamond_symmetric():
    sizes = dict.fromkeys("abcd", (60, 30))
    chain = layout(sizes, [("a", "b"), ("b", "c"), ("c", "d")])
    assert len({x for x, _ in chain.centres.values()}) == 1
    diamond = layout(sizes, [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]).centres
    assert diamond["a"][0] == diamond["d"][0] == (diamond["b"][0] + diamond["c"][0]) / 2


def test_edges_that_need_not_cross_do_not():
    x = {key: centre[0] for key, centre in layout(dict.fromkeys("abcd", (60, 30)), ["ad", "bc"]).centres.items()}
    assert (x["a"] - x["b"]) * (x["d"] - x["c"]) > 0


# --- forms


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_form_is_the_same_bytes_for_the_same_input(name):
    first, second = (md.explain(**EXAMPLES[name]()) for _ in range(2))
    assert first.text() == second.text() and first.json() == second.json()
    assert first.svg() == second.svg() and first.html() == second.html()


def test_json_holds_the_trace():
    loss, leaves = small()
    trace = md.explain(loss, names=leaves)
    content = json.loads(trace.json())
    assert content["schema"] == "minidl.explain/1" and content["output"] == "loss"
    assert content["asked"] == "(a * b + tanh(a)) ** 2 * a"
    assert " ".join(content) == "schema output asked seed scalar overrides notes values steps paths"
    assert [s["value"] for s in content["steps"]] == [s.vertex.name for s in trace.steps]
    for saved, step in zip(content["steps"], trace.steps, strict=True):
        assert saved["gradient"]["values"] == step.gradient.tolist()
        assert [c["after"]["values"] for c in saved["contributions"]] == [c.after.tolist() for c in step.contributions]
        befores = [c["before"] and c["before"]["values"] for c in saved["contributions"]]
        assert befores == [None if c.before is None else c.before.tolist() for c in step.contributions]
    assert sum(p["product"] for p in content["paths"]["a"]["listed"]) == pytest.approx(trace.gradients["a"])


def test_svg_stands_alone_and_shows_every_number():
    import xml.etree.ElementTree as tree

    loss, leaves = small()
    trace = md.explain(loss, names=leaves)
    root = tree.fromstring(trace.svg())
    words = " ".join(root.itertext())
    assert all(f"{v.value.item():.6g}" in words for v in trace.vertices)
    assert all(f"grad {v.gradient.item():.6g}" in words for v in trace.vertices)
    assert "prefers-color-scheme" in trace.svg() and not re.search("href|url\\(|<script", trace.svg())


def test_a_notebook_shows_the_page():
    trace = md.explain(small()[0])
    bundle = trace._repr_mimebundle_()
    assert "data-page" in bundle["text/html"] and trace.page().picture == trace.svg()
    assert bundle["text/plain"].startswith("loss = ")


# --- the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_arguments_it_writes_a_page_and_prints_its_path(here, capsys):
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "explain.html" and "gradient of a: 0.410839" in out
    assert (here / "explain.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs(here, capsys, name):
    assert main(["explain", name, "--html", "a.html", "--svg", "b.svg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "minidl.explain/1"
    assert (here / "a.html").stat().st_size < 2 << 20 and (here / "b.svg").read_text().startswith("<svg")


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=4), st.floats(-2, 2))
@settings(deadline=None, max_examples=20)
def test_an_expression_gives_the_gradients_of_the_same_python(b, a):
    text = "sum((a*b + sin(a))**2, axis=0) / b.size * 2 - F.exp(b[1:]).max()"
    what = asked.read(text, [f"a={a!r}", "b=" + ",".join(map(repr, b))])
    leaves = {name: md.tensor(x, requires_grad=True) for name, x in what.inputs.items()}
    loss = what.function(*leaves.values())
    x, y = md.tensor(a, requires_grad=True), md.tensor(b, requires_grad=True)
    expected = md.grad(((x * y + F.sin(x)) ** 2).sum() / len(b) * 2 - y[1:].exp().max(), [x, y])
    found = md.explain(loss, names=leaves).gradients
    assert all(np.array_equal(found[name], g.data) for name, g in zip("ab", expected))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["__import__('os')", "a=1"], "has no input 'a'"),
        (["a.data", "a=1"], "not allowed"),
        (["(lambda: a)()", "a=1"], "not allowed"),
        (["[x for x in a]", "a=1"], "not allowed"),
        (["eval('a') + a", "a=1"], "eval is not a function here"),
        (["9**9**9 * a", "a=1"], "a power of numbers"),
        (["a +", "a=1"], "not an expression"),
        (["a + b", "a=1"], "needs a value for 'b'"),
        (["a * b", "a=1,2", "b=1,2,3"], "a * b: multiply"),
        (["a * 2", "a=1,2"], "sum(a * 2)"),
        (["a", "a=x"], "neither numbers such as 0.5"),
        (["2 * 3"], "nothing to differentiate by"),
        (["scaler"], "did you mean scalar?"),
        (["scalar", "a=1"], "takes no values"),
        (["tanh2(a)", "a=1"], "did you mean tanh?"),
        (["sum(a, axis=7)", "a=1,2"], "sum(a, axis=7)"),
        (["a.__class__", "a=1"], "not allowed"),
        (["a.backward()", "a=1"], "a.backward is not a method of a tensor here"),
        (["a.tahn()", "a=1"], "did you mean tanh?"),
        (["a[9]", "a=1,2"], "a[9]: "),
        (["sum(a)", "a=[1, 2]"], "no name with a value of real numbers"),
        (["nowhere.py:f", "a=1"], "there is no such file"),
    ],
)
def test_what_cannot_be_computed_is_one_line_and_exit_code_2(here, capsys, arguments, message):
    assert main(["explain", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(here.iterdir())


def test_the_asked_expression_stands_on_top(here, capsys):
    assert main(["explain", "sum((a*b + sin(a))**2)", "a=0.3", "b=1,2"]) == 0
    assert capsys.readouterr().out.startswith("loss = sum((a*b + sin(a))**2) = 1.1")
    assert "<h1>explain: loss = sum((a*b + sin(a))**2) = 1.1" in (here / "explain.html").read_text(encoding="utf-8")


def test_a_long_expression_fits_a_narrow_window(browser, here, capsys):
    long = "+".join(["sin(a)*cos(b)"] * 12)
    assert main(["explain", long, "a=0.3", "b=1"]) == 0
    with browser.open(here / "explain.html", width=WIDTHS[1]) as page:
        assert page.locator("h1").inner_text().startswith(f"explain: loss = {long} = ")
        assert page.locator("#gradients button").all_inner_texts() == ["a", "b"]


def test_a_function_of_a_file(here, capsys):
    (here / "work.py").write_text("def loss(x, n=2):\n    return (x**n).sum()\n\ndef bad(x):\n    return x + 1 / 0\n")
    assert main(["explain", "work.py:loss", "x=1,2", "n=3", "--text"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("loss = sum(x³) = 9: 2 steps back") and "x  [3, 12]" in out
    assert main(["explain", "work.py:bad", "x=1,2"]) == 1
    assert "work.py:5: ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_a_matrix_is_read_by_rows(here, capsys):
    assert main(["explain", "mean(W @ x)", "--text", "W=1,-2;3,4", "x=1,0.5"]) == 0
    assert "x  [2, 1]" in capsys.readouterr().out
