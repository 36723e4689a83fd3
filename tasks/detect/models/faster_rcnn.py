"""Faster R-CNN and Mask R-CNN: proposals, then a closer look at each; both stages trained at once.

Sources: Ren, He, Girshick and Sun, "Faster R-CNN", NeurIPS 2015; Lin et al., "Feature pyramid networks", CVPR 2017;
He, Gkioxari, Dollar and Girshick, "Mask R-CNN", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl import Tensor, nn, no_grad
from minidl import functional as F
from tasks.models.initial import stream

from ..data.records import Detections, Target, require_targets
from ..losses.ledger import Ledger
from .anchors import PYRAMID, SINGLE_MAP, SMALL_PYRAMID, SMALL_SINGLE_MAP, Anchors
from .backbone import resnet50_fpn, resnet_small_fpn, vgg16_map, vgg_small_map
from .heads import PAPER_HEAD, SMALL_HEAD, BoxHead, Crop, HeadSettings, choose, with_image
from .keypoints import KeypointHead, grown, keypoints_of
from .masks import MaskHead, paste
from .rpn import PAPER_RPN, RPN, SMALL_RPN, RPNSettings
from .suppression import keep, suppression


class FasterRCNN(nn.Module):
    """Backbone, region proposal network, box head; with a mask head or a keypoint head it is Mask R-CNN.

    backbone: see backbone.py. sizes: of the anchors on each of its maps, see anchors.py. levels: how many maps regions
    are cropped from, the finest (all). canonical, method: see `heads.Crop`. hidden: units of the box head. masks,
    num_keypoints: with these heads, `mask_width` and `keypoint_width` maps in each of their layers (mask_layers,
    keypoint_layers); keypoint_margin: see `KeypointHead`. Labels are 0 to num_classes - 1.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, *, sizes: Sequence[Sequence[float]],
        rpn: RPNSettings = PAPER_RPN, head: HeadSettings = PAPER_HEAD, levels: int | None = None,
        canonical: float = 224, method: str = "align", hidden: int = 1024, masks: bool = False, num_keypoints: int = 0,
        mask_width: int = 256, mask_layers: int = 4, keypoint_width: int = 512, keypoint_layers: int = 8,
        keypoint_margin: float = 0.0, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        channels = backbone.channels[0]
        self.num_classes, self.backbone = num_classes, backbone
        self.rpn = RPN(backbone.channels, Anchors.of(sizes, backbone.strides), rpn, rng)
        self.crop = Crop(backbone.strides[:levels], canonical, method)
        self.head = BoxHead(channels, num_classes, head, hidden=hidden, rng=rng)
        self.mask = self.keypoint = None
        if masks:
            self.mask = MaskHead(channels, num_classes, width=mask_width, layers=mask_layers, rng=rng)
        if num_keypoints:
            options = {"width": keypoint_width, "layers": keypoint_layers, "margin": keypoint_margin}
            self.keypoint = KeypointHead(channels, num_keypoints, **options, rng=rng)

    # --- training

    def losses(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator, ledger: Ledger | None = None
    ) -> dict[str, Tensor]:
        """The losses of a batch (N, 3, H, W), whose sum is trained: "objectness" and "rpn_box" of the first stage,
        "class" and "box" of the second, "mask" and "keypoint" if there are such heads.

        Approximate joint training (Ren et al., section 3.2): proposals are taken as data, no gradient flows through
        their boxes. `rng` draws the samples. The ledger, if there is one, gets what every stage did.
        """
        require_targets(targets, images, self.num_classes)
        maps = self.backbone(images)
        found = self.rpn(maps)
        losses = self.rpn.losses(found, targets, rng, ledger)
        proposals = self.rpn.proposals(found, images.shape[2:], True, ledger)
        regions = choose(proposals, targets, self.num_classes, self.crop, self.head.settings, rng, ledger)
        logits, deltas = self.head(self.crop(maps, regions.boxes, self.head.size))
        losses |= self.head.losses(logits, deltas, regions, targets, ledger)
        for name, head in (("mask", self.mask), ("keypoint", self.keypoint)):
            if head is not None:
                shown = grown(regions.boxes[regions.positive], head.margin)
                seen = head(self.crop(maps, shown, head.size))
                losses[name] = head.loss(seen, regions, targets, ledger)
        return losses

    # --- use

    def detect(
        self, images: Tensor, score: float = 0.05, nms: float = 0.5, limit: int = 100, ledger: Ledger | None = None
    ) -> list[Detections]:
        """What is in each image: every proposal as every class whose probability is above `score`, its box mended for
        that class, suppressed class by class at an IoU above `nms`; the best `limit`."""
        with in_use(self):
            maps, size = self.backbone(images), images.shape[2:]
            proposals = self.rpn.proposals(self.rpn(maps), size, False, ledger)
            regions = with_image(proposals)
            regions = regions[np.argsort(self.crop.level(regions[:, 1:]), kind="stable")]
            logits, deltas = self.head(self.crop(maps, regions, self.head.size))
            deltas = Tensor(deltas.numpy())
            boxes = F.decode_boxes(deltas, regions[:, None, 1:], self.head.settings.weights)  # (R, C, 4)
            chances, boxes = F.softmax(logits, axis=1).numpy(), F.clip_boxes(boxes, size).data
            if ledger is not None:
                ledger |= {"regions": regions, "chances": chances, "boxes": boxes, "suppression": []}
            return [
                self._of_image(n, maps, regions, chances, boxes, (score, nms, limit), size, ledger)
                for n in range(len(images))
            ]

    def _of_image(
        self, n: int, maps: list[Tensor], regions: np.ndarray, chances: np.ndarray, boxes: np.ndarray,
        limits: tuple[float, float, int], size: Sequence[int], ledger: Ledger | None,
    ) -> Detections:  # fmt: skip
        score, nms, limit = limits
        likely = (chances[:, :-1] > score) & (regions[:, :1] == n) & np.isfinite(boxes).all(axis=-1)
        region, label = likely.nonzero()
        scores, found = chances[region, label], boxes[region, label]
        kept = keep(found, scores, label, nms)[:limit]
        if ledger is not None:
            ledger["suppression"].append(
                {"region": region, "label": label, "scores": scores, "boxes": found, "kept": kept,
                 "nms": suppression(found, scores, label, nms)}
            )  # fmt: skip
        boxes, labels = found[kept], label[kept]
        places = np.insert(boxes, 0, n, axis=1)
        masks = points = None
        if self.mask is not None:
            seen = self.mask(self.crop(maps, places, self.mask.size)).numpy()[np.arange(len(kept)), labels]
            masks = paste(1 / (1 + np.exp(-seen)), boxes, size)
        if self.keypoint is not None:
            places = grown(places, self.keypoint.margin)
            seen = self.keypoint(self.crop(maps, places, self.keypoint.size)).numpy()
            points = keypoints_of(seen, places[:, 1:])
        return Detections(boxes, labels, scores[kept], masks, points)

    def trace(self, image: Tensor, target: Target, rng: np.random.Generator, **options: Any) -> Ledger:
        """Every stage for one image (1, 3, H, W), in training and in use (`options`: those of `detect`); the model is
        as it was. The ledger has

        - "rpn", "proposals", "head" and, where there are such heads, "mask", "keypoint": what each stage saw and gave;
        - "terms": each loss piece by piece; "losses": the numbers that the pieces add up to;
        - "use": proposals, regions, chances, boxes, suppression of `detect`; and "detections", its result.
        """
        ledger: Ledger = {"use": {}}
        with in_use(self):
            losses = self.losses(image, [target], rng, ledger)
        ledger["losses"] = {name: loss.item() for name, loss in losses.items()}
        ledger["detections"] = self.detect(image, ledger=ledger["use"], **options)[0]
        return ledger


@contextmanager
def in_use(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode and nothing is recorded."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


# --- the papers' networks, and one for pictures of about 96 pixels


def faster_rcnn_vgg16(num_classes: int, *, rng: Any = None, **options: Any) -> FasterRCNN:
    """Ren et al. 2015: VGG-16, one map of stride 16, nine anchors a cell, RoI pooling, hidden layers of 4096."""
    rng = stream(rng)
    options = {"sizes": SINGLE_MAP, "method": "pool", "hidden": 4096, "rng": rng} | options
    return FasterRCNN(vgg16_map(rng), num_classes, **options)


def faster_rcnn_resnet50_fpn(num_classes: int, *, rng: Any = None, **options: Any) -> FasterRCNN:
    """Lin et al. 2017 and He et al. 2017: ResNet-50 with a pyramid, three anchors a cell on each of five levels."""
    rng = stream(rng)
    options = {"sizes": PYRAMID, "levels": 4, "rng": rng} | options
    return FasterRCNN(resnet50_fpn(rng=rng), num_classes, **options)


SMALL = {  # canonical: regions below 56 pixels come from the map of stride 4; borders and corners need the finest
    "rpn": SMALL_RPN, "head": SMALL_HEAD, "hidden": 192, "canonical": 112, "mask_width": 32, "keypoint_width": 32,
    "keypoint_layers": 4,
}  # fmt: skip


def faster_rcnn_small(
    num_classes: int, *, width: int = 48, pyramid: int = 48, rng: Any = None, **options: Any
) -> FasterRCNN:
    """For pictures of about 96 pixels: a ResNet of three blocks with a pyramid of strides 4, 8 and 16."""
    rng = stream(rng)
    backbone = resnet_small_fpn(width, pyramid, rng=rng)
    return FasterRCNN(backbone, num_classes, **SMALL | {"sizes": SMALL_PYRAMID, "rng": rng} | options)


def faster_rcnn_small_vgg(num_classes: int, *, width: int = 16, rng: Any = None, **options: Any) -> FasterRCNN:
    """For pictures of about 96 pixels: a VGG of four blocks, one map of stride 8."""
    rng = stream(rng)
    backbone = vgg_small_map(width, rng=rng)
    return FasterRCNN(backbone, num_classes, **SMALL | {"sizes": SMALL_SINGLE_MAP, "rng": rng} | options)
