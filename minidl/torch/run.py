"""Run a PyTorch script on minidl: ``minidl run script.py ARGUMENTS``."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from . import harmless

PACKAGE = "minidl.torch"
PARTS = (
    "nn", "nn.functional", "nn.init", "nn.utils", "nn.modules", "nn.parameter", "nn.parallel", "optim",
    "optim.lr_scheduler",
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


def vision() -> dict[str, ModuleType]:
    """What stands for torchvision's modules. Where it is installed, its own models and ops run on these."""
    found = {"torchvision": importlib.import_module(f"{PACKAGE}.vision")}
    for part in ("datasets", "transforms", "utils"):
        found[f"torchvision.{part}"] = getattr(found["torchvision"], part)
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return found
    sources = list(spec.submodule_search_locations)
    package = ModuleType("torchvision", found["torchvision"].__doc__)  # with torchvision's own files where it looks
    vars(package).update({n: v for n, v in vars(found["torchvision"]).items() if not n.startswith("__")})
    package.__path__, package.__getattr__ = sources, _imported
    transforms = ModuleType("torchvision.transforms")
    vars(transforms).update({n: v for n, v in vars(found["torchvision.transforms"]).items() if n != "__path__"})
    transforms.__path__ = [f"{path}/transforms" for path in sources]
    for name in ("functional", "_presets"):
        found[f"torchvision.transforms.{name}"] = ModuleType(f"torchvision.transforms.{name}")
    vars(found["torchvision.transforms.functional"]).update(vars(transforms.functional))
    presets = found["torchvision.transforms._presets"]
    presets.InterpolationMode = transforms.InterpolationMode
    presets.__getattr__ = lambda name: transforms.Preset
    refused = harmless.module("torchvision._internally_replaced_utils", "", _get_extension_path=harmless.nothing)
    refused.load_state_dict_from_url = harmless.hub.load_state_dict_from_url
    extension = harmless.module("torchvision.extension", "", _assert_has_ops=harmless.nothing, _has_ops=lambda: True)
    found |= {
        "torchvision": package, "torchvision.transforms": transforms, "torchvision.extension": extension,
        "torchvision._internally_replaced_utils": refused,
        "torchvision.models.quantization": harmless.module("", "There are no quantised networks."),
        "torchvision.ops._register_onnx_ops": harmless.module("", "", _register_custom_op=harmless.nothing),
    }  # fmt: skip
    return found


def _imported(name: str) -> ModuleType:
    """``torchvision.models`` without an import of it."""
    if name in ("models", "ops"):
        return importlib.import_module(f"torchvision.{name}")
    raise AttributeError(f"torchvision.{name} is not in minidl.torch")


@contextmanager
def in_place_of_torch() -> Iterator[None]:
    """Inside, ``import torch`` imports minidl.torch, in this whole process."""
    before = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("torch", "torchvision")
    }
    given = {**names(), **vision()}
    for name in before:
        del sys.modules[name]
    sys.modules.update(given)
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
