"""Box regression: the four steps that lead from a box to an object, and what is lost if they miss.

Sources: Girshick et al., "Rich feature hierarchies", CVPR 2014, appendix C (the steps); Girshick, "Fast R-CNN",
ICCV 2015, equation 3 (the smooth L1 loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F

from .matching import Positives

ONES = (1.0, 1.0, 1.0, 1.0)


class Steps(NamedTuple):
    """Steps from P positive boxes to their objects, as `F.encode_boxes` counts them.

    start (P, 4): the boxes they begin at; target, predicted (P, 4); beta: of the smooth L1 loss; weights: what target
    and predicted steps are multiplied by.
    """

    positives: Positives
    start: np.ndarray
    target: np.ndarray
    predicted: Tensor
    beta: float
    weights: Sequence[float]

    @classmethod
    def of(
        cls, positives: Positives, start: np.ndarray, predicted: Tensor, beta: float, weights: Sequence[float] = ONES
    ) -> Steps:
        """With the target steps worked out."""
        with no_grad():
            target = F.encode_boxes(Tensor(positives.boxes), start, weights).data
        return cls(positives, start, target, predicted, beta, weights)

    def losses(self) -> Tensor:
        """The smooth L1 losses of each box's four steps, summed: (P,)."""
        return F.smooth_l1_loss(self.predicted, self.target, beta=self.beta, reduction="none").sum(axis=1)
