/* SPDX-License-Identifier: MPL-2.0 */
/* The selected mailbox: the one place where sequence numbers and unsolicited responses are made.
 *
 * All of it goes through the view (lib/mail/view.h), which knows what this client has been told.
 * EXPUNGE is told only where the command's row allows it (I7).
 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

/* Unsolicited responses per slice; 40 bytes each. */
#define TELL_SLICE 5000

int imap_select(struct imap *im, struct state *st, const struct mailbox *box, bool read_only,
                struct error *err)
{
    struct mailbox *loaded;
    int r = mailbox_load(im->account, st, box->id, 0, UINT32_MAX, &loaded, err);

    if (r < 0)
        return r;
    im->view = view_open(loaded);
    im->mailbox = loaded->id;
    im->read_only = read_only;
    mailbox_unref(loaded);
    imap_set_state(im, IMAP_SELECTED);
    return 0;
}

void imap_unselect(struct imap *im)
{
    view_free(TAKE(im->view));
    free(TAKE(im->binary));
    im->mailbox = 0;
    uidset_done(&im->saved); /* RFC 5182 section 2.1: SELECT resets it */
    if (im->state == IMAP_SELECTED)
        imap_set_state(im, IMAP_AUTHENTICATED);
}

static int load_newest(struct imap *im, bool present, struct mailbox **ret, struct error *err)
{
    struct state *st;
    int r = 0;

    if (present)
        r = account_refresh(im->account, &st, err);
    else
        st = account_state(im->account);
    if (r < 0)
        return r;
    r = mailbox_load(im->account, st, im->mailbox, 0, UINT32_MAX, ret, err);
    state_unref(st);
    return r;
}

int imap_update(struct imap *im, bool present, struct error *err)
{
    struct mailbox *box;
    int r = load_newest(im, present, &box, err);

    if (r < 0)
        return r;
    if (box != view_mailbox(im->view))
        view_update(im->view, box);
    mailbox_unref(box);
    return 0;
}

struct telling {
    struct imap *im;
    bool uid;
};

static void tell_expunge(void *ctx, uint32_t seq, uint32_t uid)
{
    struct telling *t = ctx;

    buf_printf(&t->im->s.out, "* %u EXPUNGE\r\n", seq);
}

static void tell_exists(void *ctx, uint32_t count)
{
    struct telling *t = ctx;

    buf_printf(&t->im->s.out, "* %u EXISTS\r\n", count);
}

static void tell_flags(void *ctx, uint32_t seq, const struct message *m)
{
    struct telling *t = ctx;
    struct buf *out = &t->im->s.out;
    bool modseq = t->im->enabled & ENABLED_CONDSTORE;

    buf_printf(out, "* %u FETCH (", seq);
    if (t->uid || modseq)
        buf_printf(out, "UID %u ", m->uid);
    imap_write_flags(out, m->flags);
    if (modseq)
        buf_printf(out, " MODSEQ (%llu)", (unsigned long long)m->modseq);
    buf_add_str(out, ")\r\n");
}

bool imap_tell(struct imap *im, bool allow_expunge, bool uid)
{
    static const struct view_events events = {
        .expunge = tell_expunge,
        .exists = tell_exists,
        .flags = tell_flags,
    };
    struct telling t = {im, uid};

    return view_emit(im->view, allow_expunge, TELL_SLICE, &events, &t);
}

void imap_enable_condstore(struct imap *im)
{
    if (im->enabled & ENABLED_CONDSTORE)
        return;
    im->enabled |= ENABLED_CONDSTORE;
    /* RFC 7162 section 3.1: the first enabling command in a selected mailbox makes the server say
     * where the mailbox stands */
    if (im->view)
        buf_printf(&im->s.out, "* OK [HIGHESTMODSEQ %llu] Highest\r\n",
                   (unsigned long long)view_modseq(im->view));
}

/* RFC 3501 section 9 wants BAD for a number that is not there. "*" in an empty mailbox is no error
 * here: clients ask for 1:* before they look at EXISTS. */
static bool only_star(const struct arg *set)
{
    for (size_t i = 0; i < set->set.n; i++)
        if (set->set.items[i].first > 1 || set->set.items[i].last > 1 ||
            (set->set.items[i].first && set->set.items[i].last))
            return false;
    return true;
}

int imap_resolve(struct imap *im, struct command *cmd, const struct arg *set, bool by_uid,
                 struct uidset *ret)
{
    int r = 0;

    if (set->set.n && (by_uid || view_count(im->view) > 0 || !only_star(set)))
        r = view_resolve(im->view, set->set.items, set->set.n, by_uid, ret, &cmd->err);
    /* RFC 5182 section 2.1: what is expunged falls out of it, for uids are never given again */
    if (r == 0 && set->set.saved)
        uidset_add_all(ret, &im->saved);
    if (r == -ERR_INVALID)
        cmd->status = "BAD";
    return r;
}

int imap_resolve_set(struct imap *im, struct command *cmd, const struct arg *set,
                     struct uidset *ret)
{
    return imap_resolve(im, cmd, set, cmd->row->flags & CMD_UID, ret);
}

int imap_commit(struct imap *im, struct command *cmd, struct intent *intent)
{
    intent->account = im->account;
    mail_commit(im->service->mail, &intent, 1);
    if (intent->result < 0)
        cmd->err = intent->error;
    return intent->result;
}

bool imap_any_gone(const struct imap *im, const struct uidset *uids)
{
    struct message m;
    uint32_t seq;
    bool gone;

    for (struct view_iter i = view_each(im->view, uids); view_next(&i, &seq, &m, &gone);)
        if (gone)
            return true;
    return false;
}
