/* SPDX-License-Identifier: MPL-2.0 */
/* Manifests as bytes. Head: account, seq, time, txid, usage, closed, last UIDVALIDITY, the older
 * mark, values, subscriptions, mailboxes with their segments. Body: seq again, deliveries, what is
 * gone, and since version 2 what has vanished. Since version 3 segments have a summary. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mail/snapshot_format_impl.h"
#include "lib/store/store.h"

#define MAILBOXES_MAX 200000
#define SUMMARIES_MAX (MANIFEST_RAW_MAX / 2) /* octets of the head; behind them, none is added */
#define WHAT          "the manifest"

/* --- encoding -------------------------------------------------------------------------------- */

static void put_values(const struct values *values, struct buf *out)
{
    buf_add_varint(out, values->n);
    for (size_t i = 0; i < values->n; i++) {
        buf_add_string(out, values->items[i].key);
        buf_add_string(out, values->items[i].value);
    }
}

static void put_mailbox(const struct mailbox *box, struct buf *out)
{
    const struct mailbox_sum *s = &box->sum;

    buf_add_varint(out, box->id);
    buf_add_string(out, slice_str(box->name));
    buf_add_varint(out, box->uidvalidity);
    buf_add_varint(out, box->uses);
    buf_add_varint(out, box->created);
    buf_add_varint(out, box->expunged);
    buf_add_varint(out, s->exists);
    buf_add_varint(out, s->unseen);
    buf_add_varint(out, s->deleted);
    buf_add_varint(out, s->uidnext);
    buf_add_varint(out, s->bytes);
    buf_add_varint(out, s->modseq);
    put_values(box->values, out);
    buf_add_varint(out, box->n_segments);
}

static void put_summary(const struct mailbox *box, struct segment *s, struct buf *out)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct segment_summary sum;
    struct slice *keywords;
    size_t n;

    if (out->n > SUMMARIES_MAX || !segment_summarize(box, s, &sum)) {
        buf_add_varint(out, 0);
        return;
    }
    keywords = sum.keywords ? sum.keywords->keywords : NULL;
    n = sum.keywords ? sum.keywords->n_keywords : segment_keywords(box, s, &arena, &keywords);
    buf_add_varint(out, sum.unseen + (uint64_t)1);
    buf_add_varint(out, n);
    for (size_t i = 0; i < n; i++)
        buf_add_string(out, keywords[i]);
}

static void put_segment(const struct mailbox *box, const struct snapshot_item *item,
                        uint32_t before, struct buf *out)
{
    const struct segment_ref *ref = &item->ref;

    buf_add_varint(out, ref->first - before);
    buf_add_varint(out, ref->last - ref->first);
    buf_add_varint(out, ref->count);
    buf_add_varint(out, ref->stamp);
    put_summary(box, item->segment, out);
}

static void put_mailboxes(const struct snapshot_plan *plan, struct buf *out)
{
    const struct snapshot_item *item = plan->items;

    buf_add_varint(out, plan->st->n_mailboxes);
    for (size_t i = 0; i < plan->st->n_mailboxes; i++) {
        const struct mailbox *box = plan->st->mailboxes[i];
        uint32_t before = 0;

        put_mailbox(box, out);
        for (size_t j = 0; j < box->n_segments; j++, item++) {
            put_segment(box, item, before, out);
            before = item->ref.last;
        }
    }
}

static void put_head(const struct snapshot_plan *plan, struct manifest_mark older, struct buf *out)
{
    const struct state *st = plan->st;

    buf_add_be64(out, st->account);
    buf_add_varint(out, st->seq);
    buf_add_svarint(out, st->t_ms);
    buf_add(out, st->txid, TXID_SIZE);
    buf_add_varint(out, st->used_bytes);
    buf_add_varint(out, st->used_messages);
    buf_add_byte(out, st->closed);
    buf_add_varint(out, st->last_uidvalidity);
    buf_add_varint(out, older.seq);
    buf_add_svarint(out, older.time);
    put_values(st->values, out);
    buf_add_varint(out, st->subscribed->n);
    for (size_t i = 0; i < st->subscribed->n; i++)
        buf_add_string(out, st->subscribed->items[i]);
    put_mailboxes(plan, out);
}

static void put_ledger(const struct ledger *l, struct buf *out)
{
    const struct ledger_entry *e;
    int64_t before = 0;

    buf_add_varint(out, l->count);
    for (struct ledger_iter i = {l}; (e = ledger_next(&i)); before = e->t_ms) {
        buf_add_svarint(out, e->t_ms - before);
        buf_add_be64(out, e->a);
        if (l->key == LEDGER_KEY_AB) {
            buf_add_be64(out, e->b);
            continue;
        }
        buf_add_varint(out, e->b >> 32);
        buf_add_be32(out, (uint32_t)e->b);
    }
}

/* Runs of one record differ in the uids alone. */
static void put_vanished(const struct ledger *l, struct buf *out)
{
    const struct ledger_entry *e;
    struct ledger_entry before = {0};

    buf_add_varint(out, l->dropped);
    buf_add_varint(out, l->count);
    for (struct ledger_iter i = {l}; (e = ledger_next(&i)); before = *e) {
        buf_add_varint(out, e->seq - before.seq);
        buf_add_svarint(out, e->t_ms - before.t_ms);
        buf_add_svarint(out, (int64_t)(e->a - before.a));
        buf_add_varint(out, e->b >> 32);
        buf_add_varint(out, (uint32_t)e->b - (e->b >> 32));
    }
}

int manifest_encode(const struct snapshot_plan *plan, struct manifest_mark older, struct buf *head,
                    struct buf *body, struct error *err)
{
    CLEANUP(buf_done) struct buf raw_head = buf_make(MANIFEST_RAW_MAX);
    CLEANUP(buf_done) struct buf raw_body = buf_make(MANIFEST_RAW_MAX);
    size_t head_before = head->n, body_before = body->n;

    put_head(plan, older, &raw_head);
    buf_add_varint(&raw_body, plan->st->seq);
    put_ledger(plan->st->deliveries, &raw_body);
    put_ledger(plan->st->gone, &raw_body);
    put_vanished(plan->st->vanished, &raw_body);
    if (buf_full(&raw_head) || buf_full(&raw_body))
        return error_set(err, ERR_LIMIT, "the account is too large for a manifest");
    pack(MANIFEST_VERSION, &raw_head, head);
    pack(MANIFEST_VERSION, &raw_body, body);
    if (buf_full(head) || buf_full(body) || head->n - head_before > STORE_HEAD_MAX ||
        body->n - body_before + STORE_HEAD_MAX > STORE_BODY_MAX)
        return error_set(err, ERR_LIMIT, "the account is too large for a manifest");
    return 0;
}

/* --- decoding -------------------------------------------------------------------------------- */

static struct slice get_text(struct cursor *in)
{
    struct slice s = cursor_string(in);

    in->bad |= !s.n || s.n > RECORD_NAME_MAX || slice_find(s, 0) >= 0;
    return s;
}

/* Lists were written in order, so that each goes in at the end. */
static void get_values(struct cursor *in, struct values **values)
{
    uint64_t n = cursor_varint(in);
    struct slice before = {NULL, 0};

    in->bad |= n > cursor_left(in) / 2 || n > MAILBOXES_MAX;
    for (uint64_t i = 0; i < n && !in->bad; i++) {
        struct slice key = get_text(in), value = cursor_string(in);

        in->bad |= slice_cmp(before, key) >= 0 || !value.n;
        if (!in->bad)
            values_set(values, key, value);
        before = key;
    }
}

static void get_subscribed(struct cursor *in, struct names *names)
{
    uint64_t n = cursor_varint(in);

    in->bad |= n > cursor_left(in) / 2;
    if (in->bad)
        return;
    names->items = mem_realloc0((size_t)n, sizeof *names->items);
    for (; names->n < n && !in->bad; names->n++) {
        struct slice name = get_text(in);

        in->bad |= names->n && slice_cmp(names->items[names->n - 1], name) >= 0;
        names->items[names->n] = slice_of(mem_dup(name.p, name.n), name.n);
    }
}

static void get_summary(struct cursor *in, struct mailbox *box, struct segment *s)
{
    struct segment_summary sum;
    uint64_t unseen = cursor_varint(in), n;
    struct arena arena = {0};
    struct slice *keywords;

    in->bad |= unseen > s->count + (uint64_t)1;
    if (in->bad || !unseen)
        return;
    n = cursor_varint(in);
    in->bad |= n > cursor_left(in) / 2;
    if (in->bad)
        return;
    keywords = arena_array(&arena, (size_t)n, sizeof *keywords);
    for (size_t i = 0; i < n && !in->bad; i++) {
        keywords[i] = cursor_string(in);
        in->bad |=
            !keyword_valid(keywords[i]) || (i && keyword_cmp(keywords[i - 1], keywords[i]) >= 0);
    }
    if (!in->bad) {
        sum.unseen = (uint32_t)unseen - 1;
        sum.keywords = flagsets_intern(box->flagsets, 0, keywords, (size_t)n);
        segment_set_summary(s, &sum);
    }
    arena_done(&arena);
}

static bool get_segment(struct cursor *in, struct mailbox *box, unsigned version)
{
    const struct segment *before = box->n_segments ? box->segments[box->n_segments - 1] : NULL;
    uint64_t last_before = before ? before->last : 0, last;
    uint64_t first = last_before + cursor_u32(in);
    struct segment *s;

    last = first + cursor_u32(in);
    if (in->bad || first <= last_before || last >= box->sum.uidnext)
        return false;
    s = NEW(struct segment);
    s->refs = 1;
    s->first = (uint32_t)first;
    s->last = (uint32_t)last;
    s->count = cursor_u32(in);
    s->stamp = cursor_varint(in);
    mailbox_add_segment(box, s);
    if (version >= 3)
        get_summary(in, box, s);
    return !in->bad && s->stamp && s->count && s->count <= SEGMENT_MESSAGES &&
           s->count <= last - first + 1;
}

static void get_segments(struct cursor *in, struct mailbox *box, unsigned version)
{
    uint64_t n = cursor_varint(in), count = 0;

    in->bad |= n > cursor_left(in) / 4;
    for (uint64_t i = 0; i < n && !in->bad; i++) {
        in->bad |= !get_segment(in, box, version);
        if (!in->bad)
            count += box->segments[i]->count;
    }
    in->bad |= count != box->sum.exists;
}

static void get_mailbox(struct cursor *in, struct state *st, unsigned version)
{
    uint64_t id = cursor_varint(in),
             above = st->n_mailboxes ? st->mailboxes[st->n_mailboxes - 1]->id : 0;
    struct slice name = get_text(in);
    struct mailbox *box;

    in->bad |= id <= above;
    if (in->bad)
        return;
    box = mailbox_new(id, name, st->flagsets);
    box->uidvalidity = cursor_u32(in);
    box->uses = cursor_u32(in);
    box->created = cursor_varint(in);
    box->expunged = cursor_varint(in);
    box->sum.exists = cursor_u32(in);
    box->sum.unseen = cursor_u32(in);
    box->sum.deleted = cursor_u32(in);
    box->sum.uidnext = cursor_u32(in);
    box->sum.bytes = cursor_varint(in);
    box->sum.modseq = cursor_varint(in);
    state_add_mailbox(st, box);
    get_values(in, &box->values);
    get_segments(in, box, version);
}

static void get_head(struct cursor *in, struct manifest *m, unsigned version)
{
    struct state *st = m->st;
    struct slice txid;
    uint64_t n;

    in->bad |= cursor_be64(in) != st->account;
    st->seq = cursor_varint(in);
    st->t_ms = cursor_svarint(in);
    in->bad |= st->t_ms < 0 || st->t_ms > (int64_t)1 << 53; /* as in record.c */
    txid = cursor_bytes(in, TXID_SIZE);
    if (txid.n)
        memcpy(st->txid, txid.p, TXID_SIZE);
    st->used_bytes = cursor_varint(in);
    st->used_messages = cursor_varint(in);
    st->closed = cursor_u8(in);
    st->last_uidvalidity = cursor_u32(in);
    m->older.seq = cursor_varint(in);
    m->older.time = cursor_svarint(in);
    get_values(in, &st->values);
    get_subscribed(in, st->subscribed);
    n = cursor_varint(in);
    in->bad |= n > MAILBOXES_MAX || n > cursor_left(in) / 10;
    for (uint64_t i = 0; i < n && !in->bad; i++)
        get_mailbox(in, st, version);
}

static void get_ledger(struct cursor *in, struct ledger *l, size_t max)
{
    uint64_t n = cursor_varint(in);
    struct ledger_entry e = {0};

    in->bad |= n > max;
    for (uint64_t i = 0; i < n && !in->bad; i++) {
        int64_t later = cursor_svarint(in);

        in->bad |= (i && later < 0) || __builtin_add_overflow(e.t_ms, later, &e.t_ms);
        e.a = cursor_be64(in);
        e.b = l->key == LEDGER_KEY_AB ? cursor_be64(in) : (uint64_t)cursor_u32(in) << 32;
        if (l->key != LEDGER_KEY_AB)
            e.b |= cursor_be32(in);
        if (!in->bad)
            ledger_add(l, e);
    }
}

static void get_vanished(struct cursor *in, struct ledger *l, uint64_t seq)
{
    struct ledger_entry e = {0};
    uint64_t n;

    l->dropped = cursor_varint(in);
    n = cursor_varint(in);
    in->bad |= n > VANISHED_MAX || l->dropped > seq;
    for (uint64_t i = 0; i < n && !in->bad; i++) {
        uint64_t later = cursor_varint(in), first, last;
        int64_t t_later = cursor_svarint(in);

        in->bad |= later > seq - e.seq || (i && t_later < 0) ||
                   __builtin_add_overflow(e.t_ms, t_later, &e.t_ms);
        e.seq += later;
        e.a += (uint64_t)cursor_svarint(in);
        first = cursor_u32(in);
        last = first + cursor_u32(in);
        in->bad |= e.seq < l->dropped || !first || last > UINT32_MAX;
        e.b = first << 32 | last;
        if (!in->bad)
            ledger_add(l, e);
    }
}

static int decode_into(struct manifest *m, struct slice head, struct slice body, struct error *err)
{
    CLEANUP(buf_done) struct buf raw_head = buf_make(MANIFEST_RAW_MAX);
    CLEANUP(buf_done) struct buf raw_body = buf_make(MANIFEST_RAW_MAX);
    struct cursor in;
    int r = unpack(WHAT, MANIFEST_VERSION, head, &raw_head, err);

    if (r == 0)
        r = unpack(WHAT, MANIFEST_VERSION, body, &raw_body, err);
    if (r < 0)
        return r;
    in = cursor_of(buf_slice(&raw_head));
    get_head(&in, m, head.p[0]);
    if (in.bad || cursor_left(&in))
        return damaged(WHAT, err);
    in = cursor_of(buf_slice(&raw_body));
    in.bad |= cursor_varint(&in) != m->st->seq;
    get_ledger(&in, m->st->deliveries, DELIVERIES_MAX);
    get_ledger(&in, m->st->gone, GONE_MAX);
    /* version 1 knew nothing of it: nothing is known up to here */
    if (body.p[0] == 1)
        m->st->vanished->dropped = m->st->seq;
    else
        get_vanished(&in, m->st->vanished, m->st->seq);
    if (in.bad || cursor_left(&in))
        return damaged(WHAT, err);
    return 0;
}

static void list_segments(struct manifest *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->st->n_mailboxes; i++)
        m->n_segments += m->st->mailboxes[i]->n_segments;
    m->segments = mem_realloc(NULL, m->n_segments, sizeof *m->segments);
    for (size_t i = 0; i < m->st->n_mailboxes; i++)
        n +=
            mailbox_missing(m->st->mailboxes[i], 0, UINT32_MAX, m->segments + n, m->n_segments - n);
}

int manifest_decode(uint64_t account, struct slice head, struct slice body, struct manifest **ret,
                    struct error *err)
{
    struct manifest *m = NEW(struct manifest);
    int r;

    m->st = state_new_empty(account);
    r = decode_into(m, head, body, err);
    if (r < 0) {
        manifest_free(m);
        return r;
    }
    list_segments(m);
    *ret = m;
    return 0;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    state_unref(m->st);
    free(m->segments);
    free(m);
}

uint64_t manifest_seq(const struct manifest *m)
{
    return m->st->seq;
}

struct manifest_mark manifest_older(const struct manifest *m)
{
    return m->older;
}

const struct segment_ref *manifest_segments(const struct manifest *m, size_t *ret_n)
{
    *ret_n = m->n_segments;
    return m->segments;
}

static int compare_refs(const void *a, const void *b)
{
    const struct segment_ref *x = a, *y = b;

    if (x->mailbox != y->mailbox)
        return x->mailbox < y->mailbox ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

bool manifest_names(const struct manifest *m, const struct segment_ref *ref)
{
    const struct segment_ref *found =
        bsearch(ref, m->segments, m->n_segments, sizeof *ref, compare_refs);

    return found && found->stamp == ref->stamp && found->last == ref->last &&
           found->count == ref->count;
}

struct state *state_from_manifest(const struct manifest *m)
{
    return state_ref(m->st);
}
