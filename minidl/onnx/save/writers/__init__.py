"""A writer for every primitive, and for the other array functions that forward passes call: one table."""

from . import arithmetic, read, reduce, shape, window
from .table import CHECKS, COMPUTED, DEPENDENT, REASONS, WRITERS

__all__ = ["CHECKS", "COMPUTED", "DEPENDENT", "REASONS", "WRITERS", "arithmetic", "read", "reduce", "shape", "window"]
