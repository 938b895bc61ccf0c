/* Integers in vectors: a sum, a shift and an exclusive or over 16 KiB. */
#include "matrix.h"
#include "measure.h"

#define COUNT 4096
static int32_t a[COUNT], b[COUNT];

static int prepare_avx2(void) {
    __builtin_cpu_init();
    return !__builtin_cpu_supports("avx2");
}

NOINLINE static void with_sse2(uint64_t n) {
    while (n--) {
        for (int i = 0; i < COUNT; i++) {
            int32_t x = a[i] + b[i];
            a[i] = (x ^ (x >> 3)) << 1;
        }
        CLOBBER(a);
    }
    sink = (uint64_t)a[7];
}

static void with_avx2(uint64_t n) {
    while (n--)
        mix_avx2(a, b, COUNT);
    sink = (uint64_t)a[7];
}

const struct measure simd[] = {
    {"simd.int32_sse2_4096", with_sse2, COUNT, NULL, NULL},
    {"simd.int32_avx2_4096", with_avx2, COUNT, prepare_avx2, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
