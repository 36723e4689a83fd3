"""The questions as a notebook with solutions and tests, of which otter-grader and nbgrader make a student's.

Public tests try the public cases; hidden ones those of a secret, which is in the teacher's notebook. Both programs run
the tests in the student's own process: what `minidl assignment grade` closes is open there.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from .. import sheet
from ..question import Question
from ..questions import QUESTIONS

Cell = dict[str, Any]
OTTER_TEST = '""" # BEGIN TEST CONFIG\n{}\n""" # END TEST CONFIG\n'
START = "import numpy as np\n\nimport minidl as md"


def otter(asked: Mapping[str, float], secret: str) -> str:
    """A notebook for ``otter assign``: https://otter-grader.readthedocs.io, notebook format v1.

    A test prints nothing, nor may what it calls: otter 7 expects a cell's output after its last statement.
    """
    config = "# ASSIGNMENT CONFIG\ninit_cell: true\nexport_cell: false\ncheck_all_cell: true\ntests:\n  ok_format: true"
    cells = [raw(config), code(START)]
    for name, points in asked.items():
        question = QUESTIONS[name]
        head, body = solution(question)
        cells += [
            raw(f"# BEGIN QUESTION\nname: {name.replace('-', '_')}\npoints: {points:g}"),
            markdown(sheet.page(question)),
            raw("# BEGIN SOLUTION"),
            code(f"{head}\n    # BEGIN SOLUTION\n{body}\n    # END SOLUTION"),
            raw("# END SOLUTION"),
            raw("# BEGIN TESTS"),
            code(OTTER_TEST.format("points: 0") + test(question)),
            code(OTTER_TEST.format(f"hidden: true\npoints: {points:g}") + test(question, secret)),
            raw("# END TESTS"),
            raw("# END QUESTION"),
        ]
    return notebook(cells)


def nbgrader(asked: Mapping[str, float], secret: str) -> str:
    """A notebook for nbgrader's folder ``source``: https://nbgrader.readthedocs.io, metadata of schema 3.

    What a test writes to stderr, a NumPy warning even, would cost all of its points.
    """
    cells = [code(START)]
    for name, points in asked.items():
        question = QUESTIONS[name]
        head, body = solution(question)
        cells += [
            markdown(sheet.page(question)),
            code(f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION", graded(name, solution=True)),
            code(test(question), graded(f"{name}-public", grade=True, points=0)),
            code(
                f"### BEGIN HIDDEN TESTS\n{test(question, secret)}\n### END HIDDEN TESTS",
                graded(f"{name}-hidden", grade=True, points=points),
            ),
        ]
    return notebook(cells)


def test(question: Question, secret: str = "") -> str:
    """A cell that raises, with the diagnosis, unless the answer passes; what the answer prints is held back."""
    more = f", secret={secret!r}" if secret else ""
    return "\n".join([
        "import contextlib, io",
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):",
        f'    marking = md.assignment.check("{question.id}", {question.function}{more})',
        'assert marking.verdict == "passed", marking.text()',
    ])  # fmt: skip


def solution(question: Question) -> tuple[str, str]:
    """The first lines of the solution up to its body, and the body."""
    lines = question.reveal().rstrip().split("\n")
    first = ast.parse("\n".join(lines)).body[0].body[0].lineno - 1
    return "\n".join(lines[:first]), "\n".join(lines[first:])


# --- notebooks, format 4.5


def notebook(cells: list[Cell]) -> str:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    numbered = [{"id": f"cell-{place}", **cell} for place, cell in enumerate(cells)]
    made = {"cells": numbered, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def markdown(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def raw(text: str) -> Cell:
    return {"cell_type": "raw", "metadata": {}, "source": text}


def code(text: str, metadata: dict[str, Any] | None = None) -> Cell:
    return {"cell_type": "code", "metadata": metadata or {}, "source": text, "outputs": [], "execution_count": None}


def graded(name: str, *, grade: bool = False, solution: bool = False, **more: float) -> dict[str, Any]:
    """nbgrader's metadata of a cell."""
    cell = {"grade": grade, "solution": solution, "locked": grade, "task": False, "grade_id": name, **more}
    return {"nbgrader": {**cell, "schema_version": 3, "cell_type": "code"}}
