/* Loads each of which needs the one before: over cache lines, and over pages (how far the TLB
 * goes). */
#include "area.h"

static void *start;

/* One place of each of `count` strides, in random order and in one ring. */
static int prepare_ring(size_t count, size_t stride) {
    if (area_prepare())
        return 1;
    uint32_t *order = malloc(count * sizeof *order);
    if (!order)
        return 1;
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    uint64_t seed = 4242;
    /* Sattolo's shuffle. */
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = next_random(&seed) % i;
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    /* In pages the line changes too, or all would fall into one set of the cache. */
#define PLACE(i) (area_1 + order[i] * stride + (stride > 64 ? order[i] * 64 & (stride - 64) : 0))
    for (size_t i = 0; i < count; i++)
        *(void **)PLACE(i) = PLACE((i + 1) % count);
    start = PLACE(0);
    free(order);
    return 0;
}

static int lines_16k(void) {
    return prepare_ring((16 << 10) / 64, 64);
}
static int lines_512k(void) {
    return prepare_ring((512 << 10) / 64, 64);
}
static int lines_8m(void) {
    return prepare_ring((8 << 20) / 64, 64);
}
static int lines_64m(void) {
    return prepare_ring(AREA_BYTES / 64, 64);
}
static int pages_64(void) {
    return prepare_ring(64, 4096);
}
static int pages_512(void) {
    return prepare_ring(512, 4096);
}
static int pages_4096(void) {
    return prepare_ring(4096, 4096);
}
static int pages_16384(void) {
    return prepare_ring(16384, 4096);
}

NOINLINE static void chase(uint64_t n) {
    void *p = start;
    while (n--)
        for (int i = 0; i < 100; i++)
            p = *(void *volatile *)p;
    sink = (uint64_t)p;
}

const struct measure mem_chase[] = {
    {"mem.chase_16k", chase, 100, lines_16k, NULL},
    {"mem.chase_512k", chase, 100, lines_512k, NULL},
    {"mem.chase_8m", chase, 100, lines_8m, NULL},
    {"mem.chase_64m", chase, 100, lines_64m, NULL},
    {"mem.pagechase_64", chase, 100, pages_64, NULL},
    {"mem.pagechase_512", chase, 100, pages_512, NULL},
    {"mem.pagechase_4096", chase, 100, pages_4096, NULL},
    {"mem.pagechase_16384", chase, 100, pages_16384, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
