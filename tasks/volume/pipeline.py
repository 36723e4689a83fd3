"""Coarse to fine: a V-Net at low resolution finds both organs, one V-Net for each refines it at full resolution.

    probability map   P = sigmoid(upsample(coarse(downsample(x))))         (1, 2, D, H, W), differentiable
    box               B_o = the voxels where P_o > 1/2, and a margin       whole numbers: no gradient
    refined           R_o = sigmoid(refine_o([x, P_o] cropped to B_o))     [x, P_o]: two channels, auto-context

The gradient of a loss of R_o flows through the crop of P_o into the coarse network: trained together, the first stage
learns what the second needs. Source: Xu et al., "Deep Mouse", ISBI 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from minidl.device import to_device

from .vnet import VNet

ORGANS = ("small", "large")  # their labels are 1 and 2, their channels 0 and 1
Box = tuple[slice, slice, slice]


class Refined(NamedTuple):
    """What the second stage says of an organ: logits (1, 1, d, h, w) within a box; outside of it there is none."""

    logits: Tensor
    box: Box


class Pipeline(nn.Module):
    """Two stages for one volume at a time, so that volumes, and boxes, may differ in size.

    factor: how much coarser the first stage sees. context: whether the second stage sees the map of the first beside
    the image. Every side must divide by `multiple`.
    """

    def __init__(
        self, *, factor: int = 3, width: int = 4, context: bool = True, margin: int = 6,
        rng: np.random.Generator | int | None = None,
    ):  # fmt: skip
        rng = nn.init.generator(rng)
        self.factor, self.context, self.margin = factor, context, margin
        self.coarse = VNet(1, len(ORGANS), width=2 * width, stages=3, kernel=3, rng=rng)
        self.refine = nn.ModuleDict({
            organ: VNet(1 + context, 1, width=width, stages=3, kernel=3, rng=rng) for organ in ORGANS
        })  # fmt: skip

    @property
    def multiple(self) -> int:
        """What the sides of a volume must divide by."""
        return int(np.lcm(self.factor * self.coarse.factor, self.refine["small"].factor))

    def initial(self, x: Tensor) -> Tensor:
        """The first stage: x (1, 1, D, H, W) to logits (1, 2, D, H, W) of both organs, upsampled."""
        return F.interpolate(self.coarse(F.avg_pool(x, self.factor)), size=x.shape[2:], mode="linear")

    def refined(self, x: Tensor, maps: Tensor) -> dict[str, Refined]:
        """The second stage: each organ within its box, from x and, with context, the maps: sigmoid(initial(x))."""
        found = {}
        on_cpu = to_device(maps.data, "cpu")
        for channel, (organ, net) in enumerate(self.refine.items()):
            box = box_around(on_cpu[0, channel], self.margin, net.factor)
            inputs = [x[(..., *box)]]
            if self.context:
                inputs.append(maps[(slice(None), slice(channel, channel + 1), *box)])
            found[organ] = Refined(net(F.concat(inputs, axis=1)), box)
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Refined]]:
        logits = self.initial(x)
        return logits, self.refined(x, F.sigmoid(logits))


def box_around(probability: np.ndarray, margin: int, multiple: int) -> Box:
    """The box around an organ, of sides that divide by `multiple`, within a volume whose sides do.

    The organ is the connected part of {probability > 1/2} that holds the most probability; where there is none, the
    most probable voxel. The box has `margin` voxels more on every side, as far as the volume has them.
    """
    from scipy import ndimage

    parts, count = ndimage.label(probability > 0.5)
    if count:
        chosen = 1 + np.argmax(ndimage.sum_labels(probability, parts, range(1, count + 1)))
        box = ndimage.find_objects(parts)[chosen - 1]
    else:
        voxel = np.unravel_index(np.argmax(probability), probability.shape)
        box = tuple(slice(v, v + 1) for v in voxel)
    return tuple(_grown(side, n, margin, multiple) for side, n in zip(box, probability.shape))


def _grown(side: slice, length: int, margin: int, multiple: int) -> slice:
    low, high = max(side.start - margin, 0), min(side.stop + margin, length)
    size = -(-(high - low) // multiple) * multiple
    low = min(low, length - size)
    return slice(int(low), int(low + size))


def losses(logits: Tensor, refined: Mapping[str, Refined], truth: np.ndarray) -> list[Tensor]:
    """The loss of the first stage in the volume; that of the second in its boxes, mean of the organs, if there is one.

    truth: (1, 2, D, H, W) of 0 and 1, on the device of the logits.
    """
    of_organs = [
        loss(part.logits, truth[(slice(None), slice(channel, channel + 1), *part.box)])
        for channel, part in enumerate(refined.values())
    ]
    of_stages = [loss(logits, truth)]
    return [*of_stages, sum(of_organs[1:], of_organs[0]) / len(of_organs)] if of_organs else of_stages


def loss(logits: Tensor, truth: np.ndarray) -> Tensor:
    """Cross entropy minus soft Dice. Dice alone has no gradient left once a network says no everywhere."""
    return F.binary_cross_entropy_with_logits(logits, truth) + F.soft_dice_loss(F.sigmoid(logits), truth)


def segment(model: Pipeline, image: np.ndarray, *, refine: bool = True, device: str = "cpu") -> np.ndarray:
    """Probabilities (2, D, H, W) of the organs in an image (D, H, W): of the second stage, or of the first alone."""
    with model.inference():
        x = Tensor(to_device(image[None, None], device))
        maps = F.sigmoid(model.initial(x))
        if not refine:
            return to_device(maps.data[0], "cpu")
        result = np.zeros(maps.shape[1:], np.float32)
        for channel, part in enumerate(model.refined(x, maps).values()):
            result[(channel, *part.box)] = to_device(F.sigmoid(part.logits).data[0, 0], "cpu")
        return result
