"""Parameters on a GPU in flat arrays, for kernels that update all of them in one launch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.tensor import Parameter

State = dict[str, Any]

ENTRIES = 1024  # of a block
ALIGNED = 64  # entries: where each parameter starts is a multiple of this, as matrix products like it


class Layout:
    """Where the parameters of these sizes lie in a flat array, and what each block of threads takes of them."""

    def __init__(self, sizes: Sequence[int]):
        ends = np.cumsum([-(-size // ALIGNED) * ALIGNED for size in sizes]).tolist()
        self.slices = [slice(start, start + size) for start, size in zip([0, *ends], sizes)]
        self.total = ends[-1]
        rows = [
            (i, part.start + first, first, min(ENTRIES, size - first))
            for i, (part, size) in enumerate(zip(self.slices, sizes))
            for first in range(0, size, ENTRIES)
        ]
        self.blocks = len(rows)
        self.table = sys.modules["cupy"].asarray(np.array(rows, np.int64).reshape(-1, 4))


class Flat:
    """Some parameters of one dtype, in one flat array; their states, in one for each name.

    The value of each parameter and the arrays of its state are views. A step makes a new array of the values, and
    works in place on those of the state. Once somebody has put another array in the place of a view (``.to()``,
    `load_state_dict`), `fits` is False, and all must be gathered anew.
    """

    def __init__(self, params: Sequence[Parameter], states: Sequence[State], names: Sequence[str]):
        self.params, self.names = list(params), list(names)
        self.layout = Layout([p.size for p in params])
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

    def replace(self, w: Any) -> None:
        """Let the parameters be views of another flat array, in which those without a gradient have not changed."""
        self.w, self.views = w, self._views(w, ())
        for p, view in zip(self.params, self.views):
            if p.grad is None:
                _move(p, view)
            else:
                p.data = view

    def _gathered(self, arrays: Sequence[Any]) -> Any:
        """The arrays one after another; zeros where there is none."""
        flat = sys.modules["cupy"].zeros(self.layout.total, self.params[0].dtype)
        for part, array in zip(self.layout.slices, arrays):
            if array is not None:
                flat[part] = array.reshape(-1)
        return flat

    def _views(self, flat: Any, scalar: tuple[int, ...]) -> list[Any]:
        return [flat[part].reshape(p.shape or scalar) for part, p in zip(self.layout.slices, self.params)]


def _move(p: Parameter, view: Any) -> None:
    """Put the same numbers in another place: no update, of which a backward pass would complain."""
    object.__setattr__(p, "data", view)
