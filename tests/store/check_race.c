/* SPDX-License-Identifier: MPL-2.0 */
/* Several threads and two handles at once. */
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/digest.h"
#include "tests/store/conformance_impl.h"

/* --- several at once ------------------------------------------------------------------------- */

#define RACERS    4
#define RACE_KEYS 50

struct racer {
    struct run *r;
    struct store *s;
    uint64_t account;
    uint32_t me;
    pthread_t thread;
    enum store_outcome outcomes[RACE_KEYS];
    unsigned wins;
    bool broken; /* an answer that must not be */
};

static void run_racers(struct run *r, struct racer *racers, void *(*main)(void *))
{
    uint64_t account = random_u64();

    for (uint32_t i = 0; i < RACERS; i++) {
        racers[i] =
            (struct racer){.r = r, .s = i & 1 ? r->other : r->s, .account = account, .me = i};
        if (pthread_create(&racers[i].thread, NULL, main, &racers[i]) != 0)
            abort();
    }
    for (size_t i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        EXPECT(r, !racers[i].broken);
    }
}

static void *race_for_keys(void *arg)
{
    struct racer *racer = arg;
    struct key16 k;
    uint8_t me[4];

    put_be32(me, racer->me);
    for (uint64_t i = 0; i < RACE_KEYS; i++) {
        k = key_pair(racer->account, i);
        racer->outcomes[i] = put(racer->s, STORE_LOG, KEY_SLICE(k), slice_of(me, 4), S(""));
    }
    return NULL;
}

static void check_one_winner_for_each_key(struct run *r)
{
    struct racer racers[RACERS];

    run_racers(r, racers, race_for_keys);
    for (uint64_t i = 0; i < RACE_KEYS; i++) {
        struct key16 k = key_pair(racers[0].account, i);
        unsigned done = 0, taken = 0;
        uint8_t winner[4] = {0};

        for (uint32_t j = 0; j < RACERS; j++) {
            done += racers[j].outcomes[i] == STORE_DONE;
            taken += racers[j].outcomes[i] == STORE_TAKEN;
            if (racers[j].outcomes[i] == STORE_DONE)
                put_be32(winner, j);
        }
        EXPECT(r, done == 1 && taken == RACERS - 1);
        EXPECT(r, holds(r->s, STORE_LOG, KEY_SLICE(k), slice_of(winner, 4), S("")));
    }
}

/* A counter that all racers raise, each with the version it has read. */
static void *race_for_versions(void *arg)
{
    struct racer *racer = arg;
    struct key8 k = key_account(racer->account);

    for (int tries = 0; racer->wins < RACE_KEYS && tries < 100000 && !racer->broken; tries++) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        struct store_doc *doc = get(racer->s, STORE_QUEUE, KEY_SLICE(k), &docs);
        uint8_t count[8];
        struct store_change c = {.table = STORE_QUEUE, .key = KEY_SLICE(k), .set_head = true};
        int64_t time;
        int result;

        if (!doc || doc->head.n != 8) {
            racer->broken = true;
            break;
        }
        put_be64(count, get_be64(doc->head.p) + 1);
        c.head = slice_of(count, 8);
        c.version = doc->version;
        result = store_update(racer->s, &c, NULL, &time, NULL);
        racer->wins += result == 0;
        racer->broken = result != 0 && result != -ERR_CONFLICT;
    }
    return NULL;
}

static void *start_counter_then_race(void *arg)
{
    struct racer *racer = arg;
    struct key8 k = key_account(racer->account);

    if (put(racer->s, STORE_QUEUE, KEY_SLICE(k), S("\0\0\0\0\0\0\0\0"), S("")) > STORE_TAKEN)
        racer->broken = true;
    return race_for_versions(racer);
}

static void check_no_update_is_lost(struct run *r)
{
    struct racer racers[RACERS];
    struct key8 k;
    uint8_t count[8];

    run_racers(r, racers, start_counter_then_race);
    k = key_account(racers[0].account);
    put_be64(count, RACERS * RACE_KEYS);
    EXPECT(r, holds(r->s, STORE_QUEUE, KEY_SLICE(k), slice_of(count, 8), S("")));
    EXPECT_OK(r, drop(r->s, STORE_QUEUE, KEY_SLICE(k), &err));
}

/* Each changes a document of its own, with the version that the last change gave, while all others
 * do so: a back end may send them together, but each has its own answer. */
#define CHANGERS 16
#define CHANGES  25

struct changer {
    struct store *s;
    struct key10 key;
    pthread_t thread;
    bool broken;
};

/* 0: done; 1: not, and nothing is changed; -1: that must not be. *version and *head follow. */
static int change_once(struct changer *c, uint64_t guard, uint64_t *version,
                       uint8_t head[static 16])
{
    uint8_t next[16];
    struct store_change change = {.table = STORE_QUEUEENTRIES,
                                  .key = KEY_SLICE(c->key),
                                  .version = guard,
                                  .set_head = true,
                                  .head = slice_of(next, sizeof next)};
    uint64_t given = 0;
    int64_t time;
    int r;

    random_bytes(next, sizeof next);
    r = store_update(c->s, &change, &given, &time, NULL);
    if (r != 0 && r != -ERR_UNKNOWN_OUTCOME && r != -ERR_CONFLICT)
        return -1;
    if (holds(c->s, STORE_QUEUEENTRIES, KEY_SLICE(c->key), slice_of(head, 16), S("")))
        return r == 0 ? -1 : 1;
    if (r == -ERR_CONFLICT ||
        !holds(c->s, STORE_QUEUEENTRIES, KEY_SLICE(c->key), slice_of(next, 16), S("")))
        return -1;
    *version = version_of(c->s, STORE_QUEUEENTRIES, KEY_SLICE(c->key));
    memcpy(head, next, sizeof next);
    return r == 0 && given != *version ? -1 : 0;
}

static void *change_own(void *arg)
{
    struct changer *c = arg;
    uint8_t head[16] = {0};
    uint64_t version, old;

    if (put(c->s, STORE_QUEUEENTRIES, KEY_SLICE(c->key), slice_of(head, 16), S("")) != STORE_DONE)
        c->broken = true;
    old = version = version_of(c->s, STORE_QUEUEENTRIES, KEY_SLICE(c->key));
    for (int done = 0, tries = 0; done < CHANGES && !c->broken; tries++) {
        uint64_t before = version;
        int r = change_once(c, version, &version, head);

        c->broken = r < 0 || tries > 100 * CHANGES;
        done += r == 0;
        if (done % 5 == 4 && old != version && change_once(c, old, &version, head) != 1)
            c->broken = true;
        old = before;
    }
    if (drop(c->s, STORE_QUEUEENTRIES, KEY_SLICE(c->key), NULL) != 0)
        c->broken = true;
    return NULL;
}

static void check_changes_at_once_are_told_apart(struct run *r)
{
    struct changer changers[CHANGERS];
    uint64_t id = random_u64();

    for (uint16_t i = 0; i < CHANGERS; i++) {
        changers[i] = (struct changer){.s = r->s, .key = key_queue_entry(id, i)};
        if (pthread_create(&changers[i].thread, NULL, change_own, &changers[i]) != 0)
            abort();
    }
    for (size_t i = 0; i < CHANGERS; i++) {
        pthread_join(changers[i].thread, NULL);
        EXPECT(r, !changers[i].broken);
    }
}

/* Writers of a log of their own read it back, while others write, delete and read theirs. */
static void *mixed_work(void *arg)
{
    struct racer *racer = arg;
    struct slice body = bytes_of((uint8_t)racer->me, 2500);

    for (uint64_t i = 0; i < 60; i++) {
        struct key16 k = key_pair(racer->account + racer->me, i);
        struct key16 old = key_pair(racer->account + racer->me, i / 2);
        struct store_query q = {.table = STORE_MESSAGES,
                                .from = slice_of(k.b, 8),
                                .limit = 10,
                                .parts = STORE_BOTH,
                                .level = STORE_MAJORITY};
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        if (put(racer->s, STORE_MESSAGES, KEY_SLICE(k), KEY_SLICE(k), body) != STORE_DONE ||
            !holds(racer->s, STORE_MESSAGES, KEY_SLICE(k), KEY_SLICE(k), body) ||
            store_range(racer->s, &q, &docs, NULL) != 0 || docs.n == 0)
            racer->broken = true;
        if (i % 7 == 6 && drop(racer->s, STORE_MESSAGES, KEY_SLICE(old), NULL) != 0)
            racer->broken = true;
    }
    bytes_done(body);
    return NULL;
}

static void check_mixed_work_at_once(struct run *r)
{
    struct racer racers[RACERS];

    run_racers(r, racers, mixed_work);
}

static void check_trips_are_counted(struct run *r)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key8 k = key_account(random_u64());
    uint64_t before = store_trips();

    EXPECT(r, get(r->s, STORE_ACCOUNTS, KEY_SLICE(k), &docs) == NULL);
    EXPECT(r, store_trips() == before + 1);
}

static void check_pulse_can_be_asked(struct run *r)
{
    uint64_t first = store_pulse(r->s);
    struct key8 k = key_account(random_u64());

    EXPECT(r, put(r->other, STORE_QUEUE, KEY_SLICE(k), S(""), S("")) == STORE_DONE);
    if (strcmp(store_kind(r->s), "sqlite") == 0 && r->s != r->other)
        EXPECT(r, store_pulse(r->s) != first);
    EXPECT_OK(r, drop(r->s, STORE_QUEUE, KEY_SLICE(k), &err));
}

/* --- the list -------------------------------------------------------------------------------- */

const struct check checks_race[] = {
    CHECK(one_winner_for_each_key),
    CHECK(no_update_is_lost),
    CHECK(changes_at_once_are_told_apart),
    CHECK(mixed_work_at_once),
    CHECK(trips_are_counted),
    CHECK(pulse_can_be_asked),
    {NULL, NULL},
};
