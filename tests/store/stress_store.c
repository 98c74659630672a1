/* SPDX-License-Identifier: MPL-2.0 */
/* stress_store URI [SECONDS]: threads that do everything at once on one handle; for TSan and
 * helgrind (Criterion does not run under them), and for ASan. What it checks: a key has one winner,
 * what is acknowledged is there, a document is never torn, close comes while nothing is lost. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"

#define THREADS 6
#define KEYS    64 /* few, so that threads meet */

struct stress {
    struct store *s;
    _Atomic bool stop;
    _Atomic uint64_t calls, bad;
    _Atomic uint64_t next_seq; /* of the log of account 1; each is inserted by two threads */
    _Atomic uint32_t winners[1 << 20];
};

static void expect(struct stress *st, bool good)
{
    atomic_fetch_add(&st->calls, 1);
    if (!good)
        atomic_fetch_add(&st->bad, 1);
}

/* Head and body are the same byte all over, so a torn document shows. */
static bool whole(const struct store_doc *doc)
{
    uint8_t fill = doc->head.n ? doc->head.p[0] : 0;

    for (size_t i = 0; i < doc->body.n; i++)
        if (doc->body.p[i] != fill)
            return false;
    return true;
}

static void race_for_the_next(struct stress *st)
{
    uint64_t seq = atomic_fetch_add(&st->next_seq, 1) / 2;
    struct key16 k = key_pair(1, seq);
    struct store_item item = {.table = STORE_LOG, .key = KEY_SLICE(k), .head = S("record")};
    int64_t time;
    int r = store_insert(st->s, &item, 1, &time, NULL);

    expect(st, r == 0 && (item.outcome == STORE_DONE || item.outcome == STORE_TAKEN));
    if (r == 0 && item.outcome == STORE_DONE && seq < ARRAY_LEN(st->winners))
        expect(st, atomic_fetch_add(&st->winners[seq], 1) == 0);
}

static void put_or_change(struct stress *st, struct slice key, uint8_t fill)
{
    uint8_t bytes[3000];
    struct slice head = slice_of(bytes, 1), body = slice_of(bytes, 1 + fill * 11);
    struct store_item item = {.table = STORE_BLOBS, .key = key, .head = head, .body = body};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct store_change c = {.table = STORE_BLOBS,
                             .key = key,
                             .set_head = true,
                             .set_body = true,
                             .head = head,
                             .body = body};
    int64_t time;
    int r;

    memset(bytes, fill, sizeof bytes);
    expect(st, store_insert(st->s, &item, 1, &time, NULL) == 0);
    if (store_get(st->s, STORE_BLOBS, &key, 1, STORE_BOTH, STORE_MAJORITY, &docs, NULL) < 0)
        expect(st, false);
    if (docs.n != 1 || !docs.items[0].found)
        return;
    expect(st, whole(&docs.items[0]));
    c.version = docs.items[0].version;
    r = store_update(st->s, &c, NULL, &time, NULL);
    expect(st, r == 0 || r == -ERR_CONFLICT);
}

static void read_all(struct stress *st, bool descending)
{
    struct store_query q = {.table = STORE_BLOBS, .parts = STORE_BOTH, .descending = descending};
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    expect(st, store_range(st->s, &q, &docs, NULL) == 0);
    for (size_t i = 0; i < docs.n; i++)
        expect(st, whole(&docs.items[i]));
}

static void delete_some(struct stress *st, struct slice key)
{
    struct slice to = S("\xff");

    if (key.p[31] % 8 == 0)
        expect(st, store_delete_range(st->s, STORE_BLOBS, key, to, NULL, NULL) == 0);
    else
        expect(st, store_delete(st->s, STORE_BLOBS, &key, 1, NULL) == 0);
}

static void *work(void *arg)
{
    struct stress *st = arg;

    while (!atomic_load(&st->stop)) {
        uint64_t dice = random_u64();
        uint8_t key[32] = {0};
        int64_t time;

        key[31] = (uint8_t)(dice % KEYS);
        switch ((dice >> 16) % 8) {
        case 0:
        case 1:
        case 2:
            put_or_change(st, slice_of(key, sizeof key), (uint8_t)(dice >> 32));
            break;
        case 3:
        case 4:
            race_for_the_next(st);
            break;
        case 5:
            read_all(st, dice >> 63);
            break;
        case 6:
            delete_some(st, slice_of(key, sizeof key));
            break;
        default:
            expect(st, store_time(st->s, &time, NULL) == 0 && time > 0);
            (void)store_pulse(st->s);
        }
    }
    return NULL;
}

static void run(struct store *s, unsigned seconds, struct stress *st)
{
    int64_t end = clock_mono_ms() + seconds * 1000;
    pthread_t threads[THREADS];

    st->s = s;
    st->next_seq = random_u64() >> 24 << 1; /* past what an earlier run left */
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, st) != 0)
            abort();
    while (clock_mono_ms() < end) {
        struct timespec tick = {.tv_nsec = 10000000};

        nanosleep(&tick, NULL);
    }
    st->stop = true;
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    static const struct fault_plan delays = {.seed = 1, .per_mille = {[FAULT_DELAY] = 5}};
    unsigned seconds = argc == 3 ? (unsigned)atoi(argv[2]) : 3;
    struct stress *st = NEW(struct stress);
    struct store *inner, *s;
    struct error err = {0};
    bool good;

    if (argc < 2 || store_open(argv[1], NULL, &inner, &err) < 0) {
        fprintf(stderr, "usage: stress_store URI [SECONDS] %s\n", err.text);
        return 2;
    }
    s = store_faulty_new(inner, &delays); /* so that it is under stress too */
    run(s, seconds, st);
    store_close(s);
    store_close(inner);
    printf("%llu calls, %llu faults\n", (unsigned long long)st->calls, (unsigned long long)st->bad);
    good = st->bad == 0;
    free(st);
    return !good;
}
