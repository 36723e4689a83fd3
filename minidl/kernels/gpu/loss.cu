// Softmax cross entropy of logits x (N, C, *size) with class numbers t (N, *size), and its gradient.
//
//   y[n,p]    = scale[n,p] * (log(sum over c of exp(x[n,c,p] - m)) - (x[n,t,p] - m)),  m = max over c of x[n,c,p]
//   gx[n,c,p] = g[n,p] * scale[n,p] * (exp(x[n,c,p] - m) / sum - [c = t])
//
// m changes nothing but that no exponential overflows. Where the scale is 0, y is 0 whatever the logits.
//
// Two ways to share the work; the host chooses by the shape:
//   by threads: one thread per position, a loop over the classes. Neighbouring threads read neighbouring positions of
//     one class, 32 of them in one access. For segmentation: many positions.
//   by blocks: one block per position, a class to each thread and then the 256th after it; maximum and sum are trees in
//     shared memory. For classification: the classes of an image lie side by side, and images are few.
// Either way x is read three times, or from the cache after the first, and gx written once.
//
// Sums are made in double, in an order that the number of classes fixes.
// Constants: CELLS, the positions of a map. Strides of n and c are arguments; y, g, scale and t are in C order.

const int THREADS = 256;

__device__ T largest(const T *x, long long step, int classes) {
  T m = x[0];
  for (int c = 1; c < classes; c++) m = max(m, x[c * step]);
  return m;
}

__device__ double sum_of_exponentials(const T *x, long long step, int classes, T m) {
  double sum = 0;
  for (int c = 0; c < classes; c++) sum += exp(x[c * step] - m);
  return sum;
}

extern "C" __global__ void forward_by_threads(const T *x, const long long *target, const T *scale, T *y, long long xn,
                                              long long xc, long long classes, long long positions) {
  long long i = (long long)blockIdx.x * THREADS + threadIdx.x; // n * CELLS + p
  if (i >= positions) return;
  const T *logits = x + i / CELLS * xn + i % CELLS;
  T m = largest(logits, xc, classes), s = scale[i];
  double sum = sum_of_exponentials(logits, xc, classes, m);
  y[i] = s == 0 ? (T)0 : s * ((T)log(sum) - (logits[target[i] * xc] - m));
}

extern "C" __global__ void backward_by_threads(const T *g, const T *x, const long long *target, const T *scale, T *gx,
                                               long long xn, long long xc, long long yn, long long yc,
                                               long long classes, long long positions) {
  long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i >= positions) return;
  const T *logits = x + i / CELLS * xn + i % CELLS;
  T *gradients = gx + i / CELLS * yn + i % CELLS;
  T m = largest(logits, xc, classes), share = g[i] * scale[i];
  T factor = share / (T)sum_of_exponentials(logits, xc, classes, m);
  for (int c = 0; c < classes; c++)
    gradients[c * yc] = factor * exp(logits[c * xc] - m) - (c == target[i] ? share : (T)0);
}

// The same with a block: every thread leaves with the result. A tree, 128 threads first, then 64, 32, ...
__device__ T block_largest(const T *x, long long step, int classes) {
  __shared__ T part[THREADS];
  int t = threadIdx.x;
  T m = x[0];
  for (int c = t; c < classes; c += THREADS) m = max(m, x[c * step]);
  part[t] = m;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part[t] = max(part[t], part[t + half]);
  }
  __syncthreads();
  return part[0];
}

__device__ double block_sum_of_exponentials(const T *x, long long step, int classes, T m) {
  __shared__ double part[THREADS];
  int t = threadIdx.x;
  double sum = 0;
  for (int c = t; c < classes; c += THREADS) sum += exp(x[c * step] - m);
  part[t] = sum;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part[t] += part[t + half];
  }
  __syncthreads();
  return part[0];
}

extern "C" __global__ void forward_by_blocks(const T *x, const long long *target, const T *scale, T *y, long long xn,
                                             long long xc, long long classes) {
  int i = blockIdx.x;
  const T *logits = x + i / CELLS * xn + i % CELLS;
  T m = block_largest(logits, xc, classes), s = scale[i];
  double sum = block_sum_of_exponentials(logits, xc, classes, m);
  if (threadIdx.x == 0) y[i] = s == 0 ? (T)0 : s * ((T)log(sum) - (logits[target[i] * xc] - m));
}

extern "C" __global__ void backward_by_blocks(const T *g, const T *x, const long long *target, const T *scale, T *gx,
                                              long long xn, long long xc, long long yn, long long yc,
                                              long long classes) {
  int i = blockIdx.x;
  const T *logits = x + i / CELLS * xn + i % CELLS;
  T *gradients = gx + i / CELLS * yn + i % CELLS;
  T m = block_largest(logits, xc, classes), share = g[i] * scale[i];
  T factor = share / (T)block_sum_of_exponentials(logits, xc, classes, m);
  for (int c = threadIdx.x; c < classes; c += THREADS)
    gradients[c * yc] = factor * exp(logits[c * xc] - m) - (c == target[i] ? share : (T)0);
}
