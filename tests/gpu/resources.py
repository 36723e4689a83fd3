"""Registers, spills, memory and instructions of every kernel, beside what they were when they were last recorded.

    python -m tests.gpu.resources [--update]

Compiles by NVRTC, for which neither a driver nor a device is needed. --update writes resources.json, with which
test_compile.py compares: to be committed with the kernel that changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.support.cuda import cubin

from . import geometries

RECORD = Path(__file__).with_name("resources.json")
MORE_REGISTERS, TIMES_AS_MANY_INSTRUCTIONS = 8, 1.25  # than recorded, before it counts as a regression

Kernels = dict[str, cubin.Resources]  # by "file.kernel, geometry, dtype, architecture"


def measured() -> Kernels:
    return {
        f"{name}, {architecture}: {kernel}": resources
        for name, _, _, text in geometries.cases()
        for architecture in cubin.ARCHITECTURES
        for kernel, resources in cubin.compile(text, architecture).items()
    }


def recorded() -> tuple[str, Kernels]:
    """The version of the compiler that was recorded, and the resources then."""
    found = json.loads(RECORD.read_text(encoding="utf-8"))
    return found["nvrtc"], {name: cubin.Resources(*numbers) for name, numbers in found["kernels"].items()}


def write(kernels: Kernels) -> None:
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(list(r))}" for name, r in sorted(kernels.items()))
    fields = json.dumps(cubin.Resources._fields)
    text = f'{{\n "nvrtc": "{cubin.version()}",\n "fields": {fields},\n "kernels": {{\n{lines}\n }}\n}}\n'
    RECORD.write_text(text, encoding="utf-8")


def regressions(now: Kernels, before: Kernels) -> list[str]:
    """One line for each kernel that became worse than its record allows, or that has none, or that is gone."""
    found = [f"{name}: no kernel has this name any more" for name in before if name not in now]
    for name, new in now.items():
        if name not in before:
            found.append(f"{name}: is not recorded")
            continue
        old = before[name]
        limits = {
            "registers": old.registers + MORE_REGISTERS,
            "spills": old.spills,
            "local": old.local,
            "shared": old.shared,
            "instructions": old.instructions * TIMES_AS_MANY_INSTRUCTIONS,
        }
        found += [
            f"{name}: {field} {getattr(new, field)}, recorded {getattr(old, field)}"
            for field, limit in limits.items()
            if getattr(new, field) > limit
        ]
    return found


def table(now: Kernels, before: Kernels) -> str:
    """A line per kernel; what was recorded stands behind what differs from it."""
    width = max(map(len, now), default=0)
    lines = [" " * width + "".join(f"{field:>16}" for field in cubin.Resources._fields)]
    for name, new in now.items():
        old = before.get(name, new)
        cells = (f"{a} ({b})" if a != b else f"{a}" for a, b in zip(new, old))
        lines.append(f"{name:{width}}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.resources", description="Resources of the CUDA kernels.")
    parser.add_argument("--update", action="store_true", help=f"write {RECORD.name}")
    options = parser.parse_args()
    try:
        cubin.nvrtc()
    except (ImportError, RuntimeError) as error:
        print(f'NVRTC is missing ({error}); pip install "cupy-cuda13x[ctk]"', file=sys.stderr)
        return 2
    now, (version, before) = measured(), recorded() if RECORD.exists() else ("", {})
    print(f"NVRTC {cubin.version()}" + (f"; recorded, in brackets where it differs: {version}" if version else ""))
    print(table(now, before))
    if options.update:
        write(now)
        return 0
    worse = regressions(now, before)
    print("\n".join(worse), file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
