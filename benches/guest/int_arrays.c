/* Integer work over arrays that fit into the caches: a sieve, CRC-32, sorting, a hash table. */
#include "measure.h"

static uint8_t composite[65536];

NOINLINE static void sieve(uint64_t n) {
    uint64_t count = 0;
    while (n--) {
        memset(composite, 1, sizeof composite);
        for (unsigned i = 2; i < 256; i++)
            if (composite[i])
                for (unsigned j = i * i; j < 65536; j += i)
                    composite[j] = 0;
        for (unsigned i = 2; i < 65536; i++)
            count += composite[i];
        CLOBBER(composite);
    }
    sink = count;
}

static uint32_t crc_table[256];
static uint8_t text[65536];

static int prepare_crc(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
    uint64_t seed = 88172645463325252ull;
    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)next_random(&seed);
    return 0;
}

NOINLINE static void crc32(uint64_t n) {
    uint32_t c = ~0u;
    while (n--)
        for (unsigned i = 0; i < sizeof text; i++)
            c = crc_table[(c ^ text[i]) & 255] ^ (c >> 8);
    sink = c;
}

static int numbers[65536];

static void quicksort(int *a, int left, int right) {
    while (left < right) {
        int pivot = a[(left + right) >> 1], i = left, j = right;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                int t = a[i];
                a[i] = a[j];
                a[j] = t;
                i++;
                j--;
            }
        }
        if (j - left < right - i) {
            quicksort(a, left, j);
            left = i;
        } else {
            quicksort(a, i, right);
            right = j;
        }
    }
}

NOINLINE static void sort(uint64_t n) {
    uint64_t seed = 12345;
    while (n--) {
        for (int i = 0; i < 65536; i++)
            numbers[i] = (int)next_random(&seed);
        quicksort(numbers, 0, 65535);
    }
    sink = (uint64_t)numbers[77];
}

static uint64_t slots[131072];

static unsigned slot_of(uint64_t key) {
    uint64_t at = (key * 0x9e3779b97f4a7c15ull) >> 47;
    while (slots[at] && slots[at] != key)
        at = (at + 1) & 131071;
    return (unsigned)at;
}

NOINLINE static void hash(uint64_t n) {
    uint64_t seed = 99, found = 0;
    while (n--) {
        memset(slots, 0, sizeof slots);
        for (int i = 0; i < 65536; i++) {
            uint64_t key = next_random(&seed) | 1;
            slots[slot_of(key)] = key;
        }
        uint64_t other = seed;
        for (int i = 0; i < 65536; i++) {
            uint64_t key = next_random(&other) | 1;
            found += slots[slot_of(key)] == key;
        }
    }
    sink = found;
}

const struct measure int_arrays[] = {
    {"int.sieve64k", sieve, 0, NULL, NULL},
    {"int.crc32_64k", crc32, 0, prepare_crc, NULL},
    {"int.qsort64k", sort, 0, NULL, NULL},
    {"int.hash64k", hash, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
