"""Darknet's .weights: a header, then float32 without names or shapes; the .cfg of the network says what they are.

Darknet's batch norm adds its eps outside the root, (x - mean) / (sqrt(variance) + 1e-6): `weight` is scaled such that
nn.BatchNorm2d with its own eps=1e-5 computes the same. Names are NUMBER.conv.weight, NUMBER.bn.weight and so on, by
Darknet's number of the layer. Sources: parser.c (load_weights_upto) and blas.c (normalize_cpu) of pjreddie/darknet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from ..reading import Entry, WeightsError
from ..source import Source
from .contents import Contents

EPS = 1e-6  # of Darknet, beside the root; 1e-5 is that of nn.BatchNorm2d, in it
HEADER = re.compile(rb"\0\0\0\0[\1\2]\0\0\0[\0-\5]\0\0\0|[\1\2]\0\0\0[\0-\x09]\0\0\0[\0-\x09]\0\0\0", re.DOTALL)
MISFIT = "the .cfg is of another network"
Shape = tuple[int, int, int]  # channels, rows, columns


def is_darknet(head: bytes) -> bool:
    """Whether a file begins with a version of Darknet: major, minor and revision, such as 0, 2, 0."""
    return HEADER.match(head) is not None


def read(source: Source) -> Contents:
    """The arrays of the layers of a .cfg: `source.config`, or the file of the same name beside."""
    data, config = source.data, source.config or source.path.with_suffix(".cfg")
    major, minor, revision = np.frombuffer(data[:12], "<i4")
    start = 12 + (8 if major * 10 + minor >= 2 else 4)  # then the number of pictures seen, since 0.2 in 8 bytes
    numbers = np.frombuffer(data[start : start + (len(data) - start) // 4 * 4], "<f4")
    if not config.is_file():
        raise WeightsError(
            f"this is Darknet {major}.{minor}.{revision}, {len(numbers)} numbers without names: give config=FILE.cfg, "
            "the description of the network"
        )
    found = Contents(f"Darknet {major}.{minor}.{revision}, by {config.name}", [])
    sections, place = _sections(config.read_text(errors="replace")), 0
    for path, shapes in _arrays(sections, transposed=major > 1000 or minor > 1000):
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        if place == len(numbers) and place:
            found.notes.append(f"the file ends before layer {path}: a part of the network")
            break
        if place + size > len(numbers):
            left = f"{len(numbers) - place} are left of {len(numbers)}"
            raise WeightsError(f"layer {path} of {config.name} needs {size} numbers, {left}: {MISFIT}")
        found.entries += _entries(path, shapes, numbers[place : place + size])
        place += size
    if place < len(numbers):
        raise WeightsError(f"{config.name} has {place} numbers, the file {len(numbers)}: {MISFIT}")
    return found


def _entries(path: str, shapes: dict[str, tuple], numbers: np.ndarray) -> Iterator[tuple[str, Entry]]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    raw = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), np.split(numbers, ends[:-1]))}
    for name, array in raw.items():
        read: Callable[[], np.ndarray] = lambda array=array: array.astype(np.float32)  # noqa: E731
        if name == "bn.weight":
            read = lambda array=array, variance=raw["bn.running_var"]: _scaled(array, variance)  # noqa: E731
        elif name == "fc.weight_t":
            name, array = "fc.weight", array.T
            read = lambda array=array: np.array(array, np.float32, order="C")  # noqa: E731
        yield f"{path}.{name}", Entry(array.shape, "float32", read)


def _scaled(weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """weight / (sqrt(variance) + 1e-6) as a weight over sqrt(variance + 1e-5)."""
    wide = variance.astype(np.float64)
    return (weight * np.sqrt(wide + 1e-5) / (np.sqrt(wide) + EPS)).astype(np.float32)


def _sections(text: str) -> list[tuple[str, dict[str, str]]]:
    """(name, options) of each section of a .cfg."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("["):
            found.append((line.strip("[] ").lower(), {}))
        elif "=" in line and found:
            name, _, value = line.partition("=")
            found[-1][1][name.strip()] = value.strip()
    return found


def _arrays(sections: list[tuple[str, dict[str, str]]], transposed: bool) -> Iterator[tuple[str, dict[str, tuple]]]:
    """(number, {name: shape} in the file's order) of each layer that has weights."""
    if not sections or sections[0][0] not in ("net", "network"):
        raise WeightsError("the .cfg does not begin with [net]")
    net = sections[0][1]
    shape: Shape = (int(net.get("channels", 3)), int(net.get("height", 0)), int(net.get("width", 0)))
    shapes: list[Shape] = []
    for number, (kind, options) in enumerate(sections[1:]):
        arrays, shape = _layer(kind, _Options(options), shape, shapes, transposed)
        shapes.append(shape)
        if arrays:
            yield str(number), arrays


class _Options(dict):
    def number(self, name: str, default: int) -> int:
        return int(self.get(name, default))


def _layer(
    kind: str, options: _Options, shape: Shape, before: list[Shape], transposed: bool
) -> tuple[dict[str, tuple], Shape]:
    """The arrays of a layer in the file's order, and the shape of its output."""
    channels, rows, columns = shape
    if kind in ("convolutional", "conv"):
        filters, size, stride = (options.number(*option) for option in (("filters", 1), ("size", 1), ("stride", 1)))
        padding = size // 2 if options.number("pad", 0) else options.number("padding", 0)
        kernel = (filters, channels // options.number("groups", 1), size, size)
        names = _normed("conv", filters) if options.number("batch_normalize", 0) else {"conv.bias": (filters,)}
        output = (filters, *((n + 2 * padding - size) // stride + 1 for n in (rows, columns)))
        return {**names, "conv.weight": kernel}, output
    if kind in ("connected", "conn"):
        outputs, inputs = options.number("output", 1), channels * rows * columns
        weight = {"fc.weight_t": (inputs, outputs)} if transposed else {"fc.weight": (outputs, inputs)}
        norm = _normed("fc", outputs) if options.number("batch_normalize", 0) else {}
        bias = {"bn.bias": norm.pop("bn.bias")} if norm else {"fc.bias": (outputs,)}
        return {**bias, **weight, **norm}, (outputs, 1, 1)
    if kind == "route":
        places = [int(place) for place in options.get("layers", "-1").split(",")]
        read = [before[place if place >= 0 else len(before) + place] for place in places]
        return {}, (sum(one[0] for one in read) // options.number("groups", 1), *read[0][1:])
    if kind in ("maxpool", "max"):
        stride = options.number("stride", 1)
        size = options.number("size", stride)
        padding = options.number("padding", size - 1)
        return {}, (channels, *((n + padding - size) // stride + 1 for n in (rows, columns)))
    if kind in ("avgpool", "avg"):
        return {}, (channels, 1, 1)
    if kind == "upsample":
        return {}, (channels, *(n * options.number("stride", 2) for n in (rows, columns)))
    if kind == "reorg":
        stride = options.number("stride", 1)
        return {}, (channels * stride * stride, rows // stride, columns // stride)
    if kind in ("shortcut", "dropout", "softmax", "soft", "cost", "region", "detection", "yolo", "activation",
                "logistic", "crop", "l2norm", "lrn", "normalization", "sam", "scale_channels"):  # fmt: skip
        return {}, shape
    raise WeightsError(f"the .cfg has a layer [{kind}], which is not known here")


def _normed(layer: str, count: int) -> dict[str, tuple]:
    return {f"bn.{name}": (count,) for name in ("bias", "weight", "running_mean", "running_var")}
