"""Arithmetic of two values, and functions of single entries."""

from __future__ import annotations

from ... import functional as F
from ...ops import arithmetic
from .table import operator

LEARNS = ("a", "b")


@operator("Add", since=7, learns=LEARNS)
def add(a, b):
    return arithmetic.add(a, b)


@operator("Relu")
def relu(x):
    return F.relu(x)
