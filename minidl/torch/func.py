"""torch.func: functions of tensors transformed, and modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import advice, autograd, shaping
from .nn.module import Module, OfEngine
from .tensor import Tensor, lifted

_stack = lifted(shaping.stack)


def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Call the module with other tensors in the place of its parameters and buffers, by their paths."""
    dicts = parameter_and_buffer_dicts
    given = dicts if isinstance(dicts, Mapping) else {n: t for part in dicts for n, t in part.items()}
    places = []
    for path, tensor in given.items():
        parent, _, name = path.rpartition(".")
        places.append((vars(module.get_submodule(parent)), module.get_submodule(parent), name, tensor))
    before = [(attributes, name, attributes[name]) for attributes, _, name, _ in places]
    try:
        for attributes, owner, name, tensor in places:
            buffer = name in owner.buffer_names
            attributes[name] = tensor.value.data if buffer else tensor.value if isinstance(owner, OfEngine) else tensor
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
    finally:
        for attributes, name, value in before:
            attributes[name] = value


def grad_and_value(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """The derivatives of a function of one number with respect to these arguments, and its value."""

    def function(*args: Any, **options: Any) -> Any:
        chosen = (argnums,) if isinstance(argnums, int) else argnums
        args = list(args)
        leaves: list[Tensor] = []
        inside: list[bool] = []  # of another derivative, which goes on through this one

        def leaf(t: Tensor) -> Tensor:
            inside.append(t.requires_grad)
            leaves.append(t * 1 if t.requires_grad else t.detach().requires_grad_())
            return leaves[-1]

        for i in chosen:
            args[i] = _map(leaf, args[i])
        result = func(*args, **options)
        y, aux = result if has_aux else (result, None)
        grads = autograd.grad(y, leaves, create_graph=any(inside), materialize_grads=True)
        found, y = iter(grads), y if any(inside) else y.detach()
        grads = tuple([_map(lambda t: next(found), args[i]) for i in chosen])
        grads = grads[0] if isinstance(argnums, int) else grads
        return (grads, (y, aux)) if has_aux else (grads, y)

    return function


def grad(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """The derivatives of a function of one number."""

    def function(*args: Any, **options: Any) -> Any:
        grads, value = grad_and_value(func, argnums, has_aux)(*args, **options)
        return (grads, value[1]) if has_aux else grads

    return function


def _map(function: Callable, tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map(function, part) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)([_map(function, part) for part in tree])
    return function(tree) if isinstance(tree, Tensor) else tree


def vmap(func: Callable, in_dims: Any = 0, out_dims: int = 0, **options: Any) -> Callable:
    """The function of each entry along a dimension, in a loop; what it gives is stacked."""

    def function(*args: Any, **more: Any) -> Any:
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
        sizes: list[int] = []
        for x, dim in zip(args, dims):
            if dim is not None:
                _map(lambda t, dim=dim: sizes.append(t.shape[dim]) or t, x)
        def entry(x: Any, dim: int | None, i: int) -> Any:
            return x if dim is None else _map(lambda t: t.select(dim, i), x)

        results = [func(*[entry(x, dim, i) for x, dim in zip(args, dims)], **more) for i in range(sizes[0])]
        return _joined(results, out_dims)

    return function


def _joined(results: list, dim: int) -> Any:
    first = results[0]
    if isinstance(first, Mapping):
        return {name: _joined([r[name] for r in results], dim) for name in first}
    if isinstance(first, tuple | list):
        return type(first)([_joined([r[i] for r in results], dim) for i in range(len(first))])
    return _stack(results, dim)


def jacrev(func: Callable, argnums: int = 0) -> Callable:
    """The Jacobian of a function with respect to one argument."""

    def function(*args: Any) -> Tensor:
        rest = list(args)

        def of_one(x: Tensor) -> Tensor:
            rest[argnums] = x
            return func(*rest)

        return autograd.functional.jacobian(of_one, args[argnums], create_graph=args[argnums].requires_grad)

    return function


jacfwd = jacrev


def hessian(func: Callable, argnums: int = 0) -> Callable:
    """The second derivatives of a function of one number."""
    return lambda *args: autograd.functional.hessian(
        lambda x: func(*args[:argnums], x, *args[argnums + 1 :]), args[argnums]
    )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(advice.unknown(f"torch.func.{name}", name, globals()))
