"""The Python in README.md, CONTRIBUTING.md and the pages on speed runs as it stands."""

import re
from pathlib import Path

import pytest

from minidl.core.primitive import registry

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/speed.md", "docs/gpu.md"])
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
