"""A program: the calls of array functions that a step consists of, one after another, over numbered values.

    v5 = conv(v0, v3, window=..., groups=1)

A value is the result of one instruction; others read it by its number, a `Ref`. There are no branches and no loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..nn.module import Module
from .contents import NUMBERS


@dataclass(frozen=True, slots=True)
class Ref:
    """A value, by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class Form:
    """An array whose shape and dtype alone count."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Value:
    """What is known of a value before it is computed."""

    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]
    storage: int  # values with one number may share memory


@dataclass(frozen=True, eq=False)
class Instruction:
    """``output = name(*inputs, **parameters)``, computed by ``run``.

    Inputs, parameters and output are Refs, constants, or tuples, lists and dicts of these. `effect`: it changes what is
    outside of the program, so it is never left out, nor moved.
    """

    name: str
    run: Callable
    inputs: tuple = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    effect: bool = False
    retains: bool = False  # does what it runs hold its inputs afterwards?
    origin: Any = None  # the ArrayFunction; of a load the owner, a Parameter or a Module, and an attribute

    @property
    def is_load(self) -> bool:
        return type(self.origin) is tuple

    def reads(self) -> list[int]:
        return [ref.number for ref in refs((self.inputs, self.parameters))]

    def writes(self) -> list[int]:
        return [ref.number for ref in refs(self.output)]


@dataclass(frozen=True)
class Program:
    values: list[Value]
    arguments: list[Ref]
    instructions: list[Instruction]
    result: Any  # a structure of Refs and constants
    tensors: frozenset[int] = frozenset()  # the values that the result has as Tensors
    once: list[Instruction] = field(default_factory=list)  # run before, and when what they read has changed

    def changed(self, instructions: list[Instruction], values: list[Value] | None = None, **others: Any) -> Program:
        return replace(self, instructions=instructions, values=self.values if values is None else values, **others)

    def from_once(self) -> list[int]:
        """The values of `once` that the program reads."""
        read = {n for instruction in self.instructions for n in instruction.reads()} | self.kept()
        return [n for instruction in self.once for n in instruction.writes() if n in read]

    def kept(self) -> set[int]:
        """The values that outlive the program: of the result."""
        return {ref.number for ref in refs(self.result)}

    def read_outside(self) -> Iterator[np.ndarray]:
        """The arrays that it reads and did not make: of parameters, gradients and buffers, and constants."""
        for instruction in self.instructions:
            if instruction.is_load:
                owner, name = instruction.origin
                array = attribute(owner, name)
                yield getattr(array, "data", array) if name == "grad" else array
            yield from (x for x in leaves((instruction.inputs, instruction.parameters)) if isinstance(x, np.ndarray))

    def uses(self) -> list[int]:
        """How often each value is read, by instructions and by the result."""
        counts = [0] * len(self.values)
        for instruction in self.instructions:
            for number in instruction.reads():
                counts[number] += 1
        for ref in refs(self.result):
            counts[ref.number] += 1
        return counts


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """The structure with each leaf (anything but a tuple, list, dict) replaced by ``function(leaf)``."""
    if type(structure) in (tuple, list):
        return type(structure)([mapped(function, part) for part in structure])
    if type(structure) is dict:
        return {name: mapped(function, part) for name, part in structure.items()}
    return function(structure)


def attribute(owner: Any, name: str) -> Any:
    """An attribute as it lies in the object: modules of minidl.torch give their buffers as tensors."""
    return vars(owner).get(name) if isinstance(owner, Module) else getattr(owner, name)


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory this is a view of; `as_strided` puts an object in between that is no array."""
    while True:
        base = array.base
        base = base if isinstance(base, np.ndarray) else getattr(base, "base", None)
        if not isinstance(base, np.ndarray):
            return array
        array = base


def refs(structure: Any) -> Iterator[Ref]:
    """The Refs in a structure, in order."""
    if type(structure) is Ref:
        yield structure
    elif type(structure) in (tuple, list):
        for part in structure:
            yield from refs(part)
    elif type(structure) is dict:
        for part in structure.values():
            yield from refs(part)


def first_difference(one: Program, other: Program) -> tuple[Instruction | None, Any, Any] | None:
    """Where two programs differ: (the instruction, what one has, what the other has); None if they are the same.

    Numbers and other plain constants are compared by value, arrays and objects by identity.
    """
    for a, b in zip(one.instructions, other.instructions):
        if a.name != b.name or a.origin != b.origin:
            return a, a.name, b.name
        for x, y in zip(leaves((a.inputs, a.parameters, a.output)), leaves((b.inputs, b.parameters, b.output))):
            if not same(x, y):
                return a, x, y
    if len(one.instructions) != len(other.instructions):
        return None, f"{len(one.instructions)} operations", f"{len(other.instructions)}"
    for x, y in zip(leaves(one.result), leaves(other.result)):
        if not same(x, y):
            return None, x, y
    return None


def leaves(structure: Any) -> Iterator[Any]:
    """The leaves of a structure, and the lengths and names that hold them."""
    if type(structure) in (tuple, list):
        yield len(structure)
        for part in structure:
            yield from leaves(part)
    elif type(structure) is dict:
        yield tuple(structure)
        for part in structure.values():
            yield from leaves(part)
    else:
        yield structure


def same(x: Any, y: Any) -> bool:
    """Are two constants, or Refs, the same?"""
    if x is y:
        return True
    if type(x) is not type(y) or isinstance(x, np.ndarray):
        return False
    return repr(x) == repr(y) if isinstance(x, NUMBERS) else bool(x == y)
