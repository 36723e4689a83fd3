"""Optimisers, gradient clipping and learning-rate schedules.

    optimiser = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.warmup(optim.cosine(0.1, steps=1000), steps=100)
    for step, (x, target) in enumerate(batches):
        optimiser.lr = schedule(step)
        optimiser.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimiser.step()

Keywords, defaults and equations are torch's. An array or a detached tensor that was taken from a parameter before an
update keeps its numbers: only where nobody has taken the array are the new numbers written into it (this saves memory).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..core.tensor import Parameter, Tensor, as_array
from ..device import namespace, numbers, to_device
from ..kernels.gpu import update as kernels_on_gpu
from . import flat as optim_flat
from .entries import buffer, entrywise, is_alone, lying_as, room
from .schedules import Schedule, constant, cosine, one_cycle, step_decay, warmup


class Optimiser:
    """Parameters in groups, each with its own options, and a state (arrays, a count of steps) for each parameter.

    `params`: Parameters, or dictionaries ``{"params": [...], option: value, ...}``, one for each group; what a group
    does not say, the keywords of the constructor say. Subclasses define `update`.
    """

    def __init__(self, params: Iterable[Any], **defaults: Any):
        if hasattr(params, "parameters"):
            kind = type(params).__name__
            raise TypeError(f"{type(self).__name__} changes Parameters, got {kind}; pass model.parameters()")
        params = [params] if isinstance(params, Tensor) else list(params)
        groups = params if params and isinstance(params[0], Mapping) else [{"params": params}]
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        self._flat = optim_flat.Groups()
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Optimise more parameters: ``{"params": [...], option: value, ...}``."""
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        if not params:
            raise ValueError(f"{type(self).__name__} got no parameters; an iterator is empty once it has been read")
        for p in params:
            if not isinstance(p, Parameter):
                hint = "wrap it: md.Parameter(x)" if isinstance(p, Tensor) else "pass model.parameters()"
                raise TypeError(f"{type(self).__name__} changes Parameters, got {type(p).__name__}; {hint}")
            if p in self.state:
                raise ValueError(f"{type(self).__name__}: {p.name} is given twice; give each once, in one group")
            self.state[p] = {}
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown:
            options = ", ".join(self.defaults)
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}: its are {options}")
        group = {**self.defaults, **group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse options that make no sense."""
        for name in ("lr", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 0, got {group[name]}")

    @property
    def parameters(self) -> list[Parameter]:
        return list(self.state)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; assigning sets it for all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            self.check({**group, "lr": value})
            group["lr"] = value

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.state:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for number, group in enumerate(self.param_groups):
            # a NumPy float64 among the options would widen a float32 update
            options = {name: x.item() if isinstance(x, np.generic) else x for name, x in group.items()}
            plan, at_once = FLAT.get(type(self).update), []
            for p in group["params"]:
                if flat := plan is not None and optim_flat.takes(p):
                    at_once.append(p)
                if p.grad is not None:
                    state = self.state[p]
                    state["step"] = state.get("step", 0) + 1
                    if not flat:
                        self._update_one(p, state, options)
            if at_once:
                self._flat.step(number, at_once, self.state, lambda states, do=plan, o=options: do(self, states, o))

    def _update_one(self, p: Parameter, state: dict[str, Any], options: dict[str, Any]) -> None:
        xp = np if type(p.data) is np.ndarray else namespace([p.data])
        alone = is_alone(p)
        w, g = p.data, p.grad.data
        if not w.ndim:
            w, g = w.reshape(1), g.reshape(1)  # arithmetic on an array without axes gives a NumPy scalar
        if not w.flags.c_contiguous:
            w = lying_as(xp.empty_like(w), w)  # without gaps
        g = lying_as(w, g)
        entries, buffers = self.update(xp, w, g, state, options)
        new = entrywise(xp, entries, alone, w, g, *buffers)
        p.data = new if p.data.ndim else new.reshape(())

    def update(self, xp: Any, w: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Callable, list]:
        """How an array w with gradient g changes: ``function(new, w, g, *buffers)`` that fills `new` with its new
        entries, and the buffers, arrays of the state, which it may change; but neither w nor g."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    # --- the state as plain arrays

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything as NumPy arrays under flat names, fit for .npz: ``groups.0.lr``, ``state.3.momentum_buffer``.

        Parameters count from 0 over all groups, in order; ``groups.0.params`` holds the numbers of group 0.
        """
        numbers = {p: i for i, p in enumerate(self.state)}
        flat = {}
        for i, group in enumerate(self.param_groups):
            for name, value in group.items():
                value = [numbers[p] for p in value] if name == "params" else value
                flat[f"groups.{i}.{name}"] = np.array(value)
        for p, state in self.state.items():
            for name, value in state.items():
                flat[f"state.{numbers[p]}.{name}"] = np.array(to_device(as_array(value), "cpu"), order="C")
        return flat

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, for an optimiser over parameters of the same shapes in the same groups."""
        groups = [dict(group) for group in self.param_groups]
        states: list[dict[str, Any]] = [{} for _ in self.state]
        params = list(self.state)
        numbers = {p: i for i, p in enumerate(params)}
        members = {f"groups.{i}.params": [numbers[p] for p in group["params"]] for i, group in enumerate(groups)}
        saved = {name: np.asarray(value).tolist() for name, value in state.items() if name.endswith(".params")}
        if saved != members:
            raise ValueError(f"{type(self).__name__}: the state has groups {saved}, this optimiser {members}")
        for path, value in state.items():
            kind, number, name = path.split(".", 2)
            value = np.asarray(value)
            if kind == "groups" and name != "params":
                if name not in self.defaults:
                    raise ValueError(f"{type(self).__name__} has no option {name!r}: the state is of another optimiser")
                groups[int(number)][name] = value.item() if value.ndim == 0 else tuple(value.tolist())
            elif kind == "state":
                p = params[int(number)]
                states[int(number)][name] = _restored(path, value, p)
        for group in groups:
            self.check(group)
        self.param_groups = groups
        self.state = dict(zip(params, states))


def _restored(path: str, value: np.ndarray, p: Parameter) -> Any:
    """A saved count as an int, a saved array in the dtype and on the device of its parameter."""
    if value.ndim == 0 and value.dtype.kind in "iu":
        return int(value)
    if value.shape != _shape(p):
        raise ValueError(f"{path} has shape {value.shape}, its parameter {p.shape}: the state is of another model")
    return to_device(value.astype(p.dtype), p.device)


def _shape(p: Parameter) -> tuple[int, ...]:
    """The shape in which p is updated: one axis at least, as arithmetic on an array of none gives a NumPy scalar."""
    return p.shape or (1,)


class SGD(Optimiser):
    """Stochastic gradient descent with momentum.

    g := g + weight_decay * w;  v := momentum * v + (1 - dampening) * g, at first v := g;
    w := w - lr * v, or with `nesterov` w := w - lr * (g + momentum * v). Without momentum v is g.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov
        )

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if not group["momentum"] >= 0:
            raise ValueError(f"SGD: momentum must be at least 0, got {group['momentum']}")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, got momentum={group['momentum']}, "
                f"dampening={group['dampening']}"
            )

    def update(self, xp: Any, w: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        lr, momentum, decay, nesterov = (group[name] for name in ("lr", "momentum", "weight_decay", "nesterov"))
        share = 1 - group["dampening"] if "momentum_buffer" in state else 1  # of the gradient in v
        buffers = [buffer(state, "momentum_buffer", w)] if momentum else []

        def entries(new: Any, w: Any, g: Any, v: Any = None) -> None:
            if decay:
                decayed = xp.multiply(w, decay, out=room(xp, "decayed", w))
                g = xp.add(decayed, g, out=decayed)
            if momentum:
                v *= momentum
                v += g if share == 1 else xp.multiply(g, share, out=new)
            if nesterov:
                xp.multiply(v, momentum, out=new)
                new += g
                new *= lr
            else:
                xp.multiply(v if momentum else g, lr, out=new)
            xp.subtract(w, new, out=new)

        return entries, buffers


class Adam(Optimiser):
    """Steps scaled by running averages of the gradient and of its square.

    g := g + weight_decay * w;  m := b1 m + (1 - b1) g;  v := b2 v + (1 - b2) g^2;
    w := w - lr * m' / (sqrt(v') + eps), with m' = m / (1 - b1^t), v' = v / (1 - b2^t) at step t;
    `amsgrad` puts the largest v so far in the place of v.
    Source: Kingma and Ba, "Adam", ICLR 2015, algorithm 1; Reddi et al., ICLR 2018, algorithm 2.
    """

    decoupled = False  # is the weight decay apart from the gradient?

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False,
    ):  # fmt: skip
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if len(group["betas"]) != 2 or not all(0 <= b < 1 for b in group["betas"]):
            raise ValueError(f"{type(self).__name__}: betas are two numbers in [0, 1), got {group['betas']}")
        if not group["eps"] >= 0:
            raise ValueError(f"{type(self).__name__}: eps must be at least 0, got {group['eps']}")

    def update(self, xp: Any, w: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        lr, decay, (b1, b2), eps = (group[name] for name in ("lr", "weight_decay", "betas", "eps"))
        t, decoupled = state["step"], self.decoupled
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if group["amsgrad"] else 2]

        def entries(new: Any, w: Any, g: Any, m: Any, v: Any, largest: Any = None) -> None:
            if decay:
                decayed = xp.multiply(w, 1 - lr * decay if decoupled else decay, out=room(xp, "decayed", w))
                w, g = (decayed, g) if decoupled else (w, xp.add(decayed, g, out=decayed))
            xp.multiply(g, 1 - b1, out=new)  # one array serves all that follows
            m *= b1
            m += new
            xp.multiply(g, g, out=new)
            new *= 1 - b2
            v *= b2
            v += new
            if largest is not None:
                v = xp.maximum(largest, v, out=largest)
            xp.sqrt(v, out=new)
            new /= math.sqrt(1 - b2**t)
            new += eps
            xp.divide(m, new, out=new)
            new *= -lr / (1 - b1**t)
            new += w

        return entries, [buffer(state, name, w) for name in names]


class AdamW(Adam):
    """Adam with the weight decay taken from the weights directly: w := w - lr * weight_decay * w, then Adam's step.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
    """

    decoupled = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False,
    ):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)


# What a GPU does in one launch for all parameters of a group, by the `update` that it equals: a subclass that defines
# its own, and parameters on the CPU or of other dtypes, are updated one by one.
FLAT: dict[Callable, Callable[[Any, Any, dict[str, Any]], kernels_on_gpu.Step]] = {
    SGD.update: lambda optimiser, states, options: kernels_on_gpu.sgd(states, options),
    Adam.update: lambda optimiser, states, options: kernels_on_gpu.adam(states, options, optimiser.decoupled),
}


def clip_grad_norm(params: Iterable[Parameter], max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients by one factor so that their joint norm is at most `max_norm`; returns the norm before.

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1.
    """
    params = [params] if isinstance(params, Tensor) else list(params)
    total = joint_norm(numbers(norm_parts(params, norm_type)), norm_type)
    scale_gradients(params, total, max_norm)
    return total


def norm_parts(params: Iterable[Parameter], norm_type: float = 2.0) -> list[Any]:
    """What each gradient adds to the joint norm: the sum of its powers, or its largest entry. On its device still."""
    sizes = [abs(p.grad.data) for p in params if p.grad is not None and p.size]
    if norm_type == math.inf:
        return [size.max() for size in sizes]
    return [(size**norm_type).sum(dtype="float64") for size in sizes]


def joint_norm(parts: list[float], norm_type: float = 2.0) -> float:
    """The norm of all gradients together, out of their `norm_parts` as numbers."""
    return max(parts, default=0.0) if norm_type == math.inf else sum(parts) ** (1 / norm_type)


def scale_gradients(params: Iterable[Parameter], norm: float, max_norm: float) -> None:
    """Multiply all gradients by the factor that takes their joint norm down to `max_norm`, if it is larger."""
    factor = float(max_norm / (norm + 1e-6))
    if factor < 1:
        for p in params:
            if p.grad is not None:
                p.grad = p.grad.data * factor
