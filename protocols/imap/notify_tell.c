/* SPDX-License-Identifier: MPL-2.0 */
/* What has become different in an account between two of its states, as STATUS and LIST responses
 * (RFC 5465 section 5). */
#include <inttypes.h>

#include "lib/base/mem.h"
#include "protocols/imap/mailbox_list.h"
#include "protocols/imap/notify.h"

struct telling {
    struct imap *im;
    struct notify *n;
    const struct notify_own *own; /* NULL: all is by others */
};

static unsigned events_of(const struct telling *t, const struct state *st,
                          const struct mailbox *box)
{
    const struct notify_group *g = notify_group_of(t->n, st, slice_str(box->name));

    return g ? g->events : 0;
}

/* --- names -------------------------------------------------------------------------------------
 */

/* Is one the other, or below it? */
static bool are_related(struct slice a, struct slice b)
{
    struct slice less = a.n < b.n ? a : b, more = a.n < b.n ? b : a;

    return less.n && slice_starts(more, less) && (more.n == less.n || more.p[less.n] == '/');
}

static bool is_own_name(const struct telling *t, struct slice name)
{
    return t->own && (are_related(name, t->own->a) || are_related(name, t->own->b));
}

static const struct mailbox *superior_of(const struct state *st, struct slice name)
{
    size_t n = name.n;

    while (n && name.p[n - 1] != '/')
        n--;
    return n > 1 ? state_mailbox_named(st, slice_sub(name, 0, n - 1)) : NULL;
}

/* Section 5.4: "the server SHOULD also notify the client" of \HasChildren and \HasNoChildren. */
static void tell_superior(struct telling *t, struct slice name)
{
    const struct state *next = t->n->next, *seen = t->n->seen;
    const struct mailbox *box = superior_of(next, name);

    if (!box || box->id == t->n->superior || !state_mailbox(seen, box->id) ||
        !(events_of(t, next, box) & NOTIFY_MAILBOX_NAME))
        return;
    if (mailbox_has_children(next, slice_str(box->name)) ==
        mailbox_has_children(seen, slice_str(box->name)))
        return;
    t->n->superior = box->id;
    imap_write_list(t->im, next, box, (struct slice){0});
}

static void tell_name(struct telling *t, const struct mailbox *old, const struct mailbox *now)
{
    struct slice before = old ? slice_str(old->name) : (struct slice){0};
    struct slice after = now ? slice_str(now->name) : (struct slice){0};

    if (old && now && slice_eq(before, after))
        return;
    if ((old && is_own_name(t, before)) || (now && is_own_name(t, after)))
        return;
    if (now)
        imap_write_list(t->im, t->n->next, now, before);
    else if (!state_mailbox_named(t->n->next, before))
        imap_write_list_name(t->im, t->n->next, before);
    if (now)
        tell_superior(t, after);
    if (old)
        tell_superior(t, before);
}

/* --- messages ----------------------------------------------------------------------------------
 */

static bool is_own_arrival(const struct telling *t, const struct mailbox *now, uint32_t uidnext,
                           uint64_t exists)
{
    const struct notify_own *own = t->own;

    return own && own->mailbox == now->id && uidnext == own->first &&
           now->sum.uidnext == own->first + own->count && now->sum.exists == exists + own->count;
}

void notify_write_status(struct imap *im, const struct mailbox *box, bool modseq)
{
    struct buf *out = &im->s.out;

    buf_add_str(out, "* STATUS ");
    imap_write_mailbox(im, out, slice_str(box->name));
    buf_printf(out, " (MESSAGES %u UIDNEXT %u UIDVALIDITY %u UNSEEN %u", box->sum.exists,
               box->sum.uidnext, box->uidvalidity, box->sum.unseen);
    if (modseq)
        buf_printf(out, " HIGHESTMODSEQ %" PRIu64, box->sum.modseq);
    buf_add_str(out, ")\r\n");
}

/* Sections 5.1 to 5.3: HIGHESTMODSEQ where it is enabled, or where it is what tells of flags. */
static void tell_messages(struct telling *t, unsigned events, const struct mailbox *old,
                          const struct mailbox *now)
{
    uint32_t uidnext = old ? old->sum.uidnext : 1;
    uint64_t exists = old ? old->sum.exists : 0;
    bool moved = now->sum.uidnext != uidnext || now->sum.exists != exists;
    bool flags = events & NOTIFY_FLAG_CHANGE;

    if (!moved && !(flags && old && now->sum.modseq != old->sum.modseq))
        return;
    if (moved && is_own_arrival(t, now, uidnext, exists))
        return;
    notify_write_status(t->im, now, flags || t->im->enabled & ENABLED_CONDSTORE);
}

/* --- all ---------------------------------------------------------------------------------------
 */

/* The next mailbox of either state, in the order of their ids; NULL: it is not in that one. */
static bool next_pair(struct notify *n, const struct mailbox **ret_old,
                      const struct mailbox **ret_now)
{
    const struct mailbox *old = NULL, *now = NULL;

    if (n->at_seen < n->seen->n_mailboxes)
        old = n->seen->mailboxes[n->at_seen];
    if (n->at_next < n->next->n_mailboxes)
        now = n->next->mailboxes[n->at_next];
    if (!old && !now)
        return false;
    if (old && now && old->id < now->id)
        now = NULL;
    else if (old && now && now->id < old->id)
        old = NULL;
    n->at_seen += old != NULL;
    n->at_next += now != NULL;
    *ret_old = old;
    *ret_now = now;
    return true;
}

static void tell_pair(struct telling *t, const struct mailbox *old, const struct mailbox *now)
{
    unsigned events = now ? events_of(t, t->n->next, now) : events_of(t, t->n->seen, old);
    bool is_selected = now && t->im->view && now->id == t->im->mailbox;

    if (old && now && strcmp(old->name, now->name) != 0) /* out of what is watched, or into it */
        events |= events_of(t, t->n->seen, old) & NOTIFY_MAILBOX_NAME;
    if (events & NOTIFY_MAILBOX_NAME)
        tell_name(t, old, now);
    if (now && events & NOTIFY_MESSAGES && !is_selected)
        tell_messages(t, events, old, now);
}

typedef VEC(struct slice) names;

static bool add_name(void *ctx, struct slice name)
{
    *VEC_PUSH((names *)ctx) = name;
    return true;
}

static void tell_subscription(struct telling *t, struct slice name, const struct state *st)
{
    const struct notify_group *g = notify_group_of(t->n, st, name);

    if (g && g->events & NOTIFY_SUBSCRIPTION && !is_own_name(t, name))
        imap_write_list_name(t->im, t->n->next, name);
}

/* Section 5.5. With SUBSCRIBED as the specifier a name that is not subscribed any more was covered
 * before. */
static void tell_subscriptions(struct telling *t)
{
    const struct notify *n = t->n;
    names old = {0}, now = {0};
    size_t i = 0, k = 0;

    if (n->seen->subscribed == n->next->subscribed || !(n->any & NOTIFY_SUBSCRIPTION))
        return;
    state_each_subscribed(n->seen, add_name, &old);
    state_each_subscribed(n->next, add_name, &now);
    while (i < old.n || k < now.n) {
        int cmp = i == old.n ? 1 : k == now.n ? -1 : slice_cmp(old.items[i], now.items[k]);

        if (cmp < 0)
            tell_subscription(t, old.items[i], n->seen);
        if (cmp > 0)
            tell_subscription(t, now.items[k], n->next);
        i += cmp <= 0;
        k += cmp >= 0;
    }
    VEC_DONE(&old);
    VEC_DONE(&now);
}

static bool begin(struct imap *im, struct notify *n)
{
    if (n->next)
        return true;
    n->next = account_state(im->account);
    n->at_seen = n->at_next = 0;
    n->superior = 0;
    if (n->next->seq > n->seen->seq)
        return true;
    state_unref(TAKE(n->next));
    return false;
}

bool notify_tell(struct imap *im, size_t max, const struct notify_own *own)
{
    struct notify *n = im->notify;
    struct telling t = {im, n, own};
    const struct mailbox *old, *now;

    if (!n || !n->any || !begin(im, n))
        return false;
    while (next_pair(n, &old, &now)) {
        if (old != now)
            tell_pair(&t, old, now);
        if (im->s.out.n >= max)
            return true;
    }
    tell_subscriptions(&t);
    state_unref(n->seen);
    n->seen = TAKE(n->next);
    return false;
}
