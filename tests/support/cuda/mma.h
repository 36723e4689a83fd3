// nvcuda::wmma for TF32 tiles of 16 x 16 x 8 on the CPU: what `#include <mma.h>` finds beside cuda_on_cpu.h.
//
// A fragment is spread over the 32 threads of a warp: entry i of thread l is entry 32 i + l of the tile, in the order
// of rows. (A GPU spreads it in another way, which no program may rely on.) Every function is a warp's barrier.
#pragma once

namespace nvcuda {
namespace wmma {

static inline float __float_to_tf32(float x) { // 10 bits of mantissa, ties away from zero
  return isfinite(x) ? __uint_as_float((__float_as_uint(x) + 0x1000u) & ~0x1FFFu) : x;
}

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
} // namespace precision

template <class Use> struct Tile;
template <> struct Tile<matrix_a> { enum { rows = 16, columns = 8 }; };
template <> struct Tile<matrix_b> { enum { rows = 8, columns = 16 }; };
template <> struct Tile<accumulator> { enum { rows = 16, columns = 16 }; };

template <class Use, int M, int N, int K, class Type, class Layout = void> struct fragment {
  static_assert(M == 16 && N == 16 && K == 8, "TF32 tiles are 16 x 16 x 8");
  enum { rows = Tile<Use>::rows, columns = Tile<Use>::columns, num_elements = rows * columns / 32 };
  float x[num_elements];
};

static inline int number() { return cuda_on_cpu::current; } // of the thread in its block
static inline int lane() { return number() % 32; }
static inline void meet(int line) { cuda_on_cpu::wait(cuda_on_cpu::WARP, -line); }

// Where entry i of this thread's fragment is in memory whose rows (or columns) stand `ldm` apart.
template <class F> static int offset(int i, unsigned ldm, bool by_rows) {
  int entry = 32 * i + lane(), row = entry / F::columns, column = entry % F::columns;
  return by_rows ? row * ldm + column : column * ldm + row;
}

static inline void check(const char *name, const float *p, unsigned ldm) {
  if (reinterpret_cast<size_t>(p) % 32 == 0 && ldm % 4 == 0) return;
  cuda_on_cpu::fail("%s needs a pointer aligned to 32 bytes and ldm a multiple of 4, got %p and %u", name, p, ldm);
  cuda_on_cpu::stop();
}

template <class F> static void load(F &tile, const float *p, unsigned ldm, bool by_rows) {
  check("load_matrix_sync", p, ldm);
  meet(__LINE__);
  for (int i = 0; i < F::num_elements; i++) tile.x[i] = p[offset<F>(i, ldm, by_rows)];
  meet(__LINE__);
}

template <class Use> static void load_matrix_sync(fragment<Use, 16, 16, 8, precision::tf32, row_major> &tile,
                                                  const float *p, unsigned ldm) { load(tile, p, ldm, true); }
template <class Use> static void load_matrix_sync(fragment<Use, 16, 16, 8, precision::tf32, col_major> &tile,
                                                  const float *p, unsigned ldm) { load(tile, p, ldm, false); }

using Sums = fragment<accumulator, 16, 16, 8, float>;

static inline void load_matrix_sync(Sums &tile, const float *p, unsigned ldm, layout_t layout) {
  load(tile, p, ldm, layout == mem_row_major);
}

static inline void store_matrix_sync(float *p, const Sums &tile, unsigned ldm, layout_t layout) {
  check("store_matrix_sync", p, ldm);
  meet(__LINE__);
  for (int i = 0; i < Sums::num_elements; i++) p[offset<Sums>(i, ldm, layout == mem_row_major)] = tile.x[i];
  meet(__LINE__);
}

template <class F> static void fill_fragment(F &tile, float value) {
  for (float &x : tile.x) x = value;
}

// d = a @ b + c. The tensor core reads the upper 19 bits of a float: what was not rounded before is cut off.
template <class A, class B> static void mma_sync(Sums &d, const fragment<matrix_a, 16, 16, 8, precision::tf32, A> &a,
                                                 const fragment<matrix_b, 16, 16, 8, precision::tf32, B> &b,
                                                 const Sums &c) {
  static float left[32][16 * 8], right[32][8 * 16]; // by warp
  const int warp = number() / 32;
  for (int i = 0; i < a.num_elements; i++) {
    left[warp][32 * i + lane()] = __uint_as_float(__float_as_uint(a.x[i]) & ~0x1FFFu);
    right[warp][32 * i + lane()] = __uint_as_float(__float_as_uint(b.x[i]) & ~0x1FFFu);
  }
  meet(__LINE__);
  for (int i = 0; i < c.num_elements; i++) {
    const int row = (32 * i + lane()) / 16, column = (32 * i + lane()) % 16;
    float sum = c.x[i];
    for (int k = 0; k < 8; k++) sum += left[warp][row * 8 + k] * right[warp][k * 16 + column];
    d.x[i] = sum;
  }
  meet(__LINE__);
}

} // namespace wmma
} // namespace nvcuda
