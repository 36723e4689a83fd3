"""torchvision's detectors with random weights that find many boxes in photographs, and how far ours are from them."""

import sys
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from .torchvision_models import torch, torchvision  # skips without them

pytest.importorskip("skimage.data", reason="photographs")

from tasks.detect.released.networks import NETWORKS
from tasks.photographs import photograph

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "camera")
DRAWS = ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "xavier_uniform_", "trunc_normal_")


@contextmanager
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
    try:
        yield
    finally:
        module._roi_align, module._bilinear_interpolate = compiled, sampled
        for name, draw in draws.items():
            setattr(torch.nn.init, name, draw)


def picture(name, step=1):
    """A photograph (3, H, W) in [0, 1], every step-th of its pixels."""
    pixels = photograph(name)[::step, ::step]
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None].repeat(3, axis=2)
    return np.ascontiguousarray((pixels / np.float32(255)).transpose(2, 0, 1))


def freeze(module, eps):
    """Batch norm as torchvision's files have it: its statistics are part of the weights, and no batches are counted."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, torchvision.ops.FrozenBatchNorm2d(child.num_features, eps))
            getattr(module, name).load_state_dict(child.state_dict())
        else:
            freeze(child, eps)


def drawn(name, pictures, classes=91, level=False, **options):
    """torchvision's network with random weights, its statistics frozen where its file has them so, whose outputs spread
    in the first of these pictures.

    level: so do the maps of its pyramid, and MobileNets have the statistics of the pictures. Whole pictures need it:
    else the scores of some map are all but 1, and rounding decides among them."""
    build = getattr(torchvision.models.detection, name)
    net = build(weights=None, weights_backbone=None, num_classes=classes, **options).eval()
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
    if name.startswith("ssdlite") or (level and "mobile" in name):
        measure(net, pictures)
    if hasattr(net.backbone, "body") and not name.endswith("v2"):
        eps = NETWORKS[name].frozen_eps
        freeze(net.backbone.body, eps if eps > 1e-9 else 0.0)
    return spread(net, (pyramid(net, name) if level else []) + predictors(net, name), pictures[0])


def measure(net, pictures):
    """Take for the statistics of all batch norms those of the pictures, but no variance that magnifies rounding."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().momentum = 1.0
    with torch.no_grad():
        images, _ = net.transform([torch.from_numpy(each) for each in pictures])
        maps = list(net.backbone(images.tensors).values())
        if hasattr(net, "head"):
            net.head(maps)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.clamp_(min=1.0)
    net.eval()


def pyramid(net, name):
    """The layers that the maps of a pyramid come from unless a norm follows; see `predictors`."""
    layers = net.backbone.fpn.modules() if hasattr(net.backbone, "fpn") else ()
    maps = [m for m in layers if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) and m.bias is not None]
    return [(m, None if "rcnn" in name else 0, 1) for m in maps]


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


def spread(net, layers, picture):
    """Scale the layers so that their outputs for a picture have this deviation, and this mean in each channel, or 0
    over all."""

    def scaled(layer, inputs, output):
        mean, deviation = goals.pop(layer)
        hooks.pop(layer).remove()
        centre = output.mean([axis for axis in range(output.ndim) if axis != 1])
        if mean is None:
            mean, centre = 0, output.mean().expand(output.shape[1])
        output = output - centre.reshape(-1, *[1] * (output.ndim - 2))
        factor = deviation / output.std()
        layer.weight.mul_(factor)
        layer.bias.sub_(centre).mul_(factor).add_(mean)
        return factor * output + mean

    goals = {layer: (mean, deviation) for layer, mean, deviation in layers}
    hooks = {layer: layer.register_forward_hook(scaled) for layer in goals}
    with torch.no_grad():
        net([torch.from_numpy(picture)])
    return net


class Apart(NamedTuple):
    """How far our detections in a picture are from torchvision's: how many there are of each, and of what both have
    the labels and pixels of masks that differ, the largest difference of boxes and keypoints in pixels, and of scores.
    Pixels of masks count where torchvision's probability is not 0.5 to 1e-3."""

    theirs: int
    ours: int
    labels: int
    boxes: float
    scores: float
    masks: int | None
    keypoints: float | None
    keypoint_scores: float | None


def apart(theirs, found, numbers):
    """torchvision's dictionary beside our detections, whose labels have these numbers there. What has equal scores but
    for rounding may change places."""
    theirs = {name: values.numpy() for name, values in theirs.items()}
    distances = abs(found.boxes - theirs["boxes"][:, None]).max(axis=2)  # (theirs, ours)
    other = np.array(numbers)[found.labels] != theirs["labels"][:, None]
    there, here = linear_sum_assignment(distances + abs(found.scores - theirs["scores"][:, None]) + 1e4 * other)
    masks = keypoints = keypoint_scores = None
    if "masks" in theirs:
        wanted = theirs["masks"][there, 0]
        masks = int((((wanted >= 0.5) != found.masks[here]) & (abs(wanted - 0.5) > 1e-3)).sum())
    if "keypoints" in theirs:
        points = found.keypoints[here]
        keypoints = abs(points[..., :2] - theirs["keypoints"][there, :, :2]).max(initial=0)
        keypoint_scores = abs(points[..., 2] - theirs["keypoints_scores"][there]).max(initial=0)
    boxes, scores = distances[there, here], abs(found.scores[here] - theirs["scores"][there])
    differ = int(other[there, here].sum())
    most = boxes.max(initial=0), scores.max(initial=0)
    return Apart(len(theirs["labels"]), len(found), differ, *most, masks, keypoints, keypoint_scores)
