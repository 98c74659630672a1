/* SPDX-License-Identifier: MPL-2.0 */
/* Message documents in memory: digests and unpacked skeletons, least recently used first out.
 *
 * They never change, so nothing here is ever wrong, only absent. Sharded, because every FETCH of
 * every session comes by. An entry that is held stays alive after it has left the table.
 *
 * A table has as many chains as entries or more: a FETCH of 100,000 envelopes asks as often, and
 * what it waits for is memory that is not in the processor's cache. (The keys are our own, so the
 * hash need not be keyed.)
 */
#include <stdlib.h>
#include <sys/queue.h>

#include "lib/base/mem.h"
#include "lib/mail/content_impl.h"

#define SHARDS       16
#define CHAINS_FIRST 64

struct entry {
    struct cache_entry shown; /* first: what callers hold */
    struct {
        uint64_t account, message;
    } key;
    size_t bytes;
    uint32_t refs; /* the table's own one included; guarded by the shard's mutex */
    struct shard *shard;
    struct entry *next; /* in its chain */
    TAILQ_ENTRY(entry) lru;
};

struct shard {
    pthread_mutex_t mutex;
    struct entry **chains;
    size_t n_chains, n;              /* n_chains: a power of two */
    TAILQ_HEAD(lru_list, entry) lru; /* newest first */
    size_t bytes, max;
};

struct cache {
    struct shard shards[SHARDS];
};

struct cache *cache_new(size_t bytes)
{
    struct cache *c = NEW(struct cache);

    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&c->shards[i].mutex, NULL);
        TAILQ_INIT(&c->shards[i].lru);
        c->shards[i].max = bytes / SHARDS;
        c->shards[i].n_chains = CHAINS_FIRST;
        c->shards[i].chains = NEW_ARRAY(struct entry *, CHAINS_FIRST);
    }
    return c;
}

static void entry_unref(struct entry *e)
{
    if (--e->refs)
        return;
    free(e);
}

static uint64_t hash(uint64_t account, uint64_t message)
{
    return (account ^ message) * 0x9e3779b97f4a7c15u;
}

/* Where the pointer to the entry is, or would be. The highest bits choose the shard. */
static struct entry **place(const struct shard *s, uint64_t account, uint64_t message)
{
    struct entry **at = &s->chains[hash(account, message) >> 24 & (s->n_chains - 1)];

    while (*at && ((*at)->key.message != message || (*at)->key.account != account))
        at = &(*at)->next;
    return at;
}

static void grow(struct shard *s)
{
    size_t n = s->n_chains;
    struct entry **old = s->chains;

    s->n_chains = n * 2;
    s->chains = NEW_ARRAY(struct entry *, s->n_chains);
    for (size_t i = 0; i < n; i++)
        for (struct entry *e = old[i], *next; e; e = next) {
            struct entry **to =
                &s->chains[hash(e->key.account, e->key.message) >> 24 & (s->n_chains - 1)];

            next = e->next;
            e->next = *to;
            *to = e;
        }
    free(old);
}

static void entry_add(struct shard *s, struct entry *e)
{
    if (s->n++ == s->n_chains)
        grow(s);
    *place(s, e->key.account, e->key.message) = e;
    TAILQ_INSERT_HEAD(&s->lru, e, lru);
    s->bytes += e->bytes;
}

static void entry_remove(struct shard *s, struct entry *e)
{
    *place(s, e->key.account, e->key.message) = e->next;
    s->n--;
    TAILQ_REMOVE(&s->lru, e, lru);
    s->bytes -= e->bytes;
    entry_unref(e);
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        while (!TAILQ_EMPTY(&c->shards[i].lru))
            entry_remove(&c->shards[i], TAILQ_FIRST(&c->shards[i].lru));
        free(c->shards[i].chains);
        pthread_mutex_destroy(&c->shards[i].mutex);
    }
    free(c);
}

static struct shard *shard_of(struct cache *c, uint64_t account, uint64_t message)
{
    return &c->shards[hash(account, message) >> 60];
}

const struct cache_entry *cache_get(struct cache *c, uint64_t account, uint64_t message,
                                    bool want_skeleton)
{
    struct shard *s = shard_of(c, account, message);
    struct entry *e;

    pthread_mutex_lock(&s->mutex);
    e = *place(s, account, message);
    if (e && want_skeleton && !e->shown.has_skeleton)
        e = NULL;
    if (e) {
        e->refs++;
        TAILQ_REMOVE(&s->lru, e, lru);
        TAILQ_INSERT_HEAD(&s->lru, e, lru);
    }
    pthread_mutex_unlock(&s->mutex);
    return e ? &e->shown : NULL;
}

/* One allocation: the entry, then its bytes. */
static struct entry *entry_new(uint64_t account, uint64_t message, const struct cache_entry *from)
{
    size_t n = from->digest.n + from->head_lines.n + from->skeleton.n;
    struct entry *e = mem_alloc(sizeof *e + n);
    uint8_t *at = (uint8_t *)(e + 1);
    struct slice *parts[] = {&e->shown.digest, &e->shown.head_lines, &e->shown.skeleton};

    memset(e, 0, sizeof *e);
    e->shown = *from;
    e->key.account = account;
    e->key.message = message;
    e->bytes = sizeof *e + n;
    e->refs = 2;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i]->n)
            memcpy(at, parts[i]->p, parts[i]->n);
        parts[i]->p = at;
        at += parts[i]->n;
    }
    return e;
}

const struct cache_entry *cache_put(struct cache *c, uint64_t account, uint64_t message,
                                    const struct cache_entry *from)
{
    struct shard *s = shard_of(c, account, message);
    struct entry *e = entry_new(account, message, from), *old;

    e->shard = s;
    pthread_mutex_lock(&s->mutex);
    old = *place(s, account, message);
    if (old)
        entry_remove(s, old);
    entry_add(s, e);
    while (s->bytes > s->max && TAILQ_LAST(&s->lru, lru_list) != e)
        entry_remove(s, TAILQ_LAST(&s->lru, lru_list));
    pthread_mutex_unlock(&s->mutex);
    return &e->shown;
}

void cache_release(struct cache *c, const struct cache_entry *shown)
{
    struct entry *e = (struct entry *)shown;
    struct shard *s = e->shard;

    (void)c;
    pthread_mutex_lock(&s->mutex);
    entry_unref(e);
    pthread_mutex_unlock(&s->mutex);
}

void cache_drop(struct cache *c, uint64_t account, uint64_t message)
{
    struct shard *s = shard_of(c, account, message);
    struct entry *e;

    pthread_mutex_lock(&s->mutex);
    e = *place(s, account, message);
    if (e)
        entry_remove(s, e);
    pthread_mutex_unlock(&s->mutex);
}
