/* SPDX-License-Identifier: MPL-2.0 */
/* Who gets the mail for an address, remembered for a second: an MTA delivers to the same addresses
 * again and again, and on a store across the network each answer costs two reads.
 *
 * Only found recipients are remembered, never refusals, and a change made through this directory
 * empties it at once; one made by another process counts after RESOLVE_TTL_MS. That is harmless:
 * whether the account still takes mail is decided when the delivery is committed. Stores in this
 * process answer faster than this cache is worth, so it is for the others only.
 */
#include <pthread.h>
#include <uthash.h>

#include "lib/auth/directory_impl.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define RESOLVE_TTL_MS 1000
#define ENTRIES_MAX    4096
#define RECIPIENTS_MAX 16 /* of one entry: larger lists are rare, and worth a read */

struct entry {
    char *key;
    struct directory_recipient *items; /* strings in the arena */
    size_t n;
    int64_t until_ms; /* clock_mono_ms() */
    struct arena arena;
    UT_hash_handle hh;
};

struct directory_cache {
    pthread_mutex_t mutex;
    struct entry *table;
    uint64_t changes; /* counts resets: what was read before one is not kept */
};

struct directory_cache *directory_cache_new(void)
{
    struct directory_cache *c = NEW(struct directory_cache);

    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

static void entry_free(struct entry *e)
{
    arena_done(&e->arena);
    free(e);
}

/* With the lock held. */
static void clear(struct directory_cache *c)
{
    struct entry *e, *next;

    HASH_ITER (hh, c->table, e, next) {
        HASH_DEL(c->table, e);
        entry_free(e);
    }
}

void directory_cache_free(struct directory_cache *c)
{
    if (!c)
        return;
    clear(c);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

uint64_t directory_cache_reset(struct directory_cache *c)
{
    uint64_t changes;

    if (!c)
        return 0;
    pthread_mutex_lock(&c->mutex);
    clear(c);
    changes = ++c->changes;
    pthread_mutex_unlock(&c->mutex);
    return changes;
}

static void copy_recipients(struct arena *a, const struct directory_recipient *from, size_t n,
                            struct directory_recipient *to)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
        to[i].login = from[i].login ? arena_str(a, slice_str(from[i].login)) : NULL;
        to[i].detail = from[i].detail ? arena_str(a, slice_str(from[i].detail)) : NULL;
        to[i].foreign = from[i].foreign ? arena_str(a, slice_str(from[i].foreign)) : NULL;
    }
}

bool directory_cache_get(struct directory_cache *c, const char *key, struct arena *a,
                         struct directory_recipient **ret, size_t *ret_n, uint64_t *ret_changes)
{
    struct entry *e;
    bool fresh;

    pthread_mutex_lock(&c->mutex);
    *ret_changes = c->changes;
    HASH_FIND_STR(c->table, key, e);
    fresh = e && e->until_ms > clock_mono_ms();
    if (fresh) {
        *ret = arena_array(a, e->n, sizeof **ret);
        *ret_n = e->n;
        copy_recipients(a, e->items, e->n, *ret);
    }
    pthread_mutex_unlock(&c->mutex);
    return fresh;
}

void directory_cache_put(struct directory_cache *c, const char *key,
                         const struct directory_recipient *items, size_t n, uint64_t changes)
{
    struct entry *e, *old;

    if (n > RECIPIENTS_MAX)
        return;
    e = NEW(struct entry);
    e->key = arena_str(&e->arena, slice_str(key));
    e->items = arena_array(&e->arena, n, sizeof *e->items);
    e->n = n;
    e->until_ms = clock_mono_ms() + RESOLVE_TTL_MS;
    copy_recipients(&e->arena, items, n, e->items);
    pthread_mutex_lock(&c->mutex);
    if (c->changes != changes) {
        pthread_mutex_unlock(&c->mutex);
        entry_free(e);
        return;
    }
    HASH_FIND_STR(c->table, key, old);
    if (old) {
        HASH_DEL(c->table, old);
        entry_free(old);
    }
    if (HASH_COUNT(c->table) >= ENTRIES_MAX)
        clear(c);
    HASH_ADD_KEYPTR(hh, c->table, e->key, strlen(e->key), e);
    pthread_mutex_unlock(&c->mutex);
}
