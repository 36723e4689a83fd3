"""Every kernel compiled by NVIDIA's compilers, for two generations of GPUs, where there is neither driver nor device.

NVRTC comes with CuPy; nvcc is used where it is on PATH. What the kernels need is compared with resources.json, so that
a spill or a loop that is no longer unrolled is seen; ``python -m tests.gpu.resources --update`` renews the record.
"""

import shutil
import subprocess
from importlib import resources as package

import pytest

from minidl.kernels.gpu import source
from tests.support.cuda import cubin
from tests.support.cuda.raw_module import signatures

from . import geometries, resources

CASES = {name: (file, dtype, text) for name, file, dtype, text in geometries.cases()}
SOURCES = (file.name for file in package.files(source.__package__).iterdir())
FILES = sorted(name.removesuffix(".cu") for name in SOURCES if name.endswith(".cu"))


def missing() -> str | None:
    try:
        cubin.nvrtc()
    except (ImportError, RuntimeError) as error:
        return f'NVRTC cannot be used: {error}; pip install "cupy-cuda13x[ctk]"'
    return None


with_nvrtc = pytest.mark.skipif(bool(missing()), reason=missing() or "")


def test_every_file_is_compiled_here():
    assert sorted(geometries.TABLE) == FILES


@with_nvrtc
@pytest.mark.parametrize("architecture", cubin.ARCHITECTURES)
@pytest.mark.parametrize("name", CASES)
def test_nvrtc_compiles_it_to_what_was_recorded(name, architecture):
    text = CASES[name][2]
    now = {f"{name}, {architecture}: {kernel}": r for kernel, r in cubin.compile(text, architecture).items()}
    assert {key.rpartition(": ")[2] for key in now} == set(signatures(text)) != set()
    assert all(r.registers > 0 and r.instructions > 0 for r in now.values())
    version, recorded = resources.recorded()
    before = {key: r for key, r in recorded.items() if key.startswith(f"{name}, {architecture}: ")}
    worse = resources.regressions(now, before)
    assert not worse, f"NVRTC {cubin.version()}, recorded with {version}:\n" + "\n".join(worse)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not on PATH")
@pytest.mark.parametrize("file", FILES)
def test_nvcc_compiles_it(file, tmp_path):
    """In one geometry and dtype of the file: nvcc is slow."""
    text = [text for f, _, text in CASES.values() if f == file][-1]
    (tmp_path / f"{file}.cu").write_text(text)
    command = ["nvcc", "-std=c++17", "-cubin", "-arch=sm_80", "-Werror=all-warnings", "-diag-suppress=177"]
    done = subprocess.run([*command, f"{file}.cu"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@with_nvrtc
def test_what_is_counted_is_what_is_there():
    """A kernel that keeps 400 numbers at once in at most 32 registers must spill; one that adds two numbers cannot."""
    text = """
    typedef float T;
    extern "C" __global__ void small(T* y, const T* x) { y[threadIdx.x] = x[threadIdx.x] + 1; }
    extern "C" __global__ void __launch_bounds__(1024, 2) large(T* y, const T* x) {
        __shared__ T tile[256];
        T kept[200];
        for (int i = 0; i < 200; ++i) kept[i] = x[i * 1024 + threadIdx.x];
        if (threadIdx.x < 256) tile[threadIdx.x] = kept[0];
        __syncthreads();
        T sum = 0;
        for (int i = 0; i < 200; ++i) for (int j = 0; j < 3; ++j) sum = sum * kept[(7 * i + j) % 200] + tile[i];
        y[threadIdx.x] = sum;
    }"""
    for architecture in cubin.ARCHITECTURES:
        found = cubin.compile(text, architecture)
        small, large = found["small"], found["large"]
        assert small.registers <= 16 and small.spills == small.local == small.shared == 0
        assert small.instructions < 60 < 600 < large.instructions
        assert large.registers <= 32 and large.spills > 0 and large.shared >= 1024


@with_nvrtc
def test_an_error_is_shown_with_its_line():
    with pytest.raises(RuntimeError, match=r"kernels.cu\(2\): error"):
        cubin.compile('typedef float T;\nextern "C" __global__ void k(T* y) { y[0] = z; }', "sm_80")


def test_what_counts_as_a_regression():
    recorded = cubin.Resources(registers=20, spills=0, local=0, shared=1024, instructions=100)
    same = {
        "registers": recorded._replace(registers=28, instructions=125),
        "fewer": recorded._replace(registers=10, instructions=10, shared=0),
    }
    worse = {
        "registers": recorded._replace(registers=29),
        "spills": recorded._replace(spills=4),
        "local": recorded._replace(local=8),
        "shared": recorded._replace(shared=1032),
        "instructions": recorded._replace(instructions=126),
    }
    for kernel in same.values():
        assert resources.regressions({"k": kernel}, {"k": recorded}) == []
    for field, kernel in worse.items():
        (line,) = resources.regressions({"k": kernel}, {"k": recorded})
        assert line.startswith(f"k: {field} ")
    assert resources.regressions({"k": recorded}, {}) == ["k: is not recorded"]
    assert resources.regressions({}, {"k": recorded}) == ["k: no kernel has this name any more"]
