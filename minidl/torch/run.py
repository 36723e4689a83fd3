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

from . import advice, harmless

PACKAGE = "minidl.torch"
PARTS = (
    "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "nn.utils.parametrize", "nn.utils.parametrizations",
    "nn.modules", "nn.parameter", "nn.parallel", "optim", "optim.lr_scheduler", "optim.swa_utils", "optim.optimizer",
    "autograd", "distributions", "func", "fft", "utils", "utils.data", "utils.checkpoint", "utils.tensorboard",
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
    everyday = found["torchvision.transforms"]
    functional = harmless.module("vision.transforms.functional", "", **vars(everyday.functional))
    found["torchvision.transforms.functional"] = functional
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return found
    package = _with_sources("torchvision", found["torchvision"], list(spec.submodule_search_locations))
    package.__getattr__ = _imported
    transforms = _with_sources("torchvision.transforms", everyday, [])
    presets = ModuleType("torchvision.transforms._presets")
    presets.InterpolationMode, presets.__getattr__ = everyday.InterpolationMode, lambda name: everyday.Preset
    own = {
        "extension": {"_assert_has_ops": harmless.nothing, "_has_ops": lambda: True},
        "_internally_replaced_utils": {"load_state_dict_from_url": harmless.hub.load_state_dict_from_url},
        "models.quantization": {},
        "ops._register_onnx_ops": {"_register_custom_op": harmless.nothing},
    }
    found |= {f"torchvision.{name}": harmless.module(name, "", **members) for name, members in own.items()}
    return found | {
        "torchvision": package, "torchvision.transforms": transforms, "torchvision.transforms._presets": presets
    }  # fmt: skip


def _with_sources(name: str, module: ModuleType, folders: list[str]) -> ModuleType:
    """The module as a package, whose other files are looked for in these folders."""
    package = ModuleType(name, module.__doc__)
    vars(package).update({n: v for n, v in vars(module).items() if not n.startswith("__")})
    package.__path__ = folders
    return package


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
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("torch."):
            raise
        name = error.name.rpartition(".")[2]
        raise ModuleNotFoundError(advice.unknown(error.name, name), name=error.name) from error
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
    open(path, "rb").close()  # a path that is wrong is said in one line
    with in_place_of_torch(), np.errstate(all="ignore"):  # torch says nothing of 1 / 0
        runpy.run_path(path, run_name="__main__")
    return 0
