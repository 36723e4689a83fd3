"""The ledger: a dict that a detector fills on its way, stage by stage, for whoever wants to look.

Functions take ``ledger=None`` and write nothing then. ``ledger["terms"][name]`` splits the loss of that name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor

Ledger = dict[str, Any]


class Terms(NamedTuple):
    """A loss piece by piece, (S,) each: in which image, for which anchor, cell or region, and how much.

    ``value.sum()`` is the loss, to the last bit.
    """

    image: np.ndarray
    item: np.ndarray
    value: np.ndarray


def total(name: str, terms: Tensor, ledger: Ledger | None, image: np.ndarray, item: np.ndarray) -> Tensor:
    """The sum of the terms (S,) of a loss, which go into the ledger under its name."""
    if ledger is not None:
        ledger.setdefault("terms", {})[name] = Terms(image, item, terms.numpy())
    return terms.sum()
