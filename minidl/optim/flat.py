"""Parameters on a GPU, updated all in one launch: they and their state lie in flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tensor import Parameter
from ..device import namespace, to_device
from ..kernels.gpu import update
from ..kernels.gpu.source import supported

State = dict[str, Any]


def takes(p: Parameter) -> bool:
    """Can p lie in a flat array on a GPU?"""
    return type(p.data) is not np.ndarray and supported(p.data)


class Flat:
    """Some parameters of one dtype, in one flat array; their states, in one for each name.

    The value of each parameter and the arrays of its state are views. A step makes a new array of the values, and
    works in place on those of the state. Where somebody has put another array in the place of a view (``.to()``,
    `load_state_dict`), all are gathered anew: `fits` says no.
    """

    def __init__(self, params: Sequence[Parameter], states: Sequence[State], names: Sequence[str]):
        self.params, self.names = list(params), list(names)
        self.layout = update.Layout([p.size for p in params])
        self.w = self._gathered([p.data for p in params])
        self.buffers = {name: self._gathered([s.get(name) for s in states]) for name in names}
        self.views = self._views(self.w, ())
        for p, view in zip(params, self.views):
            _move(p, view)
        self.state_views = {name: self._views(buffer, (1,)) for name, buffer in self.buffers.items()}
        for name, views in self.state_views.items():
            for p, state, view in zip(params, states, views):
                if name in state or p.grad is not None:  # what has no gradient keeps its state, an empty one too
                    state[name] = view

    def fits(self, params: Sequence[Parameter], states: Sequence[State], names: Sequence[str]) -> bool:
        """Are these the parameters, and is everything where the last step left it?"""
        return (
            self.names == list(names)
            and len(self.params) == len(params)
            and all(p is q and p.data is view for p, q, view in zip(params, self.params, self.views))
            and all(
                state.get(name) is view or (p.grad is None and name not in state)
                for name, views in self.state_views.items()
                for p, state, view in zip(params, states, views)
            )
        )

    def step(self, step: update.Step) -> None:
        """Update the parameters that have a gradient."""
        grads = [None if p.grad is None else p.grad.data for p in self.params]
        self.w = update.run(step, self.layout, self.w, self.buffers, grads)
        self.views = self._views(self.w, ())
        for p, view in zip(self.params, self.views):
            if p.grad is None:
                _move(p, view)
            else:
                p.data = view

    def _gathered(self, arrays: Sequence[Any]) -> Any:
        """The arrays one after another; zeros where there is none."""
        like = self.params[0]
        flat = namespace([like.data]).zeros(self.layout.total, like.dtype)
        for part, array in zip(self.layout.slices, arrays):
            if array is not None:
                flat[part] = to_device(array, like.device).reshape(-1)
        return flat

    def _views(self, flat: Any, scalar: tuple[int, ...]) -> list[Any]:
        return [flat[part].reshape(p.shape or scalar) for part, p in zip(self.layout.slices, self.params)]


def _move(p: Parameter, view: Any) -> None:
    """Put the same numbers in another place: no update, of which a backward pass would complain."""
    object.__setattr__(p, "data", view)


class Groups:
    """The flat arrays of an optimiser: one for each dtype in each of its groups."""

    def __init__(self) -> None:
        self.flat: dict[Any, Flat] = {}

    def step(
        self, group: int, params: Sequence[Parameter], states: Mapping[Parameter, State],
        plan: Callable[[Sequence[State]], update.Step],
    ) -> None:  # fmt: skip
        """Update those of a group's parameters that have a gradient; `plan` makes a step out of their states."""
        for dtype in {p.dtype: None for p in params if p.grad is not None}:
            # those that have had a gradient: what is frozen from the start need not be copied at every step
            chosen = [p for p in params if p.dtype == dtype and states[p]]
            of_chosen = [states[p] for p in chosen]
            step = plan(of_chosen)
            names = [name for name in step.buffers if name]
            flat = self.flat.get((group, dtype))
            if flat is None or not flat.fits(chosen, of_chosen, names):
                flat = self.flat[group, dtype] = Flat(chosen, of_chosen, names)
            flat.step(step)
