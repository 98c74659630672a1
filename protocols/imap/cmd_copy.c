/* SPDX-License-Identifier: MPL-2.0 */
/* COPY and MOVE: RFC 3501 section 6.4.7, RFC 4315 (COPYUID), RFC 6851. One record each. */
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "protocols/imap/impl.h"

/* RFC 4315 section 3: source and target uids, in the same order. */
static const char *copyuid(struct command *cmd, const struct intent *intent)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(uidset_done) struct uidset target = {0};
    uint64_t n = uidset_count(&intent->done);

    uidset_add_range(&target, intent->uid + PLANTED(copyuid_wrong),
                     (uint32_t)(intent->uid + n - 1 + PLANTED(copyuid_wrong)));
    buf_printf(&b, "COPYUID %u ", intent->uidvalidity);
    uidset_print(&intent->done, &b);
    buf_add_byte(&b, ' ');
    uidset_print(&target, &b);
    return arena_str(&cmd->arena, buf_slice(&b));
}

static int refused(struct imap *im, struct command *cmd, int r)
{
    struct state *st;

    if (r != -ERR_NOTFOUND)
        return r;
    st = account_state(im->account);
    /* the target is missing, unless the source is (then what follows says so) */
    if (state_mailbox(st, im->mailbox) && !state_mailbox_named(st, cmd->parsed.args[1].text))
        cmd->code = "TRYCREATE";
    state_unref(st);
    return r;
}

static int copy(struct imap *im, struct command *cmd, enum intent_kind kind)
{
    struct arg *args = cmd->parsed.args;
    CLEANUP(uidset_done) struct uidset uids = {0};
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = kind,
        .mailbox = im->mailbox,
        .name = args[1].text,
    };
    int r = imap_resolve_set(im, cmd, &args[0], &uids);

    if (r < 0)
        return r;
    /* all or nothing, as far as this client knows: by number he means messages that he sees */
    if (!(cmd->row->flags & CMD_UID) && imap_any_gone(im, &uids))
        return imap_no(cmd, "EXPUNGEISSUED", "Some of the messages are expunged");
    if (!uids.n)
        return 0;
    if (kind == INTENT_MOVE)
        imap_limit(im, im->view, cmd, &uids, false);
    else
        r = imap_limit_check(im, cmd, imap_count(im->view, &uids), true);
    if (r < 0)
        return r;
    intent.uids = uids;
    r = imap_commit(im, cmd, &intent);
    if (r < 0)
        return refused(im, cmd, r);
    if (!intent.done.n)
        return 0;
    imap_notify_own_messages(im, intent.mailbox_id, intent.uid, uidset_count(&intent.done));
    if (kind == INTENT_COPY)
        cmd->code = copyuid(cmd, &intent);
    else /* RFC 6851 section 4.3: before the EXPUNGEs, so that they are understood */
        buf_printf(&im->s.out, "* OK [%s] Moved\r\n", copyuid(cmd, &intent));
    return 0;
}

int cmd_copy(struct imap *im, struct command *cmd)
{
    return copy(im, cmd, INTENT_COPY);
}

int cmd_move(struct imap *im, struct command *cmd)
{
    return copy(im, cmd, INTENT_MOVE);
}
