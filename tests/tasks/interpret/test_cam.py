"""CAM and Grad-CAM: equal where they must be, against finite differences."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.nn.summary import saved_bytes
from tasks.interpret import layers
from tasks.interpret.methods import METHODS
from tasks.interpret.targets import class_score
from tasks.models import densenet_small, googlenet_small, resnet_small, vgg_small
from tests.tasks.interpret.test_methods import Small, pictures

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
    assert saved_bytes(above.score) < saved_bytes(whole.score) / 4


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
