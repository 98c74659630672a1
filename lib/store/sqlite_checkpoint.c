/* SPDX-License-Identifier: MPL-2.0 */
/* Checkpoints. A thread copies the WAL into the file: beside everybody, when the WAL has grown by
 * CHECKPOINT_FRAMES or nothing was written for a while. Writing goes on meanwhile, so that what is
 * copied is never all, and SQLite starts the WAL over only when all is copied and nobody reads
 * from it. So, when it is large, the thread takes a turn like a writer: what is left is little by
 * then, nothing is added, and new readers need the file alone. Readers that are still at an old
 * state are waited for, but briefly; then the next try comes a second later, or when the WAL has
 * grown by as much again. The larger it is the longer a try waits: readers that are slow, on a disk
 * that is, do not let it grow for ever.
 *
 * The thread also keeps room ahead of the writer in a WAL that still grows: zeros, on disk. A
 * commit that makes a file longer has the file system write its journal too; one that writes over
 * what is there was measured to take two thirds of the time. SQLite ends reading a WAL at the first
 * frame whose salt and checksum are not right, and zeros are not. They are written in a write
 * transaction, so that nobody, whatever program, appends meanwhile. */
#include <limits.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/sqlite_impl.h"

#define CHECKPOINT_FRAMES                                                                          \
    16384 /* 64 MiB: a shorter WAL writes hot pages into the file too often                        \
           */
#define FRAME_BYTES (24 + 4096)
#define ROOM_FROM   64   /* frames: who commits but little needs no room */
#define ROOM_LOW    512  /* frames of room at which there is to be more */
#define ROOM_STEP   1024 /* frames of it at a time */
#define IDLE_MS     1000
#define READERS_MS  100 /* writers stand still as long as that, at most, for the first try */
#define READERS_MAX 5000

/* Not for a WAL that is about to start over. */
static bool wants_room(const struct sqlite *q, int frames)
{
    return frames >= ROOM_FROM && frames < CHECKPOINT_FRAMES &&
           frames + ROOM_LOW > atomic_load(&q->room);
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct sqlite *q = arg;
    int before = atomic_exchange(&q->frames, frames);

    (void)db, (void)name;
    if (frames / CHECKPOINT_FRAMES > before / CHECKPOINT_FRAMES || wants_room(q, frames)) {
        pthread_mutex_lock(&q->lock);
        pthread_cond_signal(&q->wake);
        pthread_mutex_unlock(&q->lock);
    }
    return SQLITE_OK;
}

/* True: the WAL is in the file, all of it. */
static bool copy(struct sqlite *q, int mode)
{
    int frames = 0, copied = 0;

    return sqlite3_wal_checkpoint_v2(q->checkpointer->db, NULL, mode, &frames, &copied) ==
               SQLITE_OK &&
           frames == copied;
}

/* Four times as long when the WAL is twice as large. */
static int readers_ms(struct sqlite *q)
{
    int times = MIN(atomic_load(&q->frames) / CHECKPOINT_FRAMES, READERS_MAX / READERS_MS);

    return MIN(READERS_MS * MAX(times * times, 1), READERS_MAX);
}

static void finish(struct sqlite *q)
{
    sqlite3_busy_timeout(q->checkpointer->db, readers_ms(q));
    if (sq_turn_take(q->checkpointer_fd) < 0)
        return;
    if (copy(q, SQLITE_CHECKPOINT_RESTART))
        atomic_store(&q->frames, 0);
    sq_turn_give(q->checkpointer_fd);
}

/* --- room --- */

static sqlite3_file *wal_file(struct sq_conn *c)
{
    sqlite3_file *file = NULL;

    if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK)
        return NULL;
    return file && file->pMethods ? file : NULL;
}

static int add_zeros(sqlite3_file *file, sqlite3_int64 *size)
{
    static const uint8_t zeros[65536];
    sqlite3_int64 end;
    int rc = file->pMethods->xFileSize(file, size);

    end = *size + (sqlite3_int64)ROOM_STEP * FRAME_BYTES;
    while (rc == SQLITE_OK && *size < end) {
        int n = (int)MIN(end - *size, (sqlite3_int64)sizeof zeros);

        rc = file->pMethods->xWrite(file, zeros, n, *size);
        *size += n;
    }
    return rc;
}

/* If it fails (a full disk), the WAL grows by itself; what was added is room all the same. */
static void make_room(struct sqlite *q)
{
    struct sq_conn *c = q->checkpointer;
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    int rc = SQLITE_BUSY;

    if (sq_turn_take(q->checkpointer_fd) < 0)
        return;
    if (sq_run(c, SQ_BEGIN) == SQLITE_OK) {
        file = wal_file(c);
        rc = file ? add_zeros(file, &size) : SQLITE_ERROR;
        if (sq_run(c, SQ_ROLLBACK) != SQLITE_OK)
            rc = SQLITE_ERROR;
    }
    sq_turn_give(q->checkpointer_fd);
    if (rc == SQLITE_OK)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    atomic_store(&q->room, rc == SQLITE_OK ? (int)(size / FRAME_BYTES) : INT_MAX);
}

/* --- the thread --- */

/* What there is to do: 0 after a signal or a second. */
static bool wait_for_frames(struct sqlite *q, int *ret_frames, int *seen)
{
    struct timespec end;
    int64_t ms = clock_mono_ms() + IDLE_MS;
    bool go_on;

    end = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    *seen = atomic_load(&q->frames);
    pthread_mutex_lock(&q->lock);
    if (!q->stop)
        pthread_cond_timedwait(&q->wake, &q->lock, &end);
    go_on = !q->stop;
    pthread_mutex_unlock(&q->lock);
    *ret_frames = atomic_load(&q->frames);
    return go_on;
}

static void *checkpointer_main(void *arg)
{
    struct sqlite *q = arg;
    int frames, seen;

    while (wait_for_frames(q, &frames, &seen)) {
        if (wants_room(q, frames))
            make_room(q);
        if (frames >= CHECKPOINT_FRAMES) {
            (void)copy(q, SQLITE_CHECKPOINT_PASSIVE);
            if (atomic_load(&q->frames) < 2 * CHECKPOINT_FRAMES)
                (void)copy(q, SQLITE_CHECKPOINT_PASSIVE); /* what came meanwhile: little */
            finish(q);
        } else if (frames > 0 && frames == seen && copy(q, SQLITE_CHECKPOINT_PASSIVE)) {
            atomic_compare_exchange_strong(&q->frames, &frames, 0);
        }
    }
    sq_thread_gone(q);
    return NULL;
}

int sq_checkpointer_start(struct sqlite *q, struct error *err)
{
    sqlite3_wal_hook(q->writer->db, on_commit, q);
    return sq_thread_start(q, &q->checkpointer_thread, checkpointer_main, err);
}
