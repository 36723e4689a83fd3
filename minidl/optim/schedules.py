"""Learning-rate schedules: plain functions from the step, counted from 0, to the learning rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(lr: float, factor: float = 1.0, steps: int = 0) -> Schedule:
    """`lr`; for the first `steps` steps ``lr * factor``. As torch's ConstantLR."""
    return lambda step: lr * factor if step < steps else lr


def linear(lr: float, steps: int, start: float = 1 / 3, end: float = 1.0) -> Schedule:
    """`lr` times a factor that goes linearly from `start` to `end` in `steps` steps, and stays. As torch's LinearLR."""
    _require_steps("linear", steps)
    return lambda step: lr * (start + (end - start) * min(step / steps, 1.0))


def exponential(lr: float, gamma: float) -> Schedule:
    """``lr * gamma ** step``. As torch's ExponentialLR."""
    return lambda step: lr * gamma**step


def polynomial(lr: float, steps: int, power: float = 1.0) -> Schedule:
    """``lr * (1 - step / steps) ** power``, and 0 from step `steps` on. As torch's PolynomialLR.

    Source: Chen et al., "DeepLab", 2017, section 4.1 ("poly", power 0.9).
    """
    _require_steps("polynomial", steps)
    return lambda step: lr * (1 - min(step / steps, 1.0)) ** power


def step_decay(lr: float, steps: int | Sequence[int], gamma: float = 0.1) -> Schedule:
    """`lr`, multiplied by `gamma` after every `steps` steps, or at each of the listed steps."""
    if isinstance(steps, int):
        _require_steps("step_decay", steps)
        return lambda step: lr * gamma ** (step // steps)
    milestones = sorted(steps)
    return lambda step: lr * gamma ** bisect_right(milestones, step)


def cosine(lr: float, steps: int, final: float = 0.0) -> Schedule:
    """Half a cosine from `lr` at step 0 to `final` at step `steps`, and `final` after.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5.

        >>> rate = optim.cosine(0.1, 100)
        >>> [round(rate(step), 4) for step in (0, 50, 100)]
        [0.1, 0.05, 0.0]
    """
    _require_steps("cosine", steps)
    return lambda step: _half_cosine(lr, final, min(step / steps, 1.0))


def warm_restarts(lr: float, steps: int, multiply: int = 1, final: float = 0.0) -> Schedule:
    """Half a cosine from `lr` towards `final`, again and again: the first takes `steps` steps, each later one
    `multiply` times as many as the one before. As torch's CosineAnnealingWarmRestarts.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5.
    """
    _require_steps("warm_restarts", steps)
    if multiply < 1:
        raise ValueError(f"warm_restarts: multiply must be at least 1, got {multiply}")

    def schedule(step: int) -> float:
        length = steps
        if multiply == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * multiply
        return _half_cosine(lr, final, step / length)

    return schedule


def sequence(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """One schedule after another, each from its own step 0 on: the second from milestones[0] on, the third from
    milestones[1] on, and so on. As torch's SequentialLR.

        optim.sequence([optim.linear(0.1, 5), optim.cosine(0.1, 95)], [5])
    """
    if len(milestones) != len(schedules) - 1 or list(milestones) != sorted(milestones):
        raise ValueError(
            f"sequence: {len(schedules)} schedules need {max(len(schedules) - 1, 0)} rising milestones, got "
            f"{list(milestones)}"
        )
    starts = [0, *milestones]

    def schedule(step: int) -> float:
        i = bisect_right(milestones, step)
        return schedules[i](step - starts[i])

    return schedule


def warmup(schedule: Schedule, steps: int, start: float = 0.0) -> Schedule:
    """For the first `steps` steps `schedule` times a factor that rises linearly from `start` to 1, then `schedule`.

    The factor at step s is ``start + (1 - start) * (s + 1) / (steps + 1)``, so no step is lost on a rate of 0.
    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

        >>> rate = optim.warmup(optim.constant(0.1), 5)
        >>> [round(rate(step), 3) for step in range(7)]
        [0.017, 0.033, 0.05, 0.067, 0.083, 0.1, 0.1]
    """
    return lambda step: schedule(step) * min(1.0, start + (1 - start) * (step + 1) / (steps + 1))


def one_cycle(
    max_lr: float, steps: int, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> Schedule:
    """Half a cosine up from ``max_lr / div_factor`` over the first `pct_start` of the steps, then half a cosine down
    to ``max_lr / div_factor / final_div_factor`` at the last step, ``steps - 1``.

    Source: Smith and Topin, "Super-convergence", 2018, as torch's OneCycleLR has it.
    """
    peak, last = pct_start * steps - 1, steps - 1
    if not 0 < peak < last:
        raise ValueError(f"one_cycle: no room to rise and fall in {steps} steps with pct_start={pct_start}")
    first = max_lr / div_factor

    def schedule(step: int) -> float:
        if step <= peak:
            return _half_cosine(first, max_lr, step / peak)
        return _half_cosine(max_lr, first / final_div_factor, min((step - peak) / (last - peak), 1.0))

    return schedule


def _require_steps(name: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{name}: steps must be at least 1, got {steps}")


def _half_cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share)) / 2
