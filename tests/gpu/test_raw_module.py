"""Kernels on the CPU: they do what a GPU does, and every fault that a GPU might forgive is reported."""

import numpy as np
import pytest

from tests.support.cuda import stand_in as fake
from tests.support.cuda.raw_module import KernelFault

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


def test_threads_run_in_the_order_asked_for(stand_in):
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
def test_a_missing_barrier_shows_in_one_order_at_least(stand_in, line):
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
