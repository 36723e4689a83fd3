"""Weights that others trained: which network they fit, and the names of its classes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidl import load_weights, nn
from minidl.nn.loading import nestings

from . import MODELS, vit
from .densenet import OLD_NAME

SHORT, SIDE = 256, 224  # the shorter side, and the square cut from its middle, as torchvision's weights are used
SIZES = {  # of others; of each network's first weights, IMAGENET1K_V1
    "inception_v3": (342, 299),
    "inception_resnet_v2": (333, 299),
    "efficientnet_b1": (256, 240),
    "efficientnet_b2": (288, 288),
    "efficientnet_b3": (320, 300),
    "efficientnet_b4": (384, 380),
    "efficientnet_b5": (456, 456),
    "efficientnet_b6": (528, 528),
    "efficientnet_b7": (600, 600),
    "efficientnet_v2_s": (384, 384),
    "efficientnet_v2_m": (480, 480),
    "efficientnet_v2_l": (480, 480),
    "regnet_y_128gf": (384, 384),
    "convnext_tiny": (236, 224),
    "convnext_small": (230, 224),
    "convnext_base": (232, 224),
    "convnext_large": (232, 224),
    "mnasnet0_75": (232, 224),
    "mnasnet1_3": (232, 224),
    "shufflenet_v2_x1_5": (232, 224),
    "shufflenet_v2_x2_0": (232, 224),
    "resnext101_64x4d": (232, 224),
    "maxvit_t": (224, 224),
    "swin_t": (232, 224),
    "swin_s": (246, 224),
    "swin_b": (238, 224),
    "swin_v2_t": (260, 256),
    "swin_v2_s": (260, 256),
    "swin_v2_b": (272, 256),
    "vit_l_16": (242, 224),
    "vit_h_14": (518, 518),
}
# beginnings of the names of those whose pictures are resized by the bicubic filter
BICUBIC = ("efficientnet_b", "efficientnet_v2_l", "regnet_y_128gf", "maxvit", "swin", "vit_h")
ENDS = {  # what the first and the last parameter of a network are called, by the module that makes it
    "alexnet": ("features.0.weight", "classifier.6.bias"),
    "vgg": ("features.0.weight", "classifier.6.bias"),
    "googlenet": ("conv1.conv.weight", "fc.bias"),
    "inception": ("Conv2d_1a_3x3.conv.weight", "fc.bias"),
    "inception_v2": ("conv1_7x7_s2.weight", "last_linear.bias"),
    "inception_resnet": ("conv2d_1a.conv.weight", "last_linear.bias"),
    "mobilenet_v1": ("conv_stem.weight", "classifier.bias"),
    "resnet": ("conv1.weight", "fc.bias"),
    "densenet": ("features.conv0.weight", "classifier.bias"),
    "mobilenet_v2": ("features.0.0.weight", "classifier.1.bias"),
    "maxvit": ("stem.0.0.weight", "classifier.5.weight"),
    "squeezenet": ("features.0.weight", "classifier.1.bias"),
    "mobilenet_v3": ("features.0.0.weight", "classifier.3.bias"),
    "mnasnet": ("layers.0.weight", "classifier.1.bias"),
    "shufflenet": ("conv1.0.weight", "fc.bias"),
    "efficientnet": ("features.0.0.weight", "classifier.1.bias"),
    "regnet": ("stem.0.weight", "fc.bias"),
    "convnext": ("features.0.0.weight", "classifier.2.bias"),
    "vit": ("class_token", "heads.head.bias"),
    "swin": ("features.0.0.weight", "head.bias"),
}
HEADS = {  # of those whose input is transformed
    "googlenet": "aux1.", "inception_v3": "AuxLogits.", "efficientnet_v2_l": "", "mobilenet_v1": "", "inception_v2": "",
    "inception_resnet_v2": "",
}  # fmt: skip
LAST = re.compile(r"^classif\.")  # timm's name of Inception-ResNet-v2's last layer


def preparation(name: str, model: nn.Module | None = None) -> dict[str, Any]:
    """How pictures are made ready for a network's weights: the shorter side they are resized to and whether with the
    bicubic filter, the side of the square cut then. Options of `tasks.classify.data.square`.

    A `model` that takes images of one size may want another than its first weights: weights trained at 384, say.
    """
    short, side = SIZES.get(name, (SHORT, SIDE))
    wanted = getattr(model, "image_size", side)
    if wanted != side:
        return {"short": wanted, "side": wanted, "bicubic": True}
    return {"short": short, "side": side, "bicubic": name.startswith(BICUBIC)}


def dimensions(model: nn.Module, state: Mapping[str, np.ndarray]) -> dict[str, int]:
    """num_classes and in_channels of the network whose weights these are; `model` tells the names of its layers.

    Empty if the names are not there: loading then reports what differs.
    """
    weights = [f"{path}.weight" for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    first, last = (np.shape(state.get(name)) for name in (weights[0], weights[-1]))
    return {"num_classes": last[0], "in_channels": first[1]} if len(first) == 4 and len(last) in (2, 4) else {}


def dimensions_of(model: nn.Module) -> dict[str, int]:
    """num_classes and in_channels of a network."""
    return dimensions(model, {name: p.data for name, p in model.named_parameters()})


def load(name: str, path: str | os.PathLike, key: str | None = None, strip: str | None = None) -> nn.Module:
    """The network `name` with the weights of a file of torchvision's, whatever its number of classes; in eval mode.

    `key` and `strip` are those of `load_weights`, for a checkpoint with more in it and names with a prefix; without
    them a prefix that all names have is found.
    GoogLeNet gets auxiliary heads if the file has them, and transforms its input, as torchvision's does with weights.
    Raises ValueError if the file holds the weights of another network: in one line if it is known which.
    """
    make = MODELS[name]
    with nn.init.undrawn():
        model = make()  # before the file is read: its zeros lie in memory that was never used, and so take none
        state = load_weights(path, key, strip)
        wanted = [path for path, _ in model.named_parameters()]
        ways = [] if key or strip else list(nestings(older_names(state), wanted))
        if len(ways) == 1 and wanted[0] not in state:
            state = load_weights(path, *ways[0])
        state = older_names(state)
        more = options(name, state)
        found = dimensions(model, state)
        if more or found != dimensions_of(model):
            model = make(**found, **more)
    try:
        model.load_state_dict(state)
    except ValueError as error:
        if ways and wanted[0] not in state:
            raise ValueError(f"{path} holds the weights of {name} {' and '.join(map(_way, ways))}") from None
        if other := whose(state):
            raise ValueError(f"{path} holds the weights of {other}, not of {name}: use --model {other}") from None
        raise ValueError(f"{path} does not hold the weights of {name}: {error}") from None
    return model.eval()


def add_options(add: Callable) -> None:
    """The options of `load` for a command line; `add` is an add_argument of argparse."""
    add("--weights-key", metavar="KEY", help="the entry or the prefix that they are under in the file, such as model")
    add("--strip", metavar="PART", help="a part to leave out of their names, such as module")


def _way(way: tuple[str | None, str | None]) -> str:
    """One of the `nestings` in words."""
    key, strip = way
    options = [f"--weights-key {key}"] * bool(key) + [f"--strip {strip}"] * bool(strip)
    return f"{f'under {key!r}' if key else f'with {strip!r} in their names'}: add {' '.join(options)}"


def older_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The names of torchvision's files of DenseNet, norm.1, as its modules have them, norm1; of timm's as Cadene's."""
    return {LAST.sub("last_linear.", OLD_NAME.sub(r"\1\2.", name)): value for name, value in state.items()}


def options(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """What the constructor of a network needs, so that torchvision's weights `state` fit and see what they should."""
    if name.startswith("vit"):
        return vit.image_size(name.removeprefix("vit_"), state)
    if name not in HEADS:
        return {}
    heads = {"aux_logits": any(key.startswith(HEADS[name]) for key in state)} if HEADS[name] else {}
    caffe = {"caffe": "conv1_7x7_s2.bias" in state} if name == "inception_v2" else {}
    return {**heads, **caffe, "transform_input": True}


def leave_heads(model: nn.Module) -> None:
    """Without the auxiliary heads, if it has them."""
    for name, _ in list(model.named_children()):
        if name in ("aux1", "aux2", "AuxLogits"):
            model.aux_logits = False
            setattr(model, name, None)


def ends(name: str) -> tuple[str, str]:
    """The names of the first and of the last parameter of a network, which need not be made for that."""
    make = MODELS[name]
    return ENDS[getattr(make, "func", make).__module__.rpartition(".")[2]]


def whose(state: Mapping[str, np.ndarray]) -> str | None:
    """The network of this package to which weights belong, by the names and the shapes of all but the last layer."""
    for name, make in MODELS.items():
        if not set(ends(name)) <= set(state):
            continue
        with nn.init.undrawn():
            shapes = {key: p.shape for key, p in make(**options(name, state)).named_parameters()}
        same = [np.shape(state.get(key)) == shape for key, shape in shapes.items()]
        if sum(same) >= len(same) - 2 and set(shapes) <= set(state):
            return name
    return None


def class_names(path: str | os.PathLike, count: int) -> list[str]:
    """Names of `count` classes from a file: a name per line, a JSON list of names, or imagenet_class_index.json.

    The latter has {"0": ["n01440764", "tench"], ...}. Raises ValueError in one line for anything else.
    """
    text = Path(path).read_bytes().decode("utf-8", errors="replace")
    try:
        names = _json_names(json.loads(text)) if text.lstrip()[:1] in ("{", "[") else text.splitlines()
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: not a list of class names ({type(error).__name__} {error})") from None
    names = [name.strip() for name in names if name.strip()]
    if len(names) != count:
        raise ValueError(f"{path}: has {len(names)} names, the network {count} classes; one name per line is needed")
    return names


def _json_names(content: Any) -> list[str]:
    """The names in a list, or in a dictionary by number, each a string or [code, name]."""
    entries = content if isinstance(content, list) else [content[str(i)] for i in range(len(content))]
    return [entry if isinstance(entry, str) else str(entry[-1]) for entry in entries]


def ranking(title: str, probabilities: np.ndarray, classes: list[str] | None, most: int = 5) -> str:
    """The likeliest classes of one image, a line each: number, name, probability."""
    best = np.argsort(-probabilities, kind="stable")[:most]
    names = ["" if classes is None else classes[c] for c in best]
    width = max(map(len, names))
    lines = [f"  {p:6.2%}  {c:>4}  {name:<{width}}".rstrip() for p, c, name in zip(probabilities[best], best, names)]
    return "\n".join([title, *lines])
