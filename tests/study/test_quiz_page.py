"""The page of the quizzes marks every answer as the command does."""

import pytest

import minidl.__main__ as frame
from minidl.study.quiz import QUESTIONS
from minidl.study.quiz.page import page as page_of
from minidl.study.quiz.question import LETTERS, QuizQuestion
from tests.support.browser import WIDTHS

ANSWER = """([id, answer]) => {
  const form = document.getElementById(id);
  for (const field of form.querySelectorAll("input")) {
    if (field.type === "radio") field.checked = field.value === answer; else field.value = answer;
  }
  form.requestSubmit();
  return form.querySelector("output").textContent;
}"""
WRITTEN = ("12", "1,470", "0.5", "1/3", "25 %", "50%", "1e3", "-2", "1/0", "twelve", "", "1/2/3", "3 4")


def test_the_command_writes_a_page_that_marks_as_it_does(browser, tmp_path, capsys):
    path = tmp_path / "quiz.html"
    assert frame.main(["quiz", "--html", str(path)]) == 0 and capsys.readouterr().out.strip() == str(path)
    with browser.open(path, width=WIDTHS[-1]) as page:
        assert page.locator("form.question").count() == len(QUESTIONS)
        for name, question in QUESTIONS.items():
            letters = LETTERS[: len(question.choices)]
            numbers = [*question.readings.values(), *question.mistakes.values(), 7.25]
            for answer in letters or map(repr, numbers):
                assert page.evaluate(ANSWER, [name, answer]) == question.mark(answer).comment
            page.evaluate(ANSWER, [name, question.right or repr(next(iter(question.readings.values())))])
        assert page.locator("#right").inner_text() == page.locator("#answered").inner_text() == str(len(QUESTIONS))
        number = next(name for name, question in QUESTIONS.items() if question.readings)
        for text in WRITTEN:
            try:
                says = QUESTIONS[number].mark(text).comment
            except ValueError as error:
                says = str(error).partition("is not a number; ")[2]
            assert says in page.evaluate(ANSWER, [number, text]) and says
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_proof_that_does_not_hold_is_no_page():
    question = QuizQuestion("odd", "none", "1 + 1?", "", "", "answer = 3", readings={"sum": 2.0})
    with pytest.raises(RuntimeError, match="the proof of odd does not hold"):
        page_of([question], {"arithmetic": (question,)})
