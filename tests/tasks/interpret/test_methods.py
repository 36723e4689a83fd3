"""Saliency methods: proofs on networks whose maps are known, by hand or by a plain loop, and what is refused."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.nn.summary import kept_bytes
from tasks.detect.models.ssd import SSD
from tasks.interpret import layers
from tasks.interpret.methods import METHODS, Map, applicable, backprop
from tasks.interpret.occlusion import positions
from tasks.interpret.targets import box_score, class_score, pixel_score
from tasks.models import densenet_small, googlenet_small, resnet_small, vgg_small
from tasks.segment import UNet

OWN = {"occlusion": {"patch": 4}, "smoothgrad": {"samples": 3}, "integrated_gradients": {"steps": 3}}


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


class Small(nn.Module):
    """Convolutions, ReLUs that are functions, a mean of each map, one linear layer."""

    def __init__(self, mean=F.global_avg_pool, relu=F.relu):
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, rng=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 5, 3, stride=2, rng=2)
        self.dropout = nn.Dropout(0.5, rng=3)
        self.head = nn.Linear(5, 4, rng=4)
        self.mean, self.relu = mean, relu
        rng = np.random.default_rng(5)
        self.norm.running_mean[...], self.norm.running_var[...] = rng.normal(size=6), rng.uniform(0.5, 2, 6)
        self.to(np.float64)

    def forward(self, x):
        maps = self.last_maps(x)
        return self.head(self.dropout(self.mean(maps)))

    def last_maps(self, x):
        return self.relu(self.conv2(self.relu(self.norm(self.conv1(x)))))


# --- rules at ReLUs


class Branches(nn.Module):
    """Pixel by pixel y = relu(a - 2 b + c + 5), a = relu(h - 1), b = relu(3 - h), c = x + relu(-2 x), h = relu(2 x);
    the score is the sum of v y. Two ReLUs are one module, called twice; the others are functions."""

    def __init__(self):
        self.shared = nn.ReLU()

    def forward(self, x):
        h = F.relu(2 * x)
        y = (self.shared(h - 1) - 2 * self.shared(3 - h) + (x + F.relu(-2 * x)) + 5).relu()
        return (y * md.tensor([[1.0, -1, 1], [2, 3, -2]])).sum(axis=(2, 3))


PIXELS = np.array([[[[2.0, 2, 1.25], [-0.5, -3, 1.25]]]])
BY_HAND = {
    "gradient": [[3, -3, 7], [0, -3, -14]],
    "deconvnet": [[1, 0, 1], [2, 3, 0]],
    "guided": [[3, 0, 3], [0, -3, 0]],
}


def test_functional_reused_and_branching_relus_by_hand():
    model = Branches()
    score, found = backprop(model, PIXELS, class_score(0), list(BY_HAND))
    np.testing.assert_array_equal(score, [10 - 10 + 6.75 + 0 + 6 - 13.5])
    for rule, expected in BY_HAND.items():
        np.testing.assert_array_equal(found[rule][0, 0], expected)
    assert (METHODS["guided_backprop"](model, PIXELS, class_score(0)).full == found["guided"]).all()
    assert (METHODS["deconvnet"](model, PIXELS, class_score(0)).values[0] == np.abs(BY_HAND["deconvnet"])).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_guided_is_deconvnet_masked_by_the_activation(seed):
    rng = np.random.default_rng(seed)
    f, incoming = rng.normal(size=(2, 3, 4))
    passed = {}
    for rule in BY_HAND:
        x = md.tensor(f, requires_grad=True)
        with md.relu_rule(rule):
            (gx,) = md.grad(F.relu(x), [x], incoming)
        passed[rule] = gx.numpy()
    np.testing.assert_array_equal(passed["guided"], passed["deconvnet"] * (f > 0))
    np.testing.assert_array_equal(passed["guided"], np.maximum(passed["gradient"], 0))


def test_guided_is_deconvnet_masked_at_every_relu_of_a_graph():
    """Without md.relu_rule: the linear parts pulled back one by one, the ReLUs masked in NumPy."""
    model, x = Small(), pictures(2, 3, 9, 9)
    model.eval()
    first, one = md.vjp(lambda x: model.norm(model.conv1(x)), x)
    second, two = md.vjp(model.conv2, F.relu(first).detach())
    _, top = md.vjp(lambda a: model.head(F.global_avg_pool(a)), F.relu(second).detach())
    g = np.zeros((2, 4))
    g[:, 1] = 1
    above = top(g)[0].numpy()
    expected = {}
    for rule, masked in {
        "deconvnet": lambda g, f: np.maximum(g, 0),
        "guided": lambda g, f: np.maximum(g, 0) * (f > 0),
        "gradient": lambda g, f: g * (f > 0),
    }.items():
        below = two(masked(above, second.numpy()))[0].numpy()
        expected[rule] = one(masked(below, first.numpy()))[0].numpy()
    _, found = backprop(model, x, class_score(1), list(expected))
    for rule, values in expected.items():
        np.testing.assert_allclose(found[rule], values, rtol=1e-12, atol=1e-14)
    assert not np.allclose(found["guided"], found["deconvnet"])


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_relu_within_batch_norm_counts(rule):
    class Within(Small):
        def last_maps(self, x):
            return self.relu(self.conv2(self.norm(self.conv1(x), relu=True)))

    class Alone(Within):
        def last_maps(self, x):
            return self.conv2(self.norm(self.conv1(x), relu=True))

    x = pictures(2, 3, 9, 9)
    _, after = backprop(Small(), x, class_score(1), [rule])
    _, within = backprop(Within(), x, class_score(1), [rule])
    np.testing.assert_allclose(within[rule], after[rule], rtol=1e-12, atol=1e-15)
    assert applicable("guided_backprop", Alone(), x) is None


# --- CAM and Grad-CAM

MEANS = {
    "function": F.global_avg_pool,
    "mean": lambda a: a.mean(axis=(2, 3)),
    "adaptive": lambda a: F.adaptive_avg_pool(a, 1).reshape(len(a), -1),
    "window": lambda a: F.avg_pool(a, a.shape[2:]).reshape(len(a), -1),
}


@pytest.mark.parametrize("mean", MEANS)
def test_grad_cam_is_relu_of_cam_over_the_number_of_cells(mean):
    class Named(Small):
        def __init__(self):
            super().__init__(MEANS[mean])
            self.last = nn.Identity()

        def last_maps(self, x):
            return self.last(super().last_maps(x))

    model, x, classes = Named(), pictures(3, 3, 11, 9), [2, 0, 3]
    cam = METHODS["cam"](model, x, class_score(classes))
    grad_cam = METHODS["grad_cam"](model, x, class_score(classes))
    maps = layers.activations(model, x, ["last"])["last"]
    expected = np.einsum("nk,nkhw->nhw", model.head.weight.numpy()[classes], maps)
    cells = maps.shape[2] * maps.shape[3]
    assert cells == 5 * 4 and (expected < 0).any() and (expected > 0).any()
    np.testing.assert_allclose(cam.coarse, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(grad_cam.coarse, np.maximum(cam.coarse, 0) / cells, rtol=0, atol=1e-12)
    total = cam.coarse.mean(axis=(1, 2)) + model.head.bias.numpy()[classes]
    np.testing.assert_allclose(total, cam.score, atol=1e-12)  # the map is the score, place by place
    assert cam.values.shape == grad_cam.values.shape == (3, 11, 9) and cam.signed and not grad_cam.signed


def test_the_identity_fails_after_softmax():
    model, x = Small(), pictures(1, 3, 9, 9)
    cam = METHODS["cam"](model, x, class_score(1)).coarse
    after = METHODS["grad_cam"](model, x, lambda logits: F.softmax(logits, axis=1)[:, 1], layer="conv2").coarse
    assert np.corrcoef(np.maximum(cam, 0).ravel(), after.ravel())[0, 1] < 0.99


def test_grad_cam_at_an_inner_layer_by_finite_differences():
    model, x = Small(), pictures(1, 3, 7, 7)
    model.eval()
    maps = layers.activations(model, x, ["norm"])["norm"]

    def score(maps):
        return model.head(F.global_avg_pool(F.relu(model.conv2(F.relu(md.tensor(maps)))))).numpy()[0, 2]

    slopes = np.empty(6)
    for k in range(6):  # all cells of a map at once: the sum of its gradient
        step = np.zeros_like(maps)
        step[0, k] = 1e-6
        slopes[k] = (score(maps + step) - score(maps - step)) / 2e-6
    expected = np.maximum((slopes[:, None, None] / 49 * maps[0]).sum(axis=0), 0)
    found = METHODS["grad_cam"](model, x, class_score(2), layer="norm").coarse[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_grad_cam_keeps_nothing_below_its_layer():
    model, x = vgg_small(4, rng=0), pictures(1, 3, 16, 16)
    with layers.observed(model):
        above = layers.record_above(model, x, class_score(0), "features.16")
        whole = layers.record(model, x, class_score(0), "features.16")
    names = [node.primitive.name for node in layers.nodes(above.score)]
    assert "conv" in [node.primitive.name for node in layers.nodes(whole.score)]
    assert "conv" in names and names.count("conv") == 1  # features.17
    np.testing.assert_array_equal(above.score.numpy(), whole.score.numpy())
    assert kept_bytes(above.score) < kept_bytes(whole.score) / 4


def test_guided_grad_cam_is_the_product():
    model, x = Small(), pictures(2, 3, 9, 9)
    found = METHODS["guided_grad_cam"](model, x, class_score(1))
    guided = METHODS["guided_backprop"](model, x, class_score(1)).full
    places = METHODS["grad_cam"](model, x, class_score(1)).values
    np.testing.assert_allclose(found.full, guided * places[:, None], rtol=1e-12, atol=1e-18)
    np.testing.assert_array_equal(found.values, np.abs(found.full).max(axis=1))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(resnet_small, "layer3"), (densenet_small, "relu"), (googlenet_small, "inception5b"), (vgg_small, "features.19")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_default_layer(make, expected):
    assert layers.default_layer(make(rng=0), pictures(1, 3, 32, 32)) == expected


# --- averages and occlusion


def test_integrated_gradients_are_complete_on_a_smooth_network():
    model, x = Small(relu=F.softplus), pictures(3, 3, 9, 9)
    start = np.array([0.5, -1, 0.2])[:, None, None]
    found = METHODS["integrated_gradients"](model, x, class_score([0, 1, 2]), baseline=start, steps=24)
    model.eval()
    row = np.arange(3)
    difference = model(md.tensor(x)).numpy()[row, row] - model(md.tensor(start + 0 * x)).numpy()[row, row]
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)), difference, rtol=0, atol=1e-10)
    assert np.abs(found.gap).max() < 1e-10


def test_the_gap_of_integrated_gradients_tells_of_kinks_and_shrinks():
    model, x = Small(), pictures(2, 3, 9, 9)
    model.eval()
    few, many = (METHODS["integrated_gradients"](model, x, class_score(0), steps=s) for s in (2, 400))
    change = model(md.tensor(x)).numpy()[:, 0] - model(md.tensor(0 * x)).numpy()[:, 0]
    for found in (few, many):
        np.testing.assert_allclose(found.gap, found.values.sum(axis=(1, 2)) - change, rtol=0, atol=1e-12)
    assert np.abs(few.gap).max() > 1e-6
    assert (np.abs(many.gap) < 1e-3 * np.abs(change)).all()


def test_gradient_x_input():
    model, x = Small(), pictures(2, 3, 9, 9)
    found = METHODS["gradient_x_input"](model, x, class_score(1))
    np.testing.assert_array_equal(found.full, x * METHODS["gradient"](model, x, class_score(1)).full)
    np.testing.assert_allclose(found.values, found.full.sum(axis=1), rtol=1e-13)
    linear = Small(relu=lambda x: x)  # the map and the score of an image of zeros are the score
    found = METHODS["gradient_x_input"](linear, x, class_score(1))
    rest = METHODS["gradient_x_input"](linear, 0 * x, class_score(1)).score
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)) + rest, found.score, rtol=1e-12)


def test_smoothgrad():
    model, x = Small(), pictures(2, 3, 9, 9)
    gradient = METHODS["gradient"](model, x, class_score(1))
    still = METHODS["smoothgrad"](model, x, class_score(1), sigma=0, samples=4)
    np.testing.assert_allclose(still.full, gradient.full, rtol=1e-12, atol=1e-16)
    rng = np.random.default_rng(7)
    expected = np.zeros_like(x)
    for i in range(2):
        for _ in range(5):
            noisy = x[i : i + 1] + 0.1 * (x[i].max() - x[i].min()) * rng.standard_normal((1, 3, 9, 9))
            expected[i] += METHODS["gradient"](model, noisy, class_score(1)).full[0] / 5
    found = METHODS["smoothgrad"](model, x, class_score(1), sigma=0.1, samples=5, rng=7, batch_size=3)
    np.testing.assert_allclose(found.full, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("patch", "stride"), [(3, 1), ((2, 4), (1, 3)), (5, 5)])
def test_occlusion_is_the_plain_loop(patch, stride):
    model, x, fill = Small(), pictures(2, 3, 8, 9), np.array([0.3, -1.0, 0.0])
    model.eval()
    high, wide = patch if isinstance(patch, tuple) else (patch, patch)
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    expected = np.zeros((2, 8, 9))
    for i in range(2):
        falls, counts = np.zeros((8, 9)), np.zeros((8, 9))
        score = model(md.tensor(x[i : i + 1])).numpy()[0, 3]
        for top in range(8 - high + 1):
            for left in range(9 - wide + 1):
                if (top % down and top != 8 - high) or (left % right and left != 9 - wide):
                    continue
                covered = x[i : i + 1].copy()
                for c in range(3):
                    covered[0, c, top : top + high, left : left + wide] = fill[c]
                falls[top : top + high, left : left + wide] += score - model(md.tensor(covered)).numpy()[0, 3]
                counts[top : top + high, left : left + wide] += 1
        expected[i] = falls / counts
    calls = []
    found = METHODS["occlusion"](
        model, x, class_score(3), patch=patch, stride=stride, fill=fill, batch_size=7,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    total = 2 * (1 + found.coarse[0].size)
    assert calls[-1] == (total, total) and len(calls) == -(-total // 7)


@given(st.integers(1, 40), st.data())
def test_occlusion_covers_every_pixel(size, data):
    patch = data.draw(st.integers(1, size))
    starts = positions(size, patch, data.draw(st.integers(1, patch)))
    covered = np.zeros(size, bool)
    for start in starts:
        covered[start : start + patch] = True
    assert covered.all() and starts[-1] + patch == size and len(set(starts)) == len(starts)


# --- any network, any batch, any scalar


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_its_images_one_by_one(name):
    model, x, classes = Small(), pictures(4, 3, 9, 9), [3, 0, 1, 0]
    at_once = METHODS[name](model, x, class_score(classes), **OWN.get(name, {}))
    in_parts = METHODS[name](model, x, class_score(classes), batch_size=3, **OWN.get(name, {}))
    assert at_once.values.shape == (4, 9, 9) and at_once.values.dtype == x.dtype and at_once.name == name
    assert at_once.signed or (at_once.values >= 0).all()
    np.testing.assert_allclose(in_parts.values, at_once.values, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(at_once.score, Small().eval()(md.tensor(x)).numpy()[np.arange(4), classes], rtol=1e-12)
    if name != "smoothgrad":  # whose noise is drawn image by image
        alone = METHODS[name](model, x[2:3], class_score(1), **OWN.get(name, {}))
        np.testing.assert_allclose(alone.values[0], at_once.values[2], rtol=1e-9, atol=1e-14)
    single = METHODS[name](model.to("float32"), x.astype("f"), class_score(classes), **OWN.get(name, {}))
    assert single.values.dtype == np.float32


@pytest.mark.parametrize("name", METHODS)
def test_the_network_is_left_as_it_was(name):
    model, x = Small(), pictures(2, 3, 9, 9)
    model.train()
    model.norm.eval()
    model(md.tensor(x)).sum().backward()
    model.conv2.weight.requires_grad = False
    before = {path: array.tobytes() for path, array in model.state_dict().items()}
    grads, streams = [p.grad for p in model.parameters()], model.random_state()

    def fails(logits):
        raise RuntimeError("no score")

    METHODS[name](model, x, class_score(1), **OWN.get(name, {}))
    with pytest.raises(RuntimeError, match="no score"):
        METHODS[name](model, x, fails, **OWN.get(name, {}))
    assert {path: array.tobytes() for path, array in model.state_dict().items()} == before
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert model.random_state() == streams
    assert [m.training for m in model.modules()] == [m is not model.norm for m in model.modules()]


def test_pixels_of_a_segmentation_are_explained_by_pixels_near_them():
    net = UNet(1, 3, base=4, depth=1, padded=True, rng=0)
    x = pictures(2, 1, 40, 40).astype("f")
    mask = np.zeros((40, 40), bool)
    mask[5:8, 20:22] = True
    target = pixel_score(2, mask)
    found = METHODS["gradient"](net, x, target)
    logits = net.eval()(md.tensor(x)).numpy()
    np.testing.assert_allclose(found.score, logits[:, 2, 5:8, 20:22].mean(axis=(1, 2)), rtol=1e-5)
    seen = np.zeros((40, 40), bool)
    seen[: 8 + net.radius, 20 - net.radius : 22 + net.radius] = True
    assert found.values[:, ~seen].max() == 0 and found.values[:, 6, 20].min() > 0
    coarse = METHODS["grad_cam"](net, x, target, layer="bottom").coarse
    assert coarse.shape == (2, 20, 20)
    both = METHODS["gradient"](net, x, pixel_score([2, 0], np.stack([mask, ~mask]), "sum"), batch_size=1)
    np.testing.assert_allclose(both.full[0], 6 * found.full[0], rtol=1e-4, atol=1e-7)
    assert METHODS["occlusion"](net, x[:1], target, patch=20).values[0, 30, 5] == 0


def test_a_box_of_a_detector():
    net = SSD.small(2, rng=0).to(np.float64).eval()
    x, target = pictures(1, 3, 64, 64), box_score(40, 1)
    image = md.tensor(x, requires_grad=True)
    (expected,) = md.grad(net(image).logits[0, 40, 1], [image])
    found = METHODS["gradient"](net, x, target)
    np.testing.assert_allclose(found.full, expected.numpy(), rtol=1e-8, atol=1e-14)
    assert applicable("guided_backprop", net, x) is None
    assert "CAM needs" in applicable("cam", net, x)
    assert METHODS["grad_cam"](net, x, target, layer="backbone.bottom.body.layer1").coarse.shape[0] == 1
    with pytest.raises(ValueError, match="'backbone' gives list: maps"):
        METHODS["grad_cam"](net, x, target, layer="backbone")
    fallen = METHODS["occlusion"](net, x, target, patch=32).coarse[0, 0, 0]
    covered = x.copy()
    covered[..., :32, :32] = x.mean(axis=(2, 3), keepdims=True)
    logits = net(md.tensor(np.concatenate([x, covered]))).logits.numpy()[:, 40, 1]
    np.testing.assert_allclose(fallen, logits[0] - logits[1], rtol=0, atol=1e-12)
    several = METHODS["gradient"](net, np.concatenate([x, x]), box_score([40, 41], [1, 0]), batch_size=1)
    np.testing.assert_allclose(several.full[0], expected.numpy()[0], rtol=1e-8, atol=1e-14)


def test_activations_are_what_the_layers_give():
    model, x = vgg_small(4, rng=0).eval(), pictures(2, 3, 16, 16).astype("f")
    found = layers.activations(model, x)
    y = md.Tensor(x)
    for i, layer in enumerate(model.features):
        y = layer(y)
        np.testing.assert_array_equal(found[f"features.{i}"], y.numpy())
    assert found["classifier"].shape == (2, 10)
    assert list(layers.activations(model, x, ["avgpool", "features.2"])) == ["features.2", "avgpool"]


# --- what is refused, or warned of


class Smooth(nn.Module):
    def __init__(self):
        self.conv, self.unused = nn.Conv2d(3, 2, 1, rng=0), nn.ReLU()

    def forward(self, x):
        return F.leaky_relu(self.conv(x)).sum(axis=(2, 3))


X = pictures(2, 3, 8, 8).astype("f")
SMALL, SMOOTH, VGG = Small().to("float32"), Smooth(), vgg_small(4, rng=0)
UNET, GRAY, C0 = UNet(1, 2, base=2, depth=1, padded=True, rng=0), X[:, :1], class_score(0)
REFUSED = {
    "no relu": (lambda: METHODS["guided_backprop"](SMOOTH, X, C0), "none between the images and the score"),
    "no relu: deconvnet": (lambda: METHODS["deconvnet"](SMOOTH, X, C0), "deconvnet changes the rule of ReLUs"),
    "no head": (lambda: METHODS["cam"](VGG, X, C0), "global average pooling and one linear layer.*use Grad-CAM"),
    "no linear layer": (lambda: METHODS["cam"](SMOOTH, X, C0), "the last operation is summed .*, not a linear layer"),
    "class": (lambda: METHODS["gradient"](SMALL, X, class_score(4)), "class 4 is out of range: .* 4 classes, 0 to 3"),
    "negative class": (lambda: METHODS["cam"](SMALL, X, class_score(-1)), "class -1 is out of range"),
    "class of one image": (lambda: METHODS["cam"](SMALL, X, class_score([0, 9])), "class 9 is out of range"),
    "classes": (lambda: METHODS["gradient"](SMALL, X, class_score([0, 1, 2])), "is for 3 images, there are 2"),
    "fraction": (lambda: class_score(1.5), "a whole number, or one per image, got 1.5"),
    "classes of a batch": (lambda: class_score([0, 1, 2])(md.tensor(np.ones((2, 4)))), "3 classes for 2 images"),
    "masks": (lambda: METHODS["gradient"](UNET, GRAY, pixel_score(0, np.ones((3, 8, 8)))), "is for 3 images"),
    "mask": (lambda: METHODS["gradient"](UNET, GRAY, pixel_score(0, np.ones((4, 8)))), r"the mask is \(4, 8\), the"),
    "empty mask": (lambda: METHODS["gradient"](UNET, GRAY, pixel_score(0, np.zeros((8, 8)))), "image 0 has no pixel"),
    "pixels": (lambda: METHODS["gradient"](SMALL, X, pixel_score(0)), r"pixel_score needs logits .*\(2, 4\)"),
    "box": (lambda: METHODS["gradient"](SMALL, X, box_score(0, 0)), r"box_score needs logits .*\(2, 4\)"),
    "reduction": (lambda: pixel_score(0, reduction="max"), "'max' is unknown"),
    "target": (lambda: METHODS["gradient"](SMALL, X, lambda y: y.sum()), r"one number per image, here \(2,\)"),
    "cut": (lambda: METHODS["gradient"](SMALL, X, lambda y: y.detach()[:, 0]), "does not depend on the images"),
    "not finite": (lambda: METHODS["gradient"](SMALL, X * np.float32(np.inf), C0), "not finite"),
    "layer": (lambda: METHODS["grad_cam"](VGG, X, C0, layer="featurs"), "not a layer.*did you mean features?"),
    "layer without maps": (lambda: METHODS["grad_cam"](VGG, X, C0, layer="classifier"), r"gives \(2, 10\): maps"),
    "layer not run": (lambda: METHODS["grad_cam"](SMOOTH, X, C0, layer="unused"), "gave no tensor in this run"),
    "no layer": (lambda: METHODS["grad_cam"](SMOOTH, X, C0), "no layer with maps before its last weights"),
    "layer off the path": (
        lambda: METHODS["grad_cam"](SMALL, X, lambda y: y[:, 0].detach(), layer="conv2"),
        "the score does not depend on",
    ),
    "dtype": (lambda: METHODS["gradient"](SMALL, X.astype("u1"), C0), "must be float32 or float64.*uint8"),
    "axes": (lambda: METHODS["gradient"](SMALL, X[0], C0), r"must be \(N, C, H, W\)"),
    "batch size": (lambda: METHODS["gradient"](SMALL, X, C0, batch_size=0), "batch_size must be 1 or more"),
    "patch": (lambda: METHODS["occlusion"](SMALL, X, C0, patch=9), r"patch of \(9, 9\) does not fit .*\(8, 8\)"),
    "stride": (lambda: METHODS["occlusion"](SMALL, X, C0, patch=2, stride=3), "larger than the patch"),
    "fill": (lambda: METHODS["occlusion"](SMALL, X, C0, fill=[0, 1]), "a number, or one per channel"),
    "samples": (lambda: METHODS["smoothgrad"](SMALL, X, C0, samples=0), "1 sample or more"),
    "steps": (lambda: METHODS["integrated_gradients"](SMALL, X, C0, steps=0), "1 step or more"),
    "baseline": (lambda: METHODS["integrated_gradients"](SMALL, X, C0, baseline=[0, 1]), r"a baseline \(2,\) does not"),
    "method": (lambda: applicable("lime", SMALL, X), "'lime' is not a method"),
}  # fmt: skip


NO_MEANS = {
    "sums": lambda a: a.sum(axis=(2, 3)) / 7,
    "maxima": lambda a: a.max(axis=(2, 3)),
    "means of one axis": lambda a: a.mean(axis=2)[:, :, 0],
    "means of parts": lambda a: F.avg_pool(a, 2)[:, :, 0, 0],
    "shares": lambda a: a.sum(axis=(2, 3)) / (1 + a.sum(axis=(2, 3))),
    "sums of means": lambda a: a.mean(axis=(2, 3)) + a.max(axis=(2, 3)),
    "products": lambda a: a.mean(axis=(2, 3)) * a.mean(axis=(2, 3)),
}


@pytest.mark.parametrize("mean", NO_MEANS)
def test_cam_of_what_is_no_mean(mean):
    reason = applicable("cam", Small(mean=NO_MEANS[mean]), X.astype(float))
    assert "not the means of maps: use Grad-CAM" in reason and "\n" not in reason


def test_cam_of_other_ends():
    class Ends(Small):
        def forward(self, x):
            y = self.head(F.global_avg_pool(self.last_maps(x)))
            return y + F.relu(y)

    assert "one of several inputs, not a linear layer" in applicable("cam", Ends(), X.astype(float))
    assert "one that gives a list, not a linear layer" in applicable("cam", Maps(), X)


class Maps(nn.Module):
    def forward(self, x):
        return [x * x]


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught, np.errstate(invalid="ignore"):
        call()
    assert "\n" not in str(caught.value)


def test_what_can_be_used_with_what():
    none = {name for name in METHODS if applicable(name, SMALL, X) is not None}
    assert none == set()
    assert [name for name in METHODS if applicable(name, SMOOTH, X)] == [
        "deconvnet", "guided_backprop", "cam", "grad_cam", "guided_grad_cam"
    ]  # fmt: skip
    assert [name for name in METHODS if applicable(name, VGG, X)] == ["cam"]


def test_probabilities_are_warned_of_and_logits_are_not():
    class Ends(Small):
        def forward(self, x):
            return F.softmax(super().forward(x), axis=1)

    with pytest.warns(UserWarning, match="look like probabilities"):
        METHODS["gradient"](Ends(), X.astype(float), C0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        METHODS["gradient"](SMALL, X, C0)
        C0(md.tensor([[0.5, 0.6], [0.5, 0.5]]))  # in [0, 1], but not adding up
        C0(md.tensor([[0.9, 0.6, -0.5]]))  # the other way round
        C0(md.tensor([[1.0], [1.0]]))  # a single score adds up to 1 by chance
    assert "the last operation is normalised_exp (exp(x) / sum" in applicable("cam", Ends(), X.astype(float))


def test_a_map_that_is_zero_everywhere_says_so():
    model = Small()
    model.head.weight.data = np.zeros_like(model.head.weight.data)
    found = METHODS["gradient"](model, pictures(2, 3, 8, 8), C0)
    assert found.empty.tolist() == [True, True]
    with pytest.warns(UserWarning, match="the map of image 0, 1 is zero everywhere"), np.errstate(all="raise"):
        assert not found.normalised().any()
    some = Map("made", np.array([[[0.0, -4]], [[1, 2]]]), True, np.zeros(2))
    np.testing.assert_array_equal(some.normalised(), [[[0, -1]], [[0.5, 1]]])
    assert not some.empty.any()
