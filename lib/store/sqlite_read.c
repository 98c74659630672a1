/* SPDX-License-Identifier: MPL-2.0 */
/* Reading: each call has a connection of the pool to itself, and one transaction, so that an answer
 * is one moment's. No transaction outlives its call: a checkpoint never waits long for a reader. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/store/sqlite_impl.h"

#define ALONG_MIN    8  /* keys that are worth it (step_along) */
#define ALONG_OTHERS 16 /* rows for nothing, beyond as many as were of use */

/* --- the pool -------------------------------------------------------------------------------- */

static void give_back(struct sqlite *q, struct sq_conn *c)
{
    pthread_mutex_lock(&q->pool_lock);
    if (c)
        LIST_INSERT_HEAD(&q->idle, c, link); /* the last used first: its cache is warm */
    else
        q->readers--;
    pthread_cond_signal(&q->returned);
    pthread_mutex_unlock(&q->pool_lock);
}

/* A read takes a core and no time on the wire, so that more connections than this would only hold
 * more caches. */
#define READERS_MAX 16

static int readers_max(const struct sqlite *q)
{
    return MIN(q->store.settings.pool_size, READERS_MAX);
}

/* An idle connection, or NULL with the right to open one, or -1. */
static int wait_for_reader(struct sqlite *q, struct sq_conn **ret_conn)
{
    struct timespec end = sq_deadline(q);
    int r = 0;

    pthread_mutex_lock(&q->pool_lock);
    while (LIST_EMPTY(&q->idle) && q->readers >= readers_max(q) && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&q->returned, &q->pool_lock, &end);
    *ret_conn = LIST_FIRST(&q->idle);
    if (*ret_conn)
        LIST_REMOVE(*ret_conn, link);
    else if (r != ETIMEDOUT)
        q->readers++;
    pthread_mutex_unlock(&q->pool_lock);
    return *ret_conn || r != ETIMEDOUT ? 0 : -1;
}

static int borrow(struct sqlite *q, struct sq_conn **ret_conn, struct error *err)
{
    int r;

    if (wait_for_reader(q, ret_conn) < 0)
        return error_set(err, ERR_UNAVAILABLE, "all %d connections to %s are busy", readers_max(q),
                         q->path);
    if (*ret_conn)
        return 0;
    r = sq_conn_open(q, ret_conn, err);
    if (r < 0)
        give_back(q, NULL);
    return r;
}

void sq_readers_done(struct sqlite *q)
{
    struct sq_conn *c;

    while ((c = LIST_FIRST(&q->idle))) {
        LIST_REMOVE(c, link);
        sq_conn_close(c);
    }
}

/* --- a transaction --------------------------------------------------------------------------- */

/* An SQLite code. The answer is true at a moment not before *ret_time: so the clock is read first,
 * whatever may happen, and be written, until the transaction sees the file. */
static int begin(struct sqlite *q, struct sq_conn *c, int64_t *ret_time)
{
    sqlite3_stmt *stmt = sq_plain(c, SQ_CLOCK);
    int64_t before = sq_time(q, 0);
    int rc = sq_run(c, SQ_BEGIN_READ);

    if (rc != SQLITE_OK || !stmt)
        return rc != SQLITE_OK ? rc : SQLITE_ERROR;
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *ret_time = MAX(before, sqlite3_column_int64(stmt, 0));
        (void)sq_time(q, *ret_time); /* none that is told later is below */
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* Ends the transaction and gives the connection back; `rc` as the reading went. */
static int end(struct sqlite *q, struct sq_conn *c, int rc, struct error *err)
{
    int r = rc == SQLITE_OK ? 0 : sq_error(err, c, "read");

    if (!sqlite3_get_autocommit(c->db) && sq_run(c, SQ_COMMIT) != SQLITE_OK) {
        sq_conn_close(c);
        c = NULL;
    }
    give_back(q, c);
    return r;
}

/* Bytes of a column, copied once out of SQLite's page cache. */
static struct slice column(struct arena *arena, sqlite3_stmt *stmt, int i)
{
    const void *p = sqlite3_column_blob(stmt, i);
    size_t n = (size_t)sqlite3_column_bytes(stmt, i);

    return n ? arena_slice(arena, slice_of(p, n)) : slice_of(NULL, 0);
}

/* A large body, straight from SQLite's pages to the answer. */
static int read_body(struct sq_conn *c, enum store_table table, sqlite3_int64 row, size_t n,
                     struct arena *arena, struct slice *ret)
{
    sqlite3_blob *blob = NULL;
    int rc = sqlite3_blob_open(c->db, "main", store_table_name(table), "b", row, 0, &blob);
    void *p;

    if (rc == SQLITE_OK) {
        p = arena_raw(arena, n);
        rc = sqlite3_blob_read(blob, p, (int)n, 0);
        *ret = slice_of(p, n);
    }
    sqlite3_blob_close(blob);
    return rc;
}

/* All but the key. */
static int give_row(struct sq_conn *c, enum store_table table, sqlite3_stmt *stmt,
                    struct store_docs *docs, struct store_doc *doc)
{
    sqlite3_int64 n = sqlite3_column_int64(stmt, 5);

    doc->stored_ms = sqlite3_column_int64(stmt, 1);
    doc->version = (uint64_t)sqlite3_column_int64(stmt, 2);
    doc->head = column(&docs->arena, stmt, 3);
    doc->body = column(&docs->arena, stmt, 4);
    doc->found = true;
    if (n < SQ_LARGE)
        return SQLITE_OK;
    return read_body(c, table, sqlite3_column_int64(stmt, 6), (size_t)n, &docs->arena, &doc->body);
}

/* --- the calls ------------------------------------------------------------------------------- */

/* The keys of a get, in order; their documents are there, each with its key. */
struct wanted {
    struct sq_conn *c;
    enum store_table table;
    enum store_parts parts;
    struct store_docs *docs;
    uint32_t *order; /* into docs->items */
};

static struct store_doc *wanted_doc(const struct wanted *w, size_t i)
{
    return &w->docs->items[w->order[i]];
}

static int compare_wanted(const void *a, const void *b, void *ctx)
{
    const struct store_doc *items = ctx;

    return slice_cmp(items[*(const uint32_t *)a].key, items[*(const uint32_t *)b].key);
}

static void want(struct wanted *w, const struct slice *keys, size_t n)
{
    struct store_docs *docs = w->docs;

    docs->items = arena_array(&docs->arena, n, sizeof *docs->items);
    docs->n = n;
    w->order = arena_array(&docs->arena, n, sizeof *w->order);
    for (size_t i = 0; i < n; i++) {
        w->order[i] = (uint32_t)i;
        docs->items[i].key = arena_slice(&docs->arena, keys[i]);
    }
    if (n > 1)
        qsort_r(w->order, n, sizeof *w->order, compare_wanted, docs->items);
}

static int get_key(const struct wanted *w, sqlite3_stmt *stmt, struct store_doc *doc)
{
    int rc;

    sq_bind(stmt, 1, doc->key);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        rc = give_row(w->c, w->table, stmt, w->docs, doc);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int look_up(const struct wanted *w, size_t at)
{
    sqlite3_stmt *stmt = sq_stmt(w->c, w->table, SQ_GET + w->parts);
    int rc = stmt ? SQLITE_OK : sqlite3_errcode(w->c->db);

    for (; at < w->docs->n && rc == SQLITE_OK; at++)
        rc = get_key(w, stmt, wanted_doc(w, at));
    return rc;
}

/* Messages that came one after the other, which is what a mailbox is read in, have keys in a row:
 * to step from one to the next costs a third less than to look each of them up. Ends where too many
 * lie between that nobody asked for: *ret_at is the first key that is not decided. */
static int step_along(const struct wanted *w, sqlite3_stmt *stmt, size_t *ret_at)
{
    size_t n = w->docs->n, at = 0, useful = 0, others = 0;
    int rc = SQLITE_OK;

    while (at < n && others <= useful + ALONG_OTHERS && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct slice key =
            slice_of(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));

        rc = SQLITE_OK;
        others++;
        while (at < n && slice_cmp(wanted_doc(w, at)->key, key) < 0)
            at++;
        for (; at < n && rc == SQLITE_OK && slice_eq(wanted_doc(w, at)->key, key); at++) {
            rc = give_row(w->c, w->table, stmt, w->docs, wanted_doc(w, at));
            useful++;
        }
        if (rc != SQLITE_OK)
            return rc;
    }
    *ret_at = rc == SQLITE_DONE ? n : at;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int look_along(const struct wanted *w, size_t *ret_at)
{
    sqlite3_stmt *stmt = sq_stmt(w->c, w->table, SQ_ASC + w->parts);
    struct slice last = wanted_doc(w, w->docs->n - 1)->key;
    uint8_t above[STORE_KEY_MAX + 1] = {0};
    int rc;

    if (!stmt)
        return sqlite3_errcode(w->c->db);
    memcpy(above, last.p, last.n);
    sq_bind_from(stmt, wanted_doc(w, 0)->key);
    sq_bind(stmt, 2, slice_of(above, last.n + 1));
    sqlite3_bind_int64(stmt, 3, INT64_MAX);
    rc = step_along(w, stmt, ret_at);
    sqlite3_reset(stmt);
    return rc;
}

int sq_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
           enum store_parts parts, enum store_level level, struct store_docs *docs,
           struct error *err)
{
    struct sqlite *q = sqlite_of(s);
    struct wanted w = {.table = table, .parts = parts, .docs = docs};
    size_t at = 0;
    int r = borrow(q, &w.c, err), rc;

    if (r < 0)
        return r;
    want(&w, keys, n);
    rc = begin(q, w.c, &docs->time);
    if (rc == SQLITE_OK && n >= ALONG_MIN)
        rc = look_along(&w, &at);
    if (rc == SQLITE_OK)
        rc = look_up(&w, at);
    return end(q, w.c, rc, err);
}

static int get_rows(struct sq_conn *c, sqlite3_stmt *stmt, const struct store_query *query,
                    struct store_docs *docs)
{
    size_t bytes = 0;
    int rc;

    sq_bind_from(stmt, query->from);
    sq_bind(stmt, 2, sq_upper(query->to));
    sqlite3_bind_int64(stmt, 3, query->limit > INT64_MAX ? INT64_MAX : (int64_t)query->limit);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct store_doc *doc = store_docs_push(docs);

        doc->key = column(&docs->arena, stmt, 0);
        rc = give_row(c, query->table, stmt, docs, doc);
        if (rc != SQLITE_OK)
            break;
        bytes += store_doc_bytes(doc);
        docs->more = docs->n >= query->limit || bytes >= query->max_bytes;
        if (docs->more)
            break;
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sq_range(struct store *s, const struct store_query *query, struct store_docs *docs,
             struct error *err)
{
    unsigned verb = (query->descending ? SQ_DESC : SQ_ASC) + query->parts;
    struct sqlite *q = sqlite_of(s);
    sqlite3_stmt *stmt;
    struct sq_conn *c;
    int r = borrow(q, &c, err), rc;

    if (r < 0)
        return r;
    rc = begin(q, c, &docs->time);
    if (rc == SQLITE_OK) {
        stmt = sq_stmt(c, query->table, verb);
        rc = stmt ? get_rows(c, stmt, query, docs) : sqlite3_errcode(c->db);
    }
    return end(q, c, rc, err);
}

int sq_now(struct store *s, int64_t *ret_time, struct error *err)
{
    struct sqlite *q = sqlite_of(s);
    struct sq_conn *c;
    int r = borrow(q, &c, err);

    return r < 0 ? r : end(q, c, begin(q, c, ret_time), err);
}
