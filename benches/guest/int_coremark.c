/* Work like CoreMark's: a linked list, a small matrix of integers, a state machine, CRC-16. */
#include "measure.h"

struct node {
    struct node *next;
    int16_t value, index;
};
static struct node pool[64];
static int16_t left[12 * 12], right[12 * 12];
static int32_t product[12 * 12];
static const char *const NUMBERS[] = {
    "5012",     "1234",     "-874",     "+122",     "35.54400", ".1234500", "-110.700", "+0.64400",
    "5.500e+3", "-.123e-2", "-87e+832", "+0.6e-12", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z", "34.0e-T^"};

NOINLINE static struct node *reverse(struct node *list) {
    struct node *done = NULL;
    while (list) {
        struct node *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

NOINLINE static struct node *find(struct node *list, int value) {
    while (list && list->value != value)
        list = list->next;
    return list;
}

/* Merges sorted runs of twice the length each time round. */
NOINLINE static struct node *merge_sort(struct node *list) {
    for (int run = 1;; run *= 2) {
        struct node *p = list, *tail = NULL;
        int merges = 0;
        list = NULL;
        while (p) {
            struct node *q = p;
            int of_p = 0, of_q = run;
            merges++;
            for (int i = 0; i < run; i++) {
                of_p++;
                q = q->next;
                if (!q)
                    break;
            }
            while (of_p > 0 || (of_q > 0 && q)) {
                struct node *least;
                if (of_p == 0 || (of_q > 0 && q && p->value > q->value)) {
                    least = q;
                    q = q->next;
                    of_q--;
                } else {
                    least = p;
                    p = p->next;
                    of_p--;
                }
                if (tail)
                    tail->next = least;
                else
                    list = least;
                tail = least;
            }
            p = q;
        }
        tail->next = NULL;
        if (merges <= 1)
            return list;
    }
}

NOINLINE static void multiply(int size) {
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            int32_t sum = 0;
            for (int k = 0; k < size; k++)
                sum += (int32_t)left[i * size + k] * right[k * size + j];
            product[i * size + j] = sum;
        }
}

NOINLINE static uint32_t summarize(int size, int clip) {
    uint32_t result = 0;
    int32_t total = 0, previous = 0;
    for (int i = 0; i < size * size; i++) {
        int32_t current = product[i];
        total += current;
        if (total > clip) {
            result += 10;
            total = 0;
        } else
            result += current > previous ? 1 : 0;
        previous = current;
    }
    return result;
}

enum state { START, INTEGER, FRACTION, SIGN, EXPONENT, EXPONENT_SIGN, INVALID, SCIENTIFIC };

static int digit(char c) {
    return c >= '0' && c <= '9';
}

NOINLINE static int scan_number(const char *s) {
    enum state state = START;
    int transitions = 0;
    for (; *s && state != INVALID; s++) {
        char c = *s;
        switch (state) {
        case START:
            state = digit(c)               ? INTEGER
                    : c == '+' || c == '-' ? SIGN
                    : c == '.'             ? FRACTION
                                           : INVALID;
            transitions++;
            break;
        case SIGN:
            state = digit(c) ? INTEGER : c == '.' ? FRACTION : INVALID;
            transitions++;
            break;
        case INTEGER:
            if (!digit(c)) {
                state = c == '.' ? FRACTION : INVALID;
                transitions++;
            }
            break;
        case FRACTION:
            if (!digit(c)) {
                state = c == 'E' || c == 'e' ? EXPONENT : INVALID;
                transitions++;
            }
            break;
        case EXPONENT:
            state = c == '+' || c == '-' ? EXPONENT_SIGN : INVALID;
            transitions++;
            break;
        case EXPONENT_SIGN:
            state = digit(c) ? SCIENTIFIC : INVALID;
            transitions++;
            break;
        case SCIENTIFIC:
            if (!digit(c)) {
                state = INVALID;
                transitions++;
            }
            break;
        default:
            break;
        }
    }
    return transitions * 8 + (int)state;
}

NOINLINE static uint16_t crc16(uint16_t crc, uint32_t value) {
    for (int i = 0; i < 16; i++) {
        int low = (int)((value ^ crc) & 1);
        crc >>= 1;
        value >>= 1;
        if (low)
            crc ^= 0xa001;
    }
    return crc;
}

static uint32_t next(uint32_t seed) {
    return seed * 1103515245 + 12345;
}

NOINLINE static void coremark(uint64_t n) {
    uint32_t seed = 1;
    uint16_t crc = 0;
    while (n--) {
        struct node *list = NULL;
        for (int16_t i = 0; i < 64; i++) {
            seed = next(seed);
            pool[i] = (struct node){list, (seed >> 16) & 0x3ff, i};
            list = &pool[i];
        }
        for (unsigned i = 0; i < 16; i++) {
            struct node *found = find(list, pool[(seed + i * 7) & 63].value);
            crc = crc16(crc, found ? (uint32_t)found->index : 99);
            list = reverse(list);
        }
        list = merge_sort(list);
        crc = crc16(crc, (uint32_t)list->value);
        for (int i = 0; i < 144; i++) {
            seed = next(seed);
            left[i] = (int16_t)(seed >> 20);
            right[i] = (seed >> 8) & 0xff;
        }
        multiply(12);
        crc = crc16(crc, summarize(12, 1000));
        for (unsigned i = 0; i < 16; i++)
            crc = crc16(crc, (uint32_t)scan_number(NUMBERS[(i + seed) & 15]));
    }
    sink = crc;
}

const struct measure int_coremark[] = {
    {"int.coremark_like", coremark, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
