"""The stand-in for CuPy is as strict as CuPy, and stricter with kernels than a GPU would be."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from . import cupy_names as cupy_has
from . import stand_in as fake
from .raw_module import KernelFault

HEAD = "typedef float T;\n"
TREE = """
extern "C" __global__ void total(const T* __restrict__ x, double* __restrict__ y, long long n) {
  __shared__ double part[256];
  const int t = threadIdx.x;
  const long long i = (long long)blockIdx.x * 256 + t;
  part[t] = i < n ? x[i] : 0;  // one entry each
  __syncthreads();
  for (int s = 128; s > 0; s /= 2) {
    if (t < s) part[t] += part[t + s];
    __syncthreads();  // in the loop
  }
  if (t == 0) y[blockIdx.x] = part[0];
}
"""


def kernel(module, code, name):
    return module.RawModule(code=HEAD + code, options=("--std=c++17",)).get_function(name)


def totals(module, code, x):
    y = module.empty(-(-len(x) // 256), "float64")
    kernel(module, code, "total")((y.size,), (256,), (module.asarray(x), y, len(x)))
    return module.asnumpy(y)


# --- kernels run as they should


def test_a_tree_reduction_in_shared_memory(gpu):
    x = np.random.default_rng(0).standard_normal(1000).astype("float32")
    expected = [x[i : i + 256].sum(dtype="float64") for i in range(0, 1000, 256)]
    np.testing.assert_allclose(totals(gpu, TREE, x), expected, rtol=1e-12)


def test_every_thread_of_every_block_runs_once_at_its_place(gpu):
    code = """
extern "C" __global__ void place(int* seen) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  seen[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1000 * blockIdx.y + threadIdx.z + 1;
}"""
    seen = gpu.zeros((2, 3, 4, 2, 3, 5), "int32")  # grid z, y, x, block z, y, x
    kernel(gpu, code, "place")((4, 3, 2), (5, 3, 2), (seen,))
    _, y, _, z, _, _ = np.indices(seen.shape)
    np.testing.assert_array_equal(seen.get(), 1000 * y + z + 1)


def test_warps_may_wait_apart(gpu):
    code = """
extern "C" __global__ void swap(T* x) {
  __shared__ T held[64];
  const int t = threadIdx.x;
  held[t] = x[t];
  if (t < 32) __syncwarp();
  else
    __syncwarp();
  x[t] = held[t ^ 1];
}"""
    x = gpu.arange(64, dtype="float32")
    kernel(gpu, code, "swap")((1,), (64,), (x,))
    np.testing.assert_array_equal(x.get(), np.arange(64) ^ 1)


def test_threads_run_in_the_order_asked_for():
    code = 'extern "C" __global__ void last(T* y) { y[0] = blockIdx.x * 10 + threadIdx.x; }'
    for order, expected in (("ascending", 14), ("descending", 0)):
        module = fake.make(order)
        y = module.zeros(1, "float32")
        kernel(module, code, "last")((2,), (5,), (y,))
        assert y.item() == expected


def test_strided_and_overlapping_arguments(gpu):
    code = """
extern "C" __global__ void add(const T* x, T* y, long long step) {
  y[threadIdx.x * step] += x[threadIdx.x * step];
}"""
    both = gpu.arange(10, dtype="float32")
    kernel(gpu, code, "add")((1,), (5,), (both[1::2], both[::2], 2))
    np.testing.assert_array_equal(both.get(), [1, 1, 5, 3, 9, 5, 13, 7, 17, 9])


PRODUCT = """
#include <mma.h>
namespace wmma = nvcuda::wmma;
extern "C" __global__ void product(const T* a, const T* b, T* c) {  // a (16, 24), b (24, 16) by columns
  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::col_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  for (int k = 0; k < 24; k += 8) {
    wmma::load_matrix_sync(left, a + k, 24);
    wmma::load_matrix_sync(right, b + k, 24);
    for (int i = 0; i < left.num_elements; i++) left.x[i] = wmma::__float_to_tf32(left.x[i]);
    for (int i = 0; i < right.num_elements; i++) right.x[i] = wmma::__float_to_tf32(right.x[i]);
    wmma::mma_sync(sum, left, right, sum);
  }
  wmma::store_matrix_sync(c, sum, 16, wmma::LAYOUT);
}
"""


def to_tf32(x):
    """The nearest number with 10 bits of mantissa."""
    mantissa, exponent = np.frexp(x.astype("float64"))
    return np.ldexp(np.rint(mantissa * 2**11), exponent - 11)


@pytest.mark.parametrize("layout", ["mem_row_major", "mem_col_major"])
def test_a_tile_on_tensor_cores(stand_in, layout):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype("float32") for shape in ((16, 24), (24, 16)))
    c = stand_in.empty((16, 16), "float32")
    product = kernel(stand_in, PRODUCT.replace("LAYOUT", layout), "product")
    product((1,), (32,), (stand_in.asarray(a), stand_in.asarray(np.ascontiguousarray(b.T)), c))
    got = c.get() if layout == "mem_row_major" else c.get().T
    np.testing.assert_allclose(got, to_tf32(a) @ to_tf32(b), rtol=0, atol=1e-5)
    assert abs(got - a @ b).max() > 1e-4  # the rounding shows


# --- faults


@pytest.mark.parametrize("line", ["  __syncthreads();\n", "    __syncthreads();  // in the loop\n"])
def test_a_missing_barrier_shows_in_one_order_at_least(line):
    assert TREE.count(line) == 1
    x = np.random.default_rng(0).standard_normal(256).astype("float32")
    results = [totals(fake.make(order), TREE.replace(line, ""), x)[0] for order in ("ascending", "descending")]
    assert not np.allclose(results, x.sum(dtype="float64"), rtol=1e-6)


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ("if (threadIdx.x < 3) __syncthreads();", r"waits at __syncthreads.*thread \(3, 0, 0\), which ended without"),
        ("if (threadIdx.x >= 3) return; __syncthreads();", r"thread \(3, 0, 0\), which ended without it"),
        ("if (threadIdx.x < 3) __syncthreads();\nelse\n__syncthreads();", r"waits at .*, thread \(3, 0, 0\) at line"),
        ("for (int i = 0; i <= threadIdx.x; i++) __syncthreads();", "which ended without it"),
        ("if (threadIdx.x < 3) __syncwarp();\nelse __syncthreads();", "waits at __sync"),
    ],
)
def test_a_barrier_that_not_every_thread_reaches_is_reported(stand_in, branch, message):
    code = f'extern "C" __global__ void branches(T* y) {{ {branch}\n y[threadIdx.x] = 1; }}'
    y = stand_in.zeros(8, "float32")
    with pytest.raises(KernelFault, match=rf"branches, block \(0, 0, 0\), thread .*{message}"):
        kernel(stand_in, code, "branches")((1,), (8,), (y,))
    assert totals(stand_in, TREE, np.ones(300, "float32")).tolist() == [256, 44]  # the next launch is as ever


def test_shared_memory_holds_rubbish_at_the_start_of_each_block(stand_in):
    code = """
extern "C" __global__ void forgot(T* y) {
  __shared__ T sum;
  sum += 1;
  y[blockIdx.x] = sum;
}"""
    y = stand_in.zeros(3, "float32")
    kernel(stand_in, code, "forgot")((3,), (1,), (y,))
    assert np.isnan(y.get()).all()


SHIFT = """
extern "C" __global__ void shift(const T* x, T* y, long long n, long long from, long long to) {
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i + to] = x[i + from];
}
"""


@pytest.mark.parametrize("to", [1, -1])
def test_a_write_next_to_an_array_is_caught(stand_in, to):
    x, y = stand_in.ones(10, "float32"), stand_in.zeros(10, "float32")
    with pytest.raises(KernelFault, match=r"shift wrote outside of argument 1 \(y\): \d bytes (after|before)"):
        kernel(stand_in, SHIFT, "shift")((1,), (32,), (x, y, 10, 0, to))


@pytest.mark.parametrize("from_", [1, -1])
def test_a_read_next_to_an_array_gives_nan(stand_in, from_):
    x, y = stand_in.ones(10, "float32"), stand_in.zeros(10, "float32")
    kernel(stand_in, SHIFT, "shift")((1,), (32,), (x, y, 10, from_, 0))
    expected = np.ones(10)
    expected[9 if from_ == 1 else 0] = np.nan
    np.testing.assert_array_equal(y.get(), expected)


def test_a_write_next_to_an_empty_array_is_caught(stand_in):
    with pytest.raises(KernelFault, match=r"outside of argument 1"):
        x, y = stand_in.ones(1, "float32"), stand_in.empty(0, "float32")
        kernel(stand_in, SHIFT, "shift")((1,), (1,), (x, y, 1, 0, 0))


def test_a_write_between_the_entries_of_a_view_is_caught(stand_in):
    x, y = stand_in.ones(10, "float32"), stand_in.zeros(20, "float32")
    with pytest.raises(KernelFault, match=r"between the entries of argument 1 \(y\)"):
        kernel(stand_in, SHIFT, "shift")((1,), (32,), (x, y[::2], 10, 0, 0))


def test_a_write_to_a_const_argument_is_caught(stand_in):
    code = 'extern "C" __global__ void cheat(const T* x) { const_cast<T*>(x)[threadIdx.x] = 2; }'
    with pytest.raises(KernelFault, match=r"cheat wrote to argument 0 \(x\), which is const"):
        kernel(stand_in, code, "cheat")((1,), (4,), (stand_in.ones(4, "float32"),))


@pytest.mark.parametrize("array", ["__shared__ T a[4];", "T a[4];"])
def test_an_index_outside_of_an_array_in_the_kernel_is_caught(stand_in, array):
    body = f"{array} int i = threadIdx.x;\n a[i] = 1;\n y[i] = a[i];"
    code = f'extern "C" __global__ void over(T* y) {{ {body} }}'
    y = stand_in.zeros(8, "float32")
    with pytest.raises(KernelFault, match=r"thread \([47], 0, 0\): index [47] is outside of the array"):
        kernel(stand_in, code, "over")((1,), (8,), (y,))
    kernel(stand_in, code, "over")((1,), (4,), (y,))


# --- what a launch refuses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:-1], "shift takes 5 arguments, got 4"),
        (lambda a: [a[0].astype("float64"), *a[1:]], r"argument 0 \(x\) is a pointer to float.* got .* float64"),
        (lambda a: [a[0].get(), *a[1:]], "needs an array of float32 in cupy, got an array of float32 in numpy"),
        (lambda a: [3, *a[1:]], "needs an array of float32 in cupy, got 3"),
        (lambda a: [*a[:2], 4.0, 0, 0], r"argument 2 \(n\) is long long: needs a Python int, got 4.0"),
        (lambda a: [*a[:2], np.int64(4), 0, 0], "needs a Python int"),
        (lambda a: [*a[:2], True, 0, 0], "needs a Python int, got True"),
        (lambda a: [*a[:2], a[0], 0, 0], "needs a Python int"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(stand_in, change, message):
    arguments = [stand_in.ones(4, "float32"), stand_in.ones(4, "float32"), 4, 0, 0]
    run = kernel(stand_in, SHIFT, "shift")
    run((1,), (4,), tuple(arguments))
    with pytest.raises(TypeError, match=message):
        run((1,), (4,), tuple(change(arguments)))


def test_a_double_takes_a_float_and_other_scalars_do_not_exist(stand_in):
    code = 'extern "C" __global__ void fill(T* y, TYPE value) { y[threadIdx.x] = value; }'
    y = stand_in.empty(4, "float32")
    assert np.isnan(y.get()).all()
    kernel(stand_in, code.replace("TYPE", "const double"), "fill")((1,), (4,), (y, 2.5))
    assert y.tolist() == [2.5] * 4
    with pytest.raises(TypeError, match="needs a Python float, got 2"):
        kernel(stand_in, code.replace("TYPE", "double"), "fill")((1,), (4,), (y, 2))
    for name in ("int", "float", "T"):
        with pytest.raises(TypeError, match="a scalar must be long long or double"):
            kernel(stand_in, code.replace("TYPE", name), "fill")((1,), (4,), (y, 2.5))


@pytest.mark.parametrize(
    ("grid", "block", "error"),
    [
        ((0,), (4,), ValueError),
        ((1, 65536), (4,), ValueError),
        ((1, 1, 65536), (4,), ValueError),
        ((2**31,), (4,), ValueError),
        ((1,), (1025,), ValueError),
        ((1,), (512, 4), ValueError),
        ((1,), (1, 1, 65), ValueError),
        (1, (4,), TypeError),
        ((1.0,), (4,), TypeError),
        ((1, 1, 1, 1), (4,), TypeError),
    ],
)
def test_grids_and_blocks_beyond_the_limits_are_refused(stand_in, grid, block, error):
    x = stand_in.ones(4, "float32")
    with pytest.raises(error, match=r"grid|block"):
        kernel(stand_in, SHIFT, "shift")(grid, block, (x, x.copy(), 4, 0, 0))


def test_a_source_that_does_not_compile_and_a_kernel_that_is_not_there(stand_in):
    with pytest.raises(KernelFault, match=r"no kernel .* nothing.*: one of total"):
        kernel(stand_in, TREE, "nothing")
    run = kernel(stand_in, 'extern "C" __global__ void broken(T* y) { y[0] = INFINITY; }', "broken")
    with pytest.raises(RuntimeError, match=r"g\+\+ refuses the source(.|\n)*INFINITY"):
        run((1,), (1,), (stand_in.ones(1, "float32"),))


# --- arrays


def test_arrays_of_the_host_and_of_the_device_do_not_mix(stand_in):
    a, host = stand_in.ones(3), np.ones(3)
    refused = [
        lambda: a + host,
        lambda: host + a,
        lambda: a + np.ones(()),
        lambda: np.add(a, host),
        lambda: stand_in.add(host, host),
        lambda: stand_in.add(a, [1, 2, 3]),
        lambda: stand_in.sum(host),
        lambda: stand_in.concatenate([a, host]),
        lambda: np.concatenate([a, host]),
        lambda: stand_in.where(np.ones(3, bool), a, a),
        lambda: a[np.array([0])],
        lambda: a[(np.array([True, False, True]),)],
        lambda: a.__setitem__(0, np.ones(())),
        lambda: a.__setitem__(slice(None), host),
        lambda: a.__setitem__(np.array([0]), 1),
        lambda: a.__iadd__(host),
        lambda: host.__iadd__(a),
        lambda: stand_in.add.at(a, np.array([0]), 1.0),
        lambda: a.fill(np.ones(())),
        lambda: stand_in.exp(a, out=host),
        lambda: np.exp(a, out=host),
        lambda: np.asarray(a),
        lambda: np.array([a, a]),
        lambda: np.fft.fft(a),
        lambda: host @ a,
    ]
    for i, attempt in enumerate(refused):
        with pytest.raises(TypeError):
            attempt()
            pytest.fail(f"number {i} was not refused")
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        a.__array__()
    with pytest.raises(TypeError):
        range(stand_in.asarray(3))  # CuPy has no __index__


def test_numbers_and_numpys_functions_are_welcome(gpu):
    a = gpu.asarray([1.0, 2.0, 3.0], dtype="float32")
    for b in (a * 2, 2 * a, a * np.float32(2), np.float32(2) * a, np.add(a, a), np.multiply(2, a)):
        assert type(b) is gpu.ndarray
        assert b.dtype == np.float32
        assert b.tolist() == [2, 4, 6]
    assert (a * np.float64(2)).dtype == np.float64  # a NumPy scalar has a dtype of its own
    assert np.isfinite(a).all().item() is True
    assert np.shape(a) == (3,)
    assert np.concatenate([a, a]).tolist() == [1, 2, 3] * 2
    a[1] = 5
    a[a > 4] = np.float32(7)
    a[gpu.asarray([0])] += 1
    assert a.get().tolist() == [2, 7, 3]
    assert gpu.asarray(a) is a


def test_results_are_arrays_in_c_order(gpu):
    a = gpu.asarray(np.arange(24.0).reshape(2, 3, 4)).transpose(1, 0, 2)
    assert not a.flags.c_contiguous
    for y in (a + 1, gpu.exp(a), gpu.maximum(a, 0), a.sum(axis=0), gpu.where(a > 1, a, 0), a[gpu.asarray([0, 1])]):
        assert y.flags.c_contiguous
    assert gpu.empty_like(a).strides == a.copy(order="K").strides == a.astype("float64").strides == a.strides
    for y in (a.sum(), a.max(), a[0, 0, 0], gpu.asarray(3.0)):
        assert type(y) is gpu.ndarray
        assert y.shape == ()
    y = a.swapaxes(0, 1)
    y += 1
    assert a[0, 0, 0].item() == 1
    assert y.data.ptr == a.data.ptr


def test_new_memory_holds_rubbish(stand_in):
    assert np.isnan(stand_in.empty((2, 2)).get()).all()
    assert np.isnan(stand_in.empty_like(stand_in.ones(3, "complex64")).get()).all()
    assert abs(stand_in.empty(3, "int64").get()).min() > 1e9
    assert stand_in.empty((), "float32").shape == ()


def test_only_names_and_keywords_that_cupy_has(stand_in):
    a = stand_in.ones((2, 3))
    with pytest.raises(AttributeError, match="the stand-in for cupy has no 'nanquantile'"):
        stand_in.nanquantile  # noqa: B018
    for attempt in (
        lambda: stand_in.add(a, a, where=a > 0),
        lambda: stand_in.sum(a, initial=1.0),
        lambda: a.sum(where=a > 0),
        lambda: stand_in.max(a, 0, None, False, 1.0),
        lambda: stand_in.zeros(3, like=a),
    ):
        with pytest.raises(TypeError, match="cupy"):
            attempt()
    for name in ("ctypes", "__array_interface__", "__index__", "newbyteorder"):
        assert not hasattr(a, name)
    with pytest.raises(AttributeError):
        a.flags.writeable  # noqa: B018
    with pytest.raises(ValueError, match="Unsupported dtype object"):
        stand_in.asarray([None])


def test_a_strided_view_stays_in_its_memory(stand_in):
    a, as_strided = stand_in.arange(10.0), stand_in.lib.stride_tricks.as_strided
    assert as_strided(a[2:], (3, 2), (16, 8)).tolist() == [[2, 3], [4, 5], [6, 7]]
    assert as_strided(a[2:8], (8,), (8,)).tolist() == list(range(2, 10))  # beyond the view, within the memory
    for part, shape in ((a, (11,)), (a[2:], (9,)), (a[::-1], (2,))):
        with pytest.raises(ValueError, match="leave the memory"):
            as_strided(part, shape, (8,))


def test_scattering(gpu):
    a, i = gpu.zeros(4, "float32"), gpu.asarray([1, 1, 3])
    gpu.add.at(a, i, gpu.asarray([1.0, 2.0, 4.0], dtype="float32"))
    gpu.maximum.at(a, i, gpu.asarray([5.0, 2.0, 1.0], dtype="float32"))
    assert a.tolist() == [0, 5, 0, 4]
    for refused, dtype in ((gpu.add, "int8"), (gpu.maximum, "float16"), (gpu.add, "complex128")):
        with pytest.raises(TypeError, match="only supports"):
            refused.at(gpu.zeros(4, dtype), i, 1)


def test_copies_and_pickles(gpu):
    a = gpu.arange(3.0)
    for b in (copy.copy(a), copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert type(b) is gpu.ndarray
        a[0] = 9
        assert b.tolist() == [0, 1, 2]
        a[0] = 0


# --- the lists of names, against CuPy itself


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed: nothing to compare the names with")


def test_every_name_is_one_of_cupys(cupy):
    names = [*cupy_has.UFUNCS, *cupy_has.FUNCTIONS, *cupy_has.CREATORS, *cupy_has.QUESTIONS, *cupy_has.CONSTANTS]
    own = [n for n in vars(fake.make()) if not n.startswith("__")]
    assert [n for n in {*names, *own} if not hasattr(cupy, n)] == []
    assert all(isinstance(getattr(cupy, n), cupy.ufunc) for n in cupy_has.UFUNCS)
    assert all(getattr(cupy, n) == getattr(np, n) for n in cupy_has.CONSTANTS - {"nan"})
    for n in ("Device", "Stream", "Event", "is_available", "get_elapsed_time", "get_current_stream", "runtime"):
        assert hasattr(cupy.cuda, n)


def test_every_attribute_of_an_array_is_one_of_cupys(cupy):
    inherited = set(dir(object)) | {"__module__", "__weakref__", "_array"}
    assert set(dir(fake.ndarray)) - inherited - set(dir(cupy.ndarray)) == set()
    flags = {n for n in dir(fake.make().ones(1).flags) if not n.startswith("_")}
    assert flags == {n for n in dir(cupy._core.flags.Flags) if not n.startswith("_")}
    assert fake.ndarray.__module__ == cupy.ndarray.__module__


def test_every_parameter_is_one_of_cupys(cupy):
    for name, parameters in {**cupy_has.FUNCTIONS, **cupy_has.CREATORS, **cupy_has.QUESTIONS}.items():
        theirs = _parameters(getattr(cupy, name))
        ours = [p.strip("*") for p in parameters.split() if name not in ("einsum", "matmul")]
        assert ours == theirs[: len(ours)], name
    for name, parameters in cupy_has.METHODS.items():
        ours = [p.strip("*") for p in parameters.split()]
        assert ours == _parameters(getattr(cupy.ndarray, name), "self")[: len(ours)], name


def test_the_types_that_scatter_are_cupys(cupy):
    memory = cupy.cuda.UnownedMemory(1 << 12, 1 << 10, None, device_id=0)  # never touched: the type is refused before
    a = cupy.ndarray(4, "complex64", cupy.cuda.MemoryPointer(memory, 0))
    for name, types in cupy_has.SCATTERED.items():
        with pytest.raises(TypeError, match="only supports") as error:
            getattr(cupy, name).at(a, a.view("int64"), a)
        assert set(str(error.value).split(" supports ")[1].removesuffix(" as data type").split(", ")) == types


def _parameters(function, first=None):
    """The names of the parameters, from the signature or, of a compiled function, from its documentation."""
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:
        line = function.__doc__.strip().splitlines()[0]
        parts = line[line.index("(") + 1 : line.rindex(")")].split(",")
        names = [part.split("=")[0].split()[-1].strip("*") for part in parts]
    return names[1:] if first else names
