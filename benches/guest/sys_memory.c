/* Memory from the kernel: mapped, touched for the first time, unmapped. */
#include "measure.h"
#include <sys/mman.h>

#define PAGES 256

static char *map(size_t bytes) {
    char *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        exit(1);
    return made;
}

static void page_faults(uint64_t n) {
    while (n--) {
        char *p = map(PAGES * 4096);
        madvise(p, PAGES * 4096, MADV_NOHUGEPAGE);
        for (int i = 0; i < PAGES; i++)
            p[i * 4096] = 1;
        munmap(p, PAGES * 4096);
    }
}

static void map_unmap(uint64_t n) {
    while (n--)
        munmap(map(65536), 65536);
}

const struct measure sys_memory[] = {
    {"sys.pagefault4k", page_faults, PAGES, NULL, NULL},
    {"sys.mmap_munmap", map_unmap, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
