"""torch.autograd: grad, Function, functional; and what says whether operations are recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..check.function import gradcheck as engine_gradcheck
from ..core import calculus, context
from ..core.context import current, setting
from ..core.tensor import Node
from ..core.tensor import Tensor as Value
from .tensor import Tensor, backward, unwrap, wrap


class no_grad(setting):
    """Inside, operations are not recorded. As ``with torch.no_grad():``, ``@torch.no_grad()`` or ``@torch.no_grad``."""

    recording = False

    def __new__(cls, function: Any = None) -> Any:
        return object.__new__(cls) if function is None or isinstance(function, bool) else cls()(function)

    def __init__(self, mode: Any = None):
        super().__init__(recording=self.recording if mode is None else mode)

    def _recreate_cm(self) -> setting:
        return setting(**self.fields)


class enable_grad(no_grad):
    """Inside, operations are recorded again."""

    recording = True


class inference_mode(no_grad):
    """As no_grad; ``inference_mode(False)`` changes nothing."""

    def __init__(self, mode: bool = True):
        super().__init__(not mode)


class set_grad_enabled(setting):
    """Record operations or not, from now on; as a block, inside it."""

    def __init__(self, mode: bool):
        self.before = current().recording
        super().__init__(recording=mode)
        context._variable.set(context.replace(current(), recording=mode))

    def __enter__(self) -> None:
        self.tokens.append(None)

    def __exit__(self, *error: object) -> None:
        self.tokens.pop()
        context._variable.set(context.replace(current(), recording=self.before))


def is_grad_enabled() -> bool:
    return current().recording


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple:  # fmt: skip
    """The derivatives of the sum of the outputs, weighted by `grad_outputs`, with respect to each input."""
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    weights = [None] * len(outputs) if grad_outputs is None else grad_outputs
    weights = [weights] if isinstance(weights, Tensor) else list(weights)
    if len(outputs) > 1:
        total = sum((y * (1 if w is None else w)).sum() for y, w in zip(outputs, weights))
        outputs, weights = [total], [None]
    elif weights[0] is None and outputs[0].numel() != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    found = calculus.grad(
        outputs[0].value, [x.value for x in inputs], unwrap(weights[0]), create_graph=create_graph,
        retain_graph=retain_graph, allow_unused=True if materialize_grads else bool(allow_unused),
    )  # fmt: skip
    if materialize_grads:
        found = [Value(np.zeros_like(x.value.data)) if g is None else g for g, x in zip(found, inputs)]
    return tuple([None if g is None else wrap(g) for g in found])


class Context:
    """What `forward` of a Function leaves for `backward`."""

    saved_tensors: tuple = ()
    needs_input_grad: tuple = ()
    fixed: tuple = ()  # outputs without gradients

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        pass

    set_materialize_grads = mark_dirty

    def mark_non_differentiable(self, *tensors: Any) -> None:
        self.fixed = tensors


class Function:
    """An operation with a rule of your own: static ``forward(ctx, ...)`` and ``backward(ctx, grad_output)``.

    Inside `backward` nothing is recorded unless the pass is itself. Several outputs are a tuple; `backward` gets the
    gradient of each, zeros for one that nothing depends on.
    """

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        ctx = Context()
        tracked = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
        ctx.needs_input_grad = tuple(tracked)
        with setting(recording=False):
            if "setup_context" in vars(cls):
                y = cls.forward(*inputs)
                cls.setup_context(ctx, inputs, y)
            else:
                y = cls.forward(ctx, *inputs)
        if not current().recording or not any(tracked):
            return y
        rule = _Rule(cls, ctx, y if isinstance(y, tuple) else None)
        if isinstance(y, Tensor):
            return wrap(rule.recorded(y.value.data, inputs))
        if not isinstance(y, tuple):
            return y
        # one value holds all outputs side by side, and each is a part of it: their gradients arrive together
        kept = [part.value.data for part in y if _real(part)]
        if not kept:
            return y
        joint = wrap(rule.recorded(np.concatenate([a.reshape(-1) for a in kept]), inputs))
        ends = np.cumsum([0, *[a.size for a in kept]]).tolist()
        parts = iter([joint[start:end].view(a.shape) for start, end, a in zip(ends, ends[1:], kept)])
        found = [next(parts) if _real(part) else part for part in y]
        return tuple([old if any(old is x for x in ctx.fixed) else new for old, new in zip(y, found)])


def _real(x: Any) -> bool:
    """Can it have a gradient?"""
    return isinstance(x, Tensor) and x.value.data.dtype.kind in "fc"


class _Rule:
    """What stands in a graph for a call of a Function. outputs: those of several."""

    def __init__(self, kind: type[Function], ctx: Context, outputs: tuple | None):
        self.kind, self.ctx, self.name = kind, ctx, kind.__name__
        self.shapes = None if outputs is None else [tuple(x.shape) if _real(x) else None for x in outputs]

    def recorded(self, array: np.ndarray, inputs: tuple) -> Value:
        value = Value(array)
        value.node = Node(self, tuple([unwrap(x) for x in inputs]), {}, array)
        return value

    def gradients(self, g: Value) -> list:
        """The gradient of each output."""
        if self.shapes is None:
            return [wrap(g)]
        found, start = [], 0
        for shape in self.shapes:
            size = 0 if shape is None else math.prod(shape)
            found.append(None if shape is None else wrap(g[start : start + size].reshape(shape)))
            start += size
        return found

    def pullback(self, g: Value, y: Value, useful: Any) -> list:
        grads = self.kind.backward(self.ctx, *self.gradients(g))
        grads = grads if isinstance(grads, tuple) else (grads,)
        found = []
        for x, gx in zip(y.node.inputs, grads):
            if isinstance(x, Value) and x.node is not None and gx is not None and (useful is None or x.node in useful):
                if gx.shape != x.shape:
                    raise RuntimeError(
                        f"{self.name}.backward: a gradient of shape {tuple(gx.shape)} for one of {x.shape}"
                    )
                found.append((x, gx.value))
        return found


def gradcheck(
    func: Callable, inputs: Any, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, **options: Any,
) -> bool:  # fmt: skip
    """Are the derivatives of a function right? By the engine's proof, which does not depend on `eps`."""
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    report = engine_gradcheck(lambda *values: unwrap(func(*map(wrap, values))), [x.value for x in inputs])
    if not report and raise_exception:
        raise RuntimeError(report.text())
    return bool(report)


class detect_anomaly(setting):
    """Inside, the first NaN is an error that names its operation."""

    def __init__(self, check_nan: bool = True):
        super().__init__(anomaly=True)


class set_detect_anomaly(setting):
    """From now on, or inside a block."""

    def __init__(self, mode: bool, check_nan: bool = True):
        super().__init__(anomaly=mode)
        context._variable.set(context.replace(current(), anomaly=mode))


def _of_values(func: Callable) -> Callable:
    return lambda *values: unwrap(func(*map(wrap, values)))


def _cut(value: Value, create_graph: bool) -> Tensor:
    return wrap(value) if create_graph else wrap(value.detach())


class functional:
    """torch.autograd.functional, of functions of one tensor."""

    @staticmethod
    def jacobian(func: Callable, inputs: Tensor, create_graph: bool = False, **options: Any) -> Tensor:
        return _cut(calculus.jacobian(_of_values(func), inputs.value), create_graph)

    @staticmethod
    def hessian(func: Callable, inputs: Tensor, create_graph: bool = False, **options: Any) -> Tensor:
        return _cut(calculus.hessian(_of_values(func), inputs.value), create_graph)

    @staticmethod
    def vjp(func: Callable, inputs: Tensor, v: Any = None, **options: Any) -> tuple:
        y, pullback = calculus.vjp(_of_values(func), inputs.value)
        return wrap(y).detach(), wrap(pullback(unwrap(v))[0]).detach()

    @staticmethod
    def jvp(func: Callable, inputs: Tensor, v: Tensor, **options: Any) -> tuple:
        y, tangent = calculus.jvp(_of_values(func), [inputs.value], [unwrap(v)])
        return wrap(y).detach(), wrap(tangent).detach()

    @staticmethod
    def hvp(func: Callable, inputs: Tensor, v: Tensor, **options: Any) -> tuple:
        y, product = calculus.hvp(_of_values(func), inputs.value, unwrap(v))
        return wrap(y).detach(), wrap(product).detach()


def Variable(data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:
    """What tensors were before torch 0.4."""
    return data.requires_grad_(requires_grad)


__all__ = ["Function", "Variable", "backward", "grad", "no_grad"]
