// A window, as every kernel over one sees it: output o and tap k meet cell i where, along each axis,
//
//     i = STRIDE * o + DILATION * k - LOW        0 <= i < SIZE, 0 <= k < KERNEL, 0 <= o < OUTPUT
//
// There are three axes; a window of rank 1 or 2 has leading axes of one cell, and "% 1" lets the compiler drop them.
// Cells, taps and positions are numbered in C order. All of this is constant but o, k and i: where the loop over taps
// is unrolled so is k, and a division is a multiplication and a shift.

// The cell that tap k of the window at position o meets; -1 if that is padding.
__device__ int cell(int o, int k) {
  int i0 = STRIDE[0] * (o / OUTPUT[2] / OUTPUT[1] % OUTPUT[0]) + DILATION[0] * (k / KERNEL[2] / KERNEL[1]) - LOW[0];
  int i1 = STRIDE[1] * (o / OUTPUT[2] % OUTPUT[1]) + DILATION[1] * (k / KERNEL[2] % KERNEL[1]) - LOW[1];
  int i2 = STRIDE[2] * (o % OUTPUT[2]) + DILATION[2] * (k % KERNEL[2]) - LOW[2];
  bool inside = 0 <= i0 && i0 < SIZE[0] && 0 <= i1 && i1 < SIZE[1] && 0 <= i2 && i2 < SIZE[2];
  return inside ? (i0 * SIZE[1] + i1) * SIZE[2] + i2 : -1;
}

// The position of the window whose tap k meets cell i; -1 if there is none. Below, o0, o1, o2 are still times STRIDE.
__device__ int position(int i, int k) {
  int o0 = i / SIZE[2] / SIZE[1] % SIZE[0] + LOW[0] - DILATION[0] * (k / KERNEL[2] / KERNEL[1]);
  int o1 = i / SIZE[2] % SIZE[1] + LOW[1] - DILATION[1] * (k / KERNEL[2] % KERNEL[1]);
  int o2 = i % SIZE[2] + LOW[2] - DILATION[2] * (k % KERNEL[2]);
  bool whole = o0 % STRIDE[0] == 0 && o1 % STRIDE[1] == 0 && o2 % STRIDE[2] == 0;
  o0 /= STRIDE[0], o1 /= STRIDE[1], o2 /= STRIDE[2]; // exact, if whole
  bool inside = 0 <= o0 && o0 < OUTPUT[0] && 0 <= o1 && o1 < OUTPUT[1] && 0 <= o2 && o2 < OUTPUT[2];
  return whole && inside ? (o0 * OUTPUT[1] + o1) * OUTPUT[2] + o2 : -1;
}

// Loops over taps are unrolled, but for very many: code must stay small enough to compile soon and to be cached.
constexpr int UNROLL = TAPS <= 64 ? TAPS : 1;

typedef long long Step; // from sample to sample or channel to channel of an array, in elements
