"""A loss as a sum of terms: what each anchor, cell or region contributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from minidl import Tensor


class Terms(NamedTuple):
    """The S terms of a loss, already divided by what the loss is divided by; ``value.sum()`` is the loss.

    value (S,); image (S,): the image each belongs to; item (S,): the anchor, cell or region in it.
    """

    value: Tensor
    image: np.ndarray
    item: np.ndarray

    def among(self, chosen: np.ndarray) -> Terms:
        """Those of the items of which `chosen`, an array of bools by item, says so."""
        here = np.flatnonzero(chosen[self.item])
        return Terms(self.value[here], self.image[here], self.item[here])


def summed(terms: Mapping[str, Terms]) -> dict[str, Tensor]:
    """Each loss by its name, a scalar."""
    return {name: part.value.sum() for name, part in terms.items()}
