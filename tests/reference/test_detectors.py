"""torchvision's detectors beside ours with the same weights, drawn so that there are many boxes: the same boxes,
classes, scores, masks and keypoints in photographs, small ones to save time."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from .torchvision_models import torch, torchvision  # skips without them

skimage_data = pytest.importorskip("skimage.data", reason="photographs")

from tasks.detect.released import with_state  # noqa: E402
from tasks.detect.released.networks import NETWORKS  # noqa: E402

pytestmark = pytest.mark.reference
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "camera")
SIDES, MOBILE, PROPOSALS, HEADED = (96, 160), (192, 320), 60, 8  # detections that masks and keypoints are predicted of
DRAWS = ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "xavier_uniform_", "trunc_normal_")


@pytest.fixture(autouse=True, scope="module")
def plain_torchvision():
    """Weights need not be drawn twice. RoI align in Python is not compiled, takes few regions at once, and gives 0 for
    samples more than a cell outside of the map, as the compiled operator does, on which networks were trained."""
    module, draws = sys.modules["torchvision.ops.roi_align"], {name: getattr(torch.nn.init, name) for name in DRAWS}
    compiled, plain, sampled = module._roi_align, module._roi_align.__wrapped__, module._bilinear_interpolate

    def inside(x, image, rows, columns, *masks):
        near_y, near_x = ((p >= -1) & (p <= side) for p, side in ((rows, x.shape[2]), (columns, x.shape[3])))
        near = near_y[:, None, :, None, :, None] & near_x[:, None, None, :, None, :]  # (K, C, PH, PW, IY, IX)
        return sampled(x, image, rows, columns, *masks) * near

    module._bilinear_interpolate = inside
    module._roi_align = lambda x, boxes, *how: torch.cat([plain(x, part, *how) for part in boxes.split(64)])
    for name in DRAWS:
        setattr(torch.nn.init, name, lambda tensor, *args, **options: tensor)
    yield
    module._roi_align, module._bilinear_interpolate = compiled, sampled
    for name, draw in draws.items():
        setattr(torch.nn.init, name, draw)


def photograph(name, step=4):
    pixels = getattr(skimage_data, name)()[::step, ::step]
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None].repeat(3, axis=2)
    return np.ascontiguousarray((pixels / np.float32(255)).transpose(2, 0, 1))


def sides_of(name):
    """The shorter and the longer side of pictures; a MobileNet's maps have cells of 32 pixels."""
    return MOBILE if "mobile" in name else SIDES


def frozen(module, eps):
    """Batch norm as torchvision's files have it: its statistics are part of the weights, and no batches are counted."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, torchvision.ops.FrozenBatchNorm2d(child.num_features, eps))
        else:
            frozen(child, eps)


def drawn(name, classes=91, **options):
    """torchvision's network with random weights, its statistics frozen where its file has them so."""
    if "rcnn" in name:
        limit = {} if name.startswith("faster") else {"box_detections_per_img": HEADED}
        options |= {"rpn_post_nms_top_n_test": PROPOSALS, **limit}
    sides = {} if name.startswith("ssd") else dict(zip(("min_size", "max_size"), sides_of(name)))
    build = getattr(torchvision.models.detection, name)
    net = build(weights=None, weights_backbone=None, num_classes=classes, **sides, **options).eval()
    if hasattr(net.backbone, "body") and not name.endswith("v2"):
        eps = NETWORKS[name].frozen_eps
        frozen(net.backbone.body, eps if eps > 1e-9 else 0.0)
    generator = torch.Generator().manual_seed(len(name))
    scales = (1.0, 1.6) if "mobile" in name else (0.3, 0.6)  # without them its maps would be all but constant
    with torch.no_grad():
        for module in net.modules():
            weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.ConvTranspose2d):
                weight.uniform_(-1, 1, generator=generator).mul_((6 / weight[0].numel()) ** 0.5)  # He's
            elif hasattr(module, "running_var"):
                weight.uniform_(*scales, generator=generator)
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
            if bias is not None:
                bias.uniform_(-0.3, 0.3, generator=generator)
    if name.startswith("ssdlite"):
        measured(net)
    return spread(net, predictors(net, name))


def measured(net):
    """Take for the statistics of all batch norms those of the photographs, but no variance that magnifies rounding."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().momentum = 1.0
    with torch.no_grad():
        images, _ = net.transform([torch.from_numpy(photograph(name)) for name in PHOTOGRAPHS])
        net.head(list(net.backbone(images.tensors).values()))
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.clamp_(min=1.0)
    net.eval()


def predictors(net, name):
    """The layers that predict, with the mean and the deviation that their outputs are to have; see `spread`."""
    if "rcnn" in name:
        heads = net.roi_heads
        found = [(net.rpn.head.cls_logits, 0, 1), (net.rpn.head.bbox_pred, 0, 0.1)]
        found += [(heads.box_predictor.cls_score, 0, 2.5), (heads.box_predictor.bbox_pred, 0, 1)]
        found += [(heads.mask_predictor.mask_fcn_logits, 0, 3)] if "mask" in name else []
        return found + ([(heads.keypoint_predictor.kps_score_lowres, 0, 3)] if "keypoint" in name else [])
    classes, boxes = net.head.classification_head, net.head.regression_head
    if "ssd" in name:
        last = ((m, deviation) for part, deviation in ((classes, 2), (boxes, 0.5)) for m in part.module_list)
        return [(m if isinstance(m, torch.nn.Conv2d) else m[1], None, deviation) for m, deviation in last]
    return [(classes.cls_logits, -4, 1.5), (boxes.bbox_reg, *((2, 1) if "fcos" in name else (0, 0.3)))]


def spread(net, layers):
    """Scale the layers so that their outputs for a photograph have this deviation, and this mean in each channel, or 0
    over all."""

    def scaled(layer, inputs, output):
        mean, deviation = goals.pop(layer)
        centre = output.mean([axis for axis in range(output.ndim) if axis != 1])
        if mean is None:
            mean, centre = 0, output.mean().expand(output.shape[1])
        output = output - centre.reshape(-1, *[1] * (output.ndim - 2))
        factor = deviation / output.std()
        layer.weight.mul_(factor)
        layer.bias.sub_(centre).mul_(factor).add_(mean)
        hooks.pop(layer).remove()
        return factor * output + mean

    goals = {layer: (mean, deviation) for layer, mean, deviation in layers}
    hooks = {layer: layer.register_forward_hook(scaled) for layer in goals}
    with torch.no_grad():
        net([torch.from_numpy(photograph("astronaut"))])
    return net


def small(detector):
    """With the sizes of pictures, and the number of proposals, of these tests."""
    model, (shortest, longest) = detector.model, sides_of(detector.network)
    if hasattr(model, "rpn"):
        settings = model.rpn.settings
        model.rpn.settings = replace(settings, after=(settings.after[0], PROPOSALS))
        if model.masks or model.num_keypoints:
            model.settings = replace(model.settings, limit=HEADED)
    return replace(detector, preparation=replace(detector.preparation, shortest=shortest, longest=longest))


def compare(net, detector, pictures, least=4):
    """The detections of both in pictures that go through the networks together."""
    with torch.no_grad():
        wanted = net([torch.from_numpy(picture) for picture in pictures])
    for there, found in zip(wanted, detector.find(pictures), strict=True):
        there = {name: values.numpy() for name, values in there.items()}
        assert len(found) == len(there["labels"]) >= least
        assert len(np.unique(found.labels)) > (len(detector.names) > 1)
        apart = abs(found.boxes - there["boxes"][:, None]).max(axis=2) + abs(found.scores - there["scores"][:, None])
        other = np.array(detector.numbers)[found.labels] != there["labels"][:, None]
        _, same = linear_sum_assignment(apart + 1e4 * other)  # scores equal but for rounding may change places
        assert not other[range(len(same)), same].any()
        np.testing.assert_allclose(found.boxes[same], there["boxes"], rtol=0, atol=1e-2)
        np.testing.assert_allclose(found.scores[same], there["scores"], rtol=0, atol=1e-4)
        if "masks" in there:
            wanted = there["masks"][:, 0]
            masks, sure = found.masks[same], abs(wanted - 0.5) > 1e-3
            assert masks.any() and ((wanted >= 0.5) == masks)[sure].all()
        if "keypoints" in there:
            points = found.keypoints[same]
            np.testing.assert_allclose(points[..., :2], there["keypoints"][..., :2], rtol=0, atol=1e-2)
            np.testing.assert_allclose(points[..., 2], there["keypoints_scores"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_of_photographs_are_torchvisions(name):
    net = drawn(name, **({"classes": 2} if "keypoint" in name else {}))
    detector = with_state(net.state_dict())
    if name.endswith("320_fpn"):  # its weights are shaped as those of the one for large pictures
        detector = with_state(net.state_dict(), name)
    assert detector.network == name
    detector = small(detector)
    assert named(detector.model.state_dict()) == named(net.state_dict())
    for photo in PHOTOGRAPHS[: 1 if name == "ssd300_vgg16" else 5]:  # which has 31 billion MACs, whatever the picture
        compare(net, detector, [photograph(photo)])
    if "ssd" not in name:  # whose pictures are all of one size
        compare(net, detector, [photograph("coffee"), photograph("chelsea", 3)])


def named(state):
    """The names in a state but those that frozen statistics lack."""
    return [name for name in state if not name.endswith("num_batches_tracked")]
