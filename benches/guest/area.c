/* The areas of area.h. */
#include "area.h"
#include <sys/mman.h>

uint8_t *area_1, *area_2;

static uint8_t *area(int filled_with) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    uint8_t *made = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    return made == MAP_FAILED ? NULL : memset(made, filled_with, AREA_BYTES);
}

int area_prepare(void) {
    if (!area_1)
        area_1 = area(1);
    if (!area_2)
        area_2 = area(2);
    return !area_1 || !area_2;
}

void area_free(void) {
    if (area_1)
        munmap(area_1, AREA_BYTES);
    if (area_2)
        munmap(area_2, AREA_BYTES);
    area_1 = area_2 = NULL;
}
