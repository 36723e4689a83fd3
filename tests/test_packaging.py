"""What the wheel says of itself: nothing leads to where nothing is."""

import re
import runpy
from pathlib import Path
from shutil import copy

import pytest

import minidl

setuptools = pytest.importorskip("setuptools")  # not in every environment from Python 3.12 on
ROOT = Path(__file__).parent.parent


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What setup.py hands to setuptools, with the repository at an address."""
    def at(repository):
        (tmp_path / "minidl").mkdir()
        for name in ("setup.py", "README.md"):
            copy(ROOT / name, tmp_path)
        version = (ROOT / "minidl/version.py").read_text(encoding="utf-8")
        changed = re.sub('^REPOSITORY = ".*?"', f'REPOSITORY = "{repository}"', version, flags=re.MULTILINE)
        (tmp_path / "minidl/version.py").write_text(changed, encoding="utf-8")
        found = {}
        monkeypatch.setattr(setuptools, "setup", found.update)
        runpy.run_path(str(tmp_path / "setup.py"))
        return found

    return at


def links(text):
    return re.findall(r"\]\(([^)]*)\)", text)


def test_without_an_address_only_links_that_are_whole_are_left(said):
    found = said("")
    assert found["version"] == minidl.__version__ and found["project_urls"] == {}
    assert all(link.startswith("https://") for link in links(found["long_description"]))
    assert "The course" in found["long_description"]


def test_with_an_address_links_lead_to_files_that_are_there(said):
    found = said("owner/name")
    assert found["project_urls"]["Source"] == "https://github.com/owner/name"
    ours = [link for link in links(found["long_description"]) if "owner/name" in link]
    assert len(ours) == len(links((ROOT / "README.md").read_text(encoding="utf-8"))) > 5
    for link in ours:
        assert (ROOT / re.fullmatch(r"https://github.com/owner/name/(?:blob|raw)/HEAD/([^#]*).*", link)[1]).exists()
