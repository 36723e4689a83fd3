"""What must be the same on all ranks, compared before they train: versions, code, settings, data, the first loss."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core.tensor import as_array
from ..device import to_device
from .group import Alone
from .news import RanksError

DIGEST = "#"  # what the digests begin with that stand for what is too long to show
SAME = 1e-3  # relative: losses that differ by less do so because processors and their BLAS add up in other orders


def agree(group: Alone, mine: Mapping[str, Any]) -> None:
    """Raises RanksError, the same on all ranks, if one differs from the first in an entry that both have."""
    ours, *others = [json.loads(text) for text in group.gather(json.dumps({k: str(v) for k, v in mine.items()}))]
    found = {
        rank: [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
        for rank, theirs in enumerate(others, 1)
    }
    differing = [rank for rank, names in found.items() if names]
    if differing:
        rank = differing[0]
        names = [_shown(name, others[rank - 1][name], ours[name]) for name in found[rank]]
        more = f"; so do {len(differing) - 1} more" if len(differing) > 1 else ""
        raise RanksError(f"rank {rank} differs from rank 0 in {', '.join(names)}{more}")


def _shown(name: str, theirs: str, ours: str) -> str:
    return name if ours.startswith(DIGEST) else f"{name} ({theirs}, not {ours})"


def agree_on_loss(group: Alone, terms: Mapping[str, float]) -> None:
    """All ranks have computed these terms of the same shard: they agree, to the last bit or but for rounding."""
    ours, *others = [json.loads(text) for text in group.gather(json.dumps(dict(terms)))]
    for rank, theirs in enumerate(others, 1):
        a, b = (np.array(list(each.values()), float) for each in (theirs, ours))
        if list(theirs) != list(ours) or not np.allclose(a, b, rtol=SAME, atol=1e-6, equal_nan=True):
            raise RanksError(
                f"rank {rank} differs from rank 0 in the loss of the first shard ({theirs}, not {ours}): "
                "look for other data"
            )
    if any(theirs != ours and theirs == theirs for theirs in others):
        warnings.warn(
            "processors or BLAS of the ranks differ, and so do the last bits of what they compute: another number of "
            "ranks will not end in the same bits", stacklevel=3,
        )  # fmt: skip


@cache
def program() -> dict[str, str]:
    """Versions, and digests of the code that this process runs."""
    versions = {"version of Python": platform.python_version(), "version of NumPy": np.__version__}
    packages = {name for name in ("minidl", "tasks") if getattr(sys.modules.get(name), "__file__", None)}
    found = {f"code of {name}": _files(_sources(name)) for name in sorted(packages)}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and name.partition(".")[0] not in packages and _own(path):
            found[f"code of {Path(path).name if name == '__main__' else name}"] = _files([Path(path)])
    return {**versions, **found}


def _sources(package: str) -> Iterator[Path]:
    folder = Path(sys.modules[package].__file__).parent
    return (path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".cu", ".cuh"))


def _own(path: str) -> bool:
    """Is this a file of Python, no part of Python itself or of a package? Some modules (torch.ops) name none."""
    installed = "site-packages" in path or "dist-packages" in path or path.startswith(sysconfig.get_path("stdlib"))
    return path.endswith(".py") and not installed and Path(path).is_file()


def _files(paths: Any) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return DIGEST + total.hexdigest()


def digest(value: Any) -> str:
    """Of any nest of dicts, tuples, lists, arrays and what has a repr."""
    total = hashlib.sha256()
    _add(total, value)
    return DIGEST + total.hexdigest()


def _add(total: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        value = [*value.items()]
    if isinstance(value, (tuple, list)):
        total.update(f"{len(value)} entries".encode())
        for each in value:
            _add(total, each)
    elif isinstance(value, (str, int, float, bool, type(None))):
        total.update(repr(value).encode())
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
        array = np.ascontiguousarray(to_device(as_array(value), "cpu"))
        total.update(f"{array.shape} {array.dtype}".encode())
        total.update(array.tobytes())
    else:  # whose repr may hold an address
        total.update(type(value).__name__.encode())
