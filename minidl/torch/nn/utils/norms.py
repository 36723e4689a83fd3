"""Weight and spectral normalisation: a layer's weight computed of others."""

from __future__ import annotations

from typing import Any

from ....core.context import no_grad
from ... import creation
from ...tensor import Parameter, Tensor
from ..module import Module
from .parametrize import is_parametrized, register_parametrization, remove_parametrizations


def _norm(v: Tensor, dim: int | None) -> Tensor:
    """The norm of v over all dimensions but dim; over all of them for None or -1."""
    if dim in (None, -1):
        return v.norm()
    return v.norm(dim=tuple(i for i in range(v.ndim) if i != dim % v.ndim), keepdim=True)


class WeightNorm(Module):
    """``w = g v / |v|`` (Salimans and Kingma 2016): length and direction are learned apart."""

    def __init__(self, dim: int | None = 0):
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / _norm(v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return _norm(weight, self.dim), weight


class SpectralNorm(Module):
    """``w / sigma(w)``, the largest singular value estimated by power iteration (Miyato et al. 2018), a step in each
    forward pass of training."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, eps: float = 1e-12, dim: int = 0):
        self.n, self.eps, self.dim = n_power_iterations, eps, dim
        matrix = self._matrix(weight.detach())
        for name, size in zip(("_u", "_v"), matrix.shape):
            start = creation.randn(size, dtype=weight.dtype)
            self.register_buffer(name, start / start.norm())
        self.iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, self.dim).reshape(weight.shape[self.dim], -1)

    def iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            for _ in range(times):
                u, v = matrix @ self._v, matrix.t() @ self._u
                self._u = u / u.norm().clamp(min=self.eps)
                v = matrix.t() @ self._u
                self._v = v / v.norm().clamp(min=self.eps)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = self._matrix(weight)
        if self.training:
            self.iterate(matrix.detach(), self.n)
        return weight / (self._u.clone() @ (matrix @ self._v.clone()))


class _Old:
    """The form of torch 1: the parts lie in the layer, and a hook computes the weight of them before forward."""

    def __init__(self, name: str, compute: Any):
        self.name, self.compute = name, compute

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute(module))


def _begin(module: Module, name: str, compute: Any) -> Module:
    hook = _Old(name, compute)
    module.register_forward_pre_hook(hook)
    hook(module, None)
    return module


def _end(module: Module, name: str, parts: tuple[str, ...]) -> Module:
    for key, (hook, _) in list(module._forward_pre_hooks.items()):
        if isinstance(hook, _Old) and hook.name == name:
            weight = hook.compute(module).detach().clone()
            del module._forward_pre_hooks[key]
            for part in (name, *parts):
                delattr(module, part)
            setattr(module, name, Parameter(weight))
            return module
    raise ValueError(f"{type(module).__name__} has no such norm of {name!r}")


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """`WeightNorm` of a parameter, with the names NAME_g and NAME_v."""
    norm, weight = WeightNorm(dim), getattr(module, name).detach()
    delattr(module, name)
    for part, value in zip(("g", "v"), norm.right_inverse(weight)):
        setattr(module, f"{name}_{part}", Parameter(value.clone()))
    return _begin(module, name, lambda m: norm(getattr(m, f"{name}_g"), getattr(m, f"{name}_v")))


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    return _end(module, name, (f"{name}_g", f"{name}_v"))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """`SpectralNorm` of a parameter, with the names NAME_orig, NAME_u and NAME_v."""
    weight = getattr(module, name)
    norm = SpectralNorm(weight, n_power_iterations, eps, _axis(module, dim))
    delattr(module, name)
    setattr(module, f"{name}_orig", Parameter(weight.detach().clone()))
    for part in ("u", "v"):
        module.register_buffer(f"{name}_{part}", getattr(norm, f"_{part}"))

    def compute(m: Module) -> Tensor:
        norm.training = m.training
        for part in ("u", "v"):
            setattr(norm, f"_{part}", getattr(m, f"{name}_{part}"))
        weight = norm(getattr(m, f"{name}_orig"))
        for part in ("u", "v"):
            setattr(m, f"{name}_{part}", getattr(norm, f"_{part}"))
        return weight

    return _begin(module, name, compute)


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    return _end(module, name, (f"{name}_orig", f"{name}_u", f"{name}_v"))


def _axis(module: Module, dim: int | None) -> int:
    return dim if dim is not None else int(type(module).__name__.startswith("ConvTranspose"))


def new_weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """`WeightNorm` as a parametrization."""
    return register_parametrization(module, name, WeightNorm(dim))


def new_spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """`SpectralNorm` as a parametrization."""
    norm = SpectralNorm(getattr(module, name), n_power_iterations, eps, _axis(module, dim))
    return register_parametrization(module, name, norm)


__all__ = ["is_parametrized", "remove_parametrizations"]
