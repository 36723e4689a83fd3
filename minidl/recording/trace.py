"""Trace: notes every call of an array function while a step runs, and so writes its program."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..core.anomaly import calling_line
from ..core.array_function import ArrayFunction
from ..core.context import current, setting
from ..core.tensor import Parameter, Placeholder, Tensor
from .contents import PLAIN, contents
from .program import Form, Instruction, Program, Ref, Value, attribute, leaves, mapped, owner_of

RANDOM = (np.random.Generator, np.random.RandomState)  # to draw from one changes it


class RecordError(RuntimeError):
    """A step does something that a program cannot repeat."""


class Trace:
    """What `Context.trace` is while a step is recorded. Arrays are told apart by identity.

    strict: raise RecordError where something is met that a program cannot repeat; otherwise `refusal` says what it was,
    and the step goes on as if nobody looked.
    before: what was recorded at the call before: what that one read must stay as it is until it is read.
    """

    def __init__(self, arguments: Iterable[np.ndarray], strict: bool, before: Program | None = None):
        self.strict = strict
        self.refusal: str | None = None
        self.values: list[Value] = []
        self.instructions: list[Instruction] = []
        self.known: dict[int, tuple[Callable, Ref]] = {}  # id of an array -> (weak reference to it, what it is)
        self.storages: dict[int, tuple[Callable, int]] = {}  # id of the array that owns the memory -> its number
        self.marks: dict[int, tuple[Callable, tuple]] = {}  # id of an array -> (weak reference, what it held)
        self.modules: dict[Any, None] = {}  # those that were called
        self.paths: dict[Any, str] = {}
        self.parameters: dict[Parameter, None] = {}  # those that were met
        self.gradients: dict[Parameter, Callable] = {}  # a weak reference to that of each when it was first met
        self.with_new_gradient: dict[Parameter, None] = {}  # those whose gradient the step has set
        self.touches_gradients = False
        self.buffers: dict[int, tuple[Any, str]] = {}
        self.arguments = [self.new(array) for array in arguments]
        self.given = {ref.number for ref in self.arguments}
        self.options: list[tuple[Any, Any]] = []  # of optimisers, when the step began
        self.began_with: list[tuple[Any, str, Any]] = []  # buffers: their module, name and array
        if before is not None:
            for array in before.read_outside():
                self._mark(array)
            origins = [instruction.origin for instruction in before.instructions]
            loads = [origin for origin in origins if type(origin) is tuple and not isinstance(origin[0], Parameter)]
            self.began_with = [(*load, attribute(*load)) for load in loads]
            optimisers = [origin for origin in origins if hasattr(origin, "param_groups")]
            self.options = [(optimiser, options_of(optimiser)) for optimiser in optimisers]

    # --- what the engine calls

    def call(self, function: ArrayFunction, xp: Any, arrays: Any, parameters: dict) -> Any:
        """Run an array function, and note that."""
        if current().algorithm is not None:
            self.refuse("it sets an algorithm; do that around the step")
        inputs = tuple([self.ref(a) for a in arrays])
        held = mapped(self.ref, parameters)
        with setting(trace=None):
            kernel = function.kernel(xp)
            y = NotImplemented if kernel is None else kernel(*arrays, **parameters)
            if y is NotImplemented:
                run = partial(function.forward, xp)
                y = run(*arrays, **parameters)
            else:
                run = function.kernel(xp)  # it is imported by now
        if isinstance(y, np.generic):  # of an array without axes
            y, run = np.asarray(y), _as_array(run)
        if y is None:  # it has changed what it was given
            mapped(self._mark, (list(arrays), parameters))
        output = mapped(lambda a: self.new(a) if isinstance(a, np.ndarray) else a, y)
        draws = any(isinstance(x, RANDOM) for x in leaves((inputs, held)))
        self.note(function.name, run, inputs, held, output, effect=y is None or draws, origin=function)
        return y

    def meet(self, inputs: Iterable[Any]) -> None:
        """Look at the tensors that an operation is given: parameters are read where they are used."""
        for x in inputs:
            if isinstance(x, Parameter):
                ref = self._lookup(x.data)
                if ref is None:
                    self._know(x)
                    self.note(x.name, value_of, (x,), {}, self.new(x.data), origin=(x, "data"))
                elif ref.number in self.given:
                    self.refuse(f"{x.name} is also an argument of the step")

    def enter(self, module: Any) -> None:
        """A module is about to run."""
        if module not in self.modules:
            self.modules[module] = None
            if module not in self.paths:  # the outermost one names all below it
                self.paths |= {part: path for path, part in module.named_modules()}
                dict(module.named_parameters())
        for name in module.buffer_names:
            if (array := attribute(module, name)) is not None:
                ref = self._lookup(array)
                if ref is not None and ref.number in self.given:
                    self.refuse(f"{name} of {type(module).__name__} is also an argument of the step")
                if id(array) not in self.marks:
                    self._mark(array)
                self.buffers[id(array)] = (module, name)

    def assigned(self, p: Tensor, value: Any) -> None:
        """The gradient of p is about to be assigned."""
        if not isinstance(p, Parameter):
            return self.refuse("it assigns the gradient of a tensor that is no parameter")
        self._know(p)
        self.with_new_gradient[p] = None
        if value is None:
            self._clear(p)

    def _clear(self, p: Parameter) -> None:
        """Several in a row are one instruction."""
        last = self.instructions[-1] if self.instructions else None
        if last is not None and last.run is clear_gradients:
            self.instructions[-1] = replace(last, inputs=(*last.inputs, p))
        else:
            self.note("zero_grad", clear_gradients, (p,), {}, None, effect=True)

    def _know(self, p: Parameter) -> None:
        self._check(p.data)
        self.parameters[p] = None
        self.gradients.setdefault(p, type(None) if p.grad is None else weakref.ref(p.grad))

    def update(self, optimiser: Any) -> None:
        """An optimiser is about to take a step: it does, and that is one instruction, which reads the gradients."""
        grads = [(p, None if p.grad is None else self.ref(p.grad.data)) for p in optimiser.parameters]
        for p, _ in grads:
            self._know(p)
        with setting(trace=None):
            optimiser.step()
        for p, _ in grads:
            self.known.pop(id(p.data), None)  # who reads it from here on reads it anew
            self._mark(p.data)
        of_each = tuple([g for _, g in grads])
        run = partial(step, optimiser, [p for p, _ in grads])
        self.note(type(optimiser).__name__, run, of_each, {}, None, effect=True, retains=True, origin=optimiser)

    def effect(self, name: str, run: Callable, *inputs: Any) -> None:
        """A function is about to be called that gives nothing, and holds none of the arrays that it is given."""
        self.note(name, run, tuple(map(self.ref, inputs)), {}, None, effect=True)

    def refuse(self, reason: str) -> None:
        """Something cannot be repeated by a program."""
        reason = f"{reason}, at {calling_line()}"
        self.refusal = self.refusal or reason
        if self.strict:
            raise RecordError(f"the step cannot be recorded: {reason}")

    # --- values

    def new(self, array: np.ndarray) -> Ref:
        """A new value, which this array holds from now on."""
        ref = Ref(len(self.values))
        self.values.append(Value(array.shape, array.dtype, array.strides, self._storage(array)))
        self.known[id(array)] = weakref.ref(array), ref
        self._mark(array)
        return ref

    def _mark(self, array: Any) -> None:
        """From here on it must stay as it is: what writes into it is no operation, and not repeated."""
        if isinstance(array, np.ndarray):
            self.marks[id(array)] = weakref.ref(array), digest(array)

    def _check(self, array: np.ndarray) -> None:
        found = self.marks.get(id(array))
        if found is not None and found[0]() is array and found[1] != digest(array):
            self.refuse(f"something other than an operation writes into {described(array)}")

    def ref(self, x: Any) -> Any:
        """What an input or a parameter of a call is: a Ref for an array that comes from this program, else itself."""
        if not isinstance(x, np.ndarray):
            if type(x).__module__.partition(".")[0] == "cupy":
                self.refuse("arrays on a GPU are not recorded")
            return x
        self._check(x)
        if (ref := self._lookup(x)) is not None:
            return ref
        if Placeholder.is_form(x):
            return Form(x.shape, x.dtype)
        if (owner := self.buffers.get(id(x))) is not None and attribute(*owner) is x:
            ref = self.new(x)
            name = ".".join(filter(None, (self.paths[owner[0]], owner[1])))
            self.note(name, attribute, owner, {}, ref, origin=owner)
            return ref
        for p in self.parameters:
            if p.grad is not None and p.grad.data is x:
                ref = self.new(x)
                self.touches_gradients = True
                self.note(f"{p.name}.grad", gradient_of, (p,), {}, ref, origin=(p, "grad"))
                return ref
        return x  # a constant

    def made(self, x: Any) -> bool:
        """Does this array come from an operation that was noted?"""
        return isinstance(x, np.ndarray) and self._lookup(x) is not None

    def _lookup(self, array: np.ndarray) -> Ref | None:
        found = self.known.get(id(array))
        return found[1] if found is not None and found[0]() is array else None

    def _storage(self, array: np.ndarray) -> int:
        array = owner_of(array)
        found = self.storages.get(id(array))
        if found is None or found[0]() is not array:
            found = self.storages[id(array)] = weakref.ref(array), len(self.values)
        return found[1]

    def note(
        self, name: str, run: Callable, inputs: tuple, parameters: dict, output: Any, *,
        effect: bool = False, retains: bool = False, origin: Any = None,
    ) -> None:  # fmt: skip
        self.instructions.append(Instruction(name, run, inputs, parameters, output, effect, retains, origin))

    # --- the end

    def program(self, result: Any) -> Program:
        """What was noted, and what the step gave: Tensors and arrays that came from it, or constants."""
        for reference, _ in list(self.marks.values()):
            if (array := reference()) is not None:
                self._check(array)
        if any(id(attribute(*owner)) != number for number, owner in self.buffers.items()) or any(
            attribute(module, name) is not array for module, name, array in self.began_with
        ):
            self.refuse("it assigns a buffer of a module")
        if any(options_of(optimiser) != then for optimiser, then in self.options):
            self.refuse("it changes options of an optimiser; do that between the steps")
        new = [p for p in self.parameters if p in self.with_new_gradient or p.grad is not self.gradients[p]()]
        given = [p for p in new if p.grad is not None]
        self.touches_gradients |= bool(new)
        if given:
            refs = [self.ref(p.grad.data) for p in given]
            self.note("set_grad", set_gradients, (given, *refs), {}, None, effect=True, retains=True)
        self._refuse_raw_parameters()
        tensors: set[int] = set()
        result = mapped(partial(self._result, tensors), result)
        return Program(self.values, self.arguments, self.instructions, result, frozenset(tensors))

    def _refuse_raw_parameters(self) -> None:
        """A parameter's array that came in on its own counts as a constant, and it is none."""
        owners = {id(p.data): p for module in self.modules for p in vars(module).values() if isinstance(p, Parameter)}
        owners |= {id(p.data): p for p in self.parameters}
        for instruction in self.instructions:
            for x in leaves((instruction.inputs, instruction.parameters)):
                if isinstance(x, np.ndarray) and id(x) in owners:
                    self.refuse(f"it takes the array of {owners[id(x)].name}; take the parameter itself")

    def _result(self, tensors: set[int], x: Any) -> Any:
        if not isinstance(x, Tensor):
            ref = self.ref(x)
            if type(ref) is not Ref and not isinstance(x, (str, type(None))):
                what = described(x) if type(x) in PLAIN or isinstance(x, np.ndarray) else f"a {type(x).__name__}"
                self.refuse(f"it gives {what} that no operation of the step made")
            return ref
        if isinstance(x, Parameter):
            return x
        if x.node is not None and x.node.inputs:
            self.refuse("its result still has a graph; call backward inside the step, or run it inside no_grad()")
        ref = self.ref(x.data)
        if type(ref) is not Ref:
            self.refuse("it gives a tensor that no operation of the step made")
        else:
            tensors.add(ref.number)
        return ref


# --- what instructions run that are no array functions


def value_of(p: Parameter) -> np.ndarray:
    return p.data


def gradient_of(p: Parameter) -> np.ndarray:
    return p.grad.data


def clear_gradients(*parameters: Parameter) -> None:
    for p in parameters:
        p.grad = None


def set_gradients(parameters: list[Parameter], *gradients: np.ndarray | None) -> None:
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = None if g is None else Tensor(g)


def step(optimiser: Any, parameters: list[Parameter], *gradients: np.ndarray | None) -> None:
    set_gradients(parameters, *gradients)
    optimiser.step()


def options_of(optimiser: Any) -> Any:
    return contents([{**group, "params": None} for group in optimiser.param_groups])


def described(x: Any) -> str:
    return f"an array {x.dtype} {x.shape}" if hasattr(x, "dtype") and hasattr(x, "shape") else repr(x)


def digest(array: np.ndarray) -> tuple:
    """What changes, in all likelihood, with any write into the array: the sum of its bytes as numbers, in the time of
    reading it once, and a checksum of the first ones, which goes by their order, too."""
    if array.dtype.hasobject:
        return ()
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words = len(flat) // 8 * 8
    return int(flat[:words].view(np.uint64).sum()), zlib.crc32(flat[:65536]), zlib.crc32(flat[words:])


def _as_array(run: Callable) -> Callable:
    return lambda *arrays, **parameters: np.asarray(run(*arrays, **parameters))
