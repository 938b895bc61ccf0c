/* A product of matrices of 96 by 96 in double precision, vectorized by the compiler. */
#include "matrix.h"
#include "measure.h"

#define SIZE 96
static double a[SIZE * SIZE], b[SIZE * SIZE], c[SIZE * SIZE];

static int prepare(void) {
    for (int i = 0; i < SIZE * SIZE; i++) {
        a[i] = i % 7 * 0.5;
        b[i] = i % 11 * 0.25;
    }
    return 0;
}

static int prepare_avx2(void) {
    __builtin_cpu_init();
    return prepare() || !__builtin_cpu_supports("avx2");
}

static int prepare_fma(void) {
    return prepare_avx2() || !__builtin_cpu_supports("fma");
}

NOINLINE static void with_sse2(uint64_t n) {
    while (n--) {
        memset(c, 0, sizeof c);
        MULTIPLY(a, b, c, SIZE)
        CLOBBER(c);
    }
    sink = (uint64_t)c[5];
}

static void with_avx2(uint64_t n) {
    while (n--) {
        memset(c, 0, sizeof c);
        multiply_avx2(a, b, c, SIZE);
    }
    sink = (uint64_t)c[5];
}

static void with_fma(uint64_t n) {
    while (n--) {
        memset(c, 0, sizeof c);
        multiply_fma(a, b, c, SIZE);
    }
    sink = (uint64_t)c[5];
}

const struct measure fp_matrix[] = {
    {"fp.matmul96_sse2", with_sse2, 0, prepare, NULL},
    {"fp.matmul96_avx2", with_avx2, 0, prepare_avx2, NULL},
    {"fp.matmul96_avx2fma", with_fma, 0, prepare_fma, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
