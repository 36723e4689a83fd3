"""Saliency methods: proofs on networks whose maps are known, by hand or by a plain loop, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from tasks.detect.models.ssd import SSD
from tasks.interpret import layers
from tasks.interpret.methods import METHODS, applicable, backprop
from tasks.interpret.targets import box_score, class_score, pixel_score
from tasks.models import vgg_small
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
    far = METHODS["occlusion"](net, x[:1], target, patch=20).values[0, 30, 5]
    assert abs(far) <= 4 * np.finfo("f").eps * abs(logits).max()  # 0; equal copies in a batch round differently


def test_a_box_of_a_detector():
    net = SSD.small(2, rng=0).to(np.float64).eval()
    x, target = pictures(1, 3, 64, 64), box_score(40, 1)
    image = md.tensor(x, requires_grad=True)
    (expected,) = md.grad(net(image).logits[0, 40, 1], [image])
    found = METHODS["gradient"](net, x, target)
    np.testing.assert_allclose(found.full, expected.numpy(), rtol=1e-8, atol=1e-14)
    assert applicable("guided_backprop", net, x) is None
    assert "CAM needs" in applicable("cam", net, x)
    assert METHODS["grad_cam"](net, x, target, layer="backbone.body.layer1").coarse.shape[0] == 1
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
