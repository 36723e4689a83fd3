"""Questions to answer with a function in NumPy, and a marker that says which mistake it is."""

from .notebook import check

__all__ = ["check"]
