/* Two areas of 64 MiB, in memory that is there already: what the mem.* measures work on. */
#ifndef AREA_H
#define AREA_H
#include "measure.h"

#define AREA_BYTES ((size_t)64 << 20)
extern uint8_t *area_1, *area_2;

int area_prepare(void);
/* Forks would copy their page tables otherwise. */
void area_free(void);
#endif
