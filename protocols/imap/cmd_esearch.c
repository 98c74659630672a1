/* SPDX-License-Identifier: MPL-2.0 */
/* ESEARCH: RFC 7377, one SEARCH in many mailboxes.
 *
 * They are searched one after the other, each in a view of its own, of one state of the account;
 * the selected one as the client sees it. Each has its own answer, if anything was found in it.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/imap/mailbox_filter.h"
#include "protocols/imap/search_return.h"
#include "protocols/imap/search_run.h"

struct esearch {
    struct state *st;
    VEC(const struct mailbox *) boxes; /* of the state */
    size_t at;
    struct view
        *view; /* of the mailbox that is being searched; NULL: none is, or the selected one */
    struct search_run *run; /* NULL: none is being searched */
    struct search_return found;
    struct command *cmd;
    bool some_gone;
};

static void end_mailbox(struct esearch *e)
{
    if (e->run) {
        search_run_done(e->run);
        free(TAKE(e->run));
    }
    search_return_done(&e->found);
    view_free(TAKE(e->view));
}

static void esearch_free(void *context)
{
    struct esearch *e = context;

    end_mailbox(e);
    VEC_DONE(&e->boxes);
    state_unref(e->st);
    free(e);
}

/* --- which mailboxes ---------------------------------------------------------------------------
 */

static bool is_selected(const struct imap *im, const struct mailbox *box)
{
    return im->view && box->id == im->mailbox;
}

static bool is_meant(const struct imap *im, const struct state *st, const struct mailbox *box,
                     const struct arg *filters)
{
    for (size_t i = 0; i < filters->n; i++) {
        struct mailbox_filter f = mailbox_filter_read(&filters->items[i]);

        if (f.kind == FILTER_SELECTED ? is_selected(im, box)
                                      : mailbox_filter_covers(&f, st, slice_str(box->name)))
            return true;
    }
    return false;
}

/* The selected mailbox comes last: what is an error in another one is found before anything is
 * said. */
static void collect(const struct imap *im, struct esearch *e, const struct arg *filters)
{
    const struct mailbox *selected = NULL;

    for (size_t i = 0; i < e->st->n_mailboxes; i++) {
        const struct mailbox *box = e->st->mailboxes[i];

        if (filters ? !is_meant(im, e->st, box, filters) : !is_selected(im, box))
            continue;
        if (is_selected(im, box))
            selected = box;
        else
            *VEC_PUSH(&e->boxes) = box;
    }
    if (selected)
        *VEC_PUSH(&e->boxes) = selected;
}

static bool has_filter(const struct arg *filters, enum mailbox_filter_kind kind)
{
    for (size_t i = 0; filters && i < filters->n; i++)
        if (filters->items[i].word == (int)kind)
            return true;
    return false;
}

/* RFC 7377 section 2: SELECTED-DELAYED is none of the sources, SELECTED needs a selected mailbox,
 * and SAVE is for that one alone. */
static int check(const struct imap *im, struct command *cmd, const struct search_return *found,
                 const struct arg *filters)
{
    bool alone = !filters || (filters->n == 1 && has_filter(filters, FILTER_SELECTED));

    if (has_filter(filters, FILTER_SELECTED_DELAYED))
        return imap_bad(cmd, "SELECTED-DELAYED has no meaning here");
    if (!im->view && (!filters || has_filter(filters, FILTER_SELECTED)))
        return imap_bad(cmd, "No mailbox is selected");
    if (found->options & RETURN_SAVE && !alone)
        return imap_bad(cmd, "SAVE is for the selected mailbox alone");
    if (im->enabled & ENABLED_UTF8 && cmd->parsed.args[2].kind)
        return imap_bad(cmd, "After ENABLE UTF8=ACCEPT all strings are UTF-8");
    return 0;
}

static int begin(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    const struct arg *filters = args[0].kind ? &args[0].items[0].items[0] : NULL;
    CLEANUP(search_return_done) struct search_return found = {0};
    uint64_t messages = 0;
    struct esearch *e;
    struct state *st;
    int r = search_return_read(&found, im, cmd, &args[1]);

    if (r == 0)
        r = check(im, cmd, &found, filters);
    if (r == 0)
        r = account_refresh(im->account, &st, &cmd->err);
    if (r < 0)
        return r;
    /* RFC 5267 section 4.3.1: updates are of the selected mailbox, by SEARCH */
    if (found.update)
        buf_printf(&im->s.out, "* NO [NOUPDATE \"%s\"] Use SEARCH for updates\r\n",
                   cmd->parsed.tag);
    e = NEW(struct esearch);
    e->st = st;
    e->cmd = cmd;
    cmd->context = e;
    cmd->context_free = esearch_free;
    collect(im, e, filters);
    for (size_t i = 0; i < e->boxes.n; i++)
        messages += e->boxes.items[i]->sum.exists;
    return imap_limit_check(im, cmd, messages, false);
}

/* --- one mailbox -------------------------------------------------------------------------------
 */

static void hit(void *ctx, uint32_t seq, const struct message *m)
{
    struct esearch *e = ctx;

    search_return_add(&e->found, e->cmd, seq, m->uid, m->modseq);
}

static int begin_mailbox(struct imap *im, struct command *cmd, struct esearch *e)
{
    const struct mailbox *box = e->boxes.items[e->at];
    const struct arg *args = cmd->parsed.args;
    struct slice charset = args[2].kind ? args[2].items[0].text : (struct slice){0};
    struct view *view = im->view;
    int r;

    if (!is_selected(im, box))
        view = e->view = view_open((struct mailbox *)box);
    r = view_load(view, im->account, NULL, &cmd->err);
    if (r < 0)
        return r;
    e->found = (struct search_return){.view = view, .box = box};
    r = search_return_read(&e->found, im, cmd, &args[1]);
    e->found.extended = true;
    e->run = NEW(struct search_run);
    if (r == 0)
        r = search_run_begin(e->run, im, view, cmd, charset, &args[3]);
    return r;
}

/* A mailbox in which nothing was found has no answer. */
static int go_on(struct imap *im, struct command *cmd, struct esearch *e, int64_t until)
{
    int r = e->run ? 0 : begin_mailbox(im, cmd, e);

    if (r == 0 && !e->found.writing)
        r = search_run_step(e->run, im, cmd, until, hit, e);
    if (r == 0 && (e->found.count || e->found.options & RETURN_SAVE))
        r = search_return_write(&e->found, im, cmd, "SEARCH", e->run->tree.modseq);
    if (r != 0)
        return r;
    e->some_gone |= e->run->some_gone;
    end_mailbox(e);
    e->at++;
    return 0;
}

int cmd_esearch(struct imap *im, struct command *cmd)
{
    int64_t until = clock_mono_ms() + SEARCH_WORK_MS;
    int r = cmd->context ? 0 : begin(im, cmd);
    struct esearch *e = cmd->context;

    while (r == 0 && e->at < e->boxes.n) {
        r = go_on(im, cmd, e, until);
        if (r == 0 && (im->s.out.n >= SESSION_SLICE || clock_mono_ms() >= until))
            r = RUN_AGAIN;
    }
    if (r == 0 && e->some_gone)
        cmd->text = "Some of the messages could not be read";
    return e ? search_return_refused(&e->found, im, cmd, r) : r;
}
