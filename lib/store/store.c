/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/store/store.h"

#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/mem.h"
#include "lib/store/store_impl.h"

#define TIMEOUT_MS_DEFAULT  10000
#define POOL_SIZE_DEFAULT   32
#define WAIT_PAUSE_MS       100 /* between two tries; back ends take longer to find nobody */
#define RANGE_BYTES_DEFAULT ((size_t)16 << 20)
#define DOCUMENT_MAX                                                                               \
    (((size_t)16 << 20) - 4096) /* both values; MongoDB's limit less its own bytes */

static const struct table_facts {
    const char *name;
    size_t key_min, key_max;
} tables[STORE_TABLES_] = {
    [STORE_ACCOUNTS] = {"accounts", 8, 8},
    [STORE_ADDRESSES] = {"addresses", 3, 320},
    [STORE_DOMAINS] = {"domains", 1, 255},
    [STORE_LOG] = {"log", 16, 16},
    [STORE_MESSAGES] = {"messages", 16, 16},
    [STORE_BLOBS] = {"blobs", 32, 32},
    [STORE_BLOBLINKS] = {"bloblinks", 32, 32},
    [STORE_SNAPSHOTS] = {"snapshots", 8, 8},
    [STORE_SEGMENTS] = {"segments", 28, 28},
    [STORE_QUEUE] = {"queue", 8, 8},
    [STORE_TEXTINDEX] = {"textindex", 20, 20},
    [STORE_QUEUEBODIES] = {"queuebodies", 12, 12},
    [STORE_QUEUEENTRIES] = {"queueentries", 10, 10},
    [STORE_QUEUEDUE] = {"queuedue", 22, 22},
    [STORE_DKIM] = {"dkim", 3, 319},
};

/* Calls of this thread; store_trips has no other way to know whose they are. */
static _Thread_local uint64_t trips;

uint64_t store_trips(void)
{
    return trips;
}

size_t store_key_size(enum store_table table)
{
    return tables[table].key_min == tables[table].key_max ? tables[table].key_max : 0;
}

const char *store_table_name(enum store_table table)
{
    return tables[table].name;
}

/* --- counting -------------------------------------------------------------------------------- */

static const char *const verb_names[STORE_VERBS_] = {"insert", "update", "delete",
                                                     "get",    "range",  "time"};

const char *store_verb_name(enum store_verb verb)
{
    return verb_names[verb];
}

const struct store_verb_counters *store_counters(const struct store *store, enum store_verb verb)
{
    return &store->counters[verb];
}

/* When the outage began, as far as anybody here has noticed. */
static void note_away(struct store *store, int64_t when)
{
    int64_t never = 0;

    atomic_compare_exchange_strong(&store->away_since, &never, when);
}

/* After a read that failed: true when it is to be tried again. */
static bool wait_for_store(struct store *store)
{
    int64_t since = atomic_load(&store->away_since);
    const struct timespec pause = {.tv_nsec = WAIT_PAUSE_MS * 1000000L};

    if (clock_mono_ms() - since >= store->settings.wait_ms && (since || !store->settings.wait_ms))
        return false; /* not so if somebody else has just found it back */
    nanosleep(&pause, NULL);
    return true;
}

static int64_t begin_trip(enum store_verb verb, enum store_table table)
{
    fault_point(verb_names[verb], tables[table].name, "before");
    trips++;
    return clock_mono_us();
}

/* Hands r on. */
static int end_trip(struct store *store, enum store_verb verb, enum store_table table,
                    int64_t began, int r)
{
    struct store_verb_counters *c = &store->counters[verb];

    fault_point(verb_names[verb], tables[table].name, "after");

    histogram_add(&c->times, clock_mono_us() - began);
    if (r == -ERR_UNAVAILABLE) {
        atomic_fetch_add_explicit(&c->unavailable, 1, memory_order_relaxed);
        note_away(store, began / 1000);
    }
    if (r >= 0 && atomic_load_explicit(&store->away_since, memory_order_relaxed))
        atomic_store(&store->away_since, 0);
    if (r == -ERR_UNKNOWN_OUTCOME)
        atomic_fetch_add_explicit(&c->unknown, 1, memory_order_relaxed);
    return r;
}

/* --- opening --------------------------------------------------------------------------------- */

static int open_memory(struct slice rest, const struct store_settings *settings,
                       struct store **ret_store, struct error *err)
{
    int r;

    if (rest.n && !slice_eq(rest, S("?atomic=0")) && !slice_eq(rest, S("?atomic=1")))
        return error_set(err, ERR_INVALID, "memory: takes ?atomic=0 or nothing");
    r = store_memory_open(settings, ret_store, err);
    if (r == 0)
        (*ret_store)->atomic = !slice_eq(rest, S("?atomic=0"));
    return r;
}

static int open_mongo(const char *uri, const struct store_settings *settings,
                      struct store **ret_store, struct error *err)
{
#ifdef STORE_HAS_MONGO
    return store_mongo_open(uri, settings, ret_store, err);
#else
    (void)uri, (void)settings, (void)ret_store;
    return error_set(err, ERR_INVALID, "this program was built without MongoDB");
#endif
}

int store_open(const char *uri, const struct store_settings *settings, struct store **ret_store,
               struct error *err)
{
    struct store_settings full = settings ? *settings : (struct store_settings){0};
    struct slice s = slice_str(uri);

    if (full.timeout_ms <= 0)
        full.timeout_ms = TIMEOUT_MS_DEFAULT;
    if (full.pool_size <= 0)
        full.pool_size = POOL_SIZE_DEFAULT;
    if (slice_starts(s, S("memory:")))
        return open_memory(slice_skip(s, 7), &full, ret_store, err);
    if (slice_starts(s, S("sqlite:")) && s.n > 7)
        return store_sqlite_open(uri + 7, &full, ret_store, err);
    if (slice_starts(s, S("mongodb:")) || slice_starts(s, S("mongodb+srv:")))
        return open_mongo(uri, &full, ret_store, err);
    /* The URI is not quoted: it may hold a password. */
    return error_set(err, ERR_INVALID,
                     "a store is sqlite:/path/to/file, mongodb://host/database or memory:");
}

void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}

bool store_is_atomic(const struct store *store)
{
    return store->atomic;
}

const char *store_kind(const struct store *store)
{
    return store->ops->kind;
}

/* --- checks ---------------------------------------------------------------------------------- */

static int check_key(enum store_table table, struct slice key, struct error *err)
{
    if ((unsigned)table >= STORE_TABLES_)
        return error_set(err, ERR_INVALID, "no such table: %d", (int)table);
    if (key.n < tables[table].key_min || key.n > tables[table].key_max)
        return error_set(err, ERR_INVALID, "a key of %s cannot have %zu bytes", tables[table].name,
                         key.n);
    return 0;
}

static int check_keys(enum store_table table, const struct slice *keys, size_t n, struct error *err)
{
    int r = 0;

    if ((unsigned)table >= STORE_TABLES_)
        return error_set(err, ERR_INVALID, "no such table: %d", (int)table);
    for (size_t i = 0; i < n && r == 0; i++)
        r = check_key(table, keys[i], err);
    return r;
}

static int check_values(enum store_table table, struct slice head, struct slice body,
                        struct error *err)
{
    if (head.n > STORE_HEAD_MAX || body.n > STORE_BODY_MAX || head.n + body.n > DOCUMENT_MAX)
        return error_set(err, ERR_TOOBIG, "a document of %s with %zu + %zu bytes is too large",
                         tables[table].name, head.n, body.n);
    return 0;
}

static int check_item(const struct store *store, const struct store_item *item, struct error *err)
{
    int r = check_key(item->table, item->key, err);

    if (r == 0)
        r = check_values(item->table, item->head, item->body, err);
    if (r == 0 && item->after.n)
        r = check_key(item->table, item->after, err);
    if (r == 0 && item->group && !store->atomic)
        r = error_set(err, ERR_INVALID, "a %s store has no groups", store->ops->kind);
    return r;
}

/* A bound and the room for its padding. */
struct bound {
    uint8_t padded[64];
};

/* For keys of one size, `prefix` and `prefix 00 00 ...` bound the same keys; only the second has
 * the same order everywhere (BSON sorts binary values by length first). */
static int check_bound(enum store_table table, struct slice *s, struct bound *room,
                       struct error *err)
{
    size_t size;

    if ((unsigned)table >= STORE_TABLES_)
        return error_set(err, ERR_INVALID, "no such table: %d", (int)table);
    if (s->n > tables[table].key_max)
        return error_set(err, ERR_INVALID, "a bound of %s cannot have %zu bytes",
                         tables[table].name, s->n);
    size = store_key_size(table);
    if (s->n == 0 || s->n >= size)
        return 0;
    memset(room->padded, 0, sizeof room->padded);
    memcpy(room->padded, s->p, s->n);
    *s = slice_of(room->padded, size);
    return 0;
}

/* --- writing --------------------------------------------------------------------------------- */

int store_insert(struct store *store, struct store_item *items, size_t n, int64_t *ret_time,
                 struct error *err)
{
    int64_t time = 0, began;
    int r = 0;

    for (size_t i = 0; i < n; i++)
        items[i].outcome = STORE_REFUSED;
    for (size_t i = 0; i < n && r == 0; i++)
        r = check_item(store, &items[i], err);
    if (r < 0)
        return r;
    if (n == 0)
        return store_time(store, ret_time ? ret_time : &time, err);
    began = begin_trip(STORE_VERB_INSERT, items[0].table);
    r = end_trip(store, STORE_VERB_INSERT, items[0].table, began,
                 store->ops->insert(store, items, n, &time, err));
    if (r == 0 && ret_time)
        *ret_time = time;
    return r;
}

int store_update(struct store *store, const struct store_change *change, uint64_t *ret_version,
                 int64_t *ret_time, struct error *err)
{
    struct store_change c = *change;
    uint64_t version = 0;
    int64_t time = 0, began;
    int r = check_key(c.table, c.key, err);

    if (c.remove)
        c.set_head = c.set_body = false;
    if (!c.set_head)
        c.head = slice_of(NULL, 0);
    if (!c.set_body)
        c.body = slice_of(NULL, 0);
    if (r == 0)
        r = check_values(c.table, c.head, c.body, err);
    if (r < 0)
        return r;
    began = begin_trip(STORE_VERB_UPDATE, c.table);
    r = end_trip(store, STORE_VERB_UPDATE, c.table, began,
                 store->ops->update(store, &c, &version, &time, err));
    if (r == 0 && ret_version)
        *ret_version = version;
    if (r == 0 && ret_time)
        *ret_time = time;
    return r;
}

int store_delete(struct store *store, enum store_table table, const struct slice *keys, size_t n,
                 struct error *err)
{
    int r = check_keys(table, keys, n, err);
    int64_t began;

    if (r < 0 || n == 0)
        return r;
    began = begin_trip(STORE_VERB_DELETE, table);
    return end_trip(store, STORE_VERB_DELETE, table, began,
                    store->ops->remove(store, table, keys, n, err));
}

int store_delete_range(struct store *store, enum store_table table, struct slice from,
                       struct slice to, uint64_t *ret_n, struct error *err)
{
    struct bound room[2];
    uint64_t n = 0;
    int64_t began;
    int r = check_bound(table, &from, &room[0], err);

    if (r == 0)
        r = check_bound(table, &to, &room[1], err);
    if (r < 0)
        return r;
    began = begin_trip(STORE_VERB_DELETE, table);
    r = end_trip(store, STORE_VERB_DELETE, table, began,
                 store->ops->remove_range(store, table, from, to, &n, err));
    if (r == 0 && ret_n)
        *ret_n = n;
    return r;
}

/* --- reading --------------------------------------------------------------------------------- */

struct store_doc *store_docs_push(struct store_docs *docs)
{
    /* Room is 8, 16, 32, ...: full exactly when n is one of these (or nothing is there yet). */
    if (docs->n == 0 || (docs->n >= 8 && (docs->n & (docs->n - 1)) == 0)) {
        size_t room = docs->n ? docs->n * 2 : 8;
        struct store_doc *items = arena_array(&docs->arena, room, sizeof *items);

        if (docs->n)
            memcpy(items, docs->items, docs->n * sizeof *items);
        docs->items = items;
    }
    return &docs->items[docs->n++];
}

size_t store_doc_bytes(const struct store_doc *doc)
{
    return doc->key.n + doc->head.n + doc->body.n;
}

void store_docs_done(struct store_docs *docs)
{
    arena_done(&docs->arena);
    *docs = (struct store_docs){0};
}

int store_get(struct store *store, enum store_table table, const struct slice *keys, size_t n,
              enum store_parts parts, enum store_level level, struct store_docs *ret_docs,
              struct error *err)
{
    int r = check_keys(table, keys, n, err);
    int64_t began;

    if (r < 0)
        return r;
    if (n == 0)
        return store_time(store, &ret_docs->time, err);
    do {
        began = begin_trip(STORE_VERB_GET, table);
        r = end_trip(store, STORE_VERB_GET, table, began,
                     store->ops->get(store, table, keys, n, parts, level, ret_docs, err));
        if (r < 0)
            store_docs_done(ret_docs);
    } while (r == -ERR_UNAVAILABLE && wait_for_store(store));
    return r;
}

int store_range(struct store *store, const struct store_query *query, struct store_docs *ret_docs,
                struct error *err)
{
    struct store_query q = *query;
    struct bound room[2];
    int64_t began;
    int r = check_bound(q.table, &q.from, &room[0], err);

    if (r == 0)
        r = check_bound(q.table, &q.to, &room[1], err);
    if (r < 0)
        return r;
    if (q.limit == 0)
        q.limit = SIZE_MAX;
    if (q.max_bytes == 0)
        q.max_bytes = RANGE_BYTES_DEFAULT;
    do {
        began = begin_trip(STORE_VERB_RANGE, q.table);
        r = end_trip(store, STORE_VERB_RANGE, q.table, began,
                     store->ops->range(store, &q, ret_docs, err));
        if (r < 0)
            store_docs_done(ret_docs);
    } while (r == -ERR_UNAVAILABLE && wait_for_store(store));
    return r;
}

int store_time(struct store *store, int64_t *ret_time, struct error *err)
{
    int64_t began = begin_trip(STORE_VERB_TIME, STORE_LOG);

    return end_trip(store, STORE_VERB_TIME, STORE_LOG, began,
                    store->ops->time(store, ret_time, err));
}

uint64_t store_pulse(struct store *store)
{
    return store->ops->pulse ? store->ops->pulse(store) : 0;
}
