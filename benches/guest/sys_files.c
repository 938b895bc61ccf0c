/* A file of 16 MiB in memory, read and written. */
#include "measure.h"
#include "pin.h"
#include <fcntl.h>
#include <unistd.h>

#define FILE_BYTES (16 << 20)
#define PIECE 65536
static int file;
static char *buffer;

static int prepare(void) {
    const char *directory = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    char name[64];
    pin();
    snprintf(name, sizeof name, "%s/measures.%d", directory, getpid());
    file = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0)
        return 1;
    unlink(name);
    buffer = malloc(1 << 20);
    if (!buffer)
        return 1;
    memset(buffer, 7, 1 << 20);
    for (int i = 0; i < FILE_BYTES >> 20; i++)
        if (write(file, buffer, 1 << 20) != 1 << 20)
            return 1;
    return 0;
}

static void read_64k(uint64_t n) {
    for (off_t at = 0; n--; at = (at + PIECE) & (FILE_BYTES - 1))
        if (pread(file, buffer, PIECE, at) != PIECE)
            exit(1);
}

static void read_4k(uint64_t n) {
    uint64_t seed = 6;
    while (n--)
        if (pread(file, buffer, 4096, (off_t)(next_random(&seed) & 4095) * 4096) != 4096)
            exit(1);
}

static void write_64k(uint64_t n) {
    for (off_t at = 0; n--; at = (at + PIECE) & (FILE_BYTES - 1))
        if (pwrite(file, buffer, PIECE, at) != PIECE)
            exit(1);
}

const struct measure sys_files[] = {
    {"sys.tmpfs_read64k", read_64k, 0, prepare, NULL},
    {"sys.tmpfs_read4k_rand", read_4k, 0, prepare, NULL},
    {"sys.tmpfs_write64k", write_64k, 0, prepare, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
