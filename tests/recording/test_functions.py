"""Every public function and every method of a tensor, recorded: on other numbers it gives what it gives unrecorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidl as md
from minidl.recording import RecordError
from tests.gpu.test_functions import CASES, Draw

REFUSED = {
    "F.nms", "F.batched_nms",  # go by the values of boxes
    "F.roi_align", "F.roi_pool", "F.grid_sample", "F.max_unpool", "F.adaptive_max_pool",  # and by those of places
    "F.ps_roi_align", "F.ps_roi_pool",
    "F.dropout", "F.dropout1d", "F.dropout2d", "F.dropout3d",  # these cases make a generator in each call
    "F.batch_norm", "F.sync_batch_norm",  # these cases make parameters in each call
    "F.einsum",  # takes a diagonal
    "F.hooked",  # calls what cannot be recorded
    "__getitem__",  # by a mask: a shape that depends on values
}  # fmt: skip


class Drawn(Draw):
    """Notes the arrays that a case is made of, or takes those of an argument."""

    def __init__(self, seed: int = 0, arrays: list[np.ndarray] | None = None):
        super().__init__("cpu")
        self.rng = np.random.default_rng(seed)
        self.given, self.noted = arrays, []

    def constant(self, values: Any) -> md.Tensor:
        self.noted.append(np.asarray(values))
        return super().constant(values if self.given is None else self.given[len(self.noted) - 1])


def outcome(case: Any, arrays: list[np.ndarray], seed: int) -> list[md.Tensor]:
    """What the case gives, and the gradients of its tensors."""
    t = Drawn(seed, arrays)
    found = case(t)
    outputs = [y for y in (found if isinstance(found, tuple) else (found,)) if isinstance(y, md.Tensor)]
    ends = [(y * y).sum() for y in outputs if y.requires_grad]
    if ends:
        sum(ends[1:], ends[0]).backward()
    return [y.detach() for y in outputs] + [leaf.grad for leaf in t.leaves]


@pytest.mark.parametrize("name", CASES)
def test_recorded_it_gives_the_same(name):
    recorded = md.record(lambda arrays: outcome(CASES[name], arrays, 0))
    try:
        for seed in range(4):
            probe = Drawn(seed)
            CASES[name](probe)
            expected, got = outcome(CASES[name], probe.noted, 0), recorded(probe.noted)
            assert len(expected) == len(got)
            for a, b in zip(expected, got, strict=True):
                assert (a is None) is (b is None) and (a is None or a.data.tobytes() == b.data.tobytes())
    except RecordError as error:
        assert name in REFUSED, error
    else:
        assert len(recorded.plans) == 1 and name not in REFUSED
