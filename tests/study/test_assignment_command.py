"""The assignment's commands: files to fill in, the student's process and its limits, exit codes, the page in docs."""

import doctest
import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from minidl.__main__ import main as minidl
from minidl.study.assignment import sheet
from minidl.study.assignment.marking import CASES
from minidl.study.assignment.questions import QUESTIONS
from minidl.study.assignment.runner import check

PAGE = Path(__file__).parents[2] / "docs" / "assignment.md"
QUESTION = QUESTIONS["pooling-cost"]  # two whole numbers in, one number out
RIGHT = "return sum(pool ** (-2.0 * l) for l in range(layers)) / layers"


def file(folder, body, name="pooling_cost.py"):
    """A student's file with this function body."""
    path = folder / name
    path.write_text(f'import numpy as np\nQUESTION = "pooling-cost"\ndef pooled_share(layers, pool):\n    {body}\n')
    return path


def run(folder, body, **limits):
    return check(QUESTION, file(folder, body), **limits)


def command(*words, capsys):
    code = minidl(["assignment", *map(str, words)])
    return code, *capsys.readouterr()


# --- the student's process


def test_right_and_wrong(tmp_path):
    result = run(tmp_path, RIGHT)
    assert (result.code, result.text()) == (
        0,
        "pooling-cost: local checks passed (20 of 20)\n  against: counting windows, geometric series",
    )
    result = run(tmp_path, f"print('hello'); {RIGHT} * pool**-2.0", cases=6)
    assert result.code == 1
    assert result.summary == "pooled before the first layer"
    assert result.text().endswith("\n".join(["  your code printed:"] + ["  | hello"] * 6))


@pytest.mark.parametrize(
    "body, message",
    [
        ("return None", "returned None"),
        ("return (1, 2)", "share: a number is asked for in case 0, got shape (2,)"),
        ("return 'text'", "real numbers are asked for"),
        ("return 10**400", "of type object; real numbers"),
        ("return 1j", "complex numbers; real numbers are asked for"),
        ("return [[1], [1, 2]]", "rows differ in length"),
        ("return np.nan", "1 of 1 values are not finite in case 0"),
        ("return np.zeros((1000, 1000))", "far more entries"),
    ],
)
def test_what_is_no_answer_is_wrong(tmp_path, body, message):
    result = run(tmp_path, body, cases=2)
    assert (result.verdict, result.code) == ("wrong", 1)
    assert message in result.text()


def test_a_pair_is_asked_for(tmp_path):
    path = tmp_path / "gridding.py"
    path.write_text("def span_and_taps(kernel, dilation):\n    return 7\n")
    assert "returned one int; 2 are asked for: span, taps" in check(QUESTIONS["gridding"], path).text()


@pytest.mark.parametrize(
    "body, message",
    [
        ("return layers / 0", "ZeroDivisionError in case 0: division by zero; line 4: return layers / 0"),
        ("return pooled_share(layers, pool)", "RecursionError in case 0"),
        ("import sys; sys.exit(0)", "SystemExit in case 0"),
        ("import os; os._exit(0)", "the process ended itself with exit code 0 before the function had answered"),
        ("import os; os.abort()", "the process was ended by signal SIGABRT"),
        ("import no_such_module", "No module named 'no_such_module'; line 4"),
        ("return np.ones(1 << 30)", "(the limit is 512 MiB); line 4"),
        ("while True: print('x' * 10**6)", "more than 16 MiB were printed"),
        ("return (", "SyntaxError"),
    ],
)
def test_code_that_fails(tmp_path, body, message):
    result = run(tmp_path, body, memory=512)
    assert (result.verdict, result.code) == ("failed", 3)
    assert message in result.text()
    assert len(result.text()) < 2000


def test_endless_code_is_stopped(tmp_path):
    result = run(tmp_path, "while True: pass", seconds=3)
    assert result.code == 3
    assert "stopped after 3 seconds for all cases, last seen in line 4" in result.text()
    result = run(tmp_path, "import time; time.sleep(600)", seconds=1)
    assert "stopped after 1 seconds" in result.text()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_the_code_started_is_stopped_too(tmp_path):
    note = tmp_path / "note"
    body = f"import subprocess; p = subprocess.Popen(['sleep', '600']); open({str(note)!r}, 'w').write(str(p.pid)); "
    assert run(tmp_path, body + RIGHT, cases=1).code == 0
    stat = Path(f"/proc/{note.read_text()}/stat")
    for _ in range(200):  # it has been sent its end; that may take a moment to arrive
        if not stat.exists() or stat.read_text().split(")")[1].split()[0] in "ZX":
            return
        time.sleep(0.05)
    raise AssertionError("it still runs")


def test_what_is_printed_cannot_move_the_cursor(tmp_path):
    result = run(tmp_path, f"print('\\x1b[2Jgone\\rover'); {RIGHT}", cases=1)
    assert result.printed == "?[2Jgone\nover"


def test_functions_beside_the_file_can_be_imported_and_inputs_are_copies(tmp_path):
    (tmp_path / "mine.py").write_text("def share(layers, pool):\n    " + RIGHT)
    assert run(tmp_path, "from mine import share; return share(layers, pool)").code == 0
    path = tmp_path / "dice.py"
    path.write_text(f"import numpy as np\n\n{QUESTIONS['dice-output'].reveal()}    p *= 0\n".replace("return", "out =")
                    + "    return out\n")  # fmt: skip
    assert check(QUESTIONS["dice-output"], path).code == 0


def test_a_file_may_define_dataclasses(tmp_path):
    path = tmp_path / "pooling_cost.py"
    body = "@dataclass\nclass Net:\n    layers: int\n"
    path.write_text(f"from __future__ import annotations\nfrom dataclasses import dataclass\n{body}\n"
                    f"def pooled_share(layers, pool):\n    layers = Net(layers).layers\n    {RIGHT}\n")  # fmt: skip
    assert check(QUESTION, path, cases=2).code == 0


def test_a_file_without_the_function(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("")
    assert "empty.py defines no function pooled_share" in check(QUESTION, path).text()


# --- commands


def test_list_and_show(capsys):
    code, out, _ = command("list", capsys=capsys)
    assert code == 0
    assert all(f"  {q.id} " in out and q.title in out and q.topic in out for q in QUESTIONS.values())
    code, out, _ = command("show", "dice-output", capsys=capsys)
    assert code == 0
    assert "keepdims" not in out
    code, out, _ = command("show", "dice-output", "--reveal", capsys=capsys)
    assert "keepdims" in out
    code, out, _ = command("show", "pooling-cost", "--case", "0", capsys=capsys)
    assert out == "layers = 3\npool = 2\n"


@pytest.mark.slow
def test_start_check_report(tmp_path, capsys):
    code, out, _ = command("start", "pooling-cost", tmp_path / "work", capsys=capsys)
    path = tmp_path / "work" / "pooling_cost.py"
    assert (code, out) == (0, f"{path}\n")
    assert path.read_text() == sheet.template(QUESTION)
    code, _, error = command("start", "pooling-cost", tmp_path / "work", capsys=capsys)
    assert code == 2
    assert "is there already" in error
    code, out, _ = command("check", "pooling-cost", path, capsys=capsys)
    assert code == 4
    assert out.startswith("pooling-cost: not answered")

    path.write_text(path.read_text().replace('raise NotImplementedError("write your answer here")', RIGHT))
    code, out, _ = command("check", "pooling-cost", path.parent, "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["verdict"] == "passed"

    (path.parent / "notes.py").write_text("x = 1")
    code, out, _ = command("report", path.parent, capsys=capsys)
    assert code == 0
    assert re.search(r"pooling-cost +passed +20/20\n", out)
    assert "notes.py is left out" in out
    assert f"1 of {len(QUESTIONS)} questions: local checks passed" in out

    file(path.parent, f"{RIGHT} * layers", "again.py")
    file(path.parent, "return 1 / 0", "broken.py")
    code, out, _ = command("report", path.parent, "--json", "--cases", "5", capsys=capsys)
    assert code == 1
    found = {f["file"]: (f["verdict"], [d["name"] for d in f["diagnoses"]]) for f in json.loads(out)["files"]}
    assert found == {
        "pooling_cost.py": ("passed", []),
        "again.py": ("wrong", ["sum, not share"]),
        "broken.py": ("failed", []),
    }
    (path.parent / "again.py").unlink()
    assert command("report", path.parent, capsys=capsys)[0] == 3


def test_start_all_leaves_work_alone(tmp_path, capsys):
    kept = file(tmp_path, RIGHT)
    text = kept.read_text()
    code, out, _ = command("start", "all", tmp_path, capsys=capsys)
    assert code == 0
    assert f"{kept} is there already; left as it is" in out
    assert kept.read_text() == text
    assert {sheet.question_of(path) for path in tmp_path.glob("*.py")} == set(QUESTIONS)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "words, message",
    [
        (["check", "dice-lss", "x.py"], "did you mean dice-loss?"),
        (["check", "dice-loss", "no-such-file.py"], "minidl assignment start dice-loss writes a file"),
        (["report", "no-such-folder"], "is not a folder"),
        (["start", "dice-loss", __file__], "is not a folder"),
        (["chek"], "did you mean check?"),
        ([], "COMMAND"),
        (["show", "dice-loss", "--case", "-1"], "must be 0 or more"),
        (["check", "dice-loss", __file__, "--cases", "0"], "--cases 0 must be at least 1"),
        (["check", "dice-loss", __file__, "--seconds", "nan"], "--seconds nan must be at least 0.1"),
    ],
)
def test_impossible_command_lines(words, message, capsys):
    code, _, error = command(*words, capsys=capsys)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_a_file_of_another_question(tmp_path, capsys):
    code, _, error = command("check", "gridding", file(tmp_path, RIGHT), capsys=capsys)
    assert code == 2
    assert "says that it answers pooling-cost" in error


def test_an_empty_folder_is_no_pass(tmp_path, capsys):
    code, out, _ = command("report", tmp_path, capsys=capsys)
    assert code == 4
    assert "no file here answers a question" in out


@pytest.mark.slow
def test_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "minidl", "assignment", "check", "pooling-cost", str(file(tmp_path, "return 1"))],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("pooling-cost: wrong in 20 of 20 cases")


# --- the page


def test_the_page_lists_all_questions():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(q.id, q.title) for q in QUESTIONS.values()]
    assert f"{len(QUESTIONS)} questions" in PAGE.read_text(encoding="utf-8")
    assert f"{sum(len(q.mistakes) for q in QUESTIONS.values())} in all" in PAGE.read_text(encoding="utf-8")
    assert f"{CASES} cases" in PAGE.read_text(encoding="utf-8")


def test_what_the_page_prints(tmp_path, monkeypatch):
    """Each command prints what follows it, on the file that stands before it."""
    monkeypatch.chdir(tmp_path)
    compared, text = 0, PAGE.read_text(encoding="utf-8")
    for kind, block in re.findall(r"^```(python|console|pycon)\n(.*?)^```$", text, re.M | re.S):
        if kind == "python":
            Path("dice_output.py").write_text(block)
            continue
        compared += 1
        if kind == "pycon":
            session = doctest.DocTestParser().get_doctest(block, {}, PAGE.name, str(PAGE), 0)
            assert doctest.DocTestRunner().run(session).failed == 0
            continue
        line, output = block.split("\n", 1)
        with redirect_stdout(io.StringIO()) as printed:
            minidl(line.removeprefix("$ minidl ").split())
        assert output == printed.getvalue()
    assert compared == 4
