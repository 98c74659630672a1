/* SPDX-License-Identifier: MPL-2.0 */
/* The selected mailbox: the one place where sequence numbers and unsolicited responses are made.
 *
 * All of it goes through the view (lib/mail/view.h), which knows what this client has been told.
 * EXPUNGE is told only where the command's row allows it (I7).
 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mail/flagset.h"
#include "protocols/imap/impl.h"

/* Unsolicited responses per slice; 40 bytes each. */
#define TELL_SLICE 5000

void imap_select(struct imap *im, const struct mailbox *box, bool read_only)
{
    im->view = view_open((struct mailbox *)box);
    im->mailbox = box->id;
    im->read_only = read_only;
    imap_set_state(im, IMAP_SELECTED);
}

void imap_unselect(struct imap *im)
{
    imap_contexts_end(im);
    view_free(TAKE(im->view));
    free(TAKE(im->binary));
    im->mailbox = 0;
    imap_notify_unselected(im);
    uidset_done(&im->saved); /* RFC 5182 section 2.1: SELECT resets it */
    im->keywords_of = NULL;
    if (im->state == IMAP_SELECTED)
        imap_set_state(im, IMAP_AUTHENTICATED);
}

static int get_newest(struct imap *im, bool present, struct mailbox **ret, struct error *err)
{
    const struct mailbox *box;
    struct state *st;
    int r = 0;

    if (present)
        r = account_refresh(im->account, &st, err);
    else
        st = account_state(im->account);
    if (r < 0)
        return r;
    box = state_mailbox(st, im->mailbox);
    if (box) {
        imap_urlauth_update(im, st, box);
        *ret = mailbox_ref((struct mailbox *)box);
    } else {
        r = error_set(err, ERR_NOTFOUND, "no such mailbox");
    }
    state_unref(st);
    return r;
}

int imap_update(struct imap *im, bool present, struct error *err)
{
    struct mailbox *box = NULL;
    int r = get_newest(im, present, &box, err);

    if (r < 0)
        return r;
    if (box != view_mailbox(im->view)) {
        r = view_load_update(im->view, im->account, box, err);
        if (r == 0) {
            imap_contexts_update(im, view_mailbox(im->view), box);
            view_update(im->view, box);
        }
    }
    mailbox_unref(box);
    return r;
}

struct telling {
    struct imap *im;
    bool uid;
    uint32_t bound; /* uids from here on were not announced before */
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
    imap_notify_arrived(t->im, t->bound, view_bound(t->im->view) - 1);
}

void imap_write_modseq(struct imap *im, uint64_t modseq)
{
    buf_add_str(&im->s.out, "MODSEQ (");
    buf_add_u64(&im->s.out, modseq);
    buf_add_byte(&im->s.out, ')');
    im->modseq_told = true;
}

/* RFC 7162 section 3.2.4: with CONDSTORE both UID and MODSEQ; RFC 9051 section 7.5.2: UID */
void imap_write_changed(struct imap *im, uint32_t seq, const struct message *m, bool uid)
{
    struct buf *out = &im->s.out;

    imap_write_fetch(im, seq, m->uid);
    if ((uid || im->enabled & (ENABLED_CONDSTORE | ENABLED_REV2)) &&
        !(im->enabled & ENABLED_UIDONLY))
        buf_printf(out, "UID %u ", m->uid);
    imap_write_flags(out, m->flags);
    if (im->enabled & ENABLED_CONDSTORE) {
        buf_add_byte(out, ' ');
        imap_write_modseq(im, m->modseq);
    }
    buf_add_str(out, ")\r\n");
}

static void tell_flags(void *ctx, uint32_t seq, const struct message *m)
{
    struct telling *t = ctx;

    imap_write_changed(t->im, seq, m, t->uid);
}

static void tell_vanished(void *ctx, const struct uidset *uids)
{
    struct telling *t = ctx;

    for (size_t i = 0; i < uids->n; i += VANISHED_RANGES)
        imap_write_vanished(&t->im->s.out, uids, i, false);
}

#define KEYWORDS_SHOWN 500 /* in FLAGS; more are made known by FETCH alone */

struct listing {
    struct buf *out;
    unsigned left;
    size_t n;
};

static void list_keyword(void *ctx, struct slice keyword)
{
    struct listing *l = ctx;

    l->n++;
    if (!l->left)
        return;
    l->left--;
    buf_add_byte(l->out, ' ');
    buf_add_slice(l->out, keyword);
}

/* RFC 3501 section 7.2.6. The keywords of all the account's mailboxes: what one has may be set in
 * another. */
void imap_tell_keywords(struct imap *im)
{
    static const char system[] = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";
    const struct flagsets *t = view_mailbox(im->view)->flagsets;
    struct listing l = {.out = &im->s.out, .left = KEYWORDS_SHOWN};

    if (t == im->keywords_of && flagsets_keywords_count(t) == im->keywords_told)
        return;
    buf_printf(l.out, "* FLAGS (%s", system);
    flagsets_each_keyword(t, list_keyword, &l);
    im->keywords_of = t;
    im->keywords_told = l.n;
    buf_add_str(l.out, ")\r\n* OK [PERMANENTFLAGS (");
    if (!im->read_only) {
        l.left = KEYWORDS_SHOWN;
        buf_add_str(l.out, system);
        flagsets_each_keyword(t, list_keyword, &l);
        buf_add_str(l.out, " \\*");
    }
    buf_add_str(l.out, ")] These are kept\r\n");
}

bool imap_tell(struct imap *im, bool allow_expunge, bool uid)
{
    const struct view_events events = {
        .expunge = tell_expunge,
        .vanished = im->enabled & (ENABLED_QRESYNC | ENABLED_UIDONLY) ? tell_vanished : NULL,
        .exists = tell_exists,
        .flags = tell_flags,
    };
    /* RFC 5465 section 5.1: FETCH "MUST include UID" */
    struct telling t = {im, uid || im->notify, view_bound(im->view)};
    unsigned what = imap_notify_selected(im);

    imap_urlauth_tell(im);
    if (!allow_expunge)
        what &= ~(unsigned)VIEW_EXPUNGE;
    if (!what)
        return false;
    if (what & VIEW_EXPUNGE)
        imap_contexts_expunge(im);
    imap_tell_keywords(im);
    return view_emit_some(im->view, what, TELL_SLICE, &events, &t);
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

int imap_resolve_in(struct imap *im, struct view *view, struct command *cmd, const struct arg *set,
                    bool by_uid, struct uidset *ret)
{
    int r = 0;

    if (set->set.n && (by_uid || view_count(view) > 0 || !only_star(set))) {
        r = view_load_set(view, im->account, set->set.items, set->set.n, by_uid, &cmd->err);
        if (r == 0)
            r = view_resolve(view, set->set.items, set->set.n, by_uid, ret, &cmd->err);
    }
    /* RFC 5182 section 2.1: what is expunged falls out of it, for uids are never given again */
    if (r == 0 && set->set.saved)
        uidset_add_all(ret, &im->saved);
    if (r == -ERR_INVALID)
        cmd->status = "BAD";
    if (r < 0)
        return r;
    r = view_load(view, im->account, ret, &cmd->err);
    if (r < 0)
        uidset_done(ret);
    return r;
}

int imap_resolve(struct imap *im, struct command *cmd, const struct arg *set, bool by_uid,
                 struct uidset *ret)
{
    return imap_resolve_in(im, im->view, cmd, set, by_uid, ret);
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

void imap_drop_below(struct uidset *uids, uint32_t uid)
{
    struct uid_range below = {1, uid - 1};
    struct uidset rest;

    if (uid <= 1)
        return;
    rest = uidset_minus(uids, &(struct uidset){&below, 1, 1});
    uidset_done(uids);
    *uids = rest;
}

static uint64_t count_in_view(const struct view *v, const struct uidset *uids, bool only_deleted,
                              uint64_t skip, uint32_t *ret_uid)
{
    struct message m;
    uint64_t n = 0;
    uint32_t seq;

    for (struct view_iter i = view_each(v, uids); view_next(&i, &seq, &m, NULL);) {
        if (only_deleted && !(m.flags && m.flags->system & FLAG_DELETED))
            continue;
        if (n++ == skip)
            *ret_uid = m.uid;
    }
    return n;
}

uint64_t imap_count(const struct view *view, const struct uidset *uids)
{
    uint32_t unused;

    return count_in_view(view, uids, false, UINT64_MAX, &unused);
}

void imap_limit(const struct imap *im, struct view *view, struct command *cmd, struct uidset *uids,
                bool only_deleted)
{
    unsigned max = im->service->settings.message_limit;
    uint32_t lowest = 0;
    uint64_t n;

    /* what is sent unasked is no command, and has no tag */
    if (!max || !uids->n || !cmd->parsed.tag[0])
        return;
    n = count_in_view(view, uids, only_deleted, UINT64_MAX, &lowest);
    if (n <= max)
        return;
    count_in_view(view, uids, only_deleted, n - max, &lowest);
    imap_drop_below(uids, lowest);
    cmd->limited = lowest;
}

int imap_limit_check(const struct imap *im, struct command *cmd, uint64_t messages, bool saves)
{
    const struct imap_settings *s = &im->service->settings;
    unsigned max = s->message_limit ? s->message_limit : saves ? s->save_limit : 0;

    if (!max || messages <= max)
        return 0;
    return imap_no(cmd, arena_printf(&cmd->arena, "MESSAGELIMIT %u", max),
                   "That is about more than %u messages", max);
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
