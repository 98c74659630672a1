/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/build.h"

#include "lib/base/mem.h"
#include "lib/mail/build_impl.h"

static judge_fn *const judges[INTENT_KINDS_] = {
    [INTENT_APPEND] = judge_append,     [INTENT_DELIVER] = judge_append,
    [INTENT_FLAGS] = judge_flags,       [INTENT_EXPUNGE] = judge_expunge,
    [INTENT_COPY] = judge_transfer,     [INTENT_MOVE] = judge_transfer,
    [INTENT_CREATE] = judge_create,     [INTENT_RENAME] = judge_rename,
    [INTENT_DELETE] = judge_delete,     [INTENT_SUBSCRIBE] = judge_subscribe,
    [INTENT_SET] = judge_set,           [INTENT_ACCOUNT] = judge_account,
    [INTENT_UNDELETE] = judge_undelete, [INTENT_CLOSE] = judge_close,
};

int refuse(struct intent *it, enum err kind, const char *why)
{
    return error_set(&it->error, kind, "%s", why);
}

int refuse_missing(struct intent *it)
{
    return refuse(it, ERR_NOTFOUND, "the mailbox does not exist");
}

struct op *builder_op(struct builder *b, enum op_kind kind)
{
    struct op *op = VEC_PUSH(&b->fresh);

    *op = (struct op){.kind = kind};
    return op;
}

const struct mailbox *builder_target(const struct builder *b, const struct intent *it)
{
    const struct mailbox *box =
        it->name.n ? state_mailbox_named(b->work, it->name) : state_mailbox(b->work, it->mailbox);

    if (!box && it->kind == INTENT_DELIVER && it->else_inbox)
        box = state_mailbox_named(b->work, S("INBOX"));
    return box;
}

/* What an earlier call of build_record may have left. */
static void clear_results(struct intent *it)
{
    it->result = 0;
    it->error = (struct error){0};
    it->seq = it->mailbox_id = 0;
    it->nothing = it->duplicate = false;
    it->uidvalidity = it->uid = 0;
    it->message_id = 0;
    uidset_clear(&it->done);
    uidset_clear(&it->late);
}

static int judge(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;

    clear_results(it);
    if ((unsigned)it->kind >= INTENT_KINDS_)
        return refuse(it, ERR_INVALID, "an unknown kind of intent");
    if (b->work->closed)
        return refuse(it, ERR_NOPERM, "the account is deleted");
    return judges[it->kind](b, item);
}

/* Takes the fresh ops into the record and applies them. False: the record is full. */
static bool accept(struct builder *b, int *ret_r, struct error *err)
{
    size_t n = b->ops.n + b->fresh.n, before = b->encoded.n;
    size_t sums = MIN(2 * n, b->work->n_mailboxes + b->fresh.n);
    size_t max = b->limits->record_max ? b->limits->record_max : STORE_HEAD_MAX;

    *ret_r = 0;
    for (size_t i = 0; i < b->fresh.n; i++)
        record_encode_op(&b->fresh.items[i], &b->encoded);
    if (n > RECORD_OPS_MAX || buf_full(&b->encoded) || b->encoded.n + record_overhead(sums) > max) {
        b->encoded.n = before;
        b->encoded.full = false;
        return false;
    }
    for (size_t i = 0; i < b->fresh.n && *ret_r == 0; i++) {
        *VEC_PUSH(&b->ops) = b->fresh.items[i];
        *ret_r = state_apply(b->work, &b->fresh.items[i], b->ops.n - 1, err);
    }
    return true;
}

/* How much of the record there was before a group. */
struct mark {
    struct state *work;
    size_t ops, encoded;
};

static struct mark mark_set(struct builder *b)
{
    struct mark m = {b->work, b->ops.n, b->encoded.n};

    b->work = state_copy(m.work);
    return m;
}

static void mark_back(struct builder *b, struct mark *m)
{
    state_unref(b->work);
    b->work = TAKE(m->work);
    b->ops.n = m->ops;
    b->encoded.n = m->encoded;
}

static void give_all(struct build_item *items, size_t n, const struct intent *cause, int result)
{
    struct error error = cause->error;

    for (size_t i = 0; i < n; i++) {
        clear_results(items[i].intent);
        items[i].intent->result = result;
        items[i].intent->error = error;
    }
}

enum verdict { TAKEN, FULL, NOT_LOADED, BROKEN };

/* One group of n intents, mostly 1: all or nothing. BROKEN: *ret_r says why (a bug). */
static enum verdict build_group(struct builder *b, struct build_item *items, size_t n, int *ret_r,
                                struct error *err)
{
    struct mark mark = {0};
    enum verdict verdict = TAKEN;
    size_t before = b->ops.n;

    if (n > 1)
        mark = mark_set(b);
    for (size_t i = 0; i < n && verdict == TAKEN; i++) {
        struct intent *it = items[i].intent;
        int r;

        b->fresh.n = 0;
        r = judge(b, &items[i]);
        if (r == 0 && !accept(b, ret_r, err)) {
            if (before) {
                verdict = FULL;
                break;
            }
            r = refuse(it, ERR_LIMIT, "too much for one record");
        }
        if (*ret_r < 0)
            verdict = BROKEN;
        else if (r == BUILD_NOT_LOADED)
            verdict = NOT_LOADED;
        it->result = r;
        if (r == 0)
            continue;
        give_all(items, n, it, r);
        if (mark.work)
            mark_back(b, &mark);
        return verdict;
    }
    if (verdict != TAKEN && mark.work)
        mark_back(b, &mark);
    state_unref(mark.work);
    return verdict;
}

static size_t group_size(const struct build_item *items, size_t n)
{
    size_t size = 1;

    while (size < n && items[size - 1].intent->in_one_record_with_next)
        size++;
    return size;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The sums of all mailboxes that the ops name and that are there after them. */
static void add_sums(struct record *rec, const struct state *work, struct arena *arena)
{
    uint64_t *ids = mem_realloc(NULL, 2 * rec->n_ops, sizeof *ids);
    size_t n = 0;

    for (size_t i = 0; i < rec->n_ops; i++) {
        ids[n++] = rec->ops[i].mailbox;
        ids[n++] = rec->ops[i].target;
    }
    qsort(ids, n, sizeof *ids, compare_ids);
    rec->sums = arena_array(arena, n, sizeof *rec->sums);
    for (size_t i = 0; i < n; i++) {
        const struct mailbox *box = state_mailbox(work, ids[i]);

        if (box && (!i || ids[i] != ids[i - 1]))
            rec->sums[rec->n_sums++] = box->sum;
    }
    free(ids);
    rec->used_bytes = work->used_bytes;
    rec->used_messages = work->used_messages;
}

static int finish(struct builder *b, const uint8_t txid[TXID_SIZE], struct built *ret,
                  struct error *err)
{
    struct record *rec = &ret->rec;
    int r;

    rec->seq = b->work->seq;
    rec->t_ms = b->work->t_ms;
    memcpy(rec->txid, txid, TXID_SIZE);
    rec->n_ops = b->ops.n;
    rec->ops = arena_array(&ret->arena, b->ops.n, sizeof *rec->ops);
    if (b->ops.n)
        memcpy(rec->ops, b->ops.items, b->ops.n * sizeof *rec->ops);
    add_sums(rec, b->work, &ret->arena);
    r = state_end(b->work, rec, err);
    if (r < 0)
        return r;
    record_encode(rec, &ret->bytes);
    ret->st = TAKE(b->work);
    return 0;
}

static void builder_done(struct builder *b)
{
    state_unref(b->work);
    VEC_DONE(&b->ops);
    VEC_DONE(&b->fresh);
    buf_done(&b->encoded);
}

/* 0; -ERR_UNAVAILABLE or a bug. */
static int take_items(struct builder *b, struct build_item *items, size_t n, size_t *ret_taken,
                      struct error *err)
{
    size_t taken = 0, size;
    int r = 0;

    for (; taken < n; taken += size) {
        enum verdict verdict;

        size = group_size(items + taken, n - taken);
        verdict = build_group(b, items + taken, size, &r, err);
        if (verdict == BROKEN)
            return r;
        if (verdict == NOT_LOADED && !taken)
            return error_set(err, ERR_UNAVAILABLE, "a segment that an intent needs is not loaded");
        if (verdict != TAKEN)
            break;
    }
    *ret_taken = taken;
    return 0;
}

int build_record(const struct state *st, struct build_item *items, size_t n, int64_t t_ms,
                 const uint8_t txid[TXID_SIZE], const struct build_limits *limits,
                 struct built *ret, struct error *err)
{
    struct built built = {.bytes = buf_make(STORE_HEAD_MAX)};
    struct builder b = {.limits = limits,
                        .work = state_begin(st, t_ms),
                        .arena = &built.arena,
                        .encoded = buf_make(STORE_HEAD_MAX)};
    int r = take_items(&b, items, n, &built.taken, err);

    if (r == 0 && b.ops.n)
        r = finish(&b, txid, &built, err);
    builder_done(&b);
    if (r < 0) {
        built_done(&built);
        return r;
    }
    for (size_t i = 0; i < built.taken; i++)
        items[i].intent->seq = built.bytes.n ? built.rec.seq : st->seq;
    *ret = built;
    return 0;
}

void build_noop(const struct state *st, int64_t t_ms, const uint8_t txid[TXID_SIZE],
                struct built *ret)
{
    struct builder b = {.work = state_begin(st, t_ms)};
    int r;

    *ret = (struct built){.bytes = buf_make(STORE_HEAD_MAX)};
    *VEC_PUSH(&b.ops) = (struct op){.kind = OP_NOOP};
    r = finish(&b, txid, ret, NULL);
    (void)r; /* fails only for sums of mailboxes that are not there; there are none */
    builder_done(&b);
}

void built_done(struct built *built)
{
    state_unref(TAKE(built->st));
    buf_done(&built->bytes);
    arena_done(&built->arena);
}

void build_needs(const struct state *st, const struct build_item *items, size_t n, need_fn *need,
                 void *ctx)
{
    for (size_t i = 0; i < n; i++) {
        const struct intent *it = items[i].intent;
        const struct mailbox *box = state_mailbox(st, it->mailbox);

        if (it->kind == INTENT_DELETE && !it->mailbox)
            box = state_mailbox_named(st, it->name);
        if (it->kind == INTENT_RENAME && !it->mailbox)
            box = state_mailbox_named(st, it->from);
        if (!box ||
            (it->kind == INTENT_EXPUNGE && it->only_deleted && !it->all_there && !box->sum.deleted))
            continue;
        if (it->kind == INTENT_DELETE || (it->kind == INTENT_RENAME && state_is_inbox(box)))
            mailbox_needs(box, NULL, need, ctx);
        else if (it->kind == INTENT_FLAGS || it->kind == INTENT_EXPUNGE ||
                 it->kind == INTENT_COPY || it->kind == INTENT_MOVE)
            mailbox_needs(box, &it->uids, need, ctx);
    }
}
