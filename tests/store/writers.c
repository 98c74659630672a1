/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/store/writers.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"

static int failures;

void expect(bool ok, const char *what)
{
    if (!ok) {
        printf("  FAILED: %s\n", what);
        failures++;
    }
}

int writers_failures(void)
{
    return failures;
}

struct store *open_or_die(const char *uri)
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

#define BATCH      8
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
                                       .key = KEY_SLICE(keys[i]),
                                       .head = S("a record")};
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

void writers_start(struct writers *all, struct store *s)
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
    struct store_query q = {.table = table,
                            .from = KEY_SLICE(from),
                            .to = KEY_SLICE(to),
                            .parts = STORE_KEYS,
                            .level = level};

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

void writers_stop(struct writers *all, int64_t limit_ms)
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
