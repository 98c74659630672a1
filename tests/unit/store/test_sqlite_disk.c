/* SPDX-License-Identifier: MPL-2.0 */
/* A disk that fails: SQLite's fdatasync and pwrite64 are these. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/sqlite_impl.h"

static _Atomic bool sync_fails, disk_full;
static _Atomic int sync_ms;

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    if (sync_ms)
        usleep((useconds_t)sync_ms * 1000);
    if (sync_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    if (disk_full) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, p, n, at);
}

static char folder[64];

static struct store *open_store(int timeout_ms)
{
    CLEANUP_FREE char *uri = mem_printf("sqlite:%s/store.db", folder);
    struct store_settings settings = {.timeout_ms = timeout_ms};
    struct store *s = NULL;

    cr_assert_eq(store_open(uri, &settings, &s, NULL), 0);
    return s;
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/eider-test-disk-XXXXXX");
    cr_assert(mkdtemp(folder));
}

static void remove_folder(void)
{
    CLEANUP_FREE char *command = mem_printf("rm -rf '%s'", folder);

    cr_assert_eq(system(command), 0);
}

TestSuite(sqlite_disk, .init = make_folder, .fini = remove_folder, .timeout = 60);

static int insert(struct store *s, uint64_t seq, enum store_outcome *ret_outcome)
{
    struct key16 k = key_pair(1, seq);
    struct store_item item = {.table = STORE_LOG, .key = KEY_SLICE(k), .head = S("x")};
    int64_t time;
    int r = store_insert(s, &item, 1, &time, NULL);

    *ret_outcome = item.outcome;
    return r;
}

static bool there(struct store *s, uint64_t seq)
{
    struct key16 k = key_pair(1, seq);
    struct slice key = KEY_SLICE(k);
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    cr_assert_eq(store_get(s, STORE_LOG, &key, 1, STORE_HEAD, STORE_MAJORITY, &docs, NULL), 0);
    return docs.items[0].found;
}

Test(sqlite_disk, I23_a_full_disk_refuses_and_the_write_never_comes)
{
    struct store *s = open_store(0);
    enum store_outcome outcome;

    cr_assert_eq(insert(s, 1, &outcome), 0);
    disk_full = true;
    cr_assert_eq(insert(s, 2, &outcome), -ERR_UNAVAILABLE);
    cr_assert_eq(outcome, STORE_REFUSED);
    cr_assert(there(s, 1));
    cr_assert_not(there(s, 2));
    disk_full = false;
    cr_assert_eq(insert(s, 3, &outcome), 0);
    store_close(s);
    s = open_store(0);
    cr_assert(there(s, 1) && !there(s, 2) && there(s, 3));
    store_close(s);
}

Test(sqlite_disk, I21_what_could_not_be_synced_is_unknown_not_done)
{
    struct store *s = open_store(0);
    enum store_outcome outcome;

    cr_assert_eq(insert(s, 1, &outcome), 0);
    sync_fails = true;
    cr_assert_eq(insert(s, 2, &outcome), -ERR_UNKNOWN_OUTCOME);
    cr_assert_eq(outcome, STORE_UNKNOWN);
    sync_fails = false;
    cr_assert_eq(insert(s, 3, &outcome), 0);
    cr_assert(there(s, 1) && there(s, 3));
    store_close(s);
}

Test(sqlite_disk, a_disk_that_hangs_is_left_in_time_as_unknown)
{
    struct store *s = open_store(300);
    enum store_outcome outcome;

    cr_assert_eq(insert(s, 1, &outcome), 0);
    sync_ms = 2000;
    cr_assert_eq(insert(s, 2, &outcome), -ERR_UNKNOWN_OUTCOME);
    cr_assert_eq(outcome, STORE_UNKNOWN);
    cr_assert_eq(insert(s, 3, &outcome), -ERR_UNAVAILABLE); /* waited behind it: never begun */
    sync_ms = 0;
    for (int tries = 0; tries < 100 && insert(s, 4, &outcome) != 0 && outcome != STORE_TAKEN;)
        tries++;
    cr_assert(there(s, 2) && !there(s, 3));
    store_close(s);
}
