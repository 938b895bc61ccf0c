/* What is compiled with AVX2 and FMA. */
#include "matrix.h"

void multiply_fma(const double *a, const double *b, double *c, int size) {
    MULTIPLY(a, b, c, size)
}
