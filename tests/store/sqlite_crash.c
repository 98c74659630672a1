/* SPDX-License-Identifier: MPL-2.0 */
/* sqlite_crash FILE [ROUNDS]: processes that write to one file at once, and die (I21, I22).
 *
 * In each round three children append to one shared log (all race for the next seq, each record
 * naming its predecessor and going in with its message as one group) and to logs of their own, from
 * several threads, and say on a pipe what was acknowledged, after it was. At a random moment one or
 * all are killed with -9. Then the parent opens the file and looks: all that was acknowledged is
 * there; every record has its message, every log is without gaps, nobody's record was written over;
 * store time and versions went on; SQLite finds the file whole.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/store.h"

#define CHILDREN 3
#define THREADS  3
#define SHARED   1 /* account of the log that all write to; others: 100 * child + thread */

/* Said by a child, in one write: this record is in. */
struct ack {
    uint64_t account, seq, text;
    int64_t stored_ms;
};

struct acks {
    struct ack *items;
    size_t n, cap;
};

static void die(const char *what, const struct error *err)
{
    fprintf(stderr, "sqlite_crash: %s %s\n", what, err ? err->text : "");
    _exit(1);
}

static struct store *open_store(const char *path)
{
    CLEANUP_FREE char *uri = mem_printf("sqlite:%s", path);
    struct error err = {0};
    struct store *s = NULL;

    if (store_open(uri, NULL, &s, &err) < 0)
        die("open:", &err);
    return s;
}

/* --- a child --------------------------------------------------------------------------------- */

struct writer {
    struct store *store;
    uint64_t own; /* its own account */
    int pipe;
};

/* The highest seq of a log; 0: none. */
static uint64_t newest(struct store *s, uint64_t account)
{
    struct key16 from = key_pair(account, 0), to = key_pair(account + 1, 0);
    struct store_query q = {.table = STORE_LOG,
                            .from = KEY_SLICE(from),
                            .to = KEY_SLICE(to),
                            .limit = 1,
                            .descending = true,
                            .level = STORE_MAJORITY};
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    if (store_range(s, &q, &docs, NULL) < 0)
        die("range", NULL);
    return docs.n ? get_be64(docs.items[0].key.p + 8) : 0;
}

static void append(struct writer *w, uint64_t account)
{
    uint64_t seq = newest(w->store, account) + 1, text = random_u64();
    struct key16 k = key_pair(account, seq), before = key_pair(account, seq - 1);
    struct key16 message = key_pair(account, text);
    struct key8 value = key_account(text);
    uint8_t body[2000];
    struct store_item items[2] = {
        {.table = STORE_MESSAGES, .key = KEY_SLICE(message), .head = KEY_SLICE(value), .group = 9},
        {.table = STORE_LOG, .key = KEY_SLICE(k), .head = KEY_SLICE(value), .group = 9},
    };
    struct ack ack = {account, seq, text, 0};

    memset(body, (int)(text & 0xff), sizeof body);
    items[0].body = slice_of(body, sizeof body);
    if (seq > 1)
        items[1].after = KEY_SLICE(before);
    if (store_insert(w->store, items, 2, &ack.stored_ms, NULL) < 0)
        die("insert", NULL);
    if (items[1].outcome == STORE_DONE && write(w->pipe, &ack, sizeof ack) != sizeof ack)
        _exit(1);
}

static void *write_for_ever(void *arg)
{
    struct writer *w = arg;

    for (;;) {
        append(w, w->own);
        append(w, SHARED);
    }
    return NULL;
}

static _Noreturn void child_main(const char *path, uint64_t me, int pipe)
{
    struct writer writers[THREADS];
    struct store *s = open_store(path);
    pthread_t thread;

    for (uint64_t i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){s, 100 * me + i, pipe};
        if (pthread_create(&thread, NULL, write_for_ever, &writers[i]) != 0)
            die("thread", NULL);
    }
    for (;;)
        pause();
}

/* --- the parent ------------------------------------------------------------------------------ */

static void read_acks(int pipe, struct acks *acks)
{
    struct ack ack;

    while (read(pipe, &ack, sizeof ack) == sizeof ack)
        *VEC_PUSH(acks) = ack;
}

/* Some milliseconds of writing; then one dies, others go on a little, then all die. */
static void run_and_kill(const char *path, struct acks *acks)
{
    pid_t children[CHILDREN];
    int fds[2];

    if (pipe(fds) < 0 || fcntl(fds[0], F_SETPIPE_SZ, 1 << 20) < 0)
        die("pipe", NULL);
    for (uint64_t i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0)
            child_main(path, i + 1, fds[1]);
    }
    close(fds[1]);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    for (size_t i = 0; i < CHILDREN; i++) {
        for (uint64_t ms = 100 + random_u64() % 100; ms > 0; ms--) {
            usleep(1000);
            read_acks(fds[0], acks);
        }
        kill(children[i], SIGKILL);
    }
    for (size_t i = 0; i < CHILDREN; i++)
        waitpid(children[i], NULL, 0);
    read_acks(fds[0], acks);
    close(fds[0]);
}

static bool same(struct store *s, enum store_table table, struct slice key, uint64_t text,
                 int64_t min_ms)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct key8 value = key_account(text);

    return store_get(s, table, &key, 1, STORE_BOTH, STORE_MAJORITY, &docs, NULL) == 0 &&
           docs.items[0].found && slice_eq(docs.items[0].head, KEY_SLICE(value)) &&
           docs.items[0].stored_ms <= docs.time && docs.items[0].stored_ms >= min_ms &&
           (table == STORE_LOG ||
            (docs.items[0].body.n == 2000 && docs.items[0].body.p[1999] == (uint8_t)(text & 0xff)));
}

static unsigned check_acks(struct store *s, const struct acks *acks)
{
    unsigned lost = 0;

    for (size_t i = 0; i < acks->n; i++) {
        const struct ack *a = &acks->items[i];
        struct key16 k = key_pair(a->account, a->seq), message = key_pair(a->account, a->text);

        if (!same(s, STORE_LOG, KEY_SLICE(k), a->text, a->stored_ms) ||
            !same(s, STORE_MESSAGES, KEY_SLICE(message), a->text, a->stored_ms)) {
            fprintf(stderr, "lost: account %llu seq %llu\n", (unsigned long long)a->account,
                    (unsigned long long)a->seq);
            lost++;
        }
    }
    return lost;
}

/* Gaps, records without a message, times that go back. */
static unsigned check_log(struct store *s, uint64_t account)
{
    struct key16 from = key_pair(account, 0), to = key_pair(account + 1, 0);
    struct store_query q = {.table = STORE_LOG,
                            .from = KEY_SLICE(from),
                            .to = KEY_SLICE(to),
                            .parts = STORE_HEAD,
                            .level = STORE_MAJORITY};
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    unsigned bad = 0;
    int64_t last = 0;

    if (store_range(s, &q, &docs, NULL) < 0)
        die("range", NULL);
    for (size_t i = 0; i < docs.n; i++) {
        struct store_doc *doc = &docs.items[i];
        struct key16 message = key_pair(account, get_be64(doc->head.p));

        bad += get_be64(doc->key.p + 8) != i + 1 || doc->stored_ms < last;
        bad += !same(s, STORE_MESSAGES, KEY_SLICE(message), get_be64(doc->head.p), 1);
        last = doc->stored_ms;
    }
    if (bad)
        fprintf(stderr, "log %llu: %u faults\n", (unsigned long long)account, bad);
    return bad;
}

static unsigned check_file(const char *path)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    unsigned bad = 1;

    if (sqlite3_open(path, &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        bad = strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0;
        if (bad)
            fprintf(stderr, "integrity: %s\n", sqlite3_column_text(stmt, 0));
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return bad;
}

static unsigned check_all(const char *path, const struct acks *acks)
{
    struct store *s = open_store(path);
    unsigned bad = check_acks(s, acks) + check_log(s, SHARED);

    for (uint64_t i = 1; i <= CHILDREN; i++)
        for (uint64_t j = 0; j < THREADS; j++)
            bad += check_log(s, 100 * i + j);
    store_close(s);
    return bad + check_file(path);
}

static void remove_old(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        CLEANUP_FREE char *file = mem_printf("%s%s", path, suffixes[i]);

        unlink(file);
    }
}

int main(int argc, char **argv)
{
    int rounds = argc == 3 ? atoi(argv[2]) : 8;
    struct acks acks = {0};
    unsigned bad = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: sqlite_crash FILE [ROUNDS]\n");
        return 2;
    }
    remove_old(argv[1]);
    for (int i = 0; i < rounds && !bad; i++) {
        run_and_kill(argv[1], &acks);
        bad = check_all(argv[1], &acks);
        printf("round %d: %zu acknowledged in all, %u faults\n", i + 1, acks.n, bad);
        fflush(stdout);
    }
    bad += acks.n == 0; /* nothing was tried */
    VEC_DONE(&acks);
    return bad > 0;
}
