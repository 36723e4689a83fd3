"""The lecture's quizzes, marked; each answer with the lines that prove it: minidl quiz --list."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from ...table import grouped
from ..terminal import Parser, UsageError, suggestion, target
from . import PARTS, QUESTIONS, QuizQuestion
from .page import page
from .question import wrapped

RIGHT, WRONG, NOTHING_ASKED = 0, 1, 4
SKIP, SHOW, END = "", "?", "q"


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 all answers right, 1 one is wrong, 2 a bad command line, 4 no question was answered."""
    options = parser().parse_args(argv)
    if options.list:
        print(listing())
        return RIGHT
    chosen = questions(options.id)
    if options.html:
        print(page(chosen).save(options.html))
        return RIGHT
    if options.answer is not None:
        if not options.id:
            raise UsageError("--answer belongs to one question: minidl quiz ID --answer X; see minidl quiz --list")
        return marked(chosen[0], options.answer)
    if options.reveal:
        if not options.id and not options.all:
            raise UsageError("--reveal needs a question, or --all: minidl quiz ID --reveal")
        return max([reveal(question) for question in chosen])
    return asked(chosen)


def parser() -> Parser:
    options = Parser(prog="minidl quiz", description=__doc__)
    options.add_argument("id", nargs="?", metavar="ID", help="one question; all of them if left out")
    options.add_argument("--list", action="store_true", help="the questions by the lecture's parts")
    options.add_argument("--answer", metavar="X", help="mark this answer: a letter, or a number (12, 0.5, 1/3, 25 %%)")
    options.add_argument("--reveal", action="store_true", help="the answer, and the lines that prove it, run")
    options.add_argument("--all", action="store_true", help="all questions")
    options.add_argument("--html", metavar="PATH", type=target, help="write the questions as a page that marks answers")
    return options


def questions(name: str | None) -> list[QuizQuestion]:
    """The named question, or all. Raises UsageError for a name that is none."""
    if name is None:
        return list(QUESTIONS.values())
    if name not in QUESTIONS:
        raise UsageError(f"no question is called {name!r}{suggestion(name, QUESTIONS)}; see minidl quiz --list")
    return [QUESTIONS[name]]


def listing() -> str:
    """The names of all questions, under the lecture's parts and quizzes."""
    lines = grouped([(part, (q.id, q.quiz)) for part, several in PARTS.items() for q in several])
    lines.append(f"\n{len(QUESTIONS)} questions. minidl quiz asks them; minidl quiz ID --answer X marks one answer.")
    return "\n".join(lines)


def marked(question: QuizQuestion, answer: str) -> int:
    """Mark an answer, say why it is right; a wrong one does not reveal the right one."""
    try:
        result = question.mark(answer)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if result.right:
        print(result.comment, *others(question, result.comment), wrapped(question.because), sight(question), sep="\n")
        return RIGHT
    print(f"{result.comment}\nsee: {question.see}; or: minidl quiz {question.id} --reveal")
    return WRONG


def others(question: QuizQuestion, comment: str) -> Iterator[str]:
    """The right answers of the other readings of a question."""
    rest = [(value, name) for name, value in question.readings.items() if not comment.endswith(f"as {name}")]
    if len(question.readings) > 1:
        yield wrapped(f"Other readings: {'; '.join(f'{value:.6g} as {name}' for value, name in rest)}.")


def reveal(question: QuizQuestion) -> int:
    """Print question, answer, reason and proof, and run the proof: 1 if it does not hold."""
    proof = question.prove()
    print(f"--- {question.id}: {question.quiz}\n{question.text()}")
    print(f"\n{wrapped('answer: ' + question.answer())}\n{wrapped(question.because)}\n{sight(question)}\n")
    print(textwrap.indent(question.proof, "    "))
    print(textwrap.indent(proof.printed, "  > ") + ("it holds\n" if proof.holds else "IT DOES NOT HOLD HERE\n"))
    return RIGHT if proof.holds else WRONG


def asked(chosen: Sequence[QuizQuestion]) -> int:
    """Ask the questions one after the other, on a terminal or from lines of the standard input."""
    prompt = "Answer with a letter or a number. Enter skips, ? shows the answer, q ends."
    print(prompt if sys.stdin.isatty() else "Answers are read from the standard input, one to a line.")
    right = answered = 0
    for place, question in enumerate(chosen, 1):
        print(f"\n[{place}/{len(chosen)}] {question.id}\n{question.text()}")
        result = one(question)
        if result is None:
            break
        answered, right = answered + (result >= 0), right + (result == 1)
    print(f"\n{right} of {answered} right" if answered else "\nnothing was answered, so nothing was marked")
    if not answered:
        return NOTHING_ASKED
    return RIGHT if right == answered else WRONG


def one(question: QuizQuestion) -> int | None:
    """Ask until there is an answer: 1 right, 0 wrong, -1 skipped or shown, None: no more questions."""
    while True:
        try:
            answer = input("> ").strip()
        except EOFError:
            return None
        if answer == END:
            return None
        if answer == SKIP:
            return -1
        if answer == SHOW:
            reveal(question)
            return -1
        try:
            return int(marked(question, answer) == RIGHT)
        except UsageError as error:
            print(error)


def sight(question: QuizQuestion) -> str:
    return f"see: {question.see}"


if __name__ == "__main__":
    sys.exit(main())
