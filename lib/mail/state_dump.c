/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/state_impl.h"

#include <inttypes.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

static void dump_text(struct buf *out, const char *key, struct slice s)
{
    buf_printf(out, " %s=%zu:", key, s.n);
    buf_add_slice(out, s);
}

static void dump_values(const struct values *values, struct buf *out)
{
    for (size_t i = 0; i < values->n; i++) {
        buf_add_str(out, "value");
        dump_text(out, "key", values->items[i].key);
        dump_text(out, "value", values->items[i].value);
        buf_add_byte(out, '\n');
    }
}

static void dump_message(const struct message *m, struct buf *out)
{
    buf_printf(out, "message %" PRIu32 " %016" PRIx64 " modseq=%" PRIu64, m->uid, m->id, m->modseq);
    buf_printf(out, " size=%" PRIu32 " date=%" PRId64 " saved=%" PRId64 " ", m->size, m->date,
               m->saved);
    buf_add_slice(out, m->flags->text);
    buf_add_byte(out, '\n');
}

static void dump_mailbox(const struct mailbox *box, struct buf *out)
{
    const struct mailbox_sum *s = &box->sum;
    struct message m;

    buf_printf(out, "mailbox %" PRIx64 " uidvalidity=%" PRIu32 " uses=%" PRIu32, box->id,
               box->uidvalidity, box->uses);
    buf_printf(out, " created=%" PRIu64 " expunged=%" PRIu64, box->created, box->expunged);
    buf_printf(out, " exists=%" PRIu32 " unseen=%" PRIu32 " deleted=%" PRIu32, s->exists, s->unseen,
               s->deleted);
    buf_printf(out, " uidnext=%" PRIu32 " bytes=%" PRIu64 " modseq=%" PRIu64, s->uidnext, s->bytes,
               s->modseq);
    dump_text(out, "name", slice_str(box->name));
    buf_add_byte(out, '\n');
    dump_values(box->values, out);
    for (struct mailbox_iter i = mailbox_iter(box, 0); mailbox_next(&i, &m);)
        dump_message(&m, out);
}

static void dump_ledger(const struct ledger *l, const char *name, struct buf *out)
{
    const struct ledger_entry *e;

    for (struct ledger_iter i = {l}; (e = ledger_next(&i));)
        buf_printf(out, "%s %016" PRIx64 " %016" PRIx64 " t=%" PRId64 " seq=%" PRIu64 "\n", name,
                   e->a, e->b, e->t_ms, e->seq);
    if (l->dropped)
        buf_printf(out, "%s dropped=%" PRIu64 "\n", name, l->dropped);
}

void state_dump(const struct state *st, struct buf *out)
{
    buf_printf(out, "state account=%016" PRIx64 " seq=%" PRIu64 " t=%" PRId64, st->account, st->seq,
               st->t_ms);
    buf_printf(out, " used=%" PRIu64 ",%" PRIu64 " closed=%d uidvalidity=%" PRIu32 " txid=",
               st->used_bytes, st->used_messages, st->closed, st->last_uidvalidity);
    hex_encode(out, slice_of(st->txid, TXID_SIZE));
    buf_add_byte(out, '\n');
    dump_values(st->values, out);
    for (size_t i = 0; i < st->subscribed->n; i++) {
        buf_add_str(out, "subscribed");
        dump_text(out, "name", st->subscribed->items[i]);
        buf_add_byte(out, '\n');
    }
    for (size_t i = 0; i < st->n_mailboxes; i++)
        dump_mailbox(st->mailboxes[i], out);
    dump_ledger(st->deliveries, "delivery", out);
    dump_ledger(st->gone, "gone", out);
    dump_ledger(st->vanished, "vanished", out);
}

static bool recount_mailbox(const struct mailbox *box, struct error *err)
{
    struct mailbox_sum c = {.mailbox = box->id, .uidnext = box->sum.uidnext};
    uint32_t before = 0;
    struct message m;

    for (struct mailbox_iter i = mailbox_iter(box, 0); mailbox_next(&i, &m); before = m.uid) {
        c.exists++;
        c.unseen += !(m.flags->system & FLAG_SEEN);
        c.deleted += !!(m.flags->system & FLAG_DELETED);
        c.bytes += m.size;
        c.modseq = MAX(c.modseq, m.modseq);
        if (m.uid <= before || m.uid >= c.uidnext) {
            error_set(err, ERR_INTERNAL,
                      "mailbox %s: uid %" PRIu32 " after %" PRIu32 " below uidnext %" PRIu32,
                      box->name, m.uid, before, c.uidnext);
            return false;
        }
    }
    c.modseq = MAX(c.modseq, box->expunged);
    c.modseq = MAX(c.modseq, box->created);
    if (c.exists == box->sum.exists && c.unseen == box->sum.unseen &&
        c.deleted == box->sum.deleted && c.bytes == box->sum.bytes && c.modseq <= box->sum.modseq)
        return true;
    error_set(err, ERR_INTERNAL,
              "mailbox %s: counted %" PRIu32 " messages, %" PRIu32 " unseen, %" PRIu32
              " deleted, %" PRIu64 " bytes; its sum says %" PRIu32 ", %" PRIu32 ", %" PRIu32
              ", %" PRIu64,
              box->name, c.exists, c.unseen, c.deleted, c.bytes, box->sum.exists, box->sum.unseen,
              box->sum.deleted, box->sum.bytes);
    return false;
}

bool state_recount(const struct state *st, struct error *err)
{
    uint64_t bytes = 0, messages = 0;

    for (size_t i = 0; i < st->n_mailboxes; i++) {
        if (!recount_mailbox(st->mailboxes[i], err))
            return false;
        bytes += st->mailboxes[i]->sum.bytes;
        messages += st->mailboxes[i]->sum.exists;
    }
    if (bytes == st->used_bytes && messages == st->used_messages)
        return true;
    error_set(err, ERR_INTERNAL,
              "usage: counted %" PRIu64 " bytes in %" PRIu64 " messages; the state says %" PRIu64
              " in %" PRIu64,
              bytes, messages, st->used_bytes, st->used_messages);
    return false;
}
