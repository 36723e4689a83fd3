"""The sanity check by random parameters: a map that explains a network must change with the network's weights.

Source: Adebayo et al., "Sanity checks for saliency maps", 2018, section 3.1 (cascading randomisation).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from minidl import Tensor, nn, no_grad
from minidl.device import to_device

from ..command import each
from .scores import is_constant, spearman

Maps = Callable[[nn.Module], np.ndarray]  # from a network to the maps (N, H, W) of the images at hand
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def check(
    model: nn.Module, methods: Mapping[str, Maps], images: np.ndarray, rng: np.random.Generator,
    show: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """For each method and layer: the rank correlation of the maps with those after all from this layer up is random.

    The mean over the images whose map is not the same everywhere; nan if all are. A map that has become so is counted
    with 0: it has nothing left of what it was. images: (N, C, H, W), as the model takes them. ``show()`` is called
    after each method and layer.
    """
    before = {name: maps(model) for name, maps in methods.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in methods}
    for layer, broken in cascade(model, images, rng):
        for name, maps in each(methods.items(), show):
            found[name][layer] = similarity(before[name], maps(broken))
    return found


def similarity(before: np.ndarray, after: np.ndarray) -> float:
    """The mean rank correlation of maps (N, H, W): see `check`."""
    varying = [i for i in range(len(before)) if not is_constant(before[i])]
    values = [0.0 if is_constant(after[i]) else spearman(before[i], after[i]) for i in varying]
    return float(np.mean(values)) if values else float("nan")


def layers(model: nn.Module) -> dict[str, list[str]]:
    """The layers with parameters, from the top down: the name of each, and of what is made random with it.

    A batch norm goes with the layer before it. The order is that in which the model made them.
    """
    groups: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if any(module.named_parameters(recurse=False)):
            group = next(reversed(groups), name) if isinstance(module, NORMS) else name
            groups.setdefault(group, []).append(name)
    return dict(reversed(groups.items()))


def cascade(model: nn.Module, images: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, nn.Module]]:
    """Layer by layer from the top: its name, and the network in which it and all above it are random.

    Each parameter is shuffled: weights keep their distribution, on any network. Then the statistics of batch norms are
    measured anew on the images, or activations would be of a size that no training leaves. The model itself stays as
    it is; what is given changes with the next step.
    """
    broken = copy.deepcopy(model).eval()
    modules = dict(broken.named_modules())
    for layer, names in layers(broken).items():
        for name in names:
            shuffle(modules[name], rng)
        recalibrate(broken, images)
        yield layer, broken


def shuffle(module: nn.Module, rng: np.random.Generator) -> None:
    """Put the numbers of each parameter of a module, not of modules in it, into random order."""
    for _, parameter in module.named_parameters(recurse=False):
        flat = parameter.data.reshape(-1)
        order = to_device(rng.permutation(flat.size), parameter.device)
        parameter.data = flat[order].reshape(parameter.shape)


@no_grad()
def recalibrate(model: nn.Module, images: np.ndarray) -> None:
    """Give each batch norm the statistics of its input for these images."""
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.training, norm.momentum = True, 1.0
    if norms:
        model(Tensor(to_device(images, next(model.parameters()).device)))
    for norm, momentum in zip(norms, momenta):
        norm.training, norm.momentum = False, momentum
