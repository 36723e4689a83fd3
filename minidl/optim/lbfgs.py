"""L-BFGS: the one optimiser that evaluates the loss itself, several times a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.context import current, enable_grad
from ..device import namespace, to_device
from .optimiser import Optimiser


class LBFGS(Optimiser):
    """Newton's method with an inverse Hessian estimated from the last `history_size` steps and changes of the gradient.

        def closure():
            optimiser.zero_grad()
            loss = F.mse_loss(model(x), target)
            loss.backward()
            return loss

        optimiser = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
        optimiser.step(closure)              # up to max_iter iterations; gives the loss before them

    A step ends early at a gradient of at most `tolerance_grad`, at a change of a weight or of the loss of at most
    `tolerance_change`, or after `max_eval` evaluations (by default 5/4 max_iter). Each iteration goes by `lr` along the
    estimated direction, or, with "strong_wolfe", to a point that meets the strong Wolfe conditions with c1 = 1e-4 and
    c2 = 0.9. One group of parameters, all on one device. Arguments and steps are torch's.
    Source: Nocedal and Wright, "Numerical optimization", 2nd ed. 2006, algorithms 7.4, 7.5, 3.5 and 3.6.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ):  # fmt: skip
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f'LBFGS: line_search_fn is None or "strong_wolfe", got {line_search_fn!r}')
        super().__init__(
            params, lr=lr, max_iter=max_iter, max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad, tolerance_change=tolerance_change, history_size=history_size,
        )  # fmt: skip
        self.line_search_fn = line_search_fn
        self.memory = _nothing()

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        if self.param_groups:
            raise ValueError("LBFGS takes one group of parameters: its direction is one vector over all of them")
        super().add_param_group(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to `max_iter` iterations; `closure` drops the gradients, computes them anew and returns the loss."""
        if closure is None:
            raise TypeError("LBFGS.step needs a closure that drops the gradients, runs backward and returns the loss")
        if current().shard is not None:
            raise ValueError("LBFGS evaluates the loss of the whole batch itself: train with shards=1")
        closure, group, m = enable_grad()(closure), self.param_groups[0], self.memory
        first = closure()
        self.look_around()
        loss, g, evaluated = float(first), self._gradient(), 1
        for iteration in range(1, group["max_iter"] + 1):
            if _largest(g) <= group["tolerance_grad"]:
                break
            d = self._direction(g)
            m["t"] = group["lr"] if m["n_iter"] else group["lr"] * min(1.0, 1.0 / float(abs(g).sum()))
            m["n_iter"] += 1
            m["d"], m["prev_flat_grad"], before = d, g, loss
            slope = float(g @ d)
            if slope > -group["tolerance_change"]:
                break
            x = self._vector()
            if self.line_search_fn is not None:
                start, most = Point(0.0, loss, g, slope), group["max_eval"] - evaluated
                at = lambda t, x=x, d=d: self._point(closure, x, t, d)  # noqa: E731
                found, tried = strong_wolfe(at, start, m["t"], _largest(d), group["tolerance_change"], most)
                m["t"], loss, g = found.t, found.loss, found.g
                self._move(x + m["t"] * d)
            else:
                self._move(x + m["t"] * d)
                if iteration == group["max_iter"]:  # where the loss is another one each time, this one would be wasted
                    break
                loss, g, tried = float(closure()), self._gradient(), 1
            evaluated += tried
            change = min(_largest(m["t"] * d), abs(loss - before))
            if evaluated >= group["max_eval"] or change <= group["tolerance_change"]:
                break
        m["func_evals"] += evaluated
        return first

    def _direction(self, g: Any) -> Any:
        """Minus the estimated inverse Hessian times g, the estimate brought up to date (algorithm 7.4)."""
        m = self.memory
        if not m["n_iter"]:
            return -g
        y, s = g - m["prev_flat_grad"], m["t"] * m["d"]
        if (curvature := float(y @ s)) > 1e-10:
            keep = self.param_groups[0]["history_size"] - 1
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1 / curvature)):
                m[name] = [*m[name][max(0, len(m[name]) - keep) :], value]
            m["H_diag"] = curvature / float(y @ y)
        steps, q, alphas = list(zip(m["old_dirs"], m["old_stps"], m["ro"], strict=True)), -g, []
        for y, s, rho in reversed(steps):
            alphas.append(rho * float(s @ q))
            q = q - alphas[-1] * y
        r = m["H_diag"] * q
        for (y, s, rho), alpha in zip(steps, reversed(alphas), strict=True):
            r = r + (alpha - rho * float(y @ r)) * s
        return r

    def _point(self, closure: Callable, x: Any, t: float, d: Any) -> Point:
        """The loss and its gradient at x + t d."""
        self._move(x + t * d)
        loss, g = float(closure()), self._gradient()
        return Point(t, loss, g, float(g @ d))

    # --- all parameters as one vector

    def _vector(self) -> Any:
        return self._joined([p.data for p in self.parameters])

    def _gradient(self) -> Any:
        return self._joined([p.data * 0 if p.grad is None else p.grad.data for p in self.parameters])

    @staticmethod
    def _joined(arrays: list[Any]) -> Any:
        return namespace(arrays).concatenate([a.reshape(-1) for a in arrays])

    def _move(self, x: Any) -> None:
        start = 0
        for p in self.parameters:
            p.data = x[start : start + p.size].reshape(p.shape).astype(p.dtype)
            start += p.size

    # --- the state

    def state_dict(self) -> dict[str, np.ndarray]:
        """As that of other optimisers; what the steps remember is under ``memory.``."""
        arrays = {f"memory.{name}": _plain(value) for name, value in self.memory.items() if value is not None}
        return {**super().state_dict(), **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state.items() if not name.startswith("memory.")})
        device, memory = self.parameters[0].device, _nothing()
        for name, value in state.items():
            if name.startswith("memory."):
                name, value = name.removeprefix("memory."), np.asarray(value)
                if name in ("old_dirs", "old_stps"):
                    memory[name] = [to_device(v, device) for v in value]
                else:
                    memory[name] = to_device(value, device) if name in ("d", "prev_flat_grad") else value.tolist()
        self.memory = memory


def _nothing() -> dict[str, Any]:
    """What is remembered before the first step, under torch's names."""
    lists = {name: [] for name in ("old_dirs", "old_stps", "ro")}  # y, s and 1 / (y s) of each step
    return {"func_evals": 0, "n_iter": 0, "d": None, "t": None, "prev_flat_grad": None, "H_diag": 1.0, **lists}


def _plain(value: Any) -> np.ndarray:
    """A number, an array or a list of them as one NumPy array."""
    if isinstance(value, list):
        return np.array([_plain(v) for v in value])
    return np.array(to_device(value, "cpu") if hasattr(value, "dtype") else value)


def _largest(v: Any) -> float:
    return float(abs(v).max())


# --- the line search


class Point(NamedTuple):
    """A point x + t d on the line: t, the loss there, its gradient, and the slope, gradient times d."""

    t: float
    loss: float
    g: Any
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, length: float, tolerance: float, most: int,
    c1: float = 1e-4, c2: float = 0.9,
) -> tuple[Point, int]:  # fmt: skip
    """A point with ``loss <= loss(0) + c1 t slope(0)`` and ``|slope| <= c2 |slope(0)|``, and how often `at` was asked.

    First t grows until a bracket holds such a point, then the bracket shrinks, both by cubic interpolation; the best
    point so far after `most` tries, or when the bracket times `length` is below `tolerance`.
    """

    def too_high(p: Point) -> bool:
        return p.loss > start.loss + c1 * p.t * start.slope

    def flat(p: Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    before, now, tried = start, at(t), 0
    while tried < most:
        if too_high(now) or (tried > 1 and now.loss >= before.loss):
            break
        if flat(now):
            return now, tried + 1
        if now.slope >= 0:
            break
        lower, upper = now.t + 0.01 * (now.t - before.t), 10 * now.t
        before, now, tried = now, at(cubic_minimum(before, now, lower, upper)), tried + 1
    else:
        before = start
    bracket, stuck = [before, now], False
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    while tried < most and abs(bracket[1].t - bracket[0].t) * length >= tolerance:
        least, greatest = sorted(p.t for p in bracket)
        t = cubic_minimum(*bracket, least, greatest)
        margin = 0.1 * (greatest - least)
        near = min(greatest - t, t - least) < margin
        if near and (stuck or not least < t < greatest):
            t, near = greatest - margin if abs(t - greatest) < abs(t - least) else least + margin, False
        stuck = near
        now, tried = at(t), tried + 1
        if too_high(now) or now.loss >= bracket[low].loss:
            bracket[high] = now
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if flat(now):
            return now, tried + 1
        if now.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = now
    return bracket[low], tried + 1


def cubic_minimum(a: Point, b: Point, lower: float, upper: float) -> float:
    """Where the cubic through two points with these slopes is lowest, between the bounds; their middle if nowhere.

    Source: Nocedal and Wright, eq. 3.59.
    """
    a, b = (a, b) if a.t <= b.t else (b, a)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return (lower + upper) / 2
    d2 = math.sqrt(square)
    t = b.t - (b.t - a.t) * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)
    return min(max(t, lower), upper)
