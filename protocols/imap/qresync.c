/* SPDX-License-Identifier: MPL-2.0 */
/* What a client that comes back has missed: RFC 7162 section 3.2, with lib/mail's memory of what
 * left a mailbox (state_vanished). */
#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

void imap_write_vanished(struct buf *out, const struct uidset *uids, size_t from, bool earlier)
{
    const struct uidset some = {.items = uids->items + from,
                                .n = MIN(uids->n - from, (size_t)VANISHED_RANGES)};

    buf_add_str(out, earlier ? "* VANISHED (EARLIER) " : "* VANISHED ");
    uidset_print(&some, out);
    buf_add_str(out, "\r\n");
}

/* Messages of the set that the client may see: announced (also if they are gone, but he has not
 * been told) or just arrived. */
static struct uidset there(const struct view *v, const struct uidset *among)
{
    uint32_t bound = view_bound(v), seq;
    struct uidset present = {0};
    struct message m;

    for (struct view_iter i = view_each(v, among); view_next(&i, &seq, &m, NULL);)
        uidset_add(&present, m.uid);
    for (size_t i = uidset_search(among, bound); i < among->n; i++) {
        const struct uid_range *r = &among->items[i];
        struct mailbox_iter at = mailbox_iter(view_mailbox(v), MAX(r->first, bound));

        while (mailbox_next_to(&at, r->last, &m))
            uidset_add(&present, m.uid);
    }
    return present;
}

void imap_find_vanished(const struct imap *im, const struct state *st, uint64_t since,
                        const struct uidset *known, struct uidset *ret)
{
    CLEANUP(uidset_done) struct uidset left = {0};
    CLEANUP(uidset_done) struct uidset asked = {0};
    CLEANUP(uidset_done) struct uidset present = {0};

    /* Where it is not known any more all is reported that was ever given, up to what the view can
     * tell to be there. */
    if (!state_vanished(st, im->mailbox, since, &left)) {
        uidset_clear(&left);
        if (view_mailbox(im->view)->sum.uidnext > 1)
            uidset_add_range(&left, 1, view_mailbox(im->view)->sum.uidnext - 1);
    }
    asked = known ? uidset_and(&left, known) : uidset_copy(&left);
    present = there(im->view, &asked);
    *ret = uidset_minus(&asked, &present);
}

bool imap_tell_vanished(struct imap *im, struct vanished *v)
{
    for (; v->told < v->uids.n && im->s.out.n < SESSION_SLICE; v->told += VANISHED_RANGES)
        imap_write_vanished(&im->s.out, &v->uids, v->told, true);
    return v->told < v->uids.n;
}
