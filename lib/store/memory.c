/* SPDX-License-Identifier: MPL-2.0 */
/* The store in memory: for tests, and the smallest statement of what a back end does.
 *
 * Each table is a skip list in key order, all under one lock. Atomic, it holds the lock for a whole
 * call, as SQLite holds its transaction; not atomic, it takes the items of an insert and the keys
 * of a delete one at a time and in any order, so that others see, and get between, the halves.
 */
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/store_impl.h"

#define LEVELS 16 /* of 1 in 4: good for 4^16 documents */

struct node {
    struct slice key, head, body; /* owned */
    int64_t stored_ms;
    uint64_t version;
    unsigned levels;
    struct node *prev;   /* on the lowest level; the list's first node is its sentinel */
    struct node *next[]; /* levels of them */
};

/* The node before a place, on each level. */
struct path {
    struct node *before[LEVELS];
};

struct memory {
    struct store store;
    pthread_rwlock_t lock;              /* guards all below */
    struct node *tables[STORE_TABLES_]; /* sentinels, LEVELS high, without a key */
    uint64_t version;
    pthread_mutex_t time_lock; /* innermost; readers move the clock too */
    int64_t time;
    uint64_t dice;
};

static struct memory *memory_of(struct store *s)
{
    return CONTAINER_OF(s, struct memory, store);
}

static struct slice own(struct slice s)
{
    return s.n ? slice_of(mem_dup(s.p, s.n), s.n) : slice_of(NULL, 0);
}

static void disown(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

static int64_t now(struct memory *m)
{
    int64_t clock = clock_wall_ms(), time;

    pthread_mutex_lock(&m->time_lock);
    if (clock > m->time)
        m->time = clock;
    time = m->time;
    pthread_mutex_unlock(&m->time_lock);
    return time;
}

/* --- a table --------------------------------------------------------------------------------- */

static struct node *node_new(unsigned levels)
{
    struct node *n = mem_zalloc(sizeof *n + levels * sizeof n->next[0]);

    n->levels = levels;
    return n;
}

static void node_free(struct node *n)
{
    disown(n->key);
    disown(n->head);
    disown(n->body);
    free(n);
}

static unsigned roll_levels(struct memory *m)
{
    unsigned levels = 1;

    m->dice = m->dice * 6364136223846793005u + 1442695040888963407u;
    for (uint64_t bits = m->dice >> 32; levels < LEVELS && (bits & 3) == 0; bits >>= 2)
        levels++;
    return levels;
}

/* The first node not below the key, or NULL; the path to it if wanted. */
static struct node *seek(struct node *list, struct slice key, struct path *path)
{
    struct node *at = list;

    for (unsigned level = LEVELS; level-- > 0;) {
        while (at->next[level] && slice_cmp(at->next[level]->key, key) < 0)
            at = at->next[level];
        if (path)
            path->before[level] = at;
    }
    return at->next[0];
}

static struct node *find(struct node *list, struct slice key, struct path *path)
{
    struct node *n = seek(list, key, path);

    return n && slice_eq(n->key, key) ? n : NULL;
}

static void link_node(struct node *n, const struct path *path)
{
    for (unsigned i = 0; i < n->levels; i++) {
        n->next[i] = path->before[i]->next[i];
        path->before[i]->next[i] = n;
    }
    n->prev = path->before[0];
    if (n->next[0])
        n->next[0]->prev = n;
}

static void unlink_node(struct node *n, const struct path *path)
{
    for (unsigned i = 0; i < n->levels; i++)
        path->before[i]->next[i] = n->next[i];
    if (n->next[0])
        n->next[0]->prev = n->prev;
    node_free(n);
}

static bool drop(struct node *list, struct slice key)
{
    struct path path;
    struct node *n = find(list, key, &path);

    if (n)
        unlink_node(n, &path);
    return n != NULL;
}

static bool below(struct slice key, struct slice to)
{
    return to.n == 0 || slice_cmp(key, to) < 0;
}

/* --- writing --------------------------------------------------------------------------------- */

static enum store_outcome insert_one(struct memory *m, const struct store_item *item, int64_t time)
{
    struct node *list = m->tables[item->table], *n;
    struct path path;

    if (m->store.atomic && item->after.n && !find(list, item->after, NULL))
        return STORE_TAKEN;
    if (find(list, item->key, &path))
        return STORE_TAKEN;
    n = node_new(roll_levels(m));
    n->key = own(item->key);
    n->head = own(item->head);
    n->body = own(item->body);
    n->stored_ms = time;
    n->version = ++m->version;
    link_node(n, &path);
    return STORE_DONE;
}

static void insert_in_order(struct memory *m, struct store_item *items, size_t n, int64_t time)
{
    uint32_t broken = 0; /* the group that is not to go on */

    for (size_t i = 0; i < n; i++) {
        if (items[i].group && items[i].group == broken) {
            items[i].outcome = STORE_REFUSED;
            continue;
        }
        items[i].outcome = insert_one(m, &items[i], time);
        broken = items[i].outcome == STORE_DONE ? 0 : items[i].group;
    }
}

/* From a random place and round again, each for itself. */
static void insert_scattered(struct memory *m, struct store_item *items, size_t n)
{
    size_t start = (size_t)(random_u64() % n);

    for (size_t i = 0; i < n; i++) {
        struct store_item *item = &items[(start + i) % n];

        pthread_rwlock_wrlock(&m->lock);
        item->outcome = insert_one(m, item, now(m));
        pthread_rwlock_unlock(&m->lock);
    }
}

static int memory_insert(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
                         struct error *err)
{
    struct memory *m = memory_of(s);

    if (s->atomic) {
        pthread_rwlock_wrlock(&m->lock);
        insert_in_order(m, items, n, now(m));
        pthread_rwlock_unlock(&m->lock);
    } else {
        insert_scattered(m, items, n);
    }
    *ret_time = now(m);
    return 0;
}

static void change_values(struct memory *m, struct node *n, const struct store_change *change)
{
    if (change->set_head) {
        disown(n->head);
        n->head = own(change->head);
    }
    if (change->set_body) {
        disown(n->body);
        n->body = own(change->body);
    }
    n->version = ++m->version;
    n->stored_ms = now(m);
}

static int memory_update(struct store *s, const struct store_change *change, uint64_t *ret_version,
                         int64_t *ret_time, struct error *err)
{
    struct memory *m = memory_of(s);
    struct path path;
    struct node *n;
    int r = 0;

    pthread_rwlock_wrlock(&m->lock);
    n = find(m->tables[change->table], change->key, &path);
    if (!n || n->version != change->version) {
        r = error_set(err, ERR_CONFLICT, "the document has another version or is gone");
    } else if (change->remove) {
        unlink_node(n, &path);
        *ret_version = ++m->version;
    } else {
        change_values(m, n, change);
        *ret_version = n->version;
    }
    pthread_rwlock_unlock(&m->lock);
    *ret_time = now(m);
    return r;
}

static int memory_remove(struct store *s, enum store_table table, const struct slice *keys,
                         size_t n, struct error *err)
{
    struct memory *m = memory_of(s);

    pthread_rwlock_wrlock(&m->lock);
    for (size_t i = 0; i < n; i++) {
        drop(m->tables[table], keys[i]);
        if (!s->atomic) {
            pthread_rwlock_unlock(&m->lock);
            pthread_rwlock_wrlock(&m->lock);
        }
    }
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

static int memory_remove_range(struct store *s, enum store_table table, struct slice from,
                               struct slice to, uint64_t *ret_n, struct error *err)
{
    struct memory *m = memory_of(s);
    struct node *n;

    *ret_n = 0;
    pthread_rwlock_wrlock(&m->lock);
    while ((n = seek(m->tables[table], from, NULL)) && below(n->key, to)) {
        drop(m->tables[table], n->key);
        ++*ret_n;
    }
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

/* --- reading --------------------------------------------------------------------------------- */

static void give(struct store_docs *docs, const struct node *n, enum store_parts parts)
{
    struct store_doc *doc = store_docs_push(docs);

    doc->key = arena_slice(&docs->arena, n->key);
    if (parts & STORE_HEAD)
        doc->head = arena_slice(&docs->arena, n->head);
    if (parts & STORE_BODY)
        doc->body = arena_slice(&docs->arena, n->body);
    doc->stored_ms = n->stored_ms;
    doc->version = n->version;
    doc->found = true;
}

static int memory_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                      enum store_parts parts, enum store_level level, struct store_docs *docs,
                      struct error *err)
{
    struct memory *m = memory_of(s);
    struct node *node;

    pthread_rwlock_rdlock(&m->lock);
    docs->time = now(m);
    for (size_t i = 0; i < n; i++) {
        node = find(m->tables[table], keys[i], NULL);
        if (node)
            give(docs, node, parts);
        else
            store_docs_push(docs)->key = arena_slice(&docs->arena, keys[i]);
    }
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

/* The last node below the key (an empty one: of the list), or the sentinel. */
static struct node *seek_last(struct node *list, struct slice key)
{
    struct node *at = list;

    for (unsigned level = LEVELS; level-- > 0;)
        while (at->next[level] && below(at->next[level]->key, key))
            at = at->next[level];
    return at;
}

static struct node *in_range(const struct store_query *q, const struct node *list, struct node *n)
{
    if (!n || n == list || slice_cmp(n->key, q->from) < 0 || !below(n->key, q->to))
        return NULL;
    return n;
}

static void collect(struct node *list, const struct store_query *q, struct store_docs *docs)
{
    struct node *n = q->descending ? seek_last(list, q->to) : seek(list, q->from, NULL);
    size_t bytes = 0;

    for (n = in_range(q, list, n); n;) {
        if (docs->n >= q->limit || (docs->n && bytes >= q->max_bytes)) {
            docs->more = true;
            return;
        }
        give(docs, n, q->parts);
        bytes += store_doc_bytes(&docs->items[docs->n - 1]);
        n = in_range(q, list, q->descending ? n->prev : n->next[0]);
    }
}

static int memory_range(struct store *s, const struct store_query *query, struct store_docs *docs,
                        struct error *err)
{
    struct memory *m = memory_of(s);

    pthread_rwlock_rdlock(&m->lock);
    docs->time = now(m);
    collect(m->tables[query->table], query, docs);
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

static int memory_time(struct store *s, int64_t *ret_time, struct error *err)
{
    *ret_time = now(memory_of(s));
    return 0;
}

/* --- opening and closing --------------------------------------------------------------------- */

static void memory_close(struct store *s)
{
    struct memory *m = memory_of(s);

    for (size_t i = 0; i < STORE_TABLES_; i++) {
        struct node *n = m->tables[i], *next;

        for (; n; n = next) {
            next = n->next[0];
            node_free(n);
        }
    }
    pthread_rwlock_destroy(&m->lock);
    pthread_mutex_destroy(&m->time_lock);
    free(m);
}

static const struct store_ops memory_ops = {
    .kind = "memory",
    .close = memory_close,
    .insert = memory_insert,
    .update = memory_update,
    .remove = memory_remove,
    .remove_range = memory_remove_range,
    .get = memory_get,
    .range = memory_range,
    .time = memory_time,
};

int store_memory_open(const struct store_settings *settings, struct store **ret_store,
                      struct error *err)
{
    struct memory *m = NEW(struct memory);

    m->store = (struct store){&memory_ops, true, *settings};
    pthread_rwlock_init(&m->lock, NULL);
    pthread_mutex_init(&m->time_lock, NULL);
    m->dice = random_u64();
    for (size_t i = 0; i < STORE_TABLES_; i++)
        m->tables[i] = node_new(LEVELS);
    *ret_store = &m->store;
    return 0;
}
