/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/state_impl.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define SEGMENT_SMALL (SEGMENT_MESSAGES / 4)

/* --- mailboxes ------------------------------------------------------------------------------- */

struct mailbox *mailbox_new(uint64_t id, struct slice name, struct flagsets *flagsets)
{
    struct mailbox *box = NEW(struct mailbox);

    box->refs = 1;
    box->id = box->sum.mailbox = id;
    box->name = slice_dup(name);
    box->sum.uidnext = 1;
    box->values = values_new();
    box->flagsets = flagsets_ref(flagsets);
    return box;
}

struct mailbox *mailbox_ref(struct mailbox *box)
{
    atomic_fetch_add_explicit(&box->refs, 1, memory_order_relaxed);
    return box;
}

void mailbox_unref(struct mailbox *box)
{
    if (!box || atomic_fetch_sub_explicit(&box->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < box->n_segments; i++)
        segment_unref(box->segments[i]);
    free(box->segments);
    free(box->starts);
    values_unref(box->values);
    flagsets_unref(box->flagsets);
    free(box->name);
    free(box);
}

static struct mailbox *mailbox_copy(const struct mailbox *old)
{
    struct mailbox *box = NEW(struct mailbox);

    /* All but the count of references, which others may be changing. */
    memcpy(&box->id, &old->id, sizeof *box - offsetof(struct mailbox, id));
    box->refs = 1;
    box->name = mem_strdup(old->name);
    box->segments = mem_dup(old->segments, old->n_segments * sizeof(struct segment *));
    box->starts = mem_dup(old->starts, old->n_segments * sizeof *old->starts);
    for (size_t i = 0; i < box->n_segments; i++)
        segment_ref(box->segments[i]);
    values_ref(box->values);
    flagsets_ref(box->flagsets);
    return box;
}

void mailbox_rename(struct mailbox *box, struct slice name)
{
    free(box->name);
    box->name = slice_dup(name);
}

void mailbox_add_segment(struct mailbox *box, struct segment *s)
{
    size_t n = box->n_segments++;
    const struct segment *before = n ? box->segments[n - 1] : NULL;

    box->segments = mem_realloc(box->segments, n + 1, sizeof(struct segment *));
    box->starts = mem_realloc(box->starts, n + 1, sizeof *box->starts);
    box->segments[n] = s;
    box->starts[n] = before ? box->starts[n - 1] + before->count : 0;
}

/* Both loaded and, together, well below a full segment: so that many expunges do not leave many
 * nearly empty ones. */
static bool should_join(const struct segment *a, const struct segment *b)
{
    return segment_rows(a) && segment_rows(b) && a->count + b->count <= SEGMENT_MESSAGES / 2 &&
           MIN(a->count, b->count) <= SEGMENT_SMALL;
}

void mailbox_refresh(struct mailbox *box)
{
    size_t kept = 0;
    uint32_t count = 0;

    for (size_t i = 0; i < box->n_segments; i++) {
        struct segment *s = box->segments[i];

        if (s->count && kept && should_join(box->segments[kept - 1], s)) {
            /* own: others may see these two as they are */
            s = mailbox_own_segment(box, i);
            segment_join(mailbox_own_segment(box, kept - 1), s);
        }
        if (s->count)
            box->segments[kept++] = s;
        else
            segment_unref(s);
    }
    box->n_segments = kept;
    for (size_t i = 0; i < kept; i++) {
        box->starts[i] = count;
        count += box->segments[i]->count;
    }
}

size_t mailbox_segment_at(const struct mailbox *box, uint32_t uid)
{
    size_t low = 0, high = box->n_segments;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (box->segments[mid]->last < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool segment_is_among(const struct segment *s, const struct uidset *uids)
{
    size_t at = uidset_search(uids, s->first);

    return at < uids->n && uids->items[at].first <= s->last;
}

bool mailbox_needs(const struct mailbox *box, const struct uidset *uids, need_fn *need, void *ctx)
{
    bool any = false;

    for (size_t i = 0; i < box->n_segments; i++) {
        const struct segment *s = box->segments[i];

        if (segment_rows(s) || (uids && !segment_is_among(s, uids)))
            continue;
        any = true;
        if (need)
            need(ctx, box->id, s->first, s->last);
    }
    return any;
}

bool mailbox_loaded(const struct mailbox *box, uint32_t first, uint32_t last)
{
    for (size_t i = mailbox_segment_at(box, first); i < box->n_segments; i++) {
        if (box->segments[i]->first > last)
            break;
        if (!segment_rows(box->segments[i]))
            return false;
    }
    return true;
}

static const struct rows *loaded(const struct segment *s)
{
    const struct rows *rows = segment_rows(s);

    assert(rows); /* whoever looks at messages has had them loaded: state.h */
    return rows;
}

bool mailbox_at(const struct mailbox *box, uint32_t index, struct message *ret)
{
    size_t low = 0, high = box->n_segments, c;
    const struct rows *rows;

    if (index >= box->sum.exists || !high)
        return false;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;

        if (box->starts[mid] <= index)
            low = mid;
        else
            high = mid;
    }
    rows = loaded(box->segments[low]);
    index -= box->starts[low];
    c = rows_chunk_at(rows, index);
    chunk_message(box, rows->chunks[c], index - rows->starts[c], ret);
    return true;
}

uint32_t mailbox_uid_at(const struct mailbox *box, uint32_t index)
{
    struct message m;
    size_t at = box->n_segments;

    if (index + 1 == box->sum.exists && at)
        return box->segments[at - 1]->last;
    if (index == 0 && at)
        return box->segments[0]->first;
    return mailbox_at(box, index, &m) ? m.uid : 0;
}

/* The chunk of loaded rows whose last uid is at or above. */
static size_t chunk_at_uid(const struct rows *rows, uint32_t uid)
{
    size_t low = 0, high = rows->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct chunk *c = rows->chunks[mid];

        if (c->uid[c->n - 1] < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool mailbox_find(const struct mailbox *box, uint32_t uid, struct message *ret)
{
    struct mailbox_iter i = {.box = box, .segment = mailbox_segment_at(box, uid)};

    if (i.segment == box->n_segments || box->segments[i.segment]->first > uid)
        return false;
    i = mailbox_iter(box, uid);
    return mailbox_next(&i, ret) && ret->uid == uid;
}

uint32_t mailbox_index(const struct mailbox *box, uint32_t uid)
{
    size_t at = mailbox_segment_at(box, uid), c;
    const struct rows *rows;

    if (at == box->n_segments)
        return at ? box->starts[at - 1] + box->segments[at - 1]->count : 0;
    if (uid <= box->segments[at]->first)
        return box->starts[at];
    rows = loaded(box->segments[at]);
    c = chunk_at_uid(rows, uid);
    return box->starts[at] + rows->starts[c] + (uint32_t)chunk_search(rows->chunks[c], uid);
}

struct mailbox_iter mailbox_iter(const struct mailbox *box, uint32_t from_uid)
{
    struct mailbox_iter i = {.box = box, .segment = mailbox_segment_at(box, from_uid)};
    const struct rows *rows;

    if (i.segment == box->n_segments || from_uid <= box->segments[i.segment]->first)
        return i;
    rows = loaded(box->segments[i.segment]);
    i.chunk = chunk_at_uid(rows, from_uid);
    i.at = chunk_search(rows->chunks[i.chunk], from_uid);
    return i;
}

/* The chunk that has the next message, i->at in it; NULL: there is none with a uid up to `last`. */
static const struct chunk *next_chunk(struct mailbox_iter *i, uint32_t last)
{
    while (i->segment < i->box->n_segments) {
        const struct segment *s = i->box->segments[i->segment];
        const struct rows *rows;
        const struct chunk *c;

        if (s->first > last)
            return NULL;
        rows = loaded(s);
        c = rows->chunks[i->chunk];
        if (i->at < c->n)
            return c->uid[i->at] > last ? NULL : c;
        i->at = 0;
        if (++i->chunk == rows->n) {
            i->chunk = 0;
            i->segment++;
        }
    }
    return NULL;
}

bool mailbox_next_to(struct mailbox_iter *i, uint32_t last, struct message *ret)
{
    const struct chunk *c = next_chunk(i, last);

    if (c)
        chunk_message(i->box, c, i->at++, ret);
    return c;
}

bool mailbox_next_run(struct mailbox_iter *i, struct message_run *ret)
{
    const struct chunk *c = next_chunk(i, UINT32_MAX);

    if (!c)
        return false;
    *ret = (struct message_run){.n = c->n - i->at, .uid = c->uid + i->at, .size = c->size + i->at};
    i->at = c->n;
    return true;
}

bool mailbox_next(struct mailbox_iter *i, struct message *ret)
{
    return mailbox_next_to(i, UINT32_MAX, ret);
}

struct slice mailbox_value(const struct mailbox *box, struct slice key)
{
    return values_get(box->values, key);
}

/* --- states ---------------------------------------------------------------------------------- */

struct state *state_new_empty(uint64_t account)
{
    struct state *st = NEW(struct state);

    st->refs = 1;
    st->account = account;
    st->subscribed = names_new();
    st->values = values_new();
    st->deliveries = ledger_new(LEDGER_KEY_AB);
    st->gone = ledger_new(LEDGER_KEY_A);
    st->vanished = ledger_new(LEDGER_NO_KEY);
    st->flagsets = flagsets_new();
    return st;
}

struct state *state_copy(const struct state *old)
{
    struct state *st = NEW(struct state);

    /* All but the count of references, which others may be changing. */
    memcpy(&st->account, &old->account, sizeof *st - offsetof(struct state, account));
    st->refs = 1;
    st->mailboxes = mem_dup(old->mailboxes, old->n_mailboxes * sizeof(struct mailbox *));
    st->name_hashes = mem_dup(old->name_hashes, old->n_mailboxes * sizeof *old->name_hashes);
    for (size_t i = 0; i < st->n_mailboxes; i++)
        mailbox_ref(st->mailboxes[i]);
    names_ref(st->subscribed);
    values_ref(st->values);
    ledger_ref(st->deliveries);
    ledger_ref(st->gone);
    ledger_ref(st->vanished);
    flagsets_ref(st->flagsets);
    return st;
}

struct state *state_ref(struct state *st)
{
    atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
    return st;
}

void state_unref(struct state *st)
{
    if (!st || atomic_fetch_sub_explicit(&st->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < st->n_mailboxes; i++)
        mailbox_unref(st->mailboxes[i]);
    free(st->mailboxes);
    free(st->name_hashes);
    names_unref(st->subscribed);
    values_unref(st->values);
    ledger_unref(st->deliveries);
    ledger_unref(st->gone);
    ledger_unref(st->vanished);
    flagsets_unref(st->flagsets);
    free(st);
}

/* Where the mailbox is or would be. */
static size_t state_search(const struct state *st, uint64_t id)
{
    size_t low = 0, high = st->n_mailboxes;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (st->mailboxes[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct mailbox *state_mailbox(const struct state *st, uint64_t id)
{
    size_t at = state_search(st, id);

    return at < st->n_mailboxes && st->mailboxes[at]->id == id ? st->mailboxes[at] : NULL;
}

struct mailbox *state_own_mailbox(struct state *st, uint64_t id)
{
    size_t at = state_search(st, id);
    struct mailbox *box = at < st->n_mailboxes ? st->mailboxes[at] : NULL;

    if (!box || box->id != id)
        return NULL;
    if (atomic_load_explicit(&box->refs, memory_order_acquire) != 1) {
        st->mailboxes[at] = mailbox_copy(box);
        mailbox_unref(box);
    }
    return st->mailboxes[at];
}

static uint32_t hash_name(struct slice name)
{
    return (uint32_t)hash_keyed(name);
}

void state_add_mailbox(struct state *st, struct mailbox *box)
{
    size_t n = st->n_mailboxes++;

    st->mailboxes = mem_realloc(st->mailboxes, n + 1, sizeof(struct mailbox *));
    st->name_hashes = mem_realloc(st->name_hashes, n + 1, sizeof *st->name_hashes);
    st->mailboxes[n] = box;
    st->name_hashes[n] = hash_name(slice_str(box->name));
}

void state_remove_mailbox(struct state *st, uint64_t id)
{
    size_t at = state_search(st, id), after = st->n_mailboxes - at - 1;

    mailbox_unref(st->mailboxes[at]);
    memmove(st->mailboxes + at, st->mailboxes + at + 1, after * sizeof(struct mailbox *));
    memmove(st->name_hashes + at, st->name_hashes + at + 1, after * sizeof *st->name_hashes);
    st->n_mailboxes--;
}

void state_renamed(struct state *st, uint64_t id)
{
    size_t at = state_search(st, id);

    st->name_hashes[at] = hash_name(slice_str(st->mailboxes[at]->name));
}

static const struct mailbox *find_named(const struct state *st, struct slice name)
{
    uint32_t hash = hash_name(name);

    for (size_t i = 0; i < st->n_mailboxes; i++)
        if (st->name_hashes[i] == hash && slice_eq(slice_str(st->mailboxes[i]->name), name))
            return st->mailboxes[i];
    return NULL;
}

const struct mailbox *state_mailbox_named(const struct state *st, struct slice name)
{
    CLEANUP_FREE char *proper = NULL;

    /* RFC 3501 section 5.1: INBOX means the same in any case; and so it does as a first level. */
    if (!slice_istarts(name, S("inbox")) || slice_starts(name, S("INBOX")) ||
        (name.n > 5 && name.p[5] != '/'))
        return find_named(st, name);
    proper = slice_dup(name);
    memcpy(proper, "INBOX", 5);
    return find_named(st, slice_of(proper, name.n));
}

bool state_is_inbox(const struct mailbox *box)
{
    return strcmp(box->name, "INBOX") == 0;
}

bool state_is_subscribed(const struct state *st, struct slice name)
{
    return names_has(st->subscribed, name);
}

void state_each_subscribed(const struct state *st, bool (*f)(void *ctx, struct slice name),
                           void *ctx)
{
    for (size_t i = 0; i < st->subscribed->n; i++)
        if (!f(ctx, st->subscribed->items[i]))
            return;
}

struct slice state_value(const struct state *st, struct slice key)
{
    return values_get(st->values, key);
}

void state_each_value(const struct state *st, value_fn *f, void *ctx)
{
    values_each(st->values, f, ctx);
}

void mailbox_each_value(const struct mailbox *box, value_fn *f, void *ctx)
{
    values_each(box->values, f, ctx);
}

void state_each_keyword(const struct state *st, void (*f)(void *ctx, struct slice keyword),
                        void *ctx)
{
    flagsets_each_keyword(st->flagsets, f, ctx);
}

bool state_has_delivery(const struct state *st, const uint8_t hash[DELIVERY_HASH_SIZE])
{
    return ledger_find(st->deliveries, get_be64(hash), get_be64(hash + 8)) != NULL;
}

bool state_gone(const struct state *st, uint64_t message, int64_t *ret_t_ms, uint32_t *ret_size)
{
    const struct ledger_entry *e = ledger_find(st->gone, message, 0);

    if (!e)
        return false;
    if (ret_t_ms)
        *ret_t_ms = e->t_ms;
    if (ret_size)
        *ret_size = (uint32_t)(e->b >> 32);
    return true;
}

void state_each_gone(const struct state *st,
                     void (*f)(void *ctx, uint64_t message, int64_t t_ms, uint32_t size), void *ctx)
{
    const struct ledger_entry *e;

    for (struct ledger_iter i = {st->gone}; (e = ledger_next(&i));)
        f(ctx, e->a, e->t_ms, (uint32_t)(e->b >> 32));
}

static int range_order(const void *a, const void *b)
{
    const struct uid_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

bool state_vanished(const struct state *st, uint64_t mailbox, uint64_t since, struct uidset *ret)
{
    const struct mailbox *box = state_mailbox(st, mailbox);
    VEC(struct uid_range) found = {0};
    const struct ledger_entry *e;

    if (!box || since >= box->expunged)
        return true;
    if (since < st->vanished->dropped) {
        if (box->sum.uidnext > 1)
            uidset_add_range(ret, 1, box->sum.uidnext - 1);
        return false;
    }
    for (struct ledger_iter i = ledger_since(st->vanished, since); (e = ledger_next(&i));)
        if (e->a == mailbox)
            *VEC_PUSH(&found) = (struct uid_range){(uint32_t)(e->b >> 32), (uint32_t)e->b};
    if (found.n)
        qsort(found.items, found.n, sizeof *found.items, range_order);
    for (size_t i = 0; i < found.n; i++)
        uidset_add_range(ret, found.items[i].first, found.items[i].last);
    VEC_DONE(&found);
    return true;
}

static bool can_unload(const struct mailbox *box)
{
    for (size_t i = 0; i < box->n_segments; i++)
        if (segment_can_unload(box->segments[i]))
            return true;
    return false;
}

struct state *state_unload(struct state *st)
{
    struct state *copy = NULL;

    for (size_t i = 0; i < st->n_mailboxes; i++) {
        struct mailbox *box;

        if (!can_unload(st->mailboxes[i]))
            continue;
        if (!copy)
            copy = state_copy(st);
        box = state_own_mailbox(copy, st->mailboxes[i]->id);
        for (size_t k = 0; k < box->n_segments; k++) {
            struct segment *s = box->segments[k];

            if (!segment_can_unload(s))
                continue;
            box->segments[k] = segment_unloaded(box, s);
            segment_unref(s);
        }
    }
    return copy;
}

size_t state_bytes(const struct state *st)
{
    size_t bytes = sizeof *st + 4096; /* with the empty flagset table */

    bytes += (st->deliveries->count + st->gone->count + st->vanished->count) *
             sizeof(struct ledger_entry);
    bytes += names_bytes(st->subscribed) + values_bytes(st->values);
    bytes += flagsets_bytes(st->flagsets);
    for (size_t i = 0; i < st->n_mailboxes; i++) {
        const struct mailbox *box = st->mailboxes[i];

        bytes += sizeof *box + 128;
        for (size_t s = 0; s < box->n_segments; s++)
            bytes += sizeof(struct segment) +
                     (segment_rows(box->segments[s]) ? box->segments[s]->count * (size_t)40 : 0);
    }
    return bytes;
}
