"""What `with` blocks set: one immutable Context at a time, each thread's own (PEP 567)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Context:
    recording: bool = True  # does an operation remember its inputs?
    definitions: bool = False  # do fused primitives run as the compositions that define them?
    kernels: bool = True  # do array functions run as kernels, where there are some for the device?
    anomaly: bool = False  # does the first NaN or infinity raise?
    drawing: bool = True  # are initial weights drawn, or left at 0?
    algorithm: str | None = None  # the algorithm that convolutions are to take: see minidl.kernels.algorithm
    watchers: tuple[Callable, ...] = ()  # called after every forward of every module: see minidl.nn.watch
    overrides: Mapping[Any, Mapping[str, Callable]] = field(default_factory=dict)  # primitive -> argument -> rule
    drawn: tuple[dict, ...] = ()  # where checkpoints note the states of generators that are drawn from
    repeating: bool = False  # does a checkpoint run its function for the second time?
    shard: Any = None  # the part of a batch that this thread works on, if it meets others: see minidl.ranks.lockstep
    trace: Any = None  # what notes every call of an array function: see minidl.recording
    watched: bool = field(init=False)  # does somebody look at each operation?
    passive: bool = field(init=False)  # nobody does, and none is remembered: it is its array function, no more

    def __post_init__(self) -> None:
        object.__setattr__(self, "watched", self.anomaly or self.trace is not None)
        object.__setattr__(self, "passive", not (self.recording or self.watched))


_variable: ContextVar[Context] = ContextVar("minidl", default=Context())  # noqa: B039 (it is frozen)
current = _variable.get  # the Context in force


class setting(ContextDecorator):
    """Set fields of the context inside a `with` block or a decorated function, and restore them after."""

    def __init__(self, **fields: Any):
        self.fields = fields
        self.tokens: list[Token] = []  # a block may be entered again inside itself

    def _recreate_cm(self) -> setting:  # a decorated function may run in several threads
        return setting(**self.fields)

    def __enter__(self) -> None:
        self.tokens.append(_variable.set(replace(current(), **self.fields)))

    def __exit__(self, *error: object) -> None:
        _variable.reset(self.tokens.pop())


def no_grad() -> setting:
    """Inside, operations do not remember their inputs: results never require a gradient.

        >>> w = md.tensor(1.0, requires_grad=True)
        >>> with md.no_grad():
        ...     y = 2 * w
        >>> y.requires_grad
        False
    """
    return setting(recording=False)


def enable_grad() -> setting:
    """Inside, operations remember their inputs again."""
    return setting(recording=True)


def definitions() -> setting:
    """Inside, each fused primitive runs as the composition of primitives that defines it.

    Batch normalisation is then about fifteen nodes in the graph rather than one.
    """
    return setting(definitions=True, kernels=False)


def anomaly() -> setting:
    """Inside, the first operation or rule that makes a NaN or an infinity out of finite numbers raises
    AnomalyError with its name and the line that called it. Costs one pass over each result."""
    return setting(anomaly=True)
