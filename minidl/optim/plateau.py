"""ReduceLROnPlateau: the one schedule that looks at how training goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.context import current
from .optimiser import Optimiser


class ReduceLROnPlateau:
    """Multiply the rates of an optimiser by `factor` when a metric has not improved for more than `patience` epochs.

    ``scheduler.step(metric)`` is called after each epoch, or given to `fit` as its schedule: it then takes the number
    called `monitor` from each evaluation. The metric improves if it is below ``best * (1 - threshold)``, or with
    ``threshold_mode="abs"`` below ``best - threshold``; mode "max" turns all signs. After a reduction `cooldown`
    epochs do not count. No rate falls below `min_lr` (one number, or one per group), nor by less than `eps`.
    Arguments are torch's.
    """

    def __init__(
        self, optimizer: Optimiser, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8, *,
        monitor: str = "loss",
    ):  # fmt: skip
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f'ReduceLROnPlateau: mode is "min" or "max", threshold_mode "rel" or "abs", '
                f"got {mode!r} and {threshold_mode!r}"
            )
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"ReduceLROnPlateau: {len(self.min_lrs)} numbers min_lr for {groups} groups")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.monitor = monitor
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metric: float) -> None:
        """Take note of the metric of another epoch."""
        if (trace := current().trace) is not None:
            trace.refuse("a schedule looks at a metric; let it do so after the step")
        metric = float(metric)
        if self.is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def is_better(self, metric: float) -> bool:
        """Has the metric improved on the best so far?"""
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * metric < sign * self.best - self.threshold
        return sign * metric < sign * self.best * (1 - sign * self.threshold)

    def state_dict(self) -> dict[str, Any]:
        """What changes from step to step, the rates of the groups among it."""
        state = {name: getattr(self, name) for name in ("best", "num_bad_epochs", "cooldown_counter")}
        return {**state, "lr": [group["lr"] for group in self.optimizer.param_groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, for an optimiser of as many groups."""
        if len(state["lr"]) != len(self.optimizer.param_groups):
            raise ValueError(f"ReduceLROnPlateau: the state has {len(state['lr'])} groups, not as the optimiser")
        for group, lr in zip(self.optimizer.param_groups, state["lr"], strict=True):
            group["lr"] = lr
        self.best, self.num_bad_epochs = state["best"], state["num_bad_epochs"]
        self.cooldown_counter = state["cooldown_counter"]
