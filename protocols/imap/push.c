/* SPDX-License-Identifier: MPL-2.0 */
/* What is sent though no command asks for it at the moment: behind commands, between them and in
 * IDLE, as NOTIFY (RFC 5465) and contexts (RFC 5267) want it. */
#include "lib/base/mem.h"
#include "protocols/imap/notify.h"

void imap_pushed_fetch_begin(struct command *cmd, const struct uidset *uids,
                             const struct arg *items)
{
    size_t n = rules_count(imap_rules_fetch);
    struct arg *args;

    if (!uids->n)
        return;
    args = arena_array(&cmd->arena, n, sizeof *args);
    args[0].kind = RULE_SET;
    args[0].set.items = arena_array(&cmd->arena, uids->n, sizeof *args[0].set.items);
    for (size_t i = 0; i < uids->n; i++)
        args[0].set.items[i] = (struct seq_range){uids->items[i].first, uids->items[i].last};
    args[0].set.n = uids->n;
    args[1] = *items;
    cmd->row = imap_command_row("UID FETCH");
    cmd->parsed.args = args;
    cmd->parsed.n_args = n;
}

int imap_pushed_fetch_step(struct imap *im, struct command *cmd)
{
    int r;

    if (!cmd->row)
        return 0;
    r = cmd_fetch(im, cmd);
    if (r == RUN_AGAIN)
        return r;
    imap_command_done(cmd);
    /* a message that is gone, or cannot be read: what follows says it, or a FETCH by the client */
    return r == -ERR_UNKNOWN_OUTCOME ? r : 0;
}

int imap_push(struct imap *im, bool idle)
{
    int r = 0;

    if (im->notify && !imap_contexts_busy(im))
        r = imap_notify_push_selected(im, idle);
    if (r == 0)
        r = imap_contexts_push(im);
    if (r == 0 && im->notify)
        r = imap_notify_push_others(im);
    return r;
}
