/* Copying and filling: the C library's functions, and the string instructions themselves.
 *
 * Those called noalias write an odd number of pages away from where they read: a software TLB that
 * looks at the low bits of a page's number alone has one place for both otherwise. */
#include "area.h"

#define ELSEWHERE (area_2 + (37 << 12))

NOINLINE static void copy_64m(uint64_t n) {
    while (n--) {
        memcpy(area_2, area_1, AREA_BYTES);
        CLOBBER(area_2);
    }
}

NOINLINE static void fill_64m(uint64_t n) {
    while (n--) {
        memset(area_2, (int)n, AREA_BYTES);
        CLOBBER(area_2);
    }
}

NOINLINE static void copy_16k(uint64_t n) {
    while (n--) {
        memcpy(area_2, area_1, 16384);
        CLOBBER(area_2);
    }
}

NOINLINE static void copy_16k_noalias(uint64_t n) {
    uint8_t *to = ELSEWHERE + 2048;
    while (n--) {
        memcpy(to, area_1, 16384);
        CLOBBER(to);
    }
}

NOINLINE static void copy_64b(uint64_t n) {
    size_t length = 64;
    while (n--) {
        __asm__ volatile("" : "+r"(length));
        memcpy(area_2 + (n & 1023) * 8, area_1 + (n & 511) * 16, length);
        CLOBBER(area_2);
    }
}

static inline void rep_movsb(void *to, const void *from, size_t count) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}

NOINLINE static void movsb_64m(uint64_t n) {
    while (n--)
        rep_movsb(area_2, area_1, AREA_BYTES);
}

NOINLINE static void movsb_4k(uint64_t n) {
    while (n--)
        rep_movsb(area_2, area_1, 4096);
}

NOINLINE static void movsb_4k_noalias(uint64_t n) {
    while (n--)
        rep_movsb(ELSEWHERE, area_1, 4096);
}

NOINLINE static void movsq_4k_noalias(uint64_t n) {
    while (n--) {
        void *to = ELSEWHERE, *from = area_1;
        size_t count = 512;
        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
    }
}

NOINLINE static void stosq_4k(uint64_t n) {
    while (n--) {
        void *to = area_2;
        size_t count = 512;
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0ul) : "memory");
    }
}

const struct measure mem_copy[] = {
    {"mem.memcpy_64m", copy_64m, 0, area_prepare, NULL},
    {"mem.memset_64m", fill_64m, 0, area_prepare, NULL},
    {"mem.memcpy_16k", copy_16k, 0, area_prepare, NULL},
    {"mem.memcpy_16k_noalias", copy_16k_noalias, 0, area_prepare, NULL},
    {"mem.memcpy_64b", copy_64b, 0, area_prepare, NULL},
    {"mem.rep_movsb_64m", movsb_64m, 0, area_prepare, NULL},
    {"mem.rep_movsb_4k", movsb_4k, 0, area_prepare, NULL},
    {"mem.rep_movsb_4k_noal", movsb_4k_noalias, 0, area_prepare, NULL},
    {"mem.rep_movsq_4k_noal", movsq_4k_noalias, 0, area_prepare, NULL},
    {"mem.rep_stosq_4k", stosq_4k, 0, area_prepare, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
