"""One self-contained HTML page: what every tool that shows something writes, and what a notebook shows."""

from .document import Page, Shown, plain
from .heat import heat_table, level, number
from .mathml import mathml
from .parts import capital, scroll, text_table

__all__ = ["Page", "Shown", "capital", "heat_table", "level", "mathml", "number", "plain", "scroll", "text_table"]
