/* The function of pin.h. */
#include "pin.h"
#include "area.h"
#include <sched.h>

int pin(void) {
    area_free();
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (int i = CPU_SETSIZE - 1; i >= 0; i--)
        if (CPU_ISSET(i, &allowed)) {
            CPU_ZERO(&allowed);
            CPU_SET(i, &allowed);
            break;
        }
    sched_setaffinity(0, sizeof allowed, &allowed);
    return 0;
}
