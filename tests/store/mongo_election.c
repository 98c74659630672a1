/* SPDX-License-Identifier: MPL-2.0 */
/* The store on a replica set of three that loses its primary under writers: killed, frozen, asked
 * to step down. Elections, rollbacks and stale primaries are real here. Exit status: checks failed;
 * 77 if there is no mongod to be had.
 */
#include <mongoc/mongoc.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "tests/store/mongod.h"
#include "tests/store/writers.h"

static int await_primary_other_than(struct mongod set[static 3], int old)
{
    int64_t end = clock_mono_ms() + 30000;
    int now = -1;

    while ((now < 0 || now == old) && clock_mono_ms() < end) {
        usleep(200000);
        now = mongod_primary(set);
    }
    expect(now >= 0 && now != old, "another primary is elected");
    return now;
}

static void check_kill_primary(struct mongod set[static 3], struct store *s)
{
    int old = mongod_primary(set);
    struct writers all;

    writers_start(&all, s);
    usleep(500000);
    mongod_kill(&set[old]);
    await_primary_other_than(set, old);
    usleep(2500000);
    mongod_relaunch(&set[old]);
    usleep(1500000);
    writers_stop(&all, TIMEOUT_MS + 1500);
}

static void check_freeze_primary(struct mongod set[static 3], struct store *s)
{
    int old = mongod_primary(set);
    struct writers all;

    writers_start(&all, s);
    usleep(500000);
    mongod_freeze(&set[old]);
    await_primary_other_than(set, old);
    usleep(5500000);
    mongod_thaw(&set[old]); /* what waited in it comes to light, and is rolled back */
    usleep(3500000);
    writers_stop(&all, TIMEOUT_MS + 1500);
}

static void check_step_down(struct mongod set[static 3], struct store *s)
{
    int old = mongod_primary(set);
    bson_t *command =
        BCON_NEW("replSetStepDown", BCON_INT32(20), "secondaryCatchUpPeriodSecs", BCON_INT32(5));
    mongoc_client_t *client;
    struct writers all;
    char uri[100];

    snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/?directConnection=true", set[old].port);
    client = mongoc_client_new(uri);
    writers_start(&all, s);
    usleep(500000);
    expect(mongoc_client_command_simple(client, "admin", command, NULL, NULL, NULL), "steps down");
    await_primary_other_than(set, old);
    usleep(2500000);
    writers_stop(&all, TIMEOUT_MS + 1500);
    mongoc_client_destroy(client);
    bson_destroy(command);
}

/* A secondary may not have it yet; the answer is there all the same. */
static void check_any_finds_what_was_just_written(struct mongod set[static 3], struct store *s)
{
    size_t missing = 0;

    (void)set;
    for (uint64_t i = 0; i < 200; i++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        struct key16 key = key_pair(random_u64(), i);
        struct slice keys[] = {KEY_SLICE(key)};
        struct store_item item = {.table = STORE_MESSAGES, .key = keys[0], .head = S("x")};
        int64_t time;

        expect(store_insert(s, &item, 1, &time, NULL) == 0, "insert");
        expect(store_get(s, STORE_MESSAGES, keys, 1, STORE_HEAD, STORE_ANY, &docs, NULL) == 0,
               "get");
        missing += !docs.items[0].found;
    }
    expect(missing == 0, "found");
}

static const struct check {
    const char *name;
    void (*run)(struct mongod set[static 3], struct store *s);
} checks[] = {
    {"any_finds_what_was_just_written", check_any_finds_what_was_just_written},
    {"I21_I23_step_down", check_step_down},
    {"I21_I23_kill_primary", check_kill_primary},
    {"I21_I23_freeze_primary", check_freeze_primary},
};

int main(int argc, char **argv)
{
    struct mongod set[3];
    struct error err;
    struct store *s;
    int r = mongod_start_three(set, &err);

    if (r < 0) {
        fprintf(stderr, "mongo_election: %s\n", err.text);
        return r == -ERR_NOTFOUND ? 77 : 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_set_level(LOG_ERROR_);
    s = open_or_die(set[0].uri);
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int64_t start = clock_mono_ms();
        int before = writers_failures();

        if (argc > 1 && !strstr(checks[i].name, argv[1]))
            continue;
        checks[i].run(set, s);
        printf("%s - %s (%lld ms)\n", writers_failures() == before ? "ok" : "not ok",
               checks[i].name, (long long)(clock_mono_ms() - start));
    }
    store_close(s);
    for (int i = 0; i < 3; i++)
        mongod_stop(&set[i]);
    return writers_failures() > 100 ? 100 : writers_failures();
}
