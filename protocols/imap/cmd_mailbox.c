/* SPDX-License-Identifier: MPL-2.0 */
/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/objectid.h"
#include "protocols/imap/special_use.h"

/* --- names -------------------------------------------------------------------------------------
 */

/* RFC 3501 section 6.3.3: a delimiter at the end says that names below it will be made. */
static struct slice without_trailing_slash(struct slice name)
{
    if (name.n > 1 && name.p[name.n - 1] == '/')
        name.n--;
    return name;
}

/* False: one that no mailbox can be given. */
static bool wanted_uses(const struct arg *list, uint32_t *ret)
{
    const struct arg *words = &list->items[0];

    for (size_t i = 0; i < words->n; i++) {
        const struct arg *inner = &words->items[i].items[0].items[0];

        for (size_t k = 0; k < inner->n; k++) {
            uint32_t use = special_use_named(inner->items[k].text);

            if (!use)
                return false;
            *ret |= use;
        }
    }
    return true;
}

/* RFC 8474 section 4.1: in the OK of every CREATE */
static const char *code_mailboxid(struct command *cmd, uint64_t id)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&b, "MAILBOXID (");
    objectid_write(&b, OBJECTID_MAILBOX, id);
    buf_add_byte(&b, ')');
    return arena_str(&cmd->arena, buf_slice(&b));
}

/* RFC 9051 section 6.3.9.7: "it SHOULD return an unsolicited LIST response that includes the
 * OLDNAME extended data item, whenever the supplied mailbox name differs from the resulting
 * normalized mailbox name". Only IMAP4rev2 has told the client of such responses. `id` 0: the
 * mailbox is gone. */
static void tell_old_name(struct imap *im, const struct arg *supplied, const struct arg *result,
                          uint64_t id)
{
    const struct mailbox *box;
    struct state *st;

    if (!(im->enabled & ENABLED_REV2) ||
        (slice_eq(supplied->given, supplied->text) && slice_eq(result->given, result->text)))
        return;
    st = account_state(im->account);
    box = id ? state_mailbox(st, id) : NULL;
    if (box)
        imap_write_list(im, st, box, without_trailing_slash(supplied->given));
    else if (!id)
        imap_write_list_gone(im, without_trailing_slash(result->text),
                             without_trailing_slash(supplied->given));
    state_unref(st);
}

int cmd_create(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_CREATE,
        .name = without_trailing_slash(args[0].text),
    };
    int r;

    if (args[1].kind && !wanted_uses(&args[1], &intent.uses))
        return imap_no(cmd, "USEATTR", "No mailbox of this use can be made");
    r = imap_commit(im, cmd, &intent);
    if (r < 0)
        return r;
    tell_old_name(im, &args[0], &args[0], intent.mailbox_id);
    imap_notify_own_names(im, intent.name, intent.name);
    cmd->code = code_mailboxid(cmd, intent.mailbox_id);
    return 0;
}

/* RFC 3501 section 6.3.4: "It is an error to attempt to delete a name that has inferior
 * hierarchical names and also has the \Noselect mailbox name attribute"; RFC 9051 section 7.1:
 * HASCHILDREN */
static int not_deleted(struct imap *im, struct command *cmd, struct slice name, int r)
{
    struct state *st = account_state(im->account);

    for (size_t i = 0; r == -ERR_NOTFOUND && i < st->n_mailboxes; i++) {
        struct slice other = slice_str(st->mailboxes[i]->name);

        if (other.n > name.n && slice_starts(other, name) && other.p[name.n] == '/')
            r = imap_no(cmd, "HASCHILDREN", "There is no such mailbox, only some below it");
    }
    state_unref(st);
    return r;
}

int cmd_delete(struct imap *im, struct command *cmd)
{
    const struct arg *name = &cmd->parsed.args[0];
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_DELETE,
        .name = without_trailing_slash(name->text),
    };
    struct state *st;
    int r = imap_commit(im, cmd, &intent);

    if (r < 0)
        return not_deleted(im, cmd, intent.name, r);
    tell_old_name(im, name, name, 0);
    imap_notify_own_names(im, intent.name, intent.name);
    if (!im->view)
        return 0;
    st = account_state(im->account);
    if (!state_mailbox(st, im->mailbox))
        imap_unselect(im); /* it was the selected one */
    state_unref(st);
    return 0;
}

/* The old name is looked up when the record is made, so that it is that of one commit point. */
int cmd_rename(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_RENAME,
        .from = without_trailing_slash(args[0].text),
        .name = without_trailing_slash(args[1].text),
    };
    int r = imap_commit(im, cmd, &intent);

    if (r == 0 && intent.mailbox_id)
        tell_old_name(im, &args[0], &args[1], intent.mailbox_id);
    if (r == 0)
        imap_notify_own_names(im, intent.from, intent.name);
    return r;
}

static int subscribe(struct imap *im, struct command *cmd, bool on)
{
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_SUBSCRIBE,
        .name = without_trailing_slash(cmd->parsed.args[0].text),
        .on = on,
    };
    int r = imap_commit(im, cmd, &intent);

    if (r == 0)
        imap_notify_own_names(im, intent.name, intent.name);
    return r;
}

int cmd_subscribe(struct imap *im, struct command *cmd)
{
    return subscribe(im, cmd, true);
}

int cmd_unsubscribe(struct imap *im, struct command *cmd)
{
    return subscribe(im, cmd, false);
}
