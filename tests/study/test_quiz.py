"""The quizzes: every answer is proved by running its lines, marks are right, and exit codes say what happened."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl.__main__ as frame
from minidl.study.quiz import QUESTIONS, QuizQuestion
from minidl.study.quiz.question import LETTERS, number

ROOT = Path(__file__).parents[2]
EVERY = pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
# what the lecture asks, in the order of its parts
LECTURE = (
    "the benefit of a residual connection", "dense connections", "the benefit of dilated convolution",
    "what transfer learning means",
    "fully convolutional networks", "auto-encoders", "the benefit of downsampling in the encoder",
    "upsampling in the decoder",
    "loss functions for segmentation", "how U-Net differs from an auto-encoder", "the benefits of U-Net's structure",
    "how Faster R-CNN works", "how YOLO and SSD work", "how instance segmentation works",
    "what a saliency map is", "methods for saliency maps, for and against",
)  # fmt: skip


def quiz(*arguments):
    return frame.main(["quiz", *arguments])


def test_all_of_the_lectures_quizzes_are_asked_in_its_order():
    assert tuple(dict.fromkeys(q.quiz for q in QUESTIONS.values())) == LECTURE
    assert len(QUESTIONS) >= 25


@EVERY
def test_the_lines_of_a_proof_give_the_answer(question):
    proof = question.prove()
    assert proof.holds, proof.printed
    assert proof.printed, "a proof shows something"


@EVERY
def test_a_question_is_whole(question):
    assert bool(question.choices) != bool(question.readings)
    assert question.ask.endswith(("?", ")?")) and question.because and question.see
    if question.choices:
        assert question.right in LETTERS[: len(question.choices)] and len(set(question.choices)) == 4
    else:
        values = [*question.readings.values(), *question.mistakes.values()]
        assert len(set(values)) == len(values)


@EVERY
def test_the_right_answer_is_right_and_every_other_is_wrong(question):
    if question.choices:
        assert [letter for letter in LETTERS if question.mark(letter).right] == [question.right]
        return
    for reading, value in question.readings.items():
        marked = question.mark(repr(value))
        assert marked.right and (len(question.readings) == 1 or reading in marked.comment)
    for mistake, value in question.mistakes.items():
        marked = question.mark(repr(value))
        assert not marked.right and mistake in marked.comment
    assert not question.mark("123456.7").right


@EVERY
def test_what_a_question_points_to_exists(question):
    for page in re.findall(r"docs/\S+\.md", question.see):
        assert (ROOT / page).exists()
    for task in re.findall(r"-m tasks (\w+)", question.see):
        assert (ROOT / "tasks" / task / "__init__.py").exists()
    for lab in re.findall(r"tasks labs (\w+)", question.see):
        assert (ROOT / "tasks" / "labs" / f"{lab}.py").exists()


def test_a_proof_that_gives_another_answer_does_not_hold():
    wrong = QuizQuestion("x", "q", "How many?", "Because.", "nothing", "print(1)\nanswer = 3", readings={"n": 4})
    assert not wrong.prove().holds
    choice = QuizQuestion("x", "q", "Which?", "Why.", "nothing", "answer = '?'", choices=tuple("wxyz"), right="a")
    assert not choice.prove().holds


@given(st.floats(-1e6, 1e6).filter(lambda v: abs(v) > 1e-3), st.floats(0, 0.05), st.floats(0, 0.1))
def test_a_number_counts_within_its_tolerance(value, tolerance, off):
    question = QuizQuestion("x", "q", "?", "b", "s", "answer = 0", readings={"n": value}, tolerance=tolerance)
    assert question.mark(repr(value)).right
    given_ = value * (1 + off)
    if abs(off - tolerance) > 1e-9:
        assert question.mark(repr(given_)).right == (off < tolerance)


@pytest.mark.parametrize(
    "message, value",
    [("12", 12), (" 1,470 ", 1470), ("-.5", -0.5), ("6/26", 6 / 26), ("43.75 %", 0.4375), ("43.75%", 0.4375),
     ("1/0", None), ("a", None), ("", None), ("1/2/3", None), ("7x7", None)],
)  # fmt: skip
def test_numbers_as_people_write_them(message, value):
    assert number(message) == (value if value is None else pytest.approx(value, rel=1e-15))


def test_one_answer_is_marked(capsys):
    assert quiz("pooled-field", "--answer", "18") == 0
    output = capsys.readouterr().out
    assert "read before the last one" in output and "22" in output and "15" in output
    assert quiz("dice", "--answer", "0.5") == 1
    output = capsys.readouterr().out
    assert "intersection over union" in output and "0.842" not in output, "a wrong answer is not told the right one"
    assert quiz("residual", "--answer", "B") == 0 and quiz("residual", "--answer", "c") == 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["dicee", "--answer", "1"], "did you mean dice?"),
        (["--answer", "1"], "belongs to one question"),
        (["--reveal"], "needs a question, or --all"),
        (["dice", "--answer", "much"], "is not a number"),
        (["dense", "--answer", "e"], "none of a, b, c, d"),
        (["--lits"], "did you mean --list?"),
    ],
)
def test_what_cannot_be_marked_is_a_usage_error_in_one_line(arguments, says, capsys):
    assert quiz(*arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_the_list_has_every_question(capsys):
    assert quiz("--list") == 0
    output = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", output, re.MULTILINE) for name in QUESTIONS)


def test_everything_can_be_revealed_and_is_proved_on_the_way(capsys):
    assert quiz("--all", "--reveal") == 0
    assert capsys.readouterr().out.count("it holds") == len(QUESTIONS)


def test_a_proof_that_fails_here_is_reported(capsys, monkeypatch):
    broken = QuizQuestion("iou", "q", "How many?", "Because.", "nothing", "answer = 3", readings={"n": 4})
    monkeypatch.setitem(QUESTIONS, "iou", broken)
    assert quiz("iou", "--reveal") == 1
    assert "IT DOES NOT HOLD" in capsys.readouterr().out


@pytest.mark.parametrize(
    "lines, code, says",
    [
        (["11"], 0, "1 of 1 right"),
        (["12"], 1, "0 of 1 right"),
        (["what?", "11"], 0, "is not a number"),
        ([""], 4, "nothing was answered"),
        (["?"], 4, "it holds"),
        (["q"], 4, "nothing was answered"),
        ([], 4, "nothing was answered"),
    ],
)
def test_answers_come_from_lines_without_a_terminal(lines, code, says, capsys, monkeypatch):
    rest = iter(lines)

    def read(prompt):
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    assert quiz("dilation-field") == code
    assert says in capsys.readouterr().out


def test_all_questions_answered_rightly(capsys, monkeypatch):
    right = iter([q.right or repr(next(iter(q.readings.values()))) for q in QUESTIONS.values()])
    monkeypatch.setattr("builtins.input", lambda prompt: next(right))
    assert quiz() == 0
    assert f"{len(QUESTIONS)} of {len(QUESTIONS)} right" in capsys.readouterr().out
