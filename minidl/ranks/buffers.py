"""What shards change of the buffers of a model, and what becomes of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.primitive import same_form
from ..device import device_of, to_device
from ..nn import Module


class Buffers:
    """The buffers of a model as they are before a step: every shard begins with them.

    What becomes of them after it:
        real and complex numbers     move by the mean of what the shards change, each by its share of the batch
        an integer without axes      the same, rounded: it counts batches
        arrays of integers           move by the sum of what the shards change: they count samples (a histogram)
        booleans                     change where a shard changes them
    A buffer that a module assigns anew counts as written into.
    """

    def __init__(self, model: Module):
        self.places = [(m, name, getattr(m, name)) for m in model.modules() for name in m.buffer_names]
        self.then = [None if array is None else array.copy() for _, _, array in self.places]
        there = [array for array in self.then if array is not None]
        self.row = in_a_row(there)
        means = [array.dtype.kind in "fc" or not array.ndim for array in there]
        self.means = np.repeat(means, [entries(array).size for array in there])

    def changes(self, weight: float) -> np.ndarray:
        """What a shard adds to the changes of all entries, in one row: `weight` is its share of the batch."""
        now = [getattr(module, name) for module, name, _ in self.places]
        for (module, name, _), after, before in zip(self.places, now, self.then):
            if not (after is before if after is None or before is None else same_form(after, before)):
                raise ValueError(
                    f"a shard changes buffer {name} of {type(module).__name__} from {form(before)} to {form(after)}: "
                    "such changes cannot be added up; give it its form before training, or make it a plain attribute"
                )
        change = in_a_row([array for array in now if array is not None]) - self.row
        return change * np.where(self.means, weight, float(weight > 0))

    def restore(self) -> None:
        for (module, name, array), then in zip(self.places, self.then):
            if array is not None:
                array[...] = then
            if getattr(module, name) is not array:
                setattr(module, name, array)

    def change(self, changes: np.ndarray) -> None:
        """Change the entries by the sums of these over the shards."""
        self.restore()
        start = 0
        for (_, _, array), then in zip(self.places, self.then):
            if then is None:
                continue
            flat = entries(then)
            change = changes[start : start + flat.size]
            start += flat.size
            if flat.dtype.kind == "b":
                new = flat ^ (change != 0)
            elif flat.dtype.kind == "f":
                new = (flat + change).astype(flat.dtype)
            else:
                new = flat + np.rint(change).astype(np.int64).astype(flat.dtype)
            array[...] = to_device(new.view(then.dtype).reshape(then.shape), device_of(array))


def in_a_row(arrays: list[Any]) -> np.ndarray:
    return np.concatenate([np.empty(0), *map(entries, arrays)], dtype=float, casting="unsafe")


def form(array: Any) -> str:
    """Its dtype and shape."""
    return "None" if array is None else f"{array.dtype}{list(array.shape)}"


def entries(array: Any) -> np.ndarray:
    """Real numbers or booleans in one row; complex ones are two each."""
    flat = to_device(array, "cpu").reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
