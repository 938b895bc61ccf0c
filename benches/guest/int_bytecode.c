/* An interpreter of bytecode with threaded dispatch, which counts primes by trial division. */
#include "measure.h"

enum opcode { LDI, ADD, SUB, MUL, MOD, JLT, JEQ, JMP, MOV, INC, HALT };

NOINLINE static int64_t interpret(const int32_t *pc) {
    static const void *const LABELS[] = {&&ldi, &&add, &&sub, &&mul, &&mod, &&jlt,
                                         &&jeq, &&jmp, &&mov, &&inc, &&halt};
    int64_t r[8] = {0};
    const int32_t *const start = pc;
#define DISPATCH goto *LABELS[*pc]
    DISPATCH;
ldi:
    r[pc[1]] = pc[2];
    pc += 3;
    DISPATCH;
add:
    r[pc[1]] = r[pc[2]] + r[pc[3]];
    pc += 4;
    DISPATCH;
sub:
    r[pc[1]] = r[pc[2]] - r[pc[3]];
    pc += 4;
    DISPATCH;
mul:
    r[pc[1]] = r[pc[2]] * r[pc[3]];
    pc += 4;
    DISPATCH;
mod:
    r[pc[1]] = (uint32_t)r[pc[2]] % (uint32_t)r[pc[3]];
    pc += 4;
    DISPATCH;
jlt:
    pc = r[pc[1]] < r[pc[2]] ? start + pc[3] : pc + 4;
    DISPATCH;
jeq:
    pc = r[pc[1]] == r[pc[2]] ? start + pc[3] : pc + 4;
    DISPATCH;
jmp:
    pc = start + pc[1];
    DISPATCH;
mov:
    r[pc[1]] = r[pc[2]];
    pc += 3;
    DISPATCH;
inc:
    r[pc[1]]++;
    pc += 2;
    DISPATCH;
halt:
    return r[0];
}

/* The addresses in jumps are places in this array. */
static const int32_t PRIMES[] = {
    LDI,  0,  0,       /*  0: count */
    LDI,  1,  2,       /*  3: candidate */
    LDI,  5,  0,       /*  6: zero */
    LDI,  6,  600,     /*  9: limit */
    LDI,  2,  2,       /* 12: divisor */
    MUL,  3,  2,   2,  /* 15 */
    JLT,  1,  3,   35, /* 19: no smaller divisor is left: a prime */
    MOD,  4,  1,   2,  /* 23 */
    JEQ,  4,  5,   37, /* 27: it divides */
    INC,  2,           /* 31 */
    JMP,  15,          /* 33 */
    INC,  0,           /* 35 */
    INC,  1,           /* 37 */
    JLT,  1,  6,   12, /* 39 */
    HALT,              /* 43 */
};

NOINLINE static void bytecode(uint64_t n) {
    int64_t sum = 0;
    while (n--)
        sum += interpret(PRIMES);
    sink = (uint64_t)sum;
}

const struct measure int_bytecode[] = {
    {"int.vm_interp", bytecode, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
