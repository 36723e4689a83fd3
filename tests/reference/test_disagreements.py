"""The tables in the chapters on other frameworks, measured again: a column for each library that is installed.

minidl's column is measured always; PyTorch's, onnxruntime's and Captum's where .ci/run compares with PyTorch; for the
others `KERAS_BACKEND=jax` and `pip install jax==0.10.2 flax==0.12.8 optax==0.2.8 keras==3.15.1`. A version that is
another is not compared.
"""

import contextlib
import io
import re
from importlib.metadata import version

import numpy as np
import pytest

from tests.reference import disagreements
from tests.support import chapters

DISTRIBUTION = {"PyTorch": "torch"}
TABLE = re.compile(r"^\|.*\|\n\|[-|]+\|\n(?:\|.*\|\n)+", re.MULTILINE)


def cells():
    """Every measured cell of a table: library, version, row, text."""
    for page in chapters.pages():
        for table in TABLE.findall(page.read_text(encoding="utf-8")):
            head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
            for column, title in enumerate(head):
                library, _, number = title.partition(" ")
                if library == "minidl" or re.fullmatch(r"\d+\.\d+\.\d+", number):
                    for row in rows:
                        yield library, number, row[0].strip("`"), row[column]


CELLS = list(cells())


def shown(value):
    return value if isinstance(value, str) else " ".join(f"{v:.4g}" for v in np.ravel(value).tolist()).replace("-", "−")


def measures(library):
    """What is measured of a library, by row; skips where it is not installed, or in another version."""
    if library == "minidl":
        return disagreements.MEASURES[library]()
    found = pytest.importorskip(library.lower().replace("pytorch", "torch"), reason=f"measures {library}")
    wanted = next(number for name, number, *_ in CELLS if name == library)
    if not version(DISTRIBUTION.get(library, found.__name__)).startswith(wanted):
        pytest.skip(f"the tables are of {library} {wanted}")
    return disagreements.MEASURES[library]()


@pytest.mark.parametrize("library", sorted({library for library, *_ in CELLS}))
@pytest.mark.filterwarnings("ignore")
def test_tables_say_what_is_measured(library):
    known = measures(library)
    with contextlib.redirect_stdout(io.StringIO()):
        measured = {row: shown(measure()) for row, measure in known.items()}
    said = {row: text for name, _, row, text in CELLS if name == library}
    assert said == dict.fromkeys(said, "–") | measured
