"""Classical methods at their best setting: grids of settings, and the choice of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np

from .command import each

Setting = dict[str, Any]
Methods = Mapping[str, tuple[Callable, list[Setting]]]  # each method by name, and the settings to try


def grid(**values: tuple) -> list[Setting]:
    """Every combination of the values."""
    return [dict(zip(values, chosen)) for chosen in product(*values.values())]


def trials(methods: Methods) -> int:
    """How many settings there are to try."""
    return sum(len(settings) for _, settings in methods.values())


def tuned(methods: Methods, score: Callable[..., float], show: Callable[[], Any]) -> dict[str, Setting]:
    """For each method the setting of the highest ``score(method, setting)``. ``show()`` is called after each."""
    best = {}
    for name, (method, settings) in methods.items():
        scores = [score(method, setting) for setting in each(settings, show)]
        best[name] = settings[int(np.argmax(scores))]
    return best


def described(chosen: Mapping[str, Setting]) -> str:
    """The chosen settings in words."""

    def words(setting: Setting) -> str:
        return " ".join(f"{key} {f'{v:g}' if isinstance(v, float) else v}" for key, v in setting.items())

    return "; ".join(f"{name} {words(setting)}" for name, setting in chosen.items())
