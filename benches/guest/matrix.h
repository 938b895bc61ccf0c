/* One loop, compiled once for each extension of the instruction set. */
#ifndef MATRIX_H
#define MATRIX_H
#include <stdint.h>

/* c += a * b for square matrices. */
#define MULTIPLY(a, b, c, size)                                                                    \
    for (int i = 0; i < (size); i++)                                                               \
        for (int k = 0; k < (size); k++) {                                                         \
            double t = (a)[i * (size) + k];                                                        \
            for (int j = 0; j < (size); j++)                                                       \
                (c)[i * (size) + j] += t * (b)[k * (size) + j];                                    \
        }

void multiply_avx2(const double *a, const double *b, double *c, int size);
void multiply_fma(const double *a, const double *b, double *c, int size);
void mix_avx2(int32_t *a, const int32_t *b, int count);
#endif
