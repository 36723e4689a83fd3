// Runs the text of a .cu file on the CPU: compile it by g++ with `-include cuda_on_cpu.h`.
//
// Each CUDA thread of a block is a fibre, started by ucontext and resumed by longjmp (swapcontext would call the operating
// system each time); a barrier is a switch to the next one, so threads run one at a time and in a known order, ascending
// or descending: what depends on the order shows in one of the two. Blocks run one after another in the same order.
// Shared memory holds 0xFF bytes (NaN, or -1) when a block starts. A barrier that not every thread of the block reaches,
// or an index outside of an array whose length is known, ends the launch.
#pragma once
#include <utility>
#undef _GLIBCXX_USE_STD_SPEC_FUNCS // Bessel functions and their like, which take longer to compile than all else here
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#undef INFINITY // NVRTC has neither
#undef NAN

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static __attribute__((section("shared"), used))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __syncthreads() cuda_on_cpu::wait(cuda_on_cpu::BLOCK, __LINE__)
#define __syncwarp() cuda_on_cpu::wait(cuda_on_cpu::WARP, __LINE__)

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(16) double2 { double x, y; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

template <class A, class B> static inline auto min(A a, B b) { return b < a ? b : a; }
template <class A, class B> static inline auto max(A a, B b) { return a < b ? b : a; }

extern char __start_shared[] __attribute__((weak, visibility("hidden"))); // both from the linker
extern char __stop_shared[] __attribute__((weak, visibility("hidden")));

namespace cuda_on_cpu {

enum Scope { RUNNING, BLOCK, WARP, ENDED }; // what a thread waits for
struct Fibre { ucontext_t context; jmp_buf place; void *stack; bool begun; };
struct Thread { Scope scope; int line; Fibre *fibre; };

static const int MOST = 1024, STACK = 64 << 10;
static Thread threads[MOST]; // of the block that runs
static int size; // of a block
static Fibre fibres[MOST]; // kept from block to block; a fibre runs one thread after another until one waits
static int made; // how many of them there are
static jmp_buf scheduler;
static Fibre *fibre; // the one that runs
static int current, started; // a thread's number; how many have been started
static bool descending, failed;
static void (*run_kernel)(void *);
static void *kernel_and_arguments;
static char *message; // 1024 characters, empty until something is wrong

static uint3 position(unsigned i, dim3 size) { return {i % size.x, i / size.x % size.y, i / size.x / size.y}; }
static int in_order(int i, int n) { return descending ? n - 1 - i : i; }

static void resume(Fibre *next) {
  fibre = next;
  if (_setjmp(scheduler)) return; // it has stopped
  if (next->begun) _longjmp(next->place, 1);
  next->begun = true;
  setcontext(&next->context);
}

static void fail(const char *format, ...) { // about the current thread, which stops here, and with it the launch
  va_list arguments;
  va_start(arguments, format);
  int length = snprintf(message, 1024, "block (%u, %u, %u), thread (%u, %u, %u): ", blockIdx.x, blockIdx.y, blockIdx.z,
                        threadIdx.x, threadIdx.y, threadIdx.z);
  vsnprintf(message + length, 1024 - length, format, arguments);
  va_end(arguments);
  failed = true;
}

static void stop() {
  if (!_setjmp(fibre->place)) _longjmp(scheduler, 1);
}

static void wait(Scope scope, int line) {
  threads[current].scope = scope, threads[current].line = line;
  stop();
}

static void enter(int thread) {
  current = thread;
  threadIdx = position(thread, blockDim);
  threads[thread].scope = RUNNING;
}

static void work() { // the life of a fibre
  for (;; stop())
    while (started < size) {
      enter(in_order(started++, size));
      threads[current].fibre = fibre;
      run_kernel(kernel_and_arguments);
      threads[current].scope = ENDED;
    }
}

static Fibre *free_fibre(int i) {
  Fibre &f = fibres[i];
  if (i >= made) {
    if (!f.stack) f.stack = malloc(STACK);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack, f.context.uc_stack.ss_size = STACK;
    makecontext(&f.context, work, 0);
    f.begun = false, made = i + 1;
  }
  return &f;
}

static bool all_wait(int first, int last, Scope scope) { // threads that ended do not count for a warp's barrier
  int line = 0;
  for (int i = first; i < last; i++) {
    const Thread &t = threads[i];
    if (scope == WARP && t.scope == ENDED) continue;
    if (t.scope != scope || (line && t.line != line)) return false;
    line = t.line;
  }
  return line != 0;
}

static void explain_barrier() { // some threads wait, and not all of them at one barrier
  int waits = 0, other = 0;
  while (threads[waits].scope == ENDED) waits++;
  const Thread &a = threads[waits];
  while (other < size && threads[other].scope == a.scope && threads[other].line == a.line) other++;
  uint3 b = position(other, blockDim);
  threadIdx = position(waits, blockDim);
  const char *name = a.scope == WARP ? "__syncwarp" : "__syncthreads";
  if (threads[other].scope == ENDED)
    fail("waits at %s (line %d) for thread (%u, %u, %u), which ended without it", name, a.line, b.x, b.y, b.z);
  else
    fail("waits at %s (line %d), thread (%u, %u, %u) at line %d", name, a.line, b.x, b.y, b.z, threads[other].line);
}

static void run_block(unsigned number) {
  blockIdx = position(number, gridDim);
  if (__start_shared) memset(__start_shared, 0xFF, __stop_shared - __start_shared);
  started = 0;
  for (int i = 0; started < size && !failed; i++) resume(free_fibre(i));
  while (!failed) {
    int ready[MOST], count = 0;
    bool together = all_wait(0, size, BLOCK);
    for (int i = 0; i < size; i++) {
      int thread = in_order(i, size), warp = thread / 32 * 32;
      if (threads[thread].scope != ENDED && (together || all_wait(warp, min(warp + 32, size), WARP)))
        ready[count++] = thread;
    }
    if (!count) break;
    for (int i = 0; i < count && !failed; i++) {
      enter(ready[i]);
      resume(threads[ready[i]].fibre);
    }
  }
  for (int i = 0; i < size && !failed; i++)
    if (threads[i].scope != ENDED) explain_barrier();
}

template <class... A, size_t... I>
static void launch(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
  auto call = [=] { kernel(*static_cast<A *>(arguments[I])...); };
  run_kernel = [](void *f) { (*static_cast<decltype(call) *>(f))(); };
  kernel_and_arguments = &call;
  unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  for (unsigned i = 0; i < blocks && !failed; i++) run_block(in_order(i, blocks));
}

// geometry: gridDim x, y, z, then blockDim; order: 1 ascending, -1 descending. An empty message means all went well.
template <class... A>
static void launch(void (*kernel)(A...), const unsigned *geometry, int order, void **arguments, char *text) {
  gridDim = {geometry[0], geometry[1], geometry[2]}, blockDim = {geometry[3], geometry[4], geometry[5]};
  size = blockDim.x * blockDim.y * blockDim.z;
  descending = order < 0, failed = false, message = text, *text = 0;
  launch(kernel, arguments, std::index_sequence_for<A...>());
  if (failed) made = 0; // they stand in the middle of a kernel
}

} // namespace cuda_on_cpu

#define LAUNCHER(kernel)                                                                                      \
  extern "C" __global__ void launch_##kernel(const unsigned *geometry, int order, void **arguments, char *text) { \
    cuda_on_cpu::launch(kernel, geometry, order, arguments, text);                                            \
  }

// g++ -fsanitize=bounds calls this where an index leaves an array of known length.
extern "C" __attribute__((visibility("hidden"), used)) void __ubsan_handle_out_of_bounds(void *where, long index) {
  struct Where { const char *file; unsigned line, column; };
  cuda_on_cpu::fail("index %ld is outside of the array (line %u)", index, static_cast<Where *>(where)->line);
  cuda_on_cpu::stop();
}

// What CUDA has without headers, and C++ has not.
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class To, class From> static inline To bits(From x) {
  To y;
  static_assert(sizeof x == sizeof y, "");
  memcpy(&y, &x, sizeof x);
  return y;
}
static inline int __float_as_int(float x) { return bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return bits<unsigned>(x); }
static inline float __int_as_float(int x) { return bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return bits<float>(x); }
static inline long long __double_as_longlong(double x) { return bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return bits<double>(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rsqrt(float x) { return 1 / sqrtf(x); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
#define __expf expf // glibc has these names for itself
#define __logf logf
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __fmul_rn(float x, float y) { return x * y; } // never contracted into a fused multiply-add
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
