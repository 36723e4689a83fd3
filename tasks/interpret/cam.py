"""Saliency by the maps of a late layer: CAM, Grad-CAM, and Grad-CAM times guided backpropagation.

With maps A_k of Z cells each, a mean over the cells and a linear layer, the score is ``sum over k of w_k mean(A_k)``,
and its gradient with respect to every cell is w_k / Z. So where CAM applies, Grad-CAM = relu(CAM) / Z, for the score
before softmax.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import minidl as md
from minidl import Tensor, nn
from minidl import functional as F

from . import layers
from .gradients import largest
from .layers import Progress
from .maps import Map
from .targets import Target, rows, scores


class Head(NamedTuple):
    """The end of a network that CAM applies to."""

    maps: Tensor  # (N, K, h, w), what is averaged
    means: Tensor  # (N, K), what the linear layer reads


def find_head(output: Tensor) -> Head:
    """The global average pooling and the linear layer that the output comes from, by the graph: modules or functions.

    The graph is one of `layers.observed`, where weights are constants. Raises ValueError, with what is there instead.
    """
    x = _only_input(output) if _name(output) == "add" else output  # the bias
    if _name(x) != "matmul" or x.ndim != 2:
        raise _no_head(f"the last operation is {_described(x)}, not a linear layer")
    x = means = _only_input(x)
    while _name(x) in ("reshape", "identity", "astype"):  # Flatten
        x = _only_input(x)
    maps = _averaged(x)
    if maps is None or maps.shape[:2] != means.shape:
        raise _no_head(f"the linear layer reads what {_described(x)} gives, not the means of maps")
    return Head(maps, means)


def _averaged(x: Tensor | None) -> Tensor | None:
    """The maps (N, K, h, w) that x has the means of; None if it is something else."""
    if _name(x) != "divide":
        return None
    total, count = x.node.inputs
    maps = _only_input(total) if _name(total) in ("sum", "window_sum") else None
    whole = maps is not None and maps.ndim == 4 and total.size == maps.shape[0] * maps.shape[1]
    return maps if whole and not isinstance(count, Tensor) and count == maps.shape[2] * maps.shape[3] else None


def _no_head(found: str) -> ValueError:
    return ValueError(
        f"CAM needs a global average pooling and one linear layer at the end, so that the score is a sum over places; "
        f"here {found}: use Grad-CAM"
    )


def _name(x: Any) -> str:
    """Of the operation that gave x, a Tensor or another output of a network; None stands for several."""
    if x is None:
        return "one of several inputs"
    if not isinstance(x, Tensor):
        return f"one that gives a {type(x).__name__}"
    return getattr(getattr(x.node, "primitive", None), "name", "none")


def _described(x: Any) -> str:
    """The operation that gave x: its name and formula."""
    primitive = getattr(getattr(x, "node", None), "primitive", None)
    return _name(x) if primitive is None else f"{primitive.name} ({primitive.formula})"


def _only_input(x: Tensor) -> Tensor | None:
    """The one input of x's operation that depends on the images; None if there are more."""
    varying = [i for i in x.node.inputs if isinstance(i, Tensor) and i.node is not None]
    return varying[0] if len(varying) == 1 else None


def upsampled(coarse: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Maps (N, h, w) at another size, bilinear."""
    return F.interpolate(Tensor(coarse[:, None]), size=size, mode="linear").numpy()[:, 0]


def cam(
    model: nn.Module, images: Any, target: Target, *, layer: Any = None, rng: Any = None,
    progress: Progress | None = None, batch_size: int = 16,
) -> Map:  # fmt: skip
    """``sum over k of w[k] A[k]``, signed, brought to the size of the image (bilinear; `coarse` is as it was).

    A are the maps that the global average pooling at the end averages, w the weights that the linear layer behind it
    gives them in the score. Raises ValueError for a network that does not end so. The bias belongs to no place.
    Source: Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, eq. 2.
    """
    images = layers.require_images(images)
    score, coarse = [], []
    with layers.observed(model):
        for batch in layers.batches(len(images), batch_size, progress):
            output = layers.run(model, images[batch], requires_grad=True)
            head, found = find_head(output), scores(rows(target, batch, len(images)), output, len(batch))
            maps = head.maps.numpy()
            (weights,) = md.grad(found.sum(), [head.means])  # (N, K)
            score.append(found.numpy())
            coarse.append(np.einsum("nk,nkhw->nhw", weights.numpy(), maps))
    return _map("cam", True, images, score, coarse)


def grad_cam(
    model: nn.Module, images: Any, target: Target, *, layer: str | None = None, rng: Any = None,
    progress: Progress | None = None, batch_size: int = 16,
) -> Map:  # fmt: skip
    """``relu(sum over k of a[k] A[k])`` with ``a[k] = mean over places of d score / d A[k]``, brought to the size of
    the image (bilinear; `coarse` is as it was). Of the score before softmax.

    layer: whose maps are A; by default `layers.default_layer`. Nothing below the layer is kept for the backward pass.
    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks", ICCV 2017, eq. 1 and 2.
    """
    images = layers.require_images(images)
    layer, score, coarse = layer or layers.default_layer(model, images), [], []
    with layers.observed(model):
        for batch in layers.batches(len(images), batch_size, progress):
            recorded = layers.record_above(model, images[batch], rows(target, batch, len(images)), layer)
            maps = recorded.maps.numpy()
            score.append(recorded.score.numpy())
            coarse.append(combined(maps, layers.gradient(recorded, recorded.maps)))
    return _map("grad_cam", False, images, score, coarse)


def combined(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Grad-CAM of maps and their gradient, (N, K, h, w) each: (N, h, w)."""
    return np.maximum(np.einsum("nk,nkhw->nhw", gradient.mean(axis=(2, 3)), maps), 0)


def guided_grad_cam(
    model: nn.Module, images: Any, target: Target, *, layer: str | None = None, rng: Any = None,
    progress: Progress | None = None, batch_size: int = 16,
) -> Map:  # fmt: skip
    """Guided backpropagation times Grad-CAM at the size of the image: `full`, signed; then the largest absolute value
    of the channels. One forward pass serves both. Source: Selvaraju et al., section 3.2.
    """
    images = layers.require_images(images)
    layer, score, coarse, guided = layer or layers.default_layer(model, images), [], [], []
    with layers.observed(model):
        for batch in layers.batches(len(images), batch_size, progress):
            recorded = layers.record(model, images[batch], rows(target, batch, len(images)), layer)
            layers.require_relu(recorded.score, "guided_grad_cam")
            maps = recorded.maps.numpy()
            score.append(recorded.score.numpy())
            coarse.append(combined(maps, layers.gradient(recorded, recorded.maps, retain_graph=True)))
            with md.relu_rule("guided"):
                guided.append(layers.gradient(recorded, recorded.images))
    places = _map("guided_grad_cam", False, images, score, coarse)
    full = np.concatenate(guided) * places.values[:, None]
    return replace(places, values=largest(full), full=full)


def _map(name: str, signed: bool, images: np.ndarray, score: list, coarse: list) -> Map:
    """The map out of what the batches gave."""
    small = np.concatenate(coarse)
    return Map(name, upsampled(small, images.shape[2:]), signed, np.concatenate(score), coarse=small)
