/* One measure: a function that does its work n times, and how its time is told. */
#ifndef MEASURE_H
#define MEASURE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
/* Whatever `p` points to may have changed: keeps the compiler from leaving work out. */
#define CLOBBER(p) __asm__ volatile("" ::"r"(p) : "memory")

struct measure {
    const char *name;        /* group.name */
    void (*run)(uint64_t n); /* does the work n times */
    double operations;       /* in each of the n; 0 is 1 */
    int (*prepare)(void);    /* anything but 0: cannot be measured here */
    void (*finish)(void);
};

/* The last result of each measure goes here, so that it counts as used. */
extern volatile uint64_t sink;

/* Seconds of CLOCK_MONOTONIC. */
double now(void);

/* Marsaglia's xorshift64: the same numbers on every machine. */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Each list ends with an entry without a name. */
extern const struct measure int_arrays[], int_coremark[], int_dhrystone[], int_calls[],
    int_bytecode[], int_arithmetic[], mem_chase[], mem_copy[], mem_access[], fp_scalar[],
    fp_matrix[], simd[], app_lua[], app_sqlite[], app_zlib[], crypto[], sys_calls[],
    sys_processes[], sys_signals[], sys_memory[], sys_files[], insn[], jit[];

/* Modes of their own: they print lines of `name value unit`. */
int disk_main(const char *device, double seconds);
int parallel_main(int threads, double seconds);
#endif
