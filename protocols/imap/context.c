/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/context.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/textindex.h"

#define LINE_MAX_ 1000 /* ranges or results in one response */

struct context {
    struct context *next;
    struct arena arena; /* the command's: program, criteria, FETCH items */
    char tag[PARSER_TAG_MAX + 1];
    bool uid;
    struct search_tree tree;
    struct ranking *ranking; /* NULL: of a SEARCH */
    const struct arg
        *fetch;            /* items for new messages that match (RFC 5465 section 7); NULL: none */
    struct uidset members; /* what the client has as results */
    struct uidset changed; /* to be looked at again */
    uint32_t bound;        /* uids from here on are new to it */

    /* While it is under way; what the client has is as before. */
    struct search_run *run;
    struct uidset looking, hits;
    struct command fetching;
    bool fetched;
};

/* --- life --------------------------------------------------------------------------------------
 */

static void context_free(struct context *c)
{
    if (c->run) {
        c->tree = c->run->tree;
        c->run->tree = (struct search_tree){0};
        search_run_done(c->run);
        free(c->run);
    }
    search_tree_done(&c->tree);
    imap_command_done(&c->fetching);
    ranking_free(c->ranking);
    uidset_done(&c->members);
    uidset_done(&c->changed);
    uidset_done(&c->looking);
    uidset_done(&c->hits);
    arena_done(&c->arena);
    free(c);
}

void imap_contexts_end(struct imap *im)
{
    while (im->contexts) {
        struct context *c = im->contexts;

        im->contexts = c->next;
        context_free(c);
    }
}

static struct context **find(struct imap *im, struct slice tag)
{
    struct context **at = &im->contexts;

    while (*at && !slice_eq(slice_str((*at)->tag), tag))
        at = &(*at)->next;
    return at;
}

static void drop(struct context **at)
{
    struct context *c = *at;

    *at = c->next;
    context_free(c);
}

/* RFC 5267 section 4.3.1 */
static void refuse(struct imap *im, const char *tag, const char *why)
{
    buf_add_str(&im->s.out, "* NO [NOUPDATE ");
    imap_write_string(&im->s.out, slice_str(tag));
    buf_printf(&im->s.out, "] %s\r\n", why);
}

void context_refuse(struct imap *im, const struct command *cmd, struct search_return *found)
{
    if (found->update)
        refuse(im, cmd->parsed.tag, "Too many results");
    found->update = false;
}

int context_check(struct imap *im, struct command *cmd, struct search_return *found)
{
    unsigned n = 0;

    if (!found->update)
        return 0;
    /* section 4.3: "An attempt to use UPDATE where a tag is already in use with a previous
     * searching command that itself used UPDATE SHALL result in the server rejecting the searching
     * command with a BAD response." */
    if (*find(im, slice_str(cmd->parsed.tag)))
        return imap_bad(cmd, "Tag reuse");
    for (const struct context *c = im->contexts; c; c = c->next)
        n++;
    if (n >= CONTEXTS_MAX) {
        refuse(im, cmd->parsed.tag, "Too many contexts");
        found->update = false;
    } else if (cmd->arena.used > CONTEXT_MEMORY) {
        refuse(im, cmd->parsed.tag, "The command is too long to be kept");
        found->update = false;
    }
    return 0;
}

void context_add(struct imap *im, struct command *cmd, const struct search_return *found,
                 struct search_run *run, const struct uidset *members, struct ranking *ranking)
{
    struct context *c = NEW(struct context);
    struct context **last = &im->contexts;

    while (*last)
        last = &(*last)->next;
    *last = c;
    memcpy(c->tag, cmd->parsed.tag, sizeof c->tag);
    c->uid = cmd->row->flags & CMD_UID;
    c->fetch = found->fetch;
    c->members = uidset_copy(members);
    c->ranking = ranking;
    c->bound = view_bound(im->view);
    c->tree = run->tree;
    run->tree = (struct search_tree){0};
    /* the text index does not know what will come */
    textindex_query_free(TAKE(c->tree.index));
    c->arena = cmd->arena;
    cmd->arena = (struct arena){0};
}

int cmd_cancelupdate(struct imap *im, struct command *cmd)
{
    const struct arg *tags = &cmd->parsed.args[0];

    for (size_t i = 0; i < tags->n; i++)
        if (!*find(im, tags->items[i].text))
            return imap_bad(cmd, "No search of the tag %.*s goes on",
                            SLICE_FMT(tags->items[i].text));
    for (size_t i = 0; i < tags->n; i++) {
        struct context **at = find(im, tags->items[i].text);

        if (*at)
            drop(at);
    }
    return 0;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void write_head(struct imap *im, const struct context *c, const char *item)
{
    buf_add_str(&im->s.out, "* ESEARCH (TAG ");
    imap_write_string(&im->s.out, slice_str(c->tag));
    buf_printf(&im->s.out, ")%s %s (", c->uid ? " UID" : "", item);
}

static uint32_t number_of(const struct imap *im, const struct context *c, uint32_t uid)
{
    return c->uid ? uid : view_seq(im->view, uid);
}

/* A SEARCH: position 0, in mailbox order. */
static void write_set(struct imap *im, const struct context *c, const char *item,
                      const struct uidset *uids)
{
    CLEANUP(uidset_done) struct uidset numbers = {0};
    uint32_t uid;

    for (struct uidset_iter i = uidset_iter(uids); uidset_next(&i, &uid);)
        uidset_add(&numbers, number_of(im, c, uid));
    for (size_t i = 0; i < numbers.n; i += LINE_MAX_) {
        const struct uidset some = {.items = numbers.items + i,
                                    .n = MIN(numbers.n - i, (size_t)LINE_MAX_)};

        write_head(im, c, item);
        buf_add_str(&im->s.out, "0 ");
        uidset_print(&some, &im->s.out);
        buf_add_str(&im->s.out, ")\r\n");
    }
}

/* Of a SORT: pairs of a position and what stands there from then on, or did till then. What follows
 * the one before goes into the same pair. */
struct pairs {
    struct imap *im;
    const struct context *c;
    const char *item;
    unsigned written; /* of this response */
    uint32_t expected;
};

static void write_pair(struct pairs *p, uint32_t place, uint32_t uid, bool adds)
{
    struct buf *out = &p->im->s.out;

    if (p->written == LINE_MAX_) {
        buf_add_str(out, ")\r\n");
        p->written = 0;
    }
    if (!p->written)
        write_head(p->im, p->c, p->item);
    if (p->written && place == p->expected)
        buf_printf(out, ",%u", number_of(p->im, p->c, uid));
    else
        buf_printf(out, "%s%u %u", p->written ? " " : "", place, number_of(p->im, p->c, uid));
    p->written++;
    p->expected = adds ? place + 1 : place;
}

static void end_pairs(const struct pairs *p)
{
    if (p->written)
        buf_add_str(&p->im->s.out, ")\r\n");
}

static void remove_ranked(struct imap *im, struct context *c, const struct uidset *uids)
{
    struct pairs p = {.im = im, .c = c, .item = "REMOVEFROM"};
    uint32_t uid, place;

    for (struct uidset_iter i = uidset_iter(uids); uidset_next(&i, &uid);) {
        place = ranking_remove(c->ranking, uid);
        if (place)
            write_pair(&p, place, uid, false);
    }
    end_pairs(&p);
}

static int add_ranked(struct imap *im, struct context *c, const struct uidset *uids)
{
    struct pairs p = {.im = im, .c = c, .item = "ADDTO"};
    struct error err = {0};
    struct message m;
    uint32_t uid, place;
    int r = 0;

    for (struct uidset_iter i = uidset_iter(uids); r == 0 && uidset_next(&i, &uid);) {
        if (!view_message(im->view, uid, &m, NULL))
            continue;
        r = ranking_insert(c->ranking, im->account, &m, &place, &err);
        if (r == 0)
            write_pair(&p, place, uid, true);
    }
    end_pairs(&p);
    return r;
}

static void take_away(struct imap *im, struct context *c, const struct uidset *uids)
{
    struct uidset rest;

    if (!uids->n)
        return;
    if (c->ranking)
        remove_ranked(im, c, uids);
    else
        write_set(im, c, "REMOVEFROM", uids);
    rest = uidset_minus(&c->members, uids);
    uidset_done(&c->members);
    c->members = rest;
}

static int put_in(struct imap *im, struct context *c, const struct uidset *uids)
{
    int r = 0;

    if (!uids->n)
        return 0;
    uidset_add_all(&c->members, uids);
    if (c->ranking)
        r = add_ranked(im, c, uids);
    else
        write_set(im, c, "ADDTO", uids);
    return r;
}

/* --- what has changed --------------------------------------------------------------------------
 */

static void note_changed(void *ctx, const struct message *m)
{
    uidset_add(ctx, m->uid);
}

void imap_contexts_update(struct imap *im, const struct mailbox *old, const struct mailbox *now)
{
    static const struct mailbox_diff diff = {.changed = note_changed, .added = note_changed};
    CLEANUP(uidset_done) struct uidset changed = {0};

    if (!im->contexts || now->sum.modseq < old->sum.modseq)
        return;
    mailbox_compare(old, now, &diff, &changed);
    for (struct context *c = im->contexts; c; c = c->next)
        uidset_add_all(&c->changed, &changed);
}

/* Section 4.3.4: "a REMOVEFROM containing message sequence numbers removed as a result of those
 * messages being expunged MUST be sent prior to the expunge notification itself". */
void imap_contexts_expunge(struct imap *im)
{
    for (struct context *c = im->contexts; c; c = c->next) {
        CLEANUP(uidset_done)
        struct uidset gone = uidset_and(&c->members, view_gone(im->view));

        take_away(im, c, &gone);
    }
}

/* --- looking again -----------------------------------------------------------------------------
 */

static void hit(void *ctx, uint32_t seq, const struct message *m)
{
    uidset_add(&((struct context *)ctx)->hits, m->uid);
}

/* Takes what is announced out of what has changed. */
static bool take_announced(struct imap *im, struct context *c)
{
    struct uid_range announced = {1, view_bound(im->view) - 1};
    struct uidset below = {&announced, 1, 1}, rest;

    if (!c->changed.n || announced.last == 0)
        return false;
    uidset_done(&c->looking);
    c->looking = uidset_and(&c->changed, &below);
    rest = uidset_minus(&c->changed, &below);
    uidset_done(&c->changed);
    c->changed = rest;
    return c->looking.n > 0;
}

/* The store cannot be reached, or the like: at the next occasion. */
static void put_off(struct context *c)
{
    uidset_add_all(&c->changed, &c->looking);
    uidset_clear(&c->looking);
    uidset_clear(&c->hits);
}

static void end_run(struct context *c)
{
    c->tree = c->run->tree;
    c->run->tree = (struct search_tree){0};
    search_run_done(c->run);
    free(TAKE(c->run));
}

/* 1: the hits are known; 0: there is nothing to look at. */
static int look(struct imap *im, struct context *c, int64_t until)
{
    int r;

    if (!c->run) {
        if (!take_announced(im, c))
            return 0;
        r = view_load(im->view, im->account, &c->looking, &c->fetching.err);
        if (r < 0)
            return r;
        c->run = NEW(struct search_run);
        search_run_again(c->run, im->view, &c->tree, &c->looking);
    }
    r = search_run_step(c->run, im, &c->fetching, until, hit, c);
    if (r == RUN_AGAIN)
        return r;
    end_run(c);
    return r < 0 ? r : 0;
}

/* RFC 5465 section 7: what a client asks for comes between EXISTS and ADDTO, for messages that are
 * new, not for those whose flags make them match. */
static int fetch_new(struct imap *im, struct context *c, const struct uidset *added)
{
    CLEANUP(uidset_done) struct uidset arrived = {0};

    if (!c->fetched && c->fetch) {
        for (size_t i = uidset_search(added, c->bound); i < added->n; i++)
            uidset_add_range(&arrived, MAX(added->items[i].first, c->bound), added->items[i].last);
        imap_pushed_fetch_begin(&c->fetching, &arrived, c->fetch);
    }
    c->fetched = true;
    return imap_pushed_fetch_step(im, &c->fetching);
}

/* RUN_AGAIN; -ERR_LIMIT: it cannot go on; -ERR_UNKNOWN_OUTCOME as imap_push. */
static int step(struct imap *im, struct context *c, int64_t until)
{
    CLEANUP(uidset_done) struct uidset added = {0};
    CLEANUP(uidset_done) struct uidset removed = {0};
    CLEANUP(uidset_done) struct uidset missed = {0};
    int r = c->fetched ? 0 : look(im, c, until);

    if (r == RUN_AGAIN)
        return r;
    if (r < 0) {
        put_off(c);
        return 0;
    }
    added = uidset_minus(&c->hits, &c->members);
    r = fetch_new(im, c, &added);
    if (r != 0)
        return r;
    missed = uidset_minus(&c->looking, &c->hits);
    removed = uidset_and(&c->members, &missed);
    c->fetched = false;
    c->bound = view_bound(im->view);
    uidset_clear(&c->looking);
    uidset_clear(&c->hits);
    take_away(im, c, &removed);
    return put_in(im, c, &added);
}

int imap_contexts_push(struct imap *im)
{
    int64_t until = clock_mono_ms() + SEARCH_WORK_MS;

    for (struct context **at = &im->contexts; *at;) {
        int r = step(im, *at, until);

        if (r == RUN_AGAIN || r == -ERR_UNKNOWN_OUTCOME)
            return r;
        if (r < 0) {
            refuse(im, (*at)->tag, "The results cannot be kept up to date any more");
            drop(at);
        } else {
            at = &(*at)->next;
        }
    }
    return 0;
}

bool imap_contexts_busy(const struct imap *im)
{
    for (const struct context *c = im->contexts; c; c = c->next)
        if (c->run || c->fetched)
            return true;
    return false;
}
