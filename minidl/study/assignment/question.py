"""What a question is: a text, a function to write, oracles that do not know the solution, and mistakes people make."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...check import slopes
from ...check.compare import jacobian
from ...check.problem import Problem
from ...core.calculus import grad
from ...core.tensor import Tensor

Inputs = dict[str, Any]
Outputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Output:
    """One thing that the student's function returns: its name, and a name for each of its axes."""

    name: str
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: the name of the diagnosis, one sentence that says what is wrong, and the wrong function."""

    name: str
    words: str
    function: Callable[..., Any]


@dataclass
class Question:
    """One question of the assignment. Its functions are added by the decorators below.

    id: as on the command line. title: one line. topic: the heading it is listed under. text: Markdown; what is given,
    what is asked, the arguments and what is returned. outputs: what the function returns, in order. inputs:
    ``inputs(rng, seed)`` gives the arguments of one case; low seeds give special cases (batch 1, an empty mask). rarer:
    the same for the cases with a secret, where the cases of `inputs` are so few that a table could hold them all.

    The functions: `solution`, in NumPy alone, which ``--reveal`` shows and marking never asks; two or more `oracle`
    functions, which arrive at the answer by other means; `mistake` functions, some of them
    `smoothed`; and `terms`, for an answer that is a sum.
    """

    id: str
    title: str
    topic: str
    text: str
    outputs: tuple[Output, ...]
    inputs: Callable[[np.random.Generator, int], Inputs]
    answer: Callable[..., Any] = None
    oracles: dict[str, Callable[..., Any]] = field(default_factory=dict)
    mistakes: dict[str, Mistake] = field(default_factory=dict)
    with_eps: dict[str, Mistake] = field(default_factory=dict)
    parts: Callable[..., Mapping[str, Any]] | None = None
    rarer: Callable[[np.random.Generator, int], Inputs] | None = None
    solved: bool = True  # is the solution installed?

    def __post_init__(self) -> None:
        self.text = textwrap.dedent(self.text).strip()

    # --- decorators

    def solution(self, function: Callable) -> Callable:
        """The right answer. Its name and arguments are those that the student is given."""
        self.answer = function
        return function

    def withheld(self, name: str, arguments: Sequence[str]) -> Callable:
        """In place of a solution that is not installed, under its name: the first oracle that takes the arguments.

        See withhold.py.
        """

        def answer(*values: Any, **more: Any) -> Any:
            *ways, last = self.oracles.values()
            inputs = {**dict(zip(arguments, values)), **more}
            for oracle in ways:
                with suppress(ValueError):  # a mistake may ask for what no layer has, such as a negative padding
                    return self.plain(oracle, inputs)
            return self.plain(last, inputs)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        answer.__name__ = name
        answer.__signature__ = inspect.Signature([inspect.Parameter(argument, kind) for argument in arguments])
        self.answer, self.solved = answer, False
        return answer

    def oracle(self, name: str) -> Callable:
        """Another way to the answer, of the same arguments."""

        def register(function: Callable) -> Callable:
            self.oracles[name] = function
            return function

        return register

    def derivative(self, *names: str, flat: bool = False, at: Mapping[str, Callable] | None = None) -> Callable:
        """On an analytic ``f(arguments) -> Tensor``: the oracles "autograd" and "complex step", for its derivative.

        names: by what. A derivative has the shape of the argument if f is a number, and is the Jacobian (outputs,
        entries) if `flat`. at: where to differentiate by what the student is not given, ``{name: function of the
        arguments}``.
        """

        def register(f: Callable[..., Tensor]) -> Callable:
            def bound(way: Callable) -> Callable:
                def answer(**inputs: Any) -> Any:
                    place = {name: choose(**inputs) for name, choose in (at or {}).items()}
                    return way(f, names, {**inputs, **place}, flat)

                return answer

            self.oracles |= {"autograd": bound(by_rules), "complex step": bound(by_slopes)}
            return f

        return register

    def mistake(self, name: str, words: str) -> Callable:
        """A wrong answer that people arrive at, of the same arguments."""

        def register(function: Callable) -> Callable:
            if name in self.mistakes:
                raise ValueError(f"{self.id} has two mistakes named {name!r}")
            self.mistakes[name] = Mistake(name, words, function)
            return function

        return register

    def smoothed(self, name: str, words: str) -> Callable:
        """A mistake with a small number of the student's choice in it: a function of (eps, the arguments)."""

        def register(function: Callable) -> Callable:
            self.with_eps[name] = Mistake(name, words, function)
            return function

        return register

    def altered(
        self, name: str, words: str, function: Callable | None = None, then: Callable | None = None, **changes: Any
    ) -> None:
        """A mistake that is the right answer, or `function`, of other arguments.

        changes: by argument, a function of its value, or another value. then: a function of what comes out.
        """

        def wrong(**inputs: Any) -> Any:
            new = {k: v(inputs[k]) if callable(v) and k in inputs else v for k, v in changes.items()}
            answer = (function or self.answer)(**inputs | new)
            return then(answer) if then else answer

        self.mistake(name, words)(wrong)

    def terms(self, function: Callable) -> Callable:
        """``{name of a term: its value}``: the answer is their sum, so that a lost term can be found by regression."""
        self.parts = function
        return function

    # --- what the student sees

    @property
    def function(self) -> str:
        """The name of the function to write."""
        return self.answer.__name__

    @property
    def arguments(self) -> list[str]:
        return list(inspect.signature(self.answer).parameters)

    def case(self, seed: int, secret: str = "") -> Inputs:
        """The arguments of one case: the same for the same seed; with a secret, others."""
        draw = self.rarer if secret and self.rarer else self.inputs
        drawn = draw(np.random.default_rng([seed, *self.id.encode(), *secret.encode()]), seed)
        return {name: drawn[name] for name in self.arguments}

    def reveal(self) -> str:
        """The solution, as Python that stands alone after ``import numpy as np``; ValueError where it is withheld."""
        if not self.solved:
            raise ValueError(f"{self.id}: the solutions are not installed here; a clone of the repository has them")
        source = textwrap.dedent(inspect.getsource(self.answer))
        return re.sub(r"\A(@.*\n)+|  # noqa: .*", "", source).rstrip() + "\n"

    # --- values

    def values(self, function: Callable, inputs: Inputs) -> Outputs:
        """What a function of this question returns, as one array per output; numbers that are not finite may occur."""
        with np.errstate(all="ignore"):
            return self.outputs_of(function(**inputs))

    def plain(self, function: Callable, inputs: Inputs) -> Any:
        """The same as a solution returns it: one thing, or a tuple; numbers as numbers."""
        found = tuple(a if a.ndim else a.item() for a in self.values(function, inputs))
        return found if len(self.outputs) > 1 else found[0]

    def outputs_of(self, returned: Any) -> Outputs:
        returned = returned if len(self.outputs) > 1 else (returned,)
        return tuple(np.asarray(value) for value in returned)


def _split(f: Callable, names: tuple[str, ...], inputs: Inputs) -> tuple[Callable[..., Tensor], list[np.ndarray]]:
    """f as a function of the named arguments alone, and their values."""
    xs = [np.asarray(inputs[name], np.float64) for name in names]
    return lambda *chosen: f(**{**inputs, **dict(zip(names, chosen, strict=True))}), xs


def by_rules(f: Callable, names: tuple[str, ...], inputs: Inputs, flat: bool = False) -> Any:
    """The derivatives of f by the named arguments, by the engine's rules."""
    call, xs = _split(f, names, inputs)
    if flat:
        pull, y = Problem(call).pullback(xs), Problem(call).value(xs)
        rows = [pull(unit.reshape(y.shape)) for unit in np.eye(y.size)]
        found = [np.stack([row[k].ravel() for row in rows]) for k in range(len(xs))]
    else:
        leaves = [Tensor(x, requires_grad=True) for x in xs]
        found = [g.numpy() for g in grad(call(*leaves), leaves)]
    return tuple(found) if len(found) > 1 else found[0]


def by_slopes(f: Callable, names: tuple[str, ...], inputs: Inputs, flat: bool = False) -> Any:
    """The same without any rule, by the complex step: one entry of an argument after the other is moved."""
    call, xs = _split(f, names, inputs)
    found = [jacobian(Problem(call), xs, slopes.complex_step, k)[0] for k in range(len(xs))]  # (outputs, entries) each
    found = found if flat else [J.reshape(x.shape) for J, x in zip(found, xs, strict=True)]
    return tuple(found) if len(found) > 1 else found[0]
