"""torch.optim.swa_utils: averages of a model's weights, over steps or exponentially."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

from ...core.context import no_grad
from ..creation import tensor
from ..nn.module import Module
from ..tensor import Tensor
from .lr_scheduler import LRScheduler


def get_swa_avg_fn() -> Callable:
    """The mean of all states so far."""
    return lambda average, new, n: average + (new - average) / (n + 1)


def get_ema_avg_fn(decay: float = 0.999) -> Callable:
    """decay times the average, and the rest of the new state."""
    if not 0 <= decay <= 1:
        raise ValueError(f"Invalid decay value {decay}: it must be between 0 and 1")
    return lambda average, new, n: decay * average + (1 - decay) * new


def _of_lists(function: Callable) -> Callable:
    def on_lists(averages: Iterable[Tensor], news: Iterable[Tensor], n: Any) -> None:
        with no_grad():
            for average, new in zip(averages, news):
                average.copy_(function(average, new, n))

    return on_lists


def get_swa_multi_avg_fn() -> Callable:
    return _of_lists(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    return _of_lists(get_ema_avg_fn(decay))


class AveragedModel(Module):
    """A copy of a model, `module`, whose parameters are averages of the model's."""

    def __init__(
        self, model: Module, device: Any = None, avg_fn: Callable | None = None, multi_avg_fn: Callable | None = None,
        use_buffers: bool = False,
    ):  # fmt: skip
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(0))
        self.average = multi_avg_fn or _of_lists(avg_fn or get_swa_avg_fn())
        self.use_buffers = use_buffers

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.module(*inputs, **options)

    def update_parameters(self, model: Module) -> None:
        """Take in the state of the model: buffers are averaged with `use_buffers`, else copied."""
        pairs = list(zip(self.module.parameters(), model.parameters()))
        buffers = list(zip(self.module.buffers(), model.buffers()))
        real = [(a, b) for a, b in buffers if a.is_floating_point()] if self.use_buffers else []
        n = int(self.n_averaged)
        with no_grad():
            if n:
                self.average(*zip(*[(a.detach(), b.detach()) for a, b in pairs + real]), n)
            for a, b in [*([] if n else pairs), *(buffers if not (self.use_buffers and n) else [])]:
                a.detach().copy_(b.detach())
        self.n_averaged += 1


class SWALR(LRScheduler):
    """From the rate it finds to `swa_lr`, in `anneal_epochs` steps."""

    def __init__(
        self, optimizer: Any, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1
    ):
        rates = swa_lr if isinstance(swa_lr, list | tuple) else [swa_lr] * len(optimizer.param_groups)
        for group, rate in zip(optimizer.param_groups, rates):
            group["swa_lr"] = rate
        self.anneal_epochs, self.cosine = anneal_epochs, anneal_strategy == "cos"
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self.cosine else t

    def get_lr(self) -> list[float]:
        before, now = (self._share(self.last_epoch - i) for i in (1, 0))
        found = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            first = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            found.append(end * now + first * (1 - now))
        return found


def update_bn(loader: Iterable, model: Module, device: Any = None) -> None:
    """The running statistics of batch norm anew, as means over all batches."""
    norms = [m for m in model.modules() if "running_mean" in m.buffer_names]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    training = model.training
    model.train()
    for batch in loader:
        model(batch[0] if isinstance(batch, list | tuple) else batch)
    for m, momentum in zip(norms, momenta):
        m.momentum = momentum
    model.train(training)


__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip
