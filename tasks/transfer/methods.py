"""What transfer learning is made of: another head, freezing the rest, features that are computed once, training.

    model = pretrained.load("resnet18", "resnet18.pth")
    replace_head(model, classes=3, rng=0)
    freeze(model)                                  # all but the head
    x = features(model, images)                    # once: they do not change any more
    learn(layer(model), order, 1e-2, steps=200)    # frozen features: the head alone, on (x, labels)
    thaw(model)
    learn(model, batches, 1e-4, steps=200)         # fine-tuning: all layers, on (images, labels)

Source: Donahue et al., "DeCAF", ICML 2014 (frozen); Yosinski et al., "How transferable are features in deep neural
networks?", NIPS 2014 (against fine-tuning); Kumar et al., "Fine-tuning can distort pretrained features and underperform
out-of-distribution", ICLR 2022 (first the head, then all layers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import data, nn, optim
from minidl.train import fit

from ..classify.evaluate import outputs
from ..classify.train import terms

METHODS = {"scratch": "from scratch", "frozen": "frozen features", "finetune": "fine-tuned"}


def head(model: nn.Module) -> tuple[nn.Module, str]:
    """Where the last layer of a network of tasks.models is: the module that has it, and its name there.

    Raises ValueError for a SqueezeNet, which has no linear layer.
    """
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} ends in a convolution, not in a linear layer: choose another network")
    owner, _, name = linear[-1].rpartition(".")
    return dict(model.named_modules())[owner], name


def layer(model: nn.Module) -> nn.Linear:
    """The head itself."""
    return getattr(*head(model))


def replace_head(model: nn.Module, classes: int, rng: Any) -> None:
    """Put a new linear layer, for other classes, in the place of the head. `rng` decides its first weights."""
    owner, name = head(model)
    setattr(owner, name, nn.Linear(layer(model).in_features, classes, rng=rng))


def freeze(model: nn.Module) -> None:
    """Let nothing but the head be trained.

    That takes two things: no gradients, and eval mode. Batch norm in training mode would normalise by the batch and
    move its running averages, which are no parameters and know nothing of requires_grad; dropout would drop. A later
    ``model.train()`` undoes the second: train the head alone, ``layer(model)``, or call ``freeze`` once more.
    """
    model.requires_grad_(False).eval()
    layer(model).requires_grad_(True).train()


def thaw(model: nn.Module) -> None:
    """Let all layers be trained again, batch norm's averages among them."""
    model.requires_grad_(True).train()


def features(model: nn.Module, images: np.ndarray, batch: int = 64, **how: Any) -> np.ndarray:
    """What a frozen model's head is given for each picture: uint8 (N, C, H, W) gives float (N, features).

    `how`: see `classify.evaluate.outputs`.
    """
    owner, name = head(model)
    kept = getattr(owner, name)
    setattr(owner, name, nn.Identity())
    try:
        return np.concatenate([y.numpy() for y in outputs(model, images, batch, **how)])
    finally:
        setattr(owner, name, kept)


class FeatureBatches:
    """As `classify.data.PictureBatches`, in the same order, over features that are there already."""

    def __init__(self, x: np.ndarray, labels: np.ndarray, batch: int, *, seed: int):
        self.x, self.labels = x, labels
        self.order = data.Batches(len(labels), min(batch, len(labels)), seed=seed, drop_last=True)

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order(step)
        return self.x[chosen], self.labels[chosen]


def learn(module: nn.Module, batches: Callable, lr: float, steps: int, *, device: str = "cpu", **options: Any) -> None:
    """Train what requires a gradient by Adam, the learning rate half a cosine down to 0; `options` are those of fit."""
    fit(
        module,
        optim.Adam([p for p in module.parameters() if p.requires_grad], lr),
        lambda module, batch: terms(module, *batch, device),
        batches,
        steps,
        schedule=optim.cosine(lr, steps),
        record=True,
        **options,
    )
