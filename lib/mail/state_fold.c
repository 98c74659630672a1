/* SPDX-License-Identifier: MPL-2.0 */
/* The fold: tests/model/fold.py in C, with what IMAP needs beside it. Where the two differ:
 *
 *   - The time of a state never goes back (a record's t_ms is only what its writer knew), so that
 *     what has fallen out of a window stays out.
 *   - Of deliveries, of what is gone and of what has vanished only the newest DELIVERIES_MAX,
 *     GONE_MAX and VANISHED_MAX are kept.
 *
 * To add an op, see record.c; its meaning is a row in `appliers`. */
#include "lib/mail/state_impl.h"

#include <assert.h>
#include <inttypes.h>

#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/mail/build.h"

#define PLAIN_OPS_MAX 64

static int does_not_apply(const struct state *st, const char *why, struct error *err)
{
    return error_set(err, ERR_INTERNAL, "record %" PRIu64 " does not apply: %s", st->seq, why);
}

/* --- messages of one mailbox ----------------------------------------------------------------- */

/* Messages [from, to) of a chunk whose uids are in one range of a set. */
struct span {
    size_t range, from, to;
};

static struct span span_first(const struct chunk *c, const struct uidset *uids)
{
    return (struct span){.range = uidset_search(uids, c->uid[0])};
}

static bool span_next(const struct chunk *c, const struct uidset *uids, struct span *s)
{
    while (s->range < uids->n && uids->items[s->range].first <= c->uid[c->n - 1]) {
        const struct uid_range *r = &uids->items[s->range++];

        s->from = chunk_search(c, r->first);
        s->to = r->last >= c->uid[c->n - 1] ? c->n : chunk_search(c, r->last + 1);
        if (s->from < s->to)
            return true;
    }
    return false;
}

typedef void chunk_fn(void *ctx, struct mailbox *box, struct chunk *c);

/* Calls f for each chunk that may hold uids of the set; `own`: it is going to be changed. */
static void each_chunk(struct mailbox *box, const struct uidset *uids, bool own, chunk_fn *f,
                       void *ctx)
{
    for (size_t i = 0; i < box->n_segments; i++) {
        struct rows *rows;

        if (!segment_is_among(box->segments[i], uids))
            continue;
        rows = segment_rows(own ? mailbox_own_segment(box, i) : box->segments[i]);
        for (size_t j = 0; j < rows->n; j++) {
            const struct chunk *c = rows->chunks[j];
            size_t at = uidset_search(uids, c->uid[0]);

            if (at < uids->n && uids->items[at].first <= c->uid[c->n - 1])
                f(ctx, box, own ? rows_own_chunk(rows, j) : rows->chunks[j]);
        }
    }
}

static void tally(struct state *st, struct mailbox *box, int n, const struct flagset *flags,
                  uint32_t size)
{
    uint32_t one = (uint32_t)n;

    box->sum.exists += one;
    box->sum.unseen += flags->system & FLAG_SEEN ? 0 : one;
    box->sum.deleted += flags->system & FLAG_DELETED ? one : 0;
    box->sum.bytes += (uint64_t)(int64_t)n * size;
    st->used_bytes += (uint64_t)(int64_t)n * size;
    st->used_messages += (uint64_t)(int64_t)n;
}

static void put(struct state *st, struct mailbox *box, struct message *m)
{
    size_t n = box->n_segments;
    struct segment *last = n ? box->segments[n - 1] : NULL;

    if (!last || !segment_rows(last) || last->count == SEGMENT_MESSAGES)
        mailbox_add_segment(box, last = segment_new());
    else
        last = mailbox_own_segment(box, n - 1);
    m->modseq = st->seq;
    m->saved = st->t_ms / 1000;
    segment_append(last, m);
    box->sum.uidnext = m->uid + 1;
    box->sum.modseq = st->seq;
    tally(st, box, 1, m->flags, m->size);
}

struct taking {
    struct state *st;
    const struct uidset *uids;
    bool gone; /* they leave for good: on the list */
    uint64_t n;
};

static void note_gone(struct state *st, const struct message *m)
{
    int64_t date = MIN(m->date, (int64_t)UINT32_MAX);

    date = MAX(date, (int64_t)0);
    ledger_add(st->gone,
               (struct ledger_entry){m->id, (uint64_t)m->size << 32 | (uint64_t)date, st->t_ms});
}

static void keep_row(struct chunk *c, size_t to, size_t from)
{
    c->modseq[to] = c->modseq[from];
    c->id[to] = c->id[from];
    c->date[to] = c->date[from];
    c->uid[to] = c->uid[from];
    c->size[to] = c->size[from];
    c->saved[to] = c->saved[from];
    c->flags[to] = c->flags[from];
}

/* Rows move to the front while span_next still searches the chunk: what lies before `at`, moved or
 * left over, is below the next range, so that the search is not misled. */
static void take_from_chunk(void *ctx, struct mailbox *box, struct chunk *c)
{
    struct taking *t = ctx;
    struct span s = span_first(c, t->uids);
    size_t kept = 0, at = 0;
    struct message m;

    while (span_next(c, t->uids, &s)) {
        for (; at < s.from; at++)
            keep_row(c, kept++, at);
        for (; at < s.to; at++, t->n++) {
            chunk_message(box, c, at, &m);
            tally(t->st, box, -1, m.flags, m.size);
            if (t->gone)
                note_gone(t->st, &m);
        }
    }
    for (; at < c->n; at++)
        keep_row(c, kept++, at);
    c->n = (uint32_t)kept;
}

/* For those who know the mailbox as it was before (QRESYNC). */
static void note_vanished(struct state *st, const struct mailbox *box, const struct uidset *uids)
{
    struct ledger *l = ledger_own(&st->vanished);

    if (PLANTED(earlier_forgotten) && st->seq % 4 == 0)
        return;
    for (size_t i = 0; i < uids->n; i++)
        ledger_add(l, (struct ledger_entry){
                          .a = box->id,
                          .b = (uint64_t)uids->items[i].first << 32 | uids->items[i].last,
                          .t_ms = st->t_ms,
                          .seq = st->seq,
                      });
}

static void reuse_uids(struct mailbox *box)
{
    struct message last;

    if (box->sum.exists && mailbox_at(box, box->sum.exists - 1, &last))
        box->sum.uidnext = last.uid + 1;
}

static uint64_t take(struct state *st, struct mailbox *box, const struct uidset *uids, bool gone)
{
    struct taking t = {.st = st, .uids = uids, .gone = gone};

    if (gone)
        ledger_own(&st->gone);
    each_chunk(box, uids, true, take_from_chunk, &t);
    if (!t.n)
        return 0;
    for (size_t i = 0; i < box->n_segments; i++)
        if (segment_rows(box->segments[i]) && segment_is_among(box->segments[i], uids))
            segment_refresh(box->segments[i]);
    mailbox_refresh(box);
    box->expunged = box->sum.modseq = st->seq;
    if (PLANTED(uid_reuse))
        reuse_uids(box);
    return t.n;
}

/* --- ops ------------------------------------------------------------------------------------- */

struct application {
    struct state *st;
    const struct op *op;
    size_t index;
    struct mailbox *box; /* op->mailbox, the working copy's own; NULL where an op has none */
    struct error *err;
};

static int apply_noop(struct application *a)
{
    return 0;
}

static int apply_create(struct application *a)
{
    const struct op *op = a->op;
    struct mailbox *box;

    if (op->mailbox != MAILBOX_ID(a->st->seq, a->index))
        return does_not_apply(a->st, "a mailbox with a wrong id", a->err);
    if (state_mailbox_named(a->st, op->name))
        return does_not_apply(a->st, "a mailbox of that name exists", a->err);
    if (op->uidvalidity <= a->st->last_uidvalidity)
        return does_not_apply(a->st, "a UIDVALIDITY that was given before", a->err);
    box = mailbox_new(op->mailbox, op->name, a->st->flagsets);
    box->uidvalidity = a->st->last_uidvalidity = op->uidvalidity;
    box->uses = op->uses;
    box->created = box->sum.modseq = a->st->seq;
    state_add_mailbox(a->st, box);
    return 0;
}

static int apply_rename(struct application *a)
{
    const struct mailbox *there = state_mailbox_named(a->st, a->op->name);

    if (there && there != a->box)
        return does_not_apply(a->st, "a mailbox of that name exists", a->err);
    mailbox_rename(a->box, a->op->name);
    state_renamed(a->st, a->box->id);
    return 0;
}

static int apply_delete(struct application *a)
{
    struct uid_range all = {1, UINT32_MAX};

    if (mailbox_needs(a->box, NULL, NULL, NULL))
        return does_not_apply(a->st, "a segment is not loaded", a->err);
    take(a->st, a->box, &(struct uidset){&all, 1, 1}, true);
    state_remove_mailbox(a->st, a->op->mailbox);
    return 0;
}

static int apply_subscribe(struct application *a)
{
    names_set(&a->st->subscribed, a->op->name, a->op->on);
    return 0;
}

static int apply_set(struct application *a)
{
    if (a->op->has_uses)
        a->box->uses = a->op->uses;
    else
        values_set(&a->box->values, a->op->key, a->op->value);
    return 0;
}

static int apply_account(struct application *a)
{
    values_set(&a->st->values, a->op->key, a->op->value);
    return 0;
}

static int apply_append(struct application *a)
{
    const struct op *op = a->op;
    struct message m = {.uid = op->uid, .size = op->size, .id = op->message, .date = op->date};

    if (op->uid < a->box->sum.uidnext || op->uid == UINT32_MAX)
        return does_not_apply(a->st, "a uid that was given before", a->err);
    m.flags = flagsets_change(a->st->flagsets, flagsets_at(a->st->flagsets, 0), &op->add, NULL);
    put(a->st, a->box, &m);
    if (op->has_delivery)
        ledger_add(
            ledger_own(&a->st->deliveries),
            (struct ledger_entry){get_be64(op->delivery), get_be64(op->delivery + 8), a->st->t_ms});
    return 0;
}

static int apply_undelete(struct application *a)
{
    const struct ledger_entry *e = ledger_find(a->st->gone, a->op->message, 0);
    struct message m = {.uid = a->op->uid, .id = a->op->message};

    if (!e || m.uid < a->box->sum.uidnext || m.uid == UINT32_MAX)
        return does_not_apply(a->st, "a message that cannot be undeleted", a->err);
    m.size = (uint32_t)(e->b >> 32);
    m.date = (uint32_t)e->b;
    m.flags = flagsets_at(a->st->flagsets, 0);
    put(a->st, a->box, &m);
    return 0;
}

struct changing {
    struct state *st;
    const struct op *op;
    struct flagmemo made;
    uint64_t n;
};

static const struct flagset *changed_flags(struct changing *g, const struct flagset *old)
{
    const struct flagset *new = flagmemo_get(&g->made, old->index);

    if (!new) {
        new = flagsets_change(g->st->flagsets, old, &g->op->add, &g->op->remove);
        flagmemo_put(&g->made, old->index, new);
    }
    return new;
}

static void change_chunk(void *ctx, struct mailbox *box, struct chunk *c)
{
    struct changing *g = ctx;
    struct span s = span_first(c, &g->op->uids);

    while (span_next(c, &g->op->uids, &s))
        for (size_t i = s.from; i < s.to; i++, g->n++) {
            const struct flagset *old = flagsets_at(g->st->flagsets, c->flags[i]);
            const struct flagset *new = changed_flags(g, old);

            c->flags[i] = new->index;
            if (!PLANTED(modseq_not_raised) || g->st->seq % 4)
                c->modseq[i] = g->st->seq;
            box->sum.unseen += !(new->system &FLAG_SEEN) - !(old->system & FLAG_SEEN);
            box->sum.deleted += !!(new->system &FLAG_DELETED) - !!(old->system & FLAG_DELETED);
        }
}

static int apply_flags(struct application *a)
{
    struct changing g = {.st = a->st, .op = a->op};

    if (mailbox_needs(a->box, &a->op->uids, NULL, NULL))
        return does_not_apply(a->st, "a segment is not loaded", a->err);
    each_chunk(a->box, &a->op->uids, true, change_chunk, &g);
    flagmemo_done(&g.made);
    a->box->sum.modseq = a->st->seq;
    if (g.n != uidset_count(&a->op->uids))
        return does_not_apply(a->st, "flags of a message that is not there", a->err);
    return 0;
}

static int apply_expunge(struct application *a)
{
    if (mailbox_needs(a->box, &a->op->uids, NULL, NULL))
        return does_not_apply(a->st, "a segment is not loaded", a->err);
    if (take(a->st, a->box, &a->op->uids, true) != uidset_count(&a->op->uids))
        return does_not_apply(a->st, "a message that is not there is expunged", a->err);
    note_vanished(a->st, a->box, &a->op->uids);
    return 0;
}

struct gathering {
    const struct uidset *uids;
    VEC(struct message) messages;
};

static void gather_chunk(void *ctx, struct mailbox *box, struct chunk *c)
{
    struct gathering *g = ctx;
    struct span s = span_first(c, g->uids);

    while (span_next(c, g->uids, &s))
        for (size_t i = s.from; i < s.to; i++)
            chunk_message(box, c, i, VEC_PUSH(&g->messages));
}

/* copy and move; the target may be the source. */
static int apply_transfer(struct application *a)
{
    const struct op *op = a->op;
    uint64_t n = uidset_count(&op->uids);
    struct gathering g = {.uids = &op->uids};
    struct mailbox *target = state_own_mailbox(a->st, op->target);
    bool fits;

    if (!target || mailbox_needs(a->box, &op->uids, NULL, NULL))
        return does_not_apply(a->st, "a mailbox or segment is not there", a->err);
    fits = op->uid >= target->sum.uidnext && op->uid + n <= UINT32_MAX;
    if (fits)
        each_chunk(a->box, &op->uids, false, gather_chunk, &g);
    if (fits && g.messages.n == n) {
        if (op->kind == OP_MOVE && !(PLANTED(move_copies) && n == 1)) {
            take(a->st, a->box, &op->uids, false);
            note_vanished(a->st, a->box, &op->uids);
        }
        for (size_t i = 0; i < n; i++) {
            g.messages.items[i].uid = op->uid + (uint32_t)i;
            put(a->st, target, &g.messages.items[i]);
        }
    }
    fits = fits && g.messages.n == n;
    VEC_DONE(&g.messages);
    return fits ? 0 : does_not_apply(a->st, "uids to copy or to give are wrong", a->err);
}

static int apply_close(struct application *a)
{
    struct state *st = a->st;

    while (st->n_mailboxes)
        state_remove_mailbox(st, st->mailboxes[st->n_mailboxes - 1]->id);
    names_unref(st->subscribed);
    values_unref(st->values);
    st->subscribed = names_new();
    st->values = values_new();
    ledger_clear(ledger_own(&st->gone));
    ledger_clear(ledger_own(&st->vanished));
    st->used_bytes = st->used_messages = 0;
    st->closed = true;
    return 0;
}

static const struct {
    int (*apply)(struct application *a);
    bool in_mailbox; /* op->mailbox must be there */
} appliers[OP_KINDS_] = {
    [OP_NOOP] = {apply_noop, false},           [OP_CREATE] = {apply_create, false},
    [OP_RENAME] = {apply_rename, true},        [OP_DELETE] = {apply_delete, true},
    [OP_SUBSCRIBE] = {apply_subscribe, false}, [OP_SET] = {apply_set, true},
    [OP_APPEND] = {apply_append, true},        [OP_COPY] = {apply_transfer, true},
    [OP_MOVE] = {apply_transfer, true},        [OP_FLAGS] = {apply_flags, true},
    [OP_EXPUNGE] = {apply_expunge, true},      [OP_UNDELETE] = {apply_undelete, true},
    [OP_ACCOUNT] = {apply_account, false},     [OP_CLOSE] = {apply_close, false},
};

int state_apply(struct state *work, const struct op *op, size_t index, struct error *err)
{
    struct application a = {.st = work, .op = op, .index = index, .err = err};

    if (work->closed && op->kind != OP_NOOP)
        return does_not_apply(work, "the account is closed", err);
    if (appliers[op->kind].in_mailbox) {
        a.box = state_own_mailbox(work, op->mailbox);
        if (!a.box)
            return does_not_apply(work, "a mailbox is not there", err);
    }
    return appliers[op->kind].apply(&a);
}

/* --- records --------------------------------------------------------------------------------- */

int64_t state_undelete_ms(const struct state *st)
{
    uint64_t ms;

    if (slice_to_u64(state_value(st, S(VALUE_UNDELETE_MS)), UNDELETE_MAX_MS, &ms))
        return (int64_t)ms;
    return UNDELETE_WINDOW_MS;
}

struct state *state_begin(const struct state *st, int64_t t_ms)
{
    struct state *work = state_copy(st);

    work->seq++;
    work->t_ms = MAX(work->t_ms, t_ms);
    return work;
}

static void prune(struct ledger **l, int64_t t_ms, size_t max)
{
    if (ledger_is_stale(*l, t_ms, max))
        ledger_prune(ledger_own(l), t_ms, max);
}

int state_end(struct state *work, const struct record *rec, struct error *err)
{
    prune(&work->deliveries, work->t_ms - DELIVERY_WINDOW_MS, DELIVERIES_MAX);
    prune(&work->gone, work->t_ms - state_undelete_ms(work), GONE_MAX);
    prune(&work->vanished, work->t_ms - VANISHED_WINDOW_MS, VANISHED_MAX);
    memcpy(work->txid, rec->txid, TXID_SIZE);
    for (size_t i = 0; i < rec->n_sums; i++) {
        struct mailbox *box = state_own_mailbox(work, rec->sums[i].mailbox);

        if (!box)
            return does_not_apply(work, "sums of a mailbox that is not there", err);
        box->sum = rec->sums[i];
    }
    work->used_bytes = rec->used_bytes;
    work->used_messages = rec->used_messages;
    return 0;
}

static bool has_all(const struct mailbox *box, const struct uidset *uids)
{
    for (size_t i = 0; i < uids->n; i++) {
        const struct uid_range *r = &uids->items[i];
        uint64_t past = (uint64_t)r->last + 1;

        if (past > UINT32_MAX ||
            mailbox_index(box, (uint32_t)past) - mailbox_index(box, r->first) != past - r->first)
            return false;
    }
    return true;
}

/* Will this op apply, judged on the state before the record, whatever the ops before it do? */
static bool is_plain_op(const struct state *st, const struct op *ops, size_t at)
{
    const struct op *op = &ops[at];
    const struct mailbox *box = state_mailbox(st, op->mailbox);

    if (op->kind == OP_NOOP)
        return true;
    if (!box || (op->kind != OP_APPEND && op->kind != OP_FLAGS && op->kind != OP_EXPUNGE))
        return false;
    for (size_t i = 0; i < at; i++)
        if (ops[i].mailbox == op->mailbox &&
            (ops[i].kind == OP_EXPUNGE ||
             (ops[i].kind == OP_APPEND && op->kind == OP_APPEND && ops[i].uid >= op->uid)))
            return false;
    if (op->kind == OP_APPEND)
        return op->uid >= box->sum.uidnext && op->uid < UINT32_MAX;
    return !mailbox_needs(box, &op->uids, NULL, NULL) && has_all(box, &op->uids);
}

/* Such records are folded in place where the caller is the only holder; a record that does not
 * apply never is, so that the state is as it was. */
static bool is_plain(const struct state *st, const struct record *rec)
{
    if (rec->n_ops > PLAIN_OPS_MAX || st->closed)
        return false;
    for (size_t i = 0; i < rec->n_ops; i++)
        if (!is_plain_op(st, rec->ops, i))
            return false;
    for (size_t i = 0; i < rec->n_sums; i++)
        if (!state_mailbox(st, rec->sums[i].mailbox))
            return false;
    return true;
}

static int apply_all(struct state *work, const struct record *rec, struct error *err)
{
    for (size_t i = 0; i < rec->n_ops; i++) {
        int r = state_apply(work, &rec->ops[i], i, err);

        if (r < 0)
            return r;
    }
    return state_end(work, rec, err);
}

int state_fold(struct state *st, const struct record *rec, struct state **ret, struct error *err)
{
    struct state *work;
    int r;

    if (rec->seq != st->seq + 1)
        return error_set(err, ERR_INTERNAL, "record %" PRIu64 " does not follow state %" PRIu64,
                         rec->seq, st->seq);
    if (atomic_load_explicit(&st->refs, memory_order_acquire) == 1 && is_plain(st, rec)) {
        st->seq++;
        st->t_ms = MAX(st->t_ms, rec->t_ms);
        r = apply_all(st, rec, err);
        assert(r == 0); /* is_plain has looked at all that could fail */
        *ret = st;
        return 0;
    }
    work = state_begin(st, rec->t_ms);
    r = apply_all(work, rec, err);
    if (r < 0) {
        state_unref(work);
        return r;
    }
    state_unref(st);
    *ret = work;
    return 0;
}

void state_fold_needs(const struct state *st, const struct record *rec, need_fn *need, void *ctx)
{
    for (size_t i = 0; i < rec->n_ops; i++) {
        const struct op *op = &rec->ops[i];
        const struct mailbox *box = state_mailbox(st, op->mailbox);

        if (box && op->kind == OP_DELETE)
            mailbox_needs(box, NULL, need, ctx);
        else if (box && op->uids.n)
            mailbox_needs(box, &op->uids, need, ctx);
    }
}
