"""A network that is looked at: its layers, what they give, the score of an image with its graph. It is left as it was.

Layers are named by the path to the module, "features.29" or "layer4"; a module that runs several times counts with its
last run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import minidl as md
from minidl import Tensor, nn
from minidl.core.tensor import Node
from minidl.device import to_device

from ..command import suggestion
from .targets import Target, scores

Progress = Callable[[int, int], None]  # called with the images that went through the network so far, and in all
POOLS = nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.GlobalAvgPool


class Recorded(NamedTuple):
    """One forward pass of N images, and the graph behind its score."""

    images: Tensor  # (N, C, H, W)
    score: Tensor  # (N,)
    maps: Tensor | None  # (N, K, h, w), what the layer gave that was asked for


class ByValues(nn.Module):
    """A network whose layers are no modules, such as a graph from a file: it gives any of its values by name."""

    def with_value(self, x: Tensor, name: str) -> tuple[Any, Tensor]:
        """The output, and the value of this name, on one graph. Raises ValueError if there is none."""
        raise NotImplementedError(f"{type(self).__name__} defines no with_value(self, x, name)")

    def last_maps(self, images: np.ndarray) -> str:
        """What the last convolution gives whose maps have an extent. Raises ValueError if there is none."""
        raise NotImplementedError(f"{type(self).__name__} defines no last_maps(self, images)")


@contextmanager
def observed(model: nn.Module) -> Iterator[None]:
    """Inside the block the model is in eval mode and its parameters are constants; after it all is as before.

    Constants keep no graph below what is differentiated; their ``.grad`` stays where it is.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a network, an nn.Module, is needed; got {type(model).__name__}")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad = False
        with model.inference(), md.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True


def require_images(images: Any) -> np.ndarray:
    """The images as an array (N, C, H, W) of float32 or float64. Raises ValueError for anything else."""
    images = images.numpy() if isinstance(images, Tensor) else np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise ValueError(f"images must be (N, C, H, W) with at least one entry, got shape {images.shape}")
    if images.dtype not in (np.float32, np.float64):
        raise ValueError(f"images must be float32 or float64, scaled as the network knows them; got {images.dtype}")
    return images


def batches(count: int, size: int, progress: Progress | None = None) -> Iterator[np.ndarray]:
    """The positions 0 to count - 1 in runs of `size`; progress is reported after each."""
    if size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {size}")
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield np.arange(start, stop)
        if progress is not None:
            progress(stop, count)


# --- layers


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The module of this path. Raises ValueError, with a name that is close, if there is none."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if layer not in modules or not layer:
        names = [name for name in modules if name]
        hint = suggestion(layer, names) or f"; there is {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        raise ValueError(f"{layer!r} is not a layer of this {type(model).__name__}{hint}")
    return modules[layer]


def default_layer(model: nn.Module, images: Any) -> str:
    """The last layer whose maps have an extent (h w > 1), pooling aside, and that another layer with weights still
    reads: relu 5_3 of VGG, the last stage of a ResNet. Found from a run on the first image.

    Raises ValueError if there is none.
    """
    if isinstance(model, ByValues):
        return model.last_maps(require_images(images)[:1])
    names = {module: name for name, module in model.named_modules()}
    pooled, last, found = None, "", ""

    def see(module: nn.Module, inputs: tuple, output: Any) -> None:
        nonlocal pooled, last, found
        if any(p.ndim > 1 for p in module.parameters(recurse=False)):
            found = last
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            return
        if isinstance(module, POOLS) or output is pooled:  # a container gives what the pooling at its end gives
            pooled = output
        else:
            last = names.get(module, "")

    with observed(model), md.no_grad(), nn.watch(see):
        run(model, require_images(images)[:1])
    if not found:
        raise ValueError(f"{type(model).__name__} has no layer with maps before its last weights; name one by layer=")
    return found


def activations(model: nn.Module, images: Any, layers: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """What layers give for these images, by name in the order in which they first run; (N, K, h, w) for maps.

    layers: None means all whose output is one Tensor, containers included. All of it is held at once: few images.
    """
    if isinstance(model, ByValues) and layers is not None:
        with observed(model), md.no_grad():
            x = placed(model, require_images(images))
            return {name: model.with_value(x, name)[1].numpy() for name in layers}
    wanted = dict(model.named_modules()) if layers is None else {name: find_layer(model, name) for name in layers}
    names = {module: name for name, module in wanted.items() if name}
    found: dict[str, np.ndarray] = {}

    def see(module: nn.Module, inputs: tuple, output: Any) -> None:
        if module in names and isinstance(output, Tensor):
            found[names[module]] = output.numpy()

    with observed(model), md.no_grad(), nn.watch(see):
        run(model, require_images(images))
    for name in layers or ():
        if name not in found:
            raise _not_run(name)
    return found


def _not_run(layer: str) -> ValueError:
    return ValueError(f"layer {layer!r} gave no tensor in this run: the network does not call it; name another")


# --- runs


def run(model: nn.Module, images: np.ndarray, requires_grad: bool = False) -> Any:
    """The output for these images."""
    return model(placed(model, images, requires_grad))


def placed(model: nn.Module, images: np.ndarray, requires_grad: bool = False) -> Tensor:
    """The images as a Tensor on the model's device."""
    device = next((p.device for p in model.parameters()), "cpu")
    return Tensor(to_device(images, device), requires_grad)


def score(model: nn.Module, images: np.ndarray, target: Target) -> np.ndarray:
    """The target's number for each image, without a graph: (N,)."""
    with md.no_grad():
        return scores(target, run(model, images), len(images)).numpy()


def record(model: nn.Module, images: np.ndarray, target: Target, layer: str | None = None) -> Recorded:
    """A forward pass whose graph goes from the images to the score; the maps of a layer, if named, lie on it.

    To be called inside `observed`.
    """
    x = placed(model, images, True)
    output, maps = with_maps(model, x, layer)
    found = scores(target, output, len(images))
    if found.node is None:
        raise ValueError("the score does not depend on the images: the target, or the network, cuts the graph")
    return Recorded(x, found, maps)


def record_above(model: nn.Module, images: np.ndarray, target: Target, layer: str) -> Recorded:
    """As `record`, but the graph begins at the maps of the layer: nothing below it is kept."""
    x = placed(model, images)
    output, maps = with_maps(model, x, layer)
    return Recorded(x, scores(target, output, len(images)), maps)


def with_maps(model: nn.Module, x: Tensor, layer: str | None) -> tuple[Any, Tensor | None]:
    """The output, and the maps of the layer's last run, which a gradient may be asked of; None without a layer."""
    if layer is None:
        return model(x), None
    if isinstance(model, ByValues):  # the whole graph is kept: it has no place to begin in the middle
        output, maps = model.with_value(x if x.requires_grad else Tensor(x.data, requires_grad=True), layer)
        return output, _require_maps(layer, maps)
    module, maps = find_layer(model, layer), None

    def see(seen: nn.Module, inputs: tuple, output: Any) -> None:
        nonlocal maps
        if seen is module:
            maps = _require_maps(layer, output)
            maps.requires_grad = True  # a new leaf, unless the images are on the graph already

    with nn.watch(see):
        output = model(x)
    if maps is None:
        raise _not_run(layer)
    return output, maps


def _require_maps(layer: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 4:
        got = output.shape if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"layer {layer!r} gives {got}: maps (N, K, h, w) are needed; name another layer")
    return output


def gradient(recorded: Recorded, wrt: Tensor, retain_graph: bool = False) -> np.ndarray:
    """d(score of each image) / d(wrt), whose rows are the images'. Raises ValueError if the score is independent."""
    (found,) = (
        md.grad(recorded.score.sum(), [wrt], retain_graph=retain_graph, allow_unused=True)
        if recorded.score.node is not None
        else (None,)
    )
    if found is None:
        raise ValueError("the score does not depend on what its gradient is asked for; name another layer or target")
    return found.numpy()


# --- the graph


def nodes(output: Any) -> Iterator[Node]:
    """Every operation between the leaves and the output, a Tensor or a tuple, list or dictionary of them."""
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else [output]
    stack, seen = list(parts), set()
    while stack:
        node = getattr(stack.pop(), "node", None)
        if node is not None and node.primitive is not None and node not in seen:
            seen.add(node)
            yield node
            stack += node.inputs


def require_relu(output: Any, method: str) -> None:
    """Raises ValueError unless a ReLU lies on the graph: called by whatever name, or within a batch norm."""
    names = set()
    for node in nodes(output):
        if node.primitive.name == "relu" or node.parameters.get("relu"):
            return
        names.add(node.primitive.name)
    raise ValueError(
        f"{method} changes the rule of ReLUs, and there is none between the images and the score (there is "
        f"{', '.join(sorted(names))}); it would be the gradient: use that"
    )


def maps_of(model: nn.Module, images: Any, layer: str) -> np.ndarray:
    """The maps (N, K, h, w) that one layer gives. Raises ValueError if it gives none."""
    found = activations(model, images, [layer])[layer]
    if found.ndim != 4:
        raise ValueError(f"{layer} gives numbers of shape {found.shape}, not maps; name another layer")
    return found
