"""What a model computes, as a program: recorded for several batches, so that it is known what depends on their size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.context import definitions, no_grad, setting
from ...core.fused import Fused
from ...core.tensor import Parameter, Tensor, as_array
from ...nn.module import Module, watch
from ...ops.roi import Regions
from ...recording.program import Instruction, Program, Ref, Value, attribute, owner_of
from ...recording.trace import RecordError, Trace, described
from ..module import OnnxModule


class SaveError(ValueError):
    """A model computes something that is not written as ONNX."""


@dataclass(frozen=True)
class Size:
    """A whole number that depends on the batch: ``slope * N + offset``."""

    slope: int
    offset: int = 0

    def __str__(self) -> str:
        times = "N" if self.slope == 1 else f"{self.slope}*N"
        return f"{times}{self.offset:+d}" if self.offset else times

    def __sub__(self, other: int | Size) -> int | Size:
        slope, offset = (other.slope, other.offset) if isinstance(other, Size) else (0, other)
        return Size(self.slope - slope, self.offset - offset) if slope != self.slope else self.offset - offset

    def __rsub__(self, other: int) -> Size:
        return Size(-self.slope, other - self.offset)


BATCH = Size(1)


@dataclass(frozen=True, eq=False)
class Repeated:
    """An array that has the same entries for each image of a batch, such as zeros: one row of it, and its shape."""

    row: np.ndarray
    shape: tuple[int | Size, ...]


@dataclass(frozen=True)
class Recording:
    """A program whose numbers and shapes are ints and `Size`s, and what its values are called.

    places: the path of the module in which each value was made. weights: the path of what each load reads.
    """

    program: Program
    places: dict[int, str]
    weights: dict[int, str]
    inputs: list[str]
    outputs: list[str]
    dynamic: list[bool]  # does the first axis of an input depend on the batch?


# --- one recording


class Noted(Trace):
    """A trace that also notes in which module each call was made. Fused primitives that are not in `whole` run, and are
    noted, as the compositions that define them."""

    def __init__(self, arguments: Sequence[np.ndarray], whole: Mapping[str, Any]):
        self.whole = whole
        self.running: list[Module] = []
        self.places: dict[int, str] = {}
        super().__init__(arguments, strict=True)

    def enter(self, module: Any) -> None:
        super().enter(module)
        self.running.append(module)

    def leave(self, module: Any, inputs: tuple, output: Any) -> None:
        self.running.pop()

    def call(self, function: Any, xp: Any, arrays: Any, parameters: dict) -> Any:
        if not isinstance(function, Fused) or function.name in self.whole:
            return super().call(function, xp, arrays, parameters)
        with definitions():
            return function.definition(*[_as_tensor(a) for a in arrays], **parameters).data

    def ref(self, x: Any) -> Any:
        if isinstance(x, Regions):  # its boxes may come from an operation
            return {name: self.ref(value) for name, value in vars(x).items()}
        return super().ref(x)

    def _mark(self, array: Any) -> None:
        """A write into a view of marked memory is noticed there: a transposed weight is not read once more."""
        owner = owner_of(array) if isinstance(array, np.ndarray) else array
        if owner is array or id(owner) not in self.marks or self.marks[id(owner)][0]() is not owner:
            super()._mark(array)

    def new(self, array: np.ndarray) -> Ref:
        ref = super().new(array)
        self.places[ref.number] = self.paths.get(self.running[-1], "") if self.running else ""
        return ref


def _as_tensor(x: Any) -> Any:
    return Tensor(x) if isinstance(x, np.ndarray) else x


def record(
    model: Callable, example: Any, dynamic_batch: bool, writers: Mapping[str, Any], reasons: Mapping[str, str]
) -> Recording:
    """What the model computes in eval mode. Raises SaveError where that cannot be one graph.

    It runs three times: on batches of three sizes, or three times on the example, whose values differ as well, so that
    a number or an array which no operation made, but which depends on the input, is noticed.
    """
    arrays = [as_array(x) for x in (example if isinstance(example, (tuple, list)) else (example,))]
    if not arrays or (dynamic_batch and not arrays[0].ndim):
        raise SaveError(f"save_onnx needs an example batch, an array or a tuple of arrays, got {example!r}")
    n = len(arrays[0]) if arrays[0].ndim else 0
    dynamic = [dynamic_batch and bool(a.ndim) and len(a) == n for a in arrays]
    least = max(n, 2)  # a batch of one may be treated in a way of its own
    batches = (least, least + 1, least + 3) if dynamic_batch else (n, n, n)
    programs, traces = [], []
    for k, size in enumerate(batches):
        batch = [_of_size(a, size) if free else np.array(a) for a, free in zip(arrays, dynamic)]
        if k == 1:
            batch[0] = _other_values(batch[0])
        program, outputs, trace = _recorded(model, batch, writers | reasons)
        programs.append(program)
        traces.append(trace)
    program = _merged(programs, batches, traces[0].places, reasons)
    inputs = _input_names(model, len(arrays))
    if isinstance(model, OnnxModule):
        outputs = [value.name for value in model.outputs]
    return Recording(program, traces[0].places, _paths(model, program), inputs, outputs, dynamic)


def _of_size(array: np.ndarray, size: int) -> np.ndarray:
    """The examples over again until there are as many."""
    return array[np.arange(size) % len(array)] if len(array) else np.zeros((size, *array.shape[1:]), array.dtype)


def _other_values(array: np.ndarray) -> np.ndarray:
    array = array[..., ::-1].copy() if array.ndim else array
    return np.asarray(array * array.dtype.type(0.75)) if array.dtype.kind == "f" else array


def _recorded(model: Callable, batch: list[np.ndarray], whole: Mapping[str, Any]) -> tuple[Program, list[str], Noted]:
    """The result of the program: of each output what it is, a Ref, a Parameter, or the array that it always is."""
    trace, root = Noted(batch, whole), _root(model)
    quiet: AbstractContextManager = no_grad() if root is None else root.inference()
    with quiet, setting(trace=trace), watch(trace.leave):
        try:
            if root is not None:
                trace.paths |= {module: path for path, module in root.named_modules()}
            outputs = dict(named(model(*map(Tensor, batch))))
            made = {name: x for name, x in outputs.items() if type(trace.ref(as_array(x))) is Ref}
            program = trace.program([x if isinstance(x, Tensor) else Tensor(x) for x in made.values()])
        except RecordError as error:
            where = f", {place(trace.paths[trace.running[-1]])}" if trace.running else ""
            reason = str(error).removeprefix("the step cannot be recorded: ")
            raise SaveError(f"save_onnx: the model is not one graph{where}: {reason}") from None
    if not made:
        raise SaveError("save_onnx: the model gives no tensor that depends on its input")
    refs = dict(zip(made, program.result))
    return replace(program, result=[refs.get(n, as_array(x)) for n, x in outputs.items()]), list(outputs), trace


def _root(model: Callable) -> Module | None:
    """The model itself, or the one whose method it is."""
    owner = getattr(model, "__self__", model)
    return owner if isinstance(owner, Module) else None


def named(outputs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors and arrays in what a model gives, with names: of a dictionary, of fields, or by number."""
    if isinstance(outputs, Tensor | np.ndarray):
        yield name or "output", outputs
    elif isinstance(outputs, Mapping):
        for key, value in outputs.items():
            yield from named(value, f"{name}.{key}" if name else str(key))
    elif isinstance(outputs, (tuple, list)):
        keys = getattr(outputs, "_fields", None) or [f"{name or 'output'}_{k}" for k in range(len(outputs))]
        for key, value in zip(keys, outputs):
            yield from named(value, key)
    elif not isinstance(outputs, str | int | float | None):  # these say something about the others
        raise SaveError(
            f"save_onnx: the model gives a {type(outputs).__name__}; a graph gives tensors, in tuples, lists and dicts"
        )


def _input_names(model: Callable, count: int) -> list[str]:
    """What the model's forward calls its first arguments; a network that was read has the names of its file."""
    if isinstance(model, OnnxModule):
        return [value.name for value in model.inputs]
    parameters = list(inspect.signature(getattr(model, "forward", model)).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return names if len(names) == count else [f"input_{k}" for k in range(count)]


def _paths(model: Any, program: Program) -> dict[int, str]:
    """The path of the parameter or buffer that each load of the program reads; that of a shared one is its first."""
    paths: dict[tuple, str] = {}
    if (root := _root(model)) is not None:
        for path, module, name, _ in root._state():
            value = attribute(module, name)
            paths.setdefault((value, "data") if isinstance(value, Parameter) else (module, name), path)
    loads = [instruction for instruction in program.instructions if instruction.is_load]
    return {load.output.number: paths.get(load.origin, load.name) for load in loads}


# --- several recordings as one


def _merged(programs: list[Program], batches: tuple[int, ...], places: dict[int, str], reasons: Mapping) -> Program:
    dynamic = len(set(batches)) > 1
    cause = "the batch, or on the values of the input" if dynamic else "the values of the input"
    advice = "; if it is the batch, save with dynamic_batch=False" if dynamic else ""

    def refuse(what: str, at: Instruction | None = None) -> SaveError:
        numbers = [] if at is None else at.writes()
        where = "" if at is None else f"{at.name}, {place(places[numbers[0]]) if numbers else 'which gives nothing'}: "
        return SaveError(f"save_onnx: {where}{what}")

    def merged(parts: Sequence[Any]) -> Any:
        return together(lambda *x: agreed(x, batches), *parts)

    instructions = []
    for same in zip(*(program.instructions for program in programs)):
        first = same[0]
        if len({instruction.name for instruction in same}) > 1:
            raise refuse(f"which operations there are depends on {cause}{advice}", first)
        try:
            inputs, parameters = (merged([getattr(i, part) for i in same]) for part in ("inputs", "parameters"))
        except Differing as difference:
            what = f"{difference} depends on {cause}{advice}"
            raise refuse(reasons.get(first.name, what), first) from None
        instructions.append(replace(first, inputs=inputs, parameters=parameters))
    if len({len(program.instructions) for program in programs}) > 1:
        raise refuse(f"how many operations there are depends on {cause}{advice}")
    try:
        shapes = [merged([value.shape for value in same]) for same in zip(*(program.values for program in programs))]
        result = merged([program.result for program in programs])
    except Differing as difference:
        raise refuse(f"{difference} depends on {cause}{advice}") from None
    values = [Value(shape, v.dtype, v.strides, v.storage) for shape, v in zip(shapes, programs[0].values)]
    return programs[0].changed(instructions, values, result=result)


def place(path: str) -> str:
    return f"in module {path}" if path else "called by the model itself"


class Differing(Exception):
    """Recordings have something other at one place: the message says what."""


def together(function: Callable, *structures: Any) -> Any:
    """``function(leaf, leaf, ...)`` of the leaves at one place of structures of one form, slices included."""
    first = structures[0]
    if type(first) is slice and all(type(s) is slice for s in structures):
        return slice(*[together(function, *parts) for parts in zip(*((s.start, s.stop, s.step) for s in structures))])
    if type(first) in (tuple, list, dict):
        if len({len(s) if type(s) is type(first) else -1 for s in structures}) > 1:
            raise Differing("how many arguments there are")
        if type(first) is dict:
            return {name: together(function, *(s[name] for s in structures)) for name in first}
        return type(first)([together(function, *parts) for parts in zip(*structures)])
    return function(*structures)


def agreed(found: tuple, batches: tuple[int, ...]) -> Any:
    """What was found at one place for each batch: the same, or whole numbers that grow evenly with the batch."""
    first = found[0]
    if all(x is first for x in found):
        return first
    if any(type(x) is not type(first) for x in found):
        raise Differing(f"that it is {described(first)} and not {described(found[-1])}")
    if isinstance(first, np.ndarray):
        if all(x.shape == first.shape and x.dtype == first.dtype and _equal(x, first) for x in found):
            return first
        return _repeated(found, batches)
    if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
        if all(x == first for x in found):
            return first
        if len(set(batches)) == len(batches):
            slope = (found[1] - first) // (batches[1] - batches[0])
            size = Size(int(slope), int(first - slope * batches[0]))
            if all(size.slope * n + size.offset == x for n, x in zip(batches, found)):
                return size
    elif all(repr(x) == repr(first) if isinstance(x, float) else bool(x == first) for x in found):
        return first
    raise Differing(f"an option that was {', then '.join(dict.fromkeys(map(repr, found)))}")


def _repeated(found: tuple[np.ndarray, ...], batches: tuple[int, ...]) -> Repeated:
    """Arrays that differ in how often they have one and the same row."""
    row = found[0][:1]
    if row.size and all(x.dtype == row.dtype and x.ndim == row.ndim and x.shape[1:] == row.shape[1:] for x in found):
        length = agreed(tuple(len(x) for x in found), batches)
        if isinstance(length, Size) and all(_equal(x, np.broadcast_to(row, x.shape)) for x in found):
            return Repeated(row, (length, *row.shape[1:]))
    raise Differing("an array that no operation made")


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def sizes_in(structure: Any) -> bool:
    """Does anything in it depend on the batch?"""
    found: list[Any] = []
    together(found.append, structure)
    return any(isinstance(x, Size) for x in found)
