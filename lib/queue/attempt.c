/* SPDX-License-Identifier: MPL-2.0 */
/* One entry, seen through: lease, look at the clock, notices that are owed, the attempt itself, its
 * results, notices again, and letting go. What each step writes is one guarded change of the entry
 * (the edit_* functions below), so a node may die between any two, and the next one goes on from
 * what is written:
 *
 *   written                        the next runner, when the lease has run out
 *   lease                          attempts what is waiting
 *   results, notices owed          makes the notices (once: notice.h), attempts nothing
 *   notices told; due again        nothing, until it is due
 *   done                           removes the row and the pieces
 *
 * Results are recorded whoever has the lease by then: a recipient that has a final result keeps it,
 * and is left out of all later attempts.
 */
#include <math.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/queue/notice.h"
#include "lib/queue/runner_impl.h"

#define NOTICE_MAX ((size_t)64 << 20)
#define GRACE_MS   ((int64_t)24 * 3600 * 1000) /* beyond expiry, for notices that nobody takes */

/* What an edit needs. */
struct step {
    struct attempt *a;
    int64_t now;
    enum queue_notice told; /* the notice that was made */
    uint32_t told_number;
    int64_t row_ms; /* where to be found */
};

static struct runner *runner_of(const struct step *s)
{
    return s->a->runner;
}

/* --- what is decided about an entry ---------------------------------------------------------- */

static bool is_ours(const struct step *s, const struct queue_entry *e)
{
    return e->owner == runner_of(s)->id;
}

static bool is_waiting(const struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].state == QUEUE_WAITING)
            return true;
    return false;
}

static bool is_owed(const struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].notice)
            return true;
    return false;
}

/* RFC 3461 4.1: without NOTIFY, failures and delays are told. */
static bool is_wanted(const struct step *s, const struct queue_target *t, unsigned what)
{
    unsigned notify = t->to.notify ? t->to.notify : QUEUE_NOTIFY_FAILURE | QUEUE_NOTIFY_DELAY;

    return s->a->found.stored.envelope.sender[0] && !(notify & QUEUE_NOTIFY_NEVER) &&
           (notify & what);
}

static void owe(struct queue_target *t, enum queue_notice notice)
{
    t->notice = notice;
    t->notice_number = 0;
}

static void fail(struct step *s, struct queue_target *t, const char *status, const char *text)
{
    t->state = QUEUE_FAILED;
    t->code = 0;
    t->status = status;
    t->text = text;
    t->remote = "";
    t->when_ms = s->now;
    owe(t, is_wanted(s, t, QUEUE_NOTIFY_FAILURE) ? QUEUE_NOTICE_FAILED : QUEUE_NO_NOTICE);
}

static bool fail_all(struct step *s, struct queue_entry *e, const char *status, const char *text)
{
    bool any = false;

    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].state == QUEUE_WAITING) {
            fail(s, &e->targets[i], status, text);
            any = true;
        }
    return any;
}

static void warn_all(struct step *s, struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++) {
        struct queue_target *t = &e->targets[i];

        if (t->state != QUEUE_WAITING || !is_wanted(s, t, QUEUE_NOTIFY_DELAY))
            continue;
        owe(t, QUEUE_NOTICE_DELAYED);
        if (!t->when_ms) {
            t->when_ms = s->now;
            t->status = "4.4.1";
            t->text = "the destination could not be reached";
        }
    }
}

/* Expiry, DELIVERBY, delay warnings: what the time makes of it. True: the entry is changed. */
static bool look_at_clock(struct step *s, struct queue_entry *e)
{
    const struct runner_settings *set = &runner_of(s)->settings;
    const struct queue_found *f = &s->a->found;
    const struct queue_envelope *env = &f->stored.envelope;
    unsigned due = e->warned;

    if (!is_waiting(e))
        return false;
    if (s->now >= f->queued_ms + set->expiry_ms) {
        atomic_fetch_add(&runner_of(s)->counters.expired, 1);
        return fail_all(s, e, "4.4.7", "the message could not be delivered in time");
    }
    if (env->by == QUEUE_BY_RETURN && s->now >= env->by_ms)
        return fail_all(s, e, "5.4.7", "the message could not be delivered by the time asked for");
    while (due < RUNNER_WARNINGS && set->warn_ms[due] && s->now >= f->queued_ms + set->warn_ms[due])
        due++;
    if (env->by == QUEUE_BY_NOTIFY && !e->by_told && s->now >= env->by_ms) {
        e->by_told = true;
        warn_all(s, e);
    } else if (due == e->warned) {
        return false;
    }
    if (due > e->warned)
        warn_all(s, e);
    e->warned = due;
    return true;
}

static int64_t next_due(const struct step *s, const struct queue_entry *e)
{
    const struct runner_settings *set = &runner_of(s)->settings;
    double wait = (double)set->retry_first_ms * pow(set->retry_factor, e->attempts - 1.0);

    wait = MIN(wait, (double)set->retry_max_ms);
    wait *= 0.9 + (double)(random_u64() % 2001) / 10000;
    return s->now + MAX((int64_t)wait, 1);
}

/* What is newly owed goes into one notice of each kind. */
static void number_notices(struct step *s, struct queue_entry *e)
{
    uint32_t next = e->notices + 1;

    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].notice && !e->targets[i].notice_number) {
            e->targets[i].notice_number = e->notices = next;
            e->notice_ms = s->now;
        }
}

/* Where the entry goes from here: notices first (the lease is kept for them), then done, or free
 * and due again. */
static void settle_entry(struct step *s, struct queue_entry *e)
{
    struct queue_found f = s->a->found;

    number_notices(s, e);
    if (is_owed(e))
        return;
    if (!is_waiting(e)) {
        e->done = true;
        return;
    }
    f.entry = *e;
    e->owner = 0;
    e->lease_ms = 0;
    if (!e->held)
        queue_entry_move(e, MIN(e->due_ms, runner_deadline(runner_of(s), &f)));
}

/* --- edits: see queue_change ------------------------------------------------------------------ */

static int edit_lease(void *ctx, struct queue_entry *e)
{
    struct step *s = ctx;
    bool is_free = e->lease_ms <= e->read_ms || is_ours(s, e);

    if (e->done || e->held || !is_free || e->turn != s->a->item->turn)
        return 0;
    e->owner = runner_of(s)->id;
    e->lease_ms = MAX(e->read_ms, s->now) + runner_of(s)->settings.lease_ms;
    return 1;
}

static int edit_renew(void *ctx, struct queue_entry *e)
{
    struct step *s = ctx;

    if (e->done || !is_ours(s, e))
        return 0;
    e->lease_ms = MAX(e->read_ms, s->now) + runner_of(s)->settings.lease_ms;
    return 1;
}

/* Nobody waits and nothing is owed, and yet it is not done: results were recorded by one whose
 * lease had run out (edit_results), and whoever had it then has not written since. */
static bool is_left_over(const struct queue_entry *e)
{
    return !is_waiting(e) && !is_owed(e);
}

static int edit_clock(void *ctx, struct queue_entry *e)
{
    struct step *s = ctx;

    if (e->done || !is_ours(s, e))
        return -ERR_CONFLICT;
    if (!look_at_clock(s, e) && !is_left_over(e))
        return 0;
    settle_entry(s, e);
    return 1;
}

static void take_result(struct step *s, struct queue_target *t, const struct transport_recipient *r)
{
    t->code = r->code;
    t->status = r->status ? r->status : "";
    t->text = r->text ? r->text : "";
    t->remote = r->remote ? r->remote : "";
    t->relayed_dsn = r->relayed_dsn;
    t->when_ms = s->now;
    owe(t, QUEUE_NO_NOTICE);
    if (r->result == TRANSPORT_DELIVERED) {
        t->state = QUEUE_DELIVERED;
        if (!r->relayed_dsn && is_wanted(s, t, QUEUE_NOTIFY_SUCCESS))
            owe(t, QUEUE_NOTICE_DELIVERED);
    } else if (r->result == TRANSPORT_FAILED) {
        t->state = QUEUE_FAILED;
        if (is_wanted(s, t, QUEUE_NOTIFY_FAILURE))
            owe(t, QUEUE_NOTICE_FAILED);
    }
}

/* A recipient that has a final result by now keeps it. */
static int edit_results(void *ctx, struct queue_entry *e)
{
    struct step *s = ctx;
    const struct transport_job *job = &s->a->send;
    bool any = false;

    for (size_t i = 0; i < job->n && !e->done; i++)
        for (size_t k = 0; k < e->n; k++)
            if (e->targets[k].state == QUEUE_WAITING &&
                strcmp(e->targets[k].to.address, job->recipients[i].to->address) == 0) {
                take_result(s, &e->targets[k], &job->recipients[i]);
                any = true;
                break;
            }
    if (e->done)
        return -ERR_CONFLICT;
    if (!is_ours(s, e)) {
        if (!any)
            return 0;
        /* the lease ran out; whoever has it now finds the results when he writes */
        atomic_fetch_add(&runner_of(s)->counters.found_out, 1);
        number_notices(s, e);
        return 1;
    }
    if (any) { /* else all of them were recorded by one whose lease had run out */
        e->attempts++;
        e->due_ms = next_due(s, e);
    }
    look_at_clock(s, e);
    settle_entry(s, e);
    return 1;
}

static int edit_told(void *ctx, struct queue_entry *e)
{
    struct step *s = ctx;

    if (e->done || !is_ours(s, e))
        return -ERR_CONFLICT;
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].notice == s->told && e->targets[i].notice_number == s->told_number)
            owe(&e->targets[i], QUEUE_NO_NOTICE);
    settle_entry(s, e);
    return 1;
}

/* Free, and to be looked at again at row_ms, whatever is owed. */
static int edit_release(void *ctx, struct queue_entry *e)
{
    struct step *s = ctx;

    if (e->done || !is_ours(s, e))
        return 0;
    e->owner = 0;
    e->lease_ms = 0;
    if (!e->held)
        queue_entry_move(e, s->row_ms);
    return 1;
}

/* --- steps ----------------------------------------------------------------------------------- */

static int change(struct attempt *a, int (*edit)(void *ctx, struct queue_entry *entry),
                  struct step s, struct error *err)
{
    s.a = a;
    s.now = queue_now(a->runner->queue);
    return queue_change(a->runner->queue, &a->found.entry, &a->found.arena, edit, &s, err);
}

static void attempt_free(struct attempt *a)
{
    queue_reader_done(&a->reader);
    arena_done(&a->send.arena);
    queue_found_done(&a->found);
    free(a);
}

static void withdraw(struct attempt *a)
{
    pthread_mutex_lock(&a->runner->lock);
    TAILQ_REMOVE(&a->runner->attempts, a, link);
    pthread_mutex_unlock(&a->runner->lock);
}

/* Somebody else's, or not known: not ours to go on with. */
static void leave(struct attempt *a)
{
    struct runner *r = a->runner;
    struct ready_item *item = a->item;

    withdraw(a);
    attempt_free(a);
    queue_item_park(r, item, r->settings.lease_ms / 24);
}

/* The entry is free or done. */
static void close_up(struct attempt *a)
{
    struct runner *r = a->runner;
    const struct queue_entry *e = &a->found.entry;

    if (e->done && (a->found.stored.entries == 1 ||
                    queue_all_done(r->queue, e->id, &a->found.stored, NULL) == 1))
        runner_gone(r, e->id, a->found.stored.size);
    withdraw(a);
    queue_item_close(r, a->item, &a->found);
    attempt_free(a);
}

static void release(struct attempt *a, int64_t row_ms)
{
    struct error err = {0};

    if (change(a, edit_release, (struct step){.row_ms = row_ms}, &err) == 1)
        close_up(a);
    else
        leave(a);
}

/* --- notices --------------------------------------------------------------------------------- */

static const char *const notice_names[QUEUE_NOTICES_] = {
    [QUEUE_NOTICE_FAILED] = "bounce",
    [QUEUE_NOTICE_DELIVERED] = "report",
    [QUEUE_NOTICE_DELAYED] = "warning",
};

static void log_notice(const struct attempt *a, enum queue_notice kind, bool dropped,
                       const struct error *err)
{
    char id[QUEUE_ID_TEXT];
    struct log_line l;

    queue_id_text(a->found.entry.id, id);
    log_begin(&l, dropped ? LOG_WARN_ : LOG_INFO_, "notice");
    log_str(&l, "queue", slice_str(id));
    log_num(&l, "entry", a->found.entry.number);
    log_str(&l, "kind", slice_str(notice_names[kind]));
    log_str(&l, "to", slice_str(a->found.stored.envelope.sender));
    log_str(&l, "result", dropped ? S("dropped") : S("delivered"));
    if (err && err->kind)
        log_err(&l, err);
    log_end(&l);
}

static void count_notice(struct runner *r, enum queue_notice kind, bool dropped)
{
    if (dropped)
        atomic_fetch_add(&r->counters.dropped, 1);
    else if (kind == QUEUE_NOTICE_FAILED)
        atomic_fetch_add(&r->counters.bounces, 1);
    else if (kind == QUEUE_NOTICE_DELAYED)
        atomic_fetch_add(&r->counters.warnings, 1);
    else
        atomic_fetch_add(&r->counters.reports, 1);
}

static int make_notice(struct attempt *a, const struct notice *n, struct error *err)
{
    struct runner *r = a->runner;
    CLEANUP(buf_done) struct buf message = buf_make(NOTICE_MAX);
    uint8_t hash[DELIVERY_HASH_SIZE];
    int res;

    if (!a->found.stored.envelope.account)
        return error_set(err, ERR_NOPERM, "nobody here sent it");
    notice_hash(n, hash);
    res = notice_write(n, r->queue, &message, err);
    return res < 0 ? res
                   : notice_deliver(r->mail, a->found.stored.envelope.account, hash,
                                    buf_slice(&message), err);
}

/* True: told, or nobody is there to be told. */
static bool tell(struct attempt *a, const struct notice *n)
{
    struct runner *r = a->runner;
    int64_t end = n->until_ms + GRACE_MS;
    struct error err = {0};
    int res = r->mail ? make_notice(a, n, &err) : -ERR_NOPERM;
    bool dropped = res == -ERR_NOPERM || (res < 0 && queue_now(r->queue) > end);

    if (res < 0 && !dropped)
        return false;
    if (r->mail)
        log_notice(a, n->kind, dropped, &err);
    count_notice(r, n->kind, dropped);
    return true;
}

static const struct queue_target *first_owed(const struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].notice)
            return &e->targets[i];
    return NULL;
}

/* True: all that was owed is told, and this is recorded. */
static bool tell_all(struct attempt *a)
{
    const struct queue_target *t;
    struct error err = {0};

    while ((t = first_owed(&a->found.entry))) {
        struct runner *r = a->runner;
        struct notice n = {t->notice,
                           t->notice_number,
                           &a->found,
                           r->hostname,
                           a->found.queued_ms + r->settings.expiry_ms,
                           r->settings.return_max};

        if (!tell(a, &n)) {
            release(a, queue_now(r->queue) + r->settings.retry_first_ms / 5);
            return false;
        }
        if (change(a, edit_told, (struct step){.told = n.kind, .told_number = n.number}, &err) !=
            1) {
            leave(a);
            return false;
        }
    }
    return true;
}

/* --- the attempt itself ---------------------------------------------------------------------- */

static int read_body(struct transport_job *job, uint64_t offset, size_t n, struct buf *out,
                     struct error *err)
{
    struct attempt *a = job->context;

    return queue_read(&a->reader, offset, n, out, err);
}

static const char *result_name(enum transport_result result)
{
    switch (result) {
    case TRANSPORT_DELIVERED:
        return "delivered";
    case TRANSPORT_FAILED:
        return "failed";
    case TRANSPORT_LATER:
        break;
    }
    return "deferred";
}

static void log_result(const struct attempt *a, const struct transport_recipient *t)
{
    char id[QUEUE_ID_TEXT];
    struct log_line l;

    queue_id_text(a->found.entry.id, id);
    log_begin(&l, LOG_INFO_, "send");
    log_str(&l, "queue", slice_str(id));
    log_num(&l, "entry", a->found.entry.number);
    log_str(&l, "from", slice_str(a->found.stored.envelope.sender));
    log_str(&l, "to", slice_str(t->to->address));
    log_str(&l, "result", slice_str(result_name(t->result)));
    log_num(&l, "code", t->code);
    log_str(&l, "status", slice_str(t->status));
    log_str(&l, "server", slice_str(t->remote));
    log_str(&l, "reply", slice_str(t->text));
    log_num(&l, "ms", clock_mono_ms() - a->began_mono);
    log_num(&l, "age_s", (queue_now(a->runner->queue) - a->found.queued_ms) / 1000);
    log_end(&l);
}

static void count_results(struct attempt *a)
{
    struct counters *c = &a->runner->counters;

    for (size_t i = 0; i < a->send.n; i++) {
        log_result(a, &a->send.recipients[i]);
        atomic_fetch_add(a->send.recipients[i].result == TRANSPORT_DELIVERED ? &c->delivered
                         : a->send.recipients[i].result == TRANSPORT_FAILED  ? &c->failed
                                                                             : &c->deferred,
                         1);
    }
}

static void go_on(struct attempt *a);

/* The store does not answer: once more later. At the end of the process it is said and left. */
static bool put_off(struct attempt *a, const struct error *err)
{
    struct runner *r = a->runner;
    bool later;

    pthread_mutex_lock(&r->lock);
    later = !r->stopping;
    if (later)
        a->again_mono = clock_mono_ms() + r->settings.lease_ms / 40;
    pthread_mutex_unlock(&r->lock);
    if (!later)
        log_text(LOG_ERROR_, "queue", "a result is not recorded: %s", err->text);
    return later;
}

/* What the lines of log_result say is known to all from here on. */
static void log_recorded(const struct queue_entry *e)
{
    char id[QUEUE_ID_TEXT];
    struct log_line l;

    queue_id_text(e->id, id);
    log_begin(&l, LOG_INFO_, "recorded");
    log_str(&l, "queue", slice_str(id));
    log_num(&l, "entry", e->number);
    log_num(&l, "done", e->done);
    log_end(&l);
}

static void record(struct pool_job *job)
{
    struct attempt *a = CONTAINER_OF(job, struct attempt, job);
    struct error err = {0};
    int res = change(a, edit_results, (struct step){0}, &err);
    const struct queue_entry *e = &a->found.entry;

    if (res == -ERR_UNAVAILABLE && put_off(a, &err))
        return;
    if (res == 1)
        log_recorded(e);
    if (res != 1 || (e->owner && e->owner != a->runner->id))
        leave(a);
    else if (e->done || !e->owner)
        close_up(a);
    else
        go_on(a); /* notices are owed */
}

void queue_attempt_record(struct attempt *a)
{
    a->job.run = record;
    pool_submit(a->runner->pool, &a->job);
}

static void on_done(struct transport_job *job)
{
    struct attempt *a = job->context;
    struct runner *r = a->runner;
    bool now;

    count_results(a);
    pthread_mutex_lock(&r->lock);
    a->sending = false;
    a->over = true;
    now = !a->renewing;
    pthread_mutex_unlock(&r->lock);
    if (now)
        queue_attempt_record(a);
}

static void send(struct attempt *a)
{
    struct runner *r = a->runner;
    const struct queue_entry *e = &a->found.entry;
    struct transport_job *job = &a->send;

    job->envelope = &a->found.stored.envelope;
    job->destination = arena_str(&job->arena, slice_str(e->destination));
    job->head = a->found.stored.envelope.head;
    job->size = a->found.stored.size;
    job->read = read_body;
    job->recipients = arena_array(&job->arena, e->n, sizeof *job->recipients);
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].state == QUEUE_WAITING)
            job->recipients[job->n++] = (struct transport_recipient){
                .to = &e->targets[i].to, .status = "", .text = "", .remote = ""};
    job->done = on_done;
    job->context = a;
    a->reader = (struct queue_reader){
        .queue = r->queue, .id = e->id, .size = job->size, .tag = a->found.stored.tag};
    atomic_fetch_add(&r->counters.attempts, 1);
    pthread_mutex_lock(&r->lock);
    a->sending = true; /* its lease is renewed */
    a->lease_ms = e->lease_ms;
    pthread_mutex_unlock(&r->lock);
    /* until it is sent it counts as starting: so the destination's room bounds what is delivered
     * here at once, too */
    if (r->transport.here && r->transport.here(r->transport.here_context, job) > 0) {
        on_done(job);
        return;
    }
    pthread_mutex_lock(&r->lock);
    ready_sent(a->item);
    pthread_mutex_unlock(&r->lock);
    r->transport.send(r->transport.transport, job); /* from here on, it may be gone */
}

/* Under our lease. */
static void go_on(struct attempt *a)
{
    struct queue_entry *e = &a->found.entry;
    struct error err = {0};
    int res = 1;

    while (res == 1) {
        if (!tell_all(a))
            return;
        if (e->done || !e->owner) {
            close_up(a);
            return;
        }
        res = change(a, edit_clock, (struct step){0}, &err);
    }
    if (res < 0)
        leave(a);
    else if (a->item->look || e->due_ms > queue_now(a->runner->queue))
        release(a, MIN(e->due_ms, runner_deadline(a->runner, &a->found)));
    else
        send(a);
}

/* --- beginning ------------------------------------------------------------------------------- */

/* A submission leaves its entries leased to us; that is good for a while. */
static bool is_leased(const struct attempt *a)
{
    const struct queue_entry *e = &a->found.entry;

    return e->owner == a->runner->id && e->turn == a->item->turn &&
           e->lease_ms - e->read_ms >= a->runner->settings.lease_ms / 2;
}

static void begin(struct pool_job *job)
{
    struct attempt *a = CONTAINER_OF(job, struct attempt, job);
    struct runner *r = a->runner;
    struct error err = {0};

    if (a->give_back) {
        release(a, queue_now(r->queue));
        return;
    }
    if (!is_leased(a)) {
        if (change(a, edit_lease, (struct step){0}, &err) != 1) {
            atomic_fetch_add(&r->counters.leases_lost, 1);
            leave(a);
            return;
        }
        atomic_fetch_add(&r->counters.leases, 1);
    }
    go_on(a);
}

void queue_attempt_begin(struct runner *r, struct ready_item *item, struct queue_found *found,
                         bool give_back)
{
    struct attempt *a = NEW(struct attempt);

    a->runner = r;
    a->item = item;
    a->give_back = give_back;
    a->began_mono = clock_mono_ms();
    a->job.run = begin;
    a->found = *found;
    pthread_mutex_lock(&r->lock);
    TAILQ_INSERT_TAIL(&r->attempts, a, link);
    pthread_mutex_unlock(&r->lock);
    pool_submit(r->pool, &a->job);
}

/* --- renewing -------------------------------------------------------------------------------- */

static void renew(struct pool_job *job)
{
    struct attempt *a = CONTAINER_OF(job, struct attempt, renewal);
    struct runner *r = a->runner;
    struct error err = {0};
    bool over;

    if (change(a, edit_renew, (struct step){0}, &err) == 0)
        atomic_fetch_add(&r->counters.leases_lost, 1);
    pthread_mutex_lock(&r->lock);
    /* what could not be renewed is tried again soon; the attempt itself cannot be called back */
    a->lease_ms = MAX(a->lease_ms, a->found.entry.lease_ms);
    a->renewing = false;
    over = a->over;
    pthread_mutex_unlock(&r->lock);
    if (over)
        queue_attempt_record(a);
}

void queue_attempt_renew(struct attempt *a)
{
    a->renewing = true;
    a->renewal.run = renew;
    pool_submit(a->runner->pool, &a->renewal);
}
