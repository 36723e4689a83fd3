"""What all optimisers share: parameters in groups with options, a state for each parameter, the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.context import current
from ..core.tensor import Parameter, Tensor, as_array
from ..device import namespace, to_device
from .forgotten import optimisers, warn_of_parameters_without_optimiser, warn_of_plain_containers

AT_LEAST_ZERO = (
    "lr", "weight_decay", "momentum", "alpha", "eps", "lr_decay", "initial_accumulator_value", "momentum_decay",
    "rho",
)  # fmt: skip


class Rule(ArrayFunction):
    """A formula for one parameter, applied to all of a list. Decorates

        def formula(xp, w, g, state, **options) -> (the new w, {name: new array of the state})

    where w is an array, of one axis at least, g its gradient and `state` the parameter's from before the step, with
    the number of this "step" (from 1); its arrays have the device and dtype of w. The formula changes no array.
    A kernel ``k(params, states, cache, **options)`` may take its place: it does the same for parameters of one dtype,
    and finds in `cache` what it left there.
    """

    def __init__(self, formula: Callable):
        self.formula = formula
        super().__init__(self._apply, formula.__name__)

    def _apply(
        self, xp: Any, params: Sequence[Parameter], states: Sequence[dict[str, Any]], cache: dict, **options: Any
    ) -> None:
        for p, state in zip(params, states):
            if p.grad is not None:
                w = p.data.reshape(_shape(p))
                like = {n: a if isinstance(a, (int, float)) else _laid_as(xp, w, a) for n, a in state.items()}
                w, arrays = self.formula(xp, w, _laid_as(xp, w, p.grad.data.reshape(_shape(p))), like, **options)
                state.update(arrays)
                p.data = w.reshape(p.shape)


class Optimiser:
    """Parameters in groups, each with its own options, and a state (arrays, a count of steps) for each parameter.

    `params`: Parameters, or dictionaries ``{"params": [...], option: value, ...}``, one for each group; options that a
    group lacks are the keywords of the constructor. Subclasses set `rule`, and `check` their options. With the option
    `maximize` steps go uphill.
    """

    rule: Rule

    def __init__(self, params: Iterable[Any], **defaults: Any):
        if hasattr(params, "parameters"):
            kind = type(params).__name__
            raise TypeError(f"{type(self).__name__} changes Parameters, got {kind}; pass model.parameters()")
        params = [params] if isinstance(params, Tensor) else list(params)
        groups = params if params and isinstance(params[0], Mapping) else [{"params": params}]
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        self._caches: dict[tuple, dict] = {}  # what kernels keep from step to step
        for group in groups:
            self.add_param_group(group)
        self._looked_around = False
        optimisers.add(self)
        warn_of_plain_containers(self.state)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Optimise more parameters: ``{"params": [...], option: value, ...}``."""
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        if not params:
            raise ValueError(
                f"{type(self).__name__} got no parameters; an iterator is empty once it has been read, and modules in "
                "a plain list are no parts of a network: use nn.ModuleList"
            )
        for p in params:
            if not isinstance(p, Parameter):
                hint = "wrap it: md.Parameter(x)" if isinstance(p, Tensor) else "pass model.parameters()"
                raise TypeError(f"{type(self).__name__} changes Parameters, got {type(p).__name__}; {hint}")
            if p in self.state:
                raise ValueError(f"{type(self).__name__}: {p.name} is given twice; give each once, in one group")
            self.state[p] = {}
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown:
            options = ", ".join(self.defaults)
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}: its are {options}")
        group = {**self.defaults, **group}
        group = {name: self._plain(name, value) for name, value in group.items() if name != "params"}
        self.check(group)
        self.param_groups.append({**group, "params": params})

    def _plain(self, name: str, value: Any) -> Any:
        """The value of an option as a Python number, or a tuple of them: NumPy's would widen a float32 update."""
        if isinstance(value, (tuple, list)):
            return tuple([self._plain(name, v) for v in value])
        if isinstance(value, Tensor) or hasattr(value, "dtype"):
            value = as_array(value).item() if as_array(value).size == 1 else value
        if not isinstance(value, (int, float)):
            raise TypeError(f"{type(self).__name__}: {name} must be a number, got {value!r}")
        return value

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for options out of range."""
        for name in AT_LEAST_ZERO:
            if name in group and not group[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 0, got {group[name]}")
        betas = group.get("betas", (0, 0))
        if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas are two numbers in [0, 1), got {betas}")

    @property
    def parameters(self) -> list[Parameter]:
        return list(self.state)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; assigning sets it for all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        if (trace := current().trace) is not None:
            trace.refuse("it sets a learning rate, which is read when the update runs: set it before the step")
        value = self._plain("lr", value)
        for group in self.param_groups:
            self.check({**group, "lr": value})
            group["lr"] = value

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters."""
        for p in self.state:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        now = current()
        if now.trace is not None:
            return now.trace.update(self)
        if now.shard is not None:
            return now.shard.step(self)
        self.look_around()
        for number, group in enumerate(self.param_groups):
            # a NumPy float64 among the options would widen a float32 update
            options = {k: x.item() if isinstance(x, np.generic) else x for k, x in group.items() if k != "params"}
            maximize = options.pop("maximize", False)
            alike: dict[tuple, list[Parameter]] = {}
            for p in group["params"]:
                state = self.state[p]
                if p.grad is not None:
                    state["step"] = state.get("step", 0) + 1
                if state:  # it has a gradient, or had one
                    _move_along(state, p)
                    alike.setdefault((number, p.device, p.dtype), []).append(p)
            for key, params in alike.items():
                if any(p.grad is not None for p in params):
                    arguments = params, [self.state[p] for p in params], self._caches.setdefault(key, {})
                    with _negated(params) if maximize else nullcontext():
                        self.rule.run(namespace([params[0].data]), arguments, options)

    def look_around(self) -> None:
        """At the first step, warn of parameters with a gradient that no optimiser has."""
        if not self._looked_around:
            self._looked_around = True
            warn_of_parameters_without_optimiser(self.state)

    # --- the state as plain arrays

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything as NumPy arrays under flat names, fit for .npz: ``groups.0.lr``, ``state.3.momentum_buffer``.

        Parameters count from 0 over all groups, in order; ``groups.0.params`` holds the numbers of group 0.
        """
        numbers = {p: i for i, p in enumerate(self.state)}
        flat = {}
        for i, group in enumerate(self.param_groups):
            for name, value in group.items():
                value = [numbers[p] for p in value] if name == "params" else value
                flat[f"groups.{i}.{name}"] = np.array(value)
        for p, state in self.state.items():
            for name, value in state.items():
                flat[f"state.{numbers[p]}.{name}"] = np.array(to_device(as_array(value), "cpu"), order="C")
        return flat

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, for an optimiser over parameters of the same shapes in the same groups."""
        groups = [dict(group) for group in self.param_groups]
        states: list[dict[str, Any]] = [{} for _ in self.state]
        params = list(self.state)
        numbers = {p: i for i, p in enumerate(params)}
        members = {f"groups.{i}.params": [numbers[p] for p in group["params"]] for i, group in enumerate(groups)}
        saved = {name: np.asarray(value).tolist() for name, value in state.items() if name.endswith(".params")}
        if saved != members:
            raise ValueError(f"{type(self).__name__}: the state has groups {saved}, this optimiser {members}")
        for path, value in state.items():
            kind, number, name = path.split(".", 2)
            value = np.asarray(value)
            if kind == "groups" and name != "params":
                if name not in self.defaults:
                    raise ValueError(f"{type(self).__name__} has no option {name!r}: the state is of another optimiser")
                groups[int(number)][name] = value.item() if value.ndim == 0 else tuple(value.tolist())
            elif kind == "state":
                p = params[int(number)]
                states[int(number)][name] = _restored(path, value, p)
        for group in groups:
            self.check(group)
        self.param_groups = groups
        self.state = dict(zip(params, states))


@contextmanager
def _negated(params: Sequence[Parameter]) -> Iterator[None]:
    """Inside the block the gradients are those of minus the loss, so that a step down is a step up."""
    grads = [p.grad for p in params]
    for p in params:
        p.grad = None if p.grad is None else Tensor(-p.grad.data)
    try:
        yield
    finally:
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad


def _restored(path: str, value: np.ndarray, p: Parameter) -> Any:
    """A saved number as a number, a saved array in the dtype and on the device of its parameter."""
    if value.ndim == 0:
        return value.item()
    if value.shape != _shape(p):
        raise ValueError(f"{path} has shape {value.shape}, its parameter {p.shape}: the state is of another model")
    return to_device(value.astype(p.dtype), p.device)


def _shape(p: Parameter) -> tuple[int, ...]:
    """The shape in which p is updated: one axis at least, as arithmetic on an array of none gives a NumPy scalar."""
    return p.shape or (1,)


def _laid_as(xp: Any, w: Any, a: Any) -> Any:
    """The array a in the dtype and the memory layout of w: what is computed of the two has them, too."""
    if a.dtype == w.dtype and a.strides == w.strides:
        return a
    copy = xp.empty_like(w)
    copy[...] = a
    return copy


def _move_along(state: dict[str, Any], p: Parameter) -> None:
    """Bring the arrays of the state to the device and dtype that p has been moved to."""
    for name, value in state.items():
        if hasattr(value, "dtype") and (type(value) is not type(p.data) or value.dtype != p.dtype):
            state[name] = to_device(value, p.device).astype(p.dtype)
