"""torch.nn.utils.parametrize: a parameter that is computed of others whenever it is asked for."""

from __future__ import annotations

from typing import Any

from ...tensor import Parameter, Tensor
from ..containers import ModuleDict, ModuleList
from ..module import Module


class ParametrizationList(ModuleList):
    """The originals of one parameter, and the modules that make it of them, one after the other."""

    def __init__(self, modules: list[Module], originals: tuple[Tensor, ...]):
        super().__init__(modules)
        self.count = len(originals)
        for i, value in enumerate(originals):
            name = "original" if self.count == 1 else f"original{i}"
            setattr(self, name, Parameter(value.detach().clone(), requires_grad=value.requires_grad))

    def originals(self) -> tuple[Tensor, ...]:
        names = ["original"] if self.count == 1 else [f"original{i}" for i in range(self.count)]
        return tuple([getattr(self, name) for name in names])

    def forward(self) -> Tensor:
        first, *rest = self
        y = first(*self.originals())
        for module in rest:
            y = module(y)
        return y


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """``module.tensor_name`` becomes ``parametrization(original)``; a further one is applied to the result."""
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    if tensor_name in module.parametrizations:
        module.parametrizations[tensor_name].append(parametrization)
        return module
    value = getattr(module, tensor_name)
    inverse = getattr(parametrization, "right_inverse", None)
    start = value if inverse is None else inverse(value.detach())
    originals = start if isinstance(start, tuple) else (start,)
    delattr(module, tensor_name)
    found = ParametrizationList([parametrization], originals)
    for original in found.originals():
        original.requires_grad_(value.requires_grad)
    module.parametrizations[tensor_name] = found
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """A plain parameter again: what is computed now, or else the original."""
    found = module.parametrizations[tensor_name]
    value = found() if leave_parametrized else found.originals()[0]
    del module.parametrizations[tensor_name]
    if not len(module.parametrizations):
        del module.parametrizations
    setattr(module, tensor_name, Parameter(value.detach().clone()))
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    found: Any = vars(module).get("parametrizations")
    return found is not None and (tensor_name is None or tensor_name in found)
