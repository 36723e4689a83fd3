"""What `fit` does after each evaluation: stop, keep the best weights, or anything that a user writes.

    def accuracy(step):
        return {"accuracy": (model(x).data.argmax(axis=1) == labels).mean()}

    early = EarlyStopping("accuracy", patience=5, mode="max")
    best = Best("accuracy", mode="max", path="runs/best.npz")
    fit(..., evaluate=accuracy, evaluate_every=100, callbacks=[early, best])
    model.load_state_dict(best.weights)

A callback is called with a `State` and stops training if it gives True. One that has state_dict and load_state_dict
goes into the checkpoint. It belongs to one run: another gets another.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..files.weights import save_weights
from ..nn import Module
from ..ranks.group import Alone
from .log import Record


@dataclass(frozen=True)
class State:
    """Where training stands after an evaluation."""

    step: int  # that is done, counted from 0
    record: Record  # the numbers of that step, those of the evaluation among them, as they are logged
    model: Module  # as it was evaluated: with `ema`, its parameters are the averages
    optimiser: Any = None  # as `fit` was given it
    first: bool = True  # of several ranks, the one that prints and writes


Callback = Callable[[State], bool | None]


class Monitor:
    """The best of a number of the log so far: "min" or "max", by more than `min_delta`. NaN is never better."""

    def __init__(self, monitor: str, mode: str = "min", min_delta: float = 0.0):
        if mode not in ("min", "max") or not min_delta >= 0:
            raise ValueError(
                f'{type(self).__name__}: mode is "min" or "max", min_delta at least 0; got {mode!r} and {min_delta}'
            )
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best = math.inf if mode == "min" else -math.inf
        self.best_step = -1  # none yet

    def improved(self, state: State) -> bool:
        """Take note of another evaluation; whether it is the best one so far."""
        value = monitored(self.monitor, state.record, type(self).__name__)
        better = self.best - value > self.min_delta if self.mode == "min" else value - self.best > self.min_delta
        if better:
            self.best, self.best_step = value, state.step
        return better

    def state_dict(self) -> dict[str, Any]:
        """What changes from evaluation to evaluation."""
        return {"monitor": self.monitor, "best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave. Raises ValueError if it is of another number."""
        if state["monitor"] != self.monitor:
            raise ValueError(f"{type(self).__name__} monitored {state['monitor']!r} there, not {self.monitor!r}")
        self.best, self.best_step = state["best"], state["best_step"]


class EarlyStopping(Monitor):
    """Stops training when `patience` evaluations one after the other have not improved the number called `monitor`.

    monitor: a name in the log, of the evaluation or "loss". mode: whether less is better, "min", or more, "max".
    min_delta: an improvement is more than this. As in Keras; `restore_best_weights` is `Best` here.
    Source: Prechelt, "Early stopping - but when?", 1998, the class UP.
    """

    def __init__(self, monitor: str, patience: int = 10, *, mode: str = "min", min_delta: float = 0.0):
        super().__init__(monitor, mode, min_delta)
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1, got {patience}")
        self.patience, self.step, self.since = patience, -1, 0

    def __call__(self, state: State) -> bool:
        if state.step != self.step:  # a run that was stopped is asked again when it is resumed
            self.step = state.step
            self.since = 0 if self.improved(state) else self.since + 1
        return self.since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "step": self.step, "since": self.since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.step, self.since = state["step"], state["since"]


class Best(Monitor):
    """Keeps the weights that were best by the number called `monitor`: in ``weights``, in the checkpoint, in a file.

        model.load_state_dict(best.weights)

    monitor, mode: as for `EarlyStopping`. path: a file of weights (.npz or .safetensors), written whenever there are
    better ones. ``best`` is the number, ``best_step`` the step, ``record`` all that was logged of it. With `ema` the
    averages are kept.
    """

    def __init__(self, monitor: str, *, mode: str = "min", path: str | os.PathLike[str] | None = None):
        super().__init__(monitor, mode)
        self.path = path
        self.weights: dict[str, np.ndarray] = {}
        self.record: Record = {}
        self.written = -1  # the step of what is in the file: after a resume, it may be of a step that is to come

    def __call__(self, state: State) -> None:
        if self.improved(state):
            self.weights, self.record = state.model.state_dict(), dict(state.record)
        if self.path is not None and state.first and self.written != self.best_step:
            save_weights(self.path, self.weights)
            self.written = self.best_step

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "weights": self.weights, "record": self.record}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.weights, self.record = dict(state["weights"]), dict(state["record"])


def monitored(name: str, record: Record, who: str) -> float:
    """The number of this name. Raises ValueError if the step has none."""
    if name not in record:
        raise ValueError(f"{who} monitors {name!r}, a step has {', '.join(record)}; give monitor=")
    return record[name]


class Callbacks:
    """All callbacks of a run, and whether they have stopped it."""

    def __init__(self, callbacks: Sequence[Callback]):
        self.callbacks = list(callbacks)
        self.stopped = False
        seen: Counter[str] = Counter()
        self.saved: dict[str, Any] = {}  # those that have a state, by name
        for callback in self.callbacks:
            if hasattr(callback, "state_dict"):
                name = type(callback).__name__
                seen[name] += 1
                self.saved[name if seen[name] == 1 else f"{name} {seen[name]}"] = callback

    def __call__(self, state: State, group: Alone) -> bool:
        """Call all; whether one of them, on the first rank, stops training."""
        asked = [bool(callback(state)) for callback in self.callbacks]
        self.stopped = any(asked)
        if group.size > 1 and self.callbacks:
            self.stopped = json.loads(group.text(json.dumps(self.stopped)))
        return self.stopped

    def state_dict(self) -> dict[str, Any]:
        """The states of those that have one."""
        states = {name: callback.state_dict() for name, callback in self.saved.items()}
        return {"stopped": self.stopped, "states": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; a callback that was not there begins."""
        self.stopped = state["stopped"]
        for name in self.saved.keys() & state["states"].keys():
            self.saved[name].load_state_dict(state["states"][name])
