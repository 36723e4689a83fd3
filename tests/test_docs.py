"""The Python in README.md, CONTRIBUTING.md and pages of docs runs as it stands."""

import re
from pathlib import Path

import pytest

from minidl.core.primitive import registry

ROOT = Path(__file__).parent.parent
RUN = (
    "README.md", "CONTRIBUTING.md", "docs/index.md", "docs/training.md", "docs/speed.md", "docs/gpu.md",
    "docs/ranks.md", "docs/networks.md", "docs/torch.md",
)  # fmt: skip
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("name", RUN)
def test_python_blocks_run(name):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks, f"{name} has no Python block"
    before = dict(registry)
    try:
        exec(compile("\n".join(blocks), name, "exec"), {"__name__": name})
    finally:
        from minidl.check.samples import SAMPLES

        for extra in set(registry) - set(before):
            del registry[extra]
            SAMPLES.pop(extra, None)


def test_what_readme_quotes_is_the_code():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = (ROOT / "minidl/ops/conv.py").read_text(encoding="utf-8")
    quoted = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    assert quoted and all(block in code for block in quoted)
    assert re.search(r"```text\n( +T\(x, w, u\).*\n)```", text)[1] in code
    assert len(text.splitlines()) <= 150
    names = {path.name for path in (ROOT / "minidl").rglob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", text)) <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:minidl|tasks|tests|benchmarks|docs)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        if target != "api/index.md":  # written when the site is built, where a link that leads nowhere is an error
            assert (page.parent / target).exists(), target
