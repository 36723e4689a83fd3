"""`md.gradcheck` and `md.check_rules`: the checks of `minidl.check`, and a page of what they found."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from ...check import function, rules
from ...check.report import Report
from ..page import Shown
from . import content, page

__all__ = ["GradientReport", "check_rules", "gradcheck"]
P = ParamSpec("P")


class GradientReport(Report, Shown):
    """What a check found: see `minidl.check.Report`. Adds ``html(path)``, ``json()`` and the page in a notebook."""

    content, page = content.content, page.page


def _with_page(check: Callable[P, Report]) -> Callable[P, GradientReport]:
    @wraps(check)
    def checked(*arguments: P.args, **options: P.kwargs) -> GradientReport:
        return GradientReport(**vars(check(*arguments, **options)))

    return checked


gradcheck = _with_page(function.gradcheck)
check_rules = _with_page(rules.check_rules)
