"""An example class of 100 students and 30 questions, marked: ``python -m tests.study.example_class [FOLDER]``.

Prints the time that it takes. Three answers in four are right; the others have a sign, a factor, an offset, noise, an
error, or are not there. FOLDER gets the class, marks.csv, marks.json and marks.html.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from minidl.__main__ import main as minidl
from minidl.study.assignment import sheet
from minidl.study.assignment.question import Question
from minidl.study.assignment.questions import QUESTIONS

CHANGES = {
    "sign": "-np.asarray(a)",
    "factor": "2 * np.asarray(a)",
    "offset": "np.asarray(a) + 0.25",
    "noise": "np.asarray(a) * (1 + np.random.default_rng(0).random(np.shape(a)))",
    "none": "None",
}
NAMES = ("Ada", "Bela", "Cem", "Dora", "Émile", "Frida", "Goro", "Hana", "Ines", "Jörg")


def answer(question: Question, kind: str) -> str:
    """A student's file of one kind."""
    start = f'import numpy as np\n\nQUESTION = "{question.id}"\n\n\n'
    if kind == "raises":
        return f"{start}def {question.function}({', '.join(question.arguments)}):\n    return 1 / 0\n"
    if kind == "empty":
        return sheet.template(question)
    text = start + question.reveal()
    if kind == "right":
        return text
    value = f"tuple({CHANGES[kind]} for a in y)" if len(question.outputs) > 1 else CHANGES[kind].replace("(a", "(y")
    name = question.function
    return f"{text}\n\nright = {name}\n\n\ndef {name}(*x):\n    y = right(*x)\n    return {value}\n"


def make(folder: Path, students: int = 100) -> int:
    """Write a class as Moodle gives it out; how many right answers are in it."""
    rng = np.random.default_rng(20)
    kinds = ["right", *CHANGES, "raises", "empty", "missing"]
    shares = [0.76, *[0.04] * len(CHANGES), 0.02, 0.01, 0.01]
    right = 0
    for number in range(students):
        name = f"{NAMES[number % 10]} {'ABCDEFGHIJ'[number // 10]}son_{1000 + number}_assignsubmission_file_"
        (folder / name).mkdir(parents=True)
        for question in QUESTIONS.values():
            kind = str(rng.choice(kinds, p=shares))
            right += kind == "right"
            if kind != "missing":
                (folder / name / sheet.file_of(question)).write_text(answer(question, kind), encoding="utf-8")
    return right


def main() -> int:
    """Make the class, mark it, print what it cost."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(sys.argv[1] if len(sys.argv) > 1 else name)
        right = make(place / "class")
        start, before = time.monotonic(), os.times()
        words = ["assignment", "grade", str(place / "class"), "--class", "--seed", "an example", "--jobs", "2"]
        code = minidl([*words, *(f"--{kind}={place / 'marks'}.{kind}" for kind in ("csv", "json", "html"))])
        wall, spent = time.monotonic() - start, [b - a for a, b in zip(before, os.times())][:4]
        cost = f"{wall:.0f} s, {sum(spent):.0f} CPU s, {sum(spent[2:]):.0f} of them for students' code"
        found = json.loads((place / "marks.json").read_text(encoding="utf-8"))
        passed = sum(mark["verdict"] == "passed" for one in found["students"] for mark in one["marks"])
        print(f"{passed} of {right} right answers passed; exit code {code}; {cost}")
    return 0 if passed == right and code == 4 else 1  # some files are missing


if __name__ == "__main__":
    sys.exit(main())
