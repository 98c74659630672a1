/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/rates.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

struct entry {
    uint8_t key[16];
    int64_t begin_ms, window_ms; /* of the current window */
    uint64_t current, previous;
    TAILQ_ENTRY(entry) by_use;
    UT_hash_handle hh;
};
TAILQ_HEAD(entries, entry);

struct memory {
    struct rates rates;
    pthread_mutex_t lock;
    uint8_t secret[32]; /* so that nobody can choose keys that collide */
    struct entry *table;
    struct entries by_use; /* longest unused first */
    size_t n, max;
};

/* Until the events of a window, evenly spread, have gone but for `room`. */
static int64_t until_gone(uint64_t events, uint64_t room, int64_t window_ms)
{
    if (events <= room)
        return 0;
    return window_ms - (int64_t)((double)window_ms * (double)room / (double)events);
}

int64_t rates_wait_ms(const struct rates_window *w, uint64_t n, uint64_t limit, int64_t window_ms)
{
    uint64_t room;

    if (n > limit)
        return window_ms;
    room = limit - n;
    if (w->current <= room)
        return MAX(until_gone(w->previous, room - w->current, window_ms) - w->elapsed_ms,
                   (int64_t)0);
    return window_ms - w->elapsed_ms + until_gone(w->current, room, window_ms);
}

static void drop(struct memory *m, struct entry *e)
{
    HASH_DEL(m->table, e);
    TAILQ_REMOVE(&m->by_use, e, by_use);
    m->n--;
    free(e);
}

static struct entry *use(struct memory *m, struct slice key)
{
    uint8_t mac[SHA256_SIZE];
    struct entry *e;

    digest_hmac_sha256(slice_of(m->secret, sizeof m->secret), key, mac);
    HASH_FIND(hh, m->table, mac, sizeof e->key, e);
    if (e) {
        TAILQ_REMOVE(&m->by_use, e, by_use);
    } else {
        if (m->n >= m->max)
            drop(m, TAILQ_FIRST(&m->by_use));
        e = NEW(struct entry);
        memcpy(e->key, mac, sizeof e->key);
        HASH_ADD(hh, m->table, key, sizeof e->key, e);
        m->n++;
    }
    TAILQ_INSERT_TAIL(&m->by_use, e, by_use);
    return e;
}

static void turn(struct entry *e, int64_t window_ms, int64_t now)
{
    int64_t begin = now - now % window_ms;

    if (e->window_ms == window_ms && e->begin_ms == begin)
        return;
    e->previous = e->window_ms == window_ms && e->begin_ms == begin - window_ms ? e->current : 0;
    e->current = 0;
    e->begin_ms = begin;
    e->window_ms = window_ms;
}

static int memory_take(struct rates *rates, struct slice key, uint64_t n, uint64_t limit,
                       int64_t window_ms, int64_t *ret_wait_ms)
{
    struct memory *m = CONTAINER_OF(rates, struct memory, rates);
    int64_t now = clock_mono_ms(), wait;
    struct entry *e;

    pthread_mutex_lock(&m->lock);
    e = use(m, key);
    turn(e, window_ms, now);
    wait = rates_wait_ms(&(struct rates_window){e->current, e->previous, now - e->begin_ms}, n,
                         limit, window_ms);
    if (wait == 0)
        e->current += n;
    pthread_mutex_unlock(&m->lock);
    if (wait == 0)
        return 0;
    *ret_wait_ms = wait;
    return -ERR_LIMIT;
}

static void memory_free(struct rates *rates)
{
    struct memory *m = CONTAINER_OF(rates, struct memory, rates);
    struct entry *e;

    while ((e = TAILQ_FIRST(&m->by_use)))
        drop(m, e);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

struct rates *rates_memory_new(size_t max_keys)
{
    struct memory *m = NEW(struct memory);

    m->rates = (struct rates){.take = memory_take, .free = memory_free};
    m->max = MAX(max_keys, (size_t)1);
    pthread_mutex_init(&m->lock, NULL);
    random_bytes(m->secret, sizeof m->secret);
    TAILQ_INIT(&m->by_use);
    return &m->rates;
}
