/* SPDX-License-Identifier: MPL-2.0 */
/* The store in MongoDB against a server that dies, freezes and comes back.
 *
 * Each check takes a running server and leaves one behind. Writers note what they were told of each
 * key; afterwards the store must agree: DONE is there, REFUSED is not. Exit status: checks failed;
 * 77 if there is no mongod to be had.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/store.h"
#include "tests/store/mongod.h"

#define TIMEOUT_MS 10000
#define SLACK_MS 1500

static int failures;

static void expect(bool ok, const char *what)
{
    if (!ok) {
        printf("  FAILED: %s\n", what);
        failures++;
    }
}

static struct store *open_or_die(const char *uri)
{
    struct store_settings settings = {.timeout_ms = TIMEOUT_MS, .pool_size = 8};
    struct store *s = NULL;
    struct error err = {0};

    if (store_open(uri, &settings, &s, &err) < 0) {
        printf("cannot open: %s\n", err.text);
        exit(1);
    }
    return s;
}

static void restart_or_die(struct mongod *m)
{
    struct error err = {0};

    if (mongod_restart(m, &err) < 0) {
        printf("cannot restart: %s\n", err.text);
        exit(1);
    }
}

/* --- writers --------------------------------------------------------------------------------- */

#define BATCH 8
#define WRITES_MAX 20000

struct writer {
    struct store *store;
    uint64_t account;
    atomic_bool *stop;
    uint8_t told[WRITES_MAX]; /* enum store_outcome of (account, i) */
    size_t n;
    int64_t longest_ms; /* of one call */
    size_t errors;
    bool lied; /* a return value did not fit the outcomes */
};

static bool fits(int r, const struct store_item *items, size_t n)
{
    size_t unknown = 0, refused = 0;

    for (size_t i = 0; i < n; i++) {
        unknown += items[i].outcome == STORE_UNKNOWN;
        refused += items[i].outcome == STORE_REFUSED;
    }
    if (r == -ERR_UNKNOWN_OUTCOME)
        return unknown > 0;
    return r == -ERR_UNAVAILABLE ? refused == n : r == 0 && unknown == 0;
}

static void write_batch(struct writer *w)
{
    struct key16 keys[BATCH];
    struct store_item items[BATCH];
    struct error err = {0};
    int64_t start = clock_mono_ms(), time;
    int r;

    for (size_t i = 0; i < BATCH; i++) {
        keys[i] = key_pair(w->account, w->n + i);
        items[i] = (struct store_item){.table = i % 2 ? STORE_MESSAGES : STORE_LOG,
                                       .key = KEY_SLICE(keys[i]), .head = S("a record")};
    }
    r = store_insert(w->store, items, BATCH, &time, &err);
    w->longest_ms = MAX(w->longest_ms, clock_mono_ms() - start);
    w->lied = w->lied || !fits(r, items, BATCH);
    for (size_t i = 0; i < BATCH; i++)
        w->told[w->n + i] = (uint8_t)items[i].outcome;
    w->n += BATCH;
    w->errors += r < 0;
    usleep(r < 0 ? 50000 : 1000);
}

static void *write_until_stopped(void *arg)
{
    struct writer *w = arg;

    while (!atomic_load(w->stop) && w->n + BATCH <= WRITES_MAX)
        write_batch(w);
    return NULL;
}

#define WRITERS 4

struct writers {
    pthread_t threads[WRITERS];
    struct writer *w[WRITERS];
    atomic_bool stop;
};

static void writers_start(struct writers *all, struct store *s)
{
    atomic_init(&all->stop, false);
    for (int i = 0; i < WRITERS; i++) {
        all->w[i] = NEW(struct writer);
        all->w[i]->store = s;
        all->w[i]->account = random_u64() >> 1;
        all->w[i]->stop = &all->stop;
        if (pthread_create(&all->threads[i], NULL, write_until_stopped, all->w[i]) != 0)
            abort();
    }
}

/* Which of the writer's keys are in a table. */
static bool list_there(struct writer *w, enum store_table table, enum store_level level,
                       bool there[static WRITES_MAX])
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key8 from = key_account(w->account), to = key_account(w->account + 1);
    struct store_query q = {.table = table, .from = KEY_SLICE(from), .to = KEY_SLICE(to),
                            .parts = STORE_KEYS, .level = level};

    if (store_range(w->store, &q, &docs, NULL) < 0 || docs.more)
        return false;
    for (size_t i = 0; i < docs.n; i++)
        there[get_be64(docs.items[i].key.p + 8)] = true;
    return true;
}

/* The store against what the writer was told: I21, I23. */
static void compare(struct writer *w, size_t counts[4])
{
    static bool there[WRITES_MAX]; /* the tables have different ones of the keys */

    memset(there, 0, sizeof there);
    if (!list_there(w, STORE_LOG, STORE_MAJORITY, there) ||
        !list_there(w, STORE_MESSAGES, STORE_LINEARIZABLE, there)) {
        expect(false, "reads work again");
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        counts[w->told[i]]++;
        if (w->told[i] == STORE_DONE)
            expect(there[i], "I21: acknowledged, so there");
        if (w->told[i] == STORE_REFUSED)
            expect(!there[i], "I23: refused, so not there");
        expect(w->told[i] != STORE_TAKEN, "nobody else has these keys");
    }
}

static void writers_stop(struct writers *all, int64_t limit_ms)
{
    size_t counts[4] = {0}, errors = 0;
    int64_t longest = 0;

    atomic_store(&all->stop, true);
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(all->threads[i], NULL);
        expect(!all->w[i]->lied, "return values fit the outcomes");
        expect(all->w[i]->longest_ms < limit_ms, "calls end in time");
        longest = MAX(longest, all->w[i]->longest_ms);
        errors += all->w[i]->errors;
        compare(all->w[i], counts);
        free(all->w[i]);
    }
    printf("  %zu done, %zu unknown, %zu refused; %zu calls failed; longest call %lld ms\n",
           counts[STORE_DONE], counts[STORE_UNKNOWN], counts[STORE_REFUSED], errors,
           (long long)longest);
    expect(counts[STORE_DONE] > 0, "something was written at all");
}

/* --- checks ---------------------------------------------------------------------------------- */

static void check_kill_during_writes(struct mongod *m, struct store *s)
{
    struct writers all;

    writers_start(&all, s);
    usleep(1000000);
    mongod_kill(m);
    usleep(300000);
    restart_or_die(m);
    usleep(1500000);
    writers_stop(&all, TIMEOUT_MS + SLACK_MS);
}

/* Longer than the socket's patience, so that replies are lost and the server executes late. */
static void check_freeze_during_writes(struct mongod *m, struct store *s)
{
    struct writers all;

    writers_start(&all, s);
    usleep(500000);
    mongod_freeze(m);
    usleep(6000000);
    mongod_thaw(m);
    usleep(2500000);
    writers_stop(&all, TIMEOUT_MS + SLACK_MS);
}

static int one_insert(struct store *s, enum store_outcome *ret_outcome)
{
    struct key16 key = key_pair(random_u64(), 1);
    struct store_item item = {.table = STORE_LOG, .key = KEY_SLICE(key), .head = S("x")};
    struct error err = {0};
    int64_t time;
    int r = store_insert(s, &item, 1, &time, &err);

    *ret_outcome = item.outcome;
    return r;
}

/* I36: no hanging, plain refusals, and no restart of ours needed. */
static void check_away_and_back(struct mongod *m, struct store *s)
{
    struct key16 key = key_pair(1, 1);
    struct slice keys[] = {KEY_SLICE(key)};
    struct store *other = NULL;
    struct error err = {0};
    int64_t start;
    int r = -1;

    mongod_kill(m);
    usleep(1500000); /* a heartbeat has noticed */
    for (int level = STORE_ANY; level <= STORE_LINEARIZABLE; level++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        start = clock_mono_ms();
        expect(store_get(s, STORE_LOG, keys, 1, STORE_HEAD, level, &docs, NULL) == -ERR_UNAVAILABLE,
               "a read is refused while the server is away");
        expect(clock_mono_ms() - start < TIMEOUT_MS / 2, "and soon");
    }
    for (int i = 0; i < 2; i++) {
        enum store_outcome outcome;

        start = clock_mono_ms();
        expect(one_insert(s, &outcome) == -ERR_UNAVAILABLE && outcome == STORE_REFUSED,
               "a write is refused while the server is away");
        expect(clock_mono_ms() - start < TIMEOUT_MS / 2, "and soon");
    }
    start = clock_mono_ms();
    expect(store_open(m->uri, NULL, &other, &err) == -ERR_UNAVAILABLE, "open says unavailable");
    expect(clock_mono_ms() - start < TIMEOUT_MS / 2, "and soon");
    printf("  %s\n", err.text);
    restart_or_die(m);
    start = clock_mono_ms();
    while (r < 0 && clock_mono_ms() - start < 5000) {
        enum store_outcome outcome;

        r = one_insert(s, &outcome);
    }
    printf("  writes again %lld ms after it was back\n", (long long)(clock_mono_ms() - start));
    expect(r == 0, "recovers by itself");
}

static void check_standalone_is_refused(struct mongod *m, struct store *s)
{
    struct mongod alone;
    struct store *other = NULL;
    struct error err = {0};

    (void)m, (void)s;
    if (mongod_start(&alone, 0, &err) < 0) {
        expect(false, err.text);
        return;
    }
    expect(store_open(alone.uri, NULL, &other, &err) == -ERR_INVALID, "refused");
    expect(strstr(err.text, "rs.initiate()") != NULL, "with a sentence that helps");
    printf("  %s\n", err.text);
    mongod_stop(&alone);
}

/* A change whose reply is lost: the guard makes asking again harmless. */
static void check_update_when_frozen(struct mongod *m, struct store *s)
{
    CLEANUP(store_docs_done) struct store_docs before = {0}, after = {0};
    struct key8 key;
    struct slice keys[1];
    struct store_item item = {.table = STORE_SNAPSHOTS, .head = S("one")};
    struct store_change change = {.table = STORE_SNAPSHOTS, .set_head = true, .head = S("two")};
    int64_t time;
    int r;

    key = key_account(random_u64());
    keys[0] = change.key = item.key = KEY_SLICE(key);
    expect(store_insert(s, &item, 1, &time, NULL) == 0, "insert");
    expect(store_get(s, item.table, keys, 1, STORE_BOTH, STORE_MAJORITY, &before, NULL) == 0, "get");
    change.version = before.items[0].version;
    mongod_freeze(m);
    r = store_update(s, &change, NULL, NULL, NULL);
    expect(r == -ERR_UNKNOWN_OUTCOME, "the outcome of a change without a reply is unknown");
    mongod_thaw(m);
    usleep(1500000);
    r = store_update(s, &change, NULL, NULL, NULL);
    expect(r == 0 || r == -ERR_CONFLICT, "it can be tried again");
    expect(store_get(s, item.table, keys, 1, STORE_BOTH, STORE_LINEARIZABLE, &after, NULL) == 0 &&
               slice_eq(after.items[0].head, S("two")) &&
               after.items[0].version != before.items[0].version,
           "and is done once");
}

static const struct check {
    const char *name;
    void (*run)(struct mongod *m, struct store *s);
} checks[] = {
    {"I21_I23_kill_during_writes", check_kill_during_writes},
    {"I21_I23_freeze_during_writes", check_freeze_during_writes},
    {"I36_away_and_back", check_away_and_back},
    {"standalone_is_refused", check_standalone_is_refused},
    {"update_when_frozen", check_update_when_frozen},
};

int main(int argc, char **argv)
{
    struct mongod m;
    struct error err;
    struct store *s;
    int r = mongod_start(&m, 1, &err);

    if (r < 0) {
        fprintf(stderr, "mongo_faults: %s\n", err.text);
        return r == -ERR_NOTFOUND ? 77 : 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_set_level(LOG_ERROR_);
    s = open_or_die(m.uri);
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int64_t start = clock_mono_ms();
        int before = failures;

        if (argc > 1 && !strstr(checks[i].name, argv[1]))
            continue;
        checks[i].run(&m, s);
        printf("%s - %s (%lld ms)\n", failures == before ? "ok" : "not ok", checks[i].name,
               (long long)(clock_mono_ms() - start));
    }
    store_close(s);
    mongod_stop(&m);
    return failures > 100 ? 100 : failures;
}
