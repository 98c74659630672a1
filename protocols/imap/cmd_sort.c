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
#include "protocols/imap/context.h"
#include "protocols/imap/search_return.h"
#include "protocols/imap/sort_order.h"

#define WORK 2000 /* comparisons between two looks at the clock */

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

/* What is equal stays in the order of its numbers: RFC 5256 section 3: "the sequence numbers of
 * the messages are used to break ties". */
static int compare(const void *ctx, const void *a, const void *b)
{
    const struct sort *s = ctx;

    return sort_compare(s->criteria, s->n_criteria, a, b);
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
        keys |= sort_is_text(word) || word == SORT_DATE;
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
    if (r == 0)
        r = context_check(im, cmd, &s->found);
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

        f->lead = sort_lead(f, &s->criteria[0]);
        s->order[i] = f;
    }
    slicesort_begin(&s->sort, s->order, n, compare, s);
}

static int sort_some(struct imap *im, struct sort *s, struct command *cmd, int64_t until)
{
    if (!s->order)
        begin_sorting(s);
    while (!slicesort_step(&s->sort, WORK))
        if (clock_mono_ms() >= until)
            return RUN_AGAIN;
    s->sorted = true;
    if (s->gather.found.n > RANKING_MAX)
        context_refuse(im, cmd, &s->found);
    for (size_t i = 0; i < s->gather.found.n; i++) {
        const struct gathered *f = s->order[i];

        search_return_add(&s->found, cmd, f->seq, f->m.uid, f->m.modseq);
    }
    return 0;
}

static void keep_up_to_date(struct imap *im, struct command *cmd, struct sort *s)
{
    CLEANUP(uidset_done) struct uidset members = {0};
    struct ranking *ranking = ranking_new(s->criteria, s->n_criteria, TAKE(s->gather.keys));

    for (size_t i = 0; i < s->gather.found.n; i++) {
        uidset_add(&members, s->gather.found.items[i].m.uid);
        ranking_append(ranking, s->order[i]);
    }
    context_add(im, cmd, &s->found, &s->gather.run, &members, ranking);
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
        r = sort_some(im, s, cmd, until);
    if (r == 0)
        r = search_return_write(&s->found, im, cmd, "SORT", s->gather.run.tree.modseq);
    if (r == 0)
        search_run_text(&s->gather.run, cmd);
    if (r == 0 && s->found.update)
        keep_up_to_date(im, cmd, s);
    return r;
}

int cmd_sort(struct imap *im, struct command *cmd)
{
    int r = step(im, cmd);
    struct sort *s = cmd->context;

    return search_return_refused(&s->found, im, cmd, r);
}
