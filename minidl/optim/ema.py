"""The moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.context import current
from ..core.tensor import Parameter
from ..device import namespace, to_device
from ..nn.module import Module


class EMA:
    """The exponential moving average of a model's parameters, which often predicts better than the last ones.

    average := decay * average + (1 - decay) * w after each step; at first it is w. Buffers are those of the model.

        ema = optim.EMA(model, decay=0.999)
        for ...:
            optimiser.step()
            ema.update()
        with ema.applied(), model.inference():
            ...                               # the model has the averages for its parameters

    As torch's AveragedModel with get_ema_multi_avg_fn, which holds a second model in place of a block.
    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; Tarvainen and Valpola,
    "Mean teachers are better role models", 2017, eq. 1.
    """

    def __init__(self, model: Module, decay: float = 0.999):
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay must lie between 0 and 1, got {decay}")
        self.model, self.decay = model, decay
        self.averages: dict[Parameter, Any] = {}

    def update(self) -> None:
        """Take the present parameters into the average."""
        now = current()
        if now.trace is not None:
            now.trace.refuse("it updates averages of weights; do so after the step")
        if now.shard is not None:
            return now.shard.once(self.update, "an update of EMA")
        for p in self.model.parameters():
            if p not in self.averages:
                self.averages[p] = copy_as(p, p.data)
            else:
                average = self.averages[p]
                average += (1 - self.decay) * (p.data - average)

    @contextmanager
    def applied(self) -> Iterator[Module]:
        """Inside the block the model's parameters are the averages; after it, also after an error, what they were."""
        weights = [(p, p.data) for p in self.averages]
        try:
            for p, average in self.averages.items():
                p.data = copy_as(p, average)
            yield self.model
        finally:
            for p, data in weights:
                p.data = data

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the averages as NumPy arrays, under the names of their parameters; nothing before `update`."""
        named = [(name, self.averages[p]) for name, p in self.model.named_parameters() if p in self.averages]
        return {name: np.array(to_device(average, "cpu"), order="C") for name, average in named}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, for a model of the same parameters."""
        named = dict(self.model.named_parameters())
        if unknown := sorted(set(state) - set(named)):
            raise ValueError(f"EMA: the model has no parameter {unknown[0]}; the averages are of another model")
        for name, value in state.items():
            if np.shape(value) != named[name].shape:
                raise ValueError(f"EMA: {name} has shape {np.shape(value)}, the parameter {named[name].shape}")
        self.averages = {named[name]: copy_as(named[name], value) for name, value in state.items()}


def copy_as(p: Parameter, array: Any) -> Any:
    """A copy of the array in the dtype, on the device and in the memory layout of p."""
    copy = namespace([p.data]).empty_like(p.data)
    copy[...] = to_device(array, p.device)
    return copy
