"""Module: a function with parameters, and the tree that modules make.

A module's parts are its attributes: those that are Parameters are its parameters, those that are Modules its
children, and the arrays named by `register_buffer` its buffers. There are no other lists of them; a path such as
"layer1.0.conv1.weight" names the attributes on the way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple, ParamSpec, Protocol, Self, TypeVar

import numpy as np

from ..core.context import current, no_grad, setting
from ..core.tensor import Parameter, as_array
from ..device import as_dtype, device_of, namespace, to_device
from .loading import misfit, plain_array

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class HasForward(Protocol[P, R]):
    """What a type checker knows of a call of a module: it takes and gives what its forward does."""

    def forward(self, *inputs: P.args, **options: P.kwargs) -> R: ...


@contextmanager
def watch(hook: Callable[[Module, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Inside the block, ``hook(module, inputs, output)`` is called after every forward of every module.

    It is called for inner modules before the ones that called them. Applies to the current thread.
    """
    with setting(watchers=(*current().watchers, hook)):
        yield


@contextmanager
def same_modes(model: Module) -> Iterator[None]:
    """After the block, also after an error, each module of the model is in the mode (train or eval) it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Mismatch(NamedTuple):
    """What `load_state_dict` could not match by name."""

    missing: list[str]
    unexpected: list[str]


class Module:
    """A function with parameters. Subclasses set attributes in ``__init__`` and define ``forward``.

        class Perceptron(nn.Module):
            def __init__(self):
                self.hidden, self.out = nn.Linear(784, 100), nn.Linear(100, 10)

            def forward(self, x):
                return self.out(F.relu(self.hidden(x)))

        >>> class Scaled(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.gain = md.Parameter(np.array(2.0))
        ...     def forward(self, x):
        ...         return self.gain * x
        >>> Scaled()(md.tensor([1.0, 2.0]))
        tensor([2., 4.], from=multiply)
    """

    training = True  # False after eval(): dropout and batch normalisation ask
    buffer_names: tuple[str, ...] = ()
    optional_state: tuple[str, ...] = ()  # names that a loaded state may lack: older files do
    alive: ClassVar[weakref.WeakSet[Module]] = weakref.WeakSet()  # every module there is

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        module = super().__new__(cls)
        Module.alive.add(module)
        return module

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The function itself; call the module, not this."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, x)")

    def __call__(self: HasForward[P, R], *inputs: P.args, **options: P.kwargs) -> R:
        now = current()
        if now.trace is not None:
            now.trace.enter(self)
        output = self.forward(*inputs, **options)
        for hook in now.watchers:
            hook(self, inputs, output)
        return output

    def __setattr__(self, name: str, value: Any) -> None:
        current = vars(self).get(name)
        if name in self.buffer_names and value is not None:
            value = as_array(value)
        elif isinstance(current, Parameter) and not isinstance(value, Parameter | None):
            raise TypeError(
                f"{name} is a parameter: assign {name}.data to change its value, or a new md.Parameter to replace it"
            )
        elif current is None and isinstance(value, Parameter | Module):
            vars(self).pop(name, None)  # its place in the order is where it becomes a part, not where it was None
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, array: Any) -> None:
        """Make an array part of the state without making it a parameter: running statistics, class weights.

        A buffer is a plain array, which the module may change in place. None reserves the name only.
        """
        self.buffer_names = (*self.buffer_names, name)
        setattr(self, name, array)

    def add_module(self, name: str, module: Module) -> None:
        """Make a module a child under a name that is computed: ``add_module(f"layer{i}", ...)``."""
        if not isinstance(module, Module):
            raise TypeError(f"add_module({name!r}): a Module is needed, got {type(module).__name__}")
        if "." in name or not name or hasattr(type(self), name):
            raise ValueError(f"add_module: {name!r} cannot name a child of {type(self).__name__}; choose another")
        setattr(self, name, module)

    # --- the tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, with their names."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their paths, parents before children; a shared one once."""
        seen: set[Module] = set()
        stack = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if remove_duplicate and module in seen:
                continue
            seen.add(module)
            yield path, module
            stack += reversed([(_join(path, name), child) for name, child in module.named_children()])

    def modules(self) -> Iterator[Module]:
        """This module and all below it, parents before children; a shared one once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their paths, a shared one once.

        Each parameter's ``.name`` becomes its path, so that an error of the engine says "conv1.weight".
        """
        seen: set[Parameter] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and value not in seen:
                    seen.add(value)
                    name = _join(path, name)
                    if not value.name.endswith(name):  # keep the longer path that the whole model gave
                        value.name = name
                    yield name, value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, a shared one once, in the order in which they were made attributes."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """The buffers (arrays) with their paths."""
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name in module.buffer_names:
                if (array := vars(module)[name]) is not None:
                    yield _join(path, name), array

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """The buffers (arrays)."""
        return (array for _, array in self.named_buffers(recurse=recurse))

    # --- the state

    def _state(self) -> Iterator[tuple[str, Module, str, Any]]:
        """(path, module, attribute, array) of each parameter and buffer; a shared one under each of its paths."""
        for path, module in self.named_modules(remove_duplicate=False):
            parameters = [(name, value.data) for name, value in vars(module).items() if isinstance(value, Parameter)]
            buffers = [(name, vars(module)[name]) for name in module.buffer_names]
            for name, array in parameters + buffers:
                if array is not None:
                    yield _join(path, name), module, name, array

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as NumPy arrays in C order, by path: torch's names in torch's order."""
        return {path: np.array(to_device(array, "cpu"), order="C") for path, _, _, array in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """Copy arrays (or Tensors, or torch tensors) into the parameters and buffers of the same path.

        Values are cast to the dtype and moved to the device of what they replace; (1,) fits a count of shape ().
        Nothing is changed if a shape differs, if no name at all is the model's or, when `strict`, if names are
        missing or unexpected: a ValueError says how to read a state whose names have a prefix, or shows a table.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict needs a mapping of names to arrays, got {type(state).__name__}; "
                "md.load_weights(path) reads one from a file"
            )
        slots = {path: (module, name, array) for path, module, name, array in self._state()}
        wanted = [path for path, (module, name, _) in slots.items() if name not in module.optional_state]
        missing = [path for path in wanted if path not in state]
        unexpected = [path for path in state if path not in slots]
        arrays = {path: plain_array(path, state[path]) for path in slots if path in state}
        for path, array in arrays.items():
            if array.shape == (1,) and slots[path][2].shape == ():
                arrays[path] = array.reshape(())
        misshaped = [path for path, array in arrays.items() if array.shape != slots[path][2].shape]
        if misshaped or (strict and (missing or unexpected)) or (missing and unexpected and not arrays):
            table = [("missing", path, slots[path][2].shape) for path in missing]
            table += [("unexpected", path, tuple(np.shape(state[path]))) for path in unexpected]
            table += [("mis-shaped", p, f"{arrays[p].shape}, the model has {slots[p][2].shape}") for p in misshaped]
            raise ValueError(misfit(type(self).__name__, state, wanted, table))
        for path, array in arrays.items():
            module, name, current = slots[path]
            _replace(module, name, _copy_like(current, array))
        return Mismatch(missing, unexpected)

    def random_state(self) -> dict[str, dict]:
        """The state of each numpy Generator in the tree (Dropout has one), by path: plain values, fit for JSON."""
        return {path: generator.bit_generator.state for path, generator in self.named_generators()}

    def load_random_state(self, state: Mapping[str, dict]) -> None:
        """Put back what `random_state` gave: what is drawn next is what was drawn next then."""
        generators = dict(self.named_generators())
        if set(generators) != set(state):
            raise ValueError(f"the random state is for {sorted(state)}, the model has {sorted(generators)}")
        for path, generator in generators.items():
            generator.bit_generator.state = state[path]

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """The random generators of the tree (Dropout has one), with their paths."""
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, np.random.Generator):
                    yield _join(path, name), value

    # --- changing every module at once; each returns the module itself

    def apply(self, change: Callable[[Module], Any]) -> Self:
        """Call ``change(module)`` for every module of the tree, children before parents."""
        for child in self.children():
            child.apply(change)
        change(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Behave as in training (dropout drops, batch normalisation uses the batch), or not."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Behave as in inference: the same as ``train(False)``."""
        return self.train(False)

    @contextmanager
    def inference(self) -> Iterator[Self]:
        """Inside the block every module is in eval mode and nothing is recorded; after it, also after an error, each
        module is in the mode it was in. Blocks nest.

            with model.inference():
                probabilities = F.softmax(model(x), axis=1)
        """
        with same_modes(self), no_grad():
            yield self.eval()

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let gradients be computed for the parameters, or freeze them."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Drop the gradient of every parameter."""
        for p in self.parameters():
            p.grad = None

    def to(self, *targets: Any) -> Self:
        """Move to a device ("cpu", "gpu") or cast the floating-point parameters and buffers to a dtype."""
        for target in targets:
            for _, module, name, array in list(self._state()):
                moved = _moved(array, target)
                if moved is not array:
                    _replace(module, name, moved)
            for p in self.parameters():
                if p.grad is not None:
                    p.grad = _moved(p.grad.data, target)
        return self

    # --- text

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        return ""

    def __repr__(self) -> str:
        return tree(self, [f"({name}): {child!r}" for name, child in self.named_children()])


class Ranked(Module):
    """A layer for any number of spatial axes, the `rank`, in which alone its subclasses differ:
    ``class Conv2d(Conv, rank=2): ...``, of which all is said that is said of Conv."""

    rank: int

    def __init_subclass__(cls, rank: int | None = None) -> None:
        if rank is not None:
            cls.rank, cls.__doc__ = rank, cls.__base__.__doc__


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _replace(module: Module, name: str, array: Any) -> None:
    """Give a parameter or a buffer another array."""
    value = getattr(module, name)
    if isinstance(value, Parameter):
        value.data = array
    else:
        setattr(module, name, array)


def _copy_like(current: Any, array: Any) -> Any:
    """A copy of the array, of the dtype, device and memory layout of the current one."""
    copy = namespace([current]).empty_like(current)
    copy[...] = to_device(array, device_of(current))
    return copy


def _moved(array: Any, target: Any) -> Any:
    """The array on a device, or, if it is floating-point, in a dtype; itself if nothing changes."""
    if isinstance(target, str) and target in ("cpu", "gpu"):
        return array if device_of(array) == target else to_device(array, target)
    dtype = as_dtype(target)
    if dtype.kind not in "fc":
        raise TypeError(f'to({target!r}): a module is moved to "cpu" or "gpu", or cast to a floating-point dtype')
    return array if array.dtype.kind not in "fc" else array.astype(dtype, copy=False)


def tree(module: Module, children: list[str]) -> str:
    """Name(arguments), or one line per child, indented by two, as torch prints modules."""
    name, extra = type(module).__name__, module.extra_repr()
    if not children:
        return f"{name}({extra})"
    lines = [line.replace("\n", "\n  ") for line in [extra, *children] if line]
    return f"{name}(\n  " + "\n  ".join(lines) + "\n)"
