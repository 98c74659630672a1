/* SPDX-License-Identifier: MPL-2.0 */
/* Message documents in memory: digests and unpacked skeletons, least recently used first out.
 *
 * They never change, so nothing here is ever wrong, only absent. Sharded, because every FETCH of
 * every session comes by. An entry that is held stays alive after it has left the table.
 */
#include <sys/queue.h>
#include <uthash.h>

#include "lib/base/mem.h"
#include "lib/mail/content_impl.h"

#define SHARDS 16

struct entry {
    struct cache_entry shown; /* first: what callers hold */
    struct {
        uint64_t account, message;
    } key;
    size_t bytes;
    uint32_t refs; /* the table's own one included; guarded by the shard's mutex */
    struct shard *shard;
    TAILQ_ENTRY(entry) lru;
    UT_hash_handle hh;
};

struct shard {
    pthread_mutex_t mutex;
    struct entry *table;
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
    }
    return c;
}

static void entry_unref(struct entry *e)
{
    if (--e->refs)
        return;
    free(e);
}

static void entry_remove(struct shard *s, struct entry *e)
{
    HASH_DEL(s->table, e);
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
        pthread_mutex_destroy(&c->shards[i].mutex);
    }
    free(c);
}

static struct shard *shard_of(struct cache *c, uint64_t account, uint64_t message)
{
    uint64_t x = (account ^ message) * 0x9e3779b97f4a7c15u;

    return &c->shards[x >> 60];
}

static struct entry *find(struct shard *s, uint64_t account, uint64_t message)
{
    struct entry probe = {.key = {account, message}}, *e;

    HASH_FIND(hh, s->table, &probe.key, sizeof probe.key, e);
    return e;
}

const struct cache_entry *cache_get(struct cache *c, uint64_t account, uint64_t message,
                                    bool want_skeleton)
{
    struct shard *s = shard_of(c, account, message);
    struct entry *e;

    pthread_mutex_lock(&s->mutex);
    e = find(s, account, message);
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
    old = find(s, account, message);
    if (old)
        entry_remove(s, old);
    HASH_ADD(hh, s->table, key, sizeof e->key, e);
    TAILQ_INSERT_HEAD(&s->lru, e, lru);
    s->bytes += e->bytes;
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
    e = find(s, account, message);
    if (e)
        entry_remove(s, e);
    pthread_mutex_unlock(&s->mutex);
}
