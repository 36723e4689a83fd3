"""Modules whose forward runs again in the backward pass, so that less is saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from ..core.checkpoint import checkpoint
from .module import Module


@contextmanager
def recomputed(modules: Iterable[Module]) -> Iterator[None]:
    """Inside the block every call of these modules is a `md.checkpoint`: their inputs are saved, what they compute on
    the way is not. Each must give one Tensor.

        with nn.recomputed(model.blocks):
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
    """
    modules = list(dict.fromkeys(modules))
    for module in modules:
        vars(module)["forward"] = partial(checkpoint, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["forward"]
