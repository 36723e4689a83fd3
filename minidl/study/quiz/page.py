"""The quizzes as a page: answers are marked in the browser, as `QuizQuestion.mark` marks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from ..page import Page, capital
from ..terminal import counted
from . import PARTS, QuizQuestion
from .question import LETTERS


def page(chosen: Sequence[QuizQuestion], parts: Mapping[str, Sequence[QuizQuestion]] = PARTS) -> Page:
    """The page of these questions, under their parts; their proofs are run while it is made.

    Raises RuntimeError if one does not hold.
    """
    shown = counted([(part, q) for part, several in parts.items() for q in several if q in chosen], "proofs")
    body, before = [], None
    for part, question in shown:
        body += [f"<h2>{escape(capital(part))}</h2>"] if part != before else []
        body.append(_question(question))
        before = part
    here = Path(__file__)
    script, style = (here.with_suffix(ending).read_text(encoding="utf-8") for ending in (".js", ".css"))
    data = {q.id: _data(q) for q in chosen}
    return Page("The lecture's quizzes", "\n".join([_score(len(chosen)), *body]), script, style, data)


def _score(count: int) -> str:
    return (
        '<p class="lead">Choose an answer, or write a number (12, 0.5, 1/3, 25 %), and press Enter. Nothing is sent '
        f'anywhere.</p><p class="score" aria-live="polite"><b id="right">0</b> of <b id="answered">0</b> right; '
        f"{count} questions.</p>"
    )


def _question(question: QuizQuestion) -> str:
    proof = question.prove()
    if not proof.holds:
        raise RuntimeError(f"the proof of {question.id} does not hold here: it printed {proof.printed!r}")
    name = escape(question.id)
    if question.choices:
        fields = "".join(
            f'<label class="choice"><input type="radio" name="{name}" value="{letter}"> '
            f"{letter}) {escape(choice)}</label>"
            for letter, choice in zip(LETTERS, question.choices)
        )
    else:
        fields = f'<label>your answer <input name="{name}" autocomplete="off" inputmode="text"></label>'
    return (
        f'<form class="question" id="{name}"><fieldset><legend>{escape(question.ask)}</legend>{fields}'
        '<p class="row"><button>Check</button> <output aria-live="polite"></output></p></fieldset>'
        f"<details><summary>Answer and proof</summary><p><b>{escape(question.answer())}</b></p>"
        f"<p>{escape(question.because)}</p><pre>{escape(question.proof)}</pre>"
        f'<pre class="printed">{escape(proof.printed)}</pre>'
        f'<p class="note">see: {escape(question.see)}</p></details></form>'
    )


def _data(question: QuizQuestion) -> dict:
    """What the script marks by."""
    if question.choices:
        return {"right": question.right}
    return {
        "readings": list(question.readings.items()), "mistakes": list(question.mistakes.items()),
        "tolerance": question.tolerance,
    }  # fmt: skip
