"""Two slips that end in a network of which a part is not trained: what they are about is named in a warning."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Container, Iterator
from typing import Any

from ..core.tensor import Parameter
from ..nn.module import Module

optimisers: weakref.WeakSet[Any] = weakref.WeakSet()  # all there are


def warn_of_plain_containers(parameters: Container[Parameter]) -> None:
    """Warn of modules in lists, tuples and dicts of the networks with these parameters, if they are parts of no module.

    ``self.blocks = [nn.Linear(2, 2)]`` makes no child: nothing trains, saves, moves or switches it.
    """
    registered = {child for module in alive() for child in module.children()} | {*_networks(parameters)}
    for path, name, value in _containers(parameters):
        hidden = [m for m in _contents(value) if isinstance(m, Module) and m not in registered]
        if hidden:
            kind, ours = type(value).__name__, "nn.ModuleDict" if isinstance(value, dict) else "nn.ModuleList"
            names = ", ".join(dict.fromkeys(type(m).__name__ for m in hidden))
            _warn(
                f"{path}.{name}: the modules in a plain {kind} ({len(hidden)}: {names}) are no parts of the network: "
                f"nothing trains, saves, moves or switches them; make it an {ours}"
            )


def warn_of_parameters_without_optimiser(parameters: Container[Parameter]) -> None:
    """Warn of parameters that have a gradient, stand in one network with these, and belong to no optimiser."""
    owned = {p for optimiser in list(optimisers) for p in optimiser.state}
    every = {p: name for tree in _networks(parameters) for name, p in Module.named_parameters(tree)}
    for path, name, value in _containers(parameters):
        every |= {p: f"{path}.{name}[...]" for p in _contents(value) if isinstance(p, Parameter)}
    lost = [name for p, name in every.items() if p.requires_grad and p.grad is not None and p not in owned]
    if lost:
        names = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        _warn(f"no optimiser has {names}, with a gradient: give it one, or freeze it with requires_grad_(False)")


def alive() -> list[Module]:
    """Every module there is."""
    while True:
        try:
            return list(Module.alive)
        except RuntimeError:  # another thread has made one meanwhile
            continue


def _networks(parameters: Container[Parameter]) -> list[Module]:
    """The outermost modules that hold one of these parameters."""
    parents: dict[Module, list[Module]] = {}
    found: dict[Module, None] = {}
    for module in alive():
        for child in module.children():
            parents.setdefault(child, []).append(module)
        if any(isinstance(value, Parameter) and value in parameters for value in vars(module).values()):
            found[module] = None
    stack = list(found)
    while stack:
        above = [parent for parent in parents.get(stack.pop(), ()) if parent not in found]
        found |= dict.fromkeys(above)
        stack += above
    return [module for module in found if module not in parents]


def _containers(parameters: Container[Parameter]) -> Iterator[tuple[str, str, Any]]:
    """(path of a module, attribute, its value) of each list, tuple and dict in the networks of these parameters."""
    for tree in _networks(parameters):
        for path, module in tree.named_modules(type(tree).__name__):
            for name, value in vars(module).items():
                if isinstance(value, (list, tuple, dict)):
                    yield path, name, value


def _contents(value: Any, depth: int = 3) -> Iterator[Module | Parameter]:
    """The modules and parameters in a list, a tuple, a dict, and in those that it holds."""
    for entry in value.values() if isinstance(value, dict) else value:
        if isinstance(entry, (Module, Parameter)):
            yield entry
        elif isinstance(entry, (list, tuple, dict)) and depth:
            yield from _contents(entry, depth - 1)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # at the call of the optimiser
