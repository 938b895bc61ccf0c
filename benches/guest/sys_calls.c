/* System calls that do little: what entering and leaving a kernel costs. */
#include "measure.h"
#include "pin.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void process_id(uint64_t n) {
    while (n--)
        sink = (uint64_t)syscall(SYS_getpid);
}

static void clock_time(uint64_t n) {
    struct timespec t = {0, 0};
    while (n--)
        clock_gettime(CLOCK_MONOTONIC, &t);
    sink = (uint64_t)t.tv_nsec;
}

static void write_null(uint64_t n) {
    int file = open("/dev/null", O_WRONLY);
    char c = 0;
    while (n--)
        if (write(file, &c, 1) != 1)
            exit(1);
    close(file);
}

static void open_close(uint64_t n) {
    while (n--) {
        int file = open("/proc/self/exe", O_RDONLY);
        if (file < 0)
            exit(1);
        close(file);
    }
}

static void status(uint64_t n) {
    struct stat found = {0};
    while (n--)
        stat("/proc", &found);
    sink = found.st_mode;
}

static void directory(uint64_t n) {
    while (n--) {
        int file = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
        char entries[4096];
        while (syscall(SYS_getdents64, file, entries, sizeof entries) > 0)
            ;
        close(file);
    }
}

static void yield(uint64_t n) {
    while (n--)
        sched_yield();
}

static void sleep_50us(uint64_t n) {
    struct timespec t = {0, 50000};
    while (n--)
        nanosleep(&t, NULL);
}

const struct measure sys_calls[] = {
    {"sys.getpid", process_id, 0, pin, NULL},
    {"sys.clock_gettime", clock_time, 0, NULL, NULL},
    {"sys.write_devnull1", write_null, 0, NULL, NULL},
    {"sys.open_close", open_close, 0, NULL, NULL},
    {"sys.stat", status, 0, NULL, NULL},
    {"sys.getdents_procfd", directory, 0, NULL, NULL},
    {"sys.sched_yield", yield, 0, NULL, NULL},
    {"sys.nanosleep50us", sleep_50us, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
