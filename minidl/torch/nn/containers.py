"""torch's containers: the engine's, with the rest of torch's methods, and lists of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ... import nn as engine
from ..tensor import Parameter, Tensor
from .module import Module


class Indexed(Module):
    """What Sequential and ModuleList share."""

    def _rename(self, modules: list[Module]) -> None:
        for name, _ in list(self.named_children()):
            delattr(self, name)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def insert(self, index: int, module: Module) -> Any:
        modules = list(self)
        modules.insert(index, module)
        self._rename(modules)
        return self

    def pop(self, index: int | slice = -1) -> Module:
        module = self[index]
        del self[index]
        return module

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._rename(modules)

    def __add__(self, other: Iterable[Module]) -> Any:
        return type(self)(*list(self), *other) if isinstance(self, Sequential) else type(self)([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> Any:
        return self.extend(other)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)


class Sequential(Indexed, engine.Sequential):
    """Modules one after another."""

    def __init__(self, *modules: Any):
        engine.Sequential.__init__(self, *modules)

    def _slice(self, named: list[tuple[str, Module]]) -> Sequential:
        return type(self)(dict(named)) if type(self) is Sequential else Sequential(dict(named))


class ModuleList(Indexed, engine.ModuleList):
    """A list of modules."""

    def __init__(self, modules: Iterable[Module] | None = None):
        engine.ModuleList.__init__(self, modules or ())

    def _slice(self, named: list[tuple[str, Module]]) -> ModuleList:
        return ModuleList(module for _, module in named)


class ModuleDict(Module, engine.ModuleDict):
    """Modules by name."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        self.update(modules or {})

    def update(self, modules: Any) -> None:
        for name, module in dict(modules).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        vars(self)[name] = module

    def __delitem__(self, name: str) -> None:
        del vars(self)[name]

    def pop(self, name: str) -> Module:
        return vars(self).pop(name)

    def clear(self) -> None:
        for name in list(self.keys()):
            del self[name]

    def __getattribute__(self, name: str) -> Any:  # a member may be called as a method is
        return object.__getattribute__(self, name) if name != "keys" else lambda: [n for n, _ in self.named_children()]


class ParameterList(Module):
    """A list of parameters."""

    def __init__(self, values: Iterable[Any] = ()):
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        setattr(self, str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        for value in values:
            self.append(value)
        return self

    def _names(self) -> list[str]:
        return [name for name, _ in self.named_parameters(recurse=False)]

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Parameter]:
        return (getattr(self, name) for name in self._names())

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self)[index]
        return ParameterList(found) if isinstance(index, slice) else found

    def __repr__(self) -> str:
        rows = [f"\n    ({i}): Parameter containing: [torch.{p.dtype} of size {'x'.join(map(str, p.shape))}]"
                for i, p in enumerate(self)]  # fmt: skip
        return f"ParameterList({''.join(rows)}{chr(10) * bool(rows)})"

    def __setitem__(self, index: int, value: Tensor) -> None:
        setattr(self, self._names()[index], value if isinstance(value, Parameter) else Parameter(value))


class ParameterDict(Module):
    """Parameters by name."""

    def __init__(self, parameters: Mapping[str, Any] | None = None):
        self.update(parameters or {})

    def update(self, parameters: Any) -> None:
        for name, value in dict(parameters).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value if isinstance(value, Parameter) else Parameter(value))

    def __getitem__(self, name: str) -> Parameter:
        return dict(self.items())[name]

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        return [name for name, _ in self.items()]

    def values(self) -> list[Parameter]:
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, Parameter]]:
        return list(self.named_parameters(recurse=False))
