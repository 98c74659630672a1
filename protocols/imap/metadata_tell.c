/* SPDX-License-Identifier: MPL-2.0 */
/* Unsolicited METADATA responses (RFC 5464 section 4.4.2).
 *
 * The session keeps the state of which the client knows all annotations; the newest state is
 * compared with it. Mailboxes that did not change are shared by both, so that this costs little
 * more than a look at each pointer, and only for clients that have asked for it by ENABLE or
 * NOTIFY.
 */
#include "lib/base/mem.h"
#include "protocols/imap/metadata.h"

struct telling {
    struct imap *im;
    const struct state *old, *now;
    const struct mailbox *old_box, *box; /* now; both NULL: of the server */
    /* Entries that this session has set itself: not told ("by a third-party") */
    uint64_t own_mailbox;
    const struct slice *own;
    size_t n_own;
    bool begun; /* the response of this mailbox */
};

static bool is_own(const struct telling *t, struct slice name)
{
    if (!t->n_own || t->own_mailbox != (t->box ? t->box->id : 0))
        return false;
    for (size_t i = 0; i < t->n_own; i++)
        if (slice_eq(t->own[i], name))
            return true;
    return false;
}

static void tell(struct telling *t, struct slice name)
{
    struct buf *out = &t->im->s.out;

    if (is_own(t, name))
        return;
    if (!t->begun) {
        buf_add_str(out, "* METADATA ");
        imap_write_mailbox(t->im, out, t->box ? slice_str(t->box->name) : S(""));
    }
    t->begun = true;
    buf_add_byte(out, ' ');
    imap_write_string(out, name);
}

static struct slice old_value(const struct telling *t, struct slice key)
{
    if (t->box)
        return t->old_box ? mailbox_value(t->old_box, key) : (struct slice){NULL, 0};
    return state_value(t->old, key);
}

static struct slice new_value(const struct telling *t, struct slice key)
{
    return t->box ? mailbox_value(t->box, key) : state_value(t->now, key);
}

/* Of what is there now: new or changed. */
static bool tell_changed(void *ctx, struct slice key, struct slice value)
{
    struct telling *t = ctx;

    if (key.p[0] == '/' && !slice_eq(old_value(t, key), value))
        tell(t, key);
    return true;
}

/* Of what was there: gone. */
static bool tell_gone(void *ctx, struct slice key, struct slice value)
{
    struct telling *t = ctx;

    if (key.p[0] == '/' && !new_value(t, key).n)
        tell(t, key);
    return true;
}

static void end_line(struct telling *t)
{
    if (t->begun)
        buf_add_str(&t->im->s.out, "\r\n");
    t->begun = false;
}

static void tell_mailbox(struct telling *t, const struct mailbox *box)
{
    t->box = box;
    t->old_box = state_mailbox(t->old, box->id);
    if (t->old_box == box || !imap_notify_wants_metadata(t->im, t->now, box))
        return;
    if (!t->old_box || t->old_box->values != box->values) {
        mailbox_each_value(box, tell_changed, t);
        if (t->old_box)
            mailbox_each_value(t->old_box, tell_gone, t);
    }
    if ((t->old_box ? t->old_box->uses : 0) != box->uses)
        tell(t, S("/private/specialuse"));
    end_line(t);
}

static void tell_server(struct telling *t)
{
    t->box = t->old_box = NULL;
    if (t->old->values == t->now->values || !imap_notify_wants_metadata(t->im, t->now, NULL))
        return;
    state_each_value(t->now, tell_changed, t);
    state_each_value(t->old, tell_gone, t);
    end_line(t);
}

static void tell_all(struct telling *t, struct state *now)
{
    struct imap *im = t->im;

    t->old = im->metadata_seen;
    t->now = now;
    if (t->old->seq != now->seq) {
        tell_server(t);
        for (size_t i = 0; i < now->n_mailboxes; i++)
            tell_mailbox(t, now->mailboxes[i]);
    }
    state_unref(im->metadata_seen);
    im->metadata_seen = state_ref(now);
}

void imap_metadata_tell(struct imap *im, bool present)
{
    struct telling t = {.im = im};
    struct state *now = NULL;

    if (!im->metadata_seen)
        return;
    /* unreachable: then at the next command */
    if (present && account_refresh(im->account, &now, NULL) < 0)
        return;
    if (!now)
        now = account_state(im->account);
    tell_all(&t, now);
    state_unref(now);
}

void imap_metadata_own(struct imap *im, uint64_t mailbox, const struct slice *names, size_t n)
{
    struct telling t = {.im = im, .own_mailbox = mailbox, .own = names, .n_own = n};
    struct state *now;

    if (!im->metadata_seen)
        return;
    now = account_state(im->account);
    tell_all(&t, now);
    state_unref(now);
}

void imap_enable_metadata(struct imap *im)
{
    if (!im->metadata_seen)
        im->metadata_seen = account_state(im->account);
    im->enabled |= ENABLED_METADATA;
}

void imap_metadata_forget(struct imap *im)
{
    state_unref(TAKE(im->metadata_seen));
}
