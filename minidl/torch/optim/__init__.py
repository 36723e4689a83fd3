"""torch.optim: the engine's optimisers, seen as torch's: groups and states of torch's tensors."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ... import optim as engine
from ...core.context import enable_grad
from ...core.tensor import Tensor as Value
from .. import advice
from ..tensor import Tensor, unwrap, wrap
from ..values import ParameterValue, Plain
from . import lr_scheduler

__all__ = ["Optimizer", "lr_scheduler"]


class Optimizer:
    """Parameters in groups with options; `state` has what is remembered of each. Subclasses define ``step``."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts")
        params = list(params)
        if not params:
            raise ValueError("optimizer got an empty parameter list")
        self.defaults, self.param_groups, self.state = defaults, [], defaultdict(dict)
        if not isinstance(params[0], Mapping):
            params = [{"params": [p[1] if isinstance(p, tuple) else p for p in params]}]
        for group in params:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(
            {"params": params, **self.defaults, **{n: v for n, v in group.items() if n != "params"}}
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else wrap(Plain(np.zeros_like(p.grad.value.data)))

    def step(self, closure: Callable | None = None) -> Any:
        raise NotImplementedError("an Optimizer of your own defines step(self, closure=None)")

    def _numbers(self) -> dict[int, int]:
        every = [p for group in self.param_groups for p in group["params"]]
        return {id(p): i for i, p in enumerate(every)}

    def state_dict(self) -> dict[str, Any]:
        """torch's form: ``{"state": {number: {...}}, "param_groups": [{..., "params": [numbers]}]}``."""
        numbers = self._numbers()
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": {numbers[id(p)]: dict(s) for p, s in self.state.items() if s}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        groups = state_dict["param_groups"]
        lengths = [[len(g["params"]) for g in several] for several in (groups, self.param_groups)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"loaded state dict has parameter groups of {lengths[0]} parameters, this optimizer of {lengths[1]}"
            )
        own = [p for group in self.param_groups for p in group["params"]]
        numbers = [n for g in groups for n in g["params"]]
        for group, saved in zip(self.param_groups, groups):
            group.update({name: value for name, value in saved.items() if name != "params"})
        state = {p: state_dict["state"].get(n, {}) for n, p in zip(numbers, own)}
        self.state = defaultdict(dict, {p: {k: _copy(v) for k, v in s.items()} for p, s in state.items() if s})

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {value}" for name, value in sorted(group.items()) if name != "params"]
        return "\n".join([*lines, ")"])


def _copy(value: Any) -> Any:
    return wrap(Plain(value.value.data.copy())) if isinstance(value, Tensor) else value


class OfEngine(Optimizer):
    """An optimiser of the engine's: before each step it gets the options and states that stand here."""

    engine: type[engine.Optimiser]
    ignored = ("foreach", "capturable", "differentiable", "fused")

    def __init__(self, params: Iterable[Any], *arguments: Any, **options: Any):
        names = [n for n in inspect.signature(self.engine).parameters if n != "params"]
        options = {**dict(zip(names, arguments)), **{n: v for n, v in options.items() if n not in self.ignored}}
        options = {n: v.item() if isinstance(v, Tensor) else v for n, v in options.items()}
        if unknown := set(options) - set(names):
            raise TypeError(f"{type(self).__name__} has no option {', '.join(unknown)}: its are {', '.join(names)}")

        self.optimiser = self.engine([ParameterValue(np.zeros(1))], **options)  # checks the options
        super().__init__(params, self.optimiser.defaults)
        self.optimiser = None

    def _made(self) -> engine.Optimiser:
        """The engine's optimiser over all parameters; made anew when groups are added."""
        groups = [{**group, "params": [_parameter(p) for p in group["params"]]} for group in self.param_groups]
        count = [len(group["params"]) for group in groups]
        if self.optimiser is None or [len(g["params"]) for g in self.optimiser.param_groups] != count:
            known = {} if self.optimiser is None else self.optimiser.state
            allowed = {"params", *self.defaults}
            self.optimiser = self.engine(
                [{n: v for n, v in group.items() if n in allowed} for group in groups], **self._options()
            )
            self.optimiser.state.update({p: s for p, s in known.items() if p in self.optimiser.state})
            self.state = _States(self.optimiser, self.state)
        for own, group in zip(self.optimiser.param_groups, self.param_groups):
            own.update({n: unwrapped(group[n]) for n in own if n != "params"})
        return self.optimiser

    def _options(self) -> dict[str, Any]:
        return dict(self.defaults)

    def step(self, closure: Callable | None = None) -> Any:
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._made().step()
        return loss


def unwrapped(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _parameter(p: Tensor) -> Any:
    """The engine's parameter of a leaf; a plain leaf gets one that shares its memory and its gradient."""
    if isinstance(p.value, ParameterValue):
        return p.value
    value = ParameterValue(p.value.data, p.requires_grad)
    value.node, value._variable = p.value.node, p
    p.value = value
    return value


class _States(dict):
    """What the engine remembers of each parameter, by torch's tensors."""

    def __init__(self, optimiser: engine.Optimiser, given: Mapping[Tensor, dict]):
        self.optimiser = optimiser
        for p, state in given.items():
            self[p] = state

    def __setitem__(self, p: Tensor, state: dict) -> None:
        numbers = {n: _number_or_array(v) for n, v in state.items()}
        self.optimiser.state[_parameter(p)] = numbers

    def __getitem__(self, p: Tensor) -> dict[str, Any]:
        return {n: _seen(v) for n, v in self.optimiser.state.get(_parameter(p), {}).items()}

    def items(self) -> Any:
        return [(p.variable, self[p.variable]) for p in self.optimiser.state]

    def keys(self) -> list[Tensor]:
        return [p.variable for p in self.optimiser.state]

    def values(self) -> list[dict[str, Any]]:
        return [self[p] for p in self.keys()]

    def __iter__(self) -> Any:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.optimiser.state)

    def __contains__(self, p: Any) -> bool:
        return bool(self.optimiser.state.get(_parameter(p)))

    def get(self, p: Tensor, default: Any = None) -> Any:
        return self[p] if self.optimiser.state.get(_parameter(p)) else default


def _number_or_array(value: Any) -> Any:
    value = unwrap(value)
    if isinstance(value, Value | np.ndarray):
        array = getattr(value, "data", value) if isinstance(value, Value) else value
        return array.item() if array.ndim == 0 else array
    return value


def _seen(value: Any) -> Any:
    if isinstance(value, int | float):
        return wrap(Plain(np.asarray(value, np.float32)))
    return wrap(Plain(value)) if isinstance(value, np.ndarray) else value


def _of_engine(kind: type[engine.Optimiser], **changed: Any) -> type[OfEngine]:
    return type(
        kind.__name__, (OfEngine,), {"engine": kind, "__module__": "torch.optim", "__doc__": kind.__doc__, **changed}
    )


for _kind in (
    engine.SGD, engine.Adam, engine.AdamW, engine.RMSprop, engine.Adagrad, engine.Adadelta, engine.Adamax, engine.NAdam,
    engine.RAdam,
):  # fmt: skip
    globals()[_kind.__name__] = _of_engine(_kind)
    __all__.append(_kind.__name__)


class LBFGS(Optimizer):
    """See minidl.optim.LBFGS; ``step(closure)``."""

    def __init__(self, params: Iterable[Any], *arguments: Any, **options: Any):
        params = list(params)
        self.optimiser = engine.LBFGS([_parameter(p) for p in params], *arguments, **options)
        super().__init__(params, self.optimiser.defaults)

    def step(self, closure: Callable) -> Any:
        self.optimiser.lr = self.param_groups[0]["lr"]
        return wrap(self.optimiser.step(lambda: unwrap(closure())))


__all__.append("LBFGS")


def __getattr__(name: str) -> Any:
    raise AttributeError(advice.unknown(f"torch.optim.{name}", name, globals()))
