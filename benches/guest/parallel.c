/* Threads that work on their own: how much of a second processor a guest really gets.
 *
 * Each hashes, sorts and copies in 256 KiB of its own, and shares nothing. */
#include "measure.h"
#include <pthread.h>

#define WORDS 32768
#define THREADS 64

static double until;

static uint64_t work(uint64_t *words, uint64_t *seed) {
    uint64_t sum = 0;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = next_random(seed);
    for (size_t gap = WORDS / 2; gap > 1024; gap /= 2)
        for (size_t i = 0; i + gap < WORDS; i++)
            if (words[i] > words[i + gap]) {
                uint64_t t = words[i];
                words[i] = words[i + gap];
                words[i + gap] = t;
            }
    memmove(words, words + 1, (WORDS - 1) * sizeof *words);
    for (size_t i = 0; i < WORDS; i++)
        sum += words[words[i] % WORDS];
    return sum;
}

static void *worker(void *rounds) {
    uint64_t *words = malloc(WORDS * sizeof *words), seed = 1 + (uint64_t)(uintptr_t)rounds;
    if (!words)
        exit(1);
    while (now() < until) {
        sink = work(words, &seed);
        ++*(uint64_t *)rounds;
    }
    free(words);
    return NULL;
}

int parallel_main(int threads, double seconds) {
    pthread_t handles[THREADS];
    /* A cache line each. */
    static uint64_t rounds[THREADS][8];
    if (threads < 1 || threads > THREADS)
        return 2;
    double began = now();
    until = began + seconds;
    for (int i = 0; i < threads; i++)
        if (pthread_create(&handles[i], NULL, worker, rounds[i]))
            return 1;
    uint64_t total = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        total += rounds[i][0];
    }
    printf("parallel.%d %.2f rounds/s\n", threads, (double)total / (now() - began));
    return 0;
}
