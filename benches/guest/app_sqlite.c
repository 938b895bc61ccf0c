/* SQLite in memory: two thousand inserts with an index, and two queries. */
#include "measure.h"
#include <sqlite3.h>

static sqlite3 *database;

static int open_database(void) {
    if (sqlite3_open(":memory:", &database))
        return 1;
    return sqlite3_exec(database,
                        "create table t(a integer primary key, b text, c int);"
                        "create index i on t(c);",
                        NULL, NULL, NULL);
}

static void transactions(uint64_t n) {
    while (n--) {
        char *error = NULL;
        if (sqlite3_exec(database,
                         "delete from t; begin;"
                         "with recursive x(i) as"
                         " (select 1 union all select i + 1 from x where i < 2000)"
                         " insert into t select i, 'row ' || i, (i * 7919) % 1009 from x;"
                         "commit;"
                         "select sum(length(b)), count(*) from t where c between 100 and 400;"
                         "select c, count(*) from t group by c order by 2 desc limit 10;",
                         NULL, NULL, &error)) {
            puts(error);
            exit(1);
        }
    }
}

const struct measure app_sqlite[] = {
    {"app.sqlite_mem", transactions, 0, open_database, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
