/* SPDX-License-Identifier: MPL-2.0 */
/* SELECT, EXAMINE, CLOSE, UNSELECT: RFC 3501 sections 6.3.1, 6.3.2, 6.4.2, RFC 9051, RFC 3691; with
 * the QRESYNC parameter of RFC 7162 section 3.2.5. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mail/flagset.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/objectid.h"

/* --- what SELECT says --------------------------------------------------------------------------
 */

static void write_selected(struct imap *im, const struct state *st, const struct arg *name,
                           uint32_t first_unseen)
{
    const struct mailbox *box = view_mailbox(im->view);
    bool rev2 = im->enabled & ENABLED_REV2;
    bool no_number = im->enabled & (ENABLED_REV2 | ENABLED_UIDONLY);
    uint32_t unseen = no_number ? 0 : view_seq(im->view, first_unseen);
    struct buf *out = &im->s.out;

    imap_tell_keywords(im);
    buf_printf(out, "* %u EXISTS\r\n", view_count(im->view));
    if (!rev2)
        buf_add_str(out, "* 0 RECENT\r\n"); /* I13 */
    if (unseen)
        buf_printf(out, "* OK [UNSEEN %u] First unseen\r\n", unseen);
    buf_printf(out, "* OK [UIDVALIDITY %u] UIDs valid\r\n", box->uidvalidity);
    buf_printf(out, "* OK [UIDNEXT %u] Next UID\r\n", box->sum.uidnext);
    buf_printf(out, "* OK [HIGHESTMODSEQ %" PRIu64 "] Highest\r\n", view_modseq(im->view));
    buf_add_str(out, "* OK [MAILBOXID ("); /* RFC 8474 section 4.2 */
    objectid_write(out, OBJECTID_MAILBOX, box->id);
    buf_add_str(out, ")] Id\r\n");
    if (rev2) /* RFC 9051 section 6.3.2: with OLDNAME where the name was not as we write it */
        imap_write_list(im, st, box,
                        slice_eq(name->given, name->text) ? (struct slice){0} : name->given);
}

/* --- QRESYNC -----------------------------------------------------------------------------------
 */

/* What is still to be told of the time since the client was here. */
struct missed {
    struct vanished vanished;
    struct uidset known; /* changes of these are told */
    uint64_t since;
};

static void missed_free(void *context)
{
    struct missed *m = context;

    uidset_done(&m->vanished.uids);
    uidset_done(&m->known);
    free(m);
}

static const struct arg *find_word(const struct arg *list, int word)
{
    const struct arg *words = list->kind && list->n ? &list->items[0] : NULL;

    for (size_t i = 0; words && i < words->n; i++)
        if (words->items[i].word == word)
            return &words->items[i];
    return NULL;
}

/* "*" or "$" */
static bool has_star(const struct arg *set)
{
    if (set->kind && set->set.saved)
        return true;
    for (size_t i = 0; set->kind && i < set->set.n; i++)
        if (!set->set.items[i].first || !set->set.items[i].last)
            return true;
    return false;
}

static void add_uids(struct uidset *to, const struct arg *set, uint32_t max)
{
    for (size_t i = 0; i < set->set.n; i++) {
        const struct seq_range *r = &set->set.items[i];
        uint32_t first = MIN(r->first, r->last), last = MIN(MAX(r->first, r->last), max);

        if (first <= last)
            uidset_add_range(to, first, last);
    }
}

/* Walks the numbers of a set in the order in which they are written. */
struct numbers {
    const struct arg *set;
    size_t range;
    uint64_t next; /* 0: the range has not begun */
};

static bool next_number(struct numbers *n, uint32_t *ret)
{
    const struct seq_range *r;

    if (n->range == n->set->set.n)
        return false;
    r = &n->set->set.items[n->range];
    *ret = (uint32_t)(n->next ? n->next : r->first);
    n->next = (uint64_t)*ret + 1;
    if (*ret >= r->last) {
        n->range++;
        n->next = 0;
    }
    return true;
}

/* RFC 7162 section 3.2.5.2: the highest uid that still has the number it had for the client: up to
 * there he has missed no EXPUNGE. */
static uint32_t last_match(const struct view *v, const struct arg *match)
{
    struct numbers seqs = {.set = &match->items[0]}, uids = {.set = &match->items[1]};
    uint32_t seq, uid, found = 0;

    while (next_number(&seqs, &seq) && next_number(&uids, &uid) && view_uid(v, seq) == uid)
        found = uid;
    return found;
}

static bool is_match_wrong(const struct arg *match)
{
    return match->kind && (has_star(&match->items[0]) || has_star(&match->items[1]));
}

static int check_qresync(struct imap *im, struct command *cmd, const struct arg *q)
{
    if (!(im->enabled & ENABLED_QRESYNC))
        return imap_bad(cmd, "ENABLE QRESYNC first");
    if (im->enabled & ENABLED_UIDONLY && q->items[3].kind)
        return imap_uid_required(cmd);
    if (has_star(&q->items[2]) || is_match_wrong(&q->items[3]))
        return imap_bad(cmd, "* has no place in what is known");
    return 0;
}

/* q: uidvalidity, mod-sequence, known uids, (numbers, uids) */
static int find_missed(struct imap *im, struct command *cmd, const struct state *st,
                       const struct arg *q)
{
    const struct mailbox *box = view_mailbox(im->view);
    struct missed *m;
    CLEANUP(uidset_done) struct uidset asked = {0};
    uint32_t above = 0;
    int r;

    if (q->items[0].number != box->uidvalidity || box->sum.uidnext == 1 ||
        q->items[1].number >= box->sum.modseq)
        return 0;
    r = view_load(im->view, im->account, NULL, &cmd->err);
    if (r < 0)
        return r;
    m = NEW(struct missed);
    cmd->context = m;
    cmd->context_free = missed_free;
    m->since = q->items[1].number;
    if (q->items[2].kind)
        add_uids(&m->known, &q->items[2], box->sum.uidnext - 1);
    else
        uidset_add_range(&m->known, 1, box->sum.uidnext - 1);
    if (q->items[3].kind)
        above = last_match(im->view, &q->items[3]);
    asked = uidset_copy(&m->known);
    if (above) {
        struct uid_range below = {1, above};
        struct uidset rest = uidset_minus(&m->known, &(struct uidset){&below, 1, 1});

        uidset_done(&asked);
        asked = rest;
    }
    imap_find_vanished(im, st, m->since, &asked, &m->vanished.uids);
    return 0;
}

static int tell_missed(struct imap *im, struct command *cmd)
{
    struct missed *m = cmd->context;
    struct message msg;
    uint32_t seq;

    if (imap_tell_vanished(im, &m->vanished))
        return RUN_AGAIN;
    for (struct view_iter i = view_each(im->view, &m->known); view_next(&i, &seq, &msg, NULL);) {
        if (msg.modseq <= m->since)
            continue;
        if (im->s.out.n >= SESSION_SLICE) {
            imap_drop_below(&m->known, msg.uid);
            return RUN_AGAIN;
        }
        imap_write_changed(im, seq, &msg, true);
    }
    return 0;
}

/* --- commands ----------------------------------------------------------------------------------
 */

static int open_mailbox(struct imap *im, struct command *cmd, bool read_only)
{
    struct arg *args = cmd->parsed.args;
    const struct arg *qresync = find_word(&args[1], SELECT_QRESYNC);
    const struct mailbox *box;
    struct state *st;
    uint32_t unseen;
    int r = qresync ? check_qresync(im, cmd, &qresync->items[0]) : 0;

    if (r == 0)
        r = account_refresh(im->account, &st, &cmd->err);
    if (r < 0)
        return r;
    box = state_mailbox_named(st, args[0].text);
    if (box)
        r = mailbox_load_summary(im->account, box, &unseen, &cmd->err);
    else
        r = imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    if (r == 0) {
        imap_select(im, box, read_only);
        if (find_word(&args[1], SELECT_CONDSTORE))
            im->enabled |= ENABLED_CONDSTORE;
        write_selected(im, st, &args[0], unseen);
        imap_urlauth_selected(im, st);
        if (qresync)
            r = find_missed(im, cmd, st, &qresync->items[0]);
    }
    state_unref(st);
    return r;
}

static int select_mailbox(struct imap *im, struct command *cmd, bool read_only)
{
    int r = cmd->context ? 0 : open_mailbox(im, cmd, read_only);

    if (r < 0)
        return r;
    cmd->code = read_only ? "READ-ONLY" : "READ-WRITE";
    cmd->text = "Selected";
    return cmd->context ? tell_missed(im, cmd) : 0;
}

int cmd_select(struct imap *im, struct command *cmd)
{
    return select_mailbox(im, cmd, false);
}

int cmd_examine(struct imap *im, struct command *cmd)
{
    return select_mailbox(im, cmd, true);
}

/* RFC 7162 section 3.2.8: HIGHESTMODSEQ must not be said here, as the client has not been told what
 * is gone. */
int cmd_close(struct imap *im, struct command *cmd)
{
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_EXPUNGE,
        .mailbox = im->mailbox,
        .only_deleted = true,
    };
    int r = 0;

    if (!im->read_only) {
        uidset_add_range(&intent.uids, 1, UINT32_MAX);
        r = imap_commit(im, cmd, &intent);
        uidset_done(&intent.uids);
    }
    /* gone already, and with it all that was to be expunged */
    if (r == -ERR_NOTFOUND)
        r = 0;
    if (r == 0)
        imap_unselect(im);
    return r;
}

int cmd_unselect(struct imap *im, struct command *cmd)
{
    imap_unselect(im);
    return 0;
}
