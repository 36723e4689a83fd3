"""Samples of ops/rounding.py. Oracles: Python's own roundings, number by number."""

from __future__ import annotations

import math

from ...ops import rounding
from . import samples
from .arithmetic import each
from .elementwise import anywhere

samples(rounding.sign, each(lambda x: math.copysign(1, x) if x else 0.0))(anywhere)
samples(rounding.floor, each(lambda x: float(math.floor(x))))(anywhere)
samples(rounding.ceil, each(lambda x: float(math.ceil(x))))(anywhere)
samples(rounding.trunc, each(lambda x: float(math.trunc(x))))(anywhere)
samples(rounding.round_p, each(lambda x: float(round(x))))(anywhere)
