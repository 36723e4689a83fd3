// One step of an optimiser for all parameters of a group, in one launch.
//
// The weights w lie one after another in a flat array, and so do the arrays of the state (the momentum v; Adam's m and
// v). The new weights go to another flat array, so that values taken before the step keep their numbers. Gradients stay
// where the backward pass left them: `gradients` (parameters,) holds their addresses, 0 where a parameter has none.
//
// Threads: a block takes the entries of one parameter, 1024 of them at most. Row b of `table` (blocks, 4) says which:
// the parameter, where the block's entries start in the flat arrays, where in the gradient, and how many they are.
// A network has hundreds of parameters, most of them small: a launch for each would cost more than the work.
//
// Bytes: w and g are read, w' is written, each array of the state is read and written; nothing is touched twice.
// `scalars` (parameters, k) holds what differs from parameter to parameter, as each counts its own steps.

const int THREADS = 256;

struct Part { // the entries of a block
  long long parameter, start, start_of_gradient, count;
};

__device__ Part part_of(const long long *table) {
  const long long *row = table + 4 * blockIdx.x;
  return {row[0], row[1], row[2], row[3]};
}

__device__ const T *gradient_of(const long long *gradients, Part part) {
  long long address = gradients[part.parameter];
  return address ? (const T *)address + part.start_of_gradient : 0;
}

__device__ void keep(const T *w, T *next, Part part) {
  for (int i = threadIdx.x; i < part.count; i += THREADS) next[part.start + i] = w[part.start + i];
}

// g := g + decay * w;  v := momentum * v + share * g;  w := w - lr * (v, or with nesterov g + momentum * v).
// share (scalar 0) is 1 at first, then 1 - dampening. Without momentum v is g, and no array.
extern "C" __global__ void sgd(const T *w, T *next, T *v, const long long *gradients, const double *scalars,
                               const long long *table, double lr, double momentum, double decay, long long nesterov) {
  Part part = part_of(table);
  const T *gradient = gradient_of(gradients, part);
  if (!gradient) return keep(w, next, part);
  T rate = (T)lr, mu = (T)momentum, share = (T)scalars[part.parameter];
  for (int i = threadIdx.x; i < part.count; i += THREADS) {
    long long at = part.start + i;
    T g = gradient[i] + (T)decay * w[at], step = g;
    if (momentum != 0) {
      v[at] = step = mu * v[at] + share * g;
      if (nesterov) step = g + mu * step;
    }
    next[at] = w[at] - rate * step;
  }
}

// m := b1 m + (1 - b1) g;  v := b2 v + (1 - b2) g^2;  w := w - rate * m / (sqrt(v) / deviation + eps),
// rate = lr / (1 - b1^t) (scalar 0) and deviation = sqrt(1 - b2^t) (scalar 1) at step t. With amsgrad the largest v so
// far takes the place of v. First w := factor * w (decoupled weight decay) or g := g + decay * w.
extern "C" __global__ void adam(const T *w, T *next, T *m, T *v, T *largest, const long long *gradients,
                                const double *scalars, const long long *table, double b1, double b2, double eps,
                                double factor, double decay, long long amsgrad) {
  Part part = part_of(table);
  const T *gradient = gradient_of(gradients, part);
  if (!gradient) return keep(w, next, part);
  T beta1 = (T)b1, rest1 = (T)(1 - b1), beta2 = (T)b2, rest2 = (T)(1 - b2);
  T rate = (T)scalars[2 * part.parameter], deviation = (T)scalars[2 * part.parameter + 1];
  for (int i = threadIdx.x; i < part.count; i += THREADS) {
    long long at = part.start + i;
    T g = gradient[i] + (T)decay * w[at];
    T mean = m[at] = beta1 * m[at] + rest1 * g, square = v[at] = beta2 * v[at] + rest2 * g * g;
    if (amsgrad) square = largest[at] = max(largest[at], square);
    next[at] = (T)factor * w[at] - rate * mean / (sqrt(square) / deviation + (T)eps);
  }
}
