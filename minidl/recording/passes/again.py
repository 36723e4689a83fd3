"""What is cheap is computed again for the backward pass, rather than held from the forward pass: rematerialisation.

Chen et al., "Training deep nets with sublinear memory cost", 2016, section 3; there whole layers are computed again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..program import Instruction, Program, Ref, mapped
from .match import Matcher

CHEAP = ("batch_norm", "relu", "add", "concat")  # one pass over memory
LEAST = 1 << 16  # bytes: less is not worth an instruction


def compute_again(program: Program) -> Program:
    """Where a step needs most memory, results of cheap operations that are waiting for the backward pass go, if what
    they are computed from is there when they are next read: they are computed again. Repeated while that helps.

    A training step takes a few percent more time, and much less memory once it is recorded; while it is recorded it
    takes as much as ever. ``md.record(step, passes=[*PASSES, compute_again])``
    """
    while (shorter := _without_one(program)) is not None:
        program = shorter
    return program


class Lives:
    """When each piece of memory is in use: from the first to the last instruction that names it."""

    def __init__(self, program: Program):
        self.program = program
        self.at: dict[int, list[int]] = {}  # storage -> the instructions that write or read it, in order
        for i, instruction in enumerate(program.instructions):
            for number in (*instruction.writes(), *instruction.reads()):
                self.at.setdefault(self.storage(number), []).append(i)
        for number in program.kept():
            self.at.setdefault(self.storage(number), []).append(len(program.instructions))
        self.sizes = {self.storage(n): _size(program, n) for n in self._made()}

    def storage(self, number: int) -> int:
        return self.program.values[number].storage

    def _made(self) -> Iterable[int]:
        """The values that instructions compute; others are there anyway."""
        return (n for ins in self.program.instructions if not ins.is_load for n in ins.writes())

    def most(self) -> tuple[int, int]:
        """(the instruction at which most is in use, how many bytes)"""
        change = np.zeros(len(self.program.instructions) + 2, np.int64)
        for storage, size in self.sizes.items():
            change[self.at[storage][0]] += size
            change[self.at[storage][-1] + 1] -= size
        used = np.cumsum(change)
        return int(used.argmax()), int(used.max())


def _size(program: Program, number: int) -> int:
    value = program.values[number]
    return math.prod(value.shape) * value.dtype.itemsize


def _without_one(program: Program) -> Program | None:
    """The program with the best of those results computed again; None if there is none."""
    lives = Lives(program)
    moment, most = lives.most()
    sharing = [lives.storage(n) for n in lives._made()]
    found = []
    for i, instruction in enumerate(program.instructions):
        if instruction.name not in CHEAP or type(instruction.output) is not Ref:
            continue
        storage = lives.storage(instruction.output.number)
        read = lives.at[storage]
        k = bisect_left(read, moment)
        waiting = 0 < k < len(read) and read[k] > moment
        large = lives.sizes[storage] >= LEAST and sharing.count(storage) == 1
        if waiting and large and _can_be_repeated(lives, instruction, i, read[k]):
            found.append((lives.sizes[storage], i, read[k]))
    for _, i, again in sorted(found, reverse=True):
        shorter = _repeated(program, i, again)
        if Lives(shorter).most()[1] < most:
            return shorter
    return None


def _can_be_repeated(lives: Lives, instruction: Instruction, first: int, again: int) -> bool:
    """Is all that it reads still there, and as it was?"""
    read = {lives.storage(n) for n in instruction.reads()}
    loads = {lives.storage(n) for ins in lives.program.instructions if ins.is_load for n in ins.writes()}
    if any(lives.at[s][-1] < again and s not in loads for s in read):
        return False
    between = (ins for ins in lives.program.instructions[first:again] if ins.effect)
    return not any(ins.retains or not read.isdisjoint(map(lives.storage, ins.reads())) for ins in between)


def _repeated(program: Program, i: int, again: int) -> Program:
    """The program in which instructions from number `again` on read another result of instruction i."""
    matcher, instruction = Matcher(program), program.instructions[i]
    old = program.values[instruction.output.number]
    new = matcher.new_value(old.shape, old.dtype)
    matcher.values[new.number] = replace(matcher.values[new.number], strides=old.strides)

    def renamed(x: object) -> object:
        return new if type(x) is Ref and x == instruction.output else x

    later = [
        replace(ins, inputs=mapped(renamed, ins.inputs), parameters=mapped(renamed, ins.parameters))
        for ins in program.instructions[again:]
    ]
    repeated = replace(instruction, output=new)
    return program.changed([*program.instructions[:again], repeated, *later], matcher.values)
