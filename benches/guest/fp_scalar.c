/* Floating point one number at a time: SSE2, the C library's functions, and the x87. */
#include "measure.h"
#include <math.h>

#define BODIES 5
static double position[BODIES][3], velocity[BODIES][3], mass[BODIES];

static void solar_system(void) {
    static const double START[BODIES][7] = {{0, 0, 0, 0, 0, 0, 39.478},
                                            {4.84, -1.16, -.103, .606, 2.81, -.02, .0377},
                                            {8.34, 4.12, -.403, -1.01, 1.82, .0084, .0113},
                                            {12.89, -15.11, -.223, 1.08, .868, -.0108, .0017},
                                            {15.37, -25.9, .179, .979, .594, -.034, .002}};
    for (int i = 0; i < BODIES; i++) {
        for (int k = 0; k < 3; k++) {
            position[i][k] = START[i][k];
            velocity[i][k] = START[i][k + 3];
        }
        mass[i] = START[i][6];
    }
}

NOINLINE static void n_body(uint64_t n) {
    solar_system();
    while (n--) {
        for (int i = 0; i < BODIES; i++)
            for (int j = i + 1; j < BODIES; j++) {
                double dx = position[i][0] - position[j][0], dy = position[i][1] - position[j][1],
                       dz = position[i][2] - position[j][2];
                double square = dx * dx + dy * dy + dz * dz + 1e-9;
                double pull = 0.001 / (square * sqrt(square));
                velocity[i][0] -= dx * mass[j] * pull;
                velocity[i][1] -= dy * mass[j] * pull;
                velocity[i][2] -= dz * mass[j] * pull;
                velocity[j][0] += dx * mass[i] * pull;
                velocity[j][1] += dy * mass[i] * pull;
                velocity[j][2] += dz * mass[i] * pull;
            }
        for (int i = 0; i < BODIES; i++)
            for (int k = 0; k < 3; k++)
                position[i][k] += 0.001 * velocity[i][k];
    }
    sink = (uint64_t)(int64_t)(position[0][0] * 1e6);
}

NOINLINE static void mandelbrot(uint64_t n) {
    uint64_t total = 0;
    while (n--)
        for (int row = 0; row < 32; row++)
            for (int column = 0; column < 32; column++) {
                double cx = column / 16.0 - 1.5, cy = row / 16.0 - 1.0, x = 0, y = 0;
                unsigned i = 0;
                while (i < 100 && x * x + y * y < 4) {
                    double t = x * x - y * y + cx;
                    y = 2 * x * y + cy;
                    x = t;
                    i++;
                }
                total += i;
            }
    sink = total;
}

NOINLINE static void x87(uint64_t n) {
    long double x = 1.0L, y = 0.5L;
    while (n--)
        for (int i = 0; i < 100; i++) {
            x = x * 1.0000001L + y;
            y = y / 1.0000003L - x * 1e-9L;
            if (x > 1e6L)
                x = 1;
        }
    sink = (uint64_t)(int64_t)x;
}

NOINLINE static void roots(uint64_t n) {
    double x = 1.5;
    while (n--)
        for (int i = 0; i < 100; i++)
            x = sqrt(x * 3.7 + 1.0) / 1.01;
    sink = (uint64_t)(x * 1e6);
}

NOINLINE static void conversions(uint64_t n) {
    double sum = 0;
    int64_t t = 0;
    while (n--)
        for (int i = 0; i < 100; i++) {
            sum += (double)(t + i);
            t = (int64_t)(sum * 0.25);
            if (sum > 1e12)
                sum = 0;
        }
    sink = (uint64_t)t;
}

NOINLINE static void library(uint64_t n) {
    double sum = 0, x = 0.1;
    while (n--) {
        sum += sin(x) + exp(x * 0.1) + log(x + 1) + pow(x, 1.3);
        x += 0.01;
        if (x > 50)
            x = .1;
        __asm__ volatile("" : "+x"(x));
    }
    sink = (uint64_t)(int64_t)sum;
}

const struct measure fp_scalar[] = {
    {"fp.nbody_step", n_body, 0, NULL, NULL},
    {"fp.mandel32x32", mandelbrot, 0, NULL, NULL},
    {"fp.sqrt_div", roots, 100, NULL, NULL},
    {"fp.cvt_int_dbl", conversions, 100, NULL, NULL},
    {"fp.libm_4fn", library, 0, NULL, NULL},
    {"fp.x87", x87, 100, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
