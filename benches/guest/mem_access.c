/* Plain loads and stores: in order, at random, a page apart, and across the ends of cache lines. */
#include "area.h"

static uint64_t read_words(size_t bytes, uint64_t sum) {
    const uint64_t *p = (const uint64_t *)area_1;
    for (size_t i = 0; i < bytes / 8; i += 4) {
        sum += p[i];
        sum ^= p[i + 1];
        sum += p[i + 2];
        sum ^= p[i + 3];
        __asm__ volatile("" : "+r"(sum));
    }
    return sum;
}

NOINLINE static void read_64m(uint64_t n) {
    uint64_t sum = 0;
    while (n--)
        sum = read_words(AREA_BYTES, sum);
    sink = sum;
}

NOINLINE static void read_l1(uint64_t n) {
    uint64_t sum = 0;
    while (n--)
        sum = read_words(16384, sum);
    sink = sum;
}

NOINLINE static void write_64m(uint64_t n) {
    while (n--) {
        uint64_t *p = (uint64_t *)area_2;
        for (size_t i = 0; i < AREA_BYTES / 8; i += 4) {
            p[i] = n;
            p[i + 1] = i;
            p[i + 2] = n;
            p[i + 3] = i;
            CLOBBER(p);
        }
    }
}

NOINLINE static void modify_l1(uint64_t n) {
    while (n--) {
        uint32_t *p = (uint32_t *)area_2;
        for (size_t i = 0; i < 16384 / 4; i++)
            __asm__ volatile("addl $1,%0" : "+m"(p[i])::"cc");
    }
}

NOINLINE static void random_bytes(uint64_t n) {
    uint64_t seed = 3, sum = 0;
    while (n--)
        for (int i = 0; i < 100; i++)
            sum += area_1[next_random(&seed) & (AREA_BYTES - 1)];
    sink = sum;
}

NOINLINE static void page_stride(uint64_t n) {
    uint64_t sum = 0;
    while (n--)
        for (size_t i = 0; i < AREA_BYTES; i += 4096 + 64)
            sum += *(volatile uint8_t *)(area_1 + i);
    sink = sum;
}

NOINLINE static void across_lines(uint64_t n) {
    uint64_t sum = 0;
    while (n--)
        for (size_t i = 61; i < 16384; i += 64)
            sum += *(volatile uint64_t *)(area_1 + i);
    sink = sum;
}

const struct measure mem_access[] = {
    {"mem.rand_byte_64m", random_bytes, 100, area_prepare, NULL},
    {"mem.page_stride_64m", page_stride, AREA_BYTES / 4160, area_prepare, NULL},
    {"mem.read8_64m", read_64m, 0, area_prepare, NULL},
    {"mem.write8_64m", write_64m, 0, area_prepare, NULL},
    {"mem.read8_l1", read_l1, 0, area_prepare, NULL},
    {"mem.rmw4_l1", modify_l1, 4096, area_prepare, NULL},
    {"mem.unaligned_line", across_lines, 256, area_prepare, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
