/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/pop3/ahead.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"

#define FIRST_SIZE 4

static void batch_forget(struct pop3 *p, struct ahead_batch *batch)
{
    atomic_fetch_sub(&p->service->ahead_bytes, batch->bytes);
    batch->first = batch->end = batch->bytes = batch->n = 0;
}

/* Whether one more of this size may be read ahead; it is counted then. */
static bool batch_takes(struct pop3 *p, struct ahead_batch *batch, const struct message *m)
{
    if (m->size > MESSAGE_SMALL || (batch->n && batch->bytes + m->size > AHEAD_BYTES))
        return false;
    if (atomic_fetch_add(&p->service->ahead_bytes, m->size) + m->size > AHEAD_BYTES_IN_ALL) {
        atomic_fetch_sub(&p->service->ahead_bytes, m->size);
        return false;
    }
    batch->bytes += m->size;
    batch->ids[batch->n++] = m->id;
    return true;
}

/* Fills a batch with `size` messages at most, from this number on; deleted ones are left out. */
static void batch_plan(struct pop3 *p, struct ahead_batch *batch, uint64_t first, size_t size)
{
    struct message m;
    struct mailbox_iter i;

    batch->first = batch->end = first;
    if (first > maildrop_total(&p->drop) || !mailbox_at(p->drop.box, (uint32_t)first - 1, &m))
        return;
    i = mailbox_iter(p->drop.box, m.uid);
    for (; batch->n < size && mailbox_next(&i, &m); batch->end++)
        if (!uidset_has(&p->drop.deleted, m.uid) && !batch_takes(p, batch, &m))
            return;
}

static void begin_coming(struct pop3 *p)
{
    struct pop3_ahead *a = &p->ahead;

    batch_plan(p, &a->coming, a->here.end, a->size);
    if (a->coming.n)
        a->reader = message_ahead_begin_any(p->account, NULL, 0, a->coming.ids, a->coming.n);
    if (!a->reader)
        batch_forget(p, &a->coming);
}

/* True: it was worth it. */
static bool end_coming(struct pop3 *p)
{
    batch_forget(p, &p->ahead.coming);
    return message_ahead_end(TAKE(p->ahead.reader));
}

/* What could not be read is for whoever opens the message. */
static void read_here(struct pop3 *p)
{
    struct pop3_ahead *a = &p->ahead;

    message_ahead_wait(a->reader);
    if (a->here.n && message_read_ahead(p->account, a->here.ids, a->here.n, &a->hold, NULL) < 0)
        a->hold = NULL;
}

static void next_batch(struct pop3 *p, uint64_t number)
{
    struct pop3_ahead *a = &p->ahead;

    hold_release(TAKE(a->hold));
    batch_forget(p, &a->here);
    if (a->coming.n && a->coming.first == number) {
        a->here = a->coming;
        a->coming = (struct ahead_batch){0};
    } else {
        end_coming(p);
        batch_plan(p, &a->here, number, a->size);
    }
    a->size = MIN(a->size * 2, AHEAD_MESSAGES);
    read_here(p);
    if (end_coming(p) || hold_has_read(a->hold))
        begin_coming(p);
}

void pop3_ahead_take(struct pop3 *p, uint64_t number)
{
    struct pop3_ahead *a = &p->ahead;
    bool in_order = a->last && (number == a->last + 1 || number == a->here.end);

    if (number < a->here.first || number >= a->here.end) {
        if (in_order) {
            next_batch(p, number);
        } else {
            pop3_ahead_drop(p);
            a->size = FIRST_SIZE;
        }
    }
    a->last = number;
    a->keep_until = a->hold ? clock_mono_ms() + AHEAD_KEEP_MS : 0;
}

void pop3_ahead_drop(struct pop3 *p)
{
    hold_release(TAKE(p->ahead.hold));
    batch_forget(p, &p->ahead.here);
    end_coming(p);
    p->ahead.keep_until = 0;
}

void pop3_ahead_expire(struct pop3 *p)
{
    if (p->ahead.keep_until && clock_mono_ms() >= p->ahead.keep_until)
        pop3_ahead_drop(p);
}
