"""A step that is run once as it is, once more to be sure, and replayed from then on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload

from ..core.context import current, setting
from ..nn.module import Module
from .guards import Guards, distinct, key_of, recordable
from .plan import Pass, Plan
from .program import Program, first_difference
from .trace import RecordError, Trace, described

PLANS = 8  # that one step holds: for other shapes, modes and the like
ATTEMPTS = 3  # recordings in which two in a row must agree

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=Module)


@overload
def record(step: M, *, passes: Iterable[Pass] | None = None) -> M: ...
@overload
def record(step: Callable[P, R], *, passes: Iterable[Pass] | None = None) -> Recorded[P, R]: ...
def record(step: Any, *, passes: Iterable[Pass] | None = None) -> Any:
    """The same step, which from its third call on is replayed as a flat program, without tensors or a graph.

        @md.record
        def step(x, target):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimiser.step()
            return loss

    The first two calls run as they are, while every call of an array function is noted; if they agree, the program is
    planned, and the third call runs it. Results have the same bits. Arguments are arrays, Tensors, numbers, and tuples,
    lists and dicts of these. Arrays are inputs; each other shape, dtype or layout of them, and each other number, is
    recorded anew. Parameters, buffers, options of optimisers and random generators are read when they are used.

    A Module is recorded for inference, in place: where no graph is remembered, ``model(x)`` is replayed.

    All else counts as constant: the arrays and numbers that the step reads from around it, and what it does other than
    by operations on tensors (printing, appending to a list) does not happen in a replay. Inside `anomaly()`,
    `definitions()`, `override`, `nn.watch` and `algorithm`, and for arguments that require a gradient, the step runs as
    it is.

    passes: those of `minidl.recording.PASSES` that are to improve the program; all by default.
    Raises RecordError, naming the place, if the step reads the value of a tensor (``if loss > 1``, ``loss.item()``),
    assigns a parameter or a buffer, writes into an array (``p.grad.data *= 0.5``), changes attributes of modules or
    options of optimisers, returns a tensor with a graph or anything but tensors, arrays and text in tuples, lists and
    dicts, or if two calls differ in more than their arguments.

        >>> square = md.record(lambda x: (md.Tensor(x) ** 2).sum())
        >>> [square(np.full(3, float(i))).item() for i in range(4)]
        [0.0, 3.0, 12.0, 27.0]
    """
    if isinstance(step, Module):
        step.forward = RecordedForward(step, passes)
        return step
    return Recorded(step, passes=passes)


@dataclass
class Attempt:
    """The last recording, until two in a row are the same; then the plan."""

    program: Program | None = None
    guards: Guards | None = None
    plan: Plan | None = None
    count: int = 0


class Recorded(Generic[P, R]):
    """A recorded step. `refusal` says why it runs as it is from now on, if it does."""

    def __init__(self, function: Callable, *, strict: bool = True, passes: Iterable[Pass] | None = None):
        functools.update_wrapper(self, function)
        self.function, self.strict, self.passes = function, strict, passes
        self.attempts: dict[Any, Attempt] = {}
        self.refusal: str | None = None
        self.module: Module | None = None  # whose forward it is

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R:
        now = current()
        if self.refusal is not None or not recordable(now):
            return self.function(*arguments, **options)
        arrays: list[Any] = []
        try:
            key = (now.recording, key_of(arguments, arrays), key_of(options, arrays))
        except TypeError as error:
            return self._refuse(f"an argument is no array, number or text: {error}", arguments, options)
        attempt = self.attempts.get(key)
        while attempt is not None and attempt.guards is not None and (others := attempt.guards.other_gradients()):
            key = (key, *others)  # where gradients add up, there is a plan for the first step and one for the others
            attempt = self.attempts.get(key)
        if attempt is None or not (attempt.guards is None or attempt.guards.hold()):
            self.attempts.pop(key, None)
            if len(self.attempts) >= PLANS:
                self.attempts.pop(next(iter(self.attempts)))  # the oldest
                if not self.plans:
                    return self._refuse(f"the last {PLANS} calls had arguments of as many forms", arguments, options)
            attempt = self.attempts[key] = Attempt()
        if attempt.plan is not None:
            return attempt.plan.run(*distinct(arrays))
        return self._recorded(attempt, distinct(arrays), arguments, options)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """A recorded method: its object is the first argument."""
        return self if owner is None else functools.partial(self, owner)

    def _recorded(self, attempt: Attempt, arrays: list[Any], arguments: tuple, options: dict) -> Any:
        """Run the step as it is, and note what it does."""
        trace = Trace(arrays, self.strict, attempt.program)
        before = [] if attempt.guards is None else attempt.guards.look_at_gradients()
        with setting(trace=trace):
            for x in (self.module, *arguments, *options.values()):
                if isinstance(x, Module):
                    trace.enter(x)
            result = self.function(*arguments, **options)
            program = trace.program(result)
            guards, difference = Guards(trace), None
            if not (attempt.guards is None or attempt.guards.hold()):
                trace.refuse("it changes attributes of modules, or which parameters require a gradient")
        self.refusal = trace.refusal
        if self.refusal is not None:
            self._tell()
            return result
        if attempt.program is not None:
            guards.without_gradient = before if trace.touches_gradients else None
            difference = first_difference(attempt.program, program)
            if difference is None:
                attempt.plan = Plan(program, self.passes)
        attempt.program, attempt.guards = program, guards
        attempt.count += 1
        if attempt.plan is None and attempt.count == ATTEMPTS:
            self.refusal = explained(*difference)
            self._tell()
        return result

    def _refuse(self, reason: str, arguments: tuple, options: dict) -> Any:
        self.refusal = reason
        self._tell()
        return self.function(*arguments, **options)

    def _tell(self) -> None:
        text = f"the step cannot be recorded: {self.refusal}"
        if self.strict:
            raise RecordError(text)
        warnings.warn(f"{text}; it runs as it is", stacklevel=4)

    def __getstate__(self) -> dict[str, Any]:
        """A copy records anew: plans are of the parameters that they were recorded with."""
        return {**vars(self), "attempts": {}}

    # --- what there is to see

    @property
    def plans(self) -> list[Plan]:
        return [attempt.plan for attempt in self.attempts.values() if attempt.plan is not None]

    def text(self, after: str | None = None) -> str:
        """The newest program, a line for each instruction, as it is in the end or `after` one of the passes.

        "recording" is what was noted. Raises RecordError if no call has been planned yet.
        """
        return self._newest().text(after)

    def html(self) -> str:
        """A page that shows the newest program before and after each pass."""
        return self._newest().html()

    def _newest(self) -> Plan:
        if not self.plans:
            raise RecordError(f"there is no program yet: {self.refusal or 'call the step twice first'}")
        return self.plans[-1]


class RecordedForward(Recorded[..., Any]):
    """The forward of a module, replayed where no graph is remembered."""

    def __init__(self, module: Module, passes: Iterable[Pass] | None):
        forward = module.forward
        super().__init__(forward.function if isinstance(forward, RecordedForward) else forward, passes=passes)
        self.module = module

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return (self.function if current().recording else super().__call__)(*inputs, **options)


def explained(instruction: Any, one: Any, other: Any) -> str:
    where = "it" if instruction is None else f"{instruction.name}"
    return (
        f"two calls with arguments of the same form differ: {where} got {described(one)}, then {described(other)}, "
        "which no operation made; what changes from call to call must come from the arguments by operations on tensors"
    )


