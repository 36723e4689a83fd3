"""The assignment's questions: right answers pass, every mistake gets its own diagnosis, and nothing else gets one."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl.study.assignment import diagnosis, sheet
from minidl.study.assignment.marking import CASES, kind, mark, truth
from minidl.study.assignment.question import Output, Question
from minidl.study.assignment.questions import QUESTIONS

EVERY = pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
WITH_TERMS = [q for q in QUESTIONS.values() if q.parts]


def answers(question, function, cases=CASES):
    return [question.values(function, case) for case in truth(question.id, cases).cases]


def names(result):
    return [d.name for d in result.diagnoses]


def changed(question, change, cases=CASES):
    """The result for the right answers, each output of each case changed."""
    return mark(question, [tuple(change(a) for a in right) for right in truth(question.id, cases).right])


# --- every question


@EVERY
def test_the_right_answer_passes_on_50_seeds(question):
    """The solution knows none of the oracles, and they agree with each other (or the verdict would be inconclusive)."""
    assert len(question.oracles) >= 2
    result = mark(question, answers(question, question.answer, cases=50))
    assert (result.verdict, result.right, result.diagnoses) == ("passed", 50, []), result.text()


@EVERY
def test_every_mistake_gets_its_own_diagnosis(question):
    found = {name: mark(question, answers(question, m.function)) for name, m in question.mistakes.items()}
    assert {name: names(result) for name, result in found.items()} == {name: [name] for name in question.mistakes}
    assert all(result.verdict == "wrong" and result.right < CASES for result in found.values())


@EVERY
def test_a_sign_and_a_factor_are_named(question):
    assert set(names(changed(question, lambda a: -a))) == {"sign"}
    assert set(names(changed(question, lambda a: a * 3))) == {"factor 3"}
    assert set(names(changed(question, lambda a: a / 7))) == {"factor 0.142857"}


@EVERY
def test_numbers_that_nothing_explains_are_not_explained(question):
    rng = np.random.default_rng(0)
    result = changed(question, lambda a: a + rng.standard_normal(a.shape))
    assert (result.verdict, result.diagnoses) == ("wrong", [])
    assert "no known mistake matches" in result.text()


@EVERY
@pytest.mark.parametrize("cases", [1, 3])
def test_few_cases_accuse_nobody(question, cases):
    rng = np.random.default_rng(cases)
    assert not changed(question, lambda a: a + rng.standard_normal(a.shape), cases).diagnoses


@EVERY
def test_the_revealed_solution_stands_alone(question):
    """As a student's file: with NumPy and nothing else."""
    space = {"np": np}
    exec(compile(question.reveal(), question.id, "exec"), space)
    assert mark(question, answers(question, space[question.function])).verdict == "passed"


@EVERY
def test_the_text_names_all_arguments(question):
    for name in question.arguments:
        assert f"`{name}`" in question.text
    for text in (sheet.page(question), sheet.template(question)):
        assert max(map(len, text.splitlines())) <= 120
    space = {}
    exec(compile(sheet.template(question), question.id, "exec"), space)
    assert space["QUESTION"] == question.id
    with pytest.raises(NotImplementedError):
        space[question.function](**question.case(0))


@EVERY
def test_cases_are_the_same_every_time_and_differ_by_seed(question):
    assert sheet.numbers(question.case(3)) == sheet.numbers(question.case(3))
    assert len({sheet.numbers(question.case(seed)) for seed in range(CASES)}) > CASES // 4
    for seed in range(5):
        space = {"np": np}
        exec(sheet.numbers(question.case(seed)), space)
        for name, value in question.case(seed).items():
            assert np.array_equal(space[name], value)


# --- terms


@pytest.mark.parametrize("question", WITH_TERMS, ids=[q.id for q in WITH_TERMS])
@pytest.mark.parametrize("factor, message", [(0, "dropped term"), (-1, "sign of a term"), (2, "factor of a term")])
def test_a_wrong_term_is_found(question, factor, message):
    table = [question.parts(**case) for case in truth(question.id, CASES).cases]
    for wrong in table[0]:
        given = []
        for row in table:
            scaled = [[(factor if name == wrong else 1) * a for a in question.outputs_of(t)] for name, t in row.items()]
            given.append(tuple(np.asarray(sum(parts)) for parts in zip(*scaled, strict=True)))
        result = mark(question, given)
        assert {d.name for d in result.diagnoses} == {f"{message}: {wrong}"}


@given(st.floats(-5, 5), st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_two_wrong_terms_are_both_named(a, b):
    if min(abs(a - 1), abs(b - 1), abs(a - b), abs(a), abs(b), abs(a + 1), abs(b + 1)) < 1e-3:
        return
    question = QUESTIONS["dice-output"]
    first, second = question.parts(**question.case(0))
    table = [question.parts(**case) for case in truth(question.id, CASES).cases]
    result = mark(question, [(a * row[first] + b * row[second],) for row in table])
    assert names(result) == [f"factor of a term: {first}; factor of a term: {second}"]


# --- general mistakes


@given(st.floats(-1e6, 1e6), st.sampled_from(["dice-weights", "skip-paths", "gridding", "grad-cam"]))
@settings(max_examples=40, deadline=None)
def test_any_constant_factor_is_found(c, name):
    if abs(c) < 1e-3 or min(abs(c - 1), abs(c + 1)) < 1e-3:
        return
    result = changed(QUESTIONS[name], lambda a: c * a)
    assert result.diagnoses
    assert all(d.name.startswith("factor ") for d in result.diagnoses)


def test_a_sum_for_a_mean_names_what_it_runs_over():
    question = QUESTIONS["concat-gradient"]
    cases, right = truth(question.id, CASES).cases, truth(question.id, CASES).right
    result = mark(question, [(a[0] * len(case["g"]),) for a, case in zip(right, cases, strict=True)])
    assert names(result) == ["factor N"]
    assert "g.size" in result.text()
    result = mark(question, [(a[0] / len(case["W1"]),) for a, case in zip(right, cases, strict=True)])
    assert names(result) == ["factor 1/N"]
    assert "W1.shape[0]" in result.text()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a[:, ::-1], "reversed"),
        (lambda a: a[:, :, ::-1], "reversed"),
        (lambda a: np.swapaxes(a, 1, 2), "transposed"),
        (lambda a: np.roll(a, 1, axis=2), "shifted"),
        (lambda a: np.concatenate([0 * a[:, :1], a[:, :-1]], axis=1), "shifted"),
        (lambda a: a * (np.arange(len(a)) == 0)[:, None, None], "only the first image"),
        (lambda a: 0 * a, "zero"),
        (lambda a: a + 0.25, "offset +0.25"),
        (lambda a: a.astype(np.float32).astype(np.float64), "single precision"),
        (lambda a: a.astype(np.float16), "half precision"),
        (lambda a: a.round(1), "rounded"),
        (lambda a: a.round(4), "rounded"),
        (lambda a: a + 1e-6 * np.sin(np.arange(a.size)).reshape(a.shape) * abs(a).max(), "imprecise"),
    ],
)
def test_the_right_numbers_in_the_wrong_place(change, message):
    assert names(changed(QUESTIONS["dice-output"], change)) == [message]


@pytest.mark.parametrize(
    "name, change, remark",
    [
        ("dice-output", lambda a: a[:, None], "dL/dp: shape (1, 1, 2, 3) in case 0, read as an array"),
        ("dice-output", lambda a: a.astype(np.float32), "dL/dp: float32"),
        ("dice-loss", lambda a: a[None], "L: shape (1,) in case 0, read as a number"),
        ("dice-loss", lambda a: np.float32(a), "L: float32"),
    ],
)
def test_what_is_odd_and_right_passes_with_a_remark(name, change, remark):
    result = changed(QUESTIONS[name], change)
    assert (result.verdict, result.diagnoses, result.problems) == ("passed", [], [])
    assert remark in result.text()
    assert remark in result.json()["remarks"][0]
    negative = changed(QUESTIONS[name], lambda a: -change(a))
    assert names(negative) == ["sign"]  # odd or not, a mistake is a mistake


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["dice-loss", "dice-weights", "shortcut-condition", "receptive-size", "skip-bounds"])
def test_an_infinite_answer_is_no_known_mistake(name, value):
    result = changed(QUESTIONS[name], lambda a: np.full(a.shape, value))
    assert (result.verdict, result.diagnoses) == ("wrong", []), result.text()
    assert f"({value}): a division by zero, or an overflow?" in result.text()


@pytest.mark.parametrize("eps", [1e-7, 1e-5, 1.0])
@pytest.mark.parametrize("question", [q for q in QUESTIONS.values() if q.with_eps], ids=lambda q: q.id)
def test_an_eps_is_named_and_measured(question, eps):
    for name, wrong in question.with_eps.items():
        result = mark(question, answers(question, functools.partial(wrong.function, eps)))
        assert names(result) == [name]
        assert f"right with eps = {eps:.3g}." in result.text()


# --- in a notebook


def test_a_function_object_is_marked():
    question = QUESTIONS["dice-output"]
    assert md.assignment.check("dice-output", question.answer).verdict == "passed"
    result = md.assignment.check("dice-output", lambda p, g, reduction: -question.answer(p, g, reduction))
    assert names(result) == ["sign"]
    assert repr(result) == result.text()

    def changes_its_arguments(p, g, reduction):
        p *= 0
        raise NotImplementedError

    assert md.assignment.check("dice-output", changes_its_arguments).verdict == "not answered"
    assert md.assignment.check("dice-output", lambda *_: None).code != 0
    with pytest.raises(ZeroDivisionError) as error:
        md.assignment.check("dice-output", lambda *_: 1 / 0)
    assert error.value.__notes__ == ["in case 0 of dice-output, called with (p 1x2x3, g 1x2x3, reduction 'mean')"]
    with pytest.raises(ValueError, match="did you mean dice-output"):
        md.assignment.check("dice-ouput", question.answer)
    with pytest.raises(TypeError, match="a function of p, g, reduction is asked for"):
        md.assignment.check("dice-output", question.answer(**question.case(0)))


def test_border_only():
    def inputs(rng, seed):
        return {"x": rng.standard_normal(rng.integers(4, 7, 2))}

    question = Question("border", "title", "topic", "text", (Output("y", ("row", "column")),), inputs)
    cases = [inputs(np.random.default_rng(s), s) for s in range(CASES)]
    right = [(case["x"] * 2,) for case in cases]
    got = [(np.pad(case["x"][1:-1, 1:-1] * 2, 1),) for case in cases]
    assert [d.name for d in diagnosis.diagnose(question, cases, right, {}, got)] == ["border only"]


def test_one_output_may_be_wrong_alone():
    question = QUESTIONS["dice-weights"]
    right = truth(question.id, CASES).right
    result = mark(question, [(by_h, -by_b) for by_h, by_b in right])
    assert [(d.name, d.output) for d in result.diagnoses] == [("sign", "dL/db")]
    result = mark(question, [(-by_h, 2 * by_b) for by_h, by_b in right])
    assert [(d.name, d.output) for d in result.diagnoses] == [("sign", "dL/dh"), ("factor 2", "dL/db")]


def test_a_known_mistake_and_a_sign():
    question = QUESTIONS["dice-delta"]
    wrong = question.mistakes["activation's derivative forgotten"].function
    result = mark(question, [(-a[0],) for a in answers(question, wrong)])
    assert names(result) == ["activation's derivative forgotten, and a factor -1"]


def test_a_diagnosis_must_explain_nearly_every_case():
    question = QUESTIONS["dice-output"]
    wrong = question.mistakes["Dice treated as 1"].function
    for spoilt, found in ((2, ["Dice treated as 1"]), (3, [])):
        given = answers(question, wrong)
        for seed in range(spoilt):
            given[seed] = (given[seed][0] + np.linspace(1, 2, given[seed][0].size).reshape(given[seed][0].shape),)
        assert names(mark(question, given)) == found


def test_a_diagnosis_must_differ_from_the_right_answer():
    """What is right in all cases but one is not explained by a mistake that shows in other cases."""
    question = QUESTIONS["dice-output"]
    given = [tuple(a.copy() for a in right) for right in truth(question.id, CASES).right]
    given[0][0][0, 0, 0] += 1
    result = mark(question, given)
    assert (result.right, result.diagnoses) == (CASES - 1, [])
    assert "[image 0, row 0, column 0] in case 0" in result.worst


def test_what_the_right_cases_have_in_common():
    question = QUESTIONS["dice-output"]

    def spoilt(where):
        true = truth(question.id, CASES)
        given = [
            tuple(a + rng.standard_normal(a.shape) if where(case) else a for a in right)
            for case, right in zip(true.cases, true.right, strict=True)
        ]
        return mark(question, given).text()

    rng = np.random.default_rng(0)
    assert "It is right exactly where reduction is 'sum'." in spoilt(lambda case: case["reduction"] != "sum")
    assert "It is wrong exactly where p.shape[0] is 1." in spoilt(lambda case: len(case["p"]) == 1)
    assert "It is wrong exactly where some g[i] is all zero." in spoilt(lambda case: not case["g"][-1].any())
    assert "exactly" not in spoilt(lambda case: rng.random() < 0.5)


def test_ties_are_listed():
    def twice(rng, seed):
        return {"x": rng.standard_normal(3)}

    question = Question("tie", "title", "topic", "text", (Output("y", ("entry",)),), twice)
    question.mistake("one", "The first.")(lambda x: -x)
    question.mistake("other", "The second.")(lambda x: 0 - x)
    cases = [twice(np.random.default_rng(s), s) for s in range(CASES)]
    right, got = [(case["x"],) for case in cases], [(-case["x"],) for case in cases]
    known = {name: [question.values(m.function, c) for c in cases] for name, m in question.mistakes.items()}
    assert [d.name for d in diagnosis.diagnose(question, cases, right, known, got)] == ["one", "other"]


def test_shapes_and_values_that_are_no_numbers():
    question = QUESTIONS["dice-output"]
    assert "is asked for in case 0, got shape (2, 3)" in changed(question, lambda a: a.sum(0)).text()
    assert "6 of 6 values are not finite in case 0" in changed(question, lambda a: a * np.nan).text()
    assert "a finite number is right" in changed(question, lambda a: np.full(a.shape, np.inf)).text()


def test_what_is_said_of_the_worst_entry_is_not_the_answer():
    assert kind(-1.0, 2.0) == "a positive number is right"
    assert kind(1.0, 2.0) == "a positive number larger in size is right"
    assert kind(-3.0, -2.0) == "a negative number smaller in size is right"
    assert kind(0.0, -2.0) == "a negative number is right"
    assert kind(5.0, 0.0) == "zero is right"
    assert kind(np.nan, 1.0) == "a finite number is right"


def test_oracles_that_do_not_agree_are_no_verdict(monkeypatch):
    question = QUESTIONS["dice-loss"]
    given = answers(question, question.answer)
    monkeypatch.setitem(question.oracles, "loops", lambda p, g, reduction: 1.0)
    truth.cache_clear()
    try:
        result = mark(question, given)
        assert (result.verdict, result.code) == ("inconclusive", 4)
        assert "do not agree in case 0" in result.text()
    finally:
        truth.cache_clear()


def test_no_case_is_no_pass():
    assert mark(QUESTIONS["dice-loss"], []).code == 4


def test_special_cases_occur():
    cases = truth("dice-weights", CASES).cases
    assert any(len(case["z"]) == 1 for case in cases)  # batch 1
    assert any(not case["y"][-1].any() for case in cases)  # an empty mask
    assert any(case["z"].shape[2] != case["z"].shape[3] for case in cases)
    assert {side % 2 for case in cases for side in case["h"].shape[1:]} == {0, 1}  # even and odd kernels
    pairs = {(case["convention"], case["reduction"]) for case in cases}
    assert pairs == set(itertools.product(("convolution", "cross-correlation"), ("mean", "sum", "pooled")))
    assert any(not (case["p"][-1].any() or case["g"][-1].any()) for case in truth("dice-loss", CASES).cases)
