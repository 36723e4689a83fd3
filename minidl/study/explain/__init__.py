"""explain: every step of a backward pass, as text, SVG, JSON and one page."""

from .trace import Trace, explain

__all__ = ["Trace", "explain"]
