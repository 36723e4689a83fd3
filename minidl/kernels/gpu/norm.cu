// Batch normalisation of x (N, C, *size), and the relu after it, in one kernel each way.
//
//   y[n,c,p]  = (x[n,c,p] - m) / sqrt(v + eps) * weight[c] + bias[c];  with relu: y = max(y, 0)
//   gx[n,c,p] = k * (g - mean of g - d * mean of (g * d) / (v + eps)),  d = x - m,  k = weight[c] / sqrt(v + eps)
//
// m and v are the mean and variance of channel c: of the batch, or given ones, through which no gradient flows (then
// gx = k * g). With relu, g counts only where y > 0; y is worked out from x once more, as x has to be read anyway.
//
// Bytes: memory sets the time. Forward x is read twice (moments, affine) and y written once; backward g and x are read
// twice (sums, gradient) and gx is written once: 8 passes over an array. A relu apart would add 2 + 3. Each pass is a
// kernel of its own, as all of a channel's sums must be known before its first entry can be computed.
//
// Threads: blockIdx.x is the channel, blockIdx.y a slice of its N * CELLS entries; neighbouring threads take
// neighbouring entries. A thread takes several, which pays for the square root at its start.
//
// Sums: each thread adds its entries in double, the threads of a block add up as a tree, and a second kernel adds up
// the slices as a tree. How many there are follows from the shape alone: the same bits every time, without atomics.
//
// Constants: CELLS, the entries of a map. Strides of n and c are arguments; spatial axes are in C order.

const int THREADS = 256;

struct Channel { // where a channel of an array lies
  long long start, step; // from sample to sample
};

__device__ Channel channel(int c, long long stride_n, long long stride_c) { return {c * stride_c, stride_n}; }

__device__ long long at(Channel a, int i) { return a.start + i / CELLS * a.step + i % CELLS; } // i = n * CELLS + p

struct Affine {
  T high, slope, shift; // (x - high) * slope + shift; `high` is the mean in T: where x is close, x - high is exact
  double low, inverse; // what `high` leaves of the mean; 1 / sqrt(v + eps)
};

__device__ Affine affine_of(int c, const double *mean, const double *var, const T *weight, const T *bias, double eps) {
  Affine f;
  f.inverse = 1 / sqrt(var[c] + eps);
  f.high = (T)mean[c];
  f.low = mean[c] - f.high;
  f.slope = (T)(f.inverse * weight[c]);
  f.shift = (T)(bias[c] - f.low * f.inverse * weight[c]);
  return f;
}

__device__ T apply(Affine f, T x) { return (x - f.high) * f.slope + f.shift; }

// A tree: 128 threads add the numbers of the other 128 to theirs, then 64 of the other 64, ... Sums of all in thread 0.
__device__ void add_up(double *a, double *b) {
  int t = threadIdx.x;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) {
      a[t] += a[t + half];
      b[t] += b[t + half];
    }
  }
}

// partial (2, C, slices): the sums of d and of d^2 for d = x - pivot. Any pivot gives the variance, as the mean square
// minus the squared mean of d; one of the entries keeps these two small beside the mean, so that they do not cancel.
extern "C" __global__ void partial_moments(const T *x, double *partial, long long xn, long long xc, long long count,
                                           long long span) {
  __shared__ double sum[THREADS], squares[THREADS];
  int c = blockIdx.x, t = threadIdx.x, slice = blockIdx.y;
  Channel xs = channel(c, xn, xc);
  double pivot = x[at(xs, 0)], s = 0, q = 0;
  int stop = min(count, (slice + 1) * span);
  for (int i = slice * span + t; i < stop; i += THREADS) {
    double d = x[at(xs, i)] - pivot;
    s += d;
    q += d * d;
  }
  sum[t] = s, squares[t] = q;
  add_up(sum, squares);
  if (t == 0) {
    partial[c * gridDim.y + slice] = sum[0];
    partial[(gridDim.x + c) * gridDim.y + slice] = squares[0];
  }
}

// The slices of both sums, one to a thread, and their totals in thread 0.
__device__ void add_slices(const double *partial, int slices, double *a, double *b) {
  int c = blockIdx.x, t = threadIdx.x;
  a[t] = t < slices ? partial[c * slices + t] : 0;
  b[t] = t < slices ? partial[(gridDim.x + c) * slices + t] : 0;
  add_up(a, b);
}

// mean and var (C,), one block per channel; x for the pivots.
extern "C" __global__ void moments(const T *x, const double *partial, double *mean, double *var, long long xc,
                                   long long count, long long slices) {
  __shared__ double sum[THREADS], squares[THREADS];
  int c = blockIdx.x;
  add_slices(partial, slices, sum, squares);
  if (threadIdx.x == 0) {
    double d = sum[0] / count; // the mean is so far from the pivot
    mean[c] = x[c * xc] + d;
    var[c] = max(squares[0] / count - d * d, 0.0);
  }
}

extern "C" __global__ void affine(const T *x, T *y, const double *mean, const double *var, const T *weight,
                                  const T *bias, double eps, long long relu, long long xn, long long xc, long long yn,
                                  long long yc, long long count) {
  int c = blockIdx.x, step = gridDim.y * THREADS;
  Channel xs = channel(c, xn, xc), ys = channel(c, yn, yc);
  Affine f = affine_of(c, mean, var, weight, bias, eps);
  for (int i = blockIdx.y * THREADS + threadIdx.x; i < count; i += step) {
    T value = apply(f, x[at(xs, i)]);
    y[at(ys, i)] = relu && value < 0 ? (T)0 : value;
  }
}

// partial (2, C, slices): the sums of g and of g * (x - mean).
extern "C" __global__ void partial_sums(const T *g, const T *x, double *partial, const double *mean, const double *var,
                                        const T *weight, const T *bias, double eps, long long relu, long long gn,
                                        long long gc, long long xn, long long xc, long long count, long long span) {
  __shared__ double plain[THREADS], weighted[THREADS];
  int c = blockIdx.x, t = threadIdx.x, slice = blockIdx.y;
  Channel gs = channel(c, gn, gc), xs = channel(c, xn, xc);
  Affine f = affine_of(c, mean, var, weight, bias, eps);
  double s = 0, w = 0;
  int stop = min(count, (slice + 1) * span);
  for (int i = slice * span + t; i < stop; i += THREADS) {
    T value = x[at(xs, i)];
    if (relu && !(apply(f, value) > 0)) continue;
    double share = g[at(gs, i)];
    s += share;
    w += share * (value - mean[c]);
  }
  plain[t] = s, weighted[t] = w;
  add_up(plain, weighted);
  if (t == 0) {
    partial[c * gridDim.y + slice] = plain[0];
    partial[(gridDim.x + c) * gridDim.y + slice] = weighted[0];
  }
}

// sums (2, C): the totals; and the gradients of weight and bias. One block per channel.
extern "C" __global__ void total_sums(const double *partial, double *sums, T *of_weight, T *of_bias, const double *var,
                                      double eps, long long slices) {
  __shared__ double plain[THREADS], weighted[THREADS];
  int c = blockIdx.x;
  add_slices(partial, slices, plain, weighted);
  if (threadIdx.x == 0) {
    sums[c] = plain[0];
    sums[gridDim.x + c] = weighted[0];
    of_weight[c] = (T)(weighted[0] / sqrt(var[c] + eps));
    of_bias[c] = (T)plain[0];
  }
}

// gx = k * g + slope * (x - mean) + shift; for given statistics k * g.
extern "C" __global__ void gradient(const T *g, const T *x, T *gx, const double *sums, const double *mean,
                                    const double *var, const T *weight, const T *bias, double eps, long long relu,
                                    long long given, long long gn, long long gc, long long xn, long long xc,
                                    long long yn, long long yc, long long count) {
  int c = blockIdx.x, step = gridDim.y * THREADS;
  Channel gs = channel(c, gn, gc), xs = channel(c, xn, xc), ys = channel(c, yn, yc);
  Affine f = affine_of(c, mean, var, weight, bias, eps);
  double k = f.inverse * weight[c], wide_slope = 0, wide_shift = 0;
  if (!given) {
    wide_slope = -k * f.inverse * f.inverse * sums[gridDim.x + c] / count;
    wide_shift = -k * sums[c] / count - wide_slope * f.low;
  }
  T factor = (T)k, slope = (T)wide_slope, shift = (T)wide_shift;
  for (int i = blockIdx.y * THREADS + threadIdx.x; i < count; i += step) {
    T share = g[at(gs, i)], value = given && !relu ? f.high : x[at(xs, i)];
    if (relu && !(apply(f, value) > 0)) share = 0;
    gx[at(ys, i)] = factor * share + slope * (value - f.high) + shift;
  }
}

// The running statistics of training: running := (1 - momentum) * running + momentum * factor * batch, (C,) each.
extern "C" __global__ void blend(T *running, const double *batch, double momentum, double factor, long long channels) {
  int c = blockIdx.x * THREADS + threadIdx.x;
  if (c < channels) running[c] = (T)((1 - momentum) * running[c] + momentum * factor * batch[c]);
}
