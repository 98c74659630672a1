/* SPDX-License-Identifier: MPL-2.0 */
/* The thread that decides, and the books.
 *
 * Reading the index: rows come in the order of their times, and a new one is seldom far in the
 * past, so each look reads on from where the last one ended, less a little; every ten seconds less
 * what a row may come late; from time to time, and when there is room again for what had been
 * dropped, all of it is read again. What is known is in `ready` (ready.h), by destination.
 *
 * Locks: the queue's lock may be held when ours is taken (queue_submit calls `take`), never the
 * other way round.
 */
#include "lib/queue/runner_impl.h"

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"

#define MINUTE ((int64_t)60 * 1000)
#define HOUR   (60 * MINUTE)

#define PAGE            5000  /* rows that are read together */
#define OVERLAP_MS      2000  /* looks at the index overlap by so much, ... */
#define LATE_MS         30000 /* ... and for rows that came late (a store's timeout, and more) ... */
#define LATE_EVERY_MS   10000 /* ... now and then by more */
#define DAMAGED_MS      (10 * MINUTE)
#define BROOM_MS        200
#define BROOM_ROWS      256
#define ROOM_WAIT_MIN   20
#define ROOM_WAIT_MAX   (5 * MINUTE)
#define TURN            16 /* entries of one destination that are taken at once */
#define TRANSPORT_SLACK 4  /* entries taken for each that is attempted, on the way there */

void runner_settings_default(struct runner_settings *s)
{
    *s = (struct runner_settings){
        .hostname = "localhost",
        .retry_first_ms = 5 * MINUTE,
        .retry_factor = 2,
        .retry_max_ms = 4 * HOUR,
        .expiry_ms = 5 * 24 * HOUR,
        .warn_ms = {4 * HOUR},
        .lease_ms = 2 * MINUTE,
        .concurrency = 200,
        .workers = 16,
        .poll_ms = 1000,
        .reread_ms = 5 * MINUTE,
        .sweep_ms = 10 * MINUTE,
        .return_max = 50 << 10,
        .memory_entries = 500000,
        .memory_destination = 20000,
    };
}

/* --- the books ------------------------------------------------------------------------------- */

/* Under the lock. */
static void ended(struct runner *r)
{
    r->running--;
    pthread_cond_signal(&r->wake);
    pthread_cond_broadcast(&r->idle);
}

void queue_item_park(struct runner *r, struct ready_item *item, int64_t wait_ms)
{
    pthread_mutex_lock(&r->lock);
    ready_park(r->ready, item, clock_mono_ms() + wait_ms);
    ended(r);
    pthread_mutex_unlock(&r->lock);
}

static void old_row(struct runner *r, const struct ready_item *item)
{
    *VEC_PUSH(&r->old_rows) = key_queue_due(item->when_ms, item->id, item->number, item->turn);
}

/* The new row first, then the old one goes. If it cannot be written, the old one is left: it is
 * stale then, and whoever meets it does this again. */
void queue_item_close(struct runner *r, struct ready_item *item, const struct queue_found *found)
{
    const struct queue_entry *e = &found->entry;
    struct queue_row row =
        queue_row_of(e, found->stored.envelope.priority, runner_deadline(r, found));
    bool moved = !e->done && !e->held && e->turn != item->turn;
    int64_t time, soon = queue_now(r->queue) + r->settings.poll_ms;
    int res = 0;

    if (moved) {
        CLEANUP(arena_done) struct arena arena = {0};
        struct store_item new_row = queue_row_item(&row, &arena);

        res = queue_insert_surely(r->queue, &new_row, 1, NULL, &time, NULL);
    }
    pthread_mutex_lock(&r->lock);
    if (res == 0 && (moved || e->done || e->held))
        old_row(r, item);
    ready_no_wait(r->ready, item->dest);
    ready_drop(r->ready, item);
    if (moved && res == 0 && e->row_ms <= soon)
        ready_add(r->ready, &row, row.deadline_ms, false);
    ended(r);
    pthread_mutex_unlock(&r->lock);
}

void runner_gone(struct runner *r, uint64_t id, uint64_t size)
{
    queue_forget(r->queue, id);
    pthread_mutex_lock(&r->lock);
    *VEC_PUSH(&r->gone) = (struct gone){id, size};
    pthread_mutex_unlock(&r->lock);
}

int64_t runner_deadline(const struct runner *r, const struct queue_found *f)
{
    const struct runner_settings *s = &r->settings;
    const struct queue_envelope *e = &f->stored.envelope;
    int64_t deadline = f->queued_ms + s->expiry_ms;
    unsigned warned = f->entry.warned;

    if (warned < RUNNER_WARNINGS && s->warn_ms[warned])
        deadline = MIN(deadline, f->queued_ms + s->warn_ms[warned]);
    if (e->by == QUEUE_BY_RETURN || (e->by == QUEUE_BY_NOTIFY && !f->entry.by_told))
        deadline = MIN(deadline, e->by_ms);
    return deadline;
}

/* --- what was taken is read ------------------------------------------------------------------- */

/* Its deadline was a guess, and has not come. */
static void not_yet(struct runner *r, struct ready_item *item, int64_t deadline)
{
    pthread_mutex_lock(&r->lock);
    item->deadline_ms = deadline;
    ready_park(r->ready, item, clock_mono_ms());
    ended(r);
    pthread_mutex_unlock(&r->lock);
}

static bool is_owed(const struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].notice)
            return true;
    return false;
}

static void log_damaged(const struct ready_item *item)
{
    char id[QUEUE_ID_TEXT];

    queue_id_text(item->id, id);
    log_text(LOG_ERROR_, "queue", "entry %u of %s cannot be read", item->number, id);
}

/* What becomes of an item by what was read of its entry. True: it is attempted. */
static bool look_at(struct runner *r, struct ready_item *item, const struct queue_found *f,
                    bool give_back)
{
    const struct queue_entry *e = &f->entry;
    int64_t deadline;

    if (f->damaged) {
        log_damaged(item);
        queue_item_park(r, item, DAMAGED_MS);
    } else if (!f->counts) {
        /* its envelope is on its way, or was given up */
        queue_item_park(r, item, r->settings.lease_ms / 8);
    } else if (e->done || e->held || e->turn > item->turn) {
        atomic_fetch_add(&r->counters.stale_rows, 1);
        queue_item_close(r, item, f);
    } else if (e->turn < item->turn) {
        queue_item_park(r, item, r->settings.poll_ms); /* an old answer */
    } else if (e->owner != r->id && e->lease_ms > e->read_ms) {
        atomic_fetch_add(&r->counters.leases_lost, 1);
        queue_item_park(r, item, e->lease_ms - e->read_ms + (int64_t)(random_u64() % 200));
    } else if (item->look && !give_back && !is_owed(e) &&
               (deadline = runner_deadline(r, f)) > queue_now(r->queue)) {
        not_yet(r, item, deadline);
    } else {
        return true;
    }
    return false;
}

static void read_some(struct runner *r, const struct unread *some, size_t n)
{
    struct queue_found found[FIND_MAX];
    uint64_t ids[FIND_MAX] = {0};
    uint16_t numbers[FIND_MAX] = {0};
    int res;

    for (size_t i = 0; i < n; i++) {
        ids[i] = some[i].item->id;
        numbers[i] = some[i].item->number;
    }
    res = queue_find(r->queue, ids, numbers, n, found, NULL);
    for (size_t i = 0; i < n; i++) {
        if (res < 0)
            queue_item_park(r, some[i].item, r->settings.poll_ms);
        else if (look_at(r, some[i].item, &found[i], some[i].give_back))
            queue_attempt_begin(r, some[i].item, &found[i], some[i].give_back);
        else
            queue_found_done(&found[i]);
    }
}

/* Under the lock. */
static size_t take_unread(struct runner *r, struct unread *ret)
{
    size_t n = MIN(r->unread.n, (size_t)FIND_MAX);

    if (n)
        memcpy(ret, r->unread.items, n * sizeof *ret);
    r->unread.n -= n;
    memmove(r->unread.items, r->unread.items + n, r->unread.n * sizeof *ret);
    return n;
}

static void run_find(struct pool_job *job)
{
    struct find *f = CONTAINER_OF(job, struct find, job);
    struct runner *r = f->runner;
    struct unread some[FIND_MAX];
    size_t n;

    pthread_mutex_lock(&r->lock);
    n = take_unread(r, some);
    pthread_mutex_unlock(&r->lock);
    if (n) /* the other one may have taken all */
        read_some(r, some, n);
    pthread_mutex_lock(&r->lock);
    f->busy = r->unread.n > 0;
    if (f->busy)
        pool_submit(r->pool, &f->job);
    pthread_mutex_unlock(&r->lock);
}

/* Under the lock: what is unread is read, unless enough is being read already. */
static void begin_finds(struct runner *r)
{
    size_t covered = 0;

    for (size_t i = 0; i < FINDS_MOST && covered < r->unread.n; i++) {
        if (r->finds[i].busy)
            continue;
        r->finds[i].busy = true;
        pool_submit(r->pool, &r->finds[i].job);
        covered += FIND_MAX;
    }
}

/* Under the lock: the item is TAKEN. */
static void to_be_read(struct runner *r, struct ready_item *item, bool give_back)
{
    *VEC_PUSH(&r->unread) = (struct unread){item, give_back};
    r->running++;
}

/* --- choosing -------------------------------------------------------------------------------- */

/* Of the destination whose turn it is, as many as have room. Called and returns with the lock,
 * which is let go while the transport is asked; the destination stays, as it has entries that only
 * this thread takes. */
static void dispatch_one(struct runner *r, struct ready_dest *d)
{
    int64_t wait = 0;
    unsigned room, starting;

    pthread_mutex_unlock(&r->lock);
    room = r->transport.room(r->transport.transport, ready_dest_name(d), &wait);
    pthread_mutex_lock(&r->lock);
    starting = ready_dest_starting(d);
    if (room <= starting) {
        if (room)
            wait = ROOM_WAIT_MIN;
        wait = MIN(MAX(wait, (int64_t)ROOM_WAIT_MIN), ROOM_WAIT_MAX);
        ready_wait(r->ready, d, clock_mono_ms() + wait);
        return;
    }
    room = MIN(room - starting, (unsigned)TURN);
    while (room-- > 0 && r->running < r->settings.concurrency) {
        struct ready_item *item = ready_take(r->ready, d);

        if (!item)
            return;
        to_be_read(r, item, false);
    }
}

static void dispatch(struct runner *r, int64_t now_ms)
{
    struct ready_item *item;
    struct ready_dest *d;

    while (r->running < r->settings.concurrency && !r->draining &&
           (item = ready_take_overdue(r->ready, now_ms)))
        to_be_read(r, item, false);
    while (r->running < r->settings.concurrency && !r->draining && (d = ready_pick(r->ready)))
        dispatch_one(r, d);
    begin_finds(r);
}

/* --- reading the index ------------------------------------------------------------------------ */

/* Rows that a submission or the administrator wrote do not know our settings. */
static int64_t guess_deadline(const struct runner *r, const struct queue_row *row)
{
    int64_t first = r->settings.warn_ms[0] ? MIN(r->settings.warn_ms[0], r->settings.expiry_ms)
                                           : r->settings.expiry_ms;

    if (row->turn && row->deadline_ms)
        return row->deadline_ms;
    return row->deadline_ms ? MIN(row->deadline_ms, row->when_ms + first) : row->when_ms + first;
}

static void learn(struct runner *r, const struct store_docs *docs)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < docs->n; i++) {
        struct queue_row row;

        if (queue_row_decode(docs->items[i].key, docs->items[i].head, &row, NULL) == 0)
            ready_add(r->ready, &row, guess_deadline(r, &row), false);
    }
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add(&r->counters.rows_read, docs->n);
}

/* All rows of [from, now]. */
static int read_rows(struct runner *r, int64_t from_ms, int64_t now_ms)
{
    struct key22 from = key_queue_due(MAX(from_ms, (int64_t)0), 0, 0, 0),
                 to = key_queue_due(now_ms + 1, 0, 0, 0);
    bool more = true;

    while (more) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int res = store_range(r->queue->store,
                              &(struct store_query){.table = STORE_QUEUEDUE,
                                                    .from = KEY_SLICE(from),
                                                    .to = KEY_SLICE(to),
                                                    .limit = PAGE,
                                                    .parts = STORE_HEAD,
                                                    .level = STORE_MAJORITY},
                              &docs, NULL);

        if (res < 0)
            return res;
        queue_heard(r->queue, docs.time);
        learn(r, &docs);
        more = docs.more && docs.n;
        if (more) { /* the key behind the last one */
            memcpy(from.b, docs.items[docs.n - 1].key.p, sizeof from.b);
            put_be32(from.b + 18, get_be32(from.b + 18) + 1);
        }
    }
    return 0;
}

/* Where this look begins. */
static int64_t look_from(struct runner *r, int64_t mono, bool again)
{
    if (again)
        return 0;
    return mono >= r->next_late ? r->late_from_ms : r->read_from_ms;
}

static void look_at_index(struct runner *r, int64_t mono)
{
    int64_t now_ms = queue_now(r->queue), from;
    bool again;

    pthread_mutex_lock(&r->lock);
    again = ready_wants_more(r->ready) || mono >= r->next_reread;
    r->woken = false;
    pthread_mutex_unlock(&r->lock);
    if (again) {
        atomic_fetch_add(&r->counters.rereads, 1);
        r->next_reread = mono + r->settings.reread_ms;
    }
    from = look_from(r, mono, again);
    if (read_rows(r, from, now_ms) == 0) {
        r->read_from_ms = MAX(now_ms - OVERLAP_MS, (int64_t)0);
        if (again || mono >= r->next_late) {
            r->late_from_ms = MAX(now_ms - LATE_MS, (int64_t)0);
            r->next_late = mono + LATE_EVERY_MS;
        }
    } else if (again) {
        r->next_reread = mono; /* once more from the start */
    }
    r->next_read = clock_mono_ms() + r->settings.poll_ms;
}

/* --- chores ---------------------------------------------------------------------------------- */

struct chore {
    struct runner *runner;
    struct pool_job job;
    VEC(struct key22) rows;
    VEC(struct gone) gone;
};

static void chore_end(struct chore *c, bool sweep)
{
    struct runner *r = c->runner;

    pthread_mutex_lock(&r->lock);
    r->chores--;
    r->sweeping = r->sweeping && !sweep;
    pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
    VEC_DONE(&c->rows);
    VEC_DONE(&c->gone);
    free(c);
}

/* What fails is found again: rows are stale, pieces are swept. */
static void run_broom(struct pool_job *job)
{
    struct chore *c = CONTAINER_OF(job, struct chore, job);
    struct queue *q = c->runner->queue;
    CLEANUP_FREE struct slice *keys = NEW_ARRAY(struct slice, c->rows.n + 1);
    VEC(struct key12) pieces = {0};
    CLEANUP_FREE struct slice *more = NULL;
    struct error err = {0};
    int r;

    for (size_t i = 0; i < c->rows.n; i++)
        keys[i] = KEY_SLICE(c->rows.items[i]);
    for (size_t i = 0; i < c->gone.n; i++)
        for (uint64_t at = 0; at < c->gone.items[i].size; at += QUEUE_PIECE)
            *VEC_PUSH(&pieces) = key_queue_body(c->gone.items[i].id, (uint32_t)(at / QUEUE_PIECE));
    more = NEW_ARRAY(struct slice, pieces.n + 1);
    for (size_t i = 0; i < pieces.n; i++)
        more[i] = KEY_SLICE(pieces.items[i]);
    r = store_delete(q->store, STORE_QUEUEDUE, keys, c->rows.n, &err);
    if (r == 0)
        r = store_delete(q->store, STORE_QUEUEBODIES, more, pieces.n, &err);
    if (r < 0)
        log_text(LOG_DEBUG_, "queue", "not removed yet: %s", err.text);
    VEC_DONE(&pieces);
    chore_end(c, false);
}

/* Under the lock. */
static void sweep_floor(struct runner *r, int64_t mono)
{
    struct chore *c;

    if (r->old_rows.n + r->gone.n == 0 ||
        (mono < r->next_broom && r->old_rows.n < BROOM_ROWS && r->gone.n < BROOM_ROWS))
        return;
    r->next_broom = mono + BROOM_MS;
    c = NEW(struct chore);
    c->runner = r;
    memcpy(&c->rows, &r->old_rows, sizeof c->rows);
    memcpy(&c->gone, &r->gone, sizeof c->gone);
    memset(&r->old_rows, 0, sizeof r->old_rows);
    memset(&r->gone, 0, sizeof r->gone);
    r->chores++;
    c->job.run = run_broom;
    pool_submit(r->pool, &c->job);
}

static bool is_stopping(void *ctx)
{
    struct runner *r = ctx;
    bool stop;

    pthread_mutex_lock(&r->lock);
    stop = r->draining;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

static void run_sweep(struct pool_job *job)
{
    struct chore *c = CONTAINER_OF(job, struct chore, job);
    struct runner *r = c->runner;
    struct error err = {0};
    uint64_t n = 0;
    int res = queue_sweep(r->queue, is_stopping, r, &n, &err);

    atomic_fetch_add(&r->counters.swept, n);
    if (res < 0 && res != -ERR_CANCELLED)
        log_text(LOG_WARN_, "queue", "the sweep stopped: %s", err.text);
    chore_end(c, true);
}

/* Under the lock. */
static void begin_sweep(struct runner *r, int64_t mono)
{
    struct chore *c;

    if (r->sweeping || r->settings.sweep_ms < 0 || mono < r->next_sweep)
        return;
    r->next_sweep = mono + r->settings.sweep_ms + (int64_t)(random_u64() % 1000);
    c = NEW(struct chore);
    c->runner = r;
    r->sweeping = true;
    r->chores++;
    c->job.run = run_sweep;
    pool_submit(r->pool, &c->job);
}

/* Under the lock: leases of what the transport has, results that could not be recorded. */
static void tend_attempts(struct runner *r, int64_t mono, int64_t now_ms)
{
    struct attempt *a;

    if (mono < r->next_renew)
        return;
    r->next_renew = mono + MIN(r->settings.lease_ms / 8, (int64_t)1000);
    TAILQ_FOREACH (a, &r->attempts, link) {
        if (a->sending && !a->renewing && a->lease_ms - now_ms < r->settings.lease_ms / 2)
            queue_attempt_renew(a);
        if (a->again_mono && (a->again_mono <= mono || r->stopping)) {
            a->again_mono = 0;
            queue_attempt_record(a);
        }
    }
}

/* --- giving back ------------------------------------------------------------------------------ */

/* Under the lock: what was submitted here and is not begun goes to whoever takes it. */
static void give_back(struct runner *r)
{
    struct ready_item *item;

    while ((item = ready_take_leased(r->ready)))
        to_be_read(r, item, true);
    begin_finds(r);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void wait_until(struct runner *r, pthread_cond_t *cond, int64_t mono)
{
    struct timespec at = {.tv_sec = mono / 1000, .tv_nsec = mono % 1000 * 1000000};

    pthread_cond_timedwait(cond, &r->lock, &at);
}

static void *run(void *arg)
{
    struct runner *r = arg;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping || r->running || r->chores) {
        int64_t mono = clock_mono_ms(), next, now_ms;
        bool look = !r->draining && (r->woken || mono >= r->next_read);

        pthread_mutex_unlock(&r->lock);
        if (look)
            look_at_index(r, mono);
        now_ms = queue_now(r->queue);
        pthread_mutex_lock(&r->lock);
        mono = clock_mono_ms();
        next = ready_tick(r->ready, mono);
        if (r->draining) {
            r->woken = false;
            give_back(r);
        }
        dispatch(r, now_ms);
        tend_attempts(r, mono, now_ms);
        sweep_floor(r, mono);
        if (!r->draining)
            begin_sweep(r, mono);
        next = MIN(next, r->draining ? mono + BROOM_MS : r->next_read);
        next = MIN(next, r->next_renew);
        if (r->old_rows.n + r->gone.n)
            next = MIN(next, r->next_broom);
        if (next > mono && !r->woken)
            wait_until(r, &r->wake, next);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* --- what submissions hand over ----------------------------------------------------------------
 */

static int64_t offer(void *ctx, size_t n)
{
    struct runner *r = ctx;
    bool take;

    pthread_mutex_lock(&r->lock);
    take = !r->draining &&
           ready_leased(r->ready) + n <= (size_t)r->settings.concurrency * TRANSPORT_SLACK;
    pthread_mutex_unlock(&r->lock);
    return take ? r->settings.lease_ms : 0;
}

static void take(void *ctx, const struct queue_row *rows, size_t n)
{
    struct runner *r = ctx;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++)
        ready_add(r->ready, &rows[i], guess_deadline(r, &rows[i]), true);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

/* --- making ---------------------------------------------------------------------------------- */

static void init_locks(struct runner *r)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attr);
    pthread_cond_init(&r->idle, &attr);
    pthread_condattr_destroy(&attr);
}

int runner_new(const struct runner_settings *settings, struct queue *queue, struct mail *mail,
               const struct runner_transport *transport, struct runner **ret_runner,
               struct error *err)
{
    struct runner *r = NEW(struct runner);
    int res;

    r->settings = *settings;
    r->hostname = mem_strdup(settings->hostname);
    r->queue = queue;
    r->mail = mail;
    r->transport = *transport;
    r->id = random_u64() | 1;
    r->ready = ready_new(settings->memory_entries, settings->memory_destination);
    r->next_sweep = clock_mono_ms() + (int64_t)(random_u64() % 60000) *
                                          MIN(r->settings.sweep_ms, (int64_t)MINUTE) / MINUTE;
    TAILQ_INIT(&r->attempts);
    for (size_t i = 0; i < FINDS_MOST; i++)
        r->finds[i] = (struct find){.runner = r, .job.run = run_find};
    init_locks(r);
    res = pool_new("queue", settings->workers, &r->pool, err);
    if (res == 0 && pthread_create(&r->thread, NULL, run, r) != 0)
        res = error_set(err, ERR_UNAVAILABLE, "no thread for the queue");
    if (res < 0) {
        runner_free(r);
        return res;
    }
    r->started = true;
    queue_set_taker(queue, &(struct queue_taker){r->id, offer, take, r});
    *ret_runner = r;
    return 0;
}

void runner_wake(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    r->woken = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

bool runner_drain(struct runner *r, int64_t wait_ms)
{
    int64_t end = clock_mono_ms() + wait_ms;
    bool idle;

    queue_set_taker(r->queue, NULL);
    pthread_mutex_lock(&r->lock);
    r->draining = true;
    pthread_cond_signal(&r->wake);
    while ((r->running || ready_leased(r->ready)) && clock_mono_ms() < end)
        wait_until(r, &r->idle, end);
    idle = !r->running && !ready_leased(r->ready);
    pthread_mutex_unlock(&r->lock);
    return idle;
}

void runner_free(struct runner *r)
{
    if (!r)
        return;
    if (r->started) {
        queue_set_taker(r->queue, NULL);
        pthread_mutex_lock(&r->lock);
        r->draining = r->stopping = true;
        r->next_renew = 0;
        pthread_cond_signal(&r->wake);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    pool_free(r->pool);
    ready_free(r->ready);
    VEC_DONE(&r->unread);
    VEC_DONE(&r->old_rows);
    VEC_DONE(&r->gone);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    pthread_cond_destroy(&r->idle);
    free(r->hostname);
    free(r);
}

struct runner_counters runner_read_counters(struct runner *r)
{
    const struct counters *c = &r->counters;
    struct runner_counters ret = {
        .attempts = c->attempts,
        .delivered = c->delivered,
        .deferred = c->deferred,
        .failed = c->failed,
        .expired = c->expired,
        .bounces = c->bounces,
        .warnings = c->warnings,
        .reports = c->reports,
        .dropped = c->dropped,
        .leases = c->leases,
        .leases_lost = c->leases_lost,
        .found_out = c->found_out,
        .rows_read = c->rows_read,
        .rereads = c->rereads,
        .stale_rows = c->stale_rows,
        .swept = c->swept,
    };

    pthread_mutex_lock(&r->lock);
    ret.running = r->running;
    ret.known = ready_count(r->ready);
    ret.destinations = ready_dests(r->ready);
    pthread_mutex_unlock(&r->lock);
    return ret;
}
