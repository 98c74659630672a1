/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/expire.h"

#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/uidset.h"

#define WINDOW_UIDS 16384u /* looked at and expunged in one go */

/* Milliseconds; EXPIRE_NEVER. */
static int64_t limit_of(const struct state *st, const struct mailbox *box, int64_t standard_ms)
{
    uint64_t ms;

    if (slice_to_u64(mailbox_value(box, S(VALUE_EXPIRE_MS)), INT64_MAX, &ms) ||
        slice_to_u64(state_value(st, S(VALUE_EXPIRE_MS)), INT64_MAX, &ms))
        return (int64_t)ms;
    return standard_ms;
}

/* The uids from the oldest message on, within a window, that came before `before` (seconds). Later
 * uids came later, so the first that is young enough ends it. */
static void collect(const struct mailbox *box, uint32_t last, int64_t before, struct uidset *ret)
{
    struct message m;

    for (struct mailbox_iter i = mailbox_iter(box, 0); mailbox_next_to(&i, last, &m);) {
        /* states of older versions do not know when a message came */
        if ((m.saved ? m.saved : m.date) >= before)
            return;
        uidset_add(ret, m.uid);
    }
}

static int expunge(struct account *a, uint64_t mailbox, const struct uidset *uids,
                   struct error *err)
{
    struct intent it = {.kind = INTENT_EXPUNGE, .account = a, .mailbox = mailbox, .uids = *uids};
    int r;

    mail_commit(a->mail, (struct intent *[]){&it}, 1);
    r = it.result;
    if (r < 0)
        *err = it.error;
    else
        r = (int)MIN(uidset_count(&it.done), (uint64_t)INT32_MAX);
    intent_done(&it);
    return r == -ERR_NOTFOUND ? 0 : r; /* the mailbox is gone, and its messages with it */
}

/* How many were expunged; 0: nothing is left to be done. */
static int expire_window(struct account *a, struct state *st, const struct mailbox *known,
                         int64_t limit_ms, struct error *err)
{
    uint32_t first = mailbox_uid_at(known, 0);
    uint32_t last = first > UINT32_MAX - WINDOW_UIDS ? UINT32_MAX : first + WINDOW_UIDS - 1;
    CLEANUP(uidset_done) struct uidset uids = {0};
    struct mailbox *box;
    int r;

    if (first == 0)
        return 0;
    r = mailbox_load(a, st, known->id, first, last, &box, err);
    if (r < 0)
        return r == -ERR_NOTFOUND ? 0 : r;
    collect(box, last, (mail_clock(a->mail) - limit_ms) / 1000, &uids);
    mailbox_unref(box);
    return uids.n ? expunge(a, known->id, &uids, err) : 0;
}

static int expire_mailbox(struct account *a, uint64_t id, int64_t standard_ms, uint64_t *expunged,
                          struct error *err)
{
    int r;

    do {
        struct state *st = account_state(a);
        const struct mailbox *box = state_mailbox(st, id);
        int64_t limit_ms = box ? limit_of(st, box, standard_ms) : EXPIRE_NEVER;

        r = limit_ms ? expire_window(a, st, box, limit_ms, err) : 0;
        state_unref(st);
        *expunged += r > 0 ? (uint64_t)r : 0;
    } while (r > 0);
    return r;
}

static bool has_limit(const struct state *st, int64_t standard_ms)
{
    for (size_t i = 0; i < st->n_mailboxes; i++)
        if (limit_of(st, st->mailboxes[i], standard_ms))
            return true;
    return false;
}

int expire_account(struct mail *mail, uint64_t account, int64_t standard_ms, uint64_t *ret_expunged,
                   struct error *err)
{
    uint64_t expunged = 0;
    struct account *a;
    struct state *st;
    int r = account_open(mail, account, &a, err);

    *ret_expunged = 0;
    if (r < 0)
        return r;
    st = account_state(a);
    if (!st->closed && has_limit(st, standard_ms))
        for (size_t i = 0; i < st->n_mailboxes && r == 0; i++)
            r = expire_mailbox(a, st->mailboxes[i]->id, standard_ms, &expunged, err);
    state_unref(st);
    account_unref(a);
    *ret_expunged = expunged;
    return r;
}
