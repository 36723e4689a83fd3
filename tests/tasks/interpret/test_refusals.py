"""What saliency methods refuse, or warn of, in one line."""

import warnings

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from tasks.interpret.methods import METHODS, Map, applicable
from tasks.interpret.targets import box_score, class_score, pixel_score
from tasks.models import vgg_small
from tasks.segment import UNet
from tests.tasks.interpret.test_methods import Small, pictures


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
    "no linear layer": (lambda: METHODS["cam"](SMOOTH, X, C0), "the last operation is sum .*, not a linear layer"),
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
    assert "the last operation is softmax (exp(x) / sum" in applicable("cam", Ends(), X.astype(float))


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
