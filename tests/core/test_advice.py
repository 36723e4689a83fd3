"""What an error advises for a name of PyTorch's: the name is not there, and what is advised is."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.core import advice

PLACES = {"md": md, "F": F, "nn": nn, "optim": optim, "x": md.tensor([1.0]), "np": np}
TABLES = [
    (md.tensor([1.0]), advice.TENSOR), (F, advice.FUNCTIONS), (md, advice.PACKAGE), (nn, advice.LAYERS),
    (optim, advice.OPTIMISERS),
]  # fmt: skip


@pytest.mark.parametrize("place, table", TABLES, ids=["x", "F", "md", "nn", "optim"])
def test_each_name_is_an_error_that_says_what_to_write(place, table):
    for name, text in table.items():
        with pytest.raises(AttributeError, match=re.escape(f"write {text}")):
            getattr(place, name)
        named = re.findall(r"\b(md|F|nn|optim|np|x)\.([A-Za-z_]\w*)", text)
        assert named or not re.search(r"\b[a-z]+\.[a-z]", text.replace("model.state_dict", "")), text
        for where, member in named:
            assert hasattr(PLACES[where], member), f"{name}: {text}"


def test_names_of_changes_say_that_there_are_none():
    with pytest.raises(AttributeError, match=r"values do not change here: x = x.relu\(\.\.\.\)"):
        md.tensor([1.0]).relu_()


def test_other_names_are_plain_errors():
    with pytest.raises(AttributeError, match=r"^a tensor has no attribute 'nothing'$"):
        _ = md.tensor([1.0]).nothing
    assert not hasattr(F, "__path__") and not hasattr(md.tensor([1.0]), "__cuda_array_interface__")


DELETE = re.compile(r"\b(delete|erase|wipe|unlink|discard|throw (it )?away|rm|remove (it|them|the|this|that|your))\b")


def advice_to_delete(source):
    """Strings, no docstrings, with advice to delete something."""
    tree = ast.parse(source)
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, holders) and isinstance(n.body[0], ast.Expr)}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
    return [text for text in texts if isinstance(text, str) and DELETE.search(text)]


def test_no_message_advises_to_delete_a_file():
    """It may be a good one, of another run say: another name keeps both."""
    root = Path(md.__file__).parents[1]
    found = {
        path: advice_to_delete(path.read_text()) for name in ("minidl", "tasks") for path in (root / name).rglob("*.py")
    }
    assert len(found) > 400 and {path: texts for path, texts in found.items() if texts} == {}
    planted = 'def f(path):\n    """May delete it."""\n    raise ValueError(f"{path} is of another task; delete it")'
    assert advice_to_delete(planted) == [" is of another task; delete it"]
