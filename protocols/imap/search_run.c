/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/search_run.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define SCANNED_MAX 65536 /* octets of a message whose content is looked through with others */

int search_run_begin(struct search_run *s, struct imap *im, struct view *view, struct command *cmd,
                     struct slice charset, const struct arg *keys)
{
    int r;

    s->view = view;
    s->next_uid = 1;
    s->progress_at_ms = clock_mono_ms() + im->service->settings.progress_ms;
    r = search_tree_compile(&s->tree, im, view, cmd, charset, keys);
    if (r == 0 && s->tree.modseq)
        imap_enable_condstore(im);
    if (r == 0)
        search_tree_narrow(&s->tree, im->account);
    return r;
}

void search_run_again(struct search_run *s, struct view *view, struct search_tree *tree,
                      const struct uidset *only)
{
    *s = (struct search_run){
        .tree = *tree, .view = view, .only = only, .next_uid = 1, .progress_at_ms = INT64_MAX};
    *tree = (struct search_tree){0};
}

/* What was kept in memory for the batch. */
static void let_go(struct search_run *s)
{
    hold_release(TAKE(s->hold));
    hold_release(TAKE(s->contents));
    textscan_free(TAKE(s->scan));
}

void search_run_done(struct search_run *s)
{
    let_go(s);
    search_tree_done(&s->tree);
}

static void narrow(struct uidset *set, const struct uidset *to)
{
    struct uidset both = uidset_and(set, to);

    uidset_done(set);
    *set = both;
}

/* The uids still to be looked at, narrowed by the sets that the program has at its top. */
static struct uidset rest_of(const struct search_run *s)
{
    const struct search_node *root = s->tree.root;
    struct uidset rest = {0};

    uidset_add_range(&rest, s->next_uid, UINT32_MAX);
    if (s->only)
        narrow(&rest, s->only);
    for (size_t i = 0; i < root->n; i++)
        if (root->children[i]->op == SEARCH_UID)
            narrow(&rest, &root->children[i]->uids);
    return rest;
}

struct uidset search_run_scope(const struct search_run *s)
{
    return rest_of(s);
}

/* True: the message waits in the batch (also one that matches, behind others that wait). */
static bool consider(struct search_run *s, struct search_candidate *c, search_hit *hit, void *ctx)
{
    int r = search_tree_glance(&s->tree, &c->m);

    if (r == 0)
        return false;
    c->decided = r == 1;
    if (r == 1 && s->n == 0) {
        hit(ctx, c->seq, &c->m);
        return false;
    }
    return true;
}

static void fill_batch(struct search_run *s, struct imap *im, int64_t until, search_hit *hit,
                       void *ctx)
{
    CLEANUP(uidset_done) struct uidset rest = rest_of(s);
    struct search_candidate *to = s->batch;
    struct view_iter i;
    unsigned looked_at = 0;
    bool gone;

    s->n = s->at = 0;
    s->ended = true;
    if (!rest.n)
        return;
    i = view_each(s->view, &rest);
    while (view_next(&i, &to->seq, &to->m, &gone)) {
        s->next_uid = to->m.uid + 1;
        if (!gone && consider(s, to, hit, ctx)) {
            to++;
            s->n++;
        }
        if (s->n == SEARCH_BATCH || (++looked_at % SEARCH_BATCH == 0 && clock_mono_ms() >= until)) {
            s->ended = false;
            return;
        }
    }
}

/* Messages whose contents are all that decides are looked through by several threads; large ones
 * here, a slice at a time. */
static void begin_scan(struct search_run *s, struct imap *im)
{
    struct textscan_message messages[SEARCH_BATCH];
    uint16_t n = 0;

    memset(s->scanned, 0, sizeof s->scanned);
    if (!search_tree_reads_content(&s->tree))
        return;
    for (size_t i = 0; i < s->n; i++) {
        const struct search_candidate *c = &s->batch[i];

        if (c->decided || c->m.size > SCANNED_MAX)
            continue;
        messages[n] = (struct textscan_message){.id = c->m.id, .size = c->m.size};
        s->scanned[i] = ++n;
    }
    if (n)
        s->scan = search_tree_scan(&s->tree, im->account, messages, n);
}

static bool needs_digest(const struct search_run *s, size_t i)
{
    return !s->batch[i].decided && !s->scanned[i];
}

/* Headers lie with the text, so that is read; all at once, since one by one each would be waited
 * for. */
static int read_small(struct search_run *s, struct imap *im, struct error *err)
{
    uint64_t ids[SEARCH_BATCH];
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (needs_digest(s, i) && s->batch[i].m.size <= SCANNED_MAX)
            ids[n++] = s->batch[i].m.id;
    return n ? message_read_ahead(im->account, ids, n, &s->contents, err) : 0;
}

static int next_batch(struct search_run *s, struct imap *im, int64_t until, search_hit *hit,
                      void *ctx, struct error *err)
{
    uint64_t ids[SEARCH_BATCH];
    struct slice digests[SEARCH_BATCH];
    size_t n = 0;
    int r;

    let_go(s);
    fill_batch(s, im, until, hit, ctx);
    begin_scan(s, im);
    for (size_t i = 0; i < s->n; i++)
        if (needs_digest(s, i))
            ids[n++] = s->batch[i].m.id;
    if (!n)
        return 0;
    r = message_digests(im->account, ids, n, digests, &s->hold, err);
    for (size_t i = s->n; r == 0 && i-- > 0;)
        s->digests[i] = needs_digest(s, i) ? digests[--n] : (struct slice){0};
    return r == 0 && search_tree_reads_header(&s->tree) ? read_small(s, im, err) : r;
}

/* As search_tree_match. */
static int match(struct search_run *s, struct imap *im, int64_t until, struct error *err)
{
    const struct message *m = &s->batch[s->at].m;
    uint64_t found;
    int r;

    if (s->batch[s->at].decided)
        return 1;
    if (!s->scanned[s->at])
        return search_tree_match(&s->tree, im->account, m, s->digests[s->at], until, err);
    r = textscan_get(s->scan, s->scanned[s->at] - 1u, until, &found, err);
    if (r == 0)
        return SEARCH_LATER;
    return r < 0 ? r : search_tree_match_known(&s->tree, im->account, m, found, until, err);
}

static int look_at(struct search_run *s, struct imap *im, int64_t until, search_hit *hit, void *ctx,
                   struct error *err)
{
    const struct search_candidate *c = &s->batch[s->at];
    int r = match(s, im, until, err);

    if (r == SEARCH_LATER)
        return RUN_AGAIN;
    s->at++;
    if (r == -ERR_NOTFOUND || r == -ERR_INTERNAL) {
        s->some_gone = true;
        return 0;
    }
    if (r == 1)
        hit(ctx, c->seq, &c->m);
    return MIN(r, 0);
}

/* RFC 9585 section 4: how far it is, of how much. Between the steps, so never within a response. */
static void tell_progress(struct search_run *s, struct imap *im, const struct command *cmd)
{
    int64_t every = im->service->settings.progress_ms, now = clock_mono_ms();
    uint32_t all = view_count(s->view);

    if (every < 0 || now < s->progress_at_ms || !all)
        return;
    s->progress_at_ms = now + every;
    buf_printf(&im->s.out, "* OK [INPROGRESS (\"%s\" %u %u)] Still searching\r\n", cmd->parsed.tag,
               s->at < s->n ? s->batch[s->at].seq - 1
               : s->n       ? s->batch[s->n - 1].seq
                            : 0,
               all);
}

int search_run_step(struct search_run *s, struct imap *im, struct command *cmd, int64_t until,
                    search_hit *hit, void *ctx)
{
    int r;

    tell_progress(s, im, cmd);
    for (;;) {
        if (s->at == s->n && s->ended)
            return 0;
        r = s->at == s->n ? next_batch(s, im, until, hit, ctx, &cmd->err)
                          : look_at(s, im, until, hit, ctx, &cmd->err);
        if (r != 0)
            return r;
        if (clock_mono_ms() >= until)
            return s->at == s->n && s->ended ? 0 : RUN_AGAIN;
    }
}

void search_run_text(const struct search_run *s, struct command *cmd)
{
    if (!s->some_gone)
        return;
    cmd->err = (struct error){0};
    cmd->text = "Some of the messages could not be read";
}
