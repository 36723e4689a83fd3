// Regions of interest: each of R boxes is cut into P x Q bins; a bin and a channel give one number.
//
//     sample_weights     a[r, p, i] = what row i counts in the mean over the samples of bin p, one axis at a time
//     roi_align          y[r, c, p, q] = sum over i, j of a[r, p, i] * b[r, q, j] * x[n, c, i, j]        n = images[r]
//     roi_spread         y[n, c, i, j] = sum over r, p, q with images[r] = n of a[r, p, i] * b[r, q, j] * x[r, c, p, q]
//     roi_largest        y[r, c, p, q] = max over the cells i, j of the bin of x[n, c, i, j], at = the first of them, flat
//     roi_to_largest     y[n, c, i, j] = sum over r, p, q with images[r] = n and at[r, c, p, q] = i, j of x[r, c, p, q]
//
// A bilinear sample is linear along each axis, so the weights of a bin are a product: R * (P * H + Q * W) numbers are kept
// instead of R * P * Q * H * W. Beside them stands where they are: rows[r, p] and columns[r, q] are the first cell that
// counts and one past the last. For roi_largest and its adjoint they are the cells of the bin.
//
// Threads: x counts what is written within a channel, (r * P + p) * Q + q or n * H * W + cell, y counts channels. Forward
// a bin of side b costs (b + 2)^2 multiply-adds and reads; neighbours read the same cells, so from cache.
//
// Backward a cell asks every box whether it lies in it. Boxes overlap, and atomic additions would add up in another order
// in each run. So N * C * H * W threads look at R boxes and P rows of bins each, most of which say no at the first number,
// which the whole block reads at once: for 512 boxes and 256 maps of 50 x 50, 2e9 comparisons beside 2e8 multiply-adds,
// under a millisecond. Boxes are added up in their order.
constexpr int P = OUTPUT[0], Q = OUTPUT[1];

// Thread (r, p): the samples of one bin, in order. Each is shared by the two cells that it lies between.
extern "C" __global__ void sample_weights(T *weights, long long *ranges, const double *starts, const double *lengths,
                                          const long long *samples, long long boxes, long long bins, long long cells) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, r = thread / bins, p = thread % bins;
  if (r >= boxes) return;
  T *row = weights + thread * cells;
  for (long long i = 0; i < cells; ++i) row[i] = 0;
  long long first = cells, end = 0, count = samples[r];
  for (long long s = 0; s < count; ++s) {
    double position = starts[r] + p * lengths[r] + (s + 0.5) * lengths[r] / count;
    if (position < -1 || position > cells) continue; // more than a cell outside: the sample is 0
    position = position < 0 ? 0 : position > cells - 1 ? cells - 1 : position;
    long long low = position, high = low + 1 < cells ? low + 1 : low;
    double share = position - low;
    row[low] += (1 - share) / count;
    row[high] += share / count;
    first = low < first ? low : first;
    end = high >= end ? high + 1 : end;
  }
  ranges[2 * thread] = first;
  ranges[2 * thread + 1] = end;
}

extern "C" __global__ void roi_align(T *y, long long y_r, long long y_c, const T *x, long long x_n, long long x_c,
                                     const T *a, const long long *rows, const T *b, const long long *columns,
                                     const long long *images, long long boxes, long long channels,
                                     long long height, long long width) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, r = thread / (P * Q);
  if (r >= boxes) return;
  int bin = thread % (P * Q);
  long long p = r * P + bin / Q, q = r * Q + bin % Q; // a row of a, a row of b
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + images[r] * x_n + c * x_c;
    T sum = 0;
    for (long long i = rows[2 * p]; i < rows[2 * p + 1]; ++i) {
      T across = 0;
      for (long long j = columns[2 * q]; j < columns[2 * q + 1]; ++j) across += b[q * width + j] * map[i * width + j];
      sum += a[p * height + i] * across;
    }
    y[r * y_r + c * y_c + bin] = sum;
  }
}

extern "C" __global__ void roi_spread(T *y, long long y_n, long long y_c, const T *x, long long x_r, long long x_c,
                                      const T *a, const long long *rows, const T *b, const long long *columns,
                                      const long long *images, long long boxes, long long samples, long long channels,
                                      long long height, long long width) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / (height * width);
  if (n >= samples) return;
  long long cell = thread % (height * width), i = cell / width, j = cell % width;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    double sum = 0;
    for (long long r = 0; r < boxes; ++r) {
      if (images[r] != n) continue;
      for (long long p = r * P; p < r * P + P; ++p) {
        if (i < rows[2 * p] || i >= rows[2 * p + 1]) continue;
        const T *bins = x + r * x_r + c * x_c + (p - r * P) * Q;
        T across = 0;
        for (long long q = r * Q; q < r * Q + Q; ++q) {
          if (j >= columns[2 * q] && j < columns[2 * q + 1]) across += b[q * width + j] * bins[q - r * Q];
        }
        sum += a[p * height + i] * across;
      }
    }
    y[n * y_n + c * y_c + cell] = sum;
  }
}

extern "C" __global__ void roi_largest(T *y, long long y_r, long long y_c, long long *at, long long at_r, long long at_c,
                                       const T *x, long long x_n, long long x_c,
                                       const long long *rows, const long long *columns, const long long *images,
                                       long long boxes, long long channels, long long width) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, r = thread / (P * Q);
  if (r >= boxes) return;
  int bin = thread % (P * Q);
  long long p = r * P + bin / Q, q = r * Q + bin % Q;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    const T *map = x + images[r] * x_n + c * x_c;
    T largest = 0; // what an empty bin gives
    long long position = -1;
    for (long long i = rows[2 * p]; i < rows[2 * p + 1]; ++i) {
      for (long long j = columns[2 * q]; j < columns[2 * q + 1]; ++j) {
        T value = map[i * width + j];
        if (position < 0 || (!(value <= largest) && largest == largest)) { // a NaN wins, the first one
          largest = value;
          position = i * width + j;
        }
      }
    }
    y[r * y_r + c * y_c + bin] = largest;
    at[r * at_r + c * at_c + bin] = position;
  }
}

extern "C" __global__ void roi_to_largest(T *y, long long y_n, long long y_c, const T *x, long long x_r, long long x_c,
                                          const long long *at, long long at_r, long long at_c,
                                          const long long *rows, const long long *columns, const long long *images,
                                          long long boxes, long long samples, long long channels,
                                          long long height, long long width) {
  long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, n = thread / (height * width);
  if (n >= samples) return;
  long long cell = thread % (height * width), i = cell / width, j = cell % width;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    double sum = 0;
    for (long long r = 0; r < boxes; ++r) {
      if (images[r] != n) continue;
      for (long long p = 0; p < P; ++p) {
        if (i < rows[2 * (r * P + p)] || i >= rows[2 * (r * P + p) + 1]) continue;
        for (long long q = 0; q < Q; ++q) {
          if (j < columns[2 * (r * Q + q)] || j >= columns[2 * (r * Q + q) + 1]) continue;
          if (at[r * at_r + c * at_c + p * Q + q] == cell) sum += x[r * x_r + c * x_c + p * Q + q];
        }
      }
    }
    y[n * y_n + c * y_c + cell] = sum;
  }
}
