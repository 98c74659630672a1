/* SPDX-License-Identifier: MPL-2.0 */
/* Opening a mailbox, with and without something remembered of it, and comparing what is known with
 * what is (I11, I14). */
#include <inttypes.h>
#include <string.h>

#include "lib/base/clock.h"
#include "tests/stress/client.h"

static bool all_known(const struct client *c)
{
    for (size_t i = 0; i < c->msgs.n; i++)
        if (!c->msgs.items[i].uid || !c->msgs.items[i].modseq)
            return false;
    return true;
}

static void copy_msgs(struct msgs *to, const struct msgs *from)
{
    to->n = 0;
    for (size_t i = 0; i < from->n; i++)
        *VEC_PUSH(to) = from->items[i];
}

void client_remember(struct client *c)
{
    struct cache *k;

    if (c->box < 0)
        return;
    k = &c->caches[c->box];
    k->valid = c->modseq && c->msgs.n && all_known(c);
    k->modseq = c->modseq;
    copy_msgs(&k->msgs, &c->msgs);
}

void client_learn_new(struct client *c)
{
    uint32_t below = 0;
    size_t i = 0;

    for (; i < c->msgs.n && c->msgs.items[i].uid && c->msgs.items[i].modseq; i++)
        below = c->msgs.items[i].uid;
    if (i < c->msgs.n)
        client_command(c, 0, "UID FETCH %u:* (FLAGS MODSEQ)", below + 1);
}

static const struct msg *find_msg(const struct msgs *list, uint32_t uid)
{
    size_t low = 0, high = list->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (list->items[mid].uid < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low < list->n && list->items[low].uid == uid ? &list->items[low] : NULL;
}

/* --- with CONDSTORE -------------------------------------------------------------------------- */

static void resync_condstore(struct client *c, const struct cache *k, uint32_t uidnext)
{
    if (!c->msgs.n)
        return;
    client_command(c, 0, "UID FETCH 1:* (FLAGS MODSEQ) (CHANGEDSINCE %" PRIu64 ")", k->modseq);
    client_command(c, 0, "UID FETCH 1:* (UID)");
    for (size_t i = 0; i < c->msgs.n; i++) {
        struct msg *m = &c->msgs.items[i];
        const struct msg *old = find_msg(&k->msgs, m->uid);

        if (m->modseq || !m->uid)
            continue;
        if (old)
            *m = *old;
        else if (m->uid < uidnext)
            ledger_fail(&c->conn, "I11: uid %u is new since %" PRIu64 " and was not fetched",
                        m->uid, k->modseq);
    }
}

/* --- with QRESYNC ---------------------------------------------------------------------------- */

static bool has_uid(const struct uids *list, uint32_t uid)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i] == uid)
            return true;
    return false;
}

/* What was remembered, without what has vanished, and what was fetched, is all there is; but of
 * uids that were not named as known nothing is told. */
static void resync_qresync(struct client *c, const struct cache *k, bool named)
{
    size_t at = 0, i = 0;

    while (at < c->msgs.n) {
        struct msg *m = &c->msgs.items[at];

        while (i < k->msgs.n && has_uid(&c->vanished, k->msgs.items[i].uid))
            i++;
        if (i < k->msgs.n && (!m->uid || m->uid >= k->msgs.items[i].uid)) {
            if (!m->uid)
                *m = k->msgs.items[i];
            else if (m->uid > k->msgs.items[i].uid)
                ledger_fail(&c->conn, "I11: uid %u is gone and was not in VANISHED",
                            k->msgs.items[i].uid);
            i++;
        }
        if (!m->uid && !named)
            ledger_fail(&c->conn, "I11: message %zu is new and was not fetched", at + 1);
        at++;
    }
    while (i < k->msgs.n && has_uid(&c->vanished, k->msgs.items[i].uid))
        i++;
    if (i < k->msgs.n)
        ledger_fail(&c->conn, "I11: uid %u is gone and was not in VANISHED", k->msgs.items[i].uid);
}

/* --- both ------------------------------------------------------------------------------------ */

/* What changed up to the HIGHESTMODSEQ of SELECT must have been told. */
static void check_resynced(struct client *c, uint64_t since, uint64_t upto)
{
    struct msgs before = {0};

    copy_msgs(&before, &c->msgs);
    if (c->msgs.n)
        client_command(c, 0, "UID FETCH 1:* (FLAGS MODSEQ)");
    for (size_t i = 0; i < c->msgs.n; i++) {
        const struct msg *m = &c->msgs.items[i];
        const struct msg *old = m->uid ? find_msg(&before, m->uid) : NULL;

        if (old && old->modseq != m->modseq && m->modseq <= upto)
            ledger_fail(&c->conn,
                        "I11: uid %u changed at %" PRIu64 " and was not told since %" PRIu64,
                        m->uid, m->modseq, since);
    }
    VEC_DONE(&before);
}

static void check_present(struct client *c, uint32_t top_uid, uint64_t top_modseq, uint64_t begun)
{
    if (c->status.uidnext <= top_uid)
        ledger_fail(&c->conn, "I2: UIDNEXT %u after uid %u was told", c->status.uidnext, top_uid);
    if (c->modseq < top_modseq)
        ledger_fail(&c->conn, "I10: HIGHESTMODSEQ %" PRIu64 " after MODSEQ %" PRIu64 " was told",
                    c->modseq, top_modseq);
    for (size_t i = 0; i < c->msgs.n; i++)
        if (c->msgs.items[i].uid)
            ledger_shown(&c->conn, c->box, c->msgs.items[i].uid, begun);
}

static void say_select(struct client *c, const struct cache *k, bool quick, bool named)
{
    if (named)
        client_command(c, 0, "SELECT Stress%d (QRESYNC (%u %" PRIu64 " 1:%u))", c->box,
                       c->status.uidvalidity, k->modseq, k->msgs.items[k->msgs.n - 1].uid);
    else if (quick)
        client_command(c, 0, "SELECT Stress%d (QRESYNC (%u %" PRIu64 "))", c->box,
                       c->status.uidvalidity, k->modseq);
    else
        client_command(c, 0, "SELECT Stress%d%s", c->box, c->qresync ? "" : " (CONDSTORE)");
}

void client_select(struct client *c, int box)
{
    struct cache *k = &c->caches[box];
    uint32_t top_uid = ledger_top_uid(box);
    uint64_t top_modseq = ledger_top_modseq(box), begun, upto;
    bool quick, named;

    client_remember(c);
    quick = k->valid && c->qresync && client_roll(c, 4);
    named = quick && client_roll(c, 2);
    if (quick) /* for the UIDVALIDITY */
        client_command(c, 0, "STATUS Stress%d (UIDVALIDITY)", box);
    c->box = box;
    c->msgs.n = 0;
    c->modseq = 0;
    begun = ledger_clock();
    say_select(c, k, quick, named);
    upto = c->modseq;
    if (quick)
        resync_qresync(c, k, named);
    else if (k->valid)
        resync_condstore(c, k, c->status.uidnext);
    if (named)
        client_learn_new(c);
    check_present(c, top_uid, top_modseq, begun);
    check_resynced(c, k->valid ? k->modseq : 0, upto);
}

/* --- comparing ------------------------------------------------------------------------------- */

static bool knows_all(const struct client *c, const struct truth *list, uint32_t n)
{
    if (c->msgs.n != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (c->msgs.items[i].uid &&
            (c->msgs.items[i].uid != list[i].uid || c->msgs.items[i].flags != list[i].flags))
            return false;
    return true;
}

static void compare(struct client *c, const struct truth *list, uint32_t n)
{
    if (c->msgs.n != n)
        ledger_fail(&c->conn, "I8: %zu messages were told, there are %u", c->msgs.n, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct msg *m = &c->msgs.items[i];

        if (m->uid != list[i].uid)
            ledger_fail(&c->conn, "I8: message %u is uid %u, not %u", i + 1, list[i].uid, m->uid);
        if (m->flags != list[i].flags || m->modseq != list[i].modseq)
            ledger_fail(&c->conn,
                        "I14: uid %u has flags %x since %" PRIu64
                        ", was told to have %x since %" PRIu64,
                        m->uid, list[i].flags, list[i].modseq, m->flags, m->modseq);
    }
}

void client_await_told(struct client *c, const struct truth *list, uint32_t n)
{
    int64_t end = clock_mono_ms() + c->world->announce_ms;

    while (c->idling && !knows_all(c, list, n)) {
        if (clock_mono_ms() > end)
            ledger_fail(&c->conn, "I14: in IDLE it was not told everything within %d ms",
                        c->world->announce_ms);
        client_listen(c, 5);
    }
}

void client_verify(struct client *c, const struct truth *list, uint32_t n)
{
    client_idle_end(c);
    client_command(c, 0, "NOOP");
    client_learn_new(c);
    compare(c, list, n);
}

struct truth *client_read_all(struct client *c, uint32_t *ret_n)
{
    struct truth *list;

    if (c->msgs.n)
        client_command(c, 0,
                       "UID FETCH 1:* (UID FLAGS MODSEQ RFC822.SIZE INTERNALDATE "
                       "BODY.PEEK[HEADER.FIELDS (X-STRESS)])");
    list = NEW_ARRAY(struct truth, c->msgs.n + 1);
    for (size_t i = 0; i < c->msgs.n; i++)
        list[i] =
            (struct truth){c->msgs.items[i].uid, c->msgs.items[i].flags, c->msgs.items[i].modseq};
    *ret_n = (uint32_t)c->msgs.n;
    return list;
}
