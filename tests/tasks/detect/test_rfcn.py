"""R-FCN: votes by the definition, hard regions, the backbones by name, and what the command takes."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

from minidl import Tensor, data, optim
from minidl import functional as F
from tasks.command import UsageError
from tasks.detect import HeadSettings, faster_rcnn_small, rfcn_small, vgg_small_map
from tasks.detect.losses.terms import Terms
from tasks.detect.models.heads import hardest
from tasks.detect.models.retinanet import RetinaNet
from tasks.detect.models.rfcn import RFCN
from tasks.detect.models.small import BACKBONES
from tasks.detect.models.ssd import SSD
from tasks.detect.train import WEIGHTS, Settings

from .test_two_stage import batch, scene

SIZES = ((12,), (24,), (48,))


def tiny(**options):
    return rfcn_small(2, **{"width": 6, "pyramid": 8, "rng": 0, "sizes": SIZES, "hidden": 16} | options)


@pytest.mark.parametrize(("method", "bins"), [("align", 3), ("pool", 2)])
def test_a_logit_is_the_mean_of_the_bins_each_in_its_own_map(method, bins):
    model, rng = tiny(method=method, bins=bins), np.random.default_rng(0)
    x = Tensor(rng.normal(size=(2, 8, 12, 12)).astype(np.float32))
    regions = np.array([[0, 3, 5, 30, 28], [1, -4, 10, 20, 60], [0, 8, 8, 16, 40]], np.float32)
    hidden = model.roi_heads["conv"](x)
    maps = {name: model.roi_heads[name](hidden).data for name in ("score_maps", "box_maps")}
    logits, steps = model.box_outputs([x], regions)
    assert logits.shape == (3, 3) and steps.shape == (3, 2, 4)
    pooled = {"align": lambda m, r: F.roi_align(m, r, bins, spatial_scale=0.25, sampling_ratio=2),
              "pool": lambda m, r: F.ps_roi_pool(np.repeat(m, bins**2, axis=1), r, bins, 0.25)}[method]  # fmt: skip
    for name, found in (("score_maps", logits.data), ("box_maps", steps.data[:, 0])):
        for r, c in np.ndindex(*found.shape):
            each = [pooled(maps[name][:, [(c * bins + p) * bins + q]], regions[[r]]).data[0, 0, p, q]
                    for p, q in np.ndindex(bins, bins)]  # fmt: skip
            assert found[r, c] == pytest.approx(np.mean(each), rel=1e-4, abs=1e-6)
    assert (steps.data[:, 0] == steps.data[:, 1]).all()


def test_there_are_as_many_maps_as_in_the_paper():
    """Sections 2.2 and 2.3, for the 20 classes of PASCAL VOC and 7 x 7 bins: 7^2 (20 + 1) score maps and 4 x 7^2 box
    maps, and behind them no parameter."""
    model = rfcn_small(20, width=6, pyramid=8, hidden=16, bins=7, rng=0)
    assert model.roi_heads["score_maps"].out_channels == 1029 and model.roi_heads["box_maps"].out_channels == 196
    assert sum(p.size for p in model.roi_heads.parameters()) == 8 * 16 * 9 + 16 + (16 + 1) * (1029 + 196)


@pytest.mark.parametrize("hard", [0, 7])
def test_a_gradient_reaches_every_parameter_and_terms_add_up(hard):
    head = HeadSettings(sample=200, share=1.0, hard=hard) if hard else HeadSettings(sample=64)
    model = tiny(head=head)
    images, targets = batch("some", "none")
    computed = model.training_pass(images, targets, np.random.default_rng(0))
    losses = model.losses(images, targets, np.random.default_rng(0))
    assert list(losses) == ["objectness", "rpn_box", "class", "box"]
    assert all(computed.terms[name].value.data.sum() == loss.data for name, loss in losses.items())
    if hard:
        assert (np.bincount(computed.terms["class"].image) == hard).all()
        assert set(computed.terms["box"].item) <= set(computed.terms["class"].item)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.data.any() for p in model.parameters())


def test_hard_regions_are_those_with_the_largest_sums_of_each_image():
    image = np.array([0, 0, 0, 1, 1, 1])
    named = Terms(Tensor(np.array([0.1, 0.5, 0.3, 0.9, 0.2, 0.2])), image, np.arange(6))
    moved = Terms(Tensor(np.array([0.6, 0.4])), image[[0, 5]], np.array([0, 5]))
    chosen = hardest({"class": named, "box": moved}, image, 2)
    assert chosen.tolist() == [True, True, False, True, False, True]
    assert hardest({"class": named}, image, 9).all()
    part = moved.among(np.array([False, True, True, True, False, True]))
    assert part.item.tolist() == [5] and part.image.tolist() == [1] and part.value.data.tolist() == [0.4]


@pytest.mark.slow
def test_a_small_model_learns_one_scene_by_heart():
    model = tiny(width=8, pyramid=16, hidden=32, head=HeadSettings(sample=32))
    image, there = scene("some", seed=3)  # no two rectangles overlap
    images, steps = Tensor(image[None]), 50
    optimiser = optim.Adam(model.parameters(), 8e-3)
    for step in range(steps):
        optimiser.zero_grad()
        sum(model.losses(images, [there], np.random.default_rng(step)).values()).backward()
        optim.clip_grad_norm(model.parameters(), 5.0)
        optimiser.lr = 8e-3 * (1 - step / steps)
        optimiser.step()
    found = model.detect(images, score=0.5)[0]
    assert sorted(found.labels) == sorted(there.labels)
    iou = F.box_iou(Tensor(there.boxes), Tensor(found.boxes)).data
    assert (iou.max(axis=1) > 0.8).all() and (found.labels[iou.argmax(axis=1)] == there.labels).all()


def test_one_map_and_wrong_methods():
    model = RFCN(vgg_small_map(4, rng=0), 2, sizes=((12, 24),), bins=2, hidden=8, rng=0)
    assert model.detect(Tensor(np.zeros((1, 3, 48, 48), np.float32)))[0].boxes.shape[1] == 4
    with pytest.raises(ValueError, match="RFCN: method 'crop' is unknown: one of align, pool"):
        tiny(method="crop")
    with pytest.raises(ValueError, match="RFCN trains on samples"):
        tiny().losses(*batch("some"))


# --- backbones


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_give_maps_of_strides_4_8_and_16_and_use_all_they_have(name):
    body = BACKBONES[name](0.5, rng=0)
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, 64, 48)).astype(np.float32))
    maps = body(x)
    assert body.strides == (4, 8, 16)
    assert [m.shape for m in maps] == [(2, c, 64 // s, 48 // s) for c, s in zip(body.channels, body.strides)]
    assert all(0.1 < m.data.std() < 10 for m in maps)
    sum((m * m).mean() for m in maps).backward()
    assert all(p.grad is not None for p in body.parameters())
    again, other = BACKBONES[name](0.5, rng=0).state_dict(), BACKBONES[name](0.5, rng=1).state_dict()
    first = next(iter(again))
    assert np.array_equal(again[first], body.state_dict()[first]) and not np.array_equal(again[first], other[first])
    assert sum(p.size for p in BACKBONES[name](1.0, rng=0).parameters()) > 1.5 * sum(p.size for p in body.parameters())


@pytest.mark.parametrize("make", [SSD.small, RetinaNet.small, faster_rcnn_small, rfcn_small])
def test_every_detector_takes_them(make):
    body = BACKBONES["mobilenet_v1"](0.25, rng=0)
    model = make(2, body=body, rng=0)
    assert any(module is body for module in model.modules())
    sum(model.losses(*batch("some"), np.random.default_rng(0)).values()).backward()
    assert all(p.grad is not None for p in body.parameters())


@pytest.mark.parametrize(("name", "make"), [("faster_rcnn", faster_rcnn_small), ("ssd", SSD.small)])
def test_the_default_backbone_has_the_weights_that_it_always_had(name, make):
    settings = Settings(model=name, seed=5)
    old, new = make(10, rng=data.generator(5, WEIGHTS)).state_dict(), settings.build().state_dict()
    assert {k.replace("fpn.", "").replace("body.", ""): v.tobytes() for k, v in old.items()} == {
        k.replace("fpn.", "").replace("body.", ""): v.tobytes() for k, v in new.items()
    }


def test_what_the_command_refuses_and_says():
    for options, message in (
        ({"model": "yolo", "backbone": "inception_v2"}, "yolo has a backbone of its own"),
        ({"model": "yolo", "width": 2.0}, "yolo has a backbone of its own"),
        ({"model": "ssd", "ohem": True}, "--ohem is about regions: choose --model faster_rcnn or rfcn"),
    ):
        with pytest.raises(UsageError, match=message):
            Settings(**options)
    assert Settings.of({"model": "rfcn"}).describe() == "rfcn, 1200 steps of 8"
    said = Settings(model="rfcn", backbone="mobilenet_v1", width=0.5, ohem=True).describe()
    assert said == "rfcn on mobilenet_v1, 0.5 times as wide, hard regions, 1200 steps of 8"
    assert Settings(model="rfcn", backbone="mobilenet_v1", width=0.5, ohem=True).build().settings.hard == 32
