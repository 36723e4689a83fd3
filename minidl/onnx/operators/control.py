"""Branches and loops: their graphs arrive as functions."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from .table import Plain, operator


@operator("If")
def if_(condition: Plain, *, then_branch, else_branch):
    return then_branch() if condition.item() else else_branch()


@operator("Loop")
def loop(most: Plain = None, condition: Plain = None, *carried, body):
    """Stops after `most` turns, or when the condition that each turn gives is false."""
    turn, goes_on, collected = 0, condition is None or condition.item(), []
    while goes_on and (most is None or turn < most):
        goes_on, *values = body(np.array(turn), np.array(bool(goes_on)), *carried)
        carried, goes_on = tuple(values[: len(carried)]), bool(goes_on)
        collected.append(values[len(carried) :])
        turn += 1
    return (*carried, *(F.stack(values) for values in zip(*collected)))
