"""The layers of a Keras model by its config: what each is, what it reads, and how a flattened map is ordered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

# Layers that leave the number of channels, and the order of a flat vector, as they are.
ELEMENTWISE = {
    "activation", "re_lu", "leaky_re_lu", "p_re_lu", "elu", "softmax", "dropout", "spatial_dropout1d",
    "spatial_dropout2d", "spatial_dropout3d", "gaussian_noise", "gaussian_dropout", "batch_normalization",
    "layer_normalization", "group_normalization", "rescaling", "normalization", "add", "multiply", "maximum", "average",
}  # fmt: skip
SPATIAL = re.compile(
    r"((global_)?(max|average)_pooling|zero_padding|cropping|up_sampling)[123]d|random_\w+|resizing|center_crop"
)
DEPTH_LIMIT = 1000


def snake(name: str) -> str:
    """The class Conv2DTranspose as files name it: conv2d_transpose. By Keras's own rule."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Graph:
    """The layers of a model out of its config, those of models in it as graphs of their own."""

    def __init__(self, config: Any, parent: tuple[Graph, str] | None = None):
        self.parent = parent
        self.sequential = config["class_name"] == "Sequential"
        inner = config["config"]
        layers = inner["layers"] if isinstance(inner, dict) else inner  # a list in Keras before 2.2
        self.layers: dict[str, dict] = {}
        self.models: dict[str, Graph] = {}
        for layer in layers:
            name = layer["config"]["name"] if "name" in layer.get("config", {}) else layer["name"]
            self.layers[name] = layer
            if isinstance(layer.get("config"), dict) and "layers" in layer["config"]:
                self.models[name] = Graph(layer, (self, name))
        outputs = [] if self.sequential else inner.get("output_layers", [])
        self.outputs = list(self.layers)[-1:] if self.sequential else list(_named(outputs))

    def order(self) -> dict[tuple[str, ...], int]:
        """The place of each layer, by its path, among all."""
        paths: list[tuple[str, ...]] = []
        for name in self.layers:
            inner = self.models[name].order() if name in self.models else {}
            paths += [(name,), *((name, *path) for path in inner)]
        return {path: place for place, path in enumerate(paths)}

    def groups(self) -> dict[str, str]:
        """{group in a .weights.h5: layer}, by Keras's rule: classes in snake case, those of a kind counted in order."""
        counts: Counter[str] = Counter()
        found = {}
        for name in self.layers:
            kind = self.kind(name)
            found[f"{kind}_{counts[kind]}" if counts[kind] else kind] = name
            counts[kind] += 1
        return found

    def kind(self, name: str) -> str:
        """The class of a layer, in snake case."""
        return snake(self.layers[name]["class_name"])

    def config(self, name: str) -> dict:
        return self.layers[name].get("config", {})

    def sources(self, name: str) -> list[tuple[Graph, str]]:
        """The layers that a layer reads, looked up outside where the model begins."""
        if self.sequential:
            names = list(self.layers)
            before = names[: names.index(name)][-1:]
        else:
            before = list(dict.fromkeys(_named(self.layers[name].get("inbound_nodes", []))))
        if not before:
            return self.parent[0].sources(self.parent[1]) if self.parent else []
        found = []
        for source in before:
            graph: Graph = self
            while source in graph.models and graph.models[source].outputs:
                graph = graph.models[source]
                source = graph.outputs[0]
            found.append((graph, source))
        return found

    def channels(self, name: str, depth: int = 0) -> int | None:
        """The length of the last axis of a layer's output; None if it cannot be told."""
        kind, config = self.kind(name), self.config(name)
        if "filters" in config or "units" in config:
            return config.get("filters", config.get("units"))
        if kind == "input_layer":
            if outside := self.sources(name):
                return outside[0][0].channels(outside[0][1], depth + 1)
            return (config.get("batch_shape") or config.get("batch_input_shape"))[-1]
        found = [graph.channels(source, depth + 1) for graph, source in self.sources(name) if depth < DEPTH_LIMIT]
        if not found and "batch_input_shape" in config:
            found = [config["batch_input_shape"][-1]]
        if not found or None in found:
            return None
        if kind == "concatenate":
            return sum(found) if config.get("axis", -1) in (-1, 3) else None
        if kind.startswith("depthwise_conv"):
            return found[0] * config.get("depth_multiplier", 1)
        return found[0] if kind in ELEMENTWISE or SPATIAL.fullmatch(kind) else None

    def flattened(self, name: str, depth: int = 0) -> int | None:
        """The channels of the map whose flattened entries a layer reads, those of a pixel together.

        1 if it reads no such thing, None if it cannot be told.
        """
        for graph, source in self.sources(name)[:1]:
            kind = graph.kind(source)
            if kind == "flatten":
                if graph.config(source).get("data_format") == "channels_first" or graph._is_plain_input(source):
                    return 1
                before = graph.sources(source)
                shape = graph.config(source).get("batch_input_shape", [1])
                return before[0][0].channels(before[0][1]) if before else shape[-1]
            if kind in ("reshape", "permute", "lambda", "concatenate"):
                return None
            if kind in ELEMENTWISE and depth < DEPTH_LIMIT:
                return graph.flattened(source, depth + 1)
            if kind == "input_layer" and graph.parent is not None:
                return graph.flattened(source, depth + 1)
        return 1

    def _is_plain_input(self, name: str) -> bool:
        """Whether a flatten reads the input itself, of two axes: rows and columns, no channels."""
        before = self.sources(name)
        if not before:
            return len(self.config(name).get("batch_input_shape", ())) < 4
        graph, source = before[0]
        shape = graph.config(source).get("batch_shape") or graph.config(source).get("batch_input_shape") or ()
        return graph.kind(source) == "input_layer" and len(shape) < 4


def _named(nodes: Any) -> Iterator[str]:
    """The layers that nodes of a graph refer to: Keras 3 has keras_history, Keras 2 lists [name, node, tensor, ...]."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0]
        else:
            for value in nodes.values():
                yield from _named(value)
    elif isinstance(nodes, (list, tuple)):
        if len(nodes) in (3, 4) and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        else:
            for value in nodes:
                yield from _named(value)
