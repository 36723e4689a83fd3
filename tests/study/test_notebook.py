"""Chapters as notebooks: the same blocks in the same order, valid, the same each time, nothing of yours replaced."""

import json
import re

import pytest

import minidl.__main__ as frame
from minidl.study import notebook
from minidl.study.terminal import UsageError
from tests.support import chapters

PAGES = notebook.chapters()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_holds_the_blocks_of_its_chapter_in_order(page):
    text, made = page.read_text(encoding="utf-8"), notebook.notebook(page)
    code = ["".join(cell["source"]) + "\n" for cell in made["cells"] if cell["cell_type"] == "code"]
    assert code == [block.code for block in chapters.blocks(text)]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in made["cells"] if "outputs" in cell)
    prose = "\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert re.findall(r"^## .*$", prose, re.MULTILINE) == re.findall(r"^## .*$", text, re.MULTILINE)
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


def test_with_a_repository_links_lead_there_and_colab_installs_first(monkeypatch):
    assert notebook.colab("04-x") == ""
    monkeypatch.setattr(notebook, "REPOSITORY", "owner/name")
    place = "owner/name/blob/gh-pages/notebooks/04-x.ipynb"
    assert notebook.colab("04-x") == f"https://colab.research.google.com/github/{place}"
    made = notebook.notebook(PAGES[5])
    text = "".join("".join(cell["source"]) for cell in made["cells"])
    assert "%pip install" in "".join(made["cells"][1]["source"])
    assert "](https://github.com/owner/name/blob/HEAD/docs/labs/dilation.md)" in text
