"""Networks of MatConvNet, simplenn and DagNN, out of the nest of a .mat: PyTorch's names and axes.

Kernels are (rows, columns, inputs, outputs); MATLAB drops trailing axes of one, so the kernel of one filter comes as
three axes or fewer, and they are put back. A batch norm has its moments as columns, mean and deviation, which is
sqrt(variance + epsilon). Sources: MatConvNet's matlab/vl_nnconv.m, vl_nnbnorm.m, +dagnn/@DagNN/loadobj.m.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reading import Entry, held

PARAMETERS = {  # of a type of layer, in simplenn and in DagNN: what its arrays are, in their order
    "conv": ("weight", "bias"), "dagnn.Conv": ("weight", "bias"),
    "convt": ("weight", "bias"), "dagnn.ConvTranspose": ("weight", "bias"),
    "bnorm": ("gamma", "beta", "moments"), "dagnn.BatchNorm": ("gamma", "beta", "moments"),
}  # fmt: skip
OLDER = ("filters", "biases")  # the fields of a simplenn layer before beta 17
EPSILON = 1e-5  # vl_nnbnorm's


def network(tree: dict[str, Any]) -> dict[str, Any] | None:
    """The struct of the network in a file: the file itself or `net`, with layers; None if there is none."""
    for candidate in (tree, tree.get("net"), tree.get("dagnn")):
        if isinstance(candidate, dict) and isinstance(candidate.get("layers"), (list, dict)):
            return candidate
    return None


def converted(net: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """{layer: {weight, bias, ...}} of a network, and notes."""
    shared = {one["name"]: one["value"] for one in _listed(net.get("params")) if isinstance(one.get("name"), str)}
    found: dict[str, Any] = {}
    notes: list[str] = []
    for place, layer in enumerate(_listed(net["layers"])):
        if not isinstance(layer, dict):
            continue
        names, kind = PARAMETERS.get(layer.get("type"), ()), layer.get("type")
        values = _values(layer, shared)
        if not values:
            continue
        name = layer.get("name") if isinstance(layer.get("name"), str) and layer["name"] else str(place)
        if not names:
            notes.append(f"{name}: a layer of type {kind}, its arrays as they are")
            found[name] = {str(i): value for i, value in enumerate(values)}
        elif "moments" in names:
            block = layer.get("block") if isinstance(layer.get("block"), dict) else layer
            found[name] = _norm(*(value.read() for value in values[:3]), _number(block.get("epsilon"), EPSILON))
        else:
            found[name] = {"weight": _kernel(values[0]), **{n: _vector(v) for n, v in zip(names[1:], values[1:])}}
    return found, notes


def _listed(value: Any) -> list:
    """Cells and arrays of structs are lists; one struct stands for a list of one."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


def _values(layer: dict[str, Any], shared: dict[str, Any]) -> list[Any]:
    """The arrays of a layer: its own, or those of `shared` that it names."""
    if shared:
        names = layer.get("params")
        return [shared[name] for name in ([names] if isinstance(names, str) else names or []) if name in shared]
    if isinstance(layer.get("weights"), list):
        return [value for value in layer["weights"] if _size(value)]
    return [layer[name] for name in OLDER if name in layer and _size(layer[name])]


def _size(value: Any) -> int:
    return int(np.prod(value.shape)) if isinstance(value, Entry) else 0


def _number(value: Any, default: float) -> float:
    return float(value.read().ravel()[0]) if _size(value) else default


def _kernel(entry: Entry) -> Entry:
    """(rows, columns, inputs, outputs) -> (outputs, inputs, rows, columns); of a transposed one both swapped."""
    whole = entry.shape + (1,) * (4 - len(entry.shape))  # the axes that MATLAB dropped
    return entry.rearranged((3, 2, 0, 1), whole)


def _vector(entry: Entry) -> Entry:
    return entry.rearranged((0,), (_size(entry),))


def _norm(gamma: np.ndarray, beta: np.ndarray, moments: np.ndarray, epsilon: float) -> dict[str, Entry]:
    """A batch norm for eps=1e-5, nn.BatchNorm2d's: (x - mean) / deviation = (x - mean) / sqrt(variance + eps)."""
    mean, deviation = moments.reshape(len(moments), -1)[:, :2].astype(np.float64).T
    variance = np.maximum(deviation**2 - epsilon, 0)
    scale = np.sqrt(variance + 1e-5) / deviation  # 1, unless epsilon is another one
    kept = {"weight": gamma.ravel() * scale, "bias": beta.ravel(), "running_mean": mean, "running_var": variance}
    return {name: held(value.astype(gamma.dtype)) for name, value in kept.items()}
