/* SPDX-License-Identifier: MPL-2.0 */
/* LIST and LSUB: RFC 3501 sections 6.3.8 and 6.3.9, RFC 3348 (CHILDREN), RFC 5258 (extended LIST),
 * RFC 6154 (SPECIAL-USE).
 *
 * Both work on one sorted list of names (struct entry), made of the state's mailboxes, of the
 * subscribed names, and of the levels above either that are neither. Inferiors of a name follow it
 * in the order used ("/" before all other bytes), so that one look at the neighbour tells whether a
 * mailbox has children.
 */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/pattern.h"

#define PATTERNS_MAX 50 /* of one LIST: each is tried on every name */

struct entry {
    struct slice name;
    const struct mailbox *box; /* NULL: no mailbox of this name */
    bool subscribed;
    bool below; /* something below it is subscribed */
};

struct entries {
    VEC(struct entry) v;
};

/* INBOX first, then by bytes, with "/" below all others. */
static int name_order(struct slice a, struct slice b)
{
    bool ia = slice_eq(a, S("INBOX")), ib = slice_eq(b, S("INBOX"));
    size_t i = 0;
    int ca, cb;

    if (ia != ib)
        return ia ? -1 : 1;
    while (i < a.n && i < b.n && a.p[i] == b.p[i])
        i++;
    ca = i == a.n ? -2 : a.p[i] == '/' ? -1 : a.p[i];
    cb = i == b.n ? -2 : b.p[i] == '/' ? -1 : b.p[i];
    return ca - cb;
}

static int entry_order(const void *a, const void *b)
{
    return name_order(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void add(struct entries *e, struct slice name, const struct mailbox *box, bool subscribed,
                bool below)
{
    *VEC_PUSH(&e->v) = (struct entry){name, box, subscribed, below};
}

/* The name and all levels above it. */
static void add_with_parents(struct entries *e, struct slice name, const struct mailbox *box,
                             bool subscribed)
{
    add(e, name, box, subscribed, false);
    for (size_t i = name.n; i-- > 1;)
        if (name.p[i] == '/')
            add(e, slice_sub(name, 0, i), NULL, false, subscribed);
}

static bool add_subscribed(void *ctx, struct slice name)
{
    add_with_parents(ctx, name, NULL, true);
    return true;
}

/* Equal names become one entry. */
static void merge(struct entries *e)
{
    size_t n = 0;

    if (e->v.n)
        qsort(e->v.items, e->v.n, sizeof *e->v.items, entry_order);
    for (size_t i = 0; i < e->v.n; i++) {
        struct entry *now = &e->v.items[i], *last = n ? &e->v.items[n - 1] : NULL;

        if (!last || !slice_eq(last->name, now->name)) {
            e->v.items[n++] = *now;
            continue;
        }
        last->box = last->box ? last->box : now->box;
        last->subscribed |= now->subscribed;
        last->below |= now->below;
    }
    e->v.n = n;
}

static void collect(struct state *st, bool mailboxes, bool subscribed, struct entries *ret)
{
    for (size_t i = 0; mailboxes && i < st->n_mailboxes; i++)
        add_with_parents(ret, slice_str(st->mailboxes[i]->name), st->mailboxes[i], false);
    if (subscribed)
        state_each_subscribed(st, add_subscribed, ret);
    merge(ret);
}

static bool has_children(const struct entries *e, size_t at)
{
    struct slice name = e->v.items[at].name, next;

    /* INBOX stands first, its inferiors where their names put them */
    if (slice_eq(name, S("INBOX"))) {
        for (size_t i = 0; i < e->v.n; i++)
            if (slice_starts(e->v.items[i].name, S("INBOX/")) && e->v.items[i].box)
                return true;
        return false;
    }
    for (size_t i = at + 1; i < e->v.n; i++) {
        next = e->v.items[i].name;
        if (next.n <= name.n || !slice_starts(next, name) || next.p[name.n] != '/')
            return false;
        if (e->v.items[i].box)
            return true;
    }
    return false;
}

/* --- attributes --------------------------------------------------------------------------------
 */

static const struct {
    uint32_t use;
    const char *name;
} uses[] = {
    {USE_ALL, "\\All"},         {USE_ARCHIVE, "\\Archive"},     {USE_DRAFTS, "\\Drafts"},
    {USE_FLAGGED, "\\Flagged"}, {USE_JUNK, "\\Junk"},           {USE_SENT, "\\Sent"},
    {USE_TRASH, "\\Trash"},     {USE_IMPORTANT, "\\Important"},
};

static void write_attribute(struct buf *out, bool *first, const char *name)
{
    buf_printf(out, "%s%s", *first ? "" : " ", name);
    *first = false;
}

struct listing {
    struct imap *im;
    struct entries entries;
    struct slice *patterns;
    size_t n_patterns;
    unsigned select, returns; /* BIT(enum list_word) */
    bool extended;            /* RFC 5258 syntax: \NonExistent is understood */
};

#define BIT(word) (1u << (word))

static void write_entry(struct listing *l, size_t at, bool childinfo)
{
    const struct entry *e = &l->entries.v.items[at];
    struct buf *out = &l->im->s.out;
    bool first = true;

    buf_add_str(out, "* LIST (");
    if (!e->box)
        write_attribute(out, &first, l->extended ? "\\NonExistent" : "\\Noselect");
    if (e->subscribed && (l->select | l->returns) & BIT(LIST_SUBSCRIBED))
        write_attribute(out, &first, "\\Subscribed");
    write_attribute(out, &first,
                    has_children(&l->entries, at) ? "\\HasChildren" : "\\HasNoChildren");
    for (size_t i = 0; e->box && i < ARRAY_LEN(uses); i++)
        if (e->box->uses & uses[i].use)
            write_attribute(out, &first, uses[i].name);
    buf_add_str(out, ") \"/\" ");
    imap_write_mailbox(l->im, out, e->name);
    if (childinfo)
        buf_add_str(out, " (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    buf_add_str(out, "\r\n");
}

static bool matches(const struct listing *l, struct slice name)
{
    for (size_t i = 0; i < l->n_patterns; i++)
        if (pattern_match(l->patterns[i], name))
            return true;
    return false;
}

/* Selection options narrow what LIST gives; several must all hold (RFC 5258 section 3). */
static void list_entry(struct listing *l, size_t at)
{
    const struct entry *e = &l->entries.v.items[at];
    bool wanted = e->box || l->select & BIT(LIST_SUBSCRIBED) || has_children(&l->entries, at);
    bool childinfo = false;

    if (!matches(l, e->name))
        return;
    if (l->select & BIT(LIST_SPECIAL_USE) && !(e->box && e->box->uses))
        wanted = false;
    if (l->select & BIT(LIST_SUBSCRIBED) && !e->subscribed) {
        childinfo = l->select & BIT(LIST_RECURSIVEMATCH) && e->below;
        wanted = wanted && childinfo;
    }
    if (wanted)
        write_entry(l, at, childinfo);
}

static unsigned words_of(const struct arg *list)
{
    const struct arg *many = list->n ? &list->items[0] : NULL;
    unsigned bits = 0;

    for (size_t i = 0; many && i < many->n; i++)
        bits |= BIT(many->items[i].word);
    return bits;
}

/* Reference and pattern are joined as they are; a pattern that no name can have matches none. */
static void add_pattern(struct listing *l, struct command *cmd, const struct arg *reference,
                        const struct arg *pattern)
{
    struct slice joined;

    if (pattern->malformed || pattern->text.n > PATTERN_MAX)
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

int cmd_list(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    struct listing l = {.im = im};
    struct state *st;
    int r;

    if (args[0].kind) {
        l.select = words_of(&args[0]);
        l.extended = true;
    }
    if (args[3].kind) {
        l.returns = words_of(&args[3].items[0]);
        l.extended = true;
    }
    if (l.select & BIT(LIST_RECURSIVEMATCH) && !(l.select & BIT(LIST_SUBSCRIBED)))
        return imap_bad(cmd, "RECURSIVEMATCH needs SUBSCRIBED");
    /* RFC 3501 section 6.3.8: an empty pattern asks for the delimiter and the root */
    if (args[2].kind == RULE_PATTERN && args[2].text.n == 0) {
        buf_add_str(&im->s.out, "* LIST (\\Noselect) \"/\" \"\"\r\n");
        return 0;
    }
    if (args[2].kind == RULE_LIST && args[2].items[0].n > PATTERNS_MAX)
        return imap_no(cmd, "LIMIT", "A LIST may have %d patterns", PATTERNS_MAX);
    r = account_refresh(im->account, &st, &cmd->err);
    if (r < 0)
        return r;
    read_patterns(&l, cmd, &args[1], &args[2]);
    collect(st, true, true, &l.entries);
    for (size_t i = 0; i < l.entries.v.n; i++)
        list_entry(&l, i);
    VEC_DONE(&l.entries.v);
    state_unref(st);
    return 0;
}

/* --- LSUB --------------------------------------------------------------------------------------
 */

int cmd_lsub(struct imap *im, struct command *cmd)
{
    struct arg *args = cmd->parsed.args;
    struct listing l = {.im = im};
    struct state *st;
    bool percent;
    int r = account_refresh(im->account, &st, &cmd->err);

    if (r < 0)
        return r;
    read_patterns(&l, cmd, &args[0], &args[1]);
    percent = l.n_patterns && slice_find(l.patterns[0], '%') >= 0;
    collect(st, false, true, &l.entries);
    for (size_t i = 0; i < l.entries.v.n; i++) {
        const struct entry *e = &l.entries.v.items[i];

        /* RFC 3501 section 6.3.9: with "%", foo/bar being subscribed makes foo show, \Noselect */
        if (!matches(&l, e->name) || !(e->subscribed || (percent && e->below)))
            continue;
        buf_printf(&im->s.out, "* LSUB (%s) \"/\" ", e->subscribed ? "" : "\\Noselect");
        imap_write_mailbox(im, &im->s.out, e->name);
        buf_add_str(&im->s.out, "\r\n");
    }
    VEC_DONE(&l.entries.v);
    state_unref(st);
    return 0;
}
