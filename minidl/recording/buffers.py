"""Where the results of a program lie: one piece of memory, in which two may have the same place if they are not needed
at the same time. How large they are, and how long each is needed, is observed when the program first runs.

Results that outlive the program (what it gives, gradients) have memory of their own, which is used again as soon as
nobody else holds it.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..kernels.cpu.memory import give_back, scratch, supply
from .program import Instruction, Program, owner_of, refs
from .replay import compiled

ALIGNED = 64  # bytes: a line of the cache
BYTES = np.empty(0, np.uint8)


@dataclass
class Request:
    """Memory that a kernel has asked for while instruction number `first` ran, needed until `last` has run."""

    shape: tuple[int, ...]
    dtype: np.dtype
    first: int
    last: int
    escapes: bool = False  # does it outlive the program?
    array: Callable[[], np.ndarray | None] | None = None  # a weak reference to what it got

    @property
    def size(self) -> int:
        return -(-math.prod(self.shape) * self.dtype.itemsize // ALIGNED) * ALIGNED


class Buffers:
    """The memory of a program, as its kernels will ask for it, in that order."""

    def __init__(self, requests: list[Request]):
        self.requests = requests
        self.places, self.size = placed(requests)
        self.spare = [Spare(r.array and r.array()) if r.escapes else None for r in requests]
        self.memory: np.ndarray | None = None
        self.views: list[Any] = []

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, kernels get what was planned for them."""
        if self.memory is None:  # what steps that were not planned have left lies in pieces, none large enough
            give_back()
        memory = scratch("planned", (self.size,), BYTES)
        if self.memory is None or memory.base is not self.memory.base:  # another program has needed more
            self.memory = memory
            self.views = [
                spare or memory[place : place + r.size].view(r.dtype)[: math.prod(r.shape)].reshape(r.shape)
                for r, place, spare in zip(self.requests, self.places, self.spare)
            ]
        following = iter(self.views).__next__

        def take(shape: Sequence[int], dtype: Any) -> np.ndarray:
            buffer = following()
            if type(buffer) is Spare:
                return buffer.take(shape, dtype)
            if buffer.shape != tuple(shape):
                raise RuntimeError(f"a kernel asks for memory of shape {shape} where {buffer.shape} was planned")
            return buffer

        supply.take = take
        try:
            yield
        finally:
            supply.take = None


class Spare:
    """An array that is given away, and again once nobody else holds it."""

    def __init__(self, array: np.ndarray | None):
        self.array = array

    def take(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        if self.array is None or sys.getrefcount(self.array) > 2:  # this one, and the argument
            self.array = np.empty(shape, dtype)
        return self.array


def placed(requests: Sequence[Request]) -> tuple[list[int], int]:
    """An offset for each request, and the size of all memory. Large ones choose first, each the lowest place that is
    free for as long as it is needed."""
    places, done = [0] * len(requests), []
    for i in sorted(range(len(requests)), key=lambda i: -requests[i].size):
        request = requests[i]
        if request.escapes:
            continue
        start = 0
        for j in sorted((j for j in done if overlap(requests[j], request)), key=places.__getitem__):
            if start + request.size <= places[j]:
                break
            start = max(start, places[j] + requests[j].size)
        places[i] = start
        done.append(i)
    return places, max((places[i] + requests[i].size for i in done), default=0)


def overlap(a: Request, b: Request) -> bool:
    return a.first <= b.last and b.first <= a.last


def observed(program: Program, arguments: Sequence[np.ndarray]) -> tuple[Any, Buffers]:
    """Run the program; what it gives, and the memory that it will need."""
    requests: list[Request] = []
    owners: dict[int, tuple[Callable, int]] = {}  # id of an array that was asked for -> (weak reference, its request)
    request_of: dict[int, int] = {}  # value -> request
    now = 0

    def take(shape: Sequence[int], dtype: Any) -> np.ndarray:
        array = np.empty(shape, dtype)
        owners[id(array)] = weakref.ref(array), len(requests)
        requests.append(Request(array.shape, array.dtype, now, now, array=weakref.ref(array)))
        return array

    def note(number: int, array: np.ndarray) -> None:
        array = owner_of(array)
        found = owners.get(id(array))
        if found is not None and found[0]() is array:
            request_of[number] = found[1]

    def watched(i: int, instruction: Instruction) -> Instruction:
        def run(*inputs: Any, **parameters: Any) -> Any:
            nonlocal now
            now = i
            y = instruction.run(*inputs, **parameters)
            for ref, array in zip(refs(instruction.output), arrays_in(y)):
                note(ref.number, array)
            return y

        return instruction if instruction.is_load else replace(instruction, run=run)

    watched_program = program.changed([watched(i, ins) for i, ins in enumerate(program.instructions)])
    supply.take = take
    try:
        result = compiled(watched_program)(*arguments)
    finally:
        supply.take = None
    for i, instruction in enumerate(program.instructions):
        for number in instruction.reads():
            if number in request_of:
                request = requests[request_of[number]]
                request.last = i
                request.escapes |= instruction.retains
    for number in program.kept():
        if number in request_of:
            requests[request_of[number]].escapes = True
    return result, Buffers(requests)


def arrays_in(structure: Any) -> Iterator[np.ndarray]:
    if isinstance(structure, (tuple, list)):
        for part in structure:
            yield from arrays_in(part)
    elif isinstance(structure, np.ndarray):
        yield structure
