// Pooling: the largest entry or the sum of each window, and the adjoints of both.
//
//     max_pool        y[n, c, o] = max over k of x[n, c, i]        i = STRIDE * o + DILATION * k - LOW, padding left out
//     argmax          at[n, c, o] = the first i, in the order of the taps, with x[n, c, i] = y[n, c, o]
//     from_largest    y[n, c, o] = g[n, c, at[n, c, o]]            the derivative of max_pool, applied to a direction
//     to_largest      y[n, c, i] = sum of g[n, c, o] over the o with at[n, c, o] = i             and to a cotangent
//     window_sum      y[n, c, o] = sum over k of x[n, c, i]
//     window_spread   y[n, c, i] = sum over k of x[n, c, o]        over the taps k for which there is such an o
//
// Threads: x counts what is written, over all samples (n * POSITIONS + o, or n * CELLS + i), y counts channels. Windows
// overlap, but what one thread has read of a map is in cache for the next: each kernel costs the bytes of its arrays once.
//
// No positions are kept from the forward pass: whether cell i is the first largest of window o is seen from x and y,
// which are there anyway. So to_largest needs no atomic additions, whose order, and so whose rounding, would be new in
// each run: a cell asks the windows that it is in. It does so in the order of the windows, the last tap first.
//
// A NaN wins, as in NumPy's maximum, and the first one has the position, though it equals nothing.
#include "window.cuh"

// Is x not the largest cell y of its window?
__device__ bool misses(T x, T y) { return !(x >= y) && x == x; }

// The first cell of the window at o that does not miss y; 0 if there is none.
__device__ int first_largest(const T *map, T y, int o) {
#pragma unroll UNROLL
  for (int k = 0; k < TAPS; ++k) {
    int i = cell(o, k);
    if (i >= 0 && !misses(map[i], y)) return i;
  }
  return 0;
}

// Does every cell that the window at o meets before tap k miss y?
__device__ bool all_miss(const T *map, T y, int o, int k) {
#pragma unroll 1 // few cells come this far
  while (--k >= 0) {
    int i = cell(o, k);
    if (i >= 0 && !misses(map[i], y)) return false;
  }
  return true;
}

// lowest is minus infinity, for which CUDA has no name of its own.
extern "C" __global__ void max_pool(T *y, Step y_n, Step y_c, const T *x, Step x_n, Step x_c, double lowest,
                                    long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / POSITIONS;
  int o = thread % POSITIONS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + n * x_n + c * x_c;
    T largest = lowest;
#pragma unroll UNROLL
    for (int k = 0; k < TAPS; ++k) {
      int i = cell(o, k);
      if (i >= 0 && (map[i] > largest || map[i] != map[i])) largest = map[i];
    }
    y[n * y_n + c * y_c + o] = largest;
  }
}

extern "C" __global__ void argmax(long long *at, Step at_n, Step at_c, const T *x, Step x_n, Step x_c,
                                  const T *y, Step y_n, Step y_c, long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / POSITIONS;
  int o = thread % POSITIONS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    at[n * at_n + c * at_c + o] = first_largest(x + n * x_n + c * x_c, y[n * y_n + c * y_c + o], o);
  }
}

extern "C" __global__ void from_largest(T *out, Step out_n, Step out_c, const T *g, Step g_n, Step g_c,
                                        const T *x, Step x_n, Step x_c, const T *y, Step y_n, Step y_c,
                                        long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / POSITIONS;
  int o = thread % POSITIONS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    int i = first_largest(x + n * x_n + c * x_c, y[n * y_n + c * y_c + o], o);
    out[n * out_n + c * out_c + o] = g[n * g_n + c * g_c + i];
  }
}

extern "C" __global__ void to_largest(T *out, Step out_n, Step out_c, const T *g, Step g_n, Step g_c,
                                      const T *x, Step x_n, Step x_c, const T *y, Step y_n, Step y_c,
                                      long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / CELLS;
  int i = thread % CELLS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + n * x_n + c * x_c, *largest = y + n * y_n + c * y_c;
    T mine = map[i], sum = 0;
#pragma unroll UNROLL
    for (int k = TAPS - 1; k >= 0; --k) {
      int o = position(i, k);
      if (o >= 0 && !misses(mine, largest[o]) && all_miss(map, largest[o], o, k)) sum += g[n * g_n + c * g_c + o];
    }
    out[n * out_n + c * out_c + i] = sum;
  }
}

// Sums go row by row: the rounding error then grows with the sides of the window, not with the number of its cells.
extern "C" __global__ void window_sum(T *y, Step y_n, Step y_c, const T *x, Step x_n, Step x_c,
                                      long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / POSITIONS;
  int o = thread % POSITIONS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + n * x_n + c * x_c;
    T sum = 0;
#pragma unroll UNROLL
    for (int first = 0; first < TAPS; first += KERNEL[2]) {
      T row = 0;
      for (int k = first; k < first + KERNEL[2]; ++k) {
        int i = cell(o, k);
        if (i >= 0) row += map[i];
      }
      sum += row;
    }
    y[n * y_n + c * y_c + o] = sum;
  }
}

extern "C" __global__ void window_spread(T *y, Step y_n, Step y_c, const T *x, Step x_n, Step x_c,
                                         long long samples, long long channels) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / CELLS;
  int i = thread % CELLS;
  if (n >= samples) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + n * x_n + c * x_c;
    T sum = 0;
#pragma unroll UNROLL
    for (int first = 0; first < TAPS; first += KERNEL[2]) {
      T row = 0;
      for (int k = first; k < first + KERNEL[2]; ++k) {
        int o = position(i, k);
        if (o >= 0) row += map[o];
      }
      sum += row;
    }
    y[n * y_n + c * y_c + i] = sum;
  }
}
