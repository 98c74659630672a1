/* SPDX-License-Identifier: MPL-2.0 */
/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/objectid.h"

/* --- names -------------------------------------------------------------------------------------
 */

/* RFC 3501 section 6.3.3: a delimiter at the end says that names below it will be made. */
static struct slice without_trailing_slash(struct slice name)
{
    if (name.n > 1 && name.p[name.n - 1] == '/')
        name.n--;
    return name;
}

static uint32_t wanted_uses(const struct arg *list)
{
    const struct arg *words = list->n ? &list->items[0] : NULL;
    uint32_t uses = 0;

    for (size_t i = 0; words && i < words->n; i++)
        if (words->items[i].word == CREATE_USE) {
            const struct arg *inner = &words->items[i].items[0];

            for (size_t k = 0; inner->n && k < inner->items[0].n; k++)
                uses |= (uint32_t)inner->items[0].items[k].word;
        }
    return uses;
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

int cmd_create(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_CREATE,
        .name = without_trailing_slash(args[0].text),
        .uses = args[1].kind ? wanted_uses(&args[1]) : 0,
    };
    int r;

    /* RFC 6154 section 3: these would be views of other mailboxes, and none can be made */
    if (intent.uses & (USE_ALL | USE_FLAGGED))
        return imap_no(cmd, "USEATTR", "No mailbox of this use can be made");
    r = imap_commit(im, cmd, &intent);
    if (r == 0)
        cmd->code = code_mailboxid(cmd, intent.mailbox_id);
    return r;
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
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_DELETE,
        .name = without_trailing_slash(cmd->parsed.args[0].text),
    };
    struct state *st;
    int r = imap_commit(im, cmd, &intent);

    if (r < 0)
        return not_deleted(im, cmd, intent.name, r);
    if (!im->view)
        return 0;
    st = account_state(im->account);
    if (!state_mailbox(st, im->mailbox))
        imap_unselect(im); /* it was the selected one */
    state_unref(st);
    return 0;
}

int cmd_rename(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    const struct mailbox *box;
    struct state *st;
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_RENAME,
        .name = without_trailing_slash(args[1].text),
    };
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    box = state_mailbox_named(st, without_trailing_slash(args[0].text));
    intent.mailbox = box ? box->id : 0;
    state_unref(st);
    if (!intent.mailbox)
        return imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    return imap_commit(im, cmd, &intent);
}

static int subscribe(struct imap *im, struct command *cmd, bool on)
{
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_SUBSCRIBE,
        .name = without_trailing_slash(cmd->parsed.args[0].text),
        .on = on,
    };

    return imap_commit(im, cmd, &intent);
}

int cmd_subscribe(struct imap *im, struct command *cmd)
{
    return subscribe(im, cmd, true);
}

int cmd_unsubscribe(struct imap *im, struct command *cmd)
{
    return subscribe(im, cmd, false);
}
