/* SPDX-License-Identifier: MPL-2.0 */
/* STORE and EXPUNGE: RFC 3501 sections 6.4.3 and 6.4.6, RFC 4315 section 2.1, RFC 7162. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

static enum flags_how how_of(int word)
{
    return word == STORE_ADD ? FLAGS_ADD : word == STORE_REMOVE ? FLAGS_REMOVE : FLAGS_REPLACE;
}

/* RFC 7162 section 3.1.3: those that were changed by somebody else since, by the command's kind
 * of number. */
static void code_modified(struct imap *im, struct command *cmd, const struct uidset *late)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(uidset_done) struct uidset numbers = {0};
    uint32_t uid;

    for (struct uidset_iter i = uidset_iter(late); uidset_next(&i, &uid);) {
        uint32_t number = cmd->row->flags & CMD_UID ? uid : view_seq(im->view, uid);

        if (number)
            uidset_add(&numbers, number);
    }
    if (!numbers.n)
        return;
    buf_add_str(&b, "MODIFIED ");
    uidset_print(&numbers, &b);
    cmd->code = arena_str(&cmd->arena, buf_slice(&b));
    cmd->text = "Others were quicker with some of them";
}

/* What is still to be told of a STORE with .SILENT. */
struct telling {
    struct uidset done;
    uint32_t next; /* those below have been told */
    bool some_gone;
};

static void telling_free(void *context)
{
    struct telling *t = context;

    uidset_done(&t->done);
    free(t);
}

/* RFC 7162 section 3.1.3: "If this list is non-empty, the server MUST return in the tagged response
 * a MODIFIED response code", so it goes before EXPUNGEISSUED. */
static int end(struct command *cmd, bool some_gone)
{
    if (!some_gone)
        return 0;
    return imap_no(cmd, cmd->code ? cmd->code : "EXPUNGEISSUED",
                   "Some of the messages are expunged");
}

/* RFC 7162 section 3.1.3: with CONDSTORE the new MODSEQ is told also for .SILENT. */
static int tell_modseqs(struct imap *im, struct command *cmd)
{
    struct telling *t = cmd->context;
    size_t from = uidset_search(&t->done, t->next);
    struct uidset rest = {.items = t->done.items + from, .n = t->done.n - from};
    struct message m;
    uint32_t seq;
    bool gone;

    if (!rest.n)
        return end(cmd, t->some_gone);
    rest.items[0].first = MAX(rest.items[0].first, t->next);
    for (struct view_iter i = view_each(im->view, &rest); view_next(&i, &seq, &m, &gone);) {
        t->next = m.uid;
        if (im->s.out.n >= SESSION_SLICE)
            return RUN_AGAIN;
        if (gone)
            continue;
        imap_write_fetch(im, seq, m.uid);
        if (!(im->enabled & ENABLED_UIDONLY))
            buf_printf(&im->s.out, "UID %u ", m.uid);
        imap_write_modseq(im, m.modseq);
        buf_add_str(&im->s.out, ")\r\n");
    }
    return end(cmd, t->some_gone);
}

static int stored(struct imap *im, struct command *cmd, struct intent *intent, bool silent)
{
    struct telling *t;
    bool some_gone;
    int r;

    if (silent)
        view_silent(im->view, &intent->done, intent->how, &intent->flags);
    r = imap_update(im, false, &cmd->err);
    if (r < 0 && r != -ERR_NOTFOUND)
        return r;
    /* looked for now: another session may have been quicker, and this one is to hear of it */
    some_gone = !(cmd->row->flags & CMD_UID) && imap_any_gone(im, &intent->uids);
    code_modified(im, cmd, &intent->late);
    if (!silent)
        view_tell(im->view, &intent->uids);
    if (!silent || r < 0 || !(im->enabled & ENABLED_CONDSTORE))
        return end(cmd, some_gone);
    t = NEW(struct telling);
    *t = (struct telling){.done = uidset_copy(&intent->done), .next = 1, .some_gone = some_gone};
    cmd->context = t;
    cmd->context_free = telling_free;
    return tell_modseqs(im, cmd);
}

int cmd_store(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    const struct arg *modifiers = args[1].kind ? &args[1].items[0] : NULL;
    CLEANUP(uidset_done) struct uidset uids = {0};
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_FLAGS,
        .mailbox = im->mailbox,
        .flags = args[3].flags,
        .how = how_of(args[2].word & ~STORE_SILENT),
        .has_since = modifiers != NULL,
    };
    int r;

    if (cmd->context)
        return tell_modseqs(im, cmd);
    r = imap_resolve_set(im, cmd, &args[0], &uids);
    if (r < 0)
        return r;
    for (size_t i = 0; modifiers && i < modifiers->n; i++)
        intent.since = modifiers->items[i].items[0].number;
    if (modifiers)
        imap_enable_condstore(im);
    if (!uids.n)
        return 0;
    imap_limit(im, im->view, cmd, &uids, false);
    intent.uids = uids;
    r = imap_commit(im, cmd, &intent);
    return r < 0 ? r : stored(im, cmd, &intent, args[2].word & STORE_SILENT);
}

int cmd_expunge(struct imap *im, struct command *cmd)
{
    CLEANUP(uidset_done) struct uidset uids = {0};
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_EXPUNGE,
        .mailbox = im->mailbox,
        .only_deleted = true,
    };
    int r = 0;

    if (cmd->row->flags & CMD_UID)
        r = imap_resolve_set(im, cmd, &cmd->parsed.args[0], &uids);
    else
        uidset_add_range(&uids, 1, UINT32_MAX);
    if (r < 0 || !uids.n)
        return r;
    /* EXPUNGE itself is not limited: nothing could be said of what it leaves */
    if (cmd->row->flags & CMD_UID)
        imap_limit(im, im->view, cmd, &uids, true);
    intent.uids = uids;
    return imap_commit(im, cmd, &intent);
}
