/* SPDX-License-Identifier: MPL-2.0 */
/* STATUS: RFC 3501 section 6.3.10, RFC 9051 section 6.3.11 (DELETED, SIZE), RFC 7162
 * (HIGHESTMODSEQ), RFC 7889 (APPENDLIMIT), RFC 8438 (SIZE), RFC 8474 (MAILBOXID), RFC 9208 section
 * 4.1.4 (DELETED-STORAGE); and the STATUS responses of LIST (RFC 5819).
 *
 * All values are of one state, so of one commit point (I20). All but DELETED-STORAGE are carried in
 * the state; that one looks at the messages, and only where some are \Deleted.
 */
#include "protocols/imap/impl.h"
#include "protocols/imap/objectid.h"

static uint64_t value_of(const struct imap *im, const struct mailbox *box, int word)
{
    switch (word) {
    case STATUS_MESSAGES:
        return box->sum.exists;
    case STATUS_UIDNEXT:
        return box->sum.uidnext;
    case STATUS_UIDVALIDITY:
        return box->uidvalidity;
    case STATUS_UNSEEN:
        return box->sum.unseen;
    case STATUS_DELETED:
        return box->sum.deleted;
    case STATUS_SIZE:
        return box->sum.bytes;
    case STATUS_HIGHESTMODSEQ:
        return box->sum.modseq;
    case STATUS_APPENDLIMIT:
        return imap_message_max(im);
    default: /* RECENT: I13 */
        return 0;
    }
}

static const char *const names[] = {
    [STATUS_MESSAGES] = "MESSAGES",
    [STATUS_RECENT] = "RECENT",
    [STATUS_UIDNEXT] = "UIDNEXT",
    [STATUS_UIDVALIDITY] = "UIDVALIDITY",
    [STATUS_UNSEEN] = "UNSEEN",
    [STATUS_DELETED] = "DELETED",
    [STATUS_SIZE] = "SIZE",
    [STATUS_HIGHESTMODSEQ] = "HIGHESTMODSEQ",
    [STATUS_MAILBOXID] = "MAILBOXID",
    [STATUS_APPENDLIMIT] = "APPENDLIMIT",
    [STATUS_DELETED_STORAGE] = "DELETED-STORAGE",
};

static bool asks_for(const struct arg *words, int word)
{
    for (size_t i = 0; i < words->n; i++)
        if (words->items[i].word == word)
            return true;
    return false;
}

/* RFC 9208 section 4.1.4: "the amount of storage space that can be reclaimed by performing
 * EXPUNGE", in octets. */
static int deleted_storage(struct imap *im, struct state *st, const struct mailbox *box,
                           uint64_t *ret, struct error *err)
{
    struct mailbox *loaded;
    struct message m;
    int r;

    *ret = 0;
    if (!box->sum.deleted)
        return 0;
    r = mailbox_load(im->account, st, box->id, 0, UINT32_MAX, &loaded, err);
    if (r < 0)
        return r;
    for (struct mailbox_iter i = mailbox_iter(loaded, 0); mailbox_next(&i, &m);)
        if (m.flags->system & FLAG_DELETED)
            *ret += m.size;
    mailbox_unref(loaded);
    return 0;
}

int imap_write_status(struct imap *im, struct state *st, const struct mailbox *box,
                      const struct arg *words, struct error *err)
{
    struct buf *out = &im->s.out;
    uint64_t reclaimable = 0;
    int r = 0;

    if (asks_for(words, STATUS_DELETED_STORAGE))
        r = deleted_storage(im, st, box, &reclaimable, err);
    if (r < 0)
        return r;
    /* RFC 7162 section 3.1: STATUS with HIGHESTMODSEQ is an enabling command */
    if (asks_for(words, STATUS_HIGHESTMODSEQ))
        imap_enable_condstore(im);
    buf_add_str(out, "* STATUS ");
    imap_write_mailbox(im, out, slice_str(box->name));
    buf_add_str(out, " (");
    for (size_t i = 0; i < words->n; i++) {
        int word = words->items[i].word;

        buf_printf(out, "%s%s ", i ? " " : "", names[word]);
        if (word == STATUS_MAILBOXID) {
            buf_add_byte(out, '(');
            objectid_write(out, OBJECTID_MAILBOX, box->id);
            buf_add_byte(out, ')');
        } else if (word == STATUS_DELETED_STORAGE) {
            buf_add_u64(out, reclaimable);
        } else {
            buf_add_u64(out, value_of(im, box, word));
        }
    }
    buf_add_str(out, ")\r\n");
    return 0;
}

int cmd_status(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    const struct mailbox *box;
    struct state *st;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    box = state_mailbox_named(st, args[0].text);
    if (box)
        r = imap_write_status(im, st, box, &args[1].items[0], &cmd->err);
    else
        r = imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    state_unref(st);
    return r;
}
