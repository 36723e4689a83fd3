"""SGD, Adam and AdamW: for each the rule, a formula on arrays as the paper has it, and the class with its options.

A formula takes a parameter's value w, its gradient g and its state from before the step, and gives the new w and the
new arrays of the state. It changes nothing. `minidl.kernels` has the same in place (CPU) or for all parameters in one
launch (GPU); inside ``md.definitions()`` the formulas run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .optimiser import Optimiser, Rule

Result = tuple[Any, dict[str, Any]]  # the new w, the new arrays of the state


@Rule
def sgd(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, momentum: float, dampening: float,
    weight_decay: float, nesterov: bool,
) -> Result:  # fmt: skip
    g = weight_decay * w + g
    if not momentum:
        return w - lr * g, {}
    v = state.get("momentum_buffer")
    v = g if v is None else momentum * v + (1 - dampening) * g
    return w - lr * (momentum * v + g if nesterov else v), {"momentum_buffer": v}


@Rule
def adam(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, betas: tuple[float, float], eps: float,
    weight_decay: float, amsgrad: bool,
) -> Result:  # fmt: skip
    (b1, b2), t = betas, state["step"]
    g = weight_decay * w + g
    m = b1 * state.get("exp_avg", 0) + (1 - b1) * g
    v = b2 * state.get("exp_avg_sq", 0) + (1 - b2) * (g * g)
    buffers = {"exp_avg": m, "exp_avg_sq": v}
    if amsgrad:
        v = buffers["max_exp_avg_sq"] = xp.maximum(state.get("max_exp_avg_sq", 0), v)
    deviation = xp.sqrt(v) / math.sqrt(1 - b2**t)
    return w - lr / (1 - b1**t) * (m / (deviation + eps)), buffers


@Rule
def adamw(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, weight_decay: float, **options: Any
) -> Result:
    return adam.formula(xp, (1 - lr * weight_decay) * w, g, state, lr=lr, weight_decay=0, **options)


class SGD(Optimiser):
    """Stochastic gradient descent with momentum.

    g := g + weight_decay * w;  v := momentum * v + (1 - dampening) * g, at first v := g;
    w := w - lr * v, or with `nesterov` w := w - lr * (g + momentum * v). Without momentum v is g.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

        >>> w = md.Parameter(np.array([1.0, 2.0]))
        >>> sgd = optim.SGD([w], lr=0.1)
        >>> (w * w).sum().backward()
        >>> sgd.step()
        >>> w
        parameter([0.8, 1.6], requires_grad=True)
    """

    rule = sgd

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            maximize=maximize,
        )  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, got momentum={group['momentum']}, "
                f"dampening={group['dampening']}"
            )


class Adam(Optimiser):
    """Steps scaled by running averages of the gradient and of its square.

    g := g + weight_decay * w;  m := b1 m + (1 - b1) g;  v := b2 v + (1 - b2) g^2;
    w := w - lr * m' / (sqrt(v') + eps), with m' = m / (1 - b1^t), v' = v / (1 - b2^t) at step t;
    `amsgrad` puts the largest v so far in the place of v.
    Source: Kingma and Ba, "Adam", ICLR 2015, algorithm 1; Reddi et al., ICLR 2018, algorithm 2.

        >>> w = md.Parameter(np.array([1.0, 2.0]))
        >>> adam = optim.Adam([w], lr=0.1)
        >>> (w * w).sum().backward()
        >>> adam.step()
        >>> w.numpy().round(6)
        array([0.9, 1.9])
    """

    rule = adam

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize
        )


class AdamW(Adam):
    """Adam with the weight decay taken from the weights directly: w := w - lr * weight_decay * w, then Adam's step.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
    """

    rule = adamw

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
