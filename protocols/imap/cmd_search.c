/* SPDX-License-Identifier: MPL-2.0 */
/* SEARCH: RFC 3501 section 6.4.4, RFC 7162 section 3.1.5.
 *
 * Goes through the mailbox in batches: messages that may match by what the view knows, their
 * digests in one read, then the whole program on each. It gives way after a while of work, also
 * within a message, so that a search through large contents holds no worker for longer.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/imap/search_tree.h"

#define BATCH   256
#define WORK_MS 100 /* then others have their turn */

struct candidate {
    uint32_t seq;
    struct message m;
};

struct search {
    struct search_tree tree;
    uint32_t next_uid; /* messages below have been looked at */
    bool ended;        /* no more candidates */
    bool some_gone;
    uint64_t modseq; /* highest of those found */
    struct candidate batch[BATCH];
    struct slice digests[BATCH];
    struct hold *hold;
    size_t n, at;
};

static void search_free(void *context)
{
    struct search *s = context;

    hold_release(s->hold);
    search_tree_done(&s->tree);
    free(s);
}

static int begin(struct imap *im, struct command *cmd)
{
    struct search *s = NEW(struct search);
    int r;

    cmd->context = s;
    cmd->context_free = search_free;
    s->next_uid = 1;
    r = search_tree_compile(&s->tree, im, cmd);
    if (r < 0)
        return r;
    if (s->tree.modseq)
        imap_enable_condstore(im);
    buf_add_str(&im->s.out, "* SEARCH");
    return 0;
}

/* The uids still to be looked at, narrowed by the first set that the program has at its top. */
static struct uidset rest_of(const struct search *s)
{
    const struct search_node *root = s->tree.root;
    struct uidset rest = {0};

    for (size_t i = 0; i < root->n; i++) {
        const struct uidset *set = &root->children[i]->uids;

        if (root->children[i]->op != SEARCH_UID)
            continue;
        for (size_t k = 0; k < set->n; k++)
            if (set->items[k].last >= s->next_uid)
                uidset_add_range(&rest, MAX(set->items[k].first, s->next_uid), set->items[k].last);
        return rest;
    }
    uidset_add_range(&rest, s->next_uid, UINT32_MAX);
    return rest;
}

static void fill_batch(struct imap *im, struct search *s, int64_t until)
{
    CLEANUP(uidset_done) struct uidset rest = rest_of(s);
    struct candidate *to = s->batch;
    struct view_iter i;
    unsigned looked_at = 0;
    bool gone;

    s->n = s->at = 0;
    s->ended = true;
    if (!rest.n)
        return;
    i = view_each(im->view, &rest);
    while (view_next(&i, &to->seq, &to->m, &gone)) {
        s->next_uid = to->m.uid + 1;
        if (!gone && search_tree_may_match(&s->tree, &to->m)) {
            to++;
            s->n++;
        }
        if (s->n == BATCH || (++looked_at % BATCH == 0 && clock_mono_ms() >= until)) {
            s->ended = false;
            return;
        }
    }
}

static int next_batch(struct imap *im, struct search *s, int64_t until, struct error *err)
{
    uint64_t ids[BATCH];

    if (s->hold)
        hold_release(TAKE(s->hold));
    fill_batch(im, s, until);
    if (!s->n || s->tree.root->cost == 0)
        return 0;
    for (size_t i = 0; i < s->n; i++)
        ids[i] = s->batch[i].m.id;
    return message_digests(im->account, ids, s->n, s->digests, &s->hold, err);
}

static int look_at(struct imap *im, struct command *cmd, struct search *s, int64_t until)
{
    const struct candidate *c = &s->batch[s->at];
    int r = search_tree_match(&s->tree, im->account, &c->m, s->digests[s->at], until, &cmd->err);

    if (r == SEARCH_LATER)
        return RUN_AGAIN;
    s->at++;
    if (r == -ERR_NOTFOUND || r == -ERR_INTERNAL) {
        s->some_gone = true;
        return 0;
    }
    if (r != 1)
        return r;
    s->modseq = MAX(s->modseq, c->m.modseq);
    buf_add_byte(&im->s.out, ' ');
    buf_add_u64(&im->s.out, cmd->row->flags & CMD_UID ? c->m.uid : c->seq);
    return 0;
}

static int end(struct imap *im, struct command *cmd, struct search *s, int r)
{
    if (s->modseq && s->tree.modseq)
        buf_printf(&im->s.out, " (MODSEQ %" PRIu64 ")", s->modseq);
    buf_add_str(&im->s.out, "\r\n");
    if (r == 0 && s->some_gone) {
        cmd->err = (struct error){0};
        cmd->text = "Some of the messages could not be read";
    }
    return r;
}

int cmd_search(struct imap *im, struct command *cmd)
{
    int64_t until = clock_mono_ms() + WORK_MS;
    struct search *s;
    int r = cmd->context ? 0 : begin(im, cmd);

    if (r < 0)
        return r;
    s = cmd->context;
    for (;;) {
        if (s->at == s->n && s->ended)
            return end(im, cmd, s, 0);
        r = s->at == s->n ? next_batch(im, s, until, &cmd->err) : look_at(im, cmd, s, until);
        if (r < 0)
            return end(im, cmd, s, r);
        if (r == RUN_AGAIN || im->s.out.n >= SESSION_SLICE || clock_mono_ms() >= until)
            return RUN_AGAIN;
    }
}
