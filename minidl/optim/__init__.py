"""Optimisers, gradient clipping and learning-rate schedules.

    optimiser = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.warmup(optim.cosine(0.1, steps=1000), steps=100)
    for step, (x, target) in enumerate(batches):
        optimiser.lr = schedule(step)
        optimiser.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimiser.step()

Keywords, defaults and equations are torch's. An array or a detached tensor that was taken from a parameter before an
update keeps its numbers: only where nobody has taken the array are the new numbers written into it (this saves memory).
"""

from typing import TYPE_CHECKING, Any

from ..core.advice import OPTIMISERS, missing
from ..kernels import attach
from .adaptive import Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop
from .clipping import clip_grad_norm
from .ema import EMA
from .lbfgs import LBFGS
from .optimiser import Optimiser, Rule
from .plateau import ReduceLROnPlateau
from .rules import SGD, Adam, AdamW
from .schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    linear,
    one_cycle,
    polynomial,
    sequence,
    step_decay,
    warm_restarts,
    warmup,
)

attach()  # the kernels of the rules

__all__ = [
    "EMA",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimiser",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rule",
    "Schedule",
    "clip_grad_norm",
    "constant",
    "cosine",
    "exponential",
    "linear",
    "one_cycle",
    "polynomial",
    "sequence",
    "step_decay",
    "warm_restarts",
    "warmup",
]

if not TYPE_CHECKING:  # for a type checker there is no other name

    def __getattr__(name: str) -> Any:
        raise missing("minidl.optim", name, OPTIMISERS)

    def __dir__() -> list[str]:
        return __all__
