/* A disk's throughput past the guest's page cache: sequential, random, and eight readers at a time.
 *
 * Only reads, so that it may be a real one. */
#include "measure.h"
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (1 << 20)
#define READERS 8

static int device;
static uint64_t pages;
static double budget;

static void *aligned(size_t size) {
    void *made = NULL;
    if (posix_memalign(&made, 4096, size))
        exit(1);
    return made;
}

static void read_or_die(void *to, size_t size, uint64_t at) {
    if (pread(device, to, size, (off_t)at) != (ssize_t)size) {
        perror("read");
        exit(1);
    }
}

static void sequential(void *buffer) {
    uint64_t bytes = 0, at = 0, end = pages * 4096;
    double began = now(), took;
    do {
        if (at + LARGE > end)
            at = 0;
        read_or_die(buffer, LARGE, at);
        at += LARGE;
        bytes += LARGE;
    } while ((took = now() - began) < budget);
    printf("disk.sequential_1m %.2f MB/s\n", (double)bytes / took / 1e6);
}

static uint64_t random_reads(void *buffer, uint64_t seed, double began) {
    uint64_t count = 0;
    do {
        read_or_die(buffer, 4096, next_random(&seed) % pages * 4096);
        count++;
    } while (now() - began < budget);
    return count;
}

static void in_parallel(void *buffer) {
    int results[2];
    if (pipe(results))
        exit(1);
    double began = now();
    for (uint64_t reader = 0; reader < READERS; reader++)
        if (!fork()) {
            uint64_t count = random_reads(buffer, reader * 977 + 5, began);
            _exit(write(results[1], &count, sizeof count) != sizeof count);
        }
    uint64_t total = 0, count;
    for (int reader = 0; reader < READERS; reader++)
        if (read(results[0], &count, sizeof count) == sizeof count)
            total += count;
    double took = now() - began;
    while (wait(NULL) > 0)
        ;
    printf("disk.random_4k_by_8 %.0f IOPS\n", (double)total / took);
}

int disk_main(const char *path, double seconds) {
    device = open(path, O_RDONLY | O_DIRECT);
    if (device < 0) {
        perror(path);
        return 1;
    }
    budget = seconds;
    pages = (uint64_t)lseek(device, 0, SEEK_END) / 4096;
    void *buffer = aligned(LARGE);
    sequential(buffer);
    double began = now();
    uint64_t count = random_reads(buffer, 4321, began);
    printf("disk.random_4k %.0f IOPS\n", (double)count / (now() - began));
    fflush(stdout);
    in_parallel(buffer);
    return 0;
}
