/* SPDX-License-Identifier: MPL-2.0 */
/* store_bench URI SECONDS [plain]: durable deliveries per second, the floor of all that Eider does.
 *
 * A delivery is a message (1 KB digest, 2 KB content) and its record (150 bytes) in one of 2,000
 * accounts. With 1, 8 and 32 threads, each waiting for its own delivery before the next one.
 * `plain` (sqlite: only) also runs what one would write without a store: BEGIN IMMEDIATE, two
 * inserts, COMMIT, by one thread and its own connection; every thread has one, behind the busy
 * handler. Build with -O2 and without sanitizers (meson setup --buildtype=release).
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/store.h"

#define ACCOUNTS 2000

struct bench {
    struct store *store;
    char *plain_path; /* NULL: by the store */
    uint64_t accounts[ACCOUNTS];
    _Atomic uint32_t seqs[ACCOUNTS];
    uint8_t content[4096];
    _Atomic bool stop;
    _Atomic uint64_t done, wait_us, worst_us;
};

struct delivery {
    struct key16 message, record, before;
    struct slice digest, content, text;
};

static struct delivery new_delivery(struct bench *b)
{
    uint64_t dice = random_u64();
    size_t at = dice % ACCOUNTS;
    uint32_t seq = atomic_fetch_add(&b->seqs[at], 1) + 1;
    struct delivery d = {
        .message = key_pair(b->accounts[at], (uint64_t)clock_wall_ms() << 16 | (dice >> 48)),
        .record = key_pair(b->accounts[at], seq),
        .digest = slice_of(b->content, 1000),
        .content = slice_of(b->content + 1000, 2000),
        .text = slice_of(b->content + 3000, 150),
    };

    return d;
}

static bool deliver(struct bench *b, const struct delivery *d)
{
    uint32_t group = store_is_atomic(b->store) ? 1 : 0;
    struct store_item items[2] = {
        {.table = STORE_MESSAGES,
         .key = KEY_SLICE(d->message),
         .head = d->digest,
         .body = d->content,
         .group = group},
        {.table = STORE_LOG, .key = KEY_SLICE(d->record), .head = d->text, .group = group},
    };
    int64_t time;

    if (group)
        return store_insert(b->store, items, 2, &time, NULL) == 0 && items[1].outcome == STORE_DONE;
    return store_insert(b->store, items, 1, &time, NULL) == 0 &&
           store_insert(b->store, items + 1, 1, &time, NULL) == 0 && items[1].outcome == STORE_DONE;
}

/* --- the plain loop -------------------------------------------------------------------------- */

struct plain {
    sqlite3 *db;
    sqlite3_stmt *begin, *message, *record, *commit;
};

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
        fprintf(stderr, "store_bench: %s\n", sqlite3_errmsg(db));
        exit(2);
    }
    return stmt;
}

static void plain_open(struct plain *p, const char *path)
{
    if (sqlite3_open(path, &p->db) != SQLITE_OK)
        exit(2);
    sqlite3_busy_timeout(p->db, 60000);
    sqlite3_exec(p->db,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                 "CREATE TABLE IF NOT EXISTS m(k BLOB PRIMARY KEY, h BLOB, b BLOB);"
                 "CREATE TABLE IF NOT EXISTS l(k BLOB PRIMARY KEY, h BLOB)",
                 NULL, NULL, NULL);
    p->begin = prepare(p->db, "BEGIN IMMEDIATE");
    p->message = prepare(p->db, "INSERT INTO m VALUES(?1, ?2, ?3)");
    p->record = prepare(p->db, "INSERT INTO l VALUES(?1, ?2)");
    p->commit = prepare(p->db, "COMMIT");
}

static bool run(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    sqlite3_reset(stmt);
    return rc == SQLITE_DONE;
}

static void bind(sqlite3_stmt *stmt, int i, struct slice s)
{
    sqlite3_bind_blob64(stmt, i, s.p, s.n, SQLITE_STATIC);
}

static bool plain_deliver(struct plain *p, const struct delivery *d)
{
    bind(p->message, 1, KEY_SLICE(d->message));
    bind(p->message, 2, d->digest);
    bind(p->message, 3, d->content);
    bind(p->record, 1, KEY_SLICE(d->record));
    bind(p->record, 2, d->text);
    return run(p->begin) && run(p->message) && run(p->record) && run(p->commit);
}

static void plain_close(struct plain *p)
{
    sqlite3_finalize(p->begin);
    sqlite3_finalize(p->message);
    sqlite3_finalize(p->record);
    sqlite3_finalize(p->commit);
    sqlite3_close(p->db);
}

/* --- rounds ---------------------------------------------------------------------------------- */

static void *deliver_until_stopped(void *arg)
{
    struct bench *b = arg;
    struct plain plain = {0};

    if (b->plain_path)
        plain_open(&plain, b->plain_path);
    while (!atomic_load(&b->stop)) {
        struct delivery d = new_delivery(b);
        int64_t start = clock_mono_us();
        bool good = b->plain_path ? plain_deliver(&plain, &d) : deliver(b, &d);
        uint64_t took = (uint64_t)(clock_mono_us() - start);

        if (!good)
            fprintf(stderr, "store_bench: a delivery failed\n");
        atomic_fetch_add(&b->done, good);
        atomic_fetch_add(&b->wait_us, took);
        if (took > atomic_load(&b->worst_us))
            atomic_store(&b->worst_us, took);
    }
    if (b->plain_path)
        plain_close(&plain);
    return NULL;
}

static double run_round(struct bench *b, unsigned threads, unsigned seconds)
{
    pthread_t ids[64];
    int64_t start = clock_mono_us();
    double rate;

    b->done = b->wait_us = b->worst_us = 0;
    b->stop = false;
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, deliver_until_stopped, b) != 0)
            abort();
    sleep(seconds);
    b->stop = true;
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    rate = (double)b->done * 1e6 / (double)(clock_mono_us() - start);
    printf("%-6s %2u threads %8.0f deliveries/s, mean %6.2f ms, worst %6.1f ms\n",
           b->plain_path ? "plain" : "store", threads, rate,
           (double)b->wait_us / 1e3 / (double)(b->done ? b->done : 1), (double)b->worst_us / 1e3);
    fflush(stdout);
    return rate;
}

int main(int argc, char **argv)
{
    static const unsigned threads[] = {1, 8, 32};
    struct bench *b = NEW(struct bench);
    struct error err = {0};
    bool with_plain = argc == 4 && strcmp(argv[3], "plain") == 0;
    unsigned seconds = argc >= 3 ? (unsigned)atoi(argv[2]) : 0;

    if (seconds == 0 || (with_plain && !slice_starts(slice_str(argv[1]), S("sqlite:")))) {
        fprintf(stderr, "usage: store_bench URI SECONDS [plain]\n");
        return 2;
    }
    if (store_open(argv[1], NULL, &b->store, &err) < 0) {
        fprintf(stderr, "store_bench: %s\n", err.text);
        return 2;
    }
    random_bytes(b->content, sizeof b->content);
    for (size_t i = 0; i < ACCOUNTS; i++)
        b->accounts[i] = random_u64();
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        double store = run_round(b, threads[i], seconds), plain;

        if (!with_plain)
            continue;
        b->plain_path = mem_printf("%s-plain", argv[1] + 7);
        plain = run_round(b, threads[i], seconds);
        free(TAKE(b->plain_path));
        printf("       %2u threads: store / plain = %.1f\n", threads[i], store / plain);
    }
    store_close(b->store);
    free(b);
    return 0;
}
