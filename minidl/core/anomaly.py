"""Anomalies: the first NaN or infinity that comes out of finite numbers, named by operation and line."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

PACKAGE = __name__.partition(".")[0]


class AnomalyError(ArithmeticError):
    """An operation made a NaN or an infinity out of finite numbers."""


def stop_at_anomaly(name: str, arrays: list, result: Any, where: str) -> None:
    """Raise AnomalyError if `result` has a NaN or an infinity and `arrays` have none."""
    if result.dtype.kind not in "fc" or np.isfinite(result).all():
        return
    if all(np.isfinite(a).all() for a in arrays if getattr(getattr(a, "dtype", None), "kind", "") in "fc"):
        bad = int((~np.isfinite(result)).sum())
        raise AnomalyError(
            f"{name} made {bad} of {result.size} values NaN or infinite out of finite numbers, called at {where}"
        )


def calling_line() -> str:
    """file:line of the innermost caller outside this package."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "an unknown line"
