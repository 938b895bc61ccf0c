/* Work like Dhrystone's: records, small procedures, strings. The names are those of its procedures.
 */
#include "measure.h"

struct record {
    struct record *next;
    int discriminant, component, value;
    char text[31];
};
static struct record first, second;
static int global;
static char char_1, char_2;
static int array_1[50], array_2[50][50];

NOINLINE static void proc_7(int a, int b, int *sum) {
    *sum = a + 2 + b;
}

NOINLINE static void proc_8(int *one, int two[50][50], int x, int y) {
    int at = x + 5;
    one[at] = y;
    one[at + 1] = one[at];
    one[at + 30] = at;
    for (int i = at; i <= at + 1; i++)
        two[at][i] = at;
    two[at][at - 1]++;
    two[at + 20][at] = one[at];
    global = 5;
}

NOINLINE static int func_1(char a, char b) {
    if (a != b)
        return 0;
    char_1 = a;
    return 1;
}

NOINLINE static int func_2(char *a, char *b) {
    int i = 2;
    char c = 'A';
    while (i <= 2)
        if (func_1(a[i], b[i + 1]) == 0) {
            c = 'A';
            i++;
        }
    if (c >= 'W' && c < 'Z')
        i = 7;
    if (c == 'R')
        return 1;
    if (strcmp(a, b) > 0) {
        global = i + 7;
        return 1;
    }
    return 0;
}

NOINLINE static void proc_3(struct record **record) {
    if (first.next)
        *record = first.next;
    proc_7(10, global, &first.value);
}

NOINLINE static void proc_6(int given, int *result) {
    *result = given != 2 ? 3 : given;
    switch (given) {
    case 0:
        *result = 0;
        break;
    case 1:
        *result = global > 100 ? 0 : 3;
        break;
    case 2:
        *result = 1;
        break;
    case 4:
        *result = 2;
        break;
    default:
        break;
    }
}

NOINLINE static void proc_1(struct record *record) {
    struct record *next = record->next;
    *record->next = first;
    record->value = 5;
    next->value = record->value;
    next->next = record->next;
    proc_3(&next->next);
    if (next->discriminant == 0) {
        next->value = 6;
        proc_6(record->component, &next->component);
        next->next = first.next;
        proc_7(next->value, 10, &next->value);
    } else
        *record = *record->next;
}

NOINLINE static void dhrystone(uint64_t n) {
    char text_1[31], text_2[31];
    first.next = &second;
    first.discriminant = 0;
    first.component = 2;
    first.value = 40;
    strcpy(first.text, "DHRYSTONE PROGRAM, SOME STRING");
    strcpy(text_1, "DHRYSTONE PROGRAM, 1'ST STRING");
    for (uint64_t round = 0; round < n; round++) {
        int a = 2, b = 3, c = 0, kind = 1;
        strcpy(text_2, "DHRYSTONE PROGRAM, 2'ND STRING");
        __asm__ volatile("" ::"r"(text_1), "r"(text_2) : "memory");
        int differ = !func_2(text_1, text_2);
        while (a < b) {
            c = 5 * a - b;
            proc_7(a, b, &c);
            a++;
        }
        proc_8(array_1, array_2, a, c);
        proc_1(&first);
        for (char k = 'A'; k <= (char)('B' + (round & 1)); k++)
            if (kind == func_1(k, 'C')) {
                proc_6(0, &kind);
                b = (int)round;
            }
        b = b * a;
        a = b / (c | 1);
        b = 7 * (b - c) - a;
        sink = (uint64_t)(a + b + differ);
        char_2 = char_1;
    }
}

const struct measure int_dhrystone[] = {
    {"int.dhry_like", dhrystone, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
