/* SPDX-License-Identifier: MPL-2.0 */
/* Group commit. A call waits in the queue; the writer takes its turn among processes, begins a
 * transaction, then takes calls and runs them, and takes those that came meanwhile, and commits:
 * one fsync for all. What a call found (taken, no such version) is decided by looking, never by a
 * failing statement, so that no call can spoil another's; if a statement does fail (disk full, I/O
 * error), the transaction is rolled back, that call is refused, and the others are run again.
 *
 * States of a call:  queued -> running -> committing -> ending -> done
 * A caller whose time is up may leave while queued (nothing happened) and while committing
 * (unknown), since then nobody looks at his bytes any more. A running call is waited for: it does
 * no more than write into memory.
 */
#include <errno.h>
#include <semaphore.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/sqlite_impl.h"

/* Of one transaction: what keeps its latency and memory bounded. */
#define GROUP_CALLS 512
#define GROUP_BYTES ((size_t)16 << 20)

enum call_state { CALL_QUEUED, CALL_RUNNING, CALL_COMMITTING, CALL_ENDING, CALL_DONE };

/* The transaction that the writer has open. */
struct txn {
    int64_t time;
    uint64_t before;  /* the last version given before it */
    uint64_t version; /* the last one given */
    bool changed;     /* something was written */
};

/* What is done for one store_* call; lives on the caller's stack. */
struct sq_call {
    int (*run)(struct sq_conn *c, struct txn *txn, struct sq_call *call); /* an SQLite code */
    /* The arguments. */
    struct store_item *items;
    const struct store_change *change;
    const struct slice *keys;
    size_t n;
    enum store_table table;
    struct slice from, to;
    size_t bytes; /* about what it adds to the transaction */
    /* The answer, once done. */
    int fate; /* 0: committed; else minus an enum err */
    struct error err;
    int64_t time;
    uint64_t version, removed;
    bool conflict;
    /* The queue's. */
    _Atomic enum call_state state; /* changed under the lock; the last step without it */
    struct sq_calls *group;        /* where it is while running or committing */
    sem_t done;
    TAILQ_ENTRY(sq_call) link;
};

/* --- what calls do --------------------------------------------------------------------------- */

static int find_key(struct sq_conn *c, enum store_table table, struct slice key, bool *ret_found)
{
    sqlite3_stmt *stmt = sq_stmt(c, table, SQ_EXISTS);
    int rc;

    if (!stmt)
        return sqlite3_errcode(c->db);
    sq_bind(stmt, 1, key);
    rc = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    *ret_found = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int insert_item(struct sq_conn *c, struct txn *txn, struct store_item *item)
{
    bool found = true;
    sqlite3_stmt *stmt;
    int rc = SQLITE_OK;

    item->outcome = STORE_TAKEN;
    if (item->after.n)
        rc = find_key(c, item->table, item->after, &found);
    if (rc != SQLITE_OK || !found)
        return rc;
    stmt = sq_stmt(c, item->table, SQ_INSERT);
    if (!stmt)
        return sqlite3_errcode(c->db);
    sq_bind(stmt, 1, item->key);
    sqlite3_bind_int64(stmt, 2, txn->time);
    sqlite3_bind_int64(stmt, 3, (int64_t)++txn->version);
    sq_bind(stmt, 4, item->head);
    sq_bind(stmt, 5, item->body);
    rc = sq_step(stmt);
    if (rc == SQLITE_OK && sqlite3_changes64(c->db) > 0) {
        item->outcome = STORE_DONE;
        txn->changed = true;
    }
    return rc;
}

static int run_insert(struct sq_conn *c, struct txn *txn, struct sq_call *call)
{
    uint32_t broken = 0; /* the group that is not to go on */
    int rc;

    for (size_t i = 0; i < call->n; i++) {
        struct store_item *item = &call->items[i];

        if (item->group && item->group == broken) {
            item->outcome = STORE_REFUSED;
            continue;
        }
        rc = insert_item(c, txn, item);
        if (rc != SQLITE_OK)
            return rc;
        broken = item->outcome == STORE_DONE ? 0 : item->group;
    }
    return SQLITE_OK;
}

static sqlite3_stmt *bind_change(struct sq_conn *c, const struct store_change *change,
                                 const struct txn *txn)
{
    sqlite3_stmt *stmt = sq_stmt(c, change->table, change->remove ? SQ_REMOVE_OLD : SQ_UPDATE);

    if (!stmt)
        return NULL;
    sq_bind(stmt, 1, change->key);
    if (change->remove) {
        sqlite3_bind_int64(stmt, 2, (int64_t)change->version);
        return stmt;
    }
    sqlite3_bind_int64(stmt, 2, txn->time);
    sqlite3_bind_int64(stmt, 3, (int64_t)txn->version);
    sq_bind(stmt, 4, change->head);
    sq_bind(stmt, 5, change->body);
    sqlite3_bind_int(stmt, 6, change->set_head);
    sqlite3_bind_int(stmt, 7, change->set_body);
    sqlite3_bind_int64(stmt, 8, (int64_t)change->version);
    return stmt;
}

static int run_update(struct sq_conn *c, struct txn *txn, struct sq_call *call)
{
    sqlite3_stmt *stmt;
    int rc;

    call->version = ++txn->version;
    stmt = bind_change(c, call->change, txn);
    rc = stmt ? sq_step(stmt) : sqlite3_errcode(c->db);
    call->conflict = rc == SQLITE_OK && sqlite3_changes64(c->db) == 0;
    txn->changed |= !call->conflict;
    return rc;
}

static int run_remove(struct sq_conn *c, struct txn *txn, struct sq_call *call)
{
    sqlite3_stmt *stmt = sq_stmt(c, call->table, SQ_REMOVE);
    int rc = stmt ? SQLITE_OK : sqlite3_errcode(c->db);

    for (size_t i = 0; i < call->n && rc == SQLITE_OK; i++) {
        sq_bind(stmt, 1, call->keys[i]);
        rc = sq_step(stmt);
        txn->changed |= sqlite3_changes64(c->db) > 0;
    }
    return rc;
}

static int run_remove_range(struct sq_conn *c, struct txn *txn, struct sq_call *call)
{
    sqlite3_stmt *stmt = sq_stmt(c, call->table, SQ_REMOVE_RANGE);
    int rc;

    if (!stmt)
        return sqlite3_errcode(c->db);
    sq_bind_from(stmt, call->from);
    sq_bind(stmt, 2, sq_upper(call->to));
    sqlite3_bind_int64(stmt, 3, (int64_t)call->n);
    rc = sq_step(stmt);
    call->removed = rc == SQLITE_OK ? (uint64_t)sqlite3_changes64(c->db) : 0;
    txn->changed |= call->removed > 0;
    return rc;
}

/* --- the transaction ------------------------------------------------------------------------- */

static int txn_begin(struct sqlite *q, struct txn *txn)
{
    struct sq_conn *c = q->writer;
    sqlite3_stmt *stmt = sq_plain(c, SQ_CLOCK);
    int rc = sq_run(c, SQ_BEGIN);

    if (rc != SQLITE_OK || !stmt)
        return rc != SQLITE_OK ? rc : SQLITE_ERROR;
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        txn->time = sq_time(q, sqlite3_column_int64(stmt, 0));
        txn->version = txn->before = (uint64_t)sqlite3_column_int64(stmt, 1);
        q->foreign_versions = txn->before - q->own_versions;
        txn->changed = false;
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

static int txn_commit(struct sqlite *q, const struct txn *txn)
{
    struct sq_conn *c = q->writer;
    sqlite3_stmt *stmt = sq_plain(c, SQ_SET_CLOCK);
    int rc = stmt ? SQLITE_OK : SQLITE_ERROR;

    if (rc == SQLITE_OK && txn->changed) {
        sqlite3_bind_int64(stmt, 1, txn->time);
        sqlite3_bind_int64(stmt, 2, (int64_t)txn->version);
        rc = sq_step(stmt);
    }
    return rc == SQLITE_OK ? sq_run(c, SQ_COMMIT) : rc;
}

static void txn_end(struct sqlite *q)
{
    if (!sqlite3_get_autocommit(q->writer->db) && sq_run(q->writer, SQ_ROLLBACK) != SQLITE_OK)
        return; /* an error that ended the transaction by itself */
}

/* --- the queue ------------------------------------------------------------------------------- */

static void call_refuse(struct sqlite *q, struct sq_call *call, const char *what)
{
    call->fate = sq_error(&call->err, q->writer, what);
}

/* All of these are done; a call is its caller's again with sem_post. */
static void finish(struct sqlite *q, struct sq_calls *calls)
{
    struct sq_call *call, *next;

    pthread_mutex_lock(&q->lock);
    TAILQ_FOREACH (call, calls, link)
        call->state = CALL_ENDING;
    pthread_mutex_unlock(&q->lock);
    for (call = TAILQ_FIRST(calls); call; call = next) {
        next = TAILQ_NEXT(call, link);
        atomic_store(&call->state, CALL_DONE);
        sem_post(&call->done);
    }
    TAILQ_INIT(calls);
}

static void finish_one(struct sqlite *q, struct sq_calls *calls, struct sq_call *call)
{
    struct sq_calls one = TAILQ_HEAD_INITIALIZER(one);

    TAILQ_REMOVE(calls, call, link);
    TAILQ_INSERT_TAIL(&one, call, link);
    finish(q, &one);
}

/* Moves what waits to the end of `group`; the first of them, or NULL. */
static struct sq_call *take(struct sqlite *q, struct sq_calls *group, size_t *n, size_t *bytes)
{
    struct sq_call *call, *first = NULL;

    pthread_mutex_lock(&q->lock);
    while (*n < GROUP_CALLS && *bytes < GROUP_BYTES && (call = TAILQ_FIRST(&q->queue))) {
        TAILQ_REMOVE(&q->queue, call, link);
        TAILQ_INSERT_TAIL(group, call, link);
        call->state = CALL_RUNNING;
        call->group = group;
        first = first ? first : call;
        *bytes += call->bytes;
        ++*n;
    }
    pthread_mutex_unlock(&q->lock);
    return first;
}

/* Runs `call` and those behind it. NULL, or the one whose statement failed. */
static struct sq_call *run_from(struct sqlite *q, struct txn *txn, struct sq_call *call)
{
    txn->time = sq_time(q, txn->time);
    for (; call; call = TAILQ_NEXT(call, link)) {
        call->fate = 0;
        if (call->run(q->writer, txn, call) != SQLITE_OK)
            return call;
        call->time = txn->time;
    }
    return NULL;
}

/* Without the calls that fail, until the rest has run. The transaction is open, unless -1. */
static int run_group(struct sqlite *q, struct txn *txn, struct sq_calls *group)
{
    size_t n = 0, bytes = 0;
    struct sq_call *first, *failed;

    while ((first = take(q, group, &n, &bytes))) {
        while ((failed = run_from(q, txn, first))) {
            call_refuse(q, failed, "write");
            txn_end(q);
            finish_one(q, group, failed);
            if (txn_begin(q, txn) != SQLITE_OK)
                return -1;
            first = TAILQ_FIRST(group);
            if (!first)
                break;
        }
    }
    return 0;
}

/* Certain that nothing was committed: what did not fit was not written to its end, so that its
 * checksum is wrong. After a failed fsync the whole commit may stand in the file, and a crash now
 * would bring it to life. */
static bool is_certain(int commit_rc)
{
    return (commit_rc & 0xff) == SQLITE_FULL || (commit_rc & 0xff) == SQLITE_BUSY;
}

static void set_fates(struct sqlite *q, struct sq_calls *group, bool unknown)
{
    struct sq_call *call;

    pthread_mutex_lock(&q->lock); /* callers may leave while it commits */
    TAILQ_FOREACH (call, group, link) {
        call_refuse(q, call, "write");
        if (unknown) {
            call->err.kind = ERR_UNKNOWN_OUTCOME;
            call->fate = -ERR_UNKNOWN_OUTCOME;
        }
    }
    pthread_mutex_unlock(&q->lock);
}

static void mark_committing(struct sqlite *q, struct sq_calls *group)
{
    struct sq_call *call;

    pthread_mutex_lock(&q->lock);
    TAILQ_FOREACH (call, group, link)
        call->state = CALL_COMMITTING;
    pthread_mutex_unlock(&q->lock);
}

/* The turn is ours. False: nothing could be begun, and nothing was taken. Else `group` is what was
 * taken, with its fates, and still to be finished. */
static bool one_group(struct sqlite *q, struct sq_calls *group)
{
    struct txn txn;
    int rc;

    if (txn_begin(q, &txn) != SQLITE_OK) {
        txn_end(q);
        return false;
    }
    if (run_group(q, &txn, group) < 0) {
        set_fates(q, group, false);
    } else {
        mark_committing(q, group);
        rc = txn_commit(q, &txn);
        if (rc != SQLITE_OK)
            set_fates(q, group, !is_certain(rc));
        else if (txn.changed)
            q->own_versions += txn.version - txn.before;
    }
    txn_end(q);
    return true;
}

/* Nothing can be begun (damage, a foreign writer, ...): say so to all who wait. */
static void refuse_all(struct sqlite *q, struct sq_calls *group)
{
    size_t n = 0, bytes = 0;

    take(q, group, &n, &bytes);
    set_fates(q, group, false);
}

static bool wait_for_work(struct sqlite *q)
{
    bool work;

    pthread_mutex_lock(&q->lock);
    q->writer_idle = true;
    while (TAILQ_EMPTY(&q->queue) && !q->stop)
        pthread_cond_wait(&q->work, &q->lock);
    q->writer_idle = false;
    work = !TAILQ_EMPTY(&q->queue);
    pthread_mutex_unlock(&q->lock);
    return work;
}

static void *writer_main(void *arg)
{
    struct sq_calls group = TAILQ_HEAD_INITIALIZER(group);
    struct sqlite *q = arg;

    while (wait_for_work(q)) {
        q->writing = true;
        if (sq_turn_take(q->writer_fd) < 0 || !one_group(q, &group))
            refuse_all(q, &group);
        q->writing = false;
        sq_turn_give(q->writer_fd); /* another process goes on while ours are woken */
        finish(q, &group);
    }
    sq_thread_gone(q);
    return NULL;
}

int sq_writer_start(struct sqlite *q, struct error *err)
{
    return sq_thread_start(q, &q->writer_thread, writer_main, err);
}

/* --- the caller's side ----------------------------------------------------------------------- */

/* Time is up. True: the call is the caller's again, its fate set. */
static bool leave(struct sqlite *q, struct sq_call *call)
{
    bool left = true;

    pthread_mutex_lock(&q->lock);
    if (call->state == CALL_QUEUED) {
        TAILQ_REMOVE(&q->queue, call, link);
        call->fate = error_set(&call->err, ERR_UNAVAILABLE, "the store is busy: no turn in %d ms",
                               q->store.settings.timeout_ms);
    } else if (call->state == CALL_COMMITTING) {
        TAILQ_REMOVE(call->group, call, link);
        call->fate = error_set(&call->err, ERR_UNKNOWN_OUTCOME, "the disk did not answer in time");
    } else {
        left = false;
    }
    pthread_mutex_unlock(&q->lock);
    return left;
}

static void wait_for_call(struct sqlite *q, struct sq_call *call)
{
    struct timespec end = sq_deadline(q);

    while (sem_clockwait(&call->done, CLOCK_MONOTONIC, &end) < 0) {
        if (errno != ETIMEDOUT)
            continue;
        if (leave(q, call))
            return;
        end.tv_sec++; /* it runs at this moment: soon done */
    }
}

/* 0 or minus an error, as the call's fate. */
static int submit(struct sqlite *q, struct sq_call *call, struct error *err)
{
    sem_init(&call->done, 0, 0);
    call->state = CALL_QUEUED;
    pthread_mutex_lock(&q->lock);
    TAILQ_INSERT_TAIL(&q->queue, call, link);
    if (q->writer_idle)
        pthread_cond_signal(&q->work);
    pthread_mutex_unlock(&q->lock);
    wait_for_call(q, call);
    (void)atomic_load(&call->state); /* race detectors know of this order, not of sem_clockwait's */
    sem_destroy(&call->done);
    if (call->fate < 0 && err)
        *err = call->err;
    return call->fate;
}

int sq_insert(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
              struct error *err)
{
    struct sq_call call = {.run = run_insert, .items = items, .n = n};
    int r;

    for (size_t i = 0; i < n; i++)
        call.bytes += items[i].key.n + items[i].head.n + items[i].body.n + 100;
    r = submit(sqlite_of(s), &call, err);
    for (size_t i = 0; r < 0 && i < n; i++)
        items[i].outcome = r == -ERR_UNKNOWN_OUTCOME ? STORE_UNKNOWN : STORE_REFUSED;
    *ret_time = call.time;
    return r;
}

int sq_update(struct store *s, const struct store_change *change, uint64_t *ret_version,
              int64_t *ret_time, struct error *err)
{
    struct sq_call call = {.run = run_update, .change = change};
    int r;

    call.bytes = change->key.n + change->head.n + change->body.n + 100;
    r = submit(sqlite_of(s), &call, err);
    *ret_version = call.version;
    *ret_time = call.time;
    if (r == 0 && call.conflict)
        return error_set(err, ERR_CONFLICT, "the document has another version or is gone");
    return r;
}

int sq_remove(struct store *s, enum store_table table, const struct slice *keys, size_t n,
              struct error *err)
{
    struct sq_call call = {.run = run_remove, .table = table, .keys = keys, .n = n};

    call.bytes = n * 4096; /* the pages that it changes */
    return submit(sqlite_of(s), &call, err);
}

int sq_remove_range(struct store *s, enum store_table table, struct slice from, struct slice to,
                    uint64_t *ret_n, struct error *err)
{
    /* Freed pages are read and written: a few large rows at a time let others in between. */
    bool large = table == STORE_BLOBS || table == STORE_SEGMENTS || table == STORE_SNAPSHOTS ||
                 table == STORE_TEXTINDEX || table == STORE_QUEUEBODIES;
    int64_t end = clock_mono_ms() + s->settings.timeout_ms;
    size_t step = large ? 16 : 256;
    int r;

    *ret_n = 0;
    do {
        struct sq_call call = {.run = run_remove_range,
                               .table = table,
                               .from = from,
                               .to = to,
                               .n = step,
                               .bytes = step * 4096};

        r = submit(sqlite_of(s), &call, err);
        *ret_n += call.removed;
        if (r < 0 || call.removed < step)
            return r;
    } while (clock_mono_ms() < end);
    return error_set(err, ERR_UNAVAILABLE, "more is left to delete");
}
