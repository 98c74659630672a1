/* SPDX-License-Identifier: MPL-2.0 */
/* GETMETADATA, SETMETADATA (RFC 5464), and what is told of others' changes. */
#include <ctype.h>
#include <inttypes.h>

#include "lib/base/mem.h"
#include "protocols/imap/metadata.h"
#include "protocols/imap/special_use.h"

#define ENTRY_MAX   255 /* bytes of a name: a key of lib/mail */
#define SPECIAL_USE "/private/specialuse"

/* --- names -------------------------------------------------------------------------------------
 */

/* RFC 5464 section 3.2: "An entry name MUST NOT contain two consecutive "/" characters and MUST NOT
 * end with a "/" character."; no wildcards, no controls, ASCII; "Entry names are case-insensitive."
 */
static bool take_entry(struct arena *arena, struct slice name, struct slice *ret)
{
    char *copy = arena_str(arena, name);

    if (!slice_istarts(name, S("/private")) && !slice_istarts(name, S("/shared")))
        return false;
    if (name.n > ENTRY_MAX || name.p[name.n - 1] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] < ' ' || name.p[i] >= 0x7f || name.p[i] == '*' || name.p[i] == '%' ||
            (i && name.p[i] == '/' && name.p[i - 1] == '/'))
            return false;
        copy[i] = (char)byte_lower(name.p[i]);
    }
    *ret = slice_of(copy, name.n);
    return true;
}

static size_t components(struct slice entry)
{
    size_t n = 0;

    for (size_t i = 0; i < entry.n; i++)
        n += entry.p[i] == '/';
    return n;
}

/* Section 3.2: "Entry names can have any number of components starting at 2, unless they fall under
 * the vendor namespaces ..., in which case they have at least 4 components." */
static bool can_have_a_value(struct slice entry)
{
    bool vendor =
        slice_starts(entry, S("/private/vendor")) || slice_starts(entry, S("/shared/vendor"));

    return (slice_starts(entry, S("/private/")) || slice_starts(entry, S("/shared/"))) &&
           components(entry) >= (vendor ? 4 : 2);
}

int metadata_entries(struct command *cmd, const struct arg *entries, struct metadata_query *ret)
{
    const struct arg *many = entries->kind == RULE_LIST ? &entries->items[0] : NULL;
    size_t n = many ? many->n : 1;

    ret->entries = arena_array(&cmd->arena, n, sizeof *ret->entries);
    for (size_t i = 0; i < n; i++) {
        const struct arg *one = many ? &many->items[i] : entries;

        if (one->kind != RULE_ASTRING ||
            !take_entry(&cmd->arena, one->text, &ret->entries[ret->n++]))
            return imap_bad(cmd, "Not an entry of /private or /shared: %.*s", SLICE_FMT(one->text));
    }
    return 0;
}

/* --- responses ---------------------------------------------------------------------------------
 */

struct writing {
    struct imap *im;
    struct metadata_query *query;
    size_t written;
};

static void write_value(struct buf *out, struct slice value)
{
    if (value.n && memchr(value.p, 0, value.n)) { /* RFC 3516: a literal8 may hold NUL */
        buf_printf(out, "~{%zu}\r\n", value.n);
        buf_add_slice(out, value);
        return;
    }
    imap_write_string(out, value);
}

static void write_entry_name(struct buf *out, struct slice name)
{
    bool atom = true;

    for (size_t i = 0; i < name.n && atom; i++)
        atom = byte_is_alpha(name.p[i]) || byte_is_digit(name.p[i]) ||
               strchr("/-_.+", name.p[i]) != NULL;
    if (atom)
        buf_add_slice(out, name);
    else
        imap_write_string(out, name);
}

static void write_pair(struct writing *w, struct slice name, const struct slice *value)
{
    struct buf *out = &w->im->s.out;

    buf_add_str(out, w->written++ ? " " : "(");
    write_entry_name(out, name);
    buf_add_byte(out, ' ');
    if (value)
        write_value(out, *value);
    else
        buf_add_str(out, "NIL");
}

/* Section 4.2.2: "the server returns the value of the specified entry name (if it exists), plus all
 * entries below the entry name up to the specified DEPTH" */
static bool is_asked_for(const struct metadata_query *query, struct slice name)
{
    for (size_t i = 0; i < query->n; i++) {
        struct slice entry = query->entries[i], below = slice_skip(name, entry.n);

        if (!slice_starts(name, entry))
            continue;
        if (!below.n)
            return true;
        if (below.p[0] == '/' &&
            (query->depth == DEPTH_INFINITY || (query->depth == DEPTH_1 && components(below) == 1)))
            return true;
    }
    return false;
}

static void offer(struct writing *w, struct slice name, struct slice value)
{
    struct metadata_query *query = w->query;

    if (!is_asked_for(query, name))
        return;
    if (query->has_maxsize && value.n > query->maxsize)
        query->longest = MAX(query->longest, (uint64_t)value.n);
    else
        write_pair(w, name, &value);
}

/* Keys in order are entries in order; what has no "/" is not an annotation. */
static bool offer_value(void *ctx, struct slice key, struct slice value)
{
    if (key.p[0] == '/' && value.n)
        offer(ctx, key, slice_skip(value, 1));
    return true;
}

static void offer_special_use(struct writing *w, const struct mailbox *box)
{
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);

    special_use_write(&text, box->uses);
    if (text.n)
        offer(w, S(SPECIAL_USE), buf_slice(&text));
}

static void offer_setting(struct writing *w, struct slice name, const char *value)
{
    if (value && *value)
        offer(w, name, slice_str(value));
}

static bool server_has(const struct imap *im, struct slice name)
{
    const struct imap_settings *s = &im->service->settings;

    return (slice_eq(name, S("/shared/comment")) && s->comment && *s->comment) ||
           (slice_eq(name, S("/shared/admin")) && s->admin && *s->admin);
}

static bool exists(const struct imap *im, const struct state *st, const struct mailbox *box,
                   struct slice name)
{
    if (!box)
        return state_value(st, name).n || server_has(im, name);
    return mailbox_value(box, name).n || (box->uses && slice_eq(name, S(SPECIAL_USE)));
}

void metadata_write(struct imap *im, const struct state *st, const struct mailbox *box,
                    struct metadata_query *query)
{
    struct writing w = {.im = im, .query = query};
    struct buf *out = &im->s.out;
    size_t before = out->n;

    buf_add_str(out, "* METADATA ");
    imap_write_mailbox(im, out, box ? slice_str(box->name) : S(""));
    buf_add_byte(out, ' ');
    if (box) {
        mailbox_each_value(box, offer_value, &w);
        offer_special_use(&w, box);
    } else {
        state_each_value(st, offer_value, &w);
        offer_setting(&w, S("/shared/comment"), im->service->settings.comment);
        offer_setting(&w, S("/shared/admin"), im->service->settings.admin);
    }
    for (size_t i = 0; i < query->n && query->depth == DEPTH_0; i++)
        if (!exists(im, st, box, query->entries[i]))
            write_pair(&w, query->entries[i], NULL);
    /* nothing below, or all too long: no entry-values, so no response */
    if (w.written)
        buf_add_str(out, ")\r\n");
    else
        out->n = before;
}

/* --- GETMETADATA -------------------------------------------------------------------------------
 */

static void take_option(struct metadata_query *q, const struct arg *option)
{
    if (option->word == METADATA_DEPTH) {
        q->depth = (enum metadata_depth)option->items[0].word;
    } else {
        q->has_maxsize = true;
        q->maxsize = option->items[0].number;
    }
}

/* RULE_MANY of options only; false: something else is among them. */
static bool take_options(struct metadata_query *q, const struct arg *list)
{
    const struct arg *many = list->kind == RULE_LIST ? &list->items[0] : NULL;

    for (size_t i = 0; many && i < many->n; i++) {
        if (many->items[i].kind != RULE_WORD)
            return false;
        take_option(q, &many->items[i]);
    }
    return many != NULL;
}

static int read_query(struct command *cmd, struct metadata_query *q)
{
    const struct arg *args = cmd->parsed.args;
    bool options_behind = args[3].kind;

    if (args[0].kind && !take_options(q, &args[0]))
        return imap_bad(cmd, "Not a list of GETMETADATA options");
    if (options_behind && !take_options(q, &args[2]))
        return imap_bad(cmd, "Not a list of GETMETADATA options");
    return metadata_entries(cmd, &args[options_behind ? 3 : 2], q);
}

int cmd_getmetadata(struct imap *im, struct command *cmd)
{
    const struct arg *name = &cmd->parsed.args[1];
    struct metadata_query q = {0};
    const struct mailbox *box = NULL;
    struct state *st;
    int r = read_query(cmd, &q);

    if (r == 0)
        r = account_refresh(im->account, &st, &cmd->err);
    if (r < 0)
        return r;
    if (name->text.n)
        box = state_mailbox_named(st, name->text);
    if (name->text.n && !box)
        r = imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    else
        metadata_write(im, st, box, &q);
    state_unref(st);
    if (q.longest)
        cmd->code = arena_printf(&cmd->arena, "METADATA LONGENTRIES %" PRIu64, q.longest);
    return r;
}

/* --- SETMETADATA -------------------------------------------------------------------------------
 */

struct setting {
    struct intent *intents, **list;
    struct slice *names; /* of the entries */
    size_t n;
};

/* RFC 6154 section 4: "MUST check the validity of changes to the special-use attributes that are
 * done through the metadata in the same way that it checks validity for the CREATE command" */
static bool parse_uses(struct slice value, uint32_t *ret)
{
    *ret = 0;
    while ((value = slice_trim(value)).n) {
        ssize_t at = slice_find(value, ' ');
        struct slice word = slice_sub(value, 0, at < 0 ? value.n : (size_t)at);
        uint32_t use = special_use_named(word);

        if (!use)
            return false;
        *ret |= use;
        value = slice_skip(value, word.n);
    }
    return true;
}

static int fill_special_use(struct command *cmd, struct intent *it, const struct mailbox *box,
                            struct slice value)
{
    if (!parse_uses(value, &it->uses) || (it->uses && strcmp(box->name, "INBOX") == 0))
        return imap_no(cmd, "USEATTR", "The mailbox cannot have this use");
    return 0;
}

static struct slice marked(struct arena *arena, struct slice value)
{
    uint8_t *copy = arena_raw(arena, value.n + 1);

    copy[0] = METADATA_MARK;
    if (value.n)
        memcpy(copy + 1, value.p, value.n);
    return slice_of(copy, value.n + 1);
}

static int fill_intent(struct imap *im, struct command *cmd, const struct mailbox *box,
                       const struct arg *pair, struct setting *s)
{
    struct intent *it = &s->intents[s->n];
    struct slice value = pair->items[1].text;

    if (!take_entry(&cmd->arena, pair->items[0].text, &s->names[s->n]) ||
        !can_have_a_value(s->names[s->n]))
        return imap_bad(cmd, "Not an entry of /private or /shared: %.*s",
                        SLICE_FMT(pair->items[0].text));
    it->kind = box ? INTENT_SET : INTENT_ACCOUNT;
    it->account = im->account;
    it->mailbox = box ? box->id : 0;
    it->in_one_record_with_next = true;
    s->list[s->n] = it;
    if (box && slice_eq(s->names[s->n], S(SPECIAL_USE))) {
        s->n++;
        return fill_special_use(cmd, it, box, value);
    }
    /* section 3.3: "Servers MAY restrict the creation of private or shared server annotations" */
    if (!box && slice_starts(s->names[s->n], S("/shared/")))
        return imap_no(cmd, "NOPERM", "The server's shared entries are settings");
    it->key = s->names[s->n++];
    if (value.p)
        it->value = marked(&cmd->arena, value);
    return 0;
}

/* Section 4.3: which code a refusal has. */
static int refused(struct imap *im, struct command *cmd, const struct intent *it)
{
    uint32_t max = mail_settings(im->service->mail)->metadata_max;

    cmd->err = it->error;
    if (it->result == -ERR_TOOBIG)
        cmd->code = arena_printf(&cmd->arena, "METADATA MAXSIZE %u", max);
    else if (it->result == -ERR_LIMIT)
        cmd->code = "METADATA TOOMANY";
    return it->result;
}

/* "When any one annotation fails to be set, ... the server MUST NOT change the values for other
 * annotations specified in the SETMETADATA command": one group, so one record. */
static int commit(struct imap *im, struct command *cmd, struct setting *s, uint64_t mailbox)
{
    int r;

    s->intents[s->n - 1].in_one_record_with_next = false;
    mail_commit(im->service->mail, s->list, s->n);
    r = s->intents[0].result;
    if (r < 0)
        r = refused(im, cmd, &s->intents[0]);
    else
        imap_metadata_own(im, mailbox, s->names, s->n);
    for (size_t i = 0; i < s->n; i++)
        intent_done(&s->intents[i]);
    return r;
}

static int set(struct imap *im, struct command *cmd, const struct mailbox *box)
{
    const struct arg *pairs = &cmd->parsed.args[1].items[0];
    struct setting s = {0};
    int r = 0;

    s.intents = arena_array(&cmd->arena, pairs->n, sizeof *s.intents);
    s.list = arena_array(&cmd->arena, pairs->n, sizeof *s.list);
    s.names = arena_array(&cmd->arena, pairs->n, sizeof *s.names);
    for (size_t i = 0; i < pairs->n && r == 0; i++)
        r = fill_intent(im, cmd, box, &pairs->items[i], &s);
    return r < 0 ? r : commit(im, cmd, &s, box ? box->id : 0);
}

int cmd_setmetadata(struct imap *im, struct command *cmd)
{
    const struct arg *name = &cmd->parsed.args[0];
    const struct mailbox *box = NULL;
    struct state *st;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    if (name->text.n)
        box = state_mailbox_named(st, name->text);
    if (name->text.n && !box)
        r = imap_no(cmd, "NONEXISTENT", "There is no such mailbox");
    else
        r = set(im, cmd, box);
    state_unref(st);
    return r;
}
