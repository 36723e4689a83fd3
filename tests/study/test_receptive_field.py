"""Receptive fields: the course's values, sets of cells worked out by hand, published networks, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.__main__ import main
from minidl.check.rules import load
from minidl.check.samples import SAMPLES
from minidl.core.backward import walk
from minidl.core.context import setting
from minidl.core.fused import Fused
from minidl.core.primitive import registry
from minidl.study.receptive_field.graph import dependence
from tasks.models import alexnet, resnet18
from tasks.segment.unet import UNet

UNET = "c3 c3 ( p2 c3 c3 ( p2 c3 c3 ( p2 c3 c3 ( p2 c3 c3 t2 ) c3 c3 t2 ) c3 c3 t2 ) c3 c3 t2 ) c3 c3"


# --- the course's values


@pytest.mark.parametrize(
    "spec, size, taps",
    [
        ("c3 c3 c3", 7, 7),
        ("c3 c3d2 c3d2", 11, 11),
        ("c3 p2 c3 p2 c3 p2", 22, 22),
        ("c3 p2 c3 p2 c3", 18, 18),
        ("c3 s2 c3 s2 c3 s2", 15, 15),
        ("c3s2 c3s2 c3s2", 15, 15),
        ("c3 c3d2 c3d4", 15, 15),
        ("c3d2 c3d2 c3d2", 13, 7),
    ],
)
def test_golden_values(spec, size, taps):
    found = md.receptive_field(spec)
    field = found.exact()
    assert found.theory.size == (size,) and field.size == (size,) and field.taps == taps
    assert field.density == taps / size
    assert found.theory.start[0] + found.theory.jump[0] * found.pixel[0] == field.first[0]


def test_the_three_readings_of_a_network_that_pools():
    found = md.receptive_field("c3 p2 c3 p2 c3 p2")
    assert found.readings == {
        "after the last downsampling": (22.0,),
        "before the last downsampling": (18.0,),
        "with decimation in place of pooling": (15.0,),
    }
    assert "before the last downsampling: 18" in found.text()
    assert md.receptive_field("c3 p2 c3").readings["after the last layer"] == (8.0,)
    assert not md.receptive_field("c3 c3").readings


def test_the_table_of_the_formula():
    found = md.receptive_field("c3p1 p3s2p1 c5d2")
    fields = ("name", "kernel", "stride", "dilation", "padding", "jump", "size", "start", "centre")
    assert [tuple(getattr(row, field) for field in fields) for row in found.layers] == [
        ("1 c3p1", (3,), (1,), (1,), (1,), (1,), (3,), (-1,), (0,)),
        ("2 p3s2p1", (3,), (2,), (1,), (1,), (2,), (5,), (-2,), (0,)),
        ("3 c5d2", (5,), (1,), (2,), (0,), (2,), (21,), (-2,), (8,)),
    ]


@pytest.mark.slow
def test_the_papers_unet_on_572_pixels():
    found = md.receptive_field(UNet(base=1, rng=0), (1, 1, 572, 572))
    last = len(found.layers) - 1
    assert found.theory.output == (388, 388)
    bottom = found.exact(layer="bottom.conv2")
    assert bottom.size == (140, 140) == tuple(found.layers[found._index("bottom.conv2")].size)
    fields = found.fields(last, [(i, i) for i in range(16)])
    assert {f.size for f in fields} == {(188, 188), (204, 204)}
    for phase in (0, 10):
        skip, up = found.branches(phase)["concat 4"]
        assert skip.size == (9, 9) and up.size == fields[phase].size
        assert skip.first == (88 + phase,) * 2  # the middle of 572 - 388 = 184, less 4 on each side


def test_a_unet_in_one_line_has_the_same_phases():
    found = md.receptive_field(UNET)
    assert set(found.phases()) == {(188,), (204,)}
    sizes = [f.size[0] for f in found.fields(found.chosen, [(i,) for i in range(found.theory.output[0])])]
    twin = md.receptive_field(UNet(base=1, rng=0), (1, 1, 236, 236))
    assert [f.size[0] for f in twin.fields(twin.chosen, [(i, 0) for i in range(16)])] == sizes[:16]


@pytest.mark.parametrize(
    "make, layer, size, start", [(alexnet, "features.12", 195, -66), (resnet18, "add 8", 435, -217)]
)
def test_published_networks(make, layer, size, start):
    """The sizes are those of Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks"."""
    with setting(drawing=False):
        found = md.receptive_field(make(), (1, 3, 227, 227))
    row = found.layers[found._index(layer)]
    assert row.size == (size, size) and row.start == (start, start) and row.jump == (32, 32)


# --- sets of cells, by hand


KINDS = st.one_of(
    st.builds("c{}s{}d{}p{}".format, st.integers(1, 4), st.integers(1, 2), st.integers(1, 3), st.integers(0, 1)),
    st.builds("p{}s{}".format, st.integers(2, 3), st.integers(1, 3)),
    st.builds("a{}s{}p1".format, st.integers(2, 3), st.integers(1, 2)),
    st.builds("s{}".format, st.integers(1, 3)),
    st.builds("t{}s{}p{}".format, st.integers(2, 4), st.integers(1, 3), st.integers(0, 1)),
    st.builds("u{}".format, st.integers(1, 3)),
)


def number_after(item, letter, default):
    at = item.find(letter, 1)
    return int("".join(c for c in item[at + 1 :].replace("d", " ").replace("p", " ").split()[0])) if at > 0 else default


def sources(item, size, o):
    """The input cells of output o of a layer, from its definition."""
    kind, k = item[0], int(item[1])
    s = number_after(item, "s", 1 if kind == "c" else k)
    d, p = number_after(item, "d", 1), number_after(item, "p", 0)
    if kind in "cpa":
        cells = {s * o + d * t - p for t in range(k)}
    elif kind == "t":
        cells = {i for i in range(size) for t in range(k) if s * i + t - p == o}
    else:
        cells = {o * k} if kind == "s" else {o // k}
    return {i for i in cells if 0 <= i < size}


def sizes_of(items, n):
    """The length before each layer, and at the end."""
    sizes = [n]
    for item in items:
        kind, k, n = item[0], int(item[1]), sizes[-1]
        s = number_after(item, "s", 1 if kind == "c" else k)
        d, p = number_after(item, "d", 1), number_after(item, "p", 0)
        if kind in "cpa":
            sizes.append((n + 2 * p - d * (k - 1) - 1) // s + 1)
        elif kind == "t":
            sizes.append((n - 1) * s - 2 * p + k)
        else:
            sizes.append(-(-n // k) if kind == "s" else n * k)
    return sizes


@given(st.lists(KINDS, min_size=1, max_size=5), st.integers(30, 60))
@settings(max_examples=60, deadline=None)
def test_exact_fields_are_those_of_the_definitions(items, n):
    sizes = sizes_of(items, n)
    if min(sizes) < 1 or max(sizes) > 400:
        return
    found = md.receptive_field(" ".join(items), (1, 1, n))
    pixels = range(0, sizes[-1], max(1, sizes[-1] // 12))
    for field in found.fields(len(found.layers) - 1, [(o,) for o in pixels]):
        cells = set(field.pixel)
        for item, size in zip(reversed(items), reversed(sizes[:-1])):
            cells = set().union(*(sources(item, size, o) for o in cells))
        assert set(np.flatnonzero(field.mask).tolist()) == cells


@given(st.lists(KINDS.filter(lambda item: item[0] in "cpas"), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_without_upsampling_the_formula_is_exact_inside(items):
    found = md.receptive_field(" ".join(items))
    row, (pixel,), field = found.theory, found.pixel, found.exact()
    first = row.start[0] + row.jump[0] * pixel
    holes = "d" in "".join(items) or any(item[0] == "s" or "s" in item[1:] for item in items)
    if not holes:
        assert field.taps == field.size[0]
    assert (field.first[0], field.size[0]) == (first, row.size[0])


def test_dependence_agrees_with_the_jacobian_of_positive_weights():
    net = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(1, 2), dilation=(2, 1), padding=(1, 0), groups=2, rng=0), nn.AvgPool2d(2),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, rng=0),
    ).to("float64")  # fmt: skip
    for p in net.parameters():
        p.data = np.abs(p.data) + 0.1
    found = md.receptive_field(net, (1, 2, 9, 10))
    jacobian = md.jacobian(net, np.ones((1, 2, 9, 10))).numpy()[0, 0]  # (H, W, 1, 2, 9, 10)
    height, width = found.theory.output
    pixels = [(i, j) for i in range(0, height, 3) for j in range(0, width, 2)]
    for field in found.fields(found.chosen, pixels):
        np.testing.assert_array_equal(field.mask, (jacobian[field.pixel] > 1e-12).any(axis=(0, 1)))


# --- graphs


def test_values_play_no_part():
    net = nn.Sequential(nn.Conv1d(1, 1, 3, rng=0), nn.ReLU(), nn.Conv1d(1, 1, 3, dilation=2, rng=0))
    for p in net.parameters():
        p.data = np.full(p.shape, -1.0, np.float32) if p.ndim > 1 else np.zeros(p.shape, np.float32)
    net[2].weight.data = np.zeros((1, 1, 3), np.float32)
    assert md.receptive_field(net, (1, 1, 20)).exact().size == (7,)


def test_branches_are_united():
    def both(x):
        short = F.conv(x, np.ones((1, 1, 3)), padding=1)
        return short + F.conv(x, np.ones((1, 1, 3)), padding=[(6, 0)], dilation=3)

    found = md.receptive_field(both, (1, 1, 30))
    assert (found.theory.kind, found.theory.size, found.theory.start) == ("add", (8,), (-6,))
    field = found.exact(15)
    assert (field.first, field.size, field.taps) == ((9,), (8,), 5)  # 9 12 15, and 14 15 16
    first, second = found.branches(15)["add"]
    assert (first.first, first.taps, second.first, second.size) == ((14,), 3, (9,), (7,))


def test_residual_and_dense_blocks():
    body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, rng=0), nn.BatchNorm2d(2), nn.ReLU())
    net = nn.Sequential(nn.Residual(body), nn.DenseBlock(2, 2, 3, rng=0))
    found = md.receptive_field(net, (1, 2, 24, 24))
    assert found.exact().size == (9, 9) == tuple(found.theory.size)
    skip, straight = (f.size for f in found.branches()["add"])
    assert {skip, straight} == {(9, 9), (7, 7)}


@pytest.mark.parametrize(
    "f, size",
    [
        (lambda x: F.group_norm(x, 1), 12),
        (lambda x: x * x.mean(axis=2, keepdims=True), 12),
        (lambda x: F.softmax(x, axis=2), 12),
        (lambda x: F.softmax(x, axis=1), 1),
        (lambda x: x / x.max(axis=1, keepdims=True), 1),
        (lambda x: x.reshape(1, -1) @ np.ones((24, 3)), 12),
        (lambda x: F.conv(F.pad(x, [(3, 3)], mode="reflect"), np.ones((1, 2, 3))), 3),
        (lambda x: F.pad(x, [(2, 0)])[:, :, 1:-1], 1),
        (lambda x: F.conv(x, np.ones((1, 2, 3)), padding="causal", dilation=2), 5),
        (lambda x: F.interpolate(x, size=7, mode="linear"), 2),
        (lambda x: F.max_unpool(*F.max_pool(x, 2, return_indices=True), 2), 2),
    ],
)
def test_operations(f, size):
    field = md.receptive_field(f, (1, 2, 12)).exact(6)
    assert field.size == (size,)


def test_where_positions_are_mixed_there_is_no_formula():
    net = nn.Sequential(nn.Conv1d(1, 2, 3, rng=0), nn.Flatten(), nn.Linear(20, 4, rng=0))
    found = md.receptive_field(net, (1, 1, 12))
    assert found.theory.size is None and found.theory.output == ()
    assert found.exact().size == (12,) and "the output sees 12 cells" in found.text()


def test_three_axes():
    net = nn.Sequential(nn.Conv3d(1, 1, (1, 3, 5), rng=0), nn.MaxPool3d((1, 2, 2)))
    found = md.receptive_field(net, (1, 1, 4, 12, 14), draws=2)
    assert found.theory.size == (1, 4, 6) == found.exact().size
    with pytest.raises(ValueError, match="one or two axes, this input has 3"):
        found.page()


REFUSED = {"roi_pool", "roi_align", "roi_spread"}  # the boxes decide: their rules do not count


def primitives():
    load()
    return sorted(n for n, p in registry.items() if not isinstance(p, Fused) and p.__module__.startswith("minidl."))


@pytest.mark.parametrize("name", primitives())
def test_every_primitive_depends_on_what_its_jacobian_says_or_is_refused_by_name(name):
    """Wherever a derivative is not zero there is dependence, for every sample, from single outputs and from many."""
    rng = np.random.default_rng(0)
    for sample in SAMPLES[name].draw(rng):
        slots = [i for i, x in enumerate(sample.inputs) if getattr(x, "dtype", np.dtype(int)).kind == "f"]
        slots = slots if sample.differentiate is None else list(sample.differentiate)
        inputs = [md.Tensor(np.asarray(x), requires_grad=i in slots) if hasattr(x, "dtype") else x
                  for i, x in enumerate(sample.inputs)]  # fmt: skip
        y = registry[name](*inputs, **sample.parameters)
        if y.node is None or not y.size:
            continue
        nodes = {inputs[i].node for i in slots}
        for chosen in (rng.integers(y.size), slice(None)):
            seed = np.zeros(y.shape, y.dtype)
            seed.reshape(-1)[chosen] = rng.standard_normal(seed.reshape(-1)[chosen].shape)
            with md.no_grad():
                gradients = walk(y, md.Tensor(seed), nodes, release=False)
                try:
                    counts = walk(y, md.Tensor((seed != 0).astype(y.dtype)), nodes, release=False, pull=dependence())
                except TypeError as error:
                    assert name in REFUSED and f"'{name}' depends on is not known" in str(error)
                    break
            for node, g in gradients.items():
                assert (counts[node].numpy()[g.numpy() != 0] > 0.5).all()


def test_a_primitive_whose_rule_does_not_count_is_refused():
    with pytest.raises(TypeError, match="'roi_align' depends on is not known"):
        md.receptive_field(lambda x: F.roi_align(x, [[0, 0, 0, 4, 4]], 2), (1, 1, 6, 6)).exact()


# --- the effective field


def test_the_effective_field_of_known_weights():
    net = nn.Sequential(*(nn.Conv1d(1, 1, 3, bias=False, rng=0) for _ in range(4))).to("float64")
    for p in net.parameters():
        p.data = np.array([[[1.0, 2.0, 1.0]]])
    found = md.receptive_field(net, (1, 1, 21), own_weights=True, draws=1)
    row = np.array([1.0])
    for _ in range(4):
        row = np.convolve(row, [1.0, 2.0, 1.0])
    effective = found.effective(6)
    np.testing.assert_allclose(effective.share[6:15], row / row.sum(), atol=1e-15)
    assert effective.share.sum() == pytest.approx(1)
    held = [row[4 - r : 5 + r].sum() / row.sum() for r in range(5)]
    assert effective.radius == min(r for r in range(5) if held[r] >= 0.95) + 0.5


def test_the_effective_field_lies_inside_the_exact_one_and_is_smaller():
    found = md.receptive_field(" ".join(["c3"] * 12), draws=24)
    field, effective = found.exact(), found.effective()
    assert not effective.share[~field.mask].any()
    assert effective.radius < 0.8 * field.size[0] / 2
    centre = field.first[0] + field.size[0] // 2
    assert effective.share[centre - 4 : centre + 5].sum() > 2 * effective.share[field.first[0] :][:9].sum()


def test_the_model_is_left_as_it_was_and_the_seed_decides():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.BatchNorm2d(2), nn.Dropout(0.5, rng=1), nn.Conv2d(2, 1, 3, rng=0))
    before, arrays = net.state_dict(), [p.data for p in net.parameters()]
    found = [md.receptive_field(net, (1, 1, 12, 12), seed=s) for s in (0, 0, 1)]
    shares = [f.effective().share for f in found]
    np.testing.assert_array_equal(shares[0], shares[1])
    assert (shares[0] != shares[2]).any()
    assert net.training and all(m.training for m in net.modules())
    assert all(p.data is a for p, a in zip(net.parameters(), arrays))
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(p.grad is None for p in net.parameters())


# --- input, output


@pytest.mark.parametrize(
    "spec, message",
    [
        ("", "has no layers"),
        ("c3 x2", "'x2' is no layer"),
        ("c", "'c' is no layer"),
        ("c3p", "'c3p' is no layer"),
        ("c0", "at least 1"),
        ("c3s0", "at least 1"),
        ("c3s2s2", "may stand once"),
        ("u2s2", "u has no option 's'"),
        ("( c3", "never closed"),
        ("c3 )", "never opened"),
        ("c3 ( u2 )", "cannot be cropped"),
    ],
)
def test_text_that_is_no_network(spec, message):
    with pytest.raises(ValueError, match=message) as caught:
        md.receptive_field(spec, (1, 1, 40) if "u2 )" in spec else None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"model": 3}, TypeError, "a Module, a function or text is needed, got int"),
        ({"model": nn.ReLU()}, ValueError, "needs input_shape="),
        ({"model": nn.ReLU(), "input_shape": (3, 4)}, ValueError, "1 to 3 axes"),
        ({"model": "c3", "draws": 0}, ValueError, "draws must be 1 or more"),
        ({"model": "c3", "layer": "c4"}, ValueError, "no layer is called 'c4'; there are 1 c3"),
        ({"model": "c3", "pixel": 99}, ValueError, "so none is at"),
        ({"model": "c3", "input_shape": (1, 1, 2)}, ValueError, "a kernel of 3"),
        ({"model": lambda x: md.tensor([1.0]), "input_shape": (1, 1, 4)}, ValueError, "does not depend on the input"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        md.receptive_field(**arguments)
    assert "\n" not in str(caught.value)


def test_json_and_text_say_the_same():
    found = md.receptive_field("c3d2 c3d2 c3d2")
    content = json.loads(found.json())
    assert content["exact"] == {"pixel": [5], "first": [5], "size": [13], "taps": 7, "density": 7 / 13}
    assert [row["size"] for row in content["layers"]] == [[5], [9], [13]]
    assert len(content["pixels"]) == 10
    assert "13 cells, 5 ... 17; 7 of 13 are touched" in found.text()
    assert found.exact(pixel=0, layer="2 c3d2").size == (9,)


def test_the_command(tmp_path, capsys):
    assert main(["receptive-field", "c3 p2 c3", "--html", str(tmp_path / "a.html")]) == 0
    assert "8 of 8 are touched" in capsys.readouterr().out
    assert main(["receptive-field", "c3 p2 c3", "--size", "30", "--layer", "2 p2", "--pixel", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact"]["size"] == [4]
    assert main(["receptive-field", "c3 q2"]) == 2
    assert main(["receptive-field", "c3", "--layer", "9"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "'q2' is no layer" in lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
