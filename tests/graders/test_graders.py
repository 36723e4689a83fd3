"""What `minidl assignment pack` writes, in the programs themselves: Gradescope's scripts, otter-grader, nbgrader.

They need an environment of their own: ``pip install -e . otter-grader nbgrader pytest pytest-xdist``.
"""

import csv
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from minidl.__main__ import main as minidl
from minidl.study.assignment.questions import QUESTIONS

ASK = ("--ask", "dice-output=3", "gridding=1", "--seed", "a secret")
RIGHT = {name: QUESTIONS[name].reveal() for name in ("dice-output", "gridding")}
NOISE = "\n    print('here', np.log(-1.0))"  # a warning, too
WRONG = RIGHT | {"dice-output": RIGHT["dice-output"].replace("gradient = 2", "gradient = -2")}
NOISY = RIGHT | {"gridding": RIGHT["gridding"].replace("offsets = {0}", "offsets = {0}" + NOISE)}
STUDENTS = {"right": (RIGHT, 4), "wrong": (WRONG, 1), "noisy": (NOISY, 4), "empty": ({}, 0)}


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def run(*words, cwd, **variables):
    """A program of this environment; what it printed."""
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def fill_in(path, target, answers):
    """A student's notebook: the empty one with these answers in place of the empty functions."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for name, text in answers.items():
            if cell["cell_type"] == "code" and f"def {QUESTIONS[name].function}(" in "".join(cell["source"]):
                cell["source"] = text
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(notebook), encoding="utf-8")


def hides_the_answers(text):
    return "secret" not in text and "offsets" not in text and "4 * S" not in text


@needs("otter")
def test_otter_grader(tmp_path):
    assert minidl(["assignment", "pack", "otter", str(tmp_path / "assignment.ipynb"), *ASK]) == 0
    run("otter", "assign", "assignment.ipynb", "dist", cwd=tmp_path)
    empty = tmp_path / "dist" / "student" / "assignment.ipynb"
    assert hides_the_answers(empty.read_text(encoding="utf-8"))
    [grader] = (tmp_path / "dist" / "autograder").glob("*.zip")
    for name, (answers, points) in STUDENTS.items():
        fill_in(empty, tmp_path / name / "assignment.ipynb", answers)
        run("otter", "run", "-a", grader, "-o", tmp_path / name, "assignment.ipynb", cwd=tmp_path / name)
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert sum(test.get("score", 0) for test in results["tests"]) == points, (name, results)
        assert ("It is the negative of the right answer" in json.dumps(results)) is (name == "wrong")


@needs("nbgrader")
def test_nbgrader(tmp_path):
    assert minidl(["assignment", "pack", "nbgrader", str(tmp_path / "source/backprop/work.ipynb"), *ASK]) == 0
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'course'\n")
    run("nbgrader", "generate_assignment", "backprop", cwd=tmp_path)
    empty = tmp_path / "release" / "backprop" / "work.ipynb"
    assert hides_the_answers(empty.read_text(encoding="utf-8"))
    for name, (answers, _) in STUDENTS.items():
        fill_in(empty, tmp_path / "submitted" / name / "backprop" / "work.ipynb", answers)
    run("nbgrader", "autograde", "backprop", cwd=tmp_path)
    run("nbgrader", "export", cwd=tmp_path)
    rows = csv.DictReader((tmp_path / "grades.csv").read_text().splitlines())
    scores = {row["student_id"]: float(row["score"]) for row in rows}
    assert scores == {name: points for name, (_, points) in STUDENTS.items()}


@needs("nbgrader")  # as the others: where packages may be installed
@pytest.mark.skipif(sys.platform != "linux", reason="Gradescope's containers are Linux")
def test_gradescope(tmp_path):
    assert minidl(["assignment", "pack", "gradescope", str(tmp_path / "autograder.zip"), *ASK]) == 0
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        archive.extractall(tmp_path / "source")
    place = {"AUTOGRADER": str(tmp_path), "STUDENT": "", "PYTHON": sys.executable}
    run("bash", "source/setup.sh", cwd=tmp_path, **place)
    assert (tmp_path / "source").stat().st_mode & 0o77 == 0
    assert not list((tmp_path / "student").rglob("minidl"))
    for name, (answers, points) in STUDENTS.items():
        submission = tmp_path / "submission"
        submission.mkdir(exist_ok=True)
        for old in submission.iterdir():
            old.unlink()
        for question, text in answers.items():
            (submission / f"{question.replace('-', '_')}.py").write_text(f"import numpy as np\n\n\n{text}")
        assert "error" not in run("bash", tmp_path / "source" / "run_autograder", cwd="/", **place).lower()
        results = json.loads((tmp_path / "results" / "results.json").read_text())
        assert [test["max_score"] for test in results["tests"]] == [3, 1]
        assert sum(test["score"] for test in results["tests"]) == points, (name, results)
        assert ("It is the negative of the right answer" in json.dumps(results)) is (name == "wrong")
