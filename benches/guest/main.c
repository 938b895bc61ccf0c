/* One static program with all measures, for the host and for a guest.
 *
 *   measures -l                      lists the names
 *   measures -t SECONDS NAME         measures it once, for about so long
 *   measures --disk DEVICE SECONDS   a disk's throughput
 *   measures --parallel THREADS SECONDS
 *
 * Prints `NAME ns/op WALL cpu PROCESSOR`: nanoseconds an operation, of the clock and of processor
 * time. */
#include "measure.h"
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

volatile uint64_t sink;

static const struct measure *const LISTS[] = {
    int_arrays,  int_coremark, int_dhrystone, int_calls, int_bytecode, int_arithmetic,
    mem_chase,   mem_copy,     mem_access,    fp_scalar, fp_matrix,    simd,
    app_lua,     app_sqlite,   app_zlib,      crypto,    sys_calls,    sys_processes,
    sys_signals, sys_memory,   sys_files,     insn,      jit,
};
#define LIST_COUNT (sizeof LISTS / sizeof *LISTS)

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

/* Processor seconds of this process and of its children that have ended. */
static double processor(void) {
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) +
           seconds(children.ru_stime);
}

/* Finds how often the work fits into a good part of `budget`, then measures for all of it. */
static void measure(const struct measure *it, double budget) {
    if (it->prepare && it->prepare()) {
        printf("%s skip\n", it->name);
        return;
    }
    uint64_t n = 1;
    double took;
    for (;;) {
        double began = now();
        it->run(n);
        took = now() - began;
        if (took >= budget * 0.2)
            break;
        double factor = took > 1e-6 ? budget * 0.25 / took : 64;
        factor = factor > 64 ? 64 : factor < 2 ? 2 : factor;
        n = (uint64_t)((double)n * factor);
    }
    n = (uint64_t)((double)n * (budget / took));
    if (n < 1)
        n = 1;
    double cpu = processor(), began = now();
    it->run(n);
    took = now() - began;
    cpu = processor() - cpu;
    double operations = (double)n * (it->operations ? it->operations : 1);
    printf("%s ns/op %.4f cpu %.4f\n", it->name, took / operations * 1e9, cpu / operations * 1e9);
    if (it->finish)
        it->finish();
}

static const struct measure *find(const char *name) {
    for (size_t i = 0; i < LIST_COUNT; i++)
        for (const struct measure *it = LISTS[i]; it->name; it++)
            if (!strcmp(it->name, name))
                return it;
    return NULL;
}

static int list(void) {
    for (size_t i = 0; i < LIST_COUNT; i++)
        for (const struct measure *it = LISTS[i]; it->name; it++)
            puts(it->name);
    return 0;
}

int main(int argc, char **argv) {
    /* What the measures of fork and exec run. */
    if (argc == 2 && !strcmp(argv[1], "--true"))
        _exit(0);
    if (argc == 2 && !strcmp(argv[1], "-l"))
        return list();
    if (argc == 4 && !strcmp(argv[1], "--disk"))
        return disk_main(argv[2], atof(argv[3]));
    if (argc == 4 && !strcmp(argv[1], "--parallel"))
        return parallel_main(atoi(argv[2]), atof(argv[3]));
    if (argc == 4 && !strcmp(argv[1], "-t")) {
        const struct measure *it = find(argv[3]);
        if (it) {
            measure(it, atof(argv[2]));
            return 0;
        }
    }
    fputs("usage: measures -l | -t SECONDS NAME | --disk DEVICE SECONDS | "
          "--parallel THREADS SECONDS\n",
          stderr);
    return 2;
}
