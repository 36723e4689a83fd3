// Non-maximum suppression of N boxes (N, 4), best first: box i is kept if no kept box before it overlaps it too much.
//
//     suppressed     bit j of mask[i, w] = does box i suppress box 64 w + j: i < 64 w + j, one class, IoU > threshold
//     scan           kept[0 .. count] = the boxes that no kept one suppresses
//
// All pairs at once, N^2 / 2 comparisons of about 20 operations, then one pass that only ORs words: the decisions depend
// on each other, the comparisons do not. A mask of bits is N^2 / 8 bytes, 12.5 MB for 10,000 boxes. The scan stays on the
// device so that nothing but the kept boxes goes back; it is one block, because each word of 64 boxes waits for the last.
// No atomics: each word has one writer.

// Rounded before they are added up: fused into one multiply-add, a pair at exactly the threshold would be decided in
// another way here than by NumPy.
__device__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ double times(double a, double b) { return __dmul_rn(a, b); }

__device__ T positive(T x) { return x > 0 ? x : 0; }

__device__ T area(const T *box) { return times(positive(box[2] - box[0]), positive(box[3] - box[1])); }

__device__ bool overlap(const T *a, const T *b, T threshold) {
  T x1 = a[0] > b[0] ? a[0] : b[0], y1 = a[1] > b[1] ? a[1] : b[1];
  T x2 = a[2] < b[2] ? a[2] : b[2], y2 = a[3] < b[3] ? a[3] : b[3];
  T shared = times(positive(x2 - x1), positive(y2 - y1)), all = area(a) + area(b) - shared;
  return all != 0 && shared / all > threshold;
}

// Block (w, v) of 64 threads: boxes 64 v + thread against boxes 64 w .. 64 w + 63. Words left of the diagonal are not read.
extern "C" __global__ void suppressed(unsigned long long *mask, const T *boxes, const long long *classes,
                                      long long count, double threshold) {
  __shared__ T box[64][4];
  __shared__ long long class_of[64];
  if (blockIdx.x < blockIdx.y) return;
  long long first = 64LL * blockIdx.x, i = 64LL * blockIdx.y + threadIdx.x, j = first + threadIdx.x;
  if (j < count) {
    for (int k = 0; k < 4; ++k) box[threadIdx.x][k] = boxes[4 * j + k];
    class_of[threadIdx.x] = classes[j];
  }
  __syncthreads();
  if (i >= count) return;
  unsigned long long bits = 0;
  for (int k = 0; k < 64 && first + k < count; ++k) {
    bool of_class = classes[i] == class_of[k];
    if (i < first + k && of_class && overlap(boxes + 4 * i, box[k], threshold)) bits |= 1ULL << k;
  }
  mask[i * gridDim.x + blockIdx.x] = bits;
}

// One block. Word after word: one thread decides its 64 boxes, then all threads add what the kept ones suppress to the
// words behind it, a word each. `removed` has a word for every 64 boxes.
extern "C" __global__ void scan(long long *kept, long long *found, unsigned long long *removed,
                                const unsigned long long *mask, long long count) {
  __shared__ unsigned long long among[64]; // what each box of the word suppresses within it
  __shared__ unsigned long long keeps;
  long long words = (count + 63) / 64, n = 0;
  for (long long w = threadIdx.x; w < words; w += blockDim.x) removed[w] = 0;
  for (long long word = 0; word < words; ++word) {
    long long first = 64 * word;
    if (threadIdx.x < 64 && first + threadIdx.x < count) among[threadIdx.x] = mask[(first + threadIdx.x) * words + word];
    __syncthreads(); // removed and among are complete
    if (threadIdx.x == 0) {
      unsigned long long gone = removed[word];
      keeps = 0;
      for (int k = 0; k < 64 && first + k < count; ++k) {
        if (gone >> k & 1) continue;
        keeps |= 1ULL << k;
        gone |= among[k];
        kept[n++] = first + k;
      }
    }
    __syncthreads(); // keeps is known
    for (long long w = word + 1 + threadIdx.x; w < words; w += blockDim.x) {
      unsigned long long gone = removed[w];
      for (int k = 0; k < 64; ++k) {
        if (keeps >> k & 1) gone |= mask[(first + k) * words + w];
      }
      removed[w] = gone;
    }
  }
  if (threadIdx.x == 0) found[0] = n;
}
