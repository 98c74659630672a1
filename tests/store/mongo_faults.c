/* SPDX-License-Identifier: MPL-2.0 */
/* The store in MongoDB against a server that dies, freezes and comes back, and what else is
 * special.
 *
 * Each check takes a running server and leaves one behind. Exit status: checks failed; 77 if there
 * is no mongod to be had.
 */
#include <mongoc/mongoc.h>
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
#include "tests/store/writers.h"

static void restart_or_die(struct mongod *m)
{
    struct error err = {0};

    if (mongod_restart(m, &err) < 0) {
        printf("cannot restart: %s\n", err.text);
        exit(1);
    }
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
    writers_stop(&all, TIMEOUT_MS + 1500);
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
    writers_stop(&all, TIMEOUT_MS + 1500);
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
    expect(store_get(s, item.table, keys, 1, STORE_BOTH, STORE_MAJORITY, &before, NULL) == 0,
           "get");
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

/* --- what is no fault but MongoDB's own ------------------------------------------------------ */

#define LARGE ((size_t)6 << 20)

/* A reply ends at 16 MB, so these come in several; keys may be asked for twice, or be absent. */
static void get_large(struct store *s, uint64_t account, enum store_level level)
{
    static const uint64_t ask[] = {3, 1, 99, 4, 2, 1, 5, 98, 3};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key16 keys[ARRAY_LEN(ask)];
    struct slice slices[ARRAY_LEN(ask)];

    for (size_t i = 0; i < ARRAY_LEN(ask); i++) {
        keys[i] = key_pair(account, ask[i]);
        slices[i] = KEY_SLICE(keys[i]);
    }
    if (store_get(s, STORE_MESSAGES, slices, ARRAY_LEN(ask), STORE_BOTH, level, &docs, NULL) < 0) {
        expect(false, "large values can be read");
        return;
    }
    expect(docs.n == ARRAY_LEN(ask), "an answer for each key");
    for (size_t i = 0; i < docs.n; i++) {
        const struct store_doc *d = &docs.items[i];

        expect(d->found == (ask[i] < 90), "found as it should be");
        expect(slice_eq(d->key, slices[i]), "the key that was asked for");
        expect(!d->found || (d->body.n == LARGE && d->body.p[LARGE - 1] == ask[i]), "its bytes");
        expect(d->found == (d->version != 0) && d->found == (d->stored_ms != 0), "its version");
    }
}

static void range_large(struct store *s, uint64_t account, bool descending)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key16 from = key_pair(account, 2), to = key_pair(account, 5);
    struct store_query q = {.table = STORE_MESSAGES,
                            .from = KEY_SLICE(from),
                            .to = KEY_SLICE(to),
                            .max_bytes = 10 * LARGE,
                            .parts = STORE_BODY,
                            .level = STORE_LINEARIZABLE,
                            .descending = descending};

    expect(store_range(s, &q, &docs, NULL) == 0 && docs.n == 3 && !docs.more, "a large range");
    for (size_t i = 0; i < docs.n; i++)
        expect(docs.items[i].body.n == LARGE &&
                   docs.items[i].body.p[LARGE - 1] == (descending ? 4 - i : 2 + i),
               "in order");
}

static void try_large(struct store *s)
{
    uint64_t account = random_u64() >> 1;
    uint8_t *bodies[5];
    struct key16 keys[5];
    struct store_item items[5];
    int64_t time;

    for (size_t i = 0; i < 5; i++) {
        bodies[i] = mem_zalloc(LARGE);
        bodies[i][LARGE - 1] = (uint8_t)(i + 1);
        keys[i] = key_pair(account, i + 1);
        items[i] = (struct store_item){
            .table = STORE_MESSAGES, .key = KEY_SLICE(keys[i]), .body = slice_of(bodies[i], LARGE)};
    }
    expect(store_insert(s, items, 5, &time, NULL) == 0, "large values can be stored");
    for (int level = STORE_ANY; level <= STORE_LINEARIZABLE; level++)
        get_large(s, account, level);
    range_large(s, account, false);
    range_large(s, account, true);
    for (size_t i = 0; i < 5; i++)
        free(bodies[i]);
}

static void check_large_values(struct mongod *m, struct store *s)
{
    (void)m;
    try_large(s);
}

/* As a server before 5.3 has them: another way to look up several keys. */
static void check_plain_collections(struct mongod *m, struct store *s)
{
    static const char *const names[] = {"log", "messages", "blobs", "bloblinks", "segments"};
    char uri[160];
    mongoc_client_t *client = mongoc_client_new(m->uri);
    struct store *plain;

    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        bson_t *create = BCON_NEW("create", names[i]);

        expect(mongoc_client_command_simple(client, "eider_plain", create, NULL, NULL, NULL),
               "create");
        bson_destroy(create);
    }
    mongoc_client_destroy(client);
    snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/eider_plain", m->port);
    plain = open_or_die(uri);
    try_large(plain);
    store_close(plain);
}

static void check_newer_format_is_refused(struct mongod *m, struct store *s)
{
    char uri[160];
    mongoc_client_t *client = mongoc_client_new(m->uri);
    bson_t *insert = BCON_NEW("insert", "meta", "documents", "[", "{", "_id", "format", "v",
                              BCON_INT32(1000), "}", "]");
    struct store *other = NULL;
    struct error err = {0};

    (void)s;
    expect(mongoc_client_command_simple(client, "eider_later", insert, NULL, NULL, NULL), "insert");
    bson_destroy(insert);
    mongoc_client_destroy(client);
    snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/eider_later", m->port);
    expect(store_open(uri, NULL, &other, &err) == -ERR_INTERNAL, "refused");
    printf("  %s\n", err.text);
}

static const struct check {
    const char *name;
    void (*run)(struct mongod *m, struct store *s);
} checks[] = {
    {"large_values", check_large_values},
    {"plain_collections", check_plain_collections},
    {"newer_format_is_refused", check_newer_format_is_refused},
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
        int before = writers_failures();

        if (argc > 1 && !strstr(checks[i].name, argv[1]))
            continue;
        checks[i].run(&m, s);
        printf("%s - %s (%lld ms)\n", writers_failures() == before ? "ok" : "not ok",
               checks[i].name, (long long)(clock_mono_ms() - start));
    }
    store_close(s);
    mongod_stop(&m);
    return writers_failures() > 100 ? 100 : writers_failures();
}
