// Convolution as one matrix product that never writes its columns down ("implicit GEMM"), on tensor cores.
//
//     y[f, m] = sum over k, c of  w[k, f, c] * x[n, c, s*o + d*k - p]          m = n * POSITIONS + o
//
// For each tap k this is an ordinary product of a matrix W_k (F, C) with a matrix X_k (C, N*P): the input, shifted by the
// tap. y is the sum of TAPS such products. im2col writes all X_k to memory and reads them again, TAPS times the input
// each way; here each tile of X_k goes from x straight into shared memory, and x itself mostly comes out of the L2 cache.
//
//     x  (N, C, *SIZE)   steps from sample to sample and channel to channel are arguments
//     w  (TAPS, F, C)    taps outermost, so that a row of W_k is one run in memory
//     y  (F, N * P)      channels outermost
//
// Precision: a tensor core multiplies TF32 numbers (8 bits of exponent as in float32, but 10 bits of mantissa instead of
// 23) and adds in float32. Each factor is off by at most 2^-11 of itself, so each product by about 1e-3 of itself: enough
// for most training, not for proofs. That is why it has to be asked for.
//
// Thread layout: a block of 256 threads, eight warps, computes a tile of ROWS x COLUMNS = 64 x 128 of y: blockIdx.x counts
// tiles along m, blockIdx.y along f. Each warp owns 32 x 32 of the tile: 2 x 2 fragments of 16 x 16. One step of the loop
// takes DEPTH = 16 channels of one tap: the block copies W_k (64 x 16) and X_k (16 x 128) into shared memory, then every
// warp multiplies 16 x 8 by 8 x 16 fragments out of it. A number that was copied once is used 128 or 64 times.
//
// While a tile is multiplied, the next one is already on its way into registers: memory takes hundreds of cycles to
// answer, and those are the cycles in which the tensor cores work.
//
// Rows in shared memory are PAD longer than they need be, so that the rows a warp reads at once start in different banks.

#include <mma.h>
#include "window.cuh"

namespace wmma = nvcuda::wmma;

constexpr int ROWS = 64, COLUMNS = 128, DEPTH = 16, PAD = 4, THREADS = 256;
constexpr int W_STEP = DEPTH + PAD, X_STEP = COLUMNS + PAD; // from row to row in shared memory
constexpr int W_EACH = ROWS * DEPTH / THREADS, X_EACH = DEPTH * COLUMNS / THREADS; // numbers that a thread copies

typedef wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> Left;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> Right;
typedef wmma::fragment<wmma::accumulator, 16, 16, 8, float> Sum;

// What one thread copies of the step's two tiles, on its way from memory to shared memory.
struct Load {
  float w[W_EACH], x[X_EACH];
};

extern "C" __global__ void __launch_bounds__(THREADS) convolve(
  const T* __restrict__ x, const T* __restrict__ w, T* __restrict__ y,
  long long samples, long long inputs, long long outputs, long long x_sample, long long x_channel) {
  // One array in turn for the tiles of W_k and X_k, and for the tile of y at the end.
  alignas(32) __shared__ float shared[ROWS * X_STEP];
  float* w_tile = shared; // [ROWS][W_STEP]
  float* x_tile = shared + ROWS * W_STEP; // [DEPTH][X_STEP]

  const int t = threadIdx.x, warp = t / 32;
  const long long positions = samples * POSITIONS;
  const long long first_m = (long long)blockIdx.x * COLUMNS;
  const int first_f = blockIdx.y * ROWS;
  const int C = (int)inputs, F = (int)outputs;

  // In X_k a thread copies one column, every second row: neighbours in a warp read neighbours in a map.
  const int column = t % COLUMNS, first_row = t / COLUMNS;
  const long long m = first_m + column;
  const bool real = m < positions;
  const int o = real ? (int)(m % POSITIONS) : 0;
  const T* const sample = x + (real ? m / POSITIONS : 0) * x_sample;

  const int slices = (C + DEPTH - 1) / DEPTH; // of the channels
  const int steps = TAPS * slices;

  auto load = [&](int step, Load& next) {
    const int k = step / slices, first_c = step % slices * DEPTH;
    const T* const w_k = w + (long long)k * F * C;
    for (int i = 0; i < W_EACH; i++) {
      int f = first_f + t / DEPTH + i * (THREADS / DEPTH), c = first_c + t % DEPTH;
      next.w[i] = f < F && c < C ? w_k[(long long)f * C + c] : 0;
    }
    const int at = real ? cell(o, k) : -1;
    for (int i = 0; i < X_EACH; i++) {
      int c = first_c + first_row + i * (THREADS / COLUMNS);
      next.x[i] = at >= 0 && c < C ? sample[c * x_channel + at] : 0;
    }
  };
  auto store = [&](const Load& next) {
    for (int i = 0; i < W_EACH; i++)
      w_tile[(t / DEPTH + i * (THREADS / DEPTH)) * W_STEP + t % DEPTH] = wmma::__float_to_tf32(next.w[i]);
    for (int i = 0; i < X_EACH; i++)
      x_tile[(first_row + i * (THREADS / COLUMNS)) * X_STEP + column] = wmma::__float_to_tf32(next.x[i]);
  };

  const int warp_row = warp / 4 * 32, warp_column = warp % 4 * 32;
  Sum sum[2][2];
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) wmma::fill_fragment(sum[i][j], 0.0f);

  Load next;
  load(0, next);
  for (int step = 0; step < steps; step++) {
    store(next);
    __syncthreads(); // the tiles are there
    if (step + 1 < steps) load(step + 1, next);
    for (int d = 0; d < DEPTH; d += 8) {
      Left left[2];
      Right right[2];
      for (int i = 0; i < 2; i++)
        wmma::load_matrix_sync(left[i], w_tile + (warp_row + 16 * i) * W_STEP + d, W_STEP);
      for (int j = 0; j < 2; j++)
        wmma::load_matrix_sync(right[j], x_tile + d * X_STEP + warp_column + 16 * j, X_STEP);
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) wmma::mma_sync(sum[i][j], left[i], right[j], sum[i][j]);
    }
    __syncthreads(); // nobody reads the tiles any more
  }

  // Through shared memory to y: only what exists of the tile is written, in runs of COLUMNS.
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++)
      wmma::store_matrix_sync(shared + (warp_row + 16 * i) * X_STEP + warp_column + 16 * j, sum[i][j], X_STEP,
                              wmma::mem_row_major);
  __syncthreads();
  for (int row = first_row; row < ROWS && first_f + row < F; row += THREADS / COLUMNS)
    if (real) y[(first_f + row) * positions + m] = shared[row * X_STEP + column];
}
