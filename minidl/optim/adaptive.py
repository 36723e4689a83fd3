"""RMSprop, Adagrad, Adadelta, Adamax, NAdam and RAdam: formulas on arrays, as in `rules`, and the classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .optimiser import Optimiser, Rule
from .rules import Result


@Rule
def rmsprop(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, alpha: float, eps: float, weight_decay: float,
    momentum: float, centered: bool,
) -> Result:  # fmt: skip
    g = weight_decay * w + g
    v = alpha * state.get("square_avg", 0) + (1 - alpha) * (g * g)
    buffers, spread = {"square_avg": v}, v
    if centered:
        m = buffers["grad_avg"] = alpha * state.get("grad_avg", 0) + (1 - alpha) * g
        spread = xp.maximum(v - m * m, 0)  # rounding
    step = g / (xp.sqrt(spread) + eps)
    if momentum:
        step = buffers["momentum_buffer"] = momentum * state.get("momentum_buffer", 0) + step
    return w - lr * step, buffers


@Rule
def adagrad(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, lr_decay: float, weight_decay: float,
    initial_accumulator_value: float, eps: float,
) -> Result:  # fmt: skip
    g = weight_decay * w + g
    total = state.get("sum", initial_accumulator_value) + g * g
    return w - lr / (1 + (state["step"] - 1) * lr_decay) * (g / (xp.sqrt(total) + eps)), {"sum": total}


@Rule
def adadelta(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, rho: float, eps: float, weight_decay: float
) -> Result:
    g = weight_decay * w + g
    v = rho * state.get("square_avg", 0) + (1 - rho) * (g * g)
    before = state.get("acc_delta")
    before = xp.zeros_like(w) if before is None else before
    step = xp.sqrt(before + eps) / xp.sqrt(v + eps) * g
    return w - lr * step, {"square_avg": v, "acc_delta": rho * before + (1 - rho) * (step * step)}


@Rule
def adamax(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, betas: tuple[float, float], eps: float,
    weight_decay: float,
) -> Result:  # fmt: skip
    (b1, b2), t = betas, state["step"]
    g = weight_decay * w + g
    m = b1 * state.get("exp_avg", 0) + (1 - b1) * g
    u = xp.maximum(b2 * state.get("exp_inf", 0), abs(g) + eps)
    return w - lr / (1 - b1**t) * (m / u), {"exp_avg": m, "exp_inf": u}


def _decayed(w: Any, g: Any, lr: float, weight_decay: float, decoupled: bool) -> tuple[Any, Any]:
    """(w, g) with the weight decay taken from w directly, as AdamW, or added to g."""
    return ((1 - lr * weight_decay) * w, g) if decoupled else (w, weight_decay * w + g)


def _averages(g: Any, state: Mapping[str, Any], betas: tuple[float, float]) -> dict[str, Any]:
    """Adam's running averages of the gradient and of its square."""
    b1, b2 = betas
    m, v = state.get("exp_avg", 0), state.get("exp_avg_sq", 0)
    return {"exp_avg": b1 * m + (1 - b1) * g, "exp_avg_sq": b2 * v + (1 - b2) * (g * g)}


@Rule
def nadam(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, betas: tuple[float, float], eps: float,
    weight_decay: float, momentum_decay: float, decoupled_weight_decay: bool,
) -> Result:  # fmt: skip
    (b1, b2), t = betas, state["step"]
    w, g = _decayed(w, g, lr, weight_decay, decoupled_weight_decay)
    buffers = _averages(g, state, betas)
    now, later = (b1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
    product = buffers["mu_product"] = state.get("mu_product", 1.0) * now
    deviation = xp.sqrt(buffers["exp_avg_sq"] / (1 - b2**t)) + eps
    ahead = (1 - now) / (1 - product) * g + later / (1 - product * later) * buffers["exp_avg"]
    return w - lr * (ahead / deviation), buffers


@Rule
def radam(
    xp: Any, w: Any, g: Any, state: Mapping[str, Any], *, lr: float, betas: tuple[float, float], eps: float,
    weight_decay: float, decoupled_weight_decay: bool,
) -> Result:  # fmt: skip
    (b1, b2), t = betas, state["step"]
    w, g = _decayed(w, g, lr, weight_decay, decoupled_weight_decay)
    buffers = _averages(g, state, betas)
    step = buffers["exp_avg"] / (1 - b1**t)
    most = 2 / (1 - b2) - 1
    length = most - 2 * t * b2**t / (1 - b2**t)
    if length > 5:
        r = math.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
        step = r * math.sqrt(1 - b2**t) * (step / (xp.sqrt(buffers["exp_avg_sq"]) + eps))
    return w - lr * step, buffers


class RMSprop(Optimiser):
    """Steps scaled by a running average of the squared gradient.

    g := g + weight_decay * w;  v := alpha v + (1 - alpha) g^2;  u := g / (sqrt(v) + eps), with momentum
    b := momentum * b + u, else b := u;  w := w - lr * b. If `centered`, v - m^2 in the place of v, m the average of g.
    Source: Hinton, "Neural networks for machine learning", lecture 6e, 2012; Graves, 2013, eq. 38 to 41 (centered).
    """

    rule = rmsprop

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered,
            maximize=maximize,
        )  # fmt: skip


class Adagrad(Optimiser):
    """Steps scaled by the sum of all squared gradients so far.

    g := g + weight_decay * w;  s := s + g^2, at first initial_accumulator_value;
    w := w - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps) at step t.
    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 12, 2011, eq. 1.
    """

    rule = adagrad

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps, maximize=maximize,
        )  # fmt: skip


class Adadelta(Optimiser):
    """Steps as long as the last ones, scaled by a running average of the squared gradient: no rate needs to be chosen.

    g := g + weight_decay * w;  v := rho v + (1 - rho) g^2;  u := sqrt(d + eps) / sqrt(v + eps) * g;
    d := rho d + (1 - rho) u^2;  w := w - lr * u. v and d begin at 0.
    Source: Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, algorithm 1.
    """

    rule = adadelta

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, *,
        maximize: bool = False,
    ):  # fmt: skip
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)


class Adamax(Optimiser):
    """Adam with a running maximum of |g| in the place of the root of the average of g^2.

    m as in Adam;  u := max(b2 u, |g| + eps);  w := w - lr / (1 - b1^t) * m / u.
    Source: Kingma and Ba, "Adam", ICLR 2015, algorithm 2.
    """

    rule = adamax

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize)


class NAdam(Optimiser):
    """Adam with Nesterov's momentum: its average of the gradient is that of the next step.

    m and v as in Adam;  mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), M_t = mu_1 ... mu_t;
    w := w - lr * (mu_(t+1) m / (1 - M_(t+1)) + (1 - mu_t) g / (1 - M_t)) / (sqrt(v / (1 - b2^t)) + eps).
    The weight decay is added to g, or with `decoupled_weight_decay` taken from w as in AdamW.
    Source: Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016, algorithm 2.
    """

    rule = nadam

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        maximize: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize,
        )  # fmt: skip


class RAdam(Optimiser):
    """Adam whose steps are rectified while v has seen few gradients, and not scaled by v while it has seen fewer.

    m, v as in Adam;  p = 2 / (1 - b2) - 1, p_t = p - 2 t b2^t / (1 - b2^t);  if p_t > 5,
    w := w - lr r_t m' / (sqrt(v') + eps), r_t^2 = (p_t - 4)(p_t - 2) p / ((p - 4)(p - 2) p_t), else w := w - lr m',
    where m' = m / (1 - b1^t), v' = v / (1 - b2^t), and eps counts sqrt(1 - b2^t) times less, as in torch.
    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020, algorithm 2.
    """

    rule = radam

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, decoupled_weight_decay: bool = False, *, maximize: bool = False,
    ):  # fmt: skip
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize,
        )  # fmt: skip
