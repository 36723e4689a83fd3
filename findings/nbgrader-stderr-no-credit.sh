#!/usr/bin/env bash
# nbgrader gives no point for a test whose answer is right, if anything was written to stderr on the way: a warning of
# NumPy's, a progress bar, logging. The comment above that rule of its speaks of errors only. What is printed to stdout
# costs nothing.
# Fails if that changes: then a notebook for nbgrader need not keep stderr clean while it marks.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet nbgrader==0.9.6 ipykernel==6.31.0 numpy==2.4.6
export PATH="$folder/venv/bin:$PATH"  # it runs alembic, and Jupyter finds kernels, from there
python - <<'PYTHON'
import json
from pathlib import Path

import nbformat.v4 as v4

ANSWER = """import sys
import numpy as np

def logarithm(x):
    return np.log(x)  # -inf at 0, with a warning

def quiet(x):
    print("here")
    return np.log(x, where=x > 0, out=np.full_like(x, -np.inf))"""
TEST = "assert {0}(np.array([0.0]))[0] == -np.inf"


def cell(source, name, points=0):
    rules = {"grade": points > 0, "solution": not points, "locked": points > 0, "grade_id": name, "schema_version": 3,
             "cell_type": "code", "task": False} | ({"points": points} if points else {})
    return v4.new_code_cell(source, metadata={"nbgrader": rules})


cells = [cell(ANSWER, "answer"), cell(TEST.format("logarithm"), "warns", 1), cell(TEST.format("quiet"), "prints", 1)]
book = v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
for path in ("source/logs/work.ipynb", "submitted/student/logs/work.ipynb"):
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text(json.dumps(book))
Path("nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'course'\n")
PYTHON
nbgrader generate_assignment logs >log 2>&1 || { cat log; exit 1; }
nbgrader autograde logs >>log 2>&1 || { cat log; exit 1; }
python - <<'PYTHON'
from importlib.metadata import version

from nbgrader.api import Gradebook

with Gradebook("sqlite:///gradebook.db") as book:
    grades = {grade.name: grade.auto_score for grade in book.find_submission_notebook("work", "logs", "student").grades}
print("nbgrader", version("nbgrader"), "points of two right answers, of 1 each:", grades)
if grades != {"warns": 0.0, "prints": 1.0}:
    raise SystemExit("the behaviour has changed")
PYTHON
