"""Checkpoints: everything that training changes, in one .npz that NumPy opens too, never half written.

Any nest of dicts, lists, arrays, numbers and strings is saved: arrays under their path joined with dots, an entry
called "structure" has the rest, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.tensor import as_array
from ..device import namespace, to_device
from ..files.atomic import replacing
from ..files.weights import WeightsError, load_weights, npz
from ..nn import Module
from ..optim.ema import copy_as
from ..ranks.agreement import digest
from ..ranks.group import Alone

STRUCTURE = "structure"


class Diverged(ArithmeticError):
    """The loss, a gradient or a parameter is NaN or infinite. The message names the step and where it came from."""


class Run:
    """What training changes, and its checkpoint."""

    def __init__(
        self, model: Module, optimiser: Any, generators: Mapping | None, path: str | os.PathLike[str] | None,
        others: Mapping[str, Any], group: Alone, shards: int | None,
    ):  # fmt: skip
        self.model = model
        self.others = {name: other for name, other in others.items() if other is not None}  # with states of their own
        self.optimisers = dict(optimiser) if isinstance(optimiser, Mapping) else {"main": optimiser}
        self.asked = {name: [_options(g) for g in o.param_groups] for name, o in self.optimisers.items()}
        self.generators = dict(generators or {})
        self.group, self.shards = group, shards
        self.path = Path(path) if path is not None else None
        if self.path is not None and group.first:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def settings(self) -> dict[str, Any]:
        """What must be the same on all ranks that train together."""
        parameters = [(name, p.shape, p.dtype.name) for name, p in self.model.named_parameters()]
        state = [(name, array.shape, array.dtype.name) for name, array in self.model.state_dict().items()]
        return {
            "shards": self.shards,
            "parameters' names, shapes and dtypes": digest([parameters, state]),
            "generators": sorted(self.generators),
            **{f"the {name} optimiser": type(optimiser).__name__ for name, optimiser in self.optimisers.items()},
            **{
                f"{option} of the {name} optimiser": [group[option] for group in groups]
                for name, groups in self.asked.items() for option in groups[0]
            },
            **{name: type(other).__name__ for name, other in self.others.items()},
        }

    def set_lr(self, lr: float) -> float:
        for optimiser in self.optimisers.values():
            optimiser.lr = lr
        return float(lr)

    def random_state(self) -> dict[str, Any]:
        """The states of the model's generators and of those the user named."""
        given = {name: generator.bit_generator.state for name, generator in self.generators.items()}
        return {"model": self.model.random_state(), "given": given}

    def load_random_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_random_state(state["model"])
        if set(state["given"]) != set(self.generators):
            raise ValueError(f"saved were generators {sorted(state['given'])}, given are {sorted(self.generators)}")
        for name, generator in self.generators.items():
            generator.bit_generator.state = state["given"][name]

    def save(self, step: int, record: dict) -> None:
        """Write everything, `step` steps being done; refuse to put a broken model in the place of a sound one."""
        if self.path is None:
            return
        if name := not_finite(self.model):
            raise Diverged(f"step {step - 1}: the update made {name} NaN or infinite; lower the lr. {self.where()}")
        if self.group.first:
            save_tree(self.path, self.tree(step, record))

    def tree(self, step: int, record: dict) -> dict[str, Any]:
        """All that training changes, after `step` steps."""
        optimisers = {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        tree = {"step": step, "record": record, "model": self.model.state_dict(), "optimisers": optimisers}
        others = {name: other.state_dict() for name, other in self.others.items()}
        return {**tree, "asked": self.asked, "random": self.random_state(), "shards": self.shards, **others}

    def begin(self, resume: bool) -> tuple[int, dict]:
        """(steps done, record of the last): those of the checkpoint, which all is restored from, or (0, {}).

        Every rank has the state of the first one then.
        """
        if resume and self.path is None:
            raise ValueError("resume=True needs checkpoint=, the file to resume from")
        tree = load_tree(self.path) if resume and self.group.first and self.path.exists() else None
        if tree is None and self.group.first:  # the others learn it with the tree
            self.shards = self.shards or self.group.shards
        if self.group.size > 1:
            tree = shared_tree(self.group, tree or (self.tree(0, {}) if self.group.first else None))
        return (0, {}) if tree is None else self.load(tree)

    def load(self, tree: Mapping[str, Any]) -> tuple[int, dict]:
        """Restore everything; gives (steps done, record of the last).

        An option of an optimiser (its rate, betas, weight decay) is what it has become in the saved run, or what is
        asked for now if the saved run was asked for another.
        """
        try:
            if set(tree["optimisers"]) != set(self.optimisers):
                raise ValueError(f"saved were optimisers {sorted(tree['optimisers'])}, given {sorted(self.optimisers)}")
            self.shards = self._shards_of(tree)
            self.model.load_state_dict(tree["model"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(tree["optimisers"][name])
            self.load_random_state(tree["random"])
            for name, other in self.others.items():
                if name in tree:  # else it begins here
                    other.load_state_dict(tree[name])
            for name, optimiser in self.optimisers.items():
                for i, group in enumerate(optimiser.param_groups):
                    before = tree["asked"][name][i] if "asked" in tree else {}
                    group.update({k: v for k, v in self.asked[name][i].items() if _as_saved(v) != before.get(k)})
                    optimiser.check(group)
            return tree["step"], tree["record"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} is not a checkpoint of this run: {error}") from None

    def _shards_of(self, tree: Mapping[str, Any]) -> int:
        saved = tree.get("shards", 1)  # older ones are without
        if self.shards not in (None, saved):
            raise ValueError(f"its batches were cut into shards={saved}, not {self.shards}: leave shards out")
        return saved

    def where(self) -> str:
        """One sentence on the last checkpoint."""
        if self.path is None or not self.path.exists():
            return "there is no checkpoint"
        return f"{self.path} holds the checkpoint after {load_tree(self.path)['step']} steps"


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group of parameters."""
    return {name: value for name, value in group.items() if name != "params"}


def _as_saved(option: Any) -> Any:
    return list(option) if isinstance(option, tuple) else option


def load_model(path: str | os.PathLike[str], model: Module, *, ema: bool = False) -> int:
    """Put the weights of a checkpoint of `fit` into `model`, or with `ema` their averages; returns the number of steps
    that made them."""
    tree = load_tree(path)
    if ema and "ema" not in tree:
        raise ValueError(f"{path} holds no averages; train with fit(..., ema=optim.EMA(model))")
    model.load_state_dict(tree["model"])
    for name, p in model.named_parameters() if ema else ():
        p.data = copy_as(p, tree["ema"][name])
    return tree["step"]


def not_finite(model: Module) -> str | None:
    """The name of the first parameter that holds a NaN or an infinity."""
    bad = (name for name, p in model.named_parameters() if not namespace([p.data]).isfinite(p.data).all())
    return next(bad, None)


# --- any nest of dicts, lists, arrays, numbers and strings as named arrays


def pack(tree: Any) -> dict[str, np.ndarray]:
    """The tree as named arrays."""
    arrays: dict[str, np.ndarray] = {}
    structure = _take_apart(tree, "", arrays)
    return {STRUCTURE: np.array(json.dumps(structure)), **arrays}


def _take_apart(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON can hold it; its arrays go to `arrays`."""
    if isinstance(value, dict):
        paths = {key: f"{path}.{key}" if path else str(key) for key in value}
        return {"dict": [[key, _take_apart(entry, paths[key], arrays)] for key, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_take_apart(entry, f"{path}.{i}", arrays) for i, entry in enumerate(value)]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if path in arrays or path == STRUCTURE:
        raise ValueError(f"two entries of a checkpoint are called {path!r}")
    arrays[path] = np.asarray(to_device(as_array(value), "cpu"))
    return {"array": path}


def unpack(arrays: dict[str, np.ndarray]) -> Any:
    """The tree that `pack` took apart. Raises KeyError if the arrays are not such a tree."""
    return _put_together(json.loads(str(arrays[STRUCTURE])), arrays)


def _put_together(structure: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(structure, dict):
        return structure
    if "array" in structure:
        return arrays[structure["array"]]
    if "list" in structure:
        return [_put_together(entry, arrays) for entry in structure["list"]]
    return {key: _put_together(entry, arrays) for key, entry in structure["dict"]}


def save_tree(path: str | os.PathLike[str], tree: Any) -> None:
    """Write a tree to an .npz: a crash leaves the old file or the new one, whole."""
    with replacing(path) as file:
        npz.write(file, pack(tree))


def shared_tree(group: Alone, tree: Any) -> Any:
    """The first rank's tree, on all."""
    arrays = pack(tree) if group.first else {}
    forms = json.loads(group.text(json.dumps({name: [a.shape, a.dtype.str] for name, a in arrays.items()})))
    return unpack({
        name: group.broadcast(np.array(arrays[name], order="C") if group.first else np.empty(shape, dtype))
        for name, (shape, dtype) in forms.items()
    })  # fmt: skip


def load_tree(path: str | os.PathLike[str]) -> Any:
    """Read a tree written by `save_tree`. Raises WeightsError, in one line, for any other file."""
    arrays = load_weights(path)
    try:
        return unpack(arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: not a checkpoint: {type(error).__name__} {error}") from None
