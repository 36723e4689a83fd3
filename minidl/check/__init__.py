"""The gradient checker: proves derivatives against oracles that ask no rule, and says what is wrong."""

from .function import gradcheck
from .report import Report
from .rules import check_rules

__all__ = ["Report", "check_rules", "gradcheck"]
