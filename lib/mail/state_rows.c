/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/state_impl.h"

#include <stdlib.h>

#include "lib/base/mem.h"

#define CHUNK_FIRST 8u /* most mailboxes are small */

/* --- chunks ---------------------------------------------------------------------------------- */

#define ROW_BYTES (3 * sizeof(uint64_t) + 4 * sizeof(uint32_t))

struct chunk *chunk_new(uint32_t cap)
{
    struct chunk *c = mem_alloc(sizeof *c + cap * ROW_BYTES);

    *c = (struct chunk){.refs = 1, .cap = cap};
    c->modseq = (uint64_t *)(c + 1);
    c->id = c->modseq + cap;
    c->date = (int64_t *)(c->id + cap);
    c->uid = (uint32_t *)(c->date + cap);
    c->size = c->uid + cap;
    c->saved = c->size + cap;
    c->flags = c->saved + cap;
    return c;
}

void chunk_unref(struct chunk *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        free(c);
}

/* Appends rows [from, from + n) of another chunk; there is room. */
static void chunk_add_rows(struct chunk *to, const struct chunk *c, size_t from, size_t n)
{
    memcpy(to->modseq + to->n, c->modseq + from, n * sizeof *c->modseq);
    memcpy(to->id + to->n, c->id + from, n * sizeof *c->id);
    memcpy(to->date + to->n, c->date + from, n * sizeof *c->date);
    memcpy(to->uid + to->n, c->uid + from, n * sizeof *c->uid);
    memcpy(to->size + to->n, c->size + from, n * sizeof *c->size);
    memcpy(to->saved + to->n, c->saved + from, n * sizeof *c->saved);
    memcpy(to->flags + to->n, c->flags + from, n * sizeof *c->flags);
    to->n += (uint32_t)n;
}

static struct chunk *chunk_with_cap(const struct chunk *c, uint32_t cap)
{
    struct chunk *copy = chunk_new(cap);

    chunk_add_rows(copy, c, 0, c->n);
    return copy;
}

void chunk_message(const struct mailbox *box, const struct chunk *c, size_t at, struct message *ret)
{
    *ret = (struct message){
        .uid = c->uid[at],
        .size = c->size[at],
        .modseq = c->modseq[at],
        .id = c->id[at],
        .date = c->date[at],
        .saved = c->saved[at],
        .flags = flagsets_at(box->flagsets, c->flags[at]),
    };
}

size_t chunk_search(const struct chunk *c, uint32_t uid)
{
    size_t low = 0, high = c->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->uid[mid] < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* --- rows ------------------------------------------------------------------------------------ */

struct rows *rows_new(void)
{
    return NEW(struct rows);
}

void rows_free(struct rows *rows)
{
    if (!rows)
        return;
    for (size_t i = 0; i < rows->n; i++)
        chunk_unref(rows->chunks[i]);
    free(rows->chunks);
    free(rows->starts);
    free(rows);
}

static struct rows *rows_copy(const struct rows *old)
{
    struct rows *copy = rows_new();

    copy->n = copy->cap = old->n;
    copy->chunks = mem_realloc(NULL, old->n, sizeof(struct chunk *));
    copy->starts = mem_realloc(NULL, old->n, sizeof *copy->starts);
    for (size_t i = 0; i < old->n; i++) {
        copy->chunks[i] = old->chunks[i];
        copy->starts[i] = old->starts[i];
        atomic_fetch_add_explicit(&copy->chunks[i]->refs, 1, memory_order_relaxed);
    }
    return copy;
}

void rows_add(struct rows *rows, struct chunk *c)
{
    if (rows->n == rows->cap) {
        rows->cap = rows->cap ? rows->cap * 2 : 1;
        rows->chunks = mem_realloc(rows->chunks, rows->cap, sizeof(struct chunk *));
        rows->starts = mem_realloc(rows->starts, rows->cap, sizeof *rows->starts);
    }
    rows->starts[rows->n] = rows->n ? rows->starts[rows->n - 1] + rows->chunks[rows->n - 1]->n : 0;
    rows->chunks[rows->n++] = c;
}

struct chunk *rows_own_chunk(struct rows *rows, size_t at)
{
    struct chunk *c = rows->chunks[at];

    if (atomic_load_explicit(&c->refs, memory_order_acquire) != 1) {
        rows->chunks[at] = chunk_with_cap(c, c->n);
        chunk_unref(c);
    }
    return rows->chunks[at];
}

/* Would b fit behind a, with room to spare, so that the next few expunges do not join again? */
static bool should_join(const struct chunk *a, const struct chunk *b)
{
    return a->n + b->n <= CHUNK_MESSAGES / 2;
}

static void join_into(struct rows *rows, size_t at, struct chunk *next)
{
    struct chunk *a = rows->chunks[at], *joined = chunk_with_cap(a, a->n + next->n);

    chunk_add_rows(joined, next, 0, next->n);
    chunk_unref(a);
    chunk_unref(next);
    rows->chunks[at] = joined;
}

uint32_t rows_tidy(struct rows *rows)
{
    size_t kept = 0;
    uint32_t count = 0;

    for (size_t i = 0; i < rows->n; i++) {
        struct chunk *c = rows->chunks[i];

        if (!c->n)
            chunk_unref(c);
        else if (kept && should_join(rows->chunks[kept - 1], c))
            join_into(rows, kept - 1, c);
        else
            rows->chunks[kept++] = c;
    }
    rows->n = kept;
    for (size_t i = 0; i < kept; i++) {
        rows->starts[i] = count;
        count += rows->chunks[i]->n;
    }
    return count;
}

size_t rows_chunk_at(const struct rows *rows, uint32_t index)
{
    size_t low = 0, high = rows->n;

    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;

        if (rows->starts[mid] <= index)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* --- segments -------------------------------------------------------------------------------- */

struct segment *segment_new(void)
{
    struct segment *s = NEW(struct segment);

    s->refs = 1;
    s->rows = rows_new();
    return s;
}

struct segment *segment_ref(struct segment *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void segment_unref(struct segment *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    rows_free(s->rows);
    free(s);
}

bool segment_can_unload(const struct segment *s)
{
    return segment_rows(s) && atomic_load(&((struct segment *)s)->stamp);
}

struct segment *segment_unloaded(const struct mailbox *box, struct segment *s)
{
    struct segment *bare = NEW(struct segment);
    struct segment_summary sum;

    bare->refs = 1;
    bare->first = s->first;
    bare->last = s->last;
    bare->count = s->count;
    bare->stamp = atomic_load(&s->stamp);
    if (segment_summarize(box, s, &sum)) {
        CLEANUP(arena_done) struct arena arena = {0};
        struct slice *keywords;
        size_t n;

        if (!sum.keywords) {
            n = segment_keywords(box, s, &arena, &keywords);
            sum.keywords = flagsets_intern(box->flagsets, 0, keywords, n);
        }
        segment_set_summary(bare, &sum);
    }
    return bare;
}

struct segment *mailbox_own_segment(struct mailbox *box, size_t at)
{
    struct segment *s = box->segments[at], *copy;

    if (atomic_load_explicit(&s->refs, memory_order_acquire) == 1) {
        s->stamp = 0;
        s->summary = 0;
        return s;
    }
    copy = NEW(struct segment);
    copy->refs = 1;
    copy->first = s->first;
    copy->last = s->last;
    copy->count = s->count;
    copy->rows = rows_copy(segment_rows(s));
    box->segments[at] = copy;
    segment_unref(s);
    return copy;
}

void segment_refresh(struct segment *s)
{
    struct rows *rows = segment_rows(s);
    const struct chunk *last;

    s->stamp = 0;
    s->summary = 0;
    s->count = rows_tidy(rows);
    if (!s->count)
        return;
    last = rows->chunks[rows->n - 1];
    s->first = rows->chunks[0]->uid[0];
    s->last = last->uid[last->n - 1];
}

/* The chunk that takes one more message at the end of the segment. */
static struct chunk *chunk_with_room(struct rows *rows)
{
    struct chunk *c = rows->n ? rows->chunks[rows->n - 1] : NULL, *wider;

    if (!c || c->n == CHUNK_MESSAGES) {
        c = chunk_new(rows->n ? CHUNK_MESSAGES : CHUNK_FIRST);
        rows_add(rows, c);
        return c;
    }
    if (c->n < c->cap && atomic_load_explicit(&c->refs, memory_order_acquire) == 1)
        return c;
    wider = chunk_with_cap(c, MIN(CHUNK_MESSAGES, c->n + c->n / 2 + CHUNK_FIRST));
    chunk_unref(c);
    rows->chunks[rows->n - 1] = wider;
    return wider;
}

void segment_append(struct segment *s, const struct message *m)
{
    struct chunk *c = chunk_with_room(segment_rows(s));
    uint32_t at = c->n++;

    c->uid[at] = m->uid;
    c->size[at] = m->size;
    c->modseq[at] = m->modseq;
    c->id[at] = m->id;
    c->date[at] = m->date;
    c->saved[at] = (uint32_t)m->saved;
    c->flags[at] = m->flags->index;
    if (!s->count++)
        s->first = m->uid;
    s->last = m->uid;
    s->stamp = 0;
    s->summary = 0;
}

void segment_join(struct segment *to, struct segment *from)
{
    struct rows *rows = segment_rows(to), *more = segment_rows(from);

    for (size_t i = 0; i < more->n; i++)
        rows_add(rows, more->chunks[i]);
    more->n = 0;
    from->count = 0;
    segment_refresh(to);
}

/* --- summaries -------------------------------------------------------------------------------- */

#define SUMMARY_KNOWN ((uint64_t)1 << 63)
#define SEE_ROWS      UINT32_MAX /* in place of the index of a set */

void segment_set_summary(struct segment *s, const struct segment_summary *summary)
{
    s->summary = SUMMARY_KNOWN | (uint64_t)summary->unseen << 32 |
                 (summary->keywords ? summary->keywords->index : SEE_ROWS);
}

static uint32_t count_unseen(const struct mailbox *box, const struct rows *rows)
{
    const struct flagset *f = flagsets_at(box->flagsets, 0);
    uint32_t unseen = 0;

    for (size_t i = 0; i < rows->n; i++) {
        const struct chunk *c = rows->chunks[i];

        for (uint32_t j = 0; j < c->n; j++) {
            if (c->flags[j] != f->index)
                f = flagsets_at(box->flagsets, c->flags[j]);
            unseen += !(f->system & FLAG_SEEN);
        }
    }
    return unseen;
}

bool segment_summarize(const struct mailbox *box, struct segment *s, struct segment_summary *ret)
{
    uint64_t known = s->summary;
    const struct rows *rows = segment_rows(s);

    if (known) {
        *ret = (struct segment_summary){.unseen = (uint32_t)(known >> 32) & INT32_MAX};
        if ((uint32_t)known != SEE_ROWS)
            ret->keywords = flagsets_at(box->flagsets, (uint32_t)known);
        return true;
    }
    if (!rows)
        return false;
    *ret = (struct segment_summary){.unseen = count_unseen(box, rows)};
    segment_set_summary(s, ret);
    return true;
}

struct keyword_list {
    struct slice *items; /* sorted */
    size_t n, cap;
};

/* Puts a keyword where it belongs, unless it is there. */
static void add_keyword(struct keyword_list *list, struct slice keyword)
{
    size_t low = 0, high = list->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = keyword_cmp(list->items[mid], keyword);

        if (!d)
            return;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    VEC_RESERVE(list, list->n + 1);
    memmove(list->items + low + 1, list->items + low, (list->n - low) * sizeof *list->items);
    list->items[low] = keyword;
    list->n++;
}

/* Each set is looked at once, however many messages have it. */
static void add_keywords(struct keyword_list *list, const struct flagsets *t, const struct chunk *c,
                         uint64_t *seen)
{
    for (uint32_t j = 0; j < c->n; j++) {
        uint32_t index = c->flags[j];
        const struct flagset *f;

        if (seen[index / 64] >> index % 64 & 1)
            continue;
        seen[index / 64] |= (uint64_t)1 << index % 64;
        f = flagsets_at(t, index);
        for (size_t k = 0; k < f->n_keywords; k++)
            add_keyword(list, f->keywords[k]);
    }
}

size_t segment_keywords(const struct mailbox *box, const struct segment *s, struct arena *arena,
                        struct slice **ret)
{
    /* sets that are made meanwhile are of other messages */
    CLEANUP_FREE uint64_t *seen = NEW_ARRAY(uint64_t, flagsets_count(box->flagsets) / 64 + 1);
    const struct rows *rows = segment_rows(s);
    struct keyword_list list = {0};
    size_t n;

    for (size_t i = 0; i < rows->n; i++)
        add_keywords(&list, box->flagsets, rows->chunks[i], seen);
    n = list.n;
    *ret = arena_array(arena, n, sizeof **ret);
    if (n)
        memcpy(*ret, list.items, n * sizeof **ret);
    VEC_DONE(&list);
    return n;
}
