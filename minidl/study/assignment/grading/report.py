"""The marks of a class as text, CSV, JSON and a page."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from ....table import table
from ...page import Page, Shown, scroll
from .marks import UNMARKED, Graded, Mark

SIGNS = {"passed": "\N{CHECK MARK}", "wrong": "\N{MULTIPLICATION SIGN}", "failed": "!", "missing": "\N{EN DASH}"}
STYLE = """
.class td, .class th { text-align: center; padding: 0.2em 0.4em; white-space: nowrap }
.class th[scope=row] { text-align: left; position: sticky; left: 0; background: var(--paper) }
.class th[scope=col] { vertical-align: bottom }
.class th[scope=col] span { writing-mode: sideways-lr }
td:nth-child(2) { white-space: nowrap }
.passed { color: var(--good) }
.wrong, .failed { color: var(--bad) }
.missing, .unmarked { color: var(--warn) }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
"""


def share(points: float) -> str:
    return f"{points:.6g}"


class Report(Shown):
    """What a class got. asked: points by question; notes: what lay in the class's folder that is nobody's."""

    def __init__(self, asked: dict[str, float], graded: Sequence[Graded], notes: Sequence[str] = (), secret: str = ""):
        self.asked, self.graded, self.notes, self.secret = asked, list(graded), list(notes), secret

    @property
    def complete(self) -> bool:
        """Was every asked question of every student marked, and is there a student?"""
        return bool(self.graded) and all(one.complete for one in self.graded)

    @property
    def of(self) -> float:
        return sum(self.asked.values())

    def text(self) -> str:
        """A line for each student, and what was not marked."""
        rows = [("student", "points", "passed", "late", "not marked")]
        for one in self.graded:
            counts = Counter(mark.verdict for mark in one.marks)
            left = ", ".join(f"{counts[verdict]} {verdict}" for verdict in UNMARKED if counts[verdict])
            rows.append((
                one.submission.student, f"{share(one.points)} of {share(self.of)}",
                f"{counts['passed']} of {len(one.marks)}", "late" if one.submission.late else "", left,
            ))  # fmt: skip
        lines = table(rows)
        lines += [f"{one.submission.student}: {note}" for one in self.graded for note in one.submission.notes]
        lines += self.notes
        whole = sum(one.complete for one in self.graded)
        lines.append(f"{whole} of {len(self.graded)} students: every asked question was marked")
        return "\n".join(lines)

    def csv(self) -> str:
        """A row for each student; a table program takes no cell for a formula."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(["student", "id", "late", "points", "of", *self.asked, "not marked", "notes", "feedback"])
        for one in self.graded:
            student = one.submission
            unmarked = [mark.question for mark in one.marks if mark.verdict in UNMARKED]
            feedback = "\n".join(mark.words for mark in one.marks if mark.verdict != "passed")
            cells = [student.student, student.id, "late" if student.late else ""]
            cells += [share(number) for number in (one.points, self.of, *(mark.points for mark in one.marks))]
            writer.writerow(map(harmless, [*cells, ", ".join(unmarked), "\n".join(student.notes), feedback]))
        return file.getvalue()

    def content(self) -> dict[str, Any]:
        return {
            "complete": self.complete,
            "seed": self.secret,
            "points": self.of,
            "questions": dict(self.asked),
            "notes": self.notes,
            "students": [
                {
                    "student": one.submission.student, "id": one.submission.id, "late": one.submission.late,
                    "points": one.points, "complete": one.complete, "notes": one.submission.notes,
                    "marks": [vars(mark) for mark in one.marks],
                }
                for one in self.graded
            ],
        }  # fmt: skip

    def gradescope(self) -> dict[str, Any]:
        """The results of the first student, as results.json of Gradescope's autograders."""
        one = self.graded[0]
        tests = [
            {
                "name": mark.question, "score": mark.points, "max_score": mark.of, "output": mark.words,
                "output_format": "text", "status": "passed" if mark.verdict == "passed" else "failed",
            }
            for mark in one.marks
        ]  # fmt: skip
        return {"output": "\n".join(one.submission.notes), "output_format": "text", "tests": tests}

    # --- the page

    def page(self) -> Page:
        passed = sum(mark.verdict == "passed" for one in self.graded for mark in one.marks)
        answers = len(self.graded) * len(self.asked)
        whole = sum(one.complete for one in self.graded)
        mean = sum(one.points for one in self.graded) / max(len(self.graded), 1)
        body = [
            f"<p>{len(self.graded)} students, {len(self.asked)} questions, {share(self.of)} points; "
            f"{share(round(mean, 2))} on average. {passed} of {answers} answers passed. Of {whole} students every "
            "asked question was marked.</p>",
            self._key(),
            self._class(),
            "<h2>Question by question</h2>",
            self._questions(),
            "<h2>Feedback</h2>",
            *(self._feedback(one) for one in self.graded),
        ]
        if self.notes:
            body.append(f"<h2>Left out</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in self.notes)}</ul>")
        return Page("Marks of a class", "\n".join(body), style=STYLE)

    def _key(self) -> str:
        signs = ", ".join(f'<span class="{name}">{sign}</span> {name}' for name, sign in SIGNS.items())
        return f'<p>{signs}, <span class="unmarked">?</span> not marked</p>'

    def _class(self) -> str:
        names = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in self.asked)
        head = f'<tr><th scope="col">student</th><th scope="col">points</th>{names}</tr>'
        rows = []
        for one in self.graded:
            late = " (late)" if one.submission.late else ""
            cells = "".join(map(cell, one.marks))
            name = f'<th scope="row">{escape(one.submission.student)}{late}</th>'
            rows.append(f"<tr>{name}<td>{share(one.points)}</td>{cells}</tr>")
        return scroll(f'<table class="class"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>', "marks")

    def _questions(self) -> str:
        rows = []
        for place, question in enumerate(self.asked):
            marks = [one.marks[place] for one in self.graded]
            passed = sum(mark.verdict == "passed" for mark in marks)
            often = Counter(mark.summary for mark in marks if mark.verdict == "wrong").most_common(3)
            words = "; ".join(f"{count} &times; {escape(summary)}" for summary, count in often)
            cells = f"<td>{passed} of {len(marks)}</td><td>{words}</td>"
            rows.append(f'<tr><th scope="row">{escape(question)}</th>{cells}</tr>')
        names = ("question", "passed", "what was wrong most often")
        head = "".join(f'<th scope="col">{name}</th>' for name in names)
        return scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>", "questions")

    def _feedback(self, one: Graded) -> str:
        words = [mark.words for mark in one.marks if mark.verdict not in ("passed", "missing")]
        gone = [mark.question for mark in one.marks if mark.verdict == "missing"]
        words += [f"missing: {', '.join(gone)}"] if gone else []
        words += one.submission.notes
        text = escape("\n".join(words)) or "All passed."
        head = f"{escape(one.submission.student)}: {share(one.points)} of {share(self.of)}"
        return f"<details><summary>{head}</summary><pre>{text}</pre></details>"


def cell(mark: Mark) -> str:
    kind = mark.verdict if mark.verdict in SIGNS else "unmarked"
    kind = "missing" if mark.verdict == "not answered" else kind
    words = escape(f"{mark.question}: {mark.verdict}{f', {mark.summary}' if mark.summary else ''}", quote=True)
    return f'<td class="{kind}" title="{words}">{SIGNS.get(kind, "?")}</td>'


def harmless(text: str) -> str:
    """A cell that a table program reads as text: not as a formula, and without characters that end a file."""
    text = text.replace("\0", "")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
