/* SPDX-License-Identifier: MPL-2.0 */
/* SORT: RFC 5256, RFC 5957 (DISPLAYFROM, DISPLAYTO), RFC 5267 section 3 (ESORT).
 *
 * Search, read the keys, sort, answer: each in slices. Most comparisons are of `lead`, a number
 * that says as much as eight bytes can of the first criterion.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/slicesort.h"
#include "protocols/imap/gather.h"
#include "protocols/imap/search_return.h"

#define WORK 2000 /* comparisons between two looks at the clock */

struct criterion {
    enum sort_word word;
    bool reverse;
};

struct sort {
    struct gather gather;
    struct search_return found;
    struct criterion *criteria; /* the command's arena's */
    size_t n_criteria;
    const void **order; /* of gathered */
    struct slicesort sort;
    bool sorted;
};

static void sort_free(void *context)
{
    struct sort *s = context;

    gather_done(&s->gather);
    search_return_done(&s->found);
    slicesort_done(&s->sort);
    free(s->order);
    free(s);
}

/* --- comparing ---------------------------------------------------------------------------------
 */

static bool is_text(enum sort_word word)
{
    return word != SORT_ARRIVAL && word != SORT_DATE && word != SORT_SIZE;
}

static int64_t number_of(const struct gathered *f, enum sort_word word)
{
    switch (word) {
    case SORT_SIZE:
        return f->m.size;
    case SORT_DATE:
        return gathered_sent(f);
    default:
        return f->m.date;
    }
}

static struct slice text_of(const struct gathered *f, enum sort_word word)
{
    switch (word) {
    case SORT_CC:
        return sortkeys_text(f->keys, SORTKEY_CC);
    case SORT_FROM:
        return sortkeys_text(f->keys, SORTKEY_FROM);
    case SORT_TO:
        return sortkeys_text(f->keys, SORTKEY_TO);
    case SORT_DISPLAYFROM:
        return sortkeys_text(f->keys, SORTKEY_DISPLAYFROM);
    case SORT_DISPLAYTO:
        return sortkeys_text(f->keys, SORTKEY_DISPLAYTO);
    default:
        return sortkeys_text(f->keys, SORTKEY_SUBJECT);
    }
}

static uint64_t lead_of(const struct gathered *f, const struct criterion *c)
{
    uint8_t bytes[8] = {0};
    struct slice text;
    uint64_t lead;

    if (is_text(c->word)) {
        text = text_of(f, c->word);
        if (text.n)
            memcpy(bytes, text.p, MIN(text.n, sizeof bytes));
        lead = get_be64(bytes);
    } else {
        lead = (uint64_t)number_of(f, c->word) ^ (uint64_t)1 << 63;
    }
    return c->reverse ? ~lead : lead;
}

static int compare_by(const struct criterion *c, const struct gathered *l, const struct gathered *r)
{
    int64_t a, b;
    int cmp;

    if (is_text(c->word)) {
        cmp = slice_cmp(text_of(l, c->word), text_of(r, c->word));
    } else {
        a = number_of(l, c->word);
        b = number_of(r, c->word);
        cmp = (a > b) - (a < b);
    }
    return c->reverse ? -cmp : cmp;
}

/* What is equal stays in the order of its numbers: RFC 5256 section 3: "the sequence numbers of
 * the messages are used to break ties". */
static int compare(const void *ctx, const void *a, const void *b)
{
    const struct sort *s = ctx;
    const struct gathered *l = a, *r = b;
    int cmp = (l->lead > r->lead) - (l->lead < r->lead);

    for (size_t i = 0; i < s->n_criteria && cmp == 0; i++)
        cmp = compare_by(&s->criteria[i], l, r);
    return cmp;
}

/* --- the command -------------------------------------------------------------------------------
 */

/* True: something of digests is compared. */
static bool read_criteria(struct sort *s, struct command *cmd, const struct arg *list)
{
    bool keys = false;

    s->criteria = arena_array(&cmd->arena, list->n, sizeof *s->criteria);
    for (size_t i = 0; i < list->n; i++) {
        const struct arg *a = &list->items[i];
        bool reverse = a->word == SORT_REVERSE;
        enum sort_word word = (enum sort_word)(reverse ? a->items[0].word : a->word);

        s->criteria[s->n_criteria++] = (struct criterion){word, reverse};
        keys |= is_text(word) || word == SORT_DATE;
    }
    return keys;
}

static int begin(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    struct sort *s = NEW(struct sort);
    int r;

    cmd->context = s;
    cmd->context_free = sort_free;
    r = search_return_read(&s->found, im, cmd, &args[0]);
    if (r < 0)
        return r;
    return gather_begin(&s->gather, im, cmd, args[2].text, &args[3],
                        read_criteria(s, cmd, &args[1].items[0]));
}

static void begin_sorting(struct sort *s)
{
    size_t n = s->gather.found.n;

    s->order = mem_realloc(NULL, n + 1, sizeof *s->order);
    for (size_t i = 0; i < n; i++) {
        struct gathered *f = &s->gather.found.items[i];

        f->lead = lead_of(f, &s->criteria[0]);
        s->order[i] = f;
    }
    slicesort_begin(&s->sort, s->order, n, compare, s);
}

static int sort_some(struct sort *s, struct command *cmd, int64_t until)
{
    if (!s->order)
        begin_sorting(s);
    while (!slicesort_step(&s->sort, WORK))
        if (clock_mono_ms() >= until)
            return RUN_AGAIN;
    s->sorted = true;
    for (size_t i = 0; i < s->gather.found.n; i++) {
        const struct gathered *f = s->order[i];

        search_return_add(&s->found, cmd, f->seq, f->m.uid, f->m.modseq);
    }
    return 0;
}

static int step(struct imap *im, struct command *cmd)
{
    int64_t until = clock_mono_ms() + SEARCH_WORK_MS;
    struct sort *s;
    int r = cmd->context ? 0 : begin(im, cmd);

    s = cmd->context;
    if (r == 0 && !s->sorted)
        r = gather_step(&s->gather, im, cmd, until);
    if (r == 0 && !s->sorted)
        r = sort_some(s, cmd, until);
    if (r == 0)
        r = search_return_write(&s->found, im, cmd, "SORT", s->gather.run.tree.modseq);
    if (r == 0)
        search_run_text(&s->gather.run, cmd);
    return r;
}

int cmd_sort(struct imap *im, struct command *cmd)
{
    int r = step(im, cmd);
    struct sort *s = cmd->context;

    return search_return_refused(&s->found, im, cmd, r);
}
