// Sums and relus of maps, entry by entry.
//
//     added       y[n,c,p] = a[n,c,p] + b[n,c,p]            a residual connection
//     shifted     y[n,c,p] = a[n,c,p] + b[c]                a bias
//     rectified   y[n,c,p] = max(x[n,c,p], 0)
//     gated       y[n,c,p] = x[n,c,p] where gate[n,c,p] > 0, else slope * x[n,c,p]      what a relu does to gradients
//
// CuPy can do all of these, but hands out rows one after another, (N, C, *size) in C order. Convolutions work on
// matrices (C, N * P): those of a single tap would have to copy such an input first. These write y as (C, N, *size).
//
// Threads: x counts positions (n * CELLS + p), y channels; neighbours read and write neighbours. Bytes: each array
// once, and that is all there is to time.

typedef long long Step; // from sample to sample or channel to channel of an array, in elements

struct At { // what a thread works on
  long long n, p;
  bool exists;
};

__device__ At here(long long samples) {
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  return {i / CELLS, i % CELLS, i < samples * CELLS};
}

extern "C" __global__ void added(T *y, Step yn, Step yc, const T *a, Step an, Step ac, const T *b, Step bn, Step bc,
                                 long long samples, long long channels) {
  At at = here(samples);
  if (!at.exists) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y)
    y[at.n * yn + c * yc + at.p] = a[at.n * an + c * ac + at.p] + b[at.n * bn + c * bc + at.p];
}

extern "C" __global__ void shifted(T *y, Step yn, Step yc, const T *a, Step an, Step ac, const T *b, Step b_step,
                                   long long samples, long long channels) {
  At at = here(samples);
  if (!at.exists) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y)
    y[at.n * yn + c * yc + at.p] = a[at.n * an + c * ac + at.p] + b[c * b_step];
}

extern "C" __global__ void rectified(T *y, Step yn, Step yc, const T *x, Step xn, Step xc, long long samples,
                                     long long channels) {
  At at = here(samples);
  if (!at.exists) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    T value = x[at.n * xn + c * xc + at.p];
    y[at.n * yn + c * yc + at.p] = value < 0 ? (T)0 : value; // a NaN stays one
  }
}

extern "C" __global__ void gated(T *y, Step yn, Step yc, const T *x, Step xn, Step xc, const T *gate, Step gn, Step gc,
                                 double slope, long long samples, long long channels) {
  At at = here(samples);
  if (!at.exists) return;
  for (long long c = blockIdx.y; c < channels; c += gridDim.y) {
    T value = x[at.n * xn + c * xc + at.p];
    y[at.n * yn + c * yc + at.p] = gate[at.n * gn + c * gc + at.p] > 0 ? value : (T)slope * value;
  }
}
