/* zlib at its usual level, over 256 KiB of words. */
#include "measure.h"
#include <zlib.h>

static uint8_t plain[262144], packed[300000], unpacked[262144];
static uLongf packed_size;

static int prepare(void) {
    static const char *const WORDS[] = {"the ",  "guest ", "translate ", "block ", "host ", "of ",
                                        "page ", "fault ", "and ",       "tlb ",   "0x",    "\n"};
    uint64_t seed = 7;
    size_t at = 0;
    while (at < sizeof plain - 16) {
        const char *word = WORDS[next_random(&seed) % 12];
        size_t length = strlen(word);
        memcpy(plain + at, word, length);
        at += length;
        if ((seed & 15) == 0)
            plain[at++] = (uint8_t)('0' + seed % 10);
    }
    packed_size = sizeof packed;
    return compress2(packed, &packed_size, plain, sizeof plain, 6);
}

static void deflate_6(uint64_t n) {
    while (n--) {
        packed_size = sizeof packed;
        compress2(packed, &packed_size, plain, sizeof plain, 6);
    }
}

static void inflate_it(uint64_t n) {
    while (n--) {
        uLongf size = sizeof unpacked;
        if (uncompress(unpacked, &size, packed, packed_size))
            exit(1);
    }
    sink = unpacked[9];
}

const struct measure app_zlib[] = {
    {"app.zlib_deflate6", deflate_6, 0, prepare, NULL},
    {"app.zlib_inflate", inflate_it, 0, prepare, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
