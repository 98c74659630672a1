/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/store/faulty.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/store/store_impl.h"

#define MEMORY       8 /* answers that are kept, to be given again when they are old */
#define REMEMBER_MAX ((size_t)1 << 20) /* bytes of an answer; larger ones are not kept */

enum verb {
    VERB_INSERT,
    VERB_UPDATE,
    VERB_DELETE,
    VERB_DELETE_RANGE,
    VERB_GET,
    VERB_RANGE,
    VERB_TIME
};
static const char *const verb_names[] = {
    [VERB_INSERT] = "insert", [VERB_UPDATE] = "update",
    [VERB_DELETE] = "delete", [VERB_DELETE_RANGE] = "delete_range",
    [VERB_GET] = "get",       [VERB_RANGE] = "range",
    [VERB_TIME] = "time",
};

/* A write with all its bytes, to be carried out later. */
struct late {
    enum verb verb;
    unsigned calls; /* so many calls from now */
    struct arena arena;
    struct store_item *items;
    struct slice *keys;
    size_t n;
    struct store_change change;
    enum store_table table;
    struct slice from, to;
    TAILQ_ENTRY(late) link;
};
TAILQ_HEAD(lates, late);

/* From inner store time `from` on, this much is added. */
struct step {
    int64_t from, offset;
};

/* An answer as it was given, with its question. */
struct answer {
    struct arena arena;
    struct slice question;
    struct store_docs docs;
};

struct faulty {
    struct store store;
    struct store *inner;
    pthread_mutex_t lock; /* guards all below; never held during a call of inner */
    struct fault_plan plan;
    uint64_t dice;
    struct lates lates;
    VEC(struct step) steps;
    struct answer answers[MEMORY];
    size_t next_answer;
};

static struct faulty *faulty_of(struct store *s)
{
    return CONTAINER_OF(s, struct faulty, store);
}

/* --- dice ------------------------------------------------------------------------------------ */

/* splitmix64; under the lock. */
static uint64_t roll(struct faulty *f)
{
    uint64_t z = f->dice += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t roll_locked(struct faulty *f)
{
    uint64_t v;

    pthread_mutex_lock(&f->lock);
    v = roll(f);
    pthread_mutex_unlock(&f->lock);
    return v;
}

static enum fault draw(struct faulty *f)
{
    unsigned at = (unsigned)(roll(f) % 1000), sum = 0;

    for (int i = FAULT_NONE + 1; i < FAULT_COUNT_; i++) {
        sum += f->plan.per_mille[i];
        if (at < sum)
            return (enum fault)i;
    }
    return FAULT_NONE;
}

/* --- what is done later ---------------------------------------------------------------------- */

static void late_free(struct late *l)
{
    arena_done(&l->arena);
    free(l);
}

static void late_run(struct faulty *f, struct late *l)
{
    const struct store_ops *ops = f->inner->ops;
    uint64_t n;
    int64_t time;
    int r = 0;

    switch (l->verb) {
    case VERB_INSERT:
        r = ops->insert(f->inner, l->items, l->n, &time, NULL);
        break;
    case VERB_UPDATE:
        r = ops->update(f->inner, &l->change, &n, &time, NULL);
        break;
    case VERB_DELETE:
        r = ops->remove(f->inner, l->table, l->keys, l->n, NULL);
        break;
    default:
        r = ops->remove_range(f->inner, l->table, l->from, l->to, &n, NULL);
    }
    (void)r; /* nobody waits for this answer */
    late_free(l);
}

/* One more call: what is due by now (`all`: everything) is done, in the order it was put off. */
static void run_due(struct faulty *f, bool all)
{
    struct lates due = TAILQ_HEAD_INITIALIZER(due);
    struct late *l, *next;

    pthread_mutex_lock(&f->lock);
    for (l = TAILQ_FIRST(&f->lates); l; l = next) {
        next = TAILQ_NEXT(l, link);
        if (l->calls > 0 && !all) {
            l->calls--;
            continue;
        }
        TAILQ_REMOVE(&f->lates, l, link);
        TAILQ_INSERT_TAIL(&due, l, link);
    }
    pthread_mutex_unlock(&f->lock);
    for (l = TAILQ_FIRST(&due); l; l = next) {
        next = TAILQ_NEXT(l, link);
        late_run(f, l);
    }
}

static struct late *late_new(enum verb verb)
{
    struct late *l = NEW(struct late);

    l->verb = verb;
    return l;
}

static void put_off(struct faulty *f, struct late *l)
{
    pthread_mutex_lock(&f->lock);
    l->calls = f->plan.late_calls ? (unsigned)(roll(f) % f->plan.late_calls) : 0;
    TAILQ_INSERT_TAIL(&f->lates, l, link);
    pthread_mutex_unlock(&f->lock);
}

static enum fault next_fault(struct faulty *f, enum verb verb, enum store_table table)
{
    struct fault_plan plan;
    enum fault fault;

    run_due(f, false);
    pthread_mutex_lock(&f->lock);
    plan = f->plan;
    fault = draw(f);
    pthread_mutex_unlock(&f->lock);
    if (plan.hook)
        fault = plan.hook(plan.ctx, verb_names[verb], table);
    if (fault == FAULT_DELAY) {
        struct timespec wait = {.tv_nsec = (long)(1 + roll_locked(f) % 5) * 1000000};

        nanosleep(&wait, NULL);
    }
    return fault;
}

/* --- time ------------------------------------------------------------------------------------ */

static int64_t shown(struct faulty *f, int64_t time)
{
    int64_t offset = 0;

    pthread_mutex_lock(&f->lock);
    for (size_t i = f->steps.n; i-- > 0 && offset == 0;)
        if (time >= f->steps.items[i].from)
            offset = f->steps.items[i].offset;
    pthread_mutex_unlock(&f->lock);
    return time + offset;
}

static void show_docs(struct faulty *f, struct store_docs *docs)
{
    docs->time = shown(f, docs->time);
    for (size_t i = 0; i < docs->n; i++)
        if (docs->items[i].found)
            docs->items[i].stored_ms = shown(f, docs->items[i].stored_ms);
}

void store_faulty_advance(struct store *store, int64_t ms)
{
    struct faulty *f = faulty_of(store);
    int64_t before = 0, now = 0, offset;

    /* A new millisecond, so that all that is stored before it keeps its time. */
    if (f->inner->ops->time(f->inner, &before, NULL) < 0)
        return;
    for (now = before; now <= before;)
        if (f->inner->ops->time(f->inner, &now, NULL) < 0)
            return;
    pthread_mutex_lock(&f->lock);
    offset = f->steps.n ? f->steps.items[f->steps.n - 1].offset : 0;
    *VEC_PUSH(&f->steps) = (struct step){before + 1, offset + ms};
    pthread_mutex_unlock(&f->lock);
}

/* --- writing --------------------------------------------------------------------------------- */

static int refused(struct error *err)
{
    return error_set(err, ERR_UNAVAILABLE, "a fault: refused");
}

static int unknown(struct error *err)
{
    return error_set(err, ERR_UNKNOWN_OUTCOME, "a fault: no reply");
}

static struct late *late_insert(const struct store_item *items, size_t n)
{
    struct late *l = late_new(VERB_INSERT);

    l->n = n;
    l->items = arena_array(&l->arena, n, sizeof *items);
    memcpy(l->items, items, n * sizeof *items);
    for (size_t i = 0; i < n; i++) {
        l->items[i].key = arena_slice(&l->arena, items[i].key);
        l->items[i].head = arena_slice(&l->arena, items[i].head);
        l->items[i].body = arena_slice(&l->arena, items[i].body);
        l->items[i].after = arena_slice(&l->arena, items[i].after);
    }
    return l;
}

/* No reply: what was not seen to be taken is unknown. */
static int all_unknown(struct store_item *items, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        items[i].outcome = STORE_UNKNOWN;
    return unknown(err);
}

/* A part of the batch: each item or not; of an atomic store, all or nothing. */
static int insert_partly(struct faulty *f, struct store_item *items, size_t n, struct error *err)
{
    uint64_t all = roll_locked(f);
    int64_t time;

    for (size_t i = 0; i < n; i++) {
        bool go = f->inner->atomic ? i == 0 && all & 1 : (roll_locked(f) & 1) != 0;
        size_t count = f->inner->atomic ? n : 1;

        if (go && f->inner->ops->insert(f->inner, &items[i], count, &time, NULL) < 0)
            continue;
    }
    return all_unknown(items, n, err);
}

/* Done; of those that nothing in their group comes after, about half are said to be taken. */
static void say_taken(struct faulty *f, struct store_item *items, size_t n)
{
    size_t start = (size_t)(roll_locked(f) % n);
    bool said = false;

    for (size_t j = 0; j < n; j++) {
        size_t i = (start + j) % n;
        bool last = items[i].group == 0 || i + 1 == n || items[i + 1].group != items[i].group;

        if (!last || items[i].outcome != STORE_DONE || (said && roll_locked(f) & 1))
            continue;
        items[i].outcome = STORE_TAKEN;
        said = true;
    }
}

static int faulty_insert(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
                         struct error *err)
{
    struct faulty *f = faulty_of(s);
    enum fault fault = next_fault(f, VERB_INSERT, items[0].table);
    int r;

    if (fault == FAULT_REFUSED)
        return refused(err);
    if (fault == FAULT_LATE)
        put_off(f, late_insert(items, n));
    if (fault == FAULT_LATE || fault == FAULT_LOST)
        return all_unknown(items, n, err);
    if (fault == FAULT_PARTLY)
        return insert_partly(f, items, n, err);
    r = f->inner->ops->insert(f->inner, items, n, ret_time, err);
    *ret_time = shown(f, *ret_time);
    if (fault == FAULT_TWICE)
        put_off(f, late_insert(items, n));
    if (fault == FAULT_REPLY_LOST)
        return all_unknown(items, n, err);
    if (fault == FAULT_TAKEN_OWN)
        say_taken(f, items, n);
    return r;
}

static struct late *late_update(const struct store_change *change)
{
    struct late *l = late_new(VERB_UPDATE);

    l->change = *change;
    l->change.key = arena_slice(&l->arena, change->key);
    l->change.head = arena_slice(&l->arena, change->head);
    l->change.body = arena_slice(&l->arena, change->body);
    return l;
}

/* One document: a part of the work is all of it or nothing. */
static enum fault whole(struct faulty *f, enum fault fault)
{
    if (fault != FAULT_PARTLY)
        return fault;
    return roll_locked(f) & 1 ? FAULT_REPLY_LOST : FAULT_LOST;
}

static int faulty_update(struct store *s, const struct store_change *change, uint64_t *ret_version,
                         int64_t *ret_time, struct error *err)
{
    struct faulty *f = faulty_of(s);
    enum fault fault = whole(f, next_fault(f, VERB_UPDATE, change->table));
    int r;

    if (fault == FAULT_REFUSED)
        return refused(err);
    if (fault == FAULT_LATE)
        put_off(f, late_update(change));
    if (fault == FAULT_LATE || fault == FAULT_LOST)
        return unknown(err);
    r = f->inner->ops->update(f->inner, change, ret_version, ret_time, err);
    *ret_time = shown(f, *ret_time);
    if (fault == FAULT_TWICE)
        put_off(f, late_update(change));
    if (fault == FAULT_REPLY_LOST)
        return unknown(err);
    /* A driver that sends it again meets its own new version. */
    if (fault == FAULT_TAKEN_OWN && r == 0)
        return error_set(err, ERR_CONFLICT, "a fault: sent twice, and met itself");
    return r;
}

static struct late *late_delete(enum store_table table, const struct slice *keys, size_t n)
{
    struct late *l = late_new(VERB_DELETE);

    l->table = table;
    l->n = n;
    l->keys = arena_array(&l->arena, n, sizeof *keys);
    for (size_t i = 0; i < n; i++)
        l->keys[i] = arena_slice(&l->arena, keys[i]);
    return l;
}

static int faulty_remove(struct store *s, enum store_table table, const struct slice *keys,
                         size_t n, struct error *err)
{
    struct faulty *f = faulty_of(s);
    enum fault fault = next_fault(f, VERB_DELETE, table);
    int r;

    if (fault == FAULT_REFUSED)
        return refused(err);
    if (fault == FAULT_LATE)
        put_off(f, late_delete(table, keys, n));
    if (fault == FAULT_LATE || fault == FAULT_LOST)
        return unknown(err);
    if (fault == FAULT_PARTLY)
        n = (size_t)(roll_locked(f) % n);
    r = n ? f->inner->ops->remove(f->inner, table, keys, n, err) : 0;
    if (fault == FAULT_TWICE)
        put_off(f, late_delete(table, keys, n));
    return fault == FAULT_REPLY_LOST || fault == FAULT_PARTLY ? unknown(err) : r;
}

static struct late *late_delete_range(enum store_table table, struct slice from, struct slice to)
{
    struct late *l = late_new(VERB_DELETE_RANGE);

    l->table = table;
    l->from = arena_slice(&l->arena, from);
    l->to = arena_slice(&l->arena, to);
    return l;
}

static int faulty_remove_range(struct store *s, enum store_table table, struct slice from,
                               struct slice to, uint64_t *ret_n, struct error *err)
{
    struct faulty *f = faulty_of(s);
    enum fault fault = whole(f, next_fault(f, VERB_DELETE_RANGE, table));
    int r;

    if (fault == FAULT_REFUSED)
        return refused(err);
    if (fault == FAULT_LATE)
        put_off(f, late_delete_range(table, from, to));
    if (fault == FAULT_LATE || fault == FAULT_LOST)
        return unknown(err);
    r = f->inner->ops->remove_range(f->inner, table, from, to, ret_n, err);
    if (fault == FAULT_TWICE)
        put_off(f, late_delete_range(table, from, to));
    return fault == FAULT_REPLY_LOST ? unknown(err) : r;
}

/* --- reading --------------------------------------------------------------------------------- */

/* What was asked, as bytes to compare. */
static struct slice question_of(struct arena *arena, const struct store_query *q,
                                const struct slice *keys, size_t n)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT);
    struct slice s;

    buf_printf(&b, "%d %d %d %zu %zu %zu ", q->table, q->parts, q->descending, q->limit,
               q->max_bytes, n);
    buf_add_string(&b, q->from);
    buf_add_string(&b, q->to);
    for (size_t i = 0; i < n; i++)
        buf_add_string(&b, keys[i]);
    s = arena_slice(arena, buf_slice(&b));
    buf_done(&b);
    return s;
}

static void copy_docs(struct store_docs *to, struct arena *arena, const struct store_docs *from)
{
    to->n = from->n;
    to->more = from->more;
    to->time = from->time;
    to->items = arena_array(arena, from->n, sizeof *to->items);
    for (size_t i = 0; i < from->n; i++) {
        to->items[i] = from->items[i];
        to->items[i].key = arena_slice(arena, from->items[i].key);
        to->items[i].head = arena_slice(arena, from->items[i].head);
        to->items[i].body = arena_slice(arena, from->items[i].body);
    }
}

static void remember(struct faulty *f, struct slice question, const struct store_docs *docs)
{
    struct answer *a;

    if (docs->arena.used > REMEMBER_MAX)
        return;
    pthread_mutex_lock(&f->lock);
    a = &f->answers[f->next_answer++ % MEMORY];
    arena_done(&a->arena);
    a->question = arena_slice(&a->arena, question);
    copy_docs(&a->docs, &a->arena, docs);
    pthread_mutex_unlock(&f->lock);
}

/* The oldest answer to the same question that is remembered; with its time, as an old primary
 * gives it that slept meanwhile. */
static bool answer_from_the_past(struct faulty *f, struct slice question, struct store_docs *docs)
{
    bool found = false;

    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < MEMORY && !found; i++) {
        struct answer *a = &f->answers[(f->next_answer + i) % MEMORY];

        found = a->question.n && slice_eq(a->question, question);
        if (found)
            copy_docs(docs, &docs->arena, &a->docs);
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

static bool is_old(enum fault fault, enum store_level level)
{
    return level != STORE_LINEARIZABLE && (fault == FAULT_LATE || fault == FAULT_TWICE);
}

static bool is_lost(enum fault fault)
{
    return fault == FAULT_REFUSED || fault == FAULT_LOST || fault == FAULT_REPLY_LOST;
}

/* A member that is behind lacks some. */
static void lack_some(struct faulty *f, struct store_docs *docs)
{
    for (size_t i = 0; i < docs->n; i++) {
        struct store_doc *doc = &docs->items[i];

        if (doc->found && roll_locked(f) & 1)
            *doc = (struct store_doc){.key = doc->key};
    }
}

static int faulty_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                      enum store_parts parts, enum store_level level, struct store_docs *docs,
                      struct error *err)
{
    struct faulty *f = faulty_of(s);
    enum fault fault = next_fault(f, VERB_GET, table);
    struct store_query as_query = {.table = table, .parts = parts};
    CLEANUP(arena_done) struct arena arena = {0};
    struct slice question = question_of(&arena, &as_query, keys, n);
    int r;

    if (is_lost(fault))
        return refused(err);
    if (is_old(fault, level) && answer_from_the_past(f, question, docs))
        return 0;
    r = f->inner->ops->get(f->inner, table, keys, n, parts, level, docs, err);
    if (r < 0)
        return r;
    show_docs(f, docs);
    remember(f, question, docs);
    if (fault == FAULT_PARTLY && level == STORE_ANY)
        lack_some(f, docs);
    return 0;
}

static int faulty_range(struct store *s, const struct store_query *query, struct store_docs *docs,
                        struct error *err)
{
    struct faulty *f = faulty_of(s);
    enum fault fault = next_fault(f, VERB_RANGE, query->table);
    CLEANUP(arena_done) struct arena arena = {0};
    struct slice question = question_of(&arena, query, NULL, 0);
    int r;

    if (is_lost(fault))
        return refused(err);
    if (is_old(fault, query->level) && answer_from_the_past(f, question, docs))
        return 0;
    r = f->inner->ops->range(f->inner, query, docs, err);
    if (r < 0)
        return r;
    show_docs(f, docs);
    remember(f, question, docs);
    return 0;
}

static int faulty_time(struct store *s, int64_t *ret_time, struct error *err)
{
    struct faulty *f = faulty_of(s);
    int r;

    if (is_lost(next_fault(f, VERB_TIME, STORE_TABLES_)))
        return refused(err);
    r = f->inner->ops->time(f->inner, ret_time, err);
    if (r == 0)
        *ret_time = shown(f, *ret_time);
    return r;
}

static uint64_t faulty_pulse(struct store *s)
{
    return store_pulse(faulty_of(s)->inner);
}

/* --- making ---------------------------------------------------------------------------------- */

static void faulty_close(struct store *s)
{
    struct faulty *f = faulty_of(s);
    struct late *l;

    while ((l = TAILQ_FIRST(&f->lates))) {
        TAILQ_REMOVE(&f->lates, l, link);
        late_free(l);
    }
    for (size_t i = 0; i < MEMORY; i++)
        arena_done(&f->answers[i].arena);
    VEC_DONE(&f->steps);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct store_ops faulty_ops = {
    .kind = "faulty",
    .close = faulty_close,
    .insert = faulty_insert,
    .update = faulty_update,
    .remove = faulty_remove,
    .remove_range = faulty_remove_range,
    .get = faulty_get,
    .range = faulty_range,
    .time = faulty_time,
    .pulse = faulty_pulse,
};

struct store *store_faulty_new(struct store *inner, const struct fault_plan *plan)
{
    struct faulty *f = NEW(struct faulty);

    f->store = (struct store){&faulty_ops, inner->atomic, inner->settings};
    f->inner = inner;
    f->plan = *plan;
    f->dice = plan->seed;
    TAILQ_INIT(&f->lates);
    pthread_mutex_init(&f->lock, NULL);
    return &f->store;
}

void store_faulty_set(struct store *store, const struct fault_plan *plan)
{
    struct faulty *f = faulty_of(store);

    pthread_mutex_lock(&f->lock);
    f->plan = *plan;
    pthread_mutex_unlock(&f->lock);
}

void store_faulty_flush(struct store *store)
{
    run_due(faulty_of(store), true);
}
