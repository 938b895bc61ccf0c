/* Memory and a file that are written and looked at without end, each piece with a version of its own.

   worker run MIB BLOCKS FILE STATUS   until there is a difference; STATUS has a line of how it stands
   worker look FILE                    is each block of FILE whole? For a guest that has booted

   What a piece holds is made of its number and its version. The versions are in memory, so memory and disk
   have to be of one moment. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 4096, WORDS = PIECE / 8 };

static uint64_t state;

static uint64_t mixed(uint64_t x) {
    x ^= x >> 30, x *= 0xbf58476d1ce4e5b9;
    x ^= x >> 27, x *= 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t chance(uint64_t below) {
    state += 0x9e3779b97f4a7c15;
    return mixed(state) % below;
}

static uint64_t word(uint64_t number, uint64_t version, int at) {
    return mixed(number << 40 ^ version << 10 ^ at);
}

/* The first two words are number and version, so that a block can be looked at alone. */
static void make(uint64_t *piece, uint64_t number, uint64_t version) {
    for (int at = 2; at < WORDS; at++)
        piece[at] = word(number, version, at);
    piece[0] = number, piece[1] = version;
}

static int is(const uint64_t *piece, uint64_t number, uint64_t version) {
    if (piece[0] != number || piece[1] != version)
        return 0;
    for (int at = 2; at < WORDS; at++)
        if (piece[at] != word(number, version, at))
            return 0;
    return 1;
}

static void tell(const char *path, const char *text) {
    char fresh[4096];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        _exit(3);
    close(fd);
    rename(fresh, path);
}

static void differs(const char *path, const char *what, uint64_t number, const uint64_t *piece, uint64_t wanted) {
    char text[512];
    snprintf(text, sizeof text, "DIFFERENCE in %s, piece %lu: it says %lu, version %lu; version %lu was wanted\n", what,
             (unsigned long)number, (unsigned long)piece[0], (unsigned long)piece[1], (unsigned long)wanted);
    tell(path, text);
    _exit(1);
}

static int look(const char *path) {
    uint64_t piece[WORDS];
    int fd = open(path, O_RDONLY);
    uint64_t number = 0;
    if (fd < 0)
        return perror(path), 2;
    for (; pread(fd, piece, PIECE, number * PIECE) == PIECE; number++)
        if (!is(piece, number, piece[1])) {
            printf("DIFFERENCE in block %lu\n", (unsigned long)number);
            return 1;
        }
    printf("%lu blocks are whole\n", (unsigned long)number);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "look"))
        return look(argv[2]);
    if (argc != 6 || strcmp(argv[1], "run"))
        return 2;
    uint64_t pages = strtoull(argv[2], NULL, 10) << 8, blocks = strtoull(argv[3], NULL, 10);
    const char *file = argv[4], *status = argv[5];
    uint64_t *memory, *piece;
    if (posix_memalign((void **)&memory, PIECE, pages * PIECE) || posix_memalign((void **)&piece, PIECE, PIECE))
        return 2;
    uint64_t *of_page = calloc(pages, 8), *of_block = calloc(blocks, 8);
    int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0644);
    int direct = open(file, O_RDWR | O_DIRECT);
    if (fd < 0 || direct < 0)
        return perror(file), 2;
    if (daemon(1, 0))
        return 2;
    for (uint64_t number = 0; number < pages; number++)
        make(memory + number * WORDS, number, 0);
    for (uint64_t number = 0; number < blocks; number++) {
        make(piece, number, 0);
        if (pwrite(fd, piece, PIECE, number * PIECE) != PIECE)
            return tell(status, "DIFFERENCE: cannot write\n"), 1;
    }
    fsync(fd);
    for (uint64_t step = 0;; step++) {
        for (int times = 0; times < 64; times++) {
            uint64_t number = chance(pages), *page = memory + number * WORDS;
            if (!is(page, number, of_page[number]))
                differs(status, "memory", number, page, of_page[number]);
            make(page, number, ++of_page[number]);
        }
        /* Some by the page cache, some past it. */
        uint64_t number = chance(blocks);
        int through = chance(4) == 0 ? direct : fd;
        if (pread(through, piece, PIECE, number * PIECE) != PIECE || !is(piece, number, of_block[number]))
            differs(status, "the file", number, piece, of_block[number]);
        make(piece, number, ++of_block[number]);
        if (pwrite(through, piece, PIECE, number * PIECE) != PIECE)
            return tell(status, "DIFFERENCE: cannot write\n"), 1;
        if (chance(256) == 0)
            fsync(fd);
        if (chance(1024) == 0)
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (step % 16 == 0) {
            char text[64];
            snprintf(text, sizeof text, "%lu steps\n", (unsigned long)step);
            tell(status, text);
            usleep(1000);
        }
    }
}
