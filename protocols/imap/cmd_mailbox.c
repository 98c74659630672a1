/* SPDX-License-Identifier: MPL-2.0 */
/* SELECT, EXAMINE, CLOSE, UNSELECT, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/objectid.h"

/* --- SELECT ------------------------------------------------------------------------------------
 */

#define KEYWORDS_SHOWN 500 /* in FLAGS of SELECT; more are made known by FETCH alone */

struct keyword_list {
    struct slice items[KEYWORDS_SHOWN];
    size_t n;
};

static void note_keywords(struct keyword_list *list, const struct flagset *f)
{
    for (size_t i = 0; i < f->n_keywords; i++) {
        size_t k = 0;

        while (k < list->n && !slice_ieq(list->items[k], f->keywords[i]))
            k++;
        if (k == list->n && list->n < KEYWORDS_SHOWN)
            list->items[list->n++] = f->keywords[i];
    }
}

/* Keywords in use, each distinct set of flags looked at once: sets are interned, so a small table
 * of those seen last catches nearly all. */
static void collect_keywords(const struct mailbox *box, struct keyword_list *list)
{
    const struct flagset *seen[256] = {0};
    struct message m;

    for (struct mailbox_iter i = mailbox_iter(box, 0); mailbox_next(&i, &m);) {
        const struct flagset **slot = &seen[m.flags->index % ARRAY_LEN(seen)];

        if (m.flags->n_keywords && *slot != m.flags)
            note_keywords(list, m.flags);
        *slot = m.flags;
    }
}

static void write_flag_lists(struct imap *im)
{
    struct keyword_list *list = NEW(struct keyword_list);
    struct buf *out = &im->s.out;
    static const char system[] = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";

    collect_keywords(view_mailbox(im->view), list);
    buf_printf(out, "* FLAGS (%s", system);
    for (size_t i = 0; i < list->n; i++)
        buf_printf(out, " %.*s", SLICE_FMT(list->items[i]));
    buf_add_str(out, ")\r\n* OK [PERMANENTFLAGS (");
    if (!im->read_only) {
        buf_add_str(out, system);
        for (size_t i = 0; i < list->n; i++)
            buf_printf(out, " %.*s", SLICE_FMT(list->items[i]));
        buf_add_str(out, " \\*");
    }
    buf_add_str(out, ")] These are kept\r\n");
    free(list);
}

static void write_selected(struct imap *im)
{
    const struct mailbox *box = view_mailbox(im->view);
    uint32_t unseen = view_first_unseen(im->view);
    struct buf *out = &im->s.out;

    write_flag_lists(im);
    buf_printf(out, "* %u EXISTS\r\n* 0 RECENT\r\n", view_count(im->view));
    if (unseen)
        buf_printf(out, "* OK [UNSEEN %u] First unseen\r\n", unseen);
    buf_printf(out, "* OK [UIDVALIDITY %u] UIDs valid\r\n", box->uidvalidity);
    buf_printf(out, "* OK [UIDNEXT %u] Next UID\r\n", box->sum.uidnext);
    buf_printf(out, "* OK [HIGHESTMODSEQ %" PRIu64 "] Highest\r\n", view_modseq(im->view));
    buf_add_str(out, "* OK [MAILBOXID ("); /* RFC 8474 section 4.2 */
    objectid_write(out, OBJECTID_MAILBOX, box->id);
    buf_add_str(out, ")] Id\r\n");
}

static bool has_word(const struct arg *list, int word)
{
    const struct arg *words = list->n ? &list->items[0] : NULL;

    for (size_t i = 0; words && i < words->n; i++)
        if (words->items[i].word == word)
            return true;
    return false;
}

static int select_mailbox(struct imap *im, struct command *cmd, bool read_only)
{
    struct arg *args = cmd->parsed.args;
    const struct mailbox *box;
    struct state *st;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    box = state_mailbox_named(st, args[0].text);
    if (box)
        r = imap_select(im, st, box, read_only, &cmd->err);
    else
        r = imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    state_unref(st);
    if (r < 0)
        return r;
    if (args[1].kind && has_word(&args[1], SELECT_CONDSTORE))
        im->enabled |= ENABLED_CONDSTORE;
    write_selected(im);
    cmd->code = read_only ? "READ-ONLY" : "READ-WRITE";
    cmd->text = "Selected";
    return 0;
}

int cmd_select(struct imap *im, struct command *cmd)
{
    return select_mailbox(im, cmd, false);
}

int cmd_examine(struct imap *im, struct command *cmd)
{
    return select_mailbox(im, cmd, true);
}

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

int cmd_delete(struct imap *im, struct command *cmd)
{
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_DELETE,
        .name = without_trailing_slash(cmd->parsed.args[0].text),
    };
    struct state *st;
    int r = imap_commit(im, cmd, &intent);

    if (r < 0 || !im->view)
        return r;
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
