"""The chapters run: what their blocks print is what the pages say, and no number in their prose is left to belief."""

import re
import shlex

import pytest

import minidl.__main__ as frame
import tasks.__main__ as tasks
import tasks.labs.cli as labs
from minidl.core.primitive import registry
from minidl.study.quiz import QUESTIONS
from tests.support import chapters

PAGES = chapters.pages()
NUMBER = re.compile(r"(?<![\w.^_{/-])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
FENCE = re.compile(r"^```.*?^```\n", re.DOTALL | re.MULTILINE)
YEARS = range(1950, 2030)


def numbers(text: str) -> list[tuple[float, int]]:
    """Each number in a text and how many decimals it has."""
    found = []
    for m in NUMBER.findall(text):
        digits = m.rstrip(",").replace(",", "")
        found.append((float(digits), 9 if "e" in digits else len(digits.partition(".")[2])))
    return found


def prose(text: str) -> str:
    """A page without its exercises, blocks, inline code, targets of links, numbers of items, chapters and versions, and
    without tables of other libraries, which tests/reference/test_disagreements.py measures."""
    text = FENCE.sub("", text.partition("\n## Exercises")[0])
    text = re.sub(r"^\|.*\d+\.\d+\.\d+ \|\n(\|.*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d+\.\d+\.\d+\b", "", text)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`|arXiv\s[\d.]+|chapter \d+", "", text)
    return re.sub(r"^#.*$|^ *\d+\. ", "", text, flags=re.MULTILINE)


def unfounded(text: str) -> list[float]:
    """Numbers of the prose, from 10 on or with decimals, that no block contains or prints, also not as a percentage."""
    known = [value for block in chapters.blocks(text) for value, _ in numbers(block.code + block.output)]
    return [
        value
        for value, decimals in numbers(prose(text))
        if (value >= 10 or decimals) and not (decimals == 0 and value in YEARS)
        if not any(n == value or round(n, decimals) == value or round(100 * n, decimals) == value for n in known)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_formulas_in_a_line_are_also_formulas_on_github(page):
    """There Markdown comes first: it takes a backslash before punctuation for its own, and `_` behind punctuation for
    emphasis."""
    text = re.sub(
        r"^\$\$\n.*?^\$\$\n", "", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.DOTALL | re.MULTILINE
    )
    assert "$$" not in text
    for line in text.splitlines():
        assert line.count("$") % 2 == 0, line
        for formula in re.findall(r"\$([^$]*)\$", line):
            assert not re.search(r"\\[^A-Za-z]|[^\w\s]_", formula) and formula == formula.strip() != "", formula


def test_there_is_a_chapter_for_each_part_of_the_course():
    assert [page.name[:2] for page in PAGES] == [f"{i:02}" for i in range(1, len(PAGES) + 1)]
    assert len(PAGES) >= 17


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_chapter_says_its_blocks_print_is_what_they_print(page):
    text = page.read_text(encoding="utf-8")
    assert FENCE.sub("", text).count("```") == 0, "a fence is open"
    assert text.count("```python") == len(chapters.blocks(text)) >= 5
    assert text.count("```text") == sum(bool(block.output) for block in chapters.blocks(text)), "output without block"
    for block, printed in zip(chapters.blocks(text), chapters.printed(text, page.name), strict=True):
        assert printed == block.output, f"{page.name}, line {block.line}; python -m tests.support.chapters --write"
    assert not [p for p in registry.values() if p.__module__ == page.name], "its primitives are forgotten"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_number_in_the_prose_is_in_a_block(page):
    assert unfounded(page.read_text(encoding="utf-8")) == []


def test_a_number_from_nowhere_is_found():
    page = "# 1. Title 77\n\nSaid: 3.14, 12 of 25 %, 2016, [2](99.md), `88`.\n\n```python\nprint(3.1415, 0.25)\n```\n"
    assert unfounded(page) == [12.0]
    assert unfounded(page.replace("12 of", "3.15 of")) == [3.15]


def test_a_wrong_output_is_renewed_and_a_right_one_is_left_alone():
    page = "x\n\n```python\na = 2\n```\n\n```python\nprint(a)\n```\n\n```text\n3\n```\n\ny\n"
    assert chapters.refreshed(page, "page") == page.replace("3\n", "2\n")
    assert [block.output for block in chapters.blocks(page)] == ["", "3\n"]


@pytest.mark.parametrize("page", [*PAGES, chapters.FOLDER.parent / "README.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere_and_exercises_close_a_chapter(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    if page in PAGES:
        assert re.findall(r"^## (.*)$", text, re.MULTILINE)[-1] == "Exercises"
        assert f"chapters/{page.name}" in (chapters.FOLDER.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_labs_and_tasks_that_a_chapter_names_exist(page):

    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:tasks |[ `])labs (\w+)", text)) <= set(labs.names())
    assert set(re.findall(r"-m tasks (\w+)", text)) <= set(tasks.TASKS)


def commands():
    """Every ``minidl ...`` in the pages and in the quizzes, without those that have a place to fill in."""
    texts = [page.read_text(encoding="utf-8") for page in [*PAGES, chapters.FOLDER.parent / "README.md"]]
    found = {c for text in texts for c in re.findall(r"`minidl ([^`]+)`", text)}
    found |= {c.strip() for q in QUESTIONS.values() for c in re.findall(r"minidl ([^;,]+|conv[^;]+)", q.see)}
    return sorted(c for c in found if not re.search(r"\b(ID|FILE|DIR)\b|\.\.\.", c))


@pytest.mark.parametrize("command", commands())
def test_the_tools_that_a_chapter_names_do_what_it_says(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # some write a page
    tool, *rest = shlex.split(command)
    assert tool in frame.TOOLS
    if tool == "assignment" and rest:
        assert frame.main(["assignment", "list"]) == 0
        assert rest == ["list"] or re.search(rf"^ +{rest[-1]} ", capsys.readouterr().out, re.MULTILINE)
    elif rest and tool != "quiz":
        assert frame.main([tool, *rest]) == 0


def test_the_questions_that_exercises_name_exist(capsys):
    frame.main(["assignment", "list"])
    known = set(re.findall(r"^ +([a-z-]+) {2,}", capsys.readouterr().out, re.MULTILINE))
    for page in PAGES:
        for line in re.findall(r"^.*assignment start.*(?:\n +.*)*", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert set(re.findall(r"`([a-z]+-[a-z-]+)`", line)) <= known, page.name
