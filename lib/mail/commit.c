/* SPDX-License-Identifier: MPL-2.0 */
/* The committer: queues, batches, threads. See commit.h and commit_impl.h.
 *
 * Batches have no timer: the next one is what arrived while the last was in flight. So that they
 * become as large as that, a batch is collected as late as possible, when its first insert can go
 * out at once (`collecting`, `recording`), not when the first intent arrives. An atomic store
 * gathers by itself what is sent while it commits (sqlite_write.c): there a batch is sent as soon
 * as it is built, any number at a time.
 *
 * Whoever commits while nobody collects does the committer's work in his own thread: a change costs
 * no hand-over but the store's. What arrives meanwhile is the threads'.
 *
 * Nothing of an account may be touched after its last pending is answered, but by a reference of
 * one's own: the callers' references end with their calls.
 */
#include "lib/mail/commit.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/commit_impl.h"
#include "lib/mail/message.h"

#define BATCH_TURNS  256
#define BATCH_BYTES  ((size_t)24 << 20) /* of messages in one insert, about */
#define TURN_INTENTS 512                /* in one record; a group may be longer */
#define REFUSED_MS   100                /* until what was refused is tried again */

/* --- queues ---------------------------------------------------------------------------------- */

struct commit_queue *commit_queue_new(struct account *a)
{
    struct commit_queue *q = NEW(struct commit_queue);

    q->account = a;
    STAILQ_INIT(&q->waiting);
    return q;
}

void commit_queue_free(struct commit_queue *q)
{
    free(q);
}

/* Time for deadlines. Stepped nodes count ticks, so that a run can be repeated exactly. */
int64_t commit_now(const struct committer *c)
{
    return c->mail->stepped ? c->ticks : clock_mono_ms();
}

/* With the lock held: lists the queue where it belongs. */
static void queue_update(struct committer *c, struct commit_queue *q)
{
    bool ready = q->n && !q->busy && q->not_before_ms == 0;

    if ((q->n > 0) != q->listed) {
        if (q->n)
            TAILQ_INSERT_TAIL(&c->active, q, active_link);
        else
            TAILQ_REMOVE(&c->active, q, active_link);
        q->listed = q->n > 0;
    }
    if (ready != q->ready) {
        if (ready)
            TAILQ_INSERT_TAIL(&c->ready, q, ready_link);
        else
            TAILQ_REMOVE(&c->ready, q, ready_link);
        q->ready = ready;
    }
    if (ready && !c->collecting) /* who collects tells the others when he is done */
        pthread_cond_signal(&c->work);
}

/* With the lock held. */
static void answer_one(struct pending *p, int result, const char *text)
{
    if (result <= 0) {
        p->intent->result = result;
        if (result < 0)
            error_set(&p->intent->error, (enum err) - result, "%s", text);
    }
    if (--p->waiter->left == 0)
        pthread_cond_signal(&p->waiter->done);
}

/* With the lock held: what waits in a queue has no attempt alive, so this refusal is true for good.
 */
static void expire(struct committer *c, struct commit_queue *q, int64_t now)
{
    struct pendings kept = STAILQ_HEAD_INITIALIZER(kept);
    struct pending *p;

    while ((p = STAILQ_FIRST(&q->waiting))) {
        STAILQ_REMOVE_HEAD(&q->waiting, link);
        if (p->deadline_ms > now) {
            STAILQ_INSERT_TAIL(&kept, p, link);
            continue;
        }
        q->n--;
        answer_one(p, -ERR_UNAVAILABLE, "the store could not be reached in time");
    }
    STAILQ_CONCAT(&q->waiting, &kept);
}

void committer_tick(struct committer *c)
{
    struct commit_queue *q, *next;
    int64_t now;

    pthread_mutex_lock(&c->lock);
    c->ticks++;
    now = commit_now(c);
    for (q = TAILQ_FIRST(&c->active); q; q = next) {
        next = TAILQ_NEXT(q, active_link);
        expire(c, q, now);
        if (q->not_before_ms && (q->not_before_ms <= now || c->mail->stepped))
            q->not_before_ms = 0;
        queue_update(c, q);
    }
    pthread_mutex_unlock(&c->lock);
}

/* --- turns ----------------------------------------------------------------------------------- */

/* With the lock held. Groups stay whole. */
static struct turn *take_turn(struct committer *c, struct commit_queue *q)
{
    struct turn *t = NEW(struct turn);
    bool group = false;
    struct pending *p;

    STAILQ_INIT(&t->pendings);
    t->account = q->account;
    while ((p = STAILQ_FIRST(&q->waiting)) && (t->n < TURN_INTENTS || group)) {
        STAILQ_REMOVE_HEAD(&q->waiting, link);
        STAILQ_INSERT_TAIL(&t->pendings, p, link);
        q->n--;
        t->n++;
        group = p->intent->in_one_record_with_next;
    }
    q->busy = true;
    queue_update(c, q);
    return t;
}

void turn_end(struct turn *t)
{
    struct account *a = t->account;
    struct committer *c = a->mail->committer;

    turn_unbuild(t);
    arena_done(&t->arena);
    pthread_mutex_lock(&c->lock);
    a->queue->busy = false;
    queue_update(c, a->queue);
    pthread_mutex_unlock(&c->lock);
    free(t);
    account_unref(a);
}

void turn_answer(struct turn *t, int result, const char *text)
{
    struct committer *c = t->account->mail->committer;
    struct pending *p;

    pthread_mutex_lock(&c->lock);
    while ((p = STAILQ_FIRST(&t->pendings))) {
        STAILQ_REMOVE_HEAD(&t->pendings, link); /* before the answer: then p is its owner's */
        answer_one(p, result, text);
    }
    t->n = 0;
    pthread_mutex_unlock(&c->lock);
}

/* With the lock held: pendings of `list` to the front, in their order. */
static void put_back(struct commit_queue *q, struct pendings *list, size_t n)
{
    STAILQ_CONCAT(list, &q->waiting);
    STAILQ_CONCAT(&q->waiting, list);
    q->n += n;
}

void turn_requeue(struct turn *t, int delay_ms)
{
    struct committer *c = t->account->mail->committer;

    turn_unbuild(t);
    pthread_mutex_lock(&c->lock);
    put_back(t->account->queue, &t->pendings, t->n);
    t->n = 0;
    if (delay_ms)
        t->account->queue->not_before_ms = commit_now(c) + delay_ms;
    pthread_mutex_unlock(&c->lock);
    turn_end(t);
}

void turn_split(struct turn *t, size_t keep)
{
    struct committer *c = t->account->mail->committer;
    struct pendings rest = STAILQ_HEAD_INITIALIZER(rest), kept = STAILQ_HEAD_INITIALIZER(kept);
    struct pending *p;
    size_t i = 0;

    if (keep == t->n)
        return;
    while ((p = STAILQ_FIRST(&t->pendings))) {
        STAILQ_REMOVE_HEAD(&t->pendings, link);
        if (i++ < keep)
            STAILQ_INSERT_TAIL(&kept, p, link);
        else
            STAILQ_INSERT_TAIL(&rest, p, link);
    }
    STAILQ_CONCAT(&t->pendings, &kept);
    pthread_mutex_lock(&c->lock);
    put_back(t->account->queue, &rest, t->n - keep);
    queue_update(c, t->account->queue);
    pthread_mutex_unlock(&c->lock);
    t->n = keep;
}

/* --- preparing ------------------------------------------------------------------------------- */

/* While it waits for a thread, its intents wait in the queue, where their time can run out. */
static void prepare_job(struct pool_job *job)
{
    struct turn *empty = CONTAINER_OF(job, struct turn, job), *t;
    struct committer *c = empty->account->mail->committer;

    pthread_mutex_lock(&c->lock);
    t = take_turn(c, empty->account->queue);
    pthread_mutex_unlock(&c->lock);
    t->account = empty->account;
    free(empty);
    turn_prepare(t);
}

static void hand_to_prepare(struct turn *t)
{
    struct committer *c = t->account->mail->committer;

    pthread_mutex_lock(&c->lock);
    put_back(t->account->queue, &t->pendings, t->n);
    t->n = 0;
    queue_update(c, t->account->queue); /* busy: not ready, but in sight of expire */
    pthread_mutex_unlock(&c->lock);
    turn_unbuild(t);
    arena_done(&t->arena);
    t->job.run = prepare_job;
    mail_submit(t->account->mail, &t->job);
}

/* --- batches --------------------------------------------------------------------------------- */

struct batch {
    struct turns turns;
    size_t n;
    struct store_item *items;
    size_t n_items;
};

static size_t turn_bytes(const struct turn *t)
{
    const struct pending *p;
    size_t n = 0;

    STAILQ_FOREACH (p, &t->pendings, link)
        if (p->intent->prepared && !p->stored)
            n += (size_t)MIN(prepared_size(p->intent->prepared), (uint64_t)1 << 20);
    return n;
}

/* With the lock held. */
static void collect(struct committer *c, struct batch *b)
{
    size_t bytes = 0;

    STAILQ_INIT(&b->turns);
    b->n = 0;
    while (!TAILQ_EMPTY(&c->ready) && b->n < BATCH_TURNS && bytes < BATCH_BYTES) {
        struct turn *t = take_turn(c, TAILQ_FIRST(&c->ready));

        bytes += turn_bytes(t);
        STAILQ_INSERT_TAIL(&b->turns, t, link);
        b->n++;
    }
}

static struct turn *batch_shift(struct batch *b)
{
    struct turn *t = STAILQ_FIRST(&b->turns);

    if (t) {
        STAILQ_REMOVE_HEAD(&b->turns, link);
        b->n--;
    }
    return t;
}

static void batch_keep(struct batch *b, struct turn *t)
{
    STAILQ_INSERT_TAIL(&b->turns, t, link);
    b->n++;
}

/* What needs more than a build goes its own way. */
static void keep_ready(struct batch *b)
{
    struct batch kept = {.turns = STAILQ_HEAD_INITIALIZER(kept.turns)};
    struct turn *t;

    while ((t = batch_shift(b))) {
        if (turn_is_ready(t))
            batch_keep(&kept, t);
        else
            hand_to_prepare(t);
    }
    STAILQ_CONCAT(&b->turns, &kept.turns);
    b->n = kept.n;
}

static void submit_turn(struct turn *t, void (*run)(struct pool_job *))
{
    t->job.run = run;
    mail_submit(t->account->mail, &t->job);
}

static void confirm_job(struct pool_job *job)
{
    turn_confirm(CONTAINER_OF(job, struct turn, job));
}

static void settle_job(struct pool_job *job)
{
    turn_settle(CONTAINER_OF(job, struct turn, job));
}

static void build_all(struct batch *b)
{
    struct batch kept = {.turns = STAILQ_HEAD_INITIALIZER(kept.turns)};
    struct error err = {0};
    struct turn *t;

    while ((t = batch_shift(b))) {
        int r = turn_build(t, &err);

        if (r == -ERR_UNAVAILABLE) {
            hand_to_prepare(t);
        } else if (r < 0) {
            turn_answer(t, r, err.text);
            turn_end(t);
        } else if (t->built.bytes.n == 0) {
            submit_turn(t, confirm_job);
        } else {
            batch_keep(&kept, t);
        }
    }
    STAILQ_CONCAT(&b->turns, &kept.turns);
    b->n = kept.n;
}

/* with_messages, with_records: what goes into this insert. */
static void fill_items(struct batch *b, bool atomic, bool with_messages, bool with_records)
{
    struct turn *t;
    uint32_t group = 0;
    size_t n = 0;

    STAILQ_FOREACH (t, &b->turns, link)
        n += (with_messages ? turn_item_count(t) : 0) + with_records;
    b->items = NEW_ARRAY(struct store_item, n + 1);
    b->n_items = 0;
    STAILQ_FOREACH (t, &b->turns, link) {
        group += atomic;
        t->first_item = b->n_items;
        if (with_messages) {
            turn_fill_items(t, b->items + b->n_items, group);
            b->n_items += turn_item_count(t);
        }
        if (with_records)
            b->items[b->n_items++] = turn_record_item(t, buf_slice(&t->built.bytes), group);
        t->n_items = b->n_items - t->first_item;
    }
}

static void free_items(struct batch *b)
{
    free(b->items);
    b->items = NULL;
    b->n_items = 0;
}

/* A document too large for the store spoils the whole call: then each turn goes alone, and only the
 * one that holds it is refused. */
static int insert_items(struct committer *c, struct batch *b, int64_t *time, struct error *err)
{
    struct store *store = c->mail->store;
    struct turn *t;
    int r = store_insert(store, b->items, b->n_items, time, err);

    if (r != -ERR_TOOBIG && r != -ERR_INVALID)
        return r;
    STAILQ_FOREACH (t, &b->turns, link) {
        if (t->n_items == 0)
            continue;
        r = store_insert(store, b->items + t->first_item, t->n_items, time, err);
        t->refused = r == -ERR_TOOBIG || r == -ERR_INVALID;
    }
    return 0;
}

/* What the store refuses (its disk is full, ...), it would refuse again at once. */
static void try_again(struct turn *t)
{
    if (turn_is_in_doubt(t))
        hand_to_prepare(t);
    else
        turn_requeue(t, REFUSED_MS);
}

/* The messages of the batch, before its records. What did not go in at once is seen to apart. */
static void send_messages(struct committer *c, struct batch *b)
{
    struct batch kept = {.turns = STAILQ_HEAD_INITIALIZER(kept.turns)};
    struct error err = {0};
    struct turn *t;
    int64_t time = 0;
    int r = 0;

    fill_items(b, false, true, false);
    if (b->n_items)
        r = insert_items(c, b, &time, &err);
    if (r == 0 && b->n_items)
        mail_heard(c->mail, time);
    while ((t = batch_shift(b))) {
        turn_note_items(t, b->items + t->first_item, time);
        arena_reset(&t->arena);
        if (t->refused) {
            turn_answer(t, -ERR_TOOBIG, err.text);
            turn_end(t);
        } else if (turn_all_stored(t)) {
            batch_keep(&kept, t);
        } else {
            try_again(t);
        }
    }
    free_items(b);
    STAILQ_CONCAT(&b->turns, &kept.turns);
    b->n = kept.n;
}

/* Nothing of a refused record can land: its messages may be there (then they are noted as stored).
 */
static void end_turn(struct turn *t, enum store_outcome outcome, int64_t time)
{
    struct mail *mail = t->account->mail;
    struct commit_counters *n = &mail->committer->counters;

    if (t->refused) {
        turn_answer(t, -ERR_TOOBIG, "a document is larger than the store takes");
        turn_end(t);
        return;
    }
    switch (outcome) {
    case STORE_DONE:
        turn_committed(t, time);
        return;
    case STORE_REFUSED:
        try_again(t);
        return;
    case STORE_TAKEN:
    case STORE_UNKNOWN:
        break;
    }
    t->outcome = outcome;
    atomic_fetch_add(&n->looked_up, 1);
    submit_turn(t, settle_job);
}

static void set_stage(struct committer *c, bool *stage, bool on)
{
    pthread_mutex_lock(&c->lock);
    while (on && *stage)
        pthread_cond_wait(&c->work, &c->lock);
    *stage = on;
    if (!on && (stage != &c->collecting || !TAILQ_EMPTY(&c->ready)))
        pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
}

/* Messages (atomic stores only) and records. */
static void send_records(struct committer *c, struct batch *b, bool atomic)
{
    struct error err = {0};
    struct turn *t;
    int64_t time = 0;
    int r = 0;

    fill_items(b, atomic, atomic, true);
    if (b->n)
        r = insert_items(c, b, &time, &err);
    if (r == 0 && b->n)
        mail_heard(c->mail, time);
    if (!atomic)
        set_stage(c, &c->recording, false);
    if (b->n) {
        atomic_fetch_add(&c->counters.batches, 1);
        atomic_fetch_add(&c->counters.records, b->n);
    }
    while ((t = batch_shift(b))) {
        enum store_outcome outcome = b->items[t->first_item + t->n_items - 1].outcome;

        if (r < 0 && outcome == STORE_DONE)
            outcome = STORE_UNKNOWN; /* it is in, but since when? The position guard must know */
        if (atomic)
            turn_note_items(t, b->items + t->first_item, time);
        arena_reset(&t->arena);
        end_turn(t, outcome, time);
    }
    free_items(b);
}

/* --- threads --------------------------------------------------------------------------------- */

static void run_batch(struct committer *c, struct batch *b)
{
    struct turn *t;

    STAILQ_FOREACH (t, &b->turns, link)
        account_ref(t->account);
    keep_ready(b);
    if (store_is_atomic(c->mail->store)) {
        build_all(b);
        set_stage(c, &c->collecting, false);
        send_records(c, b, true);
        return;
    }
    send_messages(c, b);
    if (!c->mail->stepped)
        set_stage(c, &c->recording, true);
    set_stage(c, &c->collecting, false);
    build_all(b);
    send_records(c, b, false);
}

bool committer_step(struct committer *c)
{
    struct batch b = {0};

    pthread_mutex_lock(&c->lock);
    collect(c, &b);
    pthread_mutex_unlock(&c->lock);
    if (b.n == 0)
        return false;
    run_batch(c, &b);
    return true;
}

static void *committer_main(void *arg)
{
    struct committer *c = arg;

    pthread_setname_np(pthread_self(), "mail-commit");
    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct batch b = {0};

        while (!c->stopping && (c->collecting || TAILQ_EMPTY(&c->ready)))
            pthread_cond_wait(&c->work, &c->lock);
        if (c->stopping)
            break;
        c->collecting = true;
        collect(c, &b);
        pthread_mutex_unlock(&c->lock);
        run_batch(c, &b);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct committer *committer_new(struct mail *mail)
{
    struct committer *c = NEW(struct committer);

    c->mail = mail;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    TAILQ_INIT(&c->ready);
    TAILQ_INIT(&c->active);
    return c;
}

int committer_start(struct committer *c, struct error *err)
{
    size_t want = store_is_atomic(c->mail->store) ? 2 : 3;

    while (c->n_threads < want) {
        if (pthread_create(&c->threads[c->n_threads], NULL, committer_main, c) != 0)
            return error_set(err, ERR_UNAVAILABLE, "no thread for the committer");
        c->n_threads++;
    }
    return 0;
}

void committer_stop(struct committer *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    while (c->n_threads)
        pthread_join(c->threads[--c->n_threads], NULL);
}

void committer_free(struct committer *c)
{
    if (!c)
        return;
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const struct commit_counters *commit_counters(struct mail *mail)
{
    return &mail->committer->counters;
}

/* --- mail_commit ----------------------------------------------------------------------------- */

static bool is_complete(struct intent *it)
{
    bool message = it->kind == INTENT_APPEND || it->kind == INTENT_DELIVER;

    it->result = 0;
    if (it->account && it->kind < INTENT_KINDS_ && (!message || it->prepared))
        return true;
    it->result = error_set(&it->error, ERR_INVALID, "an intent without account or message");
    return false;
}

static void drive(struct committer *c, struct waiter *w)
{
    while (w->left)
        if (!committer_step(c) && !mail_step(c->mail))
            committer_tick(c);
}

/* With the lock held, which it leaves and takes; `collecting` is the caller's. */
static void lead(struct committer *c)
{
    struct batch b = {0};

    collect(c, &b);
    pthread_mutex_unlock(&c->lock);
    run_batch(c, &b);
    pthread_mutex_lock(&c->lock);
}

/* The lock is held, and let go. */
static void wait_all(struct committer *c, struct waiter *w)
{
    while (w->left)
        pthread_cond_wait(&w->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void mail_commit(struct mail *mail, struct intent **intents, size_t n)
{
    struct committer *c = mail->committer;
    struct pending *pendings = NEW_ARRAY(struct pending, n + 1);
    struct waiter w = {.left = 0};
    int64_t deadline = commit_now(c) + mail->settings.commit_wait_ms;
    bool leads;

    pthread_cond_init(&w.done, NULL);
    pthread_mutex_lock(&c->lock);
    leads = !mail->stepped && !c->collecting && !c->stopping;
    if (leads)
        c->collecting = true;
    for (size_t i = 0; i < n; i++) {
        struct commit_queue *q;

        if (!is_complete(intents[i]))
            continue;
        q = intents[i]->account->queue;
        pendings[i] = (struct pending){.intent = intents[i], .waiter = &w, .deadline_ms = deadline};
        STAILQ_INSERT_TAIL(&q->waiting, &pendings[i], link);
        q->n++;
        w.left++;
        queue_update(c, q);
    }
    atomic_fetch_add(&c->counters.intents, w.left);
    if (leads)
        lead(c);
    if (mail->stepped) {
        pthread_mutex_unlock(&c->lock);
        drive(c, &w);
    } else {
        wait_all(c, &w);
    }
    pthread_cond_destroy(&w.done);
    free(pendings);
}
