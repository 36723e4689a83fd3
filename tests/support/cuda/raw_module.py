"""CUDA source on the CPU: what `cupy.RawModule` is in the stand-in for CuPy.

g++ compiles the text of a `.cu` file behind `cuda_on_cpu.h`; a launch runs it on copies of its arguments, each between
two guards of NaNs, and looks afterwards at every byte that the kernel had no right to change.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
GUARD = 1 << 18  # bytes on either side of a buffer
ALIGNMENT = 512  # of the memory that CuPy hands out
LIMITS = {"grid": (2**31 - 1, 65535, 65535), "block": (1024, 1024, 64)}
THREADS = 1024  # at most, in a block

C_TYPES = {
    "float": "float32", "double": "float64", "bool": "bool",
    "char": "int8", "signed char": "int8", "short": "int16", "int": "int32", "long long": "int64",
    "unsigned char": "uint8", "unsigned short": "uint16", "unsigned int": "uint32", "unsigned": "uint32",
    "unsigned long long": "uint64",
}  # fmt: skip
SCALARS = {int: ("long long", ctypes.c_longlong), float: ("double", ctypes.c_double)}

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
ALIAS = re.compile(r"typedef\s+([\w ]+?)\s+(\w+)\s*;|using\s+(\w+)\s*=\s*([\w ]+?)\s*;")
BOUNDS = r"(?:__launch_bounds__\s*\([^()]*\)\s*)?"
KERNEL = re.compile(rf'extern\s+"C"\s+{BOUNDS}__global__\s+{BOUNDS}void\s+{BOUNDS}(\w+)\s*\(([^()]*)\)\s*{{')


class KernelFault(RuntimeError):
    """A kernel did what a GPU would not forgive."""


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str  # without const, and what it stands for if it is an alias
    pointer: bool
    const: bool


def signatures(code: str) -> dict[str, tuple[Parameter, ...]]:
    """The parameters of every kernel in the text."""
    code = COMMENT.sub(" ", code)
    aliases = {old_name or new_name: old or new for old, old_name, new_name, new in ALIAS.findall(code)}
    return {name: tuple(_parameters(text, aliases)) for name, text in KERNEL.findall(code)}


def _parameters(text: str, aliases: dict[str, str]) -> Iterator[Parameter]:
    for part in text.split(",") if text.strip() else ():
        words = part.replace("*", " * ").replace("__restrict__", " ").split()
        type_ = " ".join(w for w in words[:-1] if w not in ("const", "*"))
        const = "const" in words[: words.index("*") if "*" in words else len(words)]
        yield Parameter(words[-1], aliases.get(type_, type_), "*" in words, const)


# --- compilation


@cache
def compiled(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The library made of this text; kept on disk, so that several processes share it."""
    launchers = "\n".join(f"LAUNCHER({name})" for name in signatures(code))
    flags = [o.replace("--std", "-std") for o in options if re.match(r"--?std=|-D", o)]
    headers = [(HERE / name).read_text() for name in ("cuda_on_cpu.h", "mma.h")]
    key = sha256("\0".join([code, launchers, *flags, *headers]).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        _compile(f"{code}\n{launchers}\n", flags, library)
    return ctypes.CDLL(str(library))


def _compile(code: str, flags: list[str], library: Path) -> None:
    if not shutil.which("g++"):
        raise RuntimeError("g++ is not installed: the stand-in compiles CUDA sources with it")
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        source, made = Path(folder) / "kernels.cu", Path(folder) / "kernels.so"
        source.write_text(code)
        command = ["g++", "-x", "c++", "-std=c++17", *flags, "-O1", "-w", "-shared", "-fPIC", "-fvisibility=hidden"]
        command += ["-fsanitize=bounds", "-nodefaultlibs"]  # the header handles what the sanitiser finds
        command += ["-I", str(HERE), "-include", "cuda_on_cpu.h", str(source), "-o", str(made)]
        done = subprocess.run([*command, "-lm", "-lc", "-lgcc"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"g++ refuses the source:\n{done.stderr}")
        made.replace(library)  # whole or not at all, whoever else makes it now


class RawModule:
    """CUDA source, of which each kernel can be launched."""

    def __init__(self, code: str, order: str, options: tuple[str, ...] = ()):
        self.code, self.options = code, tuple(options)
        self.order = {"ascending": 1, "descending": -1}[order]
        self.signatures = signatures(code)

    def get_function(self, name: str) -> Kernel:
        if name not in self.signatures:
            raise KernelFault(f'no kernel extern "C" __global__ void {name}(...): one of {", ".join(self.signatures)}')
        return Kernel(self, name)


class Kernel:
    """One kernel: ``kernel(grid, block, args)``."""

    def __init__(self, module: RawModule, name: str):
        self.module, self.name = module, name
        self.parameters = module.signatures[name]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple) -> None:
        grid, block = _checked("grid", grid), _checked("block", block)
        if math.prod(block) > THREADS:
            raise ValueError(f"{self.name}: a block of {block} has {math.prod(block)} threads, at most {THREADS} fit")
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, got {len(args)}")
        for i, (parameter, argument) in enumerate(zip(self.parameters, args)):
            _require(f"{self.name}, argument {i} ({parameter.name})", parameter, argument)
        buffers = guarded(self.parameters, args)
        addresses = {i: b.address(i) for b in buffers for i in b.members}
        values = [
            ctypes.c_void_p(addresses[i]) if p.pointer else SCALARS[type(a)][1](a)
            for i, (p, a) in enumerate(zip(self.parameters, args))
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        message = ctypes.create_string_buffer(1024)
        run = compiled(self.module.code, self.module.options)[f"launch_{self.name}"]
        run((ctypes.c_uint * 6)(*grid, *block), self.module.order, pointers, message)
        if message.value:
            raise KernelFault(f"{self.name}, {message.value.decode()}")
        for buffer in buffers:
            buffer.finish(self.name)


def _checked(name: str, sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """Three sizes of a grid or block, within CUDA's limits."""
    if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3 or any(type(n) is not int for n in sizes):
        raise TypeError(f"a {name} is a tuple of one to three ints, got {sizes!r}")
    sizes = (sizes + (1, 1))[:3]
    if any(not 1 <= n <= most for n, most in zip(sizes, LIMITS[name])):
        raise ValueError(f"a {name} has 1 to {LIMITS[name]} along each axis, got {sizes}")
    return sizes


def _require(where: str, parameter: Parameter, argument: Any) -> None:
    if parameter.pointer:
        dtype = C_TYPES.get(parameter.type)
        got = getattr(argument, "dtype", None)
        if type(argument).__module__ != "cupy" or got is None or got.name != dtype:
            kind = f"an array of {got} in {type(argument).__module__}" if got is not None else repr(argument)
            raise TypeError(f"{where} is a pointer to {parameter.type}: needs an array of {dtype} in cupy, got {kind}")
    elif parameter.type not in [name for name, _ in SCALARS.values()]:
        raise TypeError(f"{where} is {parameter.type}: a scalar must be long long or double")
    elif SCALARS.get(type(argument), ("",))[0] != parameter.type:
        needed = "int" if parameter.type == "long long" else "float"
        raise TypeError(f"{where} is {parameter.type}: needs a Python {needed}, got {argument!r}")


# --- guarded buffers


class Buffer:
    """A copy of the memory that some arguments of a launch occupy, between guards."""

    def __init__(self, low: int, high: int, offset: int, number: int):
        self.low, self.size = low, high - low
        # a NaN of its own, so that what a kernel reads outside of one argument is a change outside of another
        self.room = np.full((self.size + 2 * GUARD + ALIGNMENT) // 4 + 1, 0xFFF00001 + number, np.uint32).view(np.uint8)
        start = self.room.ctypes.data + GUARD
        self.start = GUARD + (offset - start) % ALIGNMENT  # as far from a multiple of ALIGNMENT as on a device
        ctypes.memmove(self.room.ctypes.data + self.start, low, self.size)
        self.before = self.room.copy()
        self.members: dict[int, tuple[Parameter, Any]] = {}

    def address(self, i: int) -> int:
        array = self.members[i][1]
        return self.room.ctypes.data + self.start + (array.ctypes.data - self.low if array.size else 0)

    def finish(self, kernel: str) -> None:
        """Copy back what the kernel wrote; KernelFault if it wrote where it must not."""
        writable = np.zeros(self.room.size, bool)
        for i, (parameter, array) in self.members.items():
            if not parameter.const:
                self._bytes_of(i, array, writable)[...] = True
        changed = np.flatnonzero(self.room != self.before)
        wrong = changed[~writable[changed]]
        if wrong.size:
            raise KernelFault(f"{kernel} wrote {self._explain(wrong[0] - self.start)}")
        ctypes.memmove(self.low, self.room.ctypes.data + self.start, self.size)

    def _bytes_of(self, i: int, array: Any, flags: np.ndarray) -> np.ndarray:
        """The flags of an argument's own bytes: a view of the array's shape, and the bytes of an entry."""
        offset = self.address(i) - self.room.ctypes.data
        shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
        return np.ndarray(shape, bool, flags, offset, strides)

    def _explain(self, byte: int) -> str:
        names = " and ".join(f"argument {i} ({p.name})" for i, (p, _) in self.members.items())
        if byte < 0:
            return f"outside of {names}: {-byte} bytes before its start"
        if byte >= self.size:
            return f"outside of {names}: {byte - self.size} bytes after its end"
        if all(p.const for p, _ in self.members.values()):
            return f"to {names}, which is const"
        return f"between the entries of {names}, at byte {byte} of {self.size}"


def guarded(parameters: tuple[Parameter, ...], args: tuple) -> list[Buffer]:
    """Buffers for the arrays among the arguments; those whose memory overlaps share one."""
    arrays = {i: a._array for i, (p, a) in enumerate(zip(parameters, args)) if p.pointer}
    bounds = {i: np.lib.array_utils.byte_bounds(a) if a.size else (0, 0) for i, a in arrays.items()}
    groups: list[tuple[int, int, list[int]]] = []  # low, high, arguments
    for i in sorted(arrays, key=bounds.__getitem__):
        low, high = bounds[i]
        if groups and arrays[i].size and low < groups[-1][1]:
            first, last, members = groups.pop()
            groups.append((first, max(last, high), [*members, i]))
        else:
            groups.append((low, high, [i]))
    buffers = []
    for low, high, members in groups:
        buffer = Buffer(low, high, low - allocation(arrays[members[0]]).ctypes.data if high else 0, min(members))
        buffer.members = {i: (parameters[i], arrays[i]) for i in sorted(members)}
        buffers.append(buffer)
    return buffers


def allocation(array: Any) -> Any:
    """The array that owns the memory of which this one is a part."""
    base = array
    while base is not None:  # between a strided view and its array numpy puts an object of its own
        array, base = (base, base.base) if isinstance(base, np.ndarray) else (array, getattr(base, "base", None))
    return array
