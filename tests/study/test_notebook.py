"""Chapters as notebooks: the same blocks in the same order, valid, the same each time, nothing of yours replaced."""

import json
import re

import numpy as np
import pytest

import minidl as md
import minidl.__main__ as frame
from minidl.study import notebook
from minidl.study.page import Page
from minidl.study.terminal import UsageError
from tests.support import chapters

PAGES = notebook.chapters()
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_holds_the_blocks_of_its_chapter_in_order(page):
    text, made = page.read_text(encoding="utf-8"), notebook.notebook(page)
    code = ["".join(cell["source"]) + "\n" for cell in made["cells"] if cell["cell_type"] == "code"]
    assert code == [block.code for block in chapters.blocks(text)]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in made["cells"] if "outputs" in cell)
    prose = "\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert re.findall(r"^## .*$", prose, re.MULTILINE) == re.findall(r"^## .*$", text, re.MULTILINE)
    assert FORMULA.findall(prose) == FORMULA.findall(chapters.BLOCK.sub("", text)) != []
    assert not re.search(r"\]\((?!https?:|\d\d-[\w-]+\.ipynb)", prose), "a link that leads nowhere"
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5) and made == notebook.notebook(page)


def test_the_command_writes_one_or_all_and_replaces_nothing_unasked(tmp_path, capsys):
    command = ["notebook", "4", "--out", str(tmp_path)]
    assert frame.main(command) == 0
    path = tmp_path / "04-convolution-as-a-matrix.ipynb"
    assert json.loads(path.read_text(encoding="utf-8")) == notebook.notebook(PAGES[3])
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="there already"):
        notebook.main(command[1:])
    assert path.read_text(encoding="utf-8") == "mine"
    assert frame.main([*command, "--overwrite"]) == 0 and path.read_text(encoding="utf-8") != "mine"
    with pytest.raises(UsageError, match="there is no chapter '99': 1 to 17"):
        notebook.main(["99"])
    assert notebook.main(["all", "--out", str(tmp_path / "all")]) == 0
    assert len(list((tmp_path / "all").iterdir())) == len(PAGES)
    capsys.readouterr()
    assert notebook.main([]) == 0 and len(capsys.readouterr().out.splitlines()) == len(PAGES)


def test_a_copy_with_pictures_and_text_in_place_of_pages(tmp_path, capsys):
    report = md.gradcheck(lambda x: x.tanh().sum(), [np.array([0.5, 1.0])])
    bare = Page("bare", "<p>x</p>").bundle("no picture")
    printed = {"output_type": "stream", "name": "stdout", "text": ["hello"]}
    table = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<table></table>", "text/plain": "t"}}
    shown = [
        {"output_type": "execute_result", "execution_count": 3, "metadata": {}, "data": {
            "text/html": bundle["text/html"].splitlines(keepends=True), "text/plain": [bundle["text/plain"]]}}
        for bundle in (report._repr_mimebundle_(), bare)
    ]  # fmt: skip
    cells = [{"cell_type": "markdown", "source": "# T"}, {"cell_type": "code", "outputs": [printed, table, *shown]}]
    (tmp_path / "work.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    assert frame.main(["notebook", str(tmp_path / "work.ipynb"), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'work-still.ipynb'}\n"
    found = json.loads((tmp_path / "work-still.ipynb").read_text(encoding="utf-8"))
    assert found["cells"][0] == cells[0] and found["nbformat"] == 4
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": report.page().picture}}
    texts = [output | {"data": {"text/plain": output["data"]["text/plain"]}} for output in shown]
    assert found["cells"][1]["outputs"] == [printed, table, picture, *texts]
    for text in ("mine", "[]", "{}"):
        (tmp_path / "work.ipynb").write_text(text)
        with pytest.raises(UsageError, match="is not a notebook of format 4"):
            notebook.main([str(tmp_path / "work.ipynb"), "--out", str(tmp_path), "--overwrite"])
    with pytest.raises(UsageError, match="no such file"):
        notebook.main(["nowhere.ipynb"])


def test_with_a_repository_links_lead_there_and_colab_installs_first(monkeypatch):
    assert notebook.colab("04-x") == ""
    monkeypatch.setattr(notebook, "REPOSITORY", "owner/name")
    place = "owner/name/blob/gh-pages/notebooks/04-x.ipynb"
    assert notebook.colab("04-x") == f"https://colab.research.google.com/github/{place}"
    made = notebook.notebook(PAGES[5])
    text = "".join("".join(cell["source"]) for cell in made["cells"])
    assert "%pip install" in "".join(made["cells"][1]["source"])
    assert "](https://github.com/owner/name/blob/HEAD/docs/labs/dilation.md)" in text
