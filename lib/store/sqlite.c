/* SPDX-License-Identifier: MPL-2.0 */
/* The store in one SQLite file, for one machine; any number of processes may use it at once.
 *
 * Writing: one thread per process owns the writing connection (sqlite_write.c). It gathers the
 * calls of all threads into one transaction, so that one fsync serves them all, and before each
 * transaction it takes its turn by a lock on FILE-lock: SQLite's own busy handler is unfair enough
 * to starve a process. Reading: a pool of connections, one transaction a call (sqlite_read.c); WAL
 * lets them read beside the writer. Checkpoints: a thread copies the WAL into the file beside
 * readers and writers, and now and then takes a turn to finish, so that the WAL starts over and
 * stays bounded (sqlite_checkpoint.c).
 *
 * Tables. Small rows are clustered by their key (WITHOUT ROWID): reading the tail of one account's
 * log touches neighbouring pages. Large ones lie in the order of arrival with a unique index on
 * the key: measured (messages of 3 KB, 2,000 accounts, groups of 24) that is 1.4 times as fast to
 * write as clustered, where most rows split pages or spill into overflow pages. 4096-byte pages
 * wrote less, and faster, than 8192 or 16384 in all layouts, since a delivery touches a random
 * leaf. No mmap: an I/O error would be a SIGBUS instead of a reply.
 *
 * A process opens the store after its last fork: SQLite's locks are the process's.
 *
 * Store time and the version counter are one row of `clock`, written in every transaction that
 * changes anything.
 *
 * To change the format: raise FORMAT, add the step to `upgrade`, and ship readers first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/sqlite_impl.h"

#define FORMAT         1
#define APPLICATION_ID 0x45696472 /* "Eidr" */

/* Tables with large rows lie in the order of arrival. */
bool sq_is_clustered(enum store_table table)
{
    return table != STORE_MESSAGES && table != STORE_BLOBS && table != STORE_SNAPSHOTS &&
           table != STORE_SEGMENTS && table != STORE_TEXTINDEX && table != STORE_QUEUEBODIES;
}

/* --- statements ------------------------------------------------------------------------------ */

static const char *const plain_sql[SQ_PLAIN_] = {
    [SQ_BEGIN] = "BEGIN IMMEDIATE",
    [SQ_BEGIN_READ] = "BEGIN",
    [SQ_COMMIT] = "COMMIT",
    [SQ_ROLLBACK] = "ROLLBACK",
    [SQ_CLOCK] = "SELECT t, v FROM clock WHERE i = 1",
    [SQ_SET_CLOCK] = "UPDATE clock SET t = ?1, v = ?2 WHERE i = 1",
};

static const char *const verb_sql[SQ_GET] = {
    [SQ_INSERT] = "INSERT INTO %s(k, s, v, h, b) VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    [SQ_EXISTS] = "SELECT 1 FROM %s WHERE k = ?1",
    [SQ_UPDATE] = "UPDATE %s SET s = ?2, v = ?3, h = iif(?6, ?4, h), b = iif(?7, ?5, b) "
                  "WHERE k = ?1 AND v = ?8",
    [SQ_REMOVE_OLD] = "DELETE FROM %s WHERE k = ?1 AND v = ?2",
    [SQ_REMOVE] = "DELETE FROM %s WHERE k = ?1",
    [SQ_REMOVE_RANGE] = "DELETE FROM %s WHERE k IN "
                        "(SELECT k FROM %s WHERE k >= ?1 AND k < ?2 ORDER BY k LIMIT ?3)",
};

/* A large body is not loaded by the statement: sqlite_read.c reads it to where it is wanted. */
static const char *body_text(enum store_table table, unsigned parts)
{
    if (!(parts & STORE_BODY))
        return "NULL, 0, 0";
    if (sq_is_clustered(table))
        return "b, 0, 0";
    return "iif(length(b) >= " SQ_LARGE_TEXT ", NULL, b), length(b), rowid";
}

static char *verb_text(enum store_table table, unsigned verb)
{
    const char *name = store_table_name(table);
    unsigned parts = (verb - SQ_GET) & 3;
    const char *where = "k >= ?1 AND k < ?2 ORDER BY k LIMIT ?3";

    if (verb < SQ_GET)
        return mem_printf(verb_sql[verb], name, name);
    if (verb < SQ_ASC)
        where = "k = ?1";
    else if (verb >= SQ_DESC)
        where = "k >= ?1 AND k < ?2 ORDER BY k DESC LIMIT ?3";
    return mem_printf("SELECT k, s, v, %s, %s FROM %s WHERE %s", parts & STORE_HEAD ? "h" : "NULL",
                      body_text(table, parts), name, where);
}

static sqlite3_stmt *prepare(struct sq_conn *c, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
        return NULL;
    return stmt;
}

sqlite3_stmt *sq_stmt(struct sq_conn *c, enum store_table table, unsigned verb)
{
    if (!c->by_table[table][verb]) {
        CLEANUP_FREE char *sql = verb_text(table, verb);

        c->by_table[table][verb] = prepare(c, sql);
    }
    return c->by_table[table][verb];
}

sqlite3_stmt *sq_plain(struct sq_conn *c, enum sq_plain which)
{
    if (!c->plain[which])
        c->plain[which] = prepare(c, plain_sql[which]);
    return c->plain[which];
}

int sq_step(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    sqlite3_reset(stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int sq_run(struct sq_conn *c, enum sq_plain which)
{
    sqlite3_stmt *stmt = sq_plain(c, which);

    return stmt ? sq_step(stmt) : sqlite3_errcode(c->db);
}

/* The bytes stay the caller's, and must be there until the statement has run. */
void sq_bind(sqlite3_stmt *stmt, int i, struct slice bytes)
{
    sqlite3_bind_blob64(stmt, i, bytes.n ? bytes.p : NULL, bytes.n, SQLITE_STATIC);
}

void sq_bind_from(sqlite3_stmt *stmt, struct slice from)
{
    sqlite3_bind_blob64(stmt, 1, from.n ? (const void *)from.p : "", from.n, SQLITE_STATIC);
}

int sq_error(struct error *err, struct sq_conn *c, const char *what)
{
    int rc = sqlite3_extended_errcode(c->db) & 0xff;

    switch (rc) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
        return error_set(err, ERR_INTERNAL, "%s: %s", what, sqlite3_errmsg(c->db));
    default:
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", what, sqlite3_errmsg(c->db));
    }
}

struct slice sq_upper(struct slice to)
{
    static const uint8_t above[STORE_KEY_MAX + 1] = {[0 ... STORE_KEY_MAX] = 0xff};

    return to.n ? to : slice_of(above, sizeof above);
}

/* --- time and turns -------------------------------------------------------------------------- */

int64_t sq_time(struct sqlite *q, int64_t in_file)
{
    int64_t time = MAX(in_file, q->clock()), told = atomic_load(&q->given);

    while (told < time && !atomic_compare_exchange_weak(&q->given, &told, time))
        ;
    return MAX(told, time);
}

struct timespec sq_deadline(const struct sqlite *q)
{
    int64_t ms = clock_mono_ms() + q->store.settings.timeout_ms;

    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

int sq_turn_take(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int r;

    do
        r = fcntl(fd, F_OFD_SETLKW, &lock);
    while (r < 0 && errno == EINTR);
    return r;
}

void sq_turn_give(int fd)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    fcntl(fd, F_OFD_SETLK, &lock);
}

/* --- connections ----------------------------------------------------------------------------- */

/* The writer's pages are dirty until it commits: room for a whole group. */
static const char writer_setup[] = "PRAGMA cache_size = -32768";

static const char conn_setup[] =
    "PRAGMA synchronous = FULL;"
    "PRAGMA wal_autocheckpoint = 0;"
    "PRAGMA journal_size_limit = 134217728;"
    "PRAGMA secure_delete = FAST;"
    "PRAGMA trusted_schema = OFF;"
    "PRAGMA temp_store = MEMORY;"
    "PRAGMA cache_size = -4096;" /* KiB; the system's page cache does the rest */
    "PRAGMA mmap_size = 0;";

int sq_conn_open(struct sqlite *q, struct sq_conn **ret_conn, struct error *err)
{
    struct sq_conn *c = NEW(struct sq_conn);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, r;

    if (sqlite3_open_v2(q->path, &c->db, flags, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(c->db, q->store.settings.timeout_ms);
        if (sqlite3_exec(c->db, conn_setup, NULL, NULL, NULL) == SQLITE_OK) {
            *ret_conn = c;
            return 0;
        }
    }
    r = sq_error(err, c, q->path);
    sq_conn_close(c);
    return r;
}

void sq_conn_close(struct sq_conn *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SQ_PLAIN_; i++)
        sqlite3_finalize(c->plain[i]);
    for (size_t t = 0; t < STORE_TABLES_; t++)
        for (size_t v = 0; v < SQ_VERBS_; v++)
            sqlite3_finalize(c->by_table[t][v]);
    sqlite3_close(c->db);
    free(c);
}

/* --- the format ------------------------------------------------------------------------------ */

static int ask_number(struct sq_conn *c, const char *sql, int64_t *ret)
{
    sqlite3_stmt *stmt = prepare(c, sql);
    int rc = stmt ? sqlite3_step(stmt) : sqlite3_errcode(c->db);

    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* All tables that are not there. */
static char *tables_text(void)
{
    char *sql = mem_strdup("");

    for (size_t t = 0; t < STORE_TABLES_; t++) {
        CLEANUP_FREE char *before = sql;

        sql = mem_printf("%sCREATE TABLE IF NOT EXISTS %s(k BLOB PRIMARY KEY NOT NULL, "
                         "s INTEGER NOT NULL, v INTEGER NOT NULL, h BLOB, b BLOB) STRICT%s;",
                         before, store_table_name((enum store_table)t),
                         sq_is_clustered((enum store_table)t) ? ", WITHOUT ROWID" : "");
    }
    return sql;
}

static char *schema_text(void)
{
    CLEANUP_FREE char *tables = tables_text();

    return mem_printf("PRAGMA application_id = %d; PRAGMA user_version = %d;"
                      "CREATE TABLE clock(i INTEGER PRIMARY KEY, t INTEGER NOT NULL, "
                      "v INTEGER NOT NULL) STRICT; INSERT INTO clock VALUES(1, 0, 0);%s",
                      APPLICATION_ID, FORMAT, tables);
}

/* A store that was made before there was such a table gets it. */
static int add_tables(struct sq_conn *c)
{
    CLEANUP_FREE char *sql = tables_text();

    return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

static int make_tables(struct sq_conn *c)
{
    CLEANUP_FREE char *schema = schema_text();
    CLEANUP_FREE char *sql = mem_printf("BEGIN IMMEDIATE; %s COMMIT;", schema);
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

    if (rc != SQLITE_OK && !sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* Under the turn, so that two processes that start together do not both do it. */
static int check_format(struct sqlite *q, struct error *err)
{
    struct sq_conn *c = q->writer;
    int64_t application = 0, format = 0, tables = 0;

    if (sqlite3_exec(c->db, writer_setup, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(c->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL) != SQLITE_OK ||
        ask_number(c, "PRAGMA application_id", &application) != SQLITE_OK ||
        ask_number(c, "PRAGMA user_version", &format) != SQLITE_OK ||
        ask_number(c, "SELECT count(*) FROM sqlite_schema", &tables) != SQLITE_OK)
        return sq_error(err, c, q->path);
    if (tables == 0 && application == 0)
        return make_tables(c) == SQLITE_OK ? 0 : sq_error(err, c, q->path);
    if (application != APPLICATION_ID)
        return error_set(err, ERR_INTERNAL, "%s is a database, but not a store of Eider", q->path);
    if (format > FORMAT)
        return error_set(err, ERR_INTERNAL,
                         "%s has format %d, this program knows formats up to %d: take a newer one",
                         q->path, (int)format, FORMAT);
    return add_tables(c) == SQLITE_OK ? 0 : sq_error(err, c, q->path);
}

/* --- files ----------------------------------------------------------------------------------- */

static int make_folders(const char *path, struct error *err)
{
    CLEANUP_FREE char *copy = mem_strdup(path);

    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return error_set(err, ERR_UNAVAILABLE, "%s: %s", copy, strerror(errno));
        *slash = '/';
    }
    return 0;
}

/* Only if it is new: SQLite loses its own locks when a second descriptor on its file is closed. */
static int make_file(const char *path, struct error *err)
{
    CLEANUP_FD int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 && errno != EEXIST)
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    return 0;
}

static int open_lock(struct sqlite *q, int *ret_fd, struct error *err)
{
    CLEANUP_FREE char *path = mem_printf("%s-lock", q->path);

    *ret_fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (*ret_fd < 0)
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    return 0;
}

/* --- opening and closing --------------------------------------------------------------------- */

static void free_all(struct sqlite *q)
{
    sq_readers_done(q);
    sq_conn_close(q->pulse);
    sq_conn_close(q->checkpointer);
    sq_conn_close(q->writer); /* the last one, if no other process has one, empties the WAL */
    mem_close_fd(&q->writer_fd);
    mem_close_fd(&q->checkpointer_fd);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->pool_lock);
    pthread_mutex_destroy(&q->pulse_lock);
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->wake);
    pthread_cond_destroy(&q->gone);
    pthread_cond_destroy(&q->returned);
    free(q->path);
    free(q);
}

int sq_thread_start(struct sqlite *q, pthread_t *ret_thread, void *(*main)(void *),
                    struct error *err)
{
    int r;

    q->running++; /* nobody else is there yet */
    r = pthread_create(ret_thread, NULL, main, q);
    if (r == 0)
        return 0;
    q->running--;
    return error_set(err, ERR_UNAVAILABLE, "no thread for the store: %s", strerror(r));
}

void sq_thread_gone(struct sqlite *q)
{
    bool last;

    pthread_mutex_lock(&q->lock);
    q->running--;
    last = q->running == 0 && q->abandoned;
    pthread_cond_signal(&q->gone);
    pthread_mutex_unlock(&q->lock);
    if (last)
        free_all(q);
}

static void sqlite_close(struct store *s)
{
    struct sqlite *q = sqlite_of(s);
    struct timespec end = sq_deadline(q);
    pthread_t writer, checkpointer;
    bool abandoned;
    int r = 0;

    pthread_mutex_lock(&q->lock);
    writer = q->writer_thread;
    checkpointer = q->checkpointer_thread;
    q->stop = true;
    pthread_cond_signal(&q->work);
    pthread_cond_signal(&q->wake);
    while (q->running > 0 && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&q->gone, &q->lock, &end);
    abandoned = q->abandoned = q->running > 0;
    pthread_mutex_unlock(&q->lock);
    if (writer)
        abandoned ? pthread_detach(writer) : pthread_join(writer, NULL);
    if (checkpointer)
        abandoned ? pthread_detach(checkpointer) : pthread_join(checkpointer, NULL);
    if (!abandoned)
        free_all(q);
}

static uint64_t sqlite_pulse(struct store *s)
{
    struct sqlite *q = sqlite_of(s);
    uint64_t own = q->own_versions, version = 0;
    sqlite3_stmt *stmt;
    bool found;

    pthread_mutex_lock(&q->pulse_lock);
    stmt = sq_plain(q->pulse, SQ_CLOCK);
    found = stmt && sqlite3_step(stmt) == SQLITE_ROW;
    if (found)
        version = (uint64_t)sqlite3_column_int64(stmt, 1);
    sqlite3_reset(stmt);
    pthread_mutex_unlock(&q->pulse_lock);
    /* while our own writer is at work, it sees what others did, and notes it */
    if (found && !q->writing && q->own_versions == own)
        q->foreign_versions = version - own;
    return q->foreign_versions;
}

static const struct store_ops sqlite_ops = {
    .kind = "sqlite",
    .close = sqlite_close,
    .insert = sq_insert,
    .update = sq_update,
    .remove = sq_remove,
    .remove_range = sq_remove_range,
    .get = sq_get,
    .range = sq_range,
    .time = sq_now,
    .pulse = sqlite_pulse,
};

static struct sqlite *sqlite_new(const char *path, const struct store_settings *settings)
{
    struct sqlite *q = NEW(struct sqlite);
    pthread_condattr_t monotonic;

    q->store = (struct store){&sqlite_ops, true, *settings};
    q->path = mem_strdup(path);
    q->clock = clock_wall_ms;
    q->writer_fd = q->checkpointer_fd = -1;
    TAILQ_INIT(&q->queue);
    LIST_INIT(&q->idle);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->pool_lock, NULL);
    pthread_mutex_init(&q->pulse_lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->wake, &monotonic);
    pthread_cond_init(&q->gone, &monotonic);
    pthread_cond_init(&q->returned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return q;
}

static int open_all(struct sqlite *q, struct error *err)
{
    int r;

    if ((r = make_folders(q->path, err)) < 0 || (r = make_file(q->path, err)) < 0 ||
        (r = open_lock(q, &q->writer_fd, err)) < 0 ||
        (r = open_lock(q, &q->checkpointer_fd, err)) < 0)
        return r;
    if (sq_turn_take(q->writer_fd) < 0)
        return error_set(err, ERR_UNAVAILABLE, "%s-lock: %s", q->path, strerror(errno));
    r = sq_conn_open(q, &q->writer, err);
    if (r == 0)
        r = check_format(q, err);
    sq_turn_give(q->writer_fd);
    if (r < 0 || (r = sq_conn_open(q, &q->checkpointer, err)) < 0 ||
        (r = sq_conn_open(q, &q->pulse, err)) < 0 || (r = sq_writer_start(q, err)) < 0)
        return r;
    return sq_checkpointer_start(q, err);
}

/* SQLite counts its memory under one lock for the whole process unless told not to. */
static void configure(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int store_sqlite_open(const char *path, const struct store_settings *settings,
                      struct store **ret_store, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct sqlite *q = sqlite_new(path, settings);
    int r;

    pthread_once(&once, configure);
    r = open_all(q, err);
    if (r < 0) {
        sqlite_close(&q->store);
        return r;
    }
    *ret_store = &q->store;
    return 0;
}
