/* What is compiled with AVX2. */
#include "matrix.h"

void multiply_avx2(const double *a, const double *b, double *c, int size) {
    MULTIPLY(a, b, c, size)
}

void mix_avx2(int32_t *a, const int32_t *b, int count) {
    for (int i = 0; i < count; i++) {
        int32_t x = a[i] + b[i];
        a[i] = (x ^ (x >> 3)) << 1;
    }
    __asm__ volatile("" ::"r"(a) : "memory");
}
