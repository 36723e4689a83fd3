"""torch.nn.Module: a module of the engine whose parts are seen as torch's tensors, with hooks.

In the dictionary of its attributes are the engine's parameters and arrays, so that all that minidl does with modules
works; who asks for an attribute gets a torch tensor of it. A layer is the engine's: its forward runs on the same
dictionary seen as the engine's class.
"""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ... import nn as engine
from ...core.context import current, no_grad
from ...core.tensor import Parameter as EngineParameter
from ...core.tensor import Tensor as Value
from ..dtypes import as_numpy
from ..hooks import BackwardHooks
from ..tensor import Parameter, Removable, Tensor, unwrap, wrap
from ..values import ParameterValue, Plain

OF_CLASS = object.__getattribute__


class _IncompatibleKeys(NamedTuple):
    """What `load_state_dict` gives."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        shown = f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"
        return shown if self.missing_keys or self.unexpected_keys else "<All keys matched successfully>"

    __str__ = __repr__


class Module(engine.Module):
    """A function with parameters, as torch has it: subclasses set attributes in ``__init__`` and define ``forward``."""

    hidden_buffers: tuple[str, ...] = ()  # those that no state has

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def __getattribute__(self, name: str) -> Any:
        value = OF_CLASS(self, name)
        kind = type(value)
        if kind is ParameterValue:
            return value.variable
        if kind is np.ndarray and name in OF_CLASS(self, "buffer_names"):
            return wrap(Plain(value))
        return wrap(value) if kind is Value or kind is Plain else value

    def __getattr__(self, name: str) -> Any:
        if name in HOOKS:
            return vars(self).setdefault(name, OrderedDict())
        if name in DICTIONARIES:
            return DICTIONARIES[name](self)
        if name in (computed := vars(self).get("parametrizations") or ()):
            return computed[name]()
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            value = value.value
        elif isinstance(value, EngineParameter) and not isinstance(value, ParameterValue):
            value = adopted(value)
        elif isinstance(value, Tensor):
            if name in OF_CLASS(self, "buffer_names"):
                value = value.value.data
            elif isinstance(vars(self).get(name), EngineParameter):
                raise TypeError(
                    f"cannot assign 'torch.FloatTensor' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            elif isinstance(self, OfEngine):  # a weight that is computed: the layer's forward is the engine's
                value = value.value
        if isinstance(value, EngineParameter) and name in OF_CLASS(self, "buffer_names"):
            self.buffer_names = tuple(n for n in self.buffer_names if n != name)
        super().__setattr__(name, value)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        now = current()
        own = any(isinstance(x, Value) for x in inputs)  # called by the engine: its values come back
        if own:
            inputs = tuple([wrap(x) for x in inputs])
        if now.trace is not None:
            now.trace.enter(self)
        hooks = vars(self)
        if "_forward_pre_hooks" in hooks:
            for hook, with_options in list(hooks["_forward_pre_hooks"].values()):
                new = hook(self, inputs, options) if with_options else hook(self, inputs)
                if new is not None and with_options:
                    inputs, options = new
                elif new is not None:
                    inputs = new if isinstance(new, tuple) else (new,)
        backward = BackwardHooks.of(self, hooks)
        if backward is not None:
            inputs = backward.entering(inputs)
        output = self.forward(*inputs, **options)
        if "_forward_hooks" in hooks:
            for hook, with_options in list(hooks["_forward_hooks"].values()):
                new = hook(self, inputs, options, output) if with_options else hook(self, inputs, output)
                output = output if new is None else new
        if backward is not None:
            output = backward.leaving(output)
        for watcher in now.watchers:
            watcher(self, unwrap(inputs), unwrap(output))
        return unwrap(output) if own else output

    # --- hooks

    def _hook(self, kind: str, hook: Any, prepend: bool = False) -> Removable:
        hooks, key = getattr(self, kind), next(_numbers)
        hooks[key] = hook
        if prepend:
            hooks.move_to_end(key, last=False)
        return Removable(hooks, key)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> Removable:
        """Call ``hook(module, inputs, output)`` after each forward; what it returns, unless None, is the output."""
        return self._hook("_forward_hooks", (hook, with_kwargs), prepend)

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Removable:
        """Call ``hook(module, inputs)`` before each forward; what it returns, unless None, are the inputs."""
        return self._hook("_forward_pre_hooks", (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> Removable:
        """Call ``hook(module, grad_input, grad_output)`` when the gradient of the inputs is known."""
        return self._hook("_backward_hooks", hook, prepend)

    register_backward_hook = register_full_backward_hook

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> Removable:
        """Call ``hook(module, grad_output)`` when the gradient of the outputs is known."""
        return self._hook("_backward_pre_hooks", hook, prepend)

    # --- parts

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Make a tensor part of the state that is no parameter; one that is not `persistent` is in no state_dict."""
        if not persistent:
            self.hidden_buffers = (*self.hidden_buffers, name)
        vars(self).pop(name, None)
        super().register_buffer(name, unwrap(tensor) if not isinstance(tensor, Tensor) else tensor.value.data)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        setattr(self, name, param)

    def register_module(self, name: str, module: Module | None) -> None:
        self.add_module(name, module)

    def add_module(self, name: str, module: Module | None) -> None:
        if module is None:
            setattr(self, name, None)
        else:
            super().add_module(name, module)

    def get_submodule(self, target: str) -> Module:
        module = self
        for name in target.split(".") if target else ():
            module = getattr(module, name)
        return module

    def get_parameter(self, target: str) -> Parameter:
        path, _, name = target.rpartition(".")
        return getattr(self.get_submodule(path), name)

    get_buffer = get_parameter

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        for name, value in super().named_parameters(prefix, recurse):
            yield name, adopted(value).variable

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name in module.buffer_names:
                if (array := vars(module).get(name)) is not None:
                    yield f"{path}.{name}" if path else name, wrap(Plain(array))

    def named_modules(
        self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        if isinstance(memo, str):
            memo, prefix = None, memo
        return super().named_modules(prefix, remove_duplicate)

    # --- the state

    def state_dict(self, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> OrderedDict:
        """The parameters and persistent buffers by path. The tensors show the memory of the module's."""
        state = OrderedDict() if destination is None else destination
        for path, module, name, array in self._state():
            if name not in module.hidden_buffers:
                state[prefix + path] = getattr(module, name) if keep_vars else wrap(Plain(array))
        return state

    def load_state_dict(self, state_dict: Mapping, strict: bool = True, assign: bool = False) -> _IncompatibleKeys:
        """Copy the tensors of a state into this module's. RuntimeError, as torch's, for names or shapes that differ."""
        hidden = {p for p, module, name, _ in self._state() if name in module.hidden_buffers}
        state = {name: unwrap(t) for name, t in state_dict.items()}
        slots = {path: array for path, _, _, array in self._state() if path not in hidden}
        optional = {p for p, module, name, _ in self._state() if name in module.optional_state}
        missing = [path for path in slots if path not in state and path not in optional]
        unexpected = [path for path in state if path not in slots]
        wrong = [
            f"size mismatch for {path}: the checkpoint has {tuple(np.shape(state[path]))}, the model {array.shape}"
            for path, array in slots.items()
            if path in state and np.shape(state[path]) not in (array.shape, (1,) * (not array.ndim))
        ]
        if strict and missing:
            wrong.append(f"Missing key(s) in state_dict: {', '.join(map(repr, missing))}")
        if strict and unexpected:
            wrong.append(f"Unexpected key(s) in state_dict: {', '.join(map(repr, unexpected))}")
        if wrong:
            lines = "\n\t".join(wrong)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{lines}")
        for path, module, name, array in list(self._state()):
            if path in state and path in slots:
                new = np.asarray(getattr(state[path], "data", state[path]), array.dtype).reshape(array.shape)
                array[...] = new
                if isinstance(value := vars(module)[name], EngineParameter):
                    value.data = array
        return _IncompatibleKeys(missing, unexpected)

    # --- changing every module at once

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.parameters():
            p.grad = None

    def to(self, *targets: Any, **options: Any) -> Module:
        """In a floating-point dtype; devices are all the cpu."""
        for target in [*targets, options.get("dtype")]:
            if isinstance(target, Tensor):
                target = target.dtype
            if target is not None and not isinstance(target, str | int | bool):
                self._cast(as_numpy(target))
        return self

    def _cast(self, kind: np.dtype) -> None:
        for _, module, name, array in list(self._state()):
            if array.dtype.kind == "f":
                value = vars(module)[name]
                if isinstance(value, EngineParameter):
                    value.data = array.astype(kind)
                    value.grad = None if value.grad is None else value.grad.astype(kind)
                else:
                    vars(module)[name] = array.astype(kind)

    def _apply(self, change: Callable) -> Module:
        for p in self.parameters():
            p.data = change(p.data)
        return self

    def type(self, dtype: Any) -> Module:
        return self.to(dtype)

    def float(self) -> Module:
        return self.to(np.float32)

    def double(self) -> Module:
        return self.to(np.float64)

    def half(self) -> Module:
        return self.to(np.float16)

    def cpu(self, *device: Any) -> Module:
        """Itself: there is one device."""
        return self

    cuda = share_memory = cpu

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Accepted: md.record is what makes a step a program here."""

    def minidl(self) -> engine.Module:
        """This network as a module of minidl's, with the same parameters: for md.summary, md.explain, fit."""
        kind = type(type(self).__name__, (engine.Module,), {"forward": lambda seen, *inputs: self(*inputs)})
        return seen_as(kind, self)

    def _get_name(self) -> str:
        return type(self).__name__

    def __deepcopy__(self, memo: dict) -> Module:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        vars(new).update({name: copy.deepcopy(value, memo) for name, value in vars(self).items()})
        return new

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self)]


class OfEngine:
    """What torch's class of a layer that the engine has can do besides."""

    def reset_parameters(self) -> None:
        """Draw the weights anew, in place; statistics begin again, too."""
        made = next(c for c in type(self).__mro__ if c.__module__ == "torch.nn" and OfEngine in c.__bases__)
        arguments, options = self.made_with
        fresh = made(*arguments, **options).state_dict()
        with no_grad():
            for name, tensor in Module.state_dict(self).items():
                if name in fresh:
                    tensor.copy_(fresh[name])

    def reset_running_stats(self) -> None:
        """Running means 0, variances 1."""
        for name, start in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            if vars(self).get(name) is not None:
                getattr(self, name).fill_(start)


def adopted(value: EngineParameter) -> ParameterValue:
    """A parameter that the engine made, as one that knows its torch variable."""
    if isinstance(value, ParameterValue):
        return value
    return ParameterValue(value.data, value.requires_grad, value.name)


def seen_as(kind: type, module: Module) -> Any:
    """The same attributes as a layer of the engine."""
    layer = object.__new__(kind)
    layer.__dict__ = vars(module)
    return layer


@cache
def layer(kind: type[engine.Module]) -> type:
    """torch's class of a layer that the engine has."""

    def __init__(self: Module, *arguments: Any, device: Any = None, dtype: Any = None, **options: Any) -> None:
        own = seen_as(kind, self)
        kind.__init__(own, *arguments, **options)
        vars(self)["made_with"] = (arguments, options)
        for name, value in vars(self).items():
            if isinstance(value, EngineParameter):
                vars(self)[name] = adopted(value)
            elif isinstance(value, engine.Module) and not isinstance(value, Module):
                vars(self)[name] = of_engine(value)
        if dtype is not None:
            self.to(dtype)

    def forward(self: Module, *inputs: Any, **options: Any) -> Any:
        options = {name: unwrap(x) for name, x in options.items()} if options else options
        own = seen_as(kind, self)
        if "parametrizations" in own.__dict__:
            own.__dict__ = {**vars(self), **{name: getattr(self, name).value for name in self.parametrizations}}
        return wrap(kind.forward(own, *map(unwrap, inputs), **options))

    return type(
        kind.__name__, (Module, OfEngine, kind),
        {"__init__": __init__, "forward": forward, "__module__": "torch.nn", "__doc__": kind.__doc__},
    )  # fmt: skip


def of_engine(module: engine.Module) -> Module:
    """A layer of the engine as torch's of the same name."""
    new = object.__new__(layer(type(module)))
    engine.Module.alive.add(new)
    vars(new).update({n: adopted(v) if isinstance(v, EngineParameter) else v for n, v in vars(module).items()})
    return new


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
DICTIONARIES: dict[str, Callable] = {  # torch's lists of the parts, as copies
    "_modules": lambda self: OrderedDict(self.named_children()),
    "_parameters": lambda self: OrderedDict(self.named_parameters(recurse=False)),
    "_buffers": lambda self: OrderedDict(self.named_buffers(recurse=False)),
    "_non_persistent_buffers_set": lambda self: set(self.hidden_buffers),
}
_numbers = itertools.count()
