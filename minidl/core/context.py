"""The switches that a `with` block turns: recording, definitions, anomaly, drawing. One set per thread."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator


class Mode(threading.local):
    recording = True  # does an operation remember its inputs?
    definitions = False  # do fused primitives run as the compositions that define them?
    anomaly = False  # does the first NaN or infinity stop the program?
    drawing = True  # are the first weights of layers drawn, or left at 0?
    passive = False  # neither recording nor anomaly: an operation is its array function, and no more


mode = Mode()


class switch(ContextDecorator):
    """Set one field of `mode` inside a `with` block or a decorated function, and put it back after."""

    def __init__(self, field: str, value: bool):
        self.field, self.value, self.before = field, value, []

    def __enter__(self) -> None:
        self.before.append(getattr(mode, self.field))
        self._set(self.value)

    def __exit__(self, *error: object) -> None:
        self._set(self.before.pop())

    def _set(self, value: bool) -> None:
        setattr(mode, self.field, value)
        mode.passive = not (mode.recording or mode.anomaly)


def no_grad() -> switch:
    """Inside, operations do not remember their inputs: results never require a gradient."""
    return switch("recording", False)


def enable_grad() -> switch:
    """Inside, operations remember their inputs again."""
    return switch("recording", True)


def definitions() -> switch:
    """Inside, each fused primitive runs as the composition of primitives that defines it.

    Batch normalisation is then about fifteen nodes in the graph rather than one.
    """
    return switch("definitions", True)


def anomaly() -> switch:
    """Inside, the first operation or rule that makes a NaN or an infinity out of finite numbers raises
    AnomalyError with its name and the line that called it. Costs one pass over each result."""
    return switch("anomaly", True)
