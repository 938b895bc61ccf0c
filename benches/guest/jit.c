/* Code that a program writes and runs: patched, beside data, new all the time, and a lot of it. */
#include "measure.h"
#include <sys/mman.h>

#define FUNCTIONS 1024
#define OPERATIONS 30
#define FUNCTION_BYTES (2 + OPERATIONS * 5 + 1)
#define MANY 8192

static uint8_t *area;

static uint8_t *map(size_t bytes, int flags) {
    int rights = PROT_READ | PROT_WRITE | PROT_EXEC;
    uint8_t *made = mmap(NULL, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

static int prepare(void) {
    area = map(4 << 20, 0);
    if (!area)
        return 1;
    memset(area, 0xc3, 4 << 20);
    return 0;
}

static uint64_t call(const uint8_t *code) {
    return (uint64_t)((int (*)(void))(uintptr_t)code)();
}

/* mov eax, IMMEDIATE; ret */
static void write_function(uint8_t *at) {
    at[0] = 0xb8;
    at[5] = 0xc3;
}

static void write_word(uint8_t *at, uint64_t value) {
    *(volatile uint32_t *)at = (uint32_t)value;
}

static void patch_and_call(uint64_t n) {
    uint64_t sum = 0;
    write_function(area);
    while (n--) {
        write_word(area + 1, n);
        sum += call(area);
    }
    sink = sum;
}

/* The data is on the page of the code, on another cache line. */
static void data_beside_code(uint64_t n) {
    uint8_t *code = area + 65536;
    uint64_t sum = 0;
    write_function(code);
    while (n--) {
        write_word(code + 2048, n);
        sum += call(code);
    }
    sink = sum;
}

/* xor eax, eax; thirty times ADD, XOR, SUB or OR of EAX and a random number; ret */
static void write_functions(uint8_t *at, uint64_t *seed) {
    for (int f = 0; f < FUNCTIONS; f++) {
        *at++ = 0x31;
        *at++ = 0xc0;
        for (int i = 0; i < OPERATIONS; i++) {
            uint32_t number = (uint32_t)next_random(seed);
            switch (number & 3) {
            case 0:
                *at++ = 0x05;
                break;
            case 1:
                *at++ = 0x35;
                break;
            case 2:
                *at++ = 0x2d;
                break;
            default:
                *at++ = 0x0d;
            }
            memcpy(at, &number, 4);
            at += 4;
        }
        *at++ = 0xc3;
    }
}

static uint64_t call_functions(const uint8_t *at) {
    uint64_t sum = 0;
    for (int f = 0; f < FUNCTIONS; f++)
        sum += call(at + f * FUNCTION_BYTES);
    return sum;
}

/* Each function runs once, where others ran before. */
static void rewritten(uint64_t n) {
    uint64_t sum = 0, seed = 11;
    while (n--) {
        write_functions(area + (1 << 20), &seed);
        sum += call_functions(area + (1 << 20));
    }
    sink = sum;
}

/* Each function runs once, on pages that are new. */
static void fresh(uint64_t n) {
    uint64_t sum = 0, seed = 23;
    while (n--) {
        uint8_t *pages = map(1 << 18, MAP_POPULATE);
        if (!pages)
            exit(1);
        write_functions(pages, &seed);
        sum += call_functions(pages);
        munmap(pages, 1 << 18);
    }
    sink = sum;
}

/* Many functions: mov eax, edi; twenty times ADD or XOR; ret */
static int prepare_many(void) {
    if (prepare())
        return 1;
    uint64_t seed = 5;
    for (int f = 0; f < MANY; f++) {
        uint8_t *at = area + (2 << 20) + f * 128;
        *at++ = 0x89;
        *at++ = 0xf8;
        for (int i = 0; i < 20; i++) {
            uint32_t number = (uint32_t)next_random(&seed);
            *at++ = (number & 1) ? 0x05 : 0x35;
            memcpy(at, &number, 4);
            at += 4;
        }
        *at = 0xc3;
    }
    return 0;
}

static void many(uint64_t n) {
    uint64_t sum = 0, seed = 9;
    const uint8_t *functions = area + (2 << 20);
    while (n--)
        for (int i = 0; i < 1000; i++) {
            const uint8_t *one = functions + (next_random(&seed) & (MANY - 1)) * 128;
            sum += (uint64_t)((int (*)(int))(uintptr_t)one)(i);
        }
    sink = sum;
}

/* As compilers in web browsers do: writable, then executable, and never both. */
static void flip_rights(uint64_t n) {
    uint8_t *code = area + (512 << 10);
    uint64_t sum = 0;
    while (n--) {
        mprotect(code, 4096, PROT_READ | PROT_WRITE);
        write_function(code);
        write_word(code + 1, n);
        mprotect(code, 4096, PROT_READ | PROT_EXEC);
        sum += call(code);
    }
    mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    sink = sum;
}

const struct measure jit[] = {
    {"jit.smc_patch_call", patch_and_call, 0, prepare, NULL},
    {"jit.data_on_code_page", data_beside_code, 0, prepare, NULL},
    {"jit.cold_code_insn", rewritten, FUNCTIONS * 32, prepare, NULL},
    {"jit.cold_fresh_insn", fresh, FUNCTIONS * 32, NULL, NULL},
    {"jit.big_footprint_call", many, 1000, prepare_many, NULL},
    {"jit.wx_flip", flip_rights, 0, prepare, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
