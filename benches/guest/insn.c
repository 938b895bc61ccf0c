/* Single instructions that a translator or a hypervisor has special work with. */
#include "measure.h"

static void cpuid(uint64_t n) {
    while (n--) {
        uint32_t a = 1, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        sink = b;
    }
}

static void rdtsc(uint64_t n) {
    uint32_t low = 0, high;
    while (n--)
        __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    sink = low;
}

static void lock_xadd(uint64_t n) {
    uint64_t value = 1, place = 0;
    while (n--)
        __asm__ volatile("lock xadd %0,%1" : "+r"(value), "+m"(place)::"cc");
    sink = place;
}

static void compare_exchange(uint64_t n) {
    uint64_t place = 0;
    while (n--)
        __sync_bool_compare_and_swap(&place, place, place + 1);
    sink = place;
}

static void mfence(uint64_t n) {
    while (n--)
        __asm__ volatile("mfence" ::: "memory");
}

static void pushf_popf(uint64_t n) {
    while (n--)
        __asm__ volatile("pushfq\n popfq" ::: "memory", "cc");
}

const struct measure insn[] = {
    {"insn.cpuid", cpuid, 0, NULL, NULL},
    {"insn.rdtsc", rdtsc, 0, NULL, NULL},
    {"insn.lock_xadd", lock_xadd, 0, NULL, NULL},
    {"insn.cmpxchg", compare_exchange, 0, NULL, NULL},
    {"insn.mfence", mfence, 0, NULL, NULL},
    {"insn.pushf_popf", pushf_popf, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
