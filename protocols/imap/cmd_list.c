/* SPDX-License-Identifier: MPL-2.0 */
/* LIST and LSUB: RFC 3501 sections 6.3.8 and 6.3.9, RFC 9051 section 6.3.9, RFC 3348 (CHILDREN),
 * RFC 5258 (LIST-EXTENDED), RFC 5819 (STATUS), RFC 6154 (SPECIAL-USE), RFC 9590 (METADATA).
 *
 * The names are collected once (mailbox_list.h) from one state, so that an answer is of one commit
 * point; responses leave in slices, between which no worker is held. What is never asked for costs
 * nothing: \HasChildren and special uses are known anyway and always given.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/mailbox_list.h"
#include "protocols/imap/metadata.h"
#include "protocols/imap/pattern.h"
#include "protocols/imap/special_use.h"

#define PATTERNS_MAX 50                 /* of one LIST: each is tried on every name */
#define LIST_SLICE   ((size_t)64 << 10) /* bytes of output per step */
#define WORK_MS      20                 /* and time, as STATUS may have to read from the store */

#define BIT(word) (1u << (word))

struct listing {
    struct state *st;
    struct mailbox_list list;
    size_t at; /* next entry */
    struct slice *patterns;
    size_t n_patterns;
    unsigned select, returns;    /* BIT(enum list_word) */
    bool extended;               /* RFC 5258 syntax: \NonExistent is understood */
    const struct arg *status;    /* items of RETURN (STATUS ...); NULL: none */
    const struct arg *metadata;  /* entries of RETURN (METADATA ...); NULL: none */
    struct metadata_query query; /* of them */
    void (*write)(struct imap *im, struct listing *l, const struct list_entry *e);
};

static void listing_free(void *context)
{
    struct listing *l = context;

    mailbox_list_done(&l->list);
    state_unref(l->st);
    free(l);
}

/* --- one response ------------------------------------------------------------------------------
 */

struct attributes {
    bool nonexistent, noselect, subscribed, has_children;
    uint32_t uses;
};

static void write_attribute(struct buf *out, bool *first, bool given, const char *name)
{
    if (!given)
        return;
    buf_printf(out, "%s%s", *first ? "" : " ", name);
    *first = false;
}

/* "* LIST (...) "/" name", without the line's end. */
static void write_name(struct imap *im, struct slice name, const struct attributes *a)
{
    struct buf *out = &im->s.out;
    bool first = true;

    buf_add_str(out, "* LIST (");
    write_attribute(out, &first, a->nonexistent, "\\NonExistent");
    write_attribute(out, &first, a->noselect, "\\Noselect");
    write_attribute(out, &first, a->subscribed, "\\Subscribed");
    write_attribute(out, &first, true, a->has_children ? "\\HasChildren" : "\\HasNoChildren");
    if (a->uses) {
        buf_add_byte(out, ' ');
        special_use_write(out, a->uses);
    }
    buf_add_str(out, ") \"/\" ");
    imap_write_mailbox(im, out, name);
}

static void write_old_name(struct imap *im, struct slice old_name)
{
    if (old_name.n) {
        buf_add_str(&im->s.out, " (\"OLDNAME\" (");
        imap_write_mailbox(im, &im->s.out, old_name);
        buf_add_str(&im->s.out, "))");
    }
    buf_add_str(&im->s.out, "\r\n");
}

void imap_write_list(struct imap *im, const struct state *st, const struct mailbox *box,
                     struct slice old_name)
{
    struct slice name = slice_str(box->name);
    struct attributes a = {
        .subscribed = state_is_subscribed(st, name),
        .has_children = mailbox_has_children(st, name),
        .uses = box->uses,
    };

    write_name(im, name, &a);
    write_old_name(im, old_name);
}

void imap_write_list_gone(struct imap *im, struct slice name, struct slice old_name)
{
    buf_add_str(&im->s.out, "* LIST (\\NonExistent) \"/\" ");
    imap_write_mailbox(im, &im->s.out, name);
    write_old_name(im, old_name);
}

void imap_write_list_name(struct imap *im, const struct state *st, struct slice name)
{
    const struct mailbox *box = state_mailbox_named(st, name);
    struct attributes a = {
        .nonexistent = !box,
        .subscribed = state_is_subscribed(st, name),
        .has_children = mailbox_has_children(st, name),
        .uses = box ? box->uses : 0,
    };

    write_name(im, name, &a);
    buf_add_str(&im->s.out, "\r\n");
}

static void write_entry(struct imap *im, struct listing *l, const struct list_entry *e)
{
    struct attributes a = {
        .nonexistent = !e->box && (l->extended || im->enabled & ENABLED_REV2),
        .noselect = !e->box && !l->extended, /* else implied by \NonExistent */
        .subscribed = e->subscribed && (l->select | l->returns) & BIT(LIST_SUBSCRIBED),
        .has_children = e->has_children,
        .uses = e->box ? e->box->uses : 0,
    };

    write_name(im, e->name, &a);
    /* RFC 5258 section 3.5: for names that meet the criteria, too */
    if (e->child_selected && l->select & BIT(LIST_RECURSIVEMATCH))
        buf_add_str(&im->s.out, " (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    buf_add_str(&im->s.out, "\r\n");
}

/* RFC 5819 section 2: "If the server runs into unexpected problems while trying to look up the
 * STATUS information, it MAY drop the corresponding STATUS reply." */
static void write_data(struct imap *im, struct listing *l, const struct list_entry *e)
{
    struct error err = {0};
    int r = 0;

    if (!e->box || !e->selected)
        return;
    if (l->status)
        r = imap_write_status(im, l->st, e->box, l->status, &err);
    (void)r;
    if (l->metadata)
        metadata_write(im, l->st, e->box, &l->query);
}

/* RFC 9051 section 6.3.9: "If the "%" wildcard is the last character of a mailbox name argument,
 * matching levels of hierarchy are also returned." But not where selection options say what is. */
static bool is_wanted_level(const struct listing *l, const struct list_entry *e)
{
    return e->level && e->has_children &&
           !(l->select & (BIT(LIST_SUBSCRIBED) | BIT(LIST_SPECIAL_USE)));
}

/* RFC 5258 section 3.3: the two reasons to include a name that matches. */
static void list_one(struct imap *im, struct listing *l, const struct list_entry *e)
{
    bool hint = l->select & BIT(LIST_RECURSIVEMATCH) && e->child_hidden;

    if (!e->matched || !(e->selected || hint || is_wanted_level(l, e)))
        return;
    write_entry(im, l, e);
    write_data(im, l, e);
}

/* --- what is asked for -------------------------------------------------------------------------
 */

/* Reference and pattern are joined as they are; a pattern that no name can have matches none.
 * RFC 5258 section 3: "the empty string MUST be ignored for the purpose of matching" */
static void add_pattern(struct listing *l, struct command *cmd, const struct arg *reference,
                        const struct arg *pattern)
{
    struct slice joined;

    if (pattern->malformed || !pattern->text.n || pattern->text.n > PATTERN_MAX)
        return;
    joined = arena_slice(&cmd->arena,
                         slice_str(arena_printf(&cmd->arena, "%.*s%.*s", SLICE_FMT(reference->text),
                                                SLICE_FMT(pattern->text))));
    if (slice_istarts(joined, S("INBOX")) && (joined.n == 5 || joined.p[5] == '/'))
        memcpy((char *)joined.p, "INBOX", 5);
    l->patterns[l->n_patterns++] = joined;
}

static void read_patterns(struct listing *l, struct command *cmd, const struct arg *reference,
                          const struct arg *choice)
{
    const struct arg *many = choice->kind == RULE_LIST ? &choice->items[0] : NULL;
    size_t n = many ? many->n : 1;

    l->patterns = arena_array(&cmd->arena, n, sizeof *l->patterns);
    for (size_t i = 0; i < n; i++)
        add_pattern(l, cmd, reference, many ? &many->items[i] : choice);
}

/* A list of options as bits; l->status, l->metadata: what these name. */
static unsigned read_options(const struct arg *list, struct listing *l)
{
    const struct arg *many = list->n ? &list->items[0] : NULL;
    unsigned bits = 0;

    for (size_t i = 0; many && i < many->n; i++) {
        const struct arg *option = &many->items[i];

        bits |= BIT(option->word);
        if (option->word == LIST_STATUS)
            l->status = &option->items[0].items[0];
        if (option->word == LIST_METADATA)
            l->metadata = &option->items[0];
    }
    return bits;
}

/* The context of a command that goes on until all entries are written. */
static int begin(struct imap *im, struct command *cmd, struct listing *l,
                 const struct list_query *query)
{
    int r = account_refresh(im->account, &l->st, &cmd->err);

    if (r < 0)
        return r;
    mailbox_list_make(l->st, query, &l->list);
    cmd->context = mem_dup(l, sizeof *l);
    cmd->context_free = listing_free;
    return 0;
}

static int go_on(struct imap *im, struct command *cmd)
{
    struct listing *l = cmd->context;
    int64_t until = clock_mono_ms() + WORK_MS;

    while (l->at < l->list.n) {
        if (im->s.out.n >= LIST_SLICE || (l->at % 256 == 255 && clock_mono_ms() >= until) ||
            (l->status && clock_mono_ms() >= until))
            return RUN_AGAIN;
        l->write(im, l, &l->list.items[l->at++]);
    }
    return 0;
}

/* --- LIST --------------------------------------------------------------------------------------
 */

static int begin_list(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    struct listing l = {.write = list_one,
                        .extended = args[0].kind || args[3].kind || args[2].kind == RULE_LIST};
    struct list_query query = {.mailboxes = true, .subscribed = true};
    int r = 0;

    if (args[0].kind)
        l.select = read_options(&args[0], &l);
    if (args[3].kind)
        l.returns = read_options(&args[3].items[0], &l);
    if (l.select & BIT(LIST_RECURSIVEMATCH) && !(l.select & BIT(LIST_SUBSCRIBED)))
        return imap_bad(cmd, "RECURSIVEMATCH needs SUBSCRIBED");
    if (args[2].kind == RULE_LIST && args[2].items[0].n > PATTERNS_MAX)
        return imap_no(cmd, "LIMIT", "A LIST may have %d patterns", PATTERNS_MAX);
    if (l.metadata)
        r = metadata_entries(cmd, l.metadata, &l.query);
    if (r < 0)
        return r;
    read_patterns(&l, cmd, &args[1], &args[2]);
    query.patterns = l.patterns;
    query.n_patterns = l.n_patterns;
    query.select_subscribed = l.select & BIT(LIST_SUBSCRIBED);
    query.select_special_use = l.select & BIT(LIST_SPECIAL_USE);
    return begin(im, cmd, &l, &query);
}

/* RFC 3501 section 6.3.8: an empty pattern asks for the delimiter and the root; but "ANY extended
 * LIST command ... MUST NOT treat the empty mailbox name as such a special request" (RFC 5258). */
static bool asks_for_root(const struct arg *args)
{
    return !args[0].kind && !args[3].kind && args[2].kind == RULE_PATTERN && args[2].text.n == 0;
}

int cmd_list(struct imap *im, struct command *cmd)
{
    int r = 0;

    if (!cmd->context && asks_for_root(cmd->parsed.args)) {
        buf_add_str(&im->s.out, "* LIST (\\Noselect) \"/\" \"\"\r\n");
        return 0;
    }
    if (!cmd->context)
        r = begin_list(im, cmd);
    return r < 0 ? r : go_on(im, cmd);
}

/* --- LSUB --------------------------------------------------------------------------------------
 */

/* RFC 3501 section 6.3.9: with "%", foo/bar being subscribed makes foo show, \Noselect */
static void lsub_one(struct imap *im, struct listing *l, const struct list_entry *e)
{
    if (!e->matched || !(e->subscribed || (e->level && e->child_selected)))
        return;
    buf_printf(&im->s.out, "* LSUB (%s) \"/\" ", e->subscribed ? "" : "\\Noselect");
    imap_write_mailbox(im, &im->s.out, e->name);
    buf_add_str(&im->s.out, "\r\n");
}

static int begin_lsub(struct imap *im, struct command *cmd)
{
    struct listing l = {.write = lsub_one};
    struct list_query query = {.subscribed = true, .select_subscribed = true};

    read_patterns(&l, cmd, &cmd->parsed.args[0], &cmd->parsed.args[1]);
    query.patterns = l.patterns;
    query.n_patterns = l.n_patterns;
    return begin(im, cmd, &l, &query);
}

int cmd_lsub(struct imap *im, struct command *cmd)
{
    int r = cmd->context ? 0 : begin_lsub(im, cmd);

    return r < 0 ? r : go_on(im, cmd);
}
