/* SPDX-License-Identifier: MPL-2.0 */
/* Several segments into one, without the messages: each segment's lists come as one stream in the
 * order of their grams, a few parts in memory at a time, and are merged like sorted lists. Messages
 * that are not alive, and those that an earlier segment has too, are left out.
 */
#include "lib/base/mem.h"
#include "lib/mail/textindex_impl.h"

#define SOURCES_MAX 16
#define READ_AHEAD  8 /* parts of a source */
#define NONE        UINT32_MAX

struct source {
    const struct textindex_head *head;
    uint32_t *new_ordinals; /* of each of its messages, or NONE */
    uint64_t *bitmap;
    uint32_t at; /* the next part */
    struct textindex_doc *docs[READ_AHEAD];
    size_t n_docs, doc;
    struct textindex_part_reader reader;
    struct textindex_list list; /* the next one */
    bool has;
    uint32_t least; /* a gram may not be below: they rise */
};

struct merge {
    struct account *account;
    struct source sources[SOURCES_MAX];
    size_t n, bad;
    uint64_t *ids;
    uint8_t *open;
    uint32_t count;
    uint64_t *bitmap;
    uint32_t *ordinals;
};

/* --- who is in it ---------------------------------------------------------------------------- */

struct candidate {
    uint64_t id;
    uint32_t source, ordinal;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->source > y->source) - (x->source < y->source);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void number_messages(struct merge *m, const uint64_t *live, size_t n_live)
{
    VEC(struct candidate) all = {0};

    for (uint32_t s = 0; s < m->n; s++) {
        const struct textindex_head *h = m->sources[s].head;

        for (uint32_t i = 0; i < h->n; i++) {
            m->sources[s].new_ordinals[i] = NONE;
            if (n_live && bsearch(&h->ids[i], live, n_live, sizeof *live, compare_ids))
                *VEC_PUSH(&all) = (struct candidate){h->ids[i], s, i};
        }
    }
    if (all.n)
        qsort(all.items, all.n, sizeof *all.items, compare_candidates);
    m->ids = NEW_ARRAY(uint64_t, all.n + 1);
    m->open = NEW_ARRAY(uint8_t, all.n / 8 + 1);
    for (size_t i = 0; i < all.n; i++) {
        const struct candidate *c = &all.items[i];
        const struct textindex_head *h = m->sources[c->source].head;

        if (i && all.items[i - 1].id == c->id)
            continue;
        if (h->open[c->ordinal / 8] >> c->ordinal % 8 & 1)
            m->open[m->count / 8] |= (uint8_t)(1 << m->count % 8);
        m->sources[c->source].new_ordinals[c->ordinal] = m->count;
        m->ids[m->count++] = c->id;
    }
    VEC_DONE(&all);
}

/* --- one source ------------------------------------------------------------------------------ */

static void release_docs(struct merge *m, struct source *s)
{
    for (size_t i = 0; i < s->n_docs; i++)
        textindex_release(m->account->mail, s->docs[i]);
    s->n_docs = s->doc = 0;
}

static int bad_source(struct merge *m, const struct source *s, struct error *err)
{
    m->bad = (size_t)(s - m->sources);
    return error_set(err, ERR_INVALID, "a segment of the text index cannot be read");
}

/* 1: the next part is open; 0: there is none. */
static int next_part(struct merge *m, struct source *s, enum textindex_kind kind, struct error *err)
{
    struct textindex_id ids[READ_AHEAD];
    size_t n = 0;
    int r;

    if (++s->doc < s->n_docs) {
        textindex_part_open(&s->reader, s->docs[s->doc]->bytes, s->head->n);
        return 1;
    }
    release_docs(m, s);
    for (; n < READ_AHEAD && s->at < 1u << s->head->bits[kind]; n++)
        ids[n] = (struct textindex_id){textindex_part(kind, s->at++), s->head->segment};
    if (!n)
        return 0;
    r = textindex_load(m->account->mail, m->account->id, ids, n, false, s->docs, NULL, err);
    if (r < 0)
        return r;
    s->n_docs = n;
    for (size_t i = 0; i < n; i++)
        if (!s->docs[i])
            return bad_source(m, s, err);
    textindex_part_open(&s->reader, s->docs[0]->bytes, s->head->n);
    return 1;
}

static bool in_order(struct source *s, enum textindex_kind kind)
{
    bool good = s->list.gram >= s->least && !(s->list.gram >> textindex_gram_bits[kind]);

    s->least = s->list.gram + 1;
    return good;
}

static int next_list(struct merge *m, struct source *s, enum textindex_kind kind, struct error *err)
{
    int r = 1;

    while (r == 1) {
        s->has = s->n_docs && textindex_part_next(&s->reader, &s->list);
        if ((s->n_docs && s->reader.bad) || (s->has && !in_order(s, kind)))
            return bad_source(m, s, err);
        if (s->has)
            return 0;
        r = next_part(m, s, kind, err);
    }
    return r;
}

/* --- merging --------------------------------------------------------------------------------- */

static bool add_list(struct merge *m, struct source *s)
{
    size_t words = (s->head->n + 63) / 64;

    memset(s->bitmap, 0, words * sizeof *s->bitmap);
    if (!textindex_list_bitmap(&s->list, s->head->n, s->bitmap))
        return false;
    for (size_t i = 0; i < words; i++)
        for (uint64_t bits = s->bitmap[i]; bits; bits &= bits - 1) {
            uint32_t to = s->new_ordinals[i * 64 + (unsigned)__builtin_ctzll(bits)];

            if (to != NONE)
                m->bitmap[to / 64] |= (uint64_t)1 << to % 64;
        }
    return true;
}

/* Takes the ordinals out of the bitmap, which is zero then. */
static size_t take_ordinals(struct merge *m)
{
    size_t n = 0;

    for (uint32_t i = 0; i < (m->count + 63) / 64; i++) {
        for (uint64_t bits = m->bitmap[i]; bits; bits &= bits - 1)
            m->ordinals[n++] = i * 64 + (uint32_t)__builtin_ctzll(bits);
        m->bitmap[i] = 0;
    }
    return n;
}

static bool lowest_gram(const struct merge *m, uint32_t *ret)
{
    bool any = false;

    for (size_t i = 0; i < m->n; i++) {
        const struct source *s = &m->sources[i];

        if (s->has && (!any || s->list.gram < *ret)) {
            *ret = s->list.gram;
            any = true;
        }
    }
    return any;
}

static int merge_gram(struct merge *m, struct textindex_writer *w, enum textindex_kind kind,
                      uint32_t gram, struct error *err)
{
    size_t count;
    int r = 0;

    for (size_t i = 0; i < m->n && r == 0; i++) {
        struct source *s = &m->sources[i];

        if (!s->has || s->list.gram != gram)
            continue;
        r = add_list(m, s) ? next_list(m, s, kind, err) : bad_source(m, s, err);
    }
    count = r == 0 ? take_ordinals(m) : 0;
    return count ? textindex_writer_add(w, kind, gram, m->ordinals, count, err) : r;
}

static int merge_kind(struct merge *m, struct textindex_writer *w, enum textindex_kind kind,
                      struct error *err)
{
    uint32_t gram = 0;
    int r = 0;

    for (size_t i = 0; i < m->n && r == 0; i++) {
        m->sources[i].at = m->sources[i].least = 0;
        release_docs(m, &m->sources[i]);
        r = next_list(m, &m->sources[i], kind, err);
    }
    while (r == 0 && lowest_gram(m, &gram))
        r = merge_gram(m, w, kind, gram, err);
    return r;
}

static void merge_free(struct merge *m)
{
    for (size_t i = 0; i < m->n; i++) {
        release_docs(m, &m->sources[i]);
        free(m->sources[i].new_ordinals);
        free(m->sources[i].bitmap);
    }
    free(m->ids);
    free(m->open);
    free(m->bitmap);
    free(m->ordinals);
    free(m);
}

static struct merge *merge_new(struct account *account, struct textindex_doc *const *heads,
                               size_t n, const uint64_t *live, size_t n_live)
{
    struct merge *m = NEW(struct merge);

    m->account = account;
    m->n = MIN(n, (size_t)SOURCES_MAX);
    for (size_t i = 0; i < m->n; i++) {
        struct source *s = &m->sources[i];

        s->head = &heads[i]->head;
        s->new_ordinals = NEW_ARRAY(uint32_t, s->head->n);
        s->bitmap = NEW_ARRAY(uint64_t, s->head->n / 64 + 1);
    }
    number_messages(m, live, n_live);
    m->bitmap = NEW_ARRAY(uint64_t, m->count / 64 + 1);
    m->ordinals = NEW_ARRAY(uint32_t, m->count + 1);
    return m;
}

int textindex_merge(struct account *account, struct textindex_doc *const *heads, size_t n,
                    const uint64_t *live, size_t n_live, size_t *ret_bad, struct error *err)
{
    struct merge *m = merge_new(account, heads, n, live, n_live);
    struct textindex_writer *w = NULL;
    uint64_t guess[TEXTINDEX_KINDS_] = {0}, segment;
    int r = 0;

    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; k < TEXTINDEX_KINDS_; k++)
            guess[k] += m->sources[i].head->bytes[k];
    if (m->count) {
        w = textindex_writer_new(account->mail, account->id, m->ids, m->open, m->count, guess);
        for (unsigned k = 0; k < TEXTINDEX_KINDS_ && r == 0; k++)
            r = merge_kind(m, w, (enum textindex_kind)k, err);
        if (r == 0)
            r = textindex_writer_end(w, &segment, err);
        textindex_writer_free(w);
    }
    *ret_bad = m->bad;
    merge_free(m);
    return r;
}
