/* SPDX-License-Identifier: MPL-2.0 */
/* What only SQLite has: files, formats, turns, group commit, the clock, the WAL. The verbs are in
 * tests/store. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/sqlite_impl.h"

/* A folder of its own for each test (Criterion runs each in a process). */
static char folder[64], path[96], uri[128];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/eider-test-sqlite-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/inner/store.db", folder);
    snprintf(uri, sizeof uri, "sqlite:%s", path);
}

static void remove_folder(void)
{
    CLEANUP_FREE char *command = mem_printf("rm -rf '%s'", folder);

    cr_assert_eq(system(command), 0);
}

TestSuite(sqlite, .init = make_folder, .fini = remove_folder, .timeout = 300);

static struct store *open_with(int timeout_ms, int pool_size)
{
    struct store_settings settings = {.timeout_ms = timeout_ms, .pool_size = pool_size};
    struct store *s = NULL;
    struct error err = {0};

    cr_assert_eq(store_open(uri, &settings, &s, &err), 0, "%s", err.text);
    return s;
}

static struct store *open_store(void)
{
    return open_with(0, 0);
}

/* 0 or minus an error; DONE if 0. */
static int insert(struct store *s, uint64_t seq, struct slice body)
{
    struct key16 k = key_pair(1, seq);
    struct store_item item = {.table = STORE_MESSAGES, .key = KEY_SLICE(k), .body = body};
    int64_t time;
    int r = store_insert(s, &item, 1, &time, NULL);

    cr_assert_eq(item.outcome, r == 0 ? STORE_DONE : STORE_REFUSED);
    return r;
}

static bool there(struct store *s, uint64_t seq)
{
    struct key16 k = key_pair(1, seq);
    struct slice key = KEY_SLICE(k);
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    cr_assert_eq(store_get(s, STORE_MESSAGES, &key, 1, STORE_HEAD, STORE_MAJORITY, &docs, NULL), 0);
    return docs.items[0].found;
}

static void run_sql(const char *sql)
{
    sqlite3 *db = NULL;
    char *text = NULL;

    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &text), SQLITE_OK, "%s", text);
    sqlite3_close(db);
}

static int mode_of(const char *suffix)
{
    CLEANUP_FREE char *file = mem_printf("%s%s", path, suffix);
    struct stat st;

    cr_assert_eq(stat(file, &st), 0, "%s", file);
    return st.st_mode & 0777;
}

/* --- files and formats ----------------------------------------------------------------------- */

Test(sqlite, nobody_else_may_read_the_files)
{
    struct store *s;
    struct stat st;

    umask(0);
    s = open_store();
    cr_assert_eq(insert(s, 1, S("x")), 0);
    cr_assert_eq(mode_of(""), 0600);
    cr_assert_eq(mode_of("-wal"), 0600);
    cr_assert_eq(mode_of("-shm"), 0600);
    cr_assert_eq(mode_of("-lock"), 0600);
    snprintf(folder + strlen(folder), 8, "/inner");
    cr_assert_eq(stat(folder, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0700);
    *strrchr(folder, '/') = 0;
    store_close(s);
}

Test(sqlite, a_newer_format_is_refused_with_a_sentence)
{
    struct store *s = open_store();
    struct error err = {0};

    store_close(s);
    run_sql("PRAGMA user_version = 99");
    cr_assert_eq(store_open(uri, NULL, &s, &err), -ERR_INTERNAL);
    cr_assert(strstr(err.text, "format 99"), "%s", err.text);
}

Test(sqlite, another_database_is_left_alone)
{
    struct store *s = NULL;
    struct error err = {0};

    snprintf(path, sizeof path, "%s/other.db", folder);
    snprintf(uri, sizeof uri, "sqlite:%s", path);
    run_sql("CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    cr_assert_eq(store_open(uri, NULL, &s, &err), -ERR_INTERNAL);
    cr_assert(strstr(err.text, "not a store"), "%s", err.text);
    run_sql("INSERT INTO t VALUES(2)");
}

Test(sqlite, a_file_that_is_no_database_is_an_error)
{
    struct store *s = NULL;
    int fd;

    snprintf(path, sizeof path, "%s/text", folder);
    snprintf(uri, sizeof uri, "sqlite:%s", path);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(write(fd, "this is not a database, but a text\n", 35), 35);
    close(fd);
    cr_assert_eq(store_open(uri, NULL, &s, NULL), -ERR_INTERNAL);
}

Test(sqlite, what_was_written_is_there_after_reopening)
{
    struct store *s = open_store();

    cr_assert_eq(insert(s, 1, S("x")), 0);
    store_close(s);
    s = open_store();
    cr_assert(there(s, 1));
    store_close(s);
}

/* --- the clock ------------------------------------------------------------------------------- */

static _Atomic int64_t test_clock;

static int64_t read_test_clock(void)
{
    return test_clock;
}

static struct store *open_with_clock(int64_t ms)
{
    struct store *s = open_store();

    test_clock = ms;
    sqlite_of(s)->clock = read_test_clock;
    sqlite_of(s)->given = 0; /* opening may have looked at the real one */
    return s;
}

static int64_t time_of(struct store *s)
{
    int64_t time;

    cr_assert_eq(store_time(s, &time, NULL), 0);
    return time;
}

Test(sqlite, store_time_never_goes_back_with_the_clock)
{
    struct store *s = open_with_clock(5000000), *other;

    cr_assert_eq(insert(s, 1, S("")), 0);
    cr_assert_eq(time_of(s), 5000000);
    test_clock = 6000000;
    cr_assert_eq(time_of(s), 6000000);
    test_clock = 1000000;
    cr_assert_eq(time_of(s), 6000000);
    cr_assert_eq(insert(s, 2, S("")), 0);
    other = open_with_clock(1000000); /* another process: knows what the file knows */
    cr_assert_eq(time_of(other), 6000000);
    cr_assert_eq(insert(other, 3, S("")), 0);
    cr_assert_eq(time_of(other), 6000000);
    store_close(other);
    store_close(s);
    s = open_with_clock(2000000); /* after a restart */
    cr_assert_eq(time_of(s), 6000000);
    test_clock = 7000000;
    cr_assert_eq(time_of(s), 7000000);
    store_close(s);
}

/* --- turns and timeouts ---------------------------------------------------------------------- */

/* Another process that has its turn, and keeps it. */
static int hold_turn(void)
{
    CLEANUP_FREE char *file = mem_printf("%s-lock", path);
    int fd = open(file, O_RDWR | O_CLOEXEC);

    cr_assert(fd >= 0);
    cr_assert_eq(sq_turn_take(fd), 0);
    return fd;
}

/* A process that stands still whenever it reads its clock, while another one writes. */
static struct store *the_other;

static int64_t stand_still(void)
{
    struct store *other = the_other;

    the_other = NULL;
    if (other) {
        test_clock += 13 * 3600000;
        cr_assert_eq(insert(other, 1, S("meanwhile")), STORE_DONE);
        test_clock++;
    }
    return test_clock;
}

Test(sqlite, I21_an_answer_is_true_at_a_moment_not_before_its_time)
{
    struct store *writer = open_with_clock(1000000), *reader = open_with_clock(1000000);
    struct key16 k = key_pair(1, 1);
    struct store_docs docs = {0}, now = {0};

    sqlite_of(reader)->clock = stand_still;
    the_other = writer;
    cr_assert_eq(store_get(reader, STORE_MESSAGES, (struct slice[]){KEY_SLICE(k)}, 1, STORE_KEYS,
                           STORE_MAJORITY, &docs, NULL),
                 0);
    cr_assert_null(the_other);
    cr_assert_eq(store_get(reader, STORE_MESSAGES, (struct slice[]){KEY_SLICE(k)}, 1, STORE_KEYS,
                           STORE_MAJORITY, &now, NULL),
                 0);
    cr_assert(now.items[0].found);
    cr_assert(docs.items[0].found || docs.time < now.items[0].stored_ms,
              "absent at %lld, stored at %lld", (long long)docs.time,
              (long long)now.items[0].stored_ms);
    store_docs_done(&docs);
    store_docs_done(&now);
    store_close(reader);
    store_close(writer);
}

Test(sqlite, a_write_without_a_turn_ends_in_time_and_never_happens)
{
    struct store *s = open_with(300, 0);
    int64_t start = clock_mono_ms();
    int fd = hold_turn();

    cr_assert_eq(insert(s, 1, S("x")), -ERR_UNAVAILABLE);
    cr_assert(clock_mono_ms() - start < 20000);
    cr_assert_not(there(s, 1)); /* reading goes on meanwhile */
    close(fd);
    store_close(s);
    s = open_store(); /* a busy disk may take longer than that */
    cr_assert_eq(insert(s, 2, S("x")), 0);
    cr_assert_not(there(s, 1));
    store_close(s);
}

Test(sqlite, closing_does_not_wait_for_a_turn_longer_than_a_call)
{
    struct store *s = open_with(300, 0);
    int64_t start = clock_mono_ms();
    int fd = hold_turn();

    cr_assert_eq(insert(s, 1, S("x")), -ERR_UNAVAILABLE);
    store_close(s);
    cr_assert(clock_mono_ms() - start < 20000);
    close(fd); /* the writer that was left behind cleans up */
    s = open_store();
    cr_assert_not(there(s, 1));
    cr_assert_eq(insert(s, 1, S("x")), 0);
    store_close(s);
}

Test(sqlite, a_foreign_writer_makes_writes_unavailable_not_wrong)
{
    struct store *s = open_with(300, 0);
    sqlite3 *db = NULL;

    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    cr_assert_eq(insert(s, 1, S("x")), -ERR_UNAVAILABLE);
    cr_assert_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    store_close(s);
    s = open_store(); /* a busy disk may take longer than that */
    cr_assert_not(there(s, 1));
    cr_assert_eq(insert(s, 1, S("x")), 0);
    store_close(s);
}

Test(sqlite, readers_beyond_the_pool_wait_their_time_and_are_refused)
{
    struct store *s = open_with(200, 1);
    struct sqlite *q = sqlite_of(s);
    int64_t time;

    pthread_mutex_lock(&q->pool_lock);
    q->readers = 1; /* as if lent for long */
    pthread_mutex_unlock(&q->pool_lock);
    cr_assert_eq(store_time(s, &time, NULL), -ERR_UNAVAILABLE);
    q->readers = 0;
    cr_assert_eq(store_time(s, &time, NULL), 0);
    store_close(s);
}

static _Noreturn void insert_for(int ms, uint64_t first)
{
    struct store *s = open_store();
    int64_t end = clock_mono_ms() + ms;

    for (uint64_t seq = first; clock_mono_ms() < end; seq++)
        if (insert(s, seq, S("x")) < 0)
            _exit(1);
    store_close(s);
    _exit(0);
}

static size_t count_from(struct store *s, uint64_t first)
{
    struct key16 from = key_pair(1, first), to = key_pair(1, first + 1000000);
    struct store_query q = {.table = STORE_MESSAGES, .from = KEY_SLICE(from), .to = KEY_SLICE(to)};
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    cr_assert_eq(store_range(s, &q, &docs, NULL), 0);
    return docs.n;
}

Test(sqlite, processes_that_write_at_once_all_get_on)
{
    size_t least = SIZE_MAX, most = 0;
    struct store *s;
    int status;

    store_close(open_store());
    for (uint64_t i = 0; i < 3; i++)
        if (fork() == 0)
            insert_for(2000, i * 1000000);
    for (int i = 0; i < 3; i++)
        cr_assert(wait(&status) > 0 && status == 0);
    s = open_store();
    for (uint64_t i = 0; i < 3; i++) {
        least = MIN(least, count_from(s, i * 1000000));
        most = MAX(most, count_from(s, i * 1000000));
    }
    cr_assert(least > 0 && most < 5 * least, "%zu to %zu", least, most);
    store_close(s);
}

/* --- group commit ---------------------------------------------------------------------------- */

struct caller {
    struct store *store;
    uint64_t seq;
    struct slice body;
    int result;
    pthread_t thread;
};

static void *call_insert(void *arg)
{
    struct caller *c = arg;

    c->result = insert(c->store, c->seq, c->body);
    return NULL;
}

#define CALLERS 8

/* All in one transaction: they wait together, since another has its turn. */
static void insert_together(struct store *s, struct caller *callers)
{
    int fd = hold_turn();

    for (uint64_t i = 0; i < CALLERS; i++) {
        callers[i].store = s;
        callers[i].seq = i;
        cr_assert_eq(pthread_create(&callers[i].thread, NULL, call_insert, &callers[i]), 0);
    }
    usleep(200000);
    close(fd);
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
}

static int count_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    (*(int *)arg)++;
    return SQLITE_OK;
}

Test(sqlite, calls_that_wait_together_leave_in_one_transaction)
{
    struct store *s = open_store();
    struct caller callers[CALLERS] = {0};
    int commits = 0;

    cr_assert_eq(insert(s, 1000, S("x")), 0);
    sqlite3_wal_hook(sqlite_of(s)->writer->db, count_commit, &commits);
    insert_together(s, callers);
    for (uint64_t i = 0; i < CALLERS; i++)
        cr_assert(callers[i].result == 0 && there(s, i));
    cr_assert(commits >= 1 && commits <= 2, "%d", commits);
    store_close(s);
}

/* The disk has room for a megabyte: what does not fit is refused, the others are done. */
Test(sqlite, I23_a_call_that_fails_spoils_no_other)
{
    struct store *s = open_store();
    struct caller callers[CALLERS] = {0};
    struct slice big = slice_of(mem_zalloc(3000000), 3000000);

    cr_assert_eq(insert(s, 1000, S("x")), 0);
    sqlite3_exec(sqlite_of(s)->writer->db, "PRAGMA max_page_count = 300", NULL, NULL, NULL);
    callers[2].body = callers[5].body = big;
    insert_together(s, callers);
    for (uint64_t i = 0; i < CALLERS; i++) {
        cr_assert_eq(callers[i].result, i == 2 || i == 5 ? -ERR_UNAVAILABLE : 0, "%d", (int)i);
        cr_assert_eq(there(s, i), i != 2 && i != 5);
    }
    sqlite3_exec(sqlite_of(s)->writer->db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL);
    cr_assert_eq(insert(s, 2, big), 0);
    free((void *)(uintptr_t)big.p);
    store_close(s);
}

/* --- the WAL --------------------------------------------------------------------------------- */

struct reading {
    struct store *store;
    _Atomic bool stop;
};

static void *read_for_ever(void *arg)
{
    struct reading *r = arg;
    struct store_query q = {
        .table = STORE_MESSAGES, .parts = STORE_BOTH, .descending = true, .max_bytes = 4 << 20};

    while (!r->stop) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        cr_assert_eq(store_range(r->store, &q, &docs, NULL), 0);
    }
    return NULL;
}

/* It starts over, however slow the disk is: in the end much more was written than it ever held. */
Test(sqlite, the_wal_stays_bounded_while_others_read)
{
    struct store *s = open_store();
    struct reading reading = {.store = s};
    struct slice big = slice_of(mem_zalloc(1000000), 1000000);
    CLEANUP_FREE char *wal = mem_printf("%s-wal", path);
    pthread_t readers[2];
    struct stat st;
    off_t most = 0, written = 0;

    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&readers[i], NULL, read_for_ever, &reading), 0);
    for (uint64_t i = 0; i < 400 || (i < 3000 && 2 * most > written); i++) {
        cr_assert_eq(insert(s, i, big), 0);
        cr_assert_eq(stat(wal, &st), 0);
        most = MAX(most, st.st_size);
        written += (off_t)big.n;
    }
    reading.stop = true;
    for (size_t i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    cr_assert(2 * most <= written, "%lld bytes of %lld", (long long)most, (long long)written);
    free((void *)(uintptr_t)big.p);
    store_close(s);
}

/* What a power cut leaves: the files as they are, here behind a process that goes on. */
static void copy_files(const char *to)
{
    CLEANUP_FREE char *command =
        mem_printf("mkdir '%s' && cp '%s' '%s-wal' '%s/'", to, path, path, to);

    cr_assert_eq(system(command), 0);
}

Test(sqlite, a_wal_with_room_at_its_end_is_read_to_its_last_commit)
{
    struct store *s = open_store();
    CLEANUP_FREE char *wal = mem_printf("%s-wal", path);
    CLEANUP_FREE char *copy = mem_printf("%s/copy", folder);
    int64_t end = clock_mono_ms() + 30000;
    struct stat st = {0};
    uint64_t n = 0;

    for (; st.st_size < 4 << 20; n++) { /* that is room: what is written so far is far less */
        cr_assert_eq(insert(s, n, S("x")), 0);
        cr_assert_eq(stat(wal, &st), 0);
        cr_assert(clock_mono_ms() < end, "no room after %llu commits", (unsigned long long)n);
    }
    for (uint64_t more = n + 50; n < more; n++)
        cr_assert_eq(insert(s, n, S("x")), 0);
    copy_files(copy);
    store_close(s);
    snprintf(uri, sizeof uri, "sqlite:%s/store.db", copy);
    s = open_store();
    for (uint64_t i = 0; i < n; i++)
        cr_assert(there(s, i), "%llu of %llu", (unsigned long long)i, (unsigned long long)n);
    cr_assert_eq(insert(s, n, S("x")), 0);
    store_close(s);
}

Test(sqlite, the_pulse_differs_after_another_process_has_written)
{
    struct store *s = open_store(), *other = open_store();
    uint64_t first = store_pulse(s);

    cr_assert_eq(store_pulse(s), first);
    cr_assert_eq(insert(other, 1, S("")), 0);
    cr_assert_neq(store_pulse(s), first);
    first = store_pulse(s);
    cr_assert_eq(insert(s, 2, S("")), 0);
    for (int i = 0; i < 20; i++, usleep(1000)) /* the writer may not have come to rest yet */
        cr_assert_eq(store_pulse(s), first, "own writing is no news");
    cr_assert_neq(store_pulse(other), 0);
    cr_assert_eq(insert(other, 3, S("")), 0);
    cr_assert_neq(store_pulse(s), first);
    store_close(other);
    store_close(s);
}
