// The columns of a convolution (im2col), and their adjoint (col2im).
//
//     im2col     columns[n, (c,k), o] = x[n, c, i]   where i = STRIDE * o + DILATION * k - LOW; 0 if i is padding
//     col2im     x[n, c, i] = sum over k of columns[n, (c,k), o]   over the taps k for which there is such an o
//
// x (N, C, *SIZE) is any array whose maps lie in C order. columns (N, C*TAPS, POSITIONS) has steps of its own from
// sample to sample and from row to row: convolution.py lays it out in memory as (C*TAPS, N * POSITIONS), so that the
// convolution of the whole batch is one product of two matrices.
//
// Threads: x counts what is written, over all samples (n * POSITIONS + o, or n * CELLS + i), y counts channels.
// Neighbouring threads write neighbouring addresses, and, at stride 1, read neighbouring ones: a warp moves 128 bytes at
// a time. What TAPS threads read from x is in cache after the first, so im2col costs the bytes of its columns.
//
// col2im could as well let each entry of the columns add itself to its cell. Those that meet in one would need atomic
// additions, which come in any order, and float addition is not associative: each run would round differently. Here each
// cell gathers its entries in the order of the taps.
#include "window.cuh"

extern "C" __global__ void im2col(T *columns, Step columns_n, Step columns_row, const T *x, Step x_n, Step x_c,
                                  long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / POSITIONS;
  int o = thread % POSITIONS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + n * x_n + c * x_c;
    T *column = columns + n * columns_n + c * TAPS * columns_row + o;
#pragma unroll UNROLL
    for (int k = 0; k < TAPS; ++k) {
      int i = cell(o, k);
      column[k * columns_row] = i < 0 ? 0 : map[i];
    }
  }
}

extern "C" __global__ void col2im(T *x, Step x_n, Step x_c, const T *columns, Step columns_n, Step columns_row,
                                  long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / CELLS;
  int i = thread % CELLS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *rows = columns + n * columns_n + c * TAPS * columns_row;
    T sum = 0;
#pragma unroll UNROLL
    for (int k = 0; k < TAPS; ++k) {
      int o = position(i, k);
      if (o >= 0) sum += rows[k * columns_row + o];
    }
    x[n * x_n + c * x_c + i] = sum;
  }
}
