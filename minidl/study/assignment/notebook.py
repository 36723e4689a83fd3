"""`md.assignment.check`: a function object marked where it stands, as in a notebook."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from .child.returned import NoAnswer, arrays
from .marking import CASES, Marking, describe, mark, truth
from .question import Outputs
from .questions import QUESTIONS


def check(id: str, function: Callable[..., Any], *, cases: int = CASES, secret: str = "") -> Marking:
    """Mark a function that answers the question `id`, called on cases 0, 1, ... in this process, as yours.

    The function gets copies of the arguments that ``minidl assignment show ID`` names, in order. Returns a `Marking`:
    `.verdict`, `.diagnoses`, `.text()`, `.json()`. What the function raises is passed on, with a note that names the
    case. secret: cases are drawn from it, others than the public ones. Raises ValueError for a question that is not
    there.
    """
    if id not in QUESTIONS:
        near = difflib.get_close_matches(id, QUESTIONS, 1)
        hint = f": did you mean {near[0]}?" if near else "; minidl assignment list names them"
        raise ValueError(f"{id!r} is not a question{hint}")
    if not callable(function):
        raise TypeError(f"{id}: a function of {', '.join(QUESTIONS[id].arguments)} is asked for, got {function!r}")
    question, answers = QUESTIONS[id], []
    for seed, case in enumerate(truth(id, cases, secret).cases):
        inputs = [value.copy() if isinstance(value, np.ndarray) else value for value in case.values()]
        try:
            answers.append(_answer(function, inputs, [output.name for output in question.outputs]))
        except NotImplementedError:
            words = f"{id}: the function raises NotImplementedError: it waits for your answer"
            return Marking(id, "not answered", cases=cases, problems=[words])
        except NoAnswer as problem:
            return Marking(id, "wrong", cases=cases, problems=[f"{problem} (case {seed})"])
        except Exception as error:
            error.add_note(f"in case {seed} of {id}, called with ({describe(case)})")
            raise
    return mark(question, answers, secret)


def _answer(function: Callable[..., Any], inputs: list[Any], names: list[str]) -> Outputs:
    return tuple(value.copy() for value in arrays(function(*inputs), names))
