"""What a step costs: the time of every layer and kernel, forward and backward."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from time import perf_counter
from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.context import setting
from ..core.tensor import Node, Tensor, clock
from ..nn.module import Module, watch
from ..table import table
from .page import Page, Shown, scroll

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
OUTSIDE = "(outside of layers)"


@dataclass(frozen=True)
class Row:
    """A kernel of a layer: its calls in a step, and the seconds that they take."""

    phase: str  # forward, backward or update
    layer: str  # path and type of the innermost module that was running when the operation was called
    kernel: str
    calls: int
    seconds: float


@dataclass(repr=False)
class Profile(Shown):
    """A profile of a step to print, to write as JSON, and as a page. `rows` begin with what takes longest."""

    rows: list[Row]
    step: float  # seconds of a step that nobody looks at
    repeats: int
    kernels: float = field(init=False)  # seconds of all rows

    def __post_init__(self) -> None:
        self.kernels = sum(row.seconds for row in self.rows)

    def layers(self) -> list[tuple[str, dict[str, float], list[Row]]]:
        """(layer, seconds of each phase, rows) of every layer, the costliest first."""
        found = {row.layer: [r for r in self.rows if r.layer == row.layer] for row in self.rows}
        sums = {layer: Counter[str]() for layer in found}
        for row in self.rows:
            sums[row.layer][row.phase] += row.seconds
        order = sorted(found, key=lambda layer: -sums[layer].total())
        return [(layer, dict(sums[layer]), found[layer]) for layer in order]

    def title(self) -> str:
        """What the step takes, and what of it the kernels take."""
        return f"a step takes {_ms(self.step)} ms; its kernels, looked at one by one, {_ms(self.kernels)} ms"

    def text(self) -> str:
        """Two tables: layers, and the kernels in them."""
        head = ("layer", FORWARD, BACKWARD, UPDATE, "share")
        layers = [
            (layer, *(_ms(seconds.get(phase, 0.0)) for phase in (FORWARD, BACKWARD, UPDATE)), self._share(seconds))
            for layer, seconds, _ in self.layers()
        ]
        kernels = [(r.layer, r.phase, r.kernel, str(r.calls), _ms(r.seconds)) for r in self.rows]
        return "\n".join([
            self.title(), "", "milliseconds of each layer", *table([head, *layers], "<>"), "",
            "milliseconds of each kernel", *table([("layer", "phase", "kernel", "calls", "ms"), *kernels], "<<<>"),
        ])  # fmt: skip

    def content(self) -> dict[str, Any]:
        """All numbers."""
        return {"step": self.step, "repeats": self.repeats, "rows": [vars(row) for row in self.rows]}

    def page(self) -> Page:
        """The layers as bars, each with its kernels to unfold."""
        most = max((sum(seconds.values()) for _, seconds, _ in self.layers()), default=0.0)
        parts = [f'<p class="lead">{escape(self.title()).capitalize()}.</p>']
        for layer, seconds, rows in self.layers():
            total = sum(seconds.values())
            phases = ", ".join(f"{phase} {_ms(t)}" for phase, t in seconds.items())
            cells = "".join(
                f'<tr><th scope="row">{escape(r.kernel)}</th><td>{r.phase}</td><td>{r.calls}</td>'
                f"<td>{_ms(r.seconds)}</td></tr>"
                for r in rows
            )
            inner = f"<table><tr><th>kernel</th><th>phase</th><th>calls</th><th>ms</th></tr>{cells}</table>"
            parts.append(
                f"<details><summary>{escape(layer)}: {_ms(total)} ms, {self._share(seconds)} "
                f'<meter min="0" max="{most:.9f}" value="{total:.9f}">{_ms(total)} ms</meter></summary>'
                f"<p>Milliseconds: {phases}.</p>{scroll(inner, f'kernels of {layer}')}</details>"
            )
        style = "meter { width: 100%; height: .9em; display: block } summary { margin-top: .5em }"
        return Page("What a step costs", "\n".join(parts), style=style)

    def _share(self, seconds: dict[str, float]) -> str:
        return f"{100 * sum(seconds.values()) / (self.kernels or 1):.1f} %"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3f}"


def profile(step: Callable[[], object], *, repeats: int = 5) -> Profile:
    """Which layer and which kernel of a training step costs what, forward and backward.

        >>> model, x, target = nn.Linear(4, 3, rng=0), md.Tensor(np.ones((2, 4), "f")), [0, 2]
        >>> optimiser = optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     optimiser.zero_grad()
        ...     F.cross_entropy(model(x), target).backward()
        ...     optimiser.step()
        >>> print(md.profile(step).text())
        a step takes ... ms; its kernels, looked at one by one, ... ms
        ...
        milliseconds of each layer
        layer ... forward  backward  update   share
        ...
        >>> page = md.profile(step).html("profile.html")

    The step is run, with all that it changes, 2 * repeats + 1 times: once to get ready, then as it is, then with a look
    at each kernel. Times are medians of `repeats`, in seconds of the clock on the wall. What the kernels do not account
    for, Python takes between them. A backward kernel belongs to the layer whose operation it differentiates; what no
    module has called is called "(outside of layers)".

    Raises ValueError if repeats is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"profile: repeats must be 1 or more, got {repeats}")
    step()
    plain, looks = [], []
    for _ in range(repeats):
        begin = perf_counter()
        step()
        plain.append(perf_counter() - begin)
    for _ in range(repeats):
        look = Look()
        with setting(trace=look), watch(look.leave):
            step()
        looks.append(look)
    keys = dict.fromkeys(key for look in looks for key in look.seconds)
    rows = [
        Row(*key, calls=looks[-1].calls[key], seconds=float(np.median([look.seconds[key] for look in looks])))
        for key in keys
    ]
    return Profile(sorted(rows, key=lambda row: -row.seconds), float(np.median(plain)), repeats)


class Look:
    """What `Context.trace` is while a step is profiled: it runs each array function, and notes how long that takes."""

    def __init__(self) -> None:
        self.seconds: Counter[tuple[str, str, str]] = Counter()
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.phase, self.layer = FORWARD, OUTSIDE
        self.running: list[str] = []
        self.paths: dict[Module, str] = {}
        self.times, self.layers = [0], [OUTSIDE]  # from that tick of the engine's clock on, this layer ran

    # --- what the engine calls

    def call(self, function: ArrayFunction, xp: Any, arrays: Any, parameters: dict[str, Any]) -> Any:
        """Run an array function."""
        with setting(trace=None):
            return self.timed(function.name, xp, lambda: function.run(xp, arrays, parameters))

    def timed(self, kernel: str, xp: Any, run: Callable[[], Any]) -> Any:
        begin = perf_counter()
        y = run()
        if xp is not np:
            xp.cuda.get_current_stream().synchronize()
        key = self.phase, self.layer, kernel
        self.seconds[key] += perf_counter() - begin
        self.calls[key] += 1
        return y

    def enter(self, module: Module) -> None:
        """A module is about to run."""
        if module not in self.paths:
            self.paths |= {part: f"{path} {type(part).__name__}".strip() for path, part in module.named_modules()}
        self.running.append(self.paths[module])
        self._now(FORWARD)

    def leave(self, module: Module, inputs: tuple[Any, ...], output: Any) -> None:
        """It has run."""
        self.running.pop()
        self._now(FORWARD)

    def _now(self, phase: str) -> None:
        self.phase, self.layer = phase, self.running[-1] if self.running else OUTSIDE
        self.times.append(next(clock))
        self.layers.append(self.layer)

    def pull(self, g: Tensor, y: Tensor, useful: set[Node] | None) -> list[tuple[Tensor, Tensor]]:
        """The pullback of a node, which belongs to the layer that ran when the node was made."""
        node = y.node
        assert node is not None
        self.phase, self.layer = BACKWARD, self.layers[bisect(self.times, node.order) - 1]
        return node.primitive.pullback(g, y, useful)

    def update(self, optimiser: Any) -> None:
        """A step of an optimiser."""
        self.phase, self.layer = UPDATE, type(optimiser).__name__
        with setting(trace=None):
            self.timed(optimiser.rule.name, np, optimiser.step)
        self._now(FORWARD)

    def nothing(self, *_: Any) -> None:
        """A profile repeats nothing, and so refuses nothing."""

    meet = refuse = assigned = effect = nothing

    def made(self, array: Any) -> bool:
        """As no array has to be known again."""
        return False
