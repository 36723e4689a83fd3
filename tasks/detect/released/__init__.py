"""Detectors with weights that others trained: torchvision's files, and what is fine-tuned from them.

    detector = load("fasterrcnn_resnet50_fpn_coco.pth")
    found = detector.find([read_image("street.jpg")], score=0.5)[0]
    [detector.names[label] for label in found.labels]
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import Tensor, load_weights, nn
from minidl.device import to_device

from ...models.resnet import LAYERS, Bottleneck
from ..data.records import Detections
from ..models.detector import Detector
from .coco import CATEGORIES
from .faces import NETWORK as FACES
from .faces import Faces, load_faces
from .networks import KEYPOINTS, NETWORKS, Network
from .preparation import Preparation

RELEASED = (*NETWORKS, FACES)  # what `load` takes for a network


@dataclass(frozen=True)
class Released:
    """A detector in eval mode, and how it is used.

    network: its name. names: of its classes, by label; numbers: of each, as its data count them. points: keypoints of
    an object.
    """

    network: str
    model: Detector
    preparation: Preparation
    names: Sequence[str]
    numbers: Sequence[int]
    points: int = 0

    def find(
        self, pictures: Sequence[np.ndarray], score: float | None = None, device: str = "cpu"
    ) -> list[Detections]:
        """What is in each of some pictures (3, H, W) in [0, 1], in its pixels: what scores above `score` (the settings'
        own). They go through the network together, those that are smaller than another with an empty border."""
        batch, views = self.preparation(pictures)
        return self.model.detect(Tensor(to_device(batch.data, device)), score, views=views)


def load(
    path: str | os.PathLike, network: str | None = None, names: Sequence[str] = (), frozen_eps: float | None = None
) -> Released | Faces:
    """The detector whose weights are in a file of torchvision's, or in a training checkpoint that has them: see
    `with_state`; for "mtcnn" see `load_faces`."""
    if network == FACES:
        return load_faces(path)
    return with_state(load_weights(path), network, names, frozen_eps, path)


def with_state(
    state: Mapping[str, Any], network: str | None = None, names: Sequence[str] = (), frozen_eps: float | None = None,
    path: str | os.PathLike = "the state",
) -> Released:  # fmt: skip
    """The detector of these weights, by torchvision's names.

    network: its name in `NETWORKS`; found out from the names in the file if left out. names: of the classes but the
    background; COCO's if left out. frozen_eps: what is added to the variance in batch norm whose statistics are frozen;
    as torchvision has it for its own files if left out, 1e-5 for what is trained from a classifier's weights.
    Raises ValueError for the weights of anything else; `path` is for its message.
    """
    if network is not None and network not in NETWORKS:
        raise ValueError(f"network {network!r} is unknown: one of {', '.join(NETWORKS)}")
    state = unwrapped(state)
    fit = [name for name, one in NETWORKS.items() if all(mark in state for mark in one.marks)]
    if not fit:
        raise ValueError(f"{path} does not hold the weights of one of torchvision's detectors: {', '.join(NETWORKS)}")
    name = network or fit[0]
    kind = NETWORKS[name]
    state = renamed(state, kind.older)
    try:
        total = count(kind, state)
        if names and len(names) != total - 1:
            raise ValueError(f"it has {total - 1} classes, {len(names)} names are given: {', '.join(names)}")
        model = built(kind, state)
        model.load_state_dict(state)
    except (KeyError, ValueError) as error:
        advice = f"use --model {fit[0]}" if name not in fit else str(error)
        raise ValueError(f"{path} does not hold the weights of {name}: {advice}") from None
    freeze(model, state, kind.frozen_eps if frozen_eps is None else frozen_eps)
    numbers = range(1 if kind.softmax else 0, total)
    known = ("background", *(names or default_names(total)))
    points = getattr(model, "num_keypoints", 0)
    return Released(name, model.eval(), kind.preparation, known[numbers.start :], numbers, points)


def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a detector without what all its names begin with, such as "model." or "module.", and without what
    is not under that."""
    start = min((name[: name.index("backbone.")] for name in state if "backbone." in name), key=len, default="")
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def renamed(state: Mapping[str, Any], rules: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """With every name that ends as the pattern of a rule has it ending as its replacement says."""
    new = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(f"{pattern}$", replacement, name)
        new[name] = value
    return new


def count(kind: Network, state: Mapping[str, Any]) -> int:
    """The classes of a file, the background among them."""
    name, each = kind.classes
    return len(state[name]) // each


def built(kind: Network, state: Mapping[str, Any]) -> Detector:
    """The network of as many classes, keypoints and layers as the state has; its weights are not drawn."""
    options = {}
    if KEYPOINTS in state:
        options["num_keypoints"] = state[KEYPOINTS].shape[1]
    layers = [re.findall(rf"backbone\.body\.layer{k}\.(\d+)\.conv1", " ".join(state)) for k in range(1, 5)]
    if all(layers):
        depths = {(block is Bottleneck, counts): depth for depth, (block, counts) in LAYERS.items()}
        three = "backbone.body.layer1.0.conv3.weight" in state
        counts = tuple(1 + max(map(int, found)) for found in layers)
        if (three, counts) not in depths:
            raise ValueError(f"its ResNet has {counts} blocks: {', '.join(map(str, LAYERS))} layers are known")
        options["depth"] = depths[three, counts]
    with nn.init.undrawn():
        return kind.build(count(kind, state) - kind.softmax, **options)


def freeze(model: Detector, state: Mapping[str, Any], eps: float) -> None:
    """Give the batch norms of the backbone this eps if their statistics are frozen: then no batches are counted."""
    body = getattr(model.backbone, "body", None)
    if body is not None and not any(name.startswith("backbone.body") and "num_batches" in name for name in state):
        for layer in body.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = eps


def default_names(total: int) -> Sequence[str]:
    """Of the classes but the background: COCO's, its persons alone, or their numbers."""
    known = {len(CATEGORIES): CATEGORIES[1:], 2: CATEGORIES[1:2]}
    return known.get(total) or [f"class {number}" for number in range(1, total)]

