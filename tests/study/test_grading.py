"""Marks of a class: what must not pass does not, what is right does, and nothing stops the rest."""

import csv
import importlib.util
import io
import json
import os
import shutil
import sys
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from minidl.__main__ import main as minidl
from minidl.study.assignment import questions, sheet
from minidl.study.assignment.child import wire
from minidl.study.assignment.diagnosis import same
from minidl.study.assignment.grading import marks, submissions
from minidl.study.assignment.grading.closed import Closed
from minidl.study.assignment.grading.marks import Terms, grade
from minidl.study.assignment.grading.report import Report
from minidl.study.assignment.grading.submissions import gather
from minidl.study.assignment.marking import mark, truth
from minidl.study.assignment.questions import QUESTIONS
from minidl.study.assignment.runner import StudentProcess
from minidl.study.assignment.withhold import withhold

from ..support.browser import WIDTHS
from .cheats import BYTES, OTHERS, TAKE_THE_ANSWER

QUESTION = QUESTIONS["pooling-cost"]
RIGHT = f"import numpy as np\n{QUESTION.reveal()}"
TERMS = Terms({"pooling-cost": 2.0}, "a secret", cases=6, seconds=5.0, memory=512)
PUBLIC = {tuple(c.values()): float(QUESTION.answer(**c)) for c in map(QUESTION.case, range(200))}
HANGING = ("asleep", "deaf", "endless")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def filled(code, outside):
    folder = os.path.dirname(questions.__file__)
    for name, value in (("QUESTIONS_FOLDER", folder), ("PUBLIC", PUBLIC), ("OUTSIDE", str(outside))):
        code = code.replace(name, repr(value))
    return code


def write(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def marked(folder, work, terms=TERMS, jobs=2, **options):
    students, notes = gather(folder, work / "work", **options)
    return Report(dict(terms.asked), grade(students, terms, Closed(work / "work", []), jobs), notes, terms.secret)


@pytest.fixture
def work(tmp_path):
    (tmp_path / "marker" / "work").mkdir(parents=True)
    return tmp_path / "marker"


# --- what must not pass


def test_the_cheats_work_where_nothing_is_closed(tmp_path):
    """Or they would prove nothing."""
    slow = ("importlib", "an oracle", "the marker's cases")  # as "import"
    with StudentProcess() as process:
        for name, code in TAKE_THE_ANSWER.items():
            if name in slow:
                continue
            write(tmp_path / name, "pooling_cost.py", filled(code, tmp_path))
            true = truth(QUESTION.id, 2)
            run = process.run(QUESTION, tmp_path / name / "pooling_cost.py", true.cases, 100, 1024)
            assert run.status == "answered", (name, run.message)
            assert np.allclose(np.ravel(run.answers), np.ravel(true.right)), name


def test_no_cheat_passes_and_none_stops_the_class(work, tmp_path):
    cheats = {name: code for name, code in {**TAKE_THE_ANSWER, **OTHERS, **BYTES}.items() if name not in HANGING}
    assert len(cheats) >= 100
    outside = tmp_path / "outside"
    outside.mkdir()
    for name, code in {"Aaron": RIGHT, **cheats, "Zoe": RIGHT}.items():
        code = filled(code, outside) if isinstance(code, str) else code
        write(tmp_path / "class" / name, "pooling_cost.py", code)
    report = marked(tmp_path / "class", work, jobs=4)
    found = {one.submission.student: one.marks[0] for one in report.graded}
    assert {name for name, mark in found.items() if mark.verdict == "passed"} == {"Aaron", "Zoe"}
    assert set(found) == {*cheats, "Aaron", "Zoe"}
    assert {name for name, mark in found.items() if mark.verdict in marks.UNMARKED} == {"large"}
    assert not list(outside.iterdir())
    assert np.allclose(1, 2) is False
    for text in (report.text(), report.csv(), report.json(), report.page().text()):
        assert "\x1b" not in text
        assert "<script>alert" not in report.page().text()
    words = {name: mark.words for name, mark in found.items()}
    assert "No module named 'minidl': an answer is marked without it" in words["import"]
    assert "not open to an answer that is marked: open: " in words["open"]
    assert "not open to an answer that is marked: subprocess.Popen" in words["cat"]


def test_what_hangs_is_stopped(work, tmp_path):
    for name in HANGING:
        write(tmp_path / "class" / name, "pooling_cost.py", OTHERS[name])
    report = marked(tmp_path / "class", work, replace(TERMS, seconds=0.3))
    assert [one.marks[0].verdict for one in report.graded] == ["failed"] * 3
    assert all("stopped after 0.3 seconds" in one.marks[0].words for one in report.graded)
    assert report.complete


@LINUX
def test_children_end_with_their_question(work, tmp_path):
    """Also one that left its group, where nothing is closed to it."""
    code = """
import os, sys, time
def pooled_share(layers, pool):
    if not os.fork():
        os.setsid()
        if os.fork(): os._exit(0)
        open(OUTSIDE + '/pid', 'w').write(str(os.getpid()))
        time.sleep(50)
    while not os.path.exists(OUTSIDE + '/pid') or not open(OUTSIDE + '/pid').read(): time.sleep(0.01)
    return 1.0
"""
    write(tmp_path, "pooling_cost.py", filled(code, tmp_path))
    with StudentProcess() as process:
        process.run(QUESTION, tmp_path / "pooling_cost.py", [QUESTION.case(0)], 10, 1024)
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_where_the_system_cannot_fork(work, tmp_path):
    codes = {"right": RIGHT, "wrong": OTHERS["one"], "forged": OTHERS["forged message"], "gone": OTHERS["os._exit"]}
    with Closed(work / "work").process() as process:
        for name, code in codes.items():
            write(tmp_path / name, "pooling_cost.py", code)
            file = tmp_path / name / "pooling_cost.py"
            run = process.run(QUESTION, file, [QUESTION.case(0)] * 2, 5, 512, fork=False)
            assert run.status == {"right": "answered", "wrong": "answered"}.get(name, "raised"), run
            assert (run.answers == truth(QUESTION.id, 1).right * 2) is (name == "right")


@pytest.mark.parametrize("data", [
    b"", b"{}", b"[]\n", b"{}\n", b"[" * 10**5, b'{"arrays": 1}\n', b'{"arrays": [["|O", [1]]]}\n12345678',
    b'{"arrays": [["<f8", [-1]]]}\n', b'{"arrays": [["<f8", [2]]]}\n12345678', b'{"arrays": [["V8", [1]]]}\n12345678',
    b'{"arrays": [["<f8", [1000000000000000]]]}\n', b'{"arrays": [[["a", "O"], [1]]]}\n12345678', b"\xff\n",
])  # fmt: skip
def test_what_is_no_message(data):
    with pytest.raises((ValueError, EOFError)):
        wire.receive(io.BytesIO(data))


def test_messages_are_read_as_written():
    arrays = [np.arange(6.0).reshape(2, 3).T, np.array("sum"), np.array(3), np.zeros((0, 2), "f4"), np.array([True])]
    file = io.BytesIO()
    wire.send(file, {"a": 1}, arrays)
    file.seek(0)
    message, found = wire.receive(file)
    assert message == {"a": 1}
    for a, b in zip(arrays, found, strict=True):
        assert (a.dtype, a.shape, a.tolist()) == (b.dtype, b.shape, b.tolist())


# --- cases


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
def test_cases_of_a_secret_are_others(question):
    secret = {sheet.numbers(question.case(seed, "a secret")) for seed in range(8)}
    assert secret == {sheet.numbers(question.case(seed, "a secret")) for seed in range(8)}
    assert len(secret & {sheet.numbers(question.case(seed)) for seed in range(40)}) <= 1  # nothing at all, once
    assert len(secret & {sheet.numbers(question.case(seed, "another")) for seed in range(8)}) <= 4


def test_answers_pass_in_cases_of_a_secret():
    for name in ("receptive-size", "receptive-start", "receptive-pooled", "gridding", "pooling-cost", "jacobian-size"):
        question = QUESTIONS[name]
        cases = [question.values(question.answer, case) for case in truth(name, 6, "a secret").cases]
        assert mark(question, cases, "a secret").verdict == "passed"


# --- what is handed in


def zipped(path, **entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_names_of_moodle_canvas_browsers_and_windows(tmp_path, work):
    folder = tmp_path / "class"
    write(folder / "Ann O'Hara_123_assignsubmission_file_", "pooling_cost.py", RIGHT)
    write(folder / "Ann O'Hara_123_assignsubmission_onlinetext_", "onlinetext.html", "hello")
    write(folder, "Bo Li_124_assignsubmission_file_pooling_cost.py", RIGHT)
    write(folder, "doejane_LATE_77_9901_pooling_cost-1.py", RIGHT)
    zipped(folder / "roerick_78_9902_work.zip", **{"work/src/pooling_cost (1).py": b"\xef\xbb\xbf" + RIGHT.encode()})
    zipped(folder / "Zed.zip", **{"__MACOSX/._pooling_cost.py": b"\0", "Pooling Cost.py": RIGHT, "work.ipynb": "{}"})
    write(folder / "Müller, Jörg", "my_answer.py", f'QUESTION = "pooling-cost"\n{RIGHT}')
    write(folder / "empty", "notes.txt", "nothing")
    write(folder, "grades.csv", "a,b")
    report = marked(folder, work)
    found = {one.submission.student: one for one in report.graded}
    assert list(found) == ["Ann O'Hara", "Bo Li", "Müller, Jörg", "Zed", "doejane", "empty", "roerick"]
    assert [one.submission.id for one in report.graded] == ["123", "124", "", "", "77", "", "78"]
    assert {name for name, one in found.items() if one.points == 2} == {*found} - {"empty"}
    assert [name for name, one in found.items() if one.submission.late] == ["doejane"]
    assert found["empty"].marks[0].verdict == "missing"
    assert not report.complete
    assert report.notes == ["grades.csv: not in a student's folder; left out"]
    assert found["Zed"].submission.notes == ["work.ipynb: a notebook; a .py file is asked for"]


def test_a_class_in_one_zip(tmp_path, work):
    inner = zipped(tmp_path / "inner.zip", **{"pooling_cost.py": RIGHT}).read_bytes()
    files = {"hw1/doe_5_6_work.zip": inner, "hw1/Li_7_assignsubmission_file_/pooling_cost.py": RIGHT}
    whole = zipped(tmp_path / "class.zip", **files)
    assert [(g.submission.student, g.points) for g in marked(whole, work).graded] == [("Li", 2), ("doe", 2)]


def test_the_newest_of_two_files_counts_and_late_ones_lose_points(tmp_path, work):
    folder = tmp_path / "class" / "Ann"
    for name, code, when in (("pooling_cost (1).py", OTHERS["one"], 10**9), ("pooling_cost.py", RIGHT, 2 * 10**9)):
        write(folder, name, code)
        os.utime(folder / name, (when, when))
    terms = replace(TERMS, late=0.5)
    [ann] = marked(tmp_path / "class", work, terms, due=datetime(2030, 1, 1)).graded
    assert (ann.points, ann.submission.late) == (1.0, True)
    assert ann.submission.notes == ["pooling_cost (1).py: left for pooling_cost.py, which is newer"]


def test_hostile_names_and_archives(tmp_path, work, monkeypatch):
    monkeypatch.setattr(submissions, "BYTES", 1 << 20)
    folder, away = tmp_path / "class", tmp_path / "away"
    names = ("../../away.py", "/away.py", "C:/away.py", "a/../../b.py", "x\\..\\..\\y.py", "pooling_cost.py")
    zipped(folder / "slip.zip", **dict.fromkeys(names, RIGHT))
    zipped(folder / "large.zip", **{"zeros.bin": bytes(2 << 20), "pooling_cost.py": RIGHT})
    zipped(folder / "many.zip", **{f"{i}.txt": "" for i in range(600)}, **{"pooling_cost.py": RIGHT})
    zipped(folder / "nested.zip", **{"inner.zip": b"PK"})
    link = zipfile.ZipInfo("pooling_cost.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "linked.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    write(folder, "broken.zip", (folder / "slip.zip").read_bytes()[:-40])
    for name in ("link", "pipe", "folder"):
        (folder / name).mkdir()
    (folder / "link" / "pooling_cost.py").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe" / "pooling_cost.py")
    (folder / "folder" / "pooling_cost.py").mkdir()
    (folder / "-=1+1 \x1b[2J").mkdir()
    (folder / os.fsdecode(b"\xff\xfe")).mkdir()
    report = marked(folder, work)
    found = {one.submission.student: one for one in report.graded}
    assert {name for name, one in found.items() if one.points} == {"slip", "large"}
    notes = {name: " ".join(one.submission.notes) for name, one in found.items()}
    assert notes["slip"].count("its name leads out of the zip") == 5
    assert "larger than 1024 KiB" in notes["large"]
    assert "more than 500 files" in notes["many"]
    assert "a zip in a zip" in notes["nested"]
    assert "not a zip that can be read" in notes["broken"]
    assert ["a link" in notes[name] for name in ("link", "linked")] == [True, True]
    assert "not a file" in notes["pipe"]
    assert not away.exists()
    assert {p.name for p in tmp_path.iterdir()} == {"class", "marker"}
    assert "\n'-=1+1" in report.csv()
    report.page().text()


# --- the command


def test_the_command(tmp_path, capsys, browser, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("json.py", "random.py", "numpy.py"):  # in the current folder, and in the student's
        write(tmp_path, name, "raise SystemExit('read')")
        write(tmp_path / "class" / "Ann", name, "raise SystemExit('read')")
    write(tmp_path / "class" / "Ann", "pooling_cost.py", "import json, random\n" + RIGHT)
    write(tmp_path / "class" / "Bob", "pooling_cost.py", OTHERS["one"])
    words = ["assignment", "grade", "class", "--class", "--ask", "pooling-cost=3", "--seed", "s", "--cases", "3"]
    assert minidl([*words, "--csv", "c.csv", "--json", "c.json", "--html", "c.html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "student  points  passed  late  not marked"
    assert lines[1:3] == ["Ann      3 of 3  1 of 1", "Bob      0 of 3  0 of 1"]
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text("utf-8-sig").splitlines()))
    assert [(r["student"], r["points"], r["pooling-cost"]) for r in rows] == [("Ann", "3", "3"), ("Bob", "0", "0")]
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["complete"], found["seed"], found["points"]) == (True, "s", 3)
    assert found["students"][1]["marks"][0]["verdict"] == "wrong"
    for width in WIDTHS:
        with browser.open(tmp_path / "c.html", width=width) as page:
            page.locator("details").nth(1).locator("summary").click()
            assert "pooling-cost: wrong in 3 of 3 cases" in page.locator("details pre").nth(1).inner_text()
            assert page.locator("td.passed").count() == 1
    write(tmp_path / "class" / "Cem", "notes.py", "x = 1")
    assert minidl(words) == 4
    assert "2 of 3 students: every asked question was marked" in capsys.readouterr().out
    assert minidl(["assignment", "grade", "class/Ann", "--ask", "pooling-cost", "--cases", "2", "--jobs", "1"]) == 0


@pytest.mark.parametrize("words, message", [
    (["nowhere"], "nowhere is no folder and no zip"),
    ([".", "--ask", "dice-lss"], "did you mean dice-loss?"),
    ([".", "--ask", "dice-loss=x"], "'x' is no number of points"),
    ([".", "--jobs", "0"], "--jobs 0 must be at least 1"),
    ([".", "--allow", "no_such_package"], "there is no such package"),
])  # fmt: skip
def test_impossible_command_lines(words, message, capsys):
    assert minidl(["assignment", "grade", *words]) in (1, 2)
    assert message in capsys.readouterr().err


# --- solutions


def test_a_wheel_is_made_without_solutions(tmp_path):
    """setup.py rewrites the questions; marking works as before."""
    for source in sorted(Path(questions.__file__).parent.glob("[a-z]*.py")):
        path = Path(shutil.copy(source, tmp_path))
        withhold(path)
        assert ".solution" not in path.read_text("utf-8")
        name = f"{questions.__name__}.withheld_{source.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for question in module.QUESTIONS:
            whole = QUESTIONS[question.id]
            assert (question.function, question.arguments) == (whole.function, whole.arguments)
            case = question.case(3)
            for a, b in zip(question.values(question.answer, case), whole.values(whole.answer, case), strict=True):
                assert same(a, b)
            for mistake in question.mistakes:
                if mistake != "padding the other way":  # a negative padding, which no oracle takes
                    wrong, known = (q.values(q.mistakes[mistake].function, case) for q in (question, whole))
                    assert all(map(same, wrong, known)), (question.id, mistake)
            with pytest.raises(ValueError, match="the solutions are not installed here"):
                question.reveal()
