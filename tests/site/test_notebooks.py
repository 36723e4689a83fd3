"""The chapters as notebooks, executed from the first cell to the last: each cell prints what the chapter says.

Like the site, tested by .ci/run: a kernel for each of them takes longer than the other tests may.
"""

import os

import pytest

from minidl.study import notebook
from tests.support import chapters

if "MINIDL_SITE" not in os.environ:
    pytest.skip("executes notebooks where the site is tested: see .ci/run", allow_module_level=True)

import nbclient
import nbformat


@pytest.mark.parametrize("page", notebook.chapters(), ids=lambda page: page.stem)
def test_a_notebook_prints_what_its_chapter_says(page, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_NUM_THREADS", "1")
    notebook.write(page, tmp_path / "chapter.ipynb")
    made = nbformat.read(tmp_path / "chapter.ipynb", as_version=4)
    nbformat.validate(made)
    nbclient.NotebookClient(made, timeout=300, resources={"metadata": {"path": os.getcwd()}}).execute()
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    printed = ["".join(output.text for output in cell.outputs if output.get("name") == "stdout") for cell in code]
    assert printed == [block.output for block in chapters.blocks(page.read_text(encoding="utf-8"))]
