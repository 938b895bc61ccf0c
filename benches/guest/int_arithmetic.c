/* Arithmetic alone: division, multiplication of long numbers, chains of carries, plain ALU work,
 * and the C library's string functions. */
#include "measure.h"

NOINLINE static void divide(uint64_t n) {
    uint64_t x = ~0ull / 3, y = 12345;
    while (n--)
        for (uint64_t i = 0; i < 100; i++) {
            x = x / y + 0x123456789abcdefull * (i + 1);
            y = (x % 1000003) | 1;
        }
    sink = x + y;
}

static uint64_t factor_1[32], factor_2[32], product[64];

static int prepare_long(void) {
    uint64_t seed = 5;
    for (int i = 0; i < 32; i++) {
        factor_1[i] = next_random(&seed);
        factor_2[i] = next_random(&seed);
    }
    return 0;
}

NOINLINE static void multiply_long(uint64_t n) {
    while (n--) {
        memset(product, 0, sizeof product);
        for (int i = 0; i < 32; i++) {
            uint64_t carry = 0;
            for (int j = 0; j < 32; j++) {
                unsigned __int128 t =
                    (unsigned __int128)factor_1[i] * factor_2[j] + product[i + j] + carry;
                product[i + j] = (uint64_t)t;
                carry = (uint64_t)(t >> 64);
            }
            product[i + 32] = carry;
        }
        factor_1[n & 31] ^= product[40];
    }
    sink = product[13];
}

/* ADC of each word; neither LEA nor DEC touches the carry. */
NOINLINE static void carry_chain(uint64_t n) {
    while (n--) {
        uint64_t at = 0, count = 32;
        __asm__ volatile("clc\n"
                         "1: mov (%2,%0,8),%%rax\n"
                         "adc (%3,%0,8),%%rax\n"
                         "mov %%rax,(%2,%0,8)\n"
                         "lea 1(%0),%0\n"
                         "dec %1\n"
                         "jnz 1b\n"
                         : "+r"(at), "+r"(count)
                         : "r"(factor_1), "r"(factor_2)
                         : "rax", "cc", "memory");
    }
    sink = factor_1[0];
}

NOINLINE static void eight_instructions(uint64_t n) {
    uint64_t a = 1, b = 2, c = 3, d = 4;
    while (n--)
        for (int i = 0; i < 256; i++)
            __asm__ volatile("add %1,%0\n"
                             "xor %2,%1\n"
                             "rol $7,%2\n"
                             "sub %0,%3\n"
                             "lea (%0,%1,4),%2\n"
                             "imul $3,%3,%3\n"
                             "not %0\n"
                             "shr $1,%1\n"
                             : "+r"(a), "+r"(b), "+r"(c), "+r"(d)::"cc");
    sink = a + b + c + d;
}

NOINLINE static void strings(uint64_t n) {
    static char dog[64] = "the quick brown fox jumps over the lazy dog";
    static char cat[64] = "the quick brown fox jumps over the lazy cat";
    uint64_t sum = 0;
    while (n--) {
        __asm__ volatile("" ::"r"(dog), "r"(cat) : "memory");
        sum += strlen(dog);
        sum += strcmp(dog, cat) > 0;
        sum += memchr(dog, 'z', 60) != NULL;
        sum += strstr(dog, "lazy") != NULL;
    }
    sink = sum;
}

const struct measure int_arithmetic[] = {
    {"int.div64", divide, 100, NULL, NULL},
    {"int.bignum2048", multiply_long, 0, prepare_long, NULL},
    {"int.adc_chain32", carry_chain, 0, prepare_long, NULL},
    {"int.strops", strings, 0, NULL, NULL},
    {"int.alu_8insn", eight_instructions, 256 * 8, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
