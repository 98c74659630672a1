/* SPDX-License-Identifier: MPL-2.0 */
/* For sqlite*.c only: one store in one SQLite file. The essay is at the top of sqlite.c. */
#pragma once

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <time.h>

#include "lib/store/store_impl.h"

/* Bodies from this size on are copied once on their way out instead of twice. */
#define SQ_LARGE      65536
#define SQ_LARGE_TEXT "65536"

/* Statements that each table has; SQ_GET, SQ_ASC and SQ_DESC are four each: + enum store_parts. */
enum sq_verb {
    SQ_INSERT,     /* ?1 key ?2 time ?3 version ?4 head ?5 body */
    SQ_EXISTS,     /* ?1 key */
    SQ_UPDATE,     /* ?1 key ?2 time ?3 version ?4 head ?5 body ?6 set head ?7 set body ?8 guard */
    SQ_REMOVE_OLD, /* ?1 key ?2 guard */
    SQ_REMOVE,     /* ?1 key */
    SQ_REMOVE_RANGE,     /* ?1 from ?2 to ?3 limit */
    SQ_GET,              /* ?1 key -> key, time, version, head, body, its length, rowid */
    SQ_ASC = SQ_GET + 4, /* ?1 from ?2 to ?3 limit -> the same */
    SQ_DESC = SQ_ASC + 4,
    SQ_VERBS_ = SQ_DESC + 4
};

enum sq_plain {
    SQ_BEGIN,
    SQ_BEGIN_READ,
    SQ_COMMIT,
    SQ_ROLLBACK,
    SQ_CLOCK,     /* -> time, version */
    SQ_SET_CLOCK, /* ?1 time ?2 version */
    SQ_PLAIN_
};

/* A connection with its prepared statements (made at first use). One thread at a time. */
struct sq_conn {
    sqlite3 *db;
    sqlite3_stmt *by_table[STORE_TABLES_][SQ_VERBS_];
    sqlite3_stmt *plain[SQ_PLAIN_];
    LIST_ENTRY(sq_conn) link;
};

struct sq_call;
TAILQ_HEAD(sq_calls, sq_call);

struct sqlite {
    struct store store;
    char *path;
    int64_t (*clock)(void); /* wall clock in ms */
    _Atomic int64_t given;  /* the highest store time that this process has told anybody */

    /* The writer (sqlite_write.c). `lock` guards the queue, the flags and the states of calls. */
    struct sq_conn *writer;
    int writer_fd; /* on the lock file; the lock that makes processes take turns */
    pthread_t writer_thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct sq_calls queue;
    bool writer_idle;

    /* The checkpointer (sqlite_checkpoint.c). */
    struct sq_conn *checkpointer;
    int checkpointer_fd;
    pthread_t checkpointer_thread;
    pthread_cond_t wake;
    _Atomic int frames; /* in the WAL after the last commit, or 0 when all were copied */
    _Atomic int room;   /* frames that its file has room for, as far as is known */

    /* Closing; under `lock`. A thread that waits for its turn cannot be called back: if it comes
     * too late, close has gone on (`abandoned`), and the last thread out frees all this. */
    pthread_cond_t gone;
    int running; /* threads */
    bool stop, abandoned;

    /* Readers (sqlite_read.c). */
    pthread_mutex_t pool_lock;
    pthread_cond_t returned;
    LIST_HEAD(, sq_conn) idle;
    int readers; /* open ones */

    /* The pulse: how many versions other processes have given; that is what the clock's row has,
     * without our own. Either side notes it, the writer when it begins. */
    pthread_mutex_t pulse_lock;
    struct sq_conn *pulse;
    _Atomic bool writing;              /* the row may be ahead of `own_versions` */
    _Atomic uint64_t own_versions;     /* given by this process */
    _Atomic uint64_t foreign_versions; /* as last noted */
};

static inline struct sqlite *sqlite_of(struct store *s)
{
    return (struct sqlite *)s; /* its first member */
}

/* --- sqlite.c -------------------------------------------------------------------------------- */

bool sq_is_clustered(enum store_table table);
int sq_conn_open(struct sqlite *q, struct sq_conn **ret_conn, struct error *err) MUST_USE;
void sq_conn_close(struct sq_conn *c);
/* The prepared statement, reset; NULL: sqlite3_errcode says why. */
sqlite3_stmt *sq_stmt(struct sq_conn *c, enum store_table table, unsigned verb);
sqlite3_stmt *sq_plain(struct sq_conn *c, enum sq_plain which);
/* Runs a statement that gives no rows; a result code of SQLite's. */
int sq_run(struct sq_conn *c, enum sq_plain which) MUST_USE;
int sq_step(sqlite3_stmt *stmt) MUST_USE; /* one step, reset; OK for rows and done */
void sq_bind(sqlite3_stmt *stmt, int i, struct slice bytes);
/* A lower bound as ?1. An empty one is a zero-length blob: nothing is above or at NULL. */
void sq_bind_from(sqlite3_stmt *stmt, struct slice from);
/* Fills err by what the connection met last: -ERR_UNAVAILABLE, or -ERR_INTERNAL for damage. */
int sq_error(struct error *err, struct sq_conn *c, const char *what);
/* The store time: not below what the file has, this process has told, or the clock. */
int64_t sq_time(struct sqlite *q, int64_t in_file);
/* timeout_ms from now, on the monotonic clock. */
struct timespec sq_deadline(const struct sqlite *q);
/* Waits for this process's turn, for ever if need be. 0 or -1. */
int sq_turn_take(int fd) MUST_USE;
void sq_turn_give(int fd);
/* Starts a thread of the store; it ends with sq_thread_gone. */
int sq_thread_start(struct sqlite *q, pthread_t *ret_thread, void *(*main)(void *),
                    struct error *err) MUST_USE;
void sq_thread_gone(struct sqlite *q);
/* `to` as a bound: above every key if empty. */
struct slice sq_upper(struct slice to);

/* --- sqlite_write.c -------------------------------------------------------------------------- */

int sq_writer_start(struct sqlite *q, struct error *err) MUST_USE;
int sq_insert(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
              struct error *err) MUST_USE;
int sq_update(struct store *s, const struct store_change *change, uint64_t *ret_version,
              int64_t *ret_time, struct error *err) MUST_USE;
int sq_remove(struct store *s, enum store_table table, const struct slice *keys, size_t n,
              struct error *err) MUST_USE;
int sq_remove_range(struct store *s, enum store_table table, struct slice from, struct slice to,
                    uint64_t *ret_n, struct error *err) MUST_USE;

/* --- sqlite_read.c --------------------------------------------------------------------------- */

int sq_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
           enum store_parts parts, enum store_level level, struct store_docs *docs,
           struct error *err) MUST_USE;
int sq_range(struct store *s, const struct store_query *query, struct store_docs *docs,
             struct error *err) MUST_USE;
int sq_now(struct store *s, int64_t *ret_time, struct error *err) MUST_USE;
void sq_readers_done(struct sqlite *q);

/* --- sqlite_checkpoint.c --------------------------------------------------------------------- */

int sq_checkpointer_start(struct sqlite *q, struct error *err) MUST_USE;
