/* SPDX-License-Identifier: MPL-2.0 */
/* Intents about mailboxes and the account: create, rename, delete, subscribe, values, close. */
#include "lib/base/mem.h"
#include "lib/mail/build_impl.h"

#define USES_ALL 255u
#define KEY_MAX  255

static size_t depth_of(struct slice name)
{
    size_t depth = 1;

    for (size_t i = 0; i < name.n; i++)
        depth += name.p[i] == '/';
    return depth;
}

/* A mailbox name from outside as it will be, in the arena. */
static int take_name(struct builder *b, struct intent *it, struct slice name, struct slice *ret)
{
    CLEANUP(buf_done) struct buf proper = buf_make(NAME_MAX_BYTES);
    const struct build_limits *limits = b->limits;
    int r = name_normalise(name, &proper, &it->error);

    if (r < 0)
        return r;
    if (limits->name_max && proper.n > limits->name_max)
        return refuse(it, ERR_LIMIT, "the mailbox name is too long");
    if (limits->name_depth && depth_of(buf_slice(&proper)) > limits->name_depth)
        return refuse(it, ERR_LIMIT, "the mailbox name has too many levels");
    *ret = arena_slice(b->arena, buf_slice(&proper));
    return 0;
}

/* Bytes of names and values may not grow without end: all of them are in every manifest. */
static int check_total(const struct builder *b, struct intent *it, size_t more)
{
    const struct state *st = b->work;
    size_t total = names_bytes(st->subscribed) + values_bytes(st->values) + more;

    for (size_t i = 0; i < st->n_mailboxes; i++)
        total += strlen(st->mailboxes[i]->name) + values_bytes(st->mailboxes[i]->values);
    if (more && total > NAMES_TOTAL_MAX)
        return refuse(it, ERR_LIMIT, "too many long names or values in the account");
    return 0;
}

/* --- create ---------------------------------------------------------------------------------- */

static int add_create(struct builder *b, struct intent *it, struct slice name, uint32_t uses)
{
    uint64_t uidvalidity = (uint64_t)b->work->last_uidvalidity + 1, quota;
    struct op *op;

    for (size_t i = 0; i < b->fresh.n; i++)
        uidvalidity = MAX(uidvalidity, (uint64_t)b->fresh.items[i].uidvalidity + 1);
    uidvalidity = MAX(uidvalidity, b->work->seq);
    if (uidvalidity > UINT32_MAX)
        return refuse(it, ERR_LIMIT, "the account has used up its UIDVALIDITY values");
    if (b->work->n_mailboxes + b->fresh.n >= b->limits->mailboxes_max)
        return refuse(it, ERR_LIMIT, "too many mailboxes");
    if (slice_to_u64(state_value(b->work, S(VALUE_QUOTA_MAILBOXES)), UINT64_MAX, &quota) &&
        b->work->n_mailboxes + b->fresh.n >= quota)
        return refuse(it, ERR_QUOTA, "the account may have no more mailboxes");
    op = builder_op(b, OP_CREATE);
    op->mailbox = MAILBOX_ID(b->work->seq, b->ops.n + b->fresh.n - 1);
    op->name = name;
    op->uidvalidity = (uint32_t)uidvalidity;
    op->uses = uses & USES_ALL;
    return 0;
}

/* RFC 3501 section 6.3.3: "the server SHOULD create any superior hierarchical names that are
 * needed". */
static int add_superiors(struct builder *b, struct intent *it, struct slice name)
{
    for (size_t i = 1; i < name.n; i++) {
        struct slice superior = slice_sub(name, 0, i);
        int r;

        if (name.p[i] != '/' || state_mailbox_named(b->work, superior))
            continue;
        r = add_create(b, it, superior, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

static struct op *add_uses(struct builder *b, uint64_t mailbox, uint32_t uses)
{
    struct op *op = builder_op(b, OP_SET);

    op->mailbox = mailbox;
    op->has_uses = true;
    op->uses = uses;
    return op;
}

/* RFC 6154 section 3: "This might have the effect of moving the special use from the old mailbox to
 * the new one": so that clients never have to choose between two. */
static void take_uses(struct builder *b, uint64_t from_all_but, uint32_t uses)
{
    for (size_t i = 0; uses && i < b->work->n_mailboxes; i++) {
        const struct mailbox *box = b->work->mailboxes[i];

        if (box->uses & uses && box->id != from_all_but)
            add_uses(b, box->id, box->uses & ~uses);
    }
}

/* Creates name, which is not there yet, with its superiors. */
static int create_all(struct builder *b, struct intent *it, struct slice name, uint32_t uses)
{
    size_t bytes = 0;
    int r = add_superiors(b, it, name);

    if (r == 0)
        r = add_create(b, it, name, uses);
    if (r < 0)
        return r;
    for (size_t i = 0; i < b->fresh.n; i++)
        bytes += b->fresh.items[i].name.n;
    it->mailbox_id = b->fresh.items[b->fresh.n - 1].mailbox;
    it->uidvalidity = b->fresh.items[b->fresh.n - 1].uidvalidity;
    take_uses(b, it->mailbox_id, uses);
    return check_total(b, it, bytes);
}

int judge_create(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    struct slice name;
    int r = take_name(b, it, it->name, &name);

    if (r < 0)
        return r;
    if (state_mailbox_named(b->work, name))
        return refuse(it, ERR_EXISTS, "a mailbox of that name exists");
    return create_all(b, it, name, it->uses);
}

/* --- rename ---------------------------------------------------------------------------------- */

static bool is_below(struct slice name, struct slice superior)
{
    return name.n > superior.n && name.p[superior.n] == '/' && slice_starts(name, superior);
}

/* RFC 5464 section 4.1: "mailbox annotations are preserved on the INBOX when it is renamed", and
 * the new mailbox has them too. */
static int copy_values(struct builder *b, struct intent *it, const struct mailbox *from,
                       uint64_t to)
{
    for (size_t i = 0; i < from->values->n; i++) {
        struct op *op = builder_op(b, OP_SET);

        op->mailbox = to;
        op->key = arena_slice(b->arena, from->values->items[i].key);
        op->value = arena_slice(b->arena, from->values->items[i].value);
    }
    return check_total(b, it, values_bytes(from->values));
}

/* RFC 3501 section 6.3.5: "Renaming INBOX is permitted, and has special behavior. It moves all
 * messages in INBOX to a new mailbox with the given name, leaving INBOX empty." */
static int rename_inbox(struct builder *b, struct intent *it, const struct mailbox *inbox,
                        struct slice name)
{
    struct message m;
    struct op *op;
    int r;

    if (mailbox_needs(inbox, NULL, NULL, NULL))
        return BUILD_NOT_LOADED;
    r = create_all(b, it, name, 0);
    if (r == 0)
        r = copy_values(b, it, inbox, it->mailbox_id);
    if (r < 0)
        return r;
    for (struct mailbox_iter i = mailbox_iter(inbox, 0); mailbox_next(&i, &m);)
        uidset_add(&it->done, m.uid);
    if (!it->done.n)
        return 0;
    op = builder_op(b, OP_MOVE);
    op->mailbox = inbox->id;
    op->target = it->mailbox_id;
    op->uid = it->uid = 1;
    op->uids = it->done;
    return 0;
}

static int compare_lengths(const void *a, const void *b)
{
    size_t x = strlen((*(const struct mailbox *const *)a)->name);
    size_t y = strlen((*(const struct mailbox *const *)b)->name);

    return (x > y) - (x < y);
}

/* The mailbox `old` and its inferiors, shortest names first: so that a new name that is the old one
 * of another in the same tree ("a/b" to "a" with "a/b/b") is free when its turn comes. */
static const struct mailbox **whole_tree(struct builder *b, struct slice old, size_t *ret_n)
{
    const struct mailbox **boxes = arena_array(b->arena, b->work->n_mailboxes, sizeof *boxes);
    size_t n = 0;

    for (size_t i = 0; i < b->work->n_mailboxes; i++) {
        struct slice name = slice_str(b->work->mailboxes[i]->name);

        if (slice_eq(name, old) || is_below(name, old))
            boxes[n++] = b->work->mailboxes[i];
    }
    qsort(boxes, n, sizeof *boxes, compare_lengths);
    *ret_n = n;
    return boxes;
}

/* Could a name below this one be taken? Else there is no need to look for each. */
static bool any_below(const struct builder *b, struct slice name)
{
    for (size_t i = 0; i < b->work->n_mailboxes; i++)
        if (is_below(slice_str(b->work->mailboxes[i]->name), name))
            return true;
    return false;
}

/* *growth: bytes by which names get longer. */
static int add_rename(struct builder *b, struct intent *it, struct slice old,
                      const struct mailbox *box, struct slice to, bool look, size_t *growth)
{
    struct slice from = slice_str(box->name), name;
    const char *text = arena_printf(b->arena, "%.*s%s", SLICE_FMT(to), box->name + old.n);
    const struct mailbox *there = look ? state_mailbox_named(b->work, slice_str(text)) : NULL;
    struct op *op;
    int r;

    if (there && !slice_eq(slice_str(there->name), old) && !is_below(slice_str(there->name), old))
        return refuse(it, ERR_EXISTS, "a mailbox of that name, or one below it, exists");
    r = take_name(b, it, slice_str(text), &name);
    if (r < 0)
        return r;
    *growth += name.n > from.n ? name.n - from.n : 0;
    op = builder_op(b, OP_RENAME);
    op->mailbox = box->id;
    op->name = name;
    return 0;
}

static int rename_tree(struct builder *b, struct intent *it, struct slice old, struct slice name)
{
    const struct mailbox **boxes;
    size_t n, growth = 0;
    bool look = any_below(b, name);
    int r;

    if (is_below(name, old))
        return refuse(it, ERR_NOPERM, "a mailbox cannot be moved below itself");
    boxes = whole_tree(b, old, &n);
    if (!n)
        return refuse_missing(it);
    r = add_superiors(b, it, name);
    for (size_t i = 0; i < n && r == 0; i++)
        r = add_rename(b, it, old, boxes[i], name, look, &growth);
    return r < 0 ? r : check_total(b, it, growth);
}

/* RFC 3501 section 6.3.5 renames a \Noselect name, too (its example): a level that only has
 * inferiors. */
int judge_rename(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box;
    struct slice name, old = {NULL, 0};
    int r = take_name(b, it, it->name, &name);

    if (r < 0)
        return r;
    if (!it->mailbox)
        r = take_name(b, it, it->from, &old);
    if (r < 0)
        return refuse_missing(it);
    box = it->mailbox ? state_mailbox(b->work, it->mailbox) : state_mailbox_named(b->work, old);
    if (!box && it->mailbox)
        return refuse_missing(it);
    if (state_mailbox_named(b->work, name))
        return refuse(it, ERR_EXISTS, "a mailbox of that name exists");
    if (box && state_is_inbox(box))
        return rename_inbox(b, it, box, name);
    it->mailbox_id = box ? box->id : 0;
    it->uidvalidity = box ? box->uidvalidity : 0;
    return rename_tree(b, it, box ? slice_str(box->name) : old, name);
}

/* --- the others ------------------------------------------------------------------------------ */

int judge_delete(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box =
        it->mailbox ? state_mailbox(b->work, it->mailbox) : state_mailbox_named(b->work, it->name);

    if (!box)
        return refuse_missing(it);
    if (state_is_inbox(box))
        return refuse(it, ERR_NOPERM, "INBOX cannot be deleted");
    if (mailbox_needs(box, NULL, NULL, NULL))
        return BUILD_NOT_LOADED;
    builder_op(b, OP_DELETE)->mailbox = it->mailbox_id = box->id;
    return 0;
}

/* RFC 3501 section 6.3.6 lets the name be one that does not exist. */
int judge_subscribe(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    struct slice name;
    struct op *op;
    int r = take_name(b, it, it->name, &name);

    if (r < 0)
        return r;
    it->nothing = state_is_subscribed(b->work, name) == it->on;
    if (it->nothing)
        return 0;
    if (it->on && b->work->subscribed->n >= b->limits->mailboxes_max)
        return refuse(it, ERR_LIMIT, "too many subscriptions");
    op = builder_op(b, OP_SUBSCRIBE);
    op->name = name;
    op->on = it->on;
    return check_total(b, it, it->on ? name.n : 0);
}

/* RFC 5464 section 7: "servers MUST ensure that size limits are enforced" */
static int check_metadata(const struct builder *b, struct intent *it, const struct values *values)
{
    const struct build_limits *limits = b->limits;
    size_t n = 0;

    if (!it->key.n || it->key.p[0] != '/' || !it->value.n)
        return 0;
    if (limits->metadata_max && it->value.n - 1 > limits->metadata_max)
        return refuse(it, ERR_TOOBIG, "the annotation is too long");
    for (size_t i = 0; i < values->n; i++)
        n += values->items[i].key.p[0] == '/';
    if (limits->metadata_entries && n >= limits->metadata_entries && !values_get(values, it->key).n)
        return refuse(it, ERR_LIMIT, "too many annotations");
    return 0;
}

static int take_value(struct builder *b, struct intent *it, const struct values *values,
                      struct op *op)
{
    int r;

    if (!it->key.n || it->key.n > KEY_MAX || slice_find(it->key, 0) >= 0)
        return refuse(it, ERR_INVALID, "a key has 1 to 255 bytes and no NUL");
    if (it->value.n > VALUE_MAX)
        return refuse(it, ERR_TOOBIG, "a value is too long");
    it->nothing = slice_eq(values_get(values, it->key), it->value) ||
                  (it->if_absent && values_get(values, it->key).n);
    if (it->nothing) {
        b->fresh.n--;
        return 0;
    }
    r = check_metadata(b, it, values);
    if (r < 0)
        return r;
    op->key = arena_slice(b->arena, it->key);
    op->value = arena_slice(b->arena, it->value);
    return check_total(b, it, it->value.n ? it->key.n + it->value.n : 0);
}

int judge_set(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    const struct mailbox *box = state_mailbox(b->work, it->mailbox);
    uint32_t uses = it->uses & USES_ALL;
    struct op *op;

    if (!box)
        return refuse_missing(it);
    it->mailbox_id = box->id;
    if (it->key.n) {
        op = builder_op(b, OP_SET);
        op->mailbox = box->id;
        return take_value(b, it, box->values, op);
    }
    it->nothing = box->uses == uses;
    if (it->nothing)
        return 0;
    take_uses(b, box->id, uses);
    add_uses(b, box->id, uses);
    return 0;
}

static bool is_number(struct slice key)
{
    return slice_eq(key, S(VALUE_QUOTA_BYTES)) || slice_eq(key, S(VALUE_QUOTA_MESSAGES)) ||
           slice_eq(key, S(VALUE_QUOTA_MAILBOXES)) || slice_eq(key, S(VALUE_UNDELETE_MS)) ||
           slice_eq(key, S(VALUE_EXPIRE_MS));
}

int judge_account(struct builder *b, struct build_item *item)
{
    struct intent *it = item->intent;
    uint64_t v;

    if (is_number(it->key) && it->value.n && !slice_to_u64(it->value, UINT64_MAX, &v))
        return refuse(it, ERR_INVALID, "this value must be a number");
    return take_value(b, it, b->work->values, builder_op(b, OP_ACCOUNT));
}

int judge_close(struct builder *b, struct build_item *item)
{
    builder_op(b, OP_CLOSE);
    return 0;
}
