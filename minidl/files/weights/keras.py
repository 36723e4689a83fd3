"""Keras: .keras, .weights.h5 and the older .h5, by the names of layers and variables, never by position.

Names and axes become PyTorch's, by the tables here. What cannot be told from the file, such as whether a Dense reads a
flattened map (whose entries Keras orders row, column, channel, and PyTorch channel, row, column), is an error when it
is read, which says what tells it: the config of the model. A layer of an unknown class keeps Keras's names and axes.

Sources: keras/src/saving/saving_lib.py and keras/src/legacy/saving/legacy_h5_format.py of Keras 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..reading import Entry, WeightsError
from ..source import Source
from . import hdf5
from .contents import Contents
from .keras_graph import Graph
from .zips import Archive

NAMES = {  # of a variable: what PyTorch calls it
    "kernel": "weight", "depthwise_kernel": "weight", "pointwise_kernel": "weight", "embeddings": "weight",
    "alpha": "weight", "gamma": "weight", "bias": "bias", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
NORM, CONV = ("gamma", "beta"), ("kernel", "bias")
VARIABLES = {  # of a class: its variables in the order in which they are saved
    "dense": CONV, "embedding": ("embeddings",), "p_re_lu": ("alpha",),
    "normalization": ("mean", "variance", "count"),
    "batch_normalization": (*NORM, "moving_mean", "moving_variance"), "sync_batch_normalization":
    (*NORM, "moving_mean", "moving_variance"), "layer_normalization": NORM, "group_normalization": NORM,
    **{f"conv{n}d{kind}": CONV for n in (1, 2, 3) for kind in ("", "_transpose")},
    **{f"depthwise_conv{n}d": CONV for n in (1, 2)},
    **{f"separable_conv{n}d": ("depthwise_kernel", "pointwise_kernel", "bias") for n in (1, 2)},
}  # fmt: skip
FLAGS = {"gamma": "scale", "beta": "center", "bias": "use_bias"}  # what may be missing, and who says so
OLDER = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}  # Keras 1
CONFIG = "load the .keras file, or give config=FILE with model.to_json() in it"


def is_keras(file: Any) -> bool:
    """Whether an HDF5 file is one of Keras."""
    return any(name in file for name in ("model_weights", "layers", "vars", "_layer_checkpoint_dependencies")) or (
        "layer_names" in file.attrs
    )


def read_zip(archive: Archive, source: Source) -> Contents:
    """The weights of a .keras file, whose config says what its layers are."""
    config = json.loads(bytes(archive.read("config.json")))
    file = hdf5.opened(Source(source.path, archive.read("model.weights.h5"), source.budget))
    return _contents("Keras, .keras", _numbered(file, _graph(config)), source, _graph(config))


def read(file: Any, source: Source) -> Contents:
    """The weights of an .h5 file, of either kind; `source.config` is the config of the model in JSON or a .keras."""
    text = file.attrs.get("model_config")
    if source.config is not None:
        text = _config_text(source)
    graph = None if text is None else _graph(json.loads(text))
    if "model_weights" in file or "layer_names" in file.attrs:
        return _contents("Keras, .h5", _named(file.get("model_weights", file)), source, graph)
    return _contents("Keras, .weights.h5", _numbered(file, graph), source, graph)


def _graph(config: Any) -> Graph | None:
    """The graph of a config; None of a model that is a class of its own, whose config has no layers."""
    inner = config.get("config") if isinstance(config, dict) else None
    return Graph(config) if isinstance(inner, list) or (isinstance(inner, dict) and "layers" in inner) else None


def _config_text(source: Source) -> str | bytes:
    import zipfile

    if zipfile.is_zipfile(source.config):
        with zipfile.ZipFile(source.config) as archive:
            return archive.read("config.json")
    return source.config.read_bytes()


class Layer:
    """A layer with variables: its path of names, its class in snake case if known, {variable or number: dataset}."""

    def __init__(self, path: tuple[str, ...], kind: str, variables: dict[str, Any]):
        self.path, self.kind, self.variables, self.graph = path, kind, variables, None


def _numbered(file: Any, graph: Graph | None) -> list[Layer]:
    """The layers of a .weights.h5, where variables have numbers: groups by class or attribute, with names in attrs."""
    found: list[Layer] = []

    def walk(group: Any, path: tuple[str, ...], kind: str, graph: Graph | None, listed: bool, depth: int = 0) -> None:
        if depth > hdf5.DEPTH_LIMIT:
            raise WeightsError(f"the layers are nested deeper than {hdf5.DEPTH_LIMIT}")
        items = dict(hdf5.children(group))
        variables = items.pop("vars", None)
        if variables is not None and hdf5.is_group(variables) and (path or len(variables)):
            found.append(Layer(path, kind, dict(hdf5.children(variables))))
        counted = graph.groups() if graph and listed else {}
        names = {name: _name_of(item) or counted.get(name, name) if listed else name for name, item in items.items()}
        if len(set(names.values())) < len(names):
            names = {name: name for name in names}
        for name, item in items.items():
            if hdf5.is_group(item) and name != "optimizer":
                inner, below = path, graph
                if name != "layers":
                    inner, below = (*path, names[name]), graph and graph.models.get(names[name])
                kinds = [re.sub(r"_\d+$", "", each) for each in (name, _name_of(item))]
                known = next((each for each in kinds if each in VARIABLES or each == "flatten"), kinds[0])
                walk(item, inner, known, below, name == "layers", depth + 1)

    walk(file, (), "", graph, False)
    return found


def _name_of(group: Any) -> str:
    """The name of the layer of a group; empty in files of before Keras 3.3, which do not say it."""
    variables = group.get("vars") if hdf5.is_group(group) else None
    return "" if variables is None else str(variables.attrs.get("name", ""))


def _named(file: Any) -> list[Layer]:
    """The layers of an older .h5, in which each variable has its name, such as sequential/conv2d/kernel:0."""
    layers: dict[tuple[str, ...], Layer] = {}
    for outer in (_text(name) for name in file.attrs.get("layer_names", [])):
        if outer.startswith("flatten"):
            layers[(outer,)] = Layer((outer,), "flatten", {})
        for whole in (_text(name) for name in file[outer].attrs.get("weight_names", [])):
            *parts, last = whole.removesuffix(":0").split("/")
            if old := re.fullmatch(r"(.+)_(W|b|gamma|beta|running_mean|running_std)(?:_\d+)?", last):
                parts, last = [old[1]], OLDER.get(old[2], old[2])
            inner = parts[parts.index(outer) + 1 :] if outer in parts else parts
            path = (outer, *inner)
            layers.setdefault(path, Layer(path, "", {})).variables[last] = file[outer][whole]
    return list(layers.values())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _contents(form: str, layers: list[Layer], source: Source, graph: Graph | None) -> Contents:
    found = Contents(form, [])
    shapes = [variable.shape for layer in layers for variable in layer.variables.values()]
    maps = {n for shape in shapes if len(shape) > 2 for n in shape[-2:]}  # channels that a flattened map may have
    flattens = any(layer.kind == "flatten" for layer in layers)
    if graph is not None:  # the order of the model; in the file it is alphabetical
        order = graph.order()
        layers.sort(key=lambda layer: order.get(layer.path, len(order)))
    for layer in layers:
        inner, name = _find(graph, layer.path)
        config: dict | None = None
        if inner is not None:
            layer.kind, config = inner.kind(name), inner.config(name)
        elif not layer.kind:
            layer.kind = _guessed(layer.variables)
        if "epsilon" in (config or {}) and (note := f"{layer.kind}: eps={config['epsilon']:g}") not in found.notes:
            found.notes.append(note)
        channels = inner.flattened(name) if inner is not None else 1
        unsure = channels is None or (inner is None and flattens)
        for variable, dataset in _variables(layer, config):
            path = ".".join([*layer.path, variable])
            entry = hdf5.entry(path, dataset, source.budget)
            short, entry = _converted(layer, variable, entry, channels, maps if unsure else set())
            found.entries.append((".".join([*layer.path, short]), entry))
    return found


def _find(graph: Graph | None, path: tuple[str, ...]) -> tuple[Graph | None, str]:
    """The graph and the name in it of the layer at a path; (None, "") if the config has no such layer."""
    for part in path[:-1]:
        graph = graph.models.get(part) if graph else None
    return (graph, path[-1]) if graph and path and path[-1] in graph.layers else (None, "")


def _guessed(variables: dict[str, Any]) -> str:
    """The class of a layer of an older .h5 by the names of its variables."""
    for kind in ("separable_conv2d", "dense", "batch_normalization"):
        if variables and set(variables) <= set(VARIABLES[kind]):
            return kind
    return "depthwise_conv2d" if "depthwise_kernel" in variables else "embedding" if "embeddings" in variables else ""


def _variables(layer: Layer, config: dict | None) -> Iterator[tuple[str, Any]]:
    """(Keras's name, dataset) of each variable of a layer; those with numbers get their names by class and config."""
    numbers = list(layer.variables)
    order = VARIABLES.get(layer.kind)
    if order is None or not all(name.isdigit() for name in numbers):
        yield from ((f"vars.{name}" if name.isdigit() else name, value) for name, value in layer.variables.items())
        return
    needed = [name for name in order if name not in FLAGS]
    if config is not None:
        order = [name for name in order if name not in FLAGS or config.get(FLAGS[name], True)]
    elif len(numbers) == len(needed):
        order = needed
    if len(numbers) == len(order):
        yield from zip(order, layer.variables.values())
    else:
        yield from ((f"vars.{name}", value) for name, value in layer.variables.items())


def _converted(layer: Layer, variable: str, entry: Entry, channels: int | None, maps: set[int]) -> tuple[str, Entry]:
    """PyTorch's name of a variable, and its entry in PyTorch's order of axes."""
    kind, shape = layer.kind, entry.shape
    if kind not in VARIABLES or variable.startswith("vars."):
        if kind in VARIABLES:
            optional = " or ".join(FLAGS[name] for name in VARIABLES[kind] if name in FLAGS)
            return variable, _refusal(entry, layer, f"has {len(layer.variables)} variables, and the file does not say "
                                      f"which of them {optional}=False left out; {CONFIG}")  # fmt: skip
        return variable, entry
    name = NAMES.get(variable, variable)
    if kind.startswith("separable"):
        name = f"{'depthwise' if variable.startswith('depthwise') else 'pointwise'}.{name}"
    if variable == "depthwise_kernel" or (variable == "kernel" and kind.startswith("depthwise")):
        # (*size, inputs, multiplier) -> (inputs * multiplier, 1, *size)
        n = len(shape) - 2
        return name, entry.rearranged((n, n + 1, *range(n)), shape=(shape[n] * shape[n + 1], 1, *shape[:n]))
    if variable in ("kernel", "pointwise_kernel"):
        if len(shape) == 2 and any(c < shape[0] and shape[0] % c == 0 for c in maps):
            why = f"may read a flattened map, whose order the file does not tell; {CONFIG}"
            return name, _refusal(entry, layer, why)
        if len(shape) == 2 and channels and shape[0] % channels == 0:
            # (rows * columns * channels, outputs) -> (outputs, channels * rows * columns)
            split = (shape[0] // channels, channels, shape[1])
            return name, entry.rearranged((2, 1, 0), split, (shape[1], shape[0]))
        n = len(shape) - 1  # (*size, inputs, outputs) -> (outputs, inputs, *size); of a transposed one both swapped
        return name, entry.rearranged((n, n - 1, *range(n - 1)))
    if variable == "alpha":
        return name, entry.rearranged((len(shape) - 1, *range(len(shape) - 1)), shape=_alpha(shape))
    if len(shape) == 1 and channels and channels > 1 and shape[0] % channels == 0:  # of a norm of a flattened map
        return name, entry.rearranged((1, 0), (shape[0] // channels, channels), shape)
    return name, entry


def _alpha(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a slope for each channel, which is a vector in PyTorch; other slopes keep their axes."""
    return shape[-1:] if all(n == 1 for n in shape[:-1]) else (shape[-1], *shape[:-1])


def _refusal(entry: Entry, layer: Layer, why: str) -> Entry:
    def read() -> np.ndarray:
        raise WeightsError(f"{'.'.join(layer.path)!r} {why}")

    return Entry(entry.shape, entry.dtype, read)
