"""Filters and patches: a patch's box is the receptive field, and nothing outside of it matters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.kernels.algorithm import ON_CPU
from tasks.interpret import layers
from tasks.interpret.filters import filter_grid, map_grid, tiled
from tasks.interpret.patches import marked, receptive_boxes, top_patches
from tasks.models import resnet_small, vgg_small


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def field(steps, cell):
    """Where the receptive field of a cell begins and ends along an axis, for (kernel, stride, padding, dilation)."""
    first = last = cell
    for kernel, stride, padding, dilation in reversed(steps):
        first, last = first * stride - padding, last * stride - padding + dilation * (kernel - 1)
    return first, last + 1


STEP = st.tuples(st.integers(1, 4), st.integers(1, 3), st.just(0), st.integers(1, 2))
CHAIN = st.lists(st.tuples(st.sampled_from(["conv", "max", "average", "norm"]), STEP), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(CHAIN, st.data())
def test_the_box_is_the_receptive_field_of_a_chain(chain, data):
    net, channels, size, steps = nn.Sequential(), 2, 32, []
    for kind, (kernel, stride, padding, dilation) in chain:
        if kind == "norm":
            net.extend([nn.BatchNorm2d(channels), nn.ReLU()])
            continue
        dilation = 1 if kind == "average" else dilation
        if (left := (size - dilation * (kernel - 1) - 1) // stride + 1) < 1:
            continue
        size = left
        steps.append((kernel, stride, padding, dilation))
        make = {
            "conv": lambda k, s, d: nn.Conv2d(channels, 2, k, s, dilation=d, rng=0),
            "max": lambda k, s, d: nn.MaxPool2d(k, s, dilation=d),
            "average": lambda k, s, d: nn.AvgPool2d(k, s),
        }
        net.append(make[kind](kernel, stride, dilation))
    net.extend([nn.Conv2d(channels, 3, 1, rng=1), nn.ReLU()])
    last = str(len(net) - 1)
    row, column = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    (box,) = receptive_boxes(net, pictures(1, 2, 32, 32), last, [(row, column)])
    (top, bottom), (left, right) = field(steps, row), field(steps, column)
    assert box.tolist() == [top, left, bottom, right]


def test_padding_cuts_the_box_at_the_border():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, rng=0), nn.ReLU(), nn.Conv2d(2, 1, 5, padding=2, rng=0))
    boxes = receptive_boxes(net, pictures(3, 1, 12, 12), "2", [(0, 11), (6, 5), (2, 2)])
    assert boxes.tolist() == [[0, 8, 4, 12], [3, 2, 10, 9], [0, 0, 6, 6]]


def test_branches_resampling_and_weights_of_zero_are_seen_through():
    class Fork(nn.Module):
        def __init__(self):
            self.near, self.far = nn.Conv2d(1, 1, 1, rng=0), nn.Conv2d(1, 1, 3, padding=3, dilation=3, rng=0)
            self.norm, self.up = nn.BatchNorm2d(1), nn.ConvTranspose2d(1, 1, 2, stride=2, rng=0)
            for part in (self.far, self.norm, self.up):
                part.weight.data = np.zeros_like(part.weight.data)
            self.out = nn.Identity()

        def forward(self, x):
            joined = F.concat([self.near(x), -self.norm(self.far(x))])
            return self.out(self.up(F.avg_pool(joined.sum(axis=1, keepdims=True), 2)))

    (box,) = receptive_boxes(Fork(), pictures(1, 1, 24, 24), "out", [(10, 13)])
    assert box.tolist() == [10 - 3, 12 - 3, 12 + 3, 14 + 3]


@pytest.mark.parametrize("algorithm", ON_CPU)
def test_the_box_is_exact_whatever_the_rounding_of_convolutions(algorithm):
    net = nn.Sequential(*[nn.Conv2d(32, 32, 3, padding=1, rng=i) for i in range(3)])
    with md.algorithm(algorithm):
        boxes = receptive_boxes(net, pictures(1, 32, 32, 32).astype("f"), "2", [(16, 15)])
    assert boxes.tolist() == [[13, 12, 20, 19]]


def test_marks_do_not_grow_with_depth():
    net = nn.Sequential(*[nn.Conv2d(8 if i else 1, 8, 3, padding=1, rng=i) for i in range(26)])
    with layers.observed(net), marked():
        recorded = layers.record(net, pictures(1, 1, 64, 64).astype("f"), lambda y: y[:, 0, 30, 31])
        found = layers.gradient(recorded, recorded.images)[0, 0]
    expected = np.zeros((64, 64))
    expected[4:57, 5:58] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("make", "layer"), [(resnet_small, "layer1"), (vgg_small, "features.9")])
def test_the_gradient_lies_inside_the_box_and_reaches_its_borders(make, layer):
    net = make(8 if make is resnet_small else 4, rng=0).to(np.float64).eval()
    x = pictures(1, 3, 40, 40)
    with layers.observed(net):
        recorded = layers.record(net, x, lambda y: y[:, 0], layer)
        maps = recorded.maps
        middle = tuple(n // 2 for n in maps.shape[2:])
        (found,) = md.grad(maps[0, :, *middle].sum(), [recorded.images])
    ((top, left, bottom, right),) = receptive_boxes(net, x, layer, [middle])
    support = np.abs(found.numpy()[0]).max(axis=0)
    assert (bottom - top) == (right - left) < 40
    inside = support[top:bottom, left:right].copy()
    support[top:bottom, left:right] = 0
    assert support.max() == 0 and (inside > 0).mean() > 0.5


def test_pixels_outside_the_box_do_not_change_the_answer():
    net, x = vgg_small(4, rng=0).to(np.float64).eval(), pictures(1, 3, 40, 40)
    (patch,) = top_patches(net, x, "features.9", 3)
    top, left, bottom, right = patch.box
    other = pictures(1, 3, 40, 40, seed=1)
    other[..., top:bottom, left:right] = patch.pixels
    maps = layers.activations(net, np.concatenate([x, other]), ["features.9"])["features.9"]
    at = (3, *patch.position)
    assert maps[(0, *at)] == pytest.approx(maps[(1, *at)], abs=1e-12) and maps[(0, *at)] == patch.activation


def test_top_patches_are_the_best_of_each_image():
    net, x, calls = vgg_small(4, rng=0).to(np.float64), pictures(7, 3, 24, 24), []
    found = top_patches(
        net, x, "features.2", 1, 4, batch_size=3, progress=lambda done, total: calls.append((done, total))
    )
    maps = layers.activations(net, x, ["features.2"])["features.2"][:, 1]
    order = sorted(range(7), key=lambda i: -maps[i].max())[:4]
    assert [p.image for p in found] == order and calls == [(3, 7), (6, 7), (7, 7)]
    for p in found:
        assert p.position == np.unravel_index(maps[p.image].argmax(), (24, 24))
        assert p.activation == pytest.approx(maps[p.image].max(), rel=1e-12)
        top, left, bottom, right = p.box
        row, column = p.position
        assert p.box == (max(row - 1, 0), max(column - 1, 0), min(row + 2, 24), min(column + 2, 24))
        np.testing.assert_array_equal(p.pixels, x[p.image, :, top:bottom, left:right])
    assert len(top_patches(net, x[:2], "features.2", 0)) == 2


def test_a_planted_patch_is_found():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU())
    template = net[0].weight.numpy()[1, 0]
    x = 0.01 * pictures(5, 1, 16, 16).astype("f")
    x[3, 0, 6:9, 10:13] = template
    best = top_patches(net, x, "1", 1, 1)[0]
    assert (best.image, best.position, best.box) == (3, (6, 10), (6, 10, 9, 13))
    np.testing.assert_array_equal(best.pixels[0], template)


@pytest.mark.parametrize(
    ("layer", "channel", "message"),
    [
        ("features.2", 4, "channel 4 is out of range: features.2 has maps 0 to 3"),
        ("features.2", -1, "channel -1 is out of range"),
        ("feature.2", 0, "did you mean features.2?"),
        ("classifier.0", 0, "'classifier.0' gives"),
    ],
)
def test_patches_refused(layer, channel, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        top_patches(vgg_small(4, rng=0), pictures(1, 3, 16, 16).astype("f"), layer, channel)


# --- pictures of filters and maps


def test_filters_share_one_symmetric_scale():
    net = vgg_small(4, rng=0)
    weight = net.features[0].weight.numpy()
    page = filter_grid(net)
    assert page.shape == (2 * 4 - 1, 2 * 4 - 1, 3) and page.min() >= 0 and page.max() <= 1
    scale = np.abs(weight).max()
    np.testing.assert_allclose(page[:3, 4:7], 0.5 + weight[1].transpose(1, 2, 0) / (2 * scale), rtol=1e-6)
    gray = filter_grid(net, "features.3")  # four filters of four channels: one line each
    inner = net.features[3].weight.numpy()
    assert gray.shape == (4 * 4 - 1, 4 * 4 - 1, 3)
    expected = 0.5 + inner[2, 1] / (2 * np.abs(inner).max())
    np.testing.assert_allclose(gray[8:11, 4:7], np.repeat(expected[..., None], 3, axis=2), rtol=1e-6)
    net.features[0].weight.data = np.zeros_like(weight)
    assert (filter_grid(net)[:3, :3] == 0.5).all()


def test_tiles_and_maps():
    page = tiled(np.arange(20.0).reshape(5, 2, 2), columns=2, gap=1, background=-1)
    assert page.shape == (8, 5)
    np.testing.assert_array_equal(page[3:5, :2], [[8, 9], [10, 11]])
    assert (page[2] == -1).all() and (page[6:, 3:] == -1).all()
    maps = pictures(3, 4, 5)
    grid = map_grid(maps, columns=3)
    np.testing.assert_allclose(grid[:, 12:], (maps[2] - maps.min()) / np.ptp(maps), rtol=1e-12)
    assert (map_grid(np.zeros((1, 2, 2))) == 0.5).all()
    with pytest.raises(ValueError, match="takes the maps"):
        map_grid(maps[0])


def test_a_network_without_filters():
    with pytest.raises(ValueError, match="has no filters"):
        filter_grid(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"layer 'features.1' has no filters"):
        filter_grid(vgg_small(4, rng=0), "features.1")
