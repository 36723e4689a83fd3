"""Samples of ops/special.py. Oracles: Python's math, number by number."""

from __future__ import annotations

import math

import numpy as np

from ...ops import special
from . import Sample, samples
from .arithmetic import each
from .elementwise import anywhere, positive


def with_tails(rng):
    yield from anywhere(rng)
    yield Sample((np.array([-30.0, -6.0, -1e-9, 1e-9, 6.0, 20.0]),))


samples(special.erf, each(math.erf))(with_tails)
samples(special.erfc, each(math.erfc))(with_tails)
samples(special.expm1, each(math.expm1))(with_tails)
samples(special.log1p, each(math.log1p))(positive)
samples(special.arctan, each(math.atan))(with_tails)
