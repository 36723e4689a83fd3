"""What NVRTC makes of a kernel, without a driver or a device: registers, spills, memory, instructions.

The first three are in the log of ptxas. Instructions are counted by size: each takes 16 bytes in the section
``.text.NAME`` of the cubin, which is an ELF file; a few at its end only fill it up.
"""

from __future__ import annotations

import importlib.util
import os
import re
import struct
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ARCHITECTURES = ("sm_80", "sm_90")
INSTRUCTION = 16  # bytes
SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, alignment, entry size


class Resources(NamedTuple):
    """Of one kernel: per thread, but shared memory per block. Spills and local memory are bytes in slow memory."""

    registers: int
    spills: int
    local: int
    shared: int
    instructions: int


@cache
def nvrtc() -> Any:
    """cupy.cuda.nvrtc; ImportError or RuntimeError with the reason where it cannot be used."""
    from cupy.cuda import nvrtc

    nvrtc.getVersion()
    return nvrtc


def version() -> str:
    return ".".join(map(str, nvrtc().getVersion()))


@cache
def include_folders() -> list[str]:
    """Where CUDA's headers are: in the wheels that ``cupy-cuda13x[ctk]`` brings, or a toolkit."""
    wheels = importlib.util.find_spec("nvidia")
    places = wheels.submodule_search_locations if wheels else []
    found = [folder for place in places for folder in Path(place).glob("*/include")]
    found += [Path(toolkit, "include") for toolkit in (os.environ.get("CUDA_PATH"), "/usr/local/cuda") if toolkit]
    return [str(p) for p in found if (p / "mma.h").exists()][:1]


def compile(text: str, architecture: str) -> dict[str, Resources]:
    """By kernel. Raises RuntimeError with the compiler's log."""
    compiler = nvrtc()
    program = compiler.createProgram(text, "kernels.cu", (), ())
    options = ["--std=c++17", f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    try:
        compiler.compileProgram(program, [*options, *(f"-I{folder}" for folder in include_folders())])
    except compiler.NVRTCError:
        raise RuntimeError(compiler.getProgramLog(program)) from None
    instructions = sizes(compiler.getCUBIN(program))
    return {
        name: Resources(*found, instructions[name] // INSTRUCTION)
        for name, found in reported(compiler.getProgramLog(program)).items()
    }


def reported(log: str) -> dict[str, tuple[int, int, int, int]]:
    """Registers, spills, local and shared memory of each kernel in a log of ``ptxas -v``."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        name = part[: part.index("'")]
        spills = _number(r"(\d+) bytes spill stores", part) + _number(r"(\d+) bytes spill loads", part)
        local = _number(r"(\d+) bytes stack frame", part)
        found[name] = (_number(r"Used (\d+) registers", part), spills, local, _number(r"(\d+) bytes smem", part))
    return found


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def sizes(cubin: bytes) -> dict[str, int]:
    """Bytes of code of each kernel."""
    start, count, names = struct.unpack_from("<Q", cubin, 40)[0], *struct.unpack_from("<HH", cubin, 60)
    sections = [SECTION.unpack_from(cubin, start + i * SECTION.size) for i in range(count)]
    strings = cubin[sections[names][4] :]
    named = {strings[s[0] : strings.index(b"\0", s[0])].decode(): s[5] for s in sections}
    return {name.removeprefix(".text."): size for name, size in named.items() if name.startswith(".text.")}
