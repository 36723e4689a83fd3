"""grad, vjp, jvp, hvp, jacobian, hessian: thin, on top of the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, overload

from .backward import seed, walk
from .context import enable_grad, setting
from .first_primitives import fresh, stack_p
from .tensor import Operand, Tensor, as_tensor


@overload
def grad(
    output: Tensor, inputs: Tensor | Sequence[Tensor], grad_output: Operand | None = None, create_graph: bool = False,
    retain_graph: bool | None = None, allow_unused: Literal[False] = False,
) -> list[Tensor]: ...
@overload
def grad(
    output: Tensor, inputs: Tensor | Sequence[Tensor], grad_output: Operand | None = None, create_graph: bool = False,
    retain_graph: bool | None = None, allow_unused: bool = False,
) -> list[Tensor | None]: ...
def grad(
    output: Tensor,
    inputs: Tensor | Sequence[Tensor],
    grad_output: Operand | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> list[Tensor | None]:
    """The gradients of `output` with respect to each of `inputs`; no ``.grad`` is touched.

    Definition: ``sum over o of grad_output[o] * d output[o] / d input``; `grad_output` is 1 for an output of
    one element, and may itself require a gradient. `create_graph` records the pass, so that the result can be
    differentiated again. An input that the output does not depend on is an error, or None if `allow_unused`.

        >>> x = md.tensor(2.0, requires_grad=True)
        >>> y = x**3
        >>> md.grad(y, x)
        [tensor(12.)]
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"grad needs a Tensor as its output, got {type(output).__name__}")
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or x.node is None:
            raise ValueError(f"input {i} of grad does not require a gradient; set requires_grad=True before using it")
    found: dict = {}
    if output.node is not None:
        g = seed(output, grad_output)
        retain = create_graph if retain_graph is None else retain_graph
        with setting(recording=create_graph):
            found = walk(output, g, {x.node for x in inputs}, not retain)
    elif not allow_unused:
        raise RuntimeError("grad of a tensor that requires no gradient: nothing it came from does")
    grads = [found.get(x.node) for x in inputs]
    if not allow_unused and None in [g if g is None else True for g in grads]:
        missing = [i for i, g in enumerate(grads) if g is None]
        raise RuntimeError(
            f"the output does not depend on input {missing[0]} of grad; pass allow_unused=True to get None there"
        )
    return grads


class Pullback(Protocol):
    """From the cotangent of an output, which may be left out for an output of one entry, to those of the inputs."""

    def __call__(self, v: Operand | None = None) -> tuple[Tensor, ...]: ...


def vjp(f: Callable[..., Tensor], *xs: Operand) -> tuple[Tensor, Pullback]:
    """``(y, pullback)`` with ``y = f(*xs)`` and ``pullback(v) = (v^T dy/dx for each x)``, a tuple.

    An `x` that `y` does not depend on gets zeros. The pullback may be called many times and differentiated.

        >>> y, pull = md.vjp(lambda x: x * x, np.array([1.0, 2.0]))
        >>> pull(np.array([1.0, 10.0]))
        (tensor([ 2., 40.], from=add),)
    """
    with enable_grad():
        xs = tuple(fresh(x) for x in xs)
        y = f(*xs)
    _require_tensor(y, f)

    def pullback(v: Any = None) -> tuple[Tensor, ...]:
        v = seed(y, v)
        if y.node is None:
            return tuple(x.zeros_like() for x in xs)
        found = walk(y, v, {x.node for x in xs}, release=False)
        return tuple(found[x.node] if x.node in found else x.zeros_like() for x in xs)

    return y, pullback


def jvp(
    f: Callable[..., Tensor], xs: Operand | Sequence[Operand], vs: Operand | Sequence[Operand],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``(y, tangent)`` with ``y = f(*xs)`` and ``tangent = sum over x of dy/dx v``.

    By two backward passes: the pullback ``u -> J^T u`` is linear, and its own pullback is J.

        >>> md.jvp(lambda x: x * x, np.array([1.0, 2.0]), np.array([1.0, 10.0]))
        (tensor([1., 4.], from=multiply), tensor([ 2., 40.], from=add))
    """
    xs = tuple(xs) if isinstance(xs, (list, tuple)) else (xs,)
    vs = tuple(vs) if isinstance(vs, (list, tuple)) else (vs,)
    if len(xs) != len(vs):
        raise ValueError(f"jvp got {len(xs)} inputs and {len(vs)} tangents: one tangent per input")
    for x, v in zip(xs, vs, strict=True):
        if as_tensor(x).shape != as_tensor(v).shape:
            raise ValueError(f"jvp: the tangent has shape {as_tensor(v).shape}, its input {as_tensor(x).shape}")
    y, pullback = vjp(f, *xs)

    def transposed(u: Tensor) -> Tensor:
        products = [(g * v).sum() for g, v in zip(pullback(u), vs, strict=True)]
        return sum(products[1:], products[0])

    _, push = vjp(transposed, y.zeros_like())
    return y, push()[0]


def hvp(f: Callable[..., Tensor], x: Operand, v: Operand) -> tuple[Tensor, Tensor]:
    """``(y, H v)`` for a scalar ``y = f(x)``, without forming the Hessian H: the gradient of ``<grad f, v>``.

        >>> y, Hv = md.hvp(lambda x: (x**3).sum(), np.array([1.0, 2.0]), np.array([1.0, 0.0]))
        >>> Hv
        tensor([6., 0.], from=multiply)
    """
    y, _ = vjp(f, x)
    _require_scalar(y, "hvp")
    v = as_tensor(v)
    if v.shape != as_tensor(x).shape:
        raise ValueError(f"hvp: v has shape {v.shape}, x {as_tensor(x).shape}")

    def directional(x: Tensor) -> Tensor:
        return (vjp(f, x)[1]()[0] * v).sum()

    return y, vjp(directional, x)[1]()[0]


def jacobian(f: Callable[..., Tensor], x: Operand) -> Tensor:
    """``J[i..., j...] = d f(x)[i...] / d x[j...]``, of shape ``y.shape + x.shape``: one pullback per output.

        >>> md.jacobian(lambda x: F.stack([x[0] * x[1], x[1] ** 2], axis=0), np.array([2.0, 3.0]))
        tensor([[3., 2.],
                [0., 6.]], from=reshape)
    """
    y, pullback = vjp(f, x)
    rows = []
    for i in range(y.size):
        unit = y.zeros_like().numpy()
        unit.flat[i] = 1
        rows.append(pullback(Tensor(unit).to(y.device))[0])
    if not rows:
        return Tensor(as_tensor(x).data.reshape(-1)[:0].reshape(y.shape + as_tensor(x).shape))
    return stack_p(*rows, axis=0).reshape(y.shape + as_tensor(x).shape)


def hessian(f: Callable[..., Tensor], x: Operand) -> Tensor:
    """``H[i..., j...] = d^2 f(x) / d x[i...] d x[j...]`` of a scalar function: the Jacobian of its gradient.

        >>> md.hessian(lambda x: x[0] ** 2 * x[1], np.array([2.0, 3.0]))
        tensor([[6., 4.],
                [4., 0.]], from=reshape)
    """
    _require_scalar(vjp(f, x)[0], "hessian")
    return jacobian(lambda z: vjp(f, z)[1]()[0], x)


def _require_tensor(y: Any, f: Callable) -> None:
    if not isinstance(y, Tensor):
        raise TypeError(f"{getattr(f, '__name__', 'f')} must return one Tensor, got {type(y).__name__}")


def _require_scalar(y: Tensor, who: str) -> None:
    if y.size != 1:
        raise ValueError(f"{who} needs a function with one output element, this one gives shape {y.shape}")
