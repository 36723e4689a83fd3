"""A picture through a network that others trained: torchvision's FCN, DeepLabV3 and LR-ASPP, milesial's U-Net."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl import Tensor, load_weights, nn
from minidl import functional as F
from minidl.device import to_device

from ..models.googlenet import MEAN, STD
from ..models.milesial import MilesialUNet
from ..models.segmentation import CLASSES, SEGMENTERS

UNET = "unet"  # milesial's
LAST = ("outc.conv.weight", "classifier.low_classifier.weight", "classifier.4.weight")  # (classes, maps, 1, 1)
SHORT = 520  # the side to which torchvision resizes the shorter one
SCALE = 0.5  # milesial's: of the picture's sides
NETWORKS = {UNET: MilesialUNet, **SEGMENTERS}


def load(path: str | os.PathLike, key: str | None = None, strip: str | None = None) -> tuple[str, nn.Module]:
    """The network whose weights a file holds, told by their names, and its name; in eval mode.

    `key`, `strip`: see `load_weights`. Raises ValueError in one line if it is none of NETWORKS.
    """
    state = load_weights(path, key, strip)
    state = {name: array for name, array in state.items() if not name.startswith("mask_values")}  # milesial's
    last = next((state[name] for name in LAST if np.ndim(state.get(name)) == 4), None)
    for name, make in NETWORKS.items() if last is not None else ():
        with nn.init.undrawn():
            model = make(num_classes=len(last), **_options(name, state))
        if {name for name, _ in model.named_parameters()} == _parameters(state):
            model.load_state_dict(state)
            return name, model.eval()
    raise ValueError(f"{path} holds the weights of none of {', '.join(NETWORKS)}")


def _parameters(state: Mapping[str, Any]) -> set[str]:
    return {name for name in state if name.rpartition(".")[2] in ("weight", "bias")}


def _options(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    if name == UNET:
        first = np.shape(state.get("inc.double_conv.0.weight"))
        channels = {"in_channels": first[1]} if len(first) == 4 else {}
        return {**channels, "bilinear": "up1.up.weight" not in state, "bias": "inc.double_conv.0.bias" in state}
    return {} if name.startswith("lraspp") else {"aux_loss": "aux_classifier.0.weight" in state}


def probabilities(name: str, model: nn.Module, image: np.ndarray, device: str = "cpu") -> np.ndarray:
    """The probability of each class at each pixel, (K, H, W), of an image (C, H, W) in [0, 1], as the authors do it.

    The image is resized (bilinear, antialiased; milesial: bicubic, by half) and, for torchvision's, its colours
    standardised with ImageNet's; the logits are brought back to its size.
    """
    size = image.shape[1:]
    x = Tensor(to_device(image[None].astype(np.float32), device))  # (C, H, W) -> (1, C, H, W)
    if name == UNET:
        x = _resized(x, [int(SCALE * n) for n in size], "bicubic")
    else:
        x = _resized(x, [int(SHORT * n / min(size)) for n in size], "linear")
        mean, std = (Tensor(to_device(v.astype(np.float32).reshape(1, 3, 1, 1), device)) for v in (MEAN, STD))
        x = (x - mean) / std
    with model.inference():
        logits = F.interpolate(model(x), size=size, mode="linear")
    return F.softmax(logits, axis=1).numpy()[0]


def _resized(x: Tensor, size: list[int], mode: str) -> Tensor:
    return F.interpolate(x, size=tuple(max(1, n) for n in size), mode=mode, antialias=True)


def names(classes: int) -> list[str]:
    """The names of the classes: those of Pascal VOC if there are 21."""
    return list(CLASSES) if classes == len(CLASSES) else [f"class {i}" for i in range(classes)]
