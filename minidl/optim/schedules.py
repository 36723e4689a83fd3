"""Learning-rate schedules: plain functions from the step, counted from 0, to the learning rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(lr: float) -> Schedule:
    """`lr` for ever."""
    return lambda step: lr


def step_decay(lr: float, steps: int | Sequence[int], gamma: float = 0.1) -> Schedule:
    """`lr`, multiplied by `gamma` after every `steps` steps, or at each of the listed steps."""
    if isinstance(steps, int):
        if steps < 1:
            raise ValueError(f"step_decay: steps must be at least 1, got {steps}")
        return lambda step: lr * gamma ** (step // steps)
    milestones = sorted(steps)
    return lambda step: lr * gamma ** bisect_right(milestones, step)


def cosine(lr: float, steps: int, final: float = 0.0) -> Schedule:
    """Half a cosine from `lr` at step 0 to `final` at step `steps`, and `final` after.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5.
    """
    if steps < 1:
        raise ValueError(f"cosine: steps must be at least 1, got {steps}")
    return lambda step: _half_cosine(lr, final, min(step / steps, 1.0))


def warmup(schedule: Schedule, steps: int, start: float = 0.0) -> Schedule:
    """For the first `steps` steps `schedule` times a factor that rises linearly from `start` to 1, then `schedule`.

    The factor at step s is ``start + (1 - start) * (s + 1) / (steps + 1)``, so no step is lost on a rate of 0.
    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.
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


def _half_cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share)) / 2
