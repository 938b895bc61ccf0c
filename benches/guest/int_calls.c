/* Calls and returns, calls through pointers, and branches that cannot be predicted. */
#include "measure.h"

NOINLINE static uint64_t fibonacci(uint64_t x) {
    __asm__ volatile("");
    return x < 2 ? x : fibonacci(x - 1) + fibonacci(x - 2);
}

static void recursion(uint64_t n) {
    while (n--)
        sink = fibonacci(24);
}

typedef uint64_t (*operation)(uint64_t);
#define OPERATION(k, result)                                                                       \
    NOINLINE static uint64_t operation_##k(uint64_t x) {                                           \
        return result;                                                                             \
    }
OPERATION(0, x + 1)
OPERATION(1, x * 3)
OPERATION(2, x ^ 0x55)
OPERATION(3, x >> 1)
OPERATION(4, x + 7)
OPERATION(5, x - 9)
OPERATION(6, ~x)
OPERATION(7, x << 1)
OPERATION(8, x + 11)
OPERATION(9, x * 5)
OPERATION(10, x ^ 0xaa)
OPERATION(11, x - 1)
OPERATION(12, x + 13)
OPERATION(13, x ^ (x >> 3))
OPERATION(14, x + 2)
OPERATION(15, x * 7)
static operation volatile operations[16] = {operation_0,  operation_1,  operation_2,  operation_3,
                                            operation_4,  operation_5,  operation_6,  operation_7,
                                            operation_8,  operation_9,  operation_10, operation_11,
                                            operation_12, operation_13, operation_14, operation_15};

NOINLINE static void through_pointers(uint64_t n) {
    uint64_t x = 1, seed = 777;
    while (n--)
        for (int i = 0; i < 1000; i++)
            x = operations[next_random(&seed) & 15](x);
    sink = x;
}

NOINLINE static void branchy(uint64_t n) {
    uint64_t seed = 31337, c = 0;
    while (n--)
        for (int i = 0; i < 1000; i++) {
            uint64_t x = next_random(&seed);
            if (x & 1) {
                if (x & 2)
                    c += 3;
                else if (x & 4)
                    c ^= x;
                else
                    c -= x >> 3;
            } else if (x & 8) {
                if (x & 16)
                    c = c * 5;
                else
                    c += x;
            } else
                c = (c << 1) | (c >> 63);
            __asm__ volatile("" : "+r"(c));
        }
    sink = c;
}

const struct measure int_calls[] = {
    {"int.fib24_callret", recursion, 0, NULL, NULL},
    {"int.icall", through_pointers, 1000, NULL, NULL},
    {"int.branchy", branchy, 1000, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
