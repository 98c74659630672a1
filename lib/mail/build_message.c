/* SPDX-License-Identifier: MPL-2.0 */
/* Intents about messages: append, deliver, flags, expunge, copy, move, undelete. */
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/mail/build_impl.h"

#define DATE_MAX ((int64_t)1 << 40) /* as in record.c */

static uint64_t number(const struct state *st, struct slice key)
{
    uint64_t v;

    return slice_to_u64(state_value(st, key), UINT64_MAX, &v) ? v : UINT64_MAX;
}

static bool above(uint64_t used, uint64_t more, uint64_t quota)
{
    return used > quota || more > quota - used;
}

/* I26: at commit, on the state that the intents before leave. */
static int check_quota(const struct builder *b, struct intent *it, uint64_t bytes,
                       uint64_t messages)
{
    const struct state *st = b->work;

    if (above(st->used_bytes, bytes, number(st, S(VALUE_QUOTA_BYTES))) ||
        above(st->used_messages, messages, number(st, S(VALUE_QUOTA_MESSAGES))))
        return refuse(it, ERR_QUOTA, "the account is over its quota");
    return 0;
}

/* Checks flags from outside; keywords get the spelling that the account has, sorted, in the arena.
 * `making`: they are put on messages, so that new keywords count against the limit. */
static int take_flags(struct builder *b, struct intent *it, bool making, struct flags *ret)
{
    const struct flags *in = &it->flags;
    size_t unknown = 0, known = flagsets_keywords_count(b->work->flagsets);

    *ret = (struct flags){.system = in->system};
    if (in->system & ~FLAGS_ALL)
        return refuse(it, ERR_INVALID, "a system flag that cannot be set");
    if (in->n_keywords > b->limits->keywords_max)
        return refuse(it, ERR_LIMIT, "too many keywords");
    ret->keywords = arena_array(b->arena, in->n_keywords, sizeof *ret->keywords);
    for (size_t i = 0; i < in->n_keywords; i++) {
        if (!keyword_valid(in->keywords[i]))
            return refuse(it, ERR_INVALID, "a keyword must be an atom of at most 100 characters");
        if (!flagsets_keyword(b->work->flagsets, in->keywords[i], &ret->keywords[i])) {
            ret->keywords[i] = arena_slice(b->arena, in->keywords[i]);
            unknown++;
        }
    }
    ret->n_keywords = keywords_sort(ret->keywords, in->n_keywords);
    if (flagsets_bytes(b->work->flagsets) >= 4 * FLAGSETS_BYTES_MAX)
        return refuse(it, ERR_LIMIT, "too many different sets of flags in the account");
    if (!making)
        return 0;
    if (ret->n_keywords > KEYWORDS_PER_MESSAGE)
        return refuse(it, ERR_LIMIT, "too many keywords on one message");
    if (unknown && known + unknown > b->limits->keywords_max)
        return refuse(it, ERR_LIMIT, "too many different keywords in the account");
    if (ret->n_keywords && (flagsets_count(b->work->flagsets) >= FLAGSETS_MAX ||
                            flagsets_bytes(b->work->flagsets) >= FLAGSETS_BYTES_MAX))
        return refuse(it, ERR_LIMIT, "too many different sets of keywords in the account");
    return 0;
}

int judge_append(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box = builder_target(b, it);
    struct flags flags;
    struct op *op;
    int r;

    if (!box)
        return refuse_missing(it);
    it->mailbox_id = box->id;
    it->uidvalidity = box->uidvalidity;
    if (it->kind == INTENT_DELIVER && state_has_delivery(b->work, it->delivery)) {
        it->duplicate = it->nothing = true; /* I24 */
        return 0;
    }
    if (item->size > UINT32_MAX)
        return refuse(it, ERR_TOOBIG, "the message is too large");
    if (it->date < -DATE_MAX || it->date > DATE_MAX)
        return refuse(it, ERR_INVALID, "the date is out of range");
    if (box->sum.uidnext == UINT32_MAX)
        return refuse(it, ERR_LIMIT, "the mailbox has used up its uids");
    r = take_flags(b, it, true, &flags);
    if (r == 0)
        r = check_quota(b, it, item->size, 1);
    if (r < 0)
        return r;
    op = builder_op(b, OP_APPEND);
    op->mailbox = box->id;
    op->uid = it->uid = box->sum.uidnext;
    op->message = it->message_id = item->message;
    op->size = (uint32_t)item->size;
    op->date = it->date || it->has_date ? it->date : b->work->t_ms / 1000;
    op->add = flags;
    op->has_delivery = it->kind == INTENT_DELIVER;
    memcpy(op->delivery, it->delivery, DELIVERY_HASH_SIZE);
    return 0;
}

int judge_undelete(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box = builder_target(b, it);
    uint32_t size;
    struct op *op;
    int r;

    if (!box)
        return refuse_missing(it);
    if (!state_gone(b->work, it->message, NULL, &size))
        return refuse(it, ERR_NOTFOUND, "the message cannot be brought back any more");
    if (box->sum.uidnext == UINT32_MAX)
        return refuse(it, ERR_LIMIT, "the mailbox has used up its uids");
    r = check_quota(b, it, size, 1);
    if (r < 0)
        return r;
    op = builder_op(b, OP_UNDELETE);
    op->mailbox = it->mailbox_id = box->id;
    op->uid = it->uid = box->sum.uidnext;
    op->message = it->message;
    it->uidvalidity = box->uidvalidity;
    return 0;
}

/* Walks the messages of a mailbox whose uids are in a set. */
struct pick {
    const struct uidset *uids;
    struct mailbox_iter at;
    size_t range;
    bool inside;
};

static bool pick_next(struct pick *p, struct message *ret)
{
    for (; p->range < p->uids->n; p->range++, p->inside = false) {
        const struct uid_range *r = &p->uids->items[p->range];

        if (!p->inside)
            p->at = mailbox_iter(p->at.box, r->first);
        p->inside = true;
        if (mailbox_next_to(&p->at, r->last, ret))
            return true;
    }
    return false;
}

static struct pick pick(const struct mailbox *box, const struct uidset *uids)
{
    return (struct pick){.uids = uids, .at = {.box = box}};
}

/* --- flags ----------------------------------------------------------------------------------- */

struct flagging {
    struct builder *b;
    enum flags_how how;
    struct flags flags;
    struct flagmemo outcomes;
    VEC(struct slice) removed; /* replace: keywords of the messages that are not among the new */
};

static const struct flagset *replaced(struct flagging *f, const struct flagset *old)
{
    struct flags remove = {.system = (uint8_t)(FLAGS_ALL & ~f->flags.system)};
    struct flagset wanted = {.keywords = f->flags.keywords, .n_keywords = f->flags.n_keywords};
    size_t from = f->removed.n;

    for (size_t i = 0; i < old->n_keywords; i++)
        if (!flagset_has_keyword(&wanted, old->keywords[i]))
            *VEC_PUSH(&f->removed) = old->keywords[i];
    remove.keywords = f->removed.n > from ? f->removed.items + from : NULL;
    remove.n_keywords = f->removed.n - from;
    return flagsets_change(f->b->work->flagsets, old, &f->flags, &remove);
}

static const struct flagset *outcome_of(struct flagging *f, const struct flagset *old)
{
    struct flagsets *t = f->b->work->flagsets;
    const struct flagset *new = flagmemo_get(&f->outcomes, old->index);

    if (new)
        return new;
    if (f->how == FLAGS_REPLACE)
        new = replaced(f, old);
    else
        new = f->how == FLAGS_ADD ? flagsets_change(t, old, &f->flags, NULL)
                                  : flagsets_change(t, old, NULL, &f->flags);
    flagmemo_put(&f->outcomes, old->index, new);
    return new;
}

/* Fills in done and late. */
static int flag_messages(struct flagging *f, struct intent *it, const struct mailbox *box)
{
    struct pick p = pick(box, &it->uids);
    struct message m;

    while (pick_next(&p, &m)) {
        const struct flagset *new;

        if (it->has_since && m.modseq > it->since + (PLANTED(since_ignored) ? 3 : 0)) {
            uidset_add(&it->late, m.uid); /* I12 */
            continue;
        }
        new = outcome_of(f, m.flags);
        if (new == m.flags)
            continue; /* I5 */
        if (new->n_keywords > KEYWORDS_PER_MESSAGE &&new->n_keywords > m.flags->n_keywords)
            return refuse(it, ERR_LIMIT, "too many keywords on one message");
        uidset_add(&it->done, m.uid);
    }
    return 0;
}

static void add_flags_op(struct flagging *f, const struct intent *it, const struct mailbox *box)
{
    struct op *op = builder_op(f->b, OP_FLAGS);
    size_t n = f->removed.n;

    op->mailbox = box->id;
    op->uids = it->done;
    if (f->how == FLAGS_REMOVE) {
        op->remove = f->flags;
        return;
    }
    op->add = f->flags;
    if (f->how == FLAGS_ADD)
        return;
    op->remove.system = (uint8_t)(FLAGS_ALL & ~f->flags.system);
    op->remove.keywords = arena_array(f->b->arena, n, sizeof *op->remove.keywords);
    if (n)
        memcpy(op->remove.keywords, f->removed.items, n * sizeof *f->removed.items);
    op->remove.n_keywords = keywords_sort(op->remove.keywords, n);
}

int judge_flags(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box = state_mailbox(b->work, it->mailbox);
    struct flagging f = {.b = b, .how = it->how};
    int r;

    if (!box)
        return refuse_missing(it);
    r = take_flags(b, it, it->how != FLAGS_REMOVE, &f.flags);
    if (r < 0)
        return r;
    if (mailbox_needs(box, &it->uids, NULL, NULL))
        return BUILD_NOT_LOADED;
    r = flag_messages(&f, it, box);
    it->nothing = !it->done.n;
    if (r == 0 && it->done.n)
        add_flags_op(&f, it, box);
    flagmemo_done(&f.outcomes);
    VEC_DONE(&f.removed);
    return r;
}

/* --- expunge, copy, move --------------------------------------------------------------------- */

int judge_expunge(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box = state_mailbox(b->work, it->mailbox);
    struct message m;
    struct pick p;
    struct op *op;

    if (!box)
        return refuse_missing(it);
    it->nothing = true;
    if (it->only_deleted && !it->all_there && !box->sum.deleted)
        return 0;
    if (mailbox_needs(box, &it->uids, NULL, NULL))
        return BUILD_NOT_LOADED;
    p = pick(box, &it->uids);
    while (pick_next(&p, &m))
        if (!it->only_deleted || m.flags->system & FLAG_DELETED)
            uidset_add(&it->done, m.uid);
    if (it->all_there && uidset_count(&it->done) != uidset_count(&it->uids))
        return refuse(it, ERR_CONFLICT, "the message is not there any more");
    if (!it->done.n)
        return 0;
    it->nothing = false;
    op = builder_op(b, OP_EXPUNGE);
    op->mailbox = box->id;
    op->uids = it->done;
    return 0;
}

int judge_transfer(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box = state_mailbox(b->work, it->mailbox);
    const struct mailbox *target = builder_target(b, it);
    uint64_t bytes = 0, n = 0;
    struct message m;
    struct pick p;
    struct op *op;

    if (!box || !target)
        return refuse_missing(it);
    if (mailbox_needs(box, &it->uids, NULL, NULL))
        return BUILD_NOT_LOADED;
    it->mailbox_id = target->id;
    it->uidvalidity = target->uidvalidity;
    for (p = pick(box, &it->uids); pick_next(&p, &m); n++, bytes += m.size)
        uidset_add(&it->done, m.uid);
    it->nothing = n == 0;
    if (it->nothing)
        return 0;
    if (n > UINT32_MAX - target->sum.uidnext)
        return refuse(it, ERR_LIMIT, "the mailbox has used up its uids");
    if (it->kind == INTENT_COPY) {
        int r = check_quota(b, it, bytes, n);

        if (r < 0)
            return r;
    }
    op = builder_op(b, it->kind == INTENT_COPY ? OP_COPY : OP_MOVE);
    op->mailbox = box->id;
    op->target = target->id;
    op->uid = it->uid = target->sum.uidnext;
    op->uids = it->done;
    return 0;
}
