"""Run a PyTorch script on minidl: ``minidl run script.py ARGUMENTS``."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

PACKAGE = "minidl.torch"
PARTS = (
    "nn", "nn.functional", "nn.init", "nn.utils", "nn.modules", "nn.parameter", "optim", "optim.lr_scheduler",
    "optim.optimizer", "autograd", "utils", "utils.data", "utils.checkpoint", "utils.tensorboard",
)  # fmt: skip


def names() -> dict[str, ModuleType]:
    """What stands for each of torch's modules, by torch's name."""
    found = {"torch": importlib.import_module(PACKAGE)}
    for part in PARTS:
        found[f"torch.{part}"] = importlib.import_module(f"{PACKAGE}.{part}")
    for name, module in vars(found["torch"]).items():
        if isinstance(module, ModuleType) and f"torch.{name}" not in found and name in found["torch"].PUBLIC:
            found[f"torch.{name}"] = module
    for name, module in list(found.items()):
        for part, inner in vars(module).items():
            if isinstance(inner, ModuleType) and inner.__name__ == f"{module.__name__}.{part}":
                found.setdefault(f"{name}.{part}", inner)
    return found


@contextmanager
def in_place_of_torch() -> Iterator[None]:
    """Inside, ``import torch`` imports minidl.torch, in this whole process."""
    before = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("torch", "torchvision")
    }
    for name in before:
        del sys.modules[name]
    sys.modules.update(names())
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] in ("torch", "torchvision")]:
            del sys.modules[name]
        sys.modules.update(before)


def main(argv: list[str]) -> int:
    """The command."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: minidl run script.py [arguments]\n\n`import torch` in the script imports minidl.torch.")
        return 0
    path, *arguments = argv
    sys.argv = [path, *arguments]
    np.seterr(all="ignore")  # torch says nothing of 1 / 0
    open(path, "rb").close()  # a path that is wrong is said in one line
    with in_place_of_torch():
        runpy.run_path(path, run_name="__main__")
    return 0
