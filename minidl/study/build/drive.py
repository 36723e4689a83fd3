"""A student's functions in the place of ours while a network trains: counted, timed, and compared with ours.

A comparison is of one call: both get the same arrays, so that what one call gets wrong is not blamed on the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from ...core import backward
from ...core.context import current
from ...core.tensor import Parameter, Tensor
from ...kernels import replaced
from ...nn.module import watch
from .adapters import KERNELS, Elsewhere, shaped
from .pieces import PIECES
from .student import NotWritten, Student, StudentError, limited
from .walking import walked

OUR_WALK, OUR_SUM_TO = backward.walk, Tensor.sum_to
UPDATES = ("sgd", "adam")
BACKWARD = (*UPDATES, "conv_transpose", "conv_weight", "to_largest", "batch_norm.backward", "cross_entropy.backward")
COMPARED = 20  # steps of a run in which calls are compared
MULTIPLY = {  # by the operation: where its channels are: (array, axis) of the one, then of the other
    "conv": ((1, 0), (1, 1)), "conv_transpose": ((1, 0), (1, 1)), "conv_weight": ((1, 1), (0, 1)),
}  # fmt: skip
LINEAR = (*MULTIPLY, "matmul")


@dataclass
class Difference:
    """How far a result is from ours, and where. It is relative to the largest entry of ours, or of what ours gives for
    absolute values where it adds up products: terms that cancel leave rounding of their own size."""

    size: float = 0.0
    step: int = 0
    layer: Any = None  # a module or a parameter
    entry: str = ""


@dataclass
class Use:
    """What a run made of one function."""

    calls: int = 0
    seconds: float = 0.0
    kernels: int = 0  # runs of a kernel of ours in whose place it was called last: an update is one of all parameters
    compared: int = 0  # of these, those that were compared,
    ours: float = 0.0  # seconds of ours in these,
    aside: float = 0.0  # and all seconds that comparing took
    worst: Difference = field(default_factory=Difference)
    elsewhere: dict[str, int] = field(default_factory=dict)  # calls that went to ours, by the reason


class Drive:
    """Inside ``with drive:`` the engine calls the student's functions, all that are written.

    It is what adapters get as `call`. Raises StudentError where a function raises, at once if it does on a small input.
    """

    def __init__(self, student: Student):
        self.student = student
        self.written = _written(student)
        self.uses: dict[str, Use] = {}
        self.step = 0
        self.comparing = False
        self.aside = False  # inside a comparison: as usual, but not counted
        self.ours = False  # inside a comparison: as if nothing had been replaced
        self.last, self.spent = "", 0.0  # the function that was called last, and its seconds
        self.pulled = 0.0  # seconds of our pullbacks inside a walk
        self.work: dict[str, int] | None = None  # multiplications of convolutions by function, while they are counted
        self.paths: dict[Any, str] = {}  # of modules and parameters
        self.layers: dict[int, Any] = {}  # id of an array that a layer's call was given -> the module
        self.recent: list[tuple[tuple, Difference | None]] = []  # calls since a module was left last
        self.blocks = ExitStack()

    def has(self, name: str) -> bool:
        return name in self.written

    # --- the block

    def __enter__(self) -> Drive:
        kernels = {
            name: lambda ours, name=name, adapt=adapt: self._in_place_of(name, adapt, ours)
            for name, (adapt, needed) in KERNELS.items()
            if set(needed) <= set(self.written)
        }
        self.blocks.enter_context(replaced(kernels))
        self.blocks.enter_context(watch(self._left))  # and so steps are not recorded: each call comes here
        if self.has("walk"):
            self.blocks.enter_context(_assigned(backward, "walk", self._walk))
        if self.has("unbroadcast"):
            self.blocks.enter_context(_assigned(Tensor, "sum_to", lambda x, shape: self._sum_to(x, shape)))
        return self

    def __exit__(self, *error: object) -> None:
        self.blocks.close()

    def begin(self, step: int, steps: int) -> None:
        """A step of a run begins: in some of them calls are compared."""
        self.step, self.comparing = step, step % max(1, steps // COMPARED) == 0
        self.layers.clear()
        self.recent.clear()

    @contextmanager
    def mode(self, **fields: Any) -> Iterator[None]:
        """Set attributes for a block."""
        before = {name: getattr(self, name) for name in fields}
        vars(self).update(fields)
        try:
            yield
        finally:
            vars(self).update(before)

    # --- calls

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Run one of the student's functions; count it, and measure its time."""
        if self.aside:
            return self.student.call(name, *arguments)
        began, before, self.pulled = perf_counter(), self.pulled, 0.0
        value = self.student.call(name, *arguments)
        self.last, self.spent = name, perf_counter() - began - self.pulled
        self.pulled = before
        use = self.use(name)
        use.calls, use.seconds = use.calls + 1, use.seconds + self.spent
        return value

    def use(self, name: str) -> Use:
        return self.uses.setdefault(name, Use())

    def _in_place_of(self, operation: str, adapt: Callable, ours: Callable) -> Callable:
        """The kernel that runs in the place of `ours`."""
        name = KERNELS[operation][1][0]

        def run(*arrays: Any, **parameters: Any) -> Any:
            if self.ours:
                if self.work is not None and operation in MULTIPLY:
                    self.work[name] = self.work.get(name, 0) + multiplications(operation, arrays, parameters["window"])
                return ours(*arrays, **parameters)
            compare = self.comparing and not self.aside and (operation in BACKWARD or current().recording)
            given = _copied(arrays) if compare and operation in UPDATES else arrays
            try:
                y = adapt(self, *arrays, **parameters)
            except Elsewhere as reason:
                elsewhere = self.use(name).elsewhere
                elsewhere[str(reason)] = elsewhere.get(str(reason), 0) + 1
                return ours(*arrays, **parameters)
            if not self.aside:
                self.use(self.last).kernels += 1
            if compare:
                began, called = perf_counter(), self.last
                with self.mode(ours=True):
                    right = ours(*given, **parameters)
                    seconds = perf_counter() - began
                    scale = ours(*map(abs, given), **parameters) if operation in LINEAR else right
                use = self.use(called)
                use.compared, use.ours = use.compared + 1, use.ours + seconds
                use.aside += perf_counter() - began
                if operation in UPDATES:
                    for p, q in zip(arrays[0], given[0]):
                        self._note(called, p.data, q.data, p)
                else:
                    self._note_all(called, y, right, scale, (*arrays, parameters.get("among")))
            return y

        return run

    # --- what is no array function

    def _walk(self, output: Any, g: Any, wanted: Any, release: bool, pull: Any = None, take: Any = None) -> Any:
        """In the place of `core.backward.walk`."""
        now = current()
        if self.ours or self.aside or pull or take or wanted is not None or now.recording or now.anomaly:
            return OUR_WALK(output, g, wanted, release, pull, take)
        right = None
        if self.comparing:
            with self.mode(aside=True):
                right = OUR_WALK(output, g, None, False)
        found = walked(lambda step, g: self("walk", step, g), output, g, release, self._pulling)
        if right is not None:
            if len(found) != len(right):
                raise StudentError(f"walk returned cotangents of {len(found)} leaves, there are {len(right)}")
            for leaf in right:
                self._note("walk", found[leaf].data, right[leaf].data, None)
        return found

    @contextmanager
    def _pulling(self) -> Iterator[None]:
        """A pullback inside a walk, whose time is not the walk's."""
        began, before = perf_counter(), self.pulled
        yield
        self.pulled = before + perf_counter() - began

    def _sum_to(self, x: Tensor, shape: Any) -> Tensor:
        """In the place of ``Tensor.sum_to``."""
        if self.ours or current().recording:
            return OUR_SUM_TO(x, shape)
        shape = tuple(shape)
        y = Tensor(shaped("unbroadcast", self("unbroadcast", x.data, shape), shape, x.dtype))
        if self.comparing and not self.aside:
            with self.mode(ours=True):
                right, scale = (OUR_SUM_TO(Tensor(v), shape).data for v in (x.data, abs(x.data)))
                self._note("unbroadcast", y.data, right, None, scale)
        return y

    # --- differences

    def _note_all(self, name: str, y: Any, right: Any, scale: Any, arrays: tuple) -> None:
        layer = next((self.layers[id(a)] for a in arrays if id(a) in self.layers), None)
        for a, b, c in zip(*(v if isinstance(v, tuple) else (v,) for v in (y, right, scale))):
            if b is not None:
                noted = self._note(name, a, b, layer, c)
                if current().recording:  # the layer is known once it is left
                    self.recent.append((arrays, noted))

    def _note(
        self, name: str, got: np.ndarray, right: np.ndarray, layer: Any, scale: np.ndarray | None = None
    ) -> Difference | None:
        """How far two results differ, if that is more than ever before."""
        scale = right if scale is None else scale
        with np.errstate(all="ignore"):
            away = abs(got.astype(np.float64) - right)
        away[np.isnan(away)] = np.inf
        size = float(away.max(initial=0.0) / max(float(abs(scale).max(initial=0.0)), 1e-30))
        if size <= self.use(name).worst.size:
            return None
        at = np.unravel_index(int(away.argmax()), away.shape)
        entry = f"at [{', '.join(map(str, at))}] {got[at]:.6g}, ours {right[at]:.6g}"
        self.use(name).worst = worst = Difference(size, self.step, layer, entry)
        return worst

    def _left(self, module: Any, inputs: Any, output: Any) -> None:
        """A module's forward has ended: the calls since the one before were its."""
        if not self.comparing:
            return
        for arrays, difference in self.recent:
            self.layers |= {id(a): module for a in arrays if isinstance(a, np.ndarray)}
            if difference is not None and difference.layer is None:
                difference.layer = module
        self.recent.clear()
        parts = dict(module.named_modules())
        if len(parts) > 1:  # the outermost one is left last, and names all
            self.paths |= {part: path for path, part in parts.items()}
            self.paths |= {p: path for path, p in module.named_parameters()}


def _written(student: Student) -> list[str]:
    """The names of the functions that do not raise NotImplementedError. Raises StudentError where one raises else."""
    leaf = type("Leaf", (), {"inputs": (), "pullback": None})()
    cases = {"walk": (leaf, np.ones(1))}
    cases |= {f.name: f.drawn()[0][1] for piece in PIECES.values() for f in piece.functions}
    found = []
    for name, arguments in cases.items():
        with limited(), suppress(NotWritten):
            student.call(name, *arguments)
            found.append(name)
    return found


def multiplications(operation: str, arrays: tuple, window: Any) -> int:
    """Of a convolution, a transposed one, or the gradient of a weight."""
    one, other = (arrays[k].shape[axis] for k, axis in MULTIPLY[operation])
    return len(arrays[0]) * one * other * window.taps * window.positions


def _copied(arrays: tuple) -> tuple:
    """The arguments of an update, for another one: parameters, states, and an empty cache."""
    params = [Parameter(p.data.copy()) for p in arrays[0]]
    for p, q in zip(arrays[0], params):
        q.grad = None if p.grad is None else Tensor(p.grad.data)
    return params, [{k: v.copy() if isinstance(v, np.ndarray) else v for k, v in s.items()} for s in arrays[1]], {}


@contextmanager
def _assigned(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute that has another value inside the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
