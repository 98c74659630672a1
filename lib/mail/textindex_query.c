/* SPDX-License-Identifier: MPL-2.0 */
/* Looking keys up. Of each key some grams are looked for; a message that lacks one of them in a
 * kind of text does not hold the key there. Whatever cannot be read narrows nothing.
 */
#include "lib/base/mem.h"
#include "lib/mail/textindex_impl.h"

#define GRAMS_MAX 16 /* of one key that are looked for: more would hardly narrow more */

struct query_key {
    uint32_t grams[TEXTINDEX_KINDS_][GRAMS_MAX]; /* of the kinds in which it is looked for */
    size_t n[TEXTINDEX_KINDS_];
    bool any; /* too short: may be in all */
};

/* What is known of the messages of one segment. */
struct answer {
    struct textindex_doc *head;
    uint64_t **bits; /* of each key: who may hold it; NULL: all may */
    uint32_t hint;   /* where the next message may be */
};

struct textindex_query {
    struct account *account;
    struct query_key keys[TEXTINDEX_KEYS_MAX];
    size_t n;
    struct answer *answers;
    size_t n_answers, last;
    uint64_t unknown; /* messages that were asked for and are in no segment */
};

/* --- keys ------------------------------------------------------------------------------------ */

static bool has_gram(const uint32_t *grams, size_t n, uint32_t gram)
{
    for (size_t i = 0; i < n; i++)
        if (grams[i] == gram)
            return true;
    return false;
}

/* Of a long key, grams that lie evenly in it. */
static void take_grams(struct query_key *k, enum textindex_kind kind, struct slice mapped)
{
    size_t count = mapped.n - 2, step = (count + GRAMS_MAX - 1) / GRAMS_MAX;

    for (size_t i = 0; i < count; i += step) {
        uint32_t gram = textindex_gram(kind, mapped.p + i);

        if (!has_gram(k->grams[kind], k->n[kind], gram))
            k->grams[kind][k->n[kind]++] = gram;
    }
}

static void key_init(struct query_key *k, struct slice key, enum text_where where)
{
    CLEANUP(buf_done) struct buf mapped = buf_make(BUF_MAX_DEFAULT);

    text_casemap(&mapped, key);
    k->any = mapped.n < 3 || !where;
    if (k->any)
        return;
    if (where & TEXT_BODIES)
        take_grams(k, TEXTINDEX_BODIES, buf_slice(&mapped));
    if (where & TEXT_HEADERS)
        take_grams(k, TEXTINDEX_HEADERS, buf_slice(&mapped));
}

/* --- one segment ----------------------------------------------------------------------------- */

struct parts {
    struct textindex_id *items; /* ascending, each once */
    size_t n, cap;
    struct textindex_doc **docs;
};

static int compare_parts(const void *a, const void *b)
{
    uint32_t x = ((const struct textindex_id *)a)->part, y = ((const struct textindex_id *)b)->part;

    return (x > y) - (x < y);
}

static uint32_t part_of(const struct textindex_head *h, enum textindex_kind kind, uint32_t gram)
{
    return textindex_part(kind, gram >> (textindex_gram_bits[kind] - h->bits[kind]));
}

static void list_parts(const struct textindex_query *q, const struct textindex_head *h,
                       struct parts *parts)
{
    size_t kept = 0;

    for (size_t i = 0; i < q->n; i++)
        for (unsigned k = 0; k < TEXTINDEX_KINDS_; k++)
            for (size_t g = 0; g < q->keys[i].n[k]; g++)
                *VEC_PUSH(parts) = (struct textindex_id){
                    part_of(h, (enum textindex_kind)k, q->keys[i].grams[k][g]), h->segment};
    if (parts->n)
        qsort(parts->items, parts->n, sizeof *parts->items, compare_parts);
    for (size_t i = 0; i < parts->n; i++)
        if (!kept || parts->items[kept - 1].part != parts->items[i].part)
            parts->items[kept++] = parts->items[i];
    parts->n = kept;
}

static const struct textindex_doc *find_part(const struct parts *parts, uint32_t part)
{
    struct textindex_id probe = {part, 0}, *at;

    at = bsearch(&probe, parts->items, parts->n, sizeof probe, compare_parts);
    return at ? parts->docs[at - parts->items] : NULL;
}

/* 1: found; 0: no message has it; -1: not known. */
static int find_list(const struct parts *parts, const struct textindex_head *h,
                     enum textindex_kind kind, uint32_t gram, struct textindex_list *ret)
{
    const struct textindex_doc *d = find_part(parts, part_of(h, kind, gram));
    struct textindex_part_reader r;

    if (!d)
        return -1;
    textindex_part_open(&r, d->bytes, h->n);
    while (textindex_part_next(&r, ret))
        if (ret->gram >= gram)
            return ret->gram == gram;
    return r.bad ? -1 : 0;
}

static int shorter_first(const void *a, const void *b)
{
    uint32_t x = ((const struct textindex_list *)a)->count;
    uint32_t y = ((const struct textindex_list *)b)->count;

    return (x > y) - (x < y);
}

/* Adds to `out` those that have all of a key's grams in one kind of text. */
static void look_in_kind(const struct query_key *k, enum textindex_kind kind,
                         const struct textindex_head *h, const struct parts *parts, uint64_t *out)
{
    size_t words = (h->n + 63) / 64, n = 0;
    struct textindex_list lists[GRAMS_MAX];
    CLEANUP_FREE uint64_t *all = NEW_ARRAY(uint64_t, words), *one = NEW_ARRAY(uint64_t, words);

    for (size_t i = 0; i < k->n[kind]; i++) {
        int r = find_list(parts, h, kind, k->grams[kind][i], &lists[n]);

        if (r == 0)
            return;
        n += r > 0;
    }
    qsort(lists, n, sizeof *lists, shorter_first);
    memset(all, 0xFF, words * sizeof *all);
    for (size_t i = 0; i < n; i++) {
        memset(one, 0, words * sizeof *one);
        if (!textindex_list_bitmap(&lists[i], h->n, one))
            continue;
        for (size_t w = 0; w < words; w++)
            all[w] &= one[w];
    }
    for (size_t w = 0; w < words; w++)
        out[w] |= all[w];
}

static uint64_t *look_for(const struct query_key *k, const struct textindex_head *h,
                          const struct parts *parts)
{
    uint64_t *out;

    if (k->any)
        return NULL;
    out = NEW_ARRAY(uint64_t, (h->n + 63) / 64);
    for (unsigned kind = 0; kind < TEXTINDEX_KINDS_; kind++)
        if (k->n[kind])
            look_in_kind(k, (enum textindex_kind)kind, h, parts, out);
    for (uint32_t i = 0; i < h->n; i++)
        if (h->open[i / 8] >> i % 8 & 1)
            out[i / 64] |= (uint64_t)1 << i % 64;
    return out;
}

static int look_in_segment(struct textindex_query *q, struct textindex_doc *head)
{
    struct mail *mail = q->account->mail;
    struct answer *a = &q->answers[q->n_answers];
    struct parts parts = {0};
    int r;

    list_parts(q, &head->head, &parts);
    parts.docs = NEW_ARRAY(struct textindex_doc *, parts.n + 1);
    r = textindex_load(mail, q->account->id, parts.items, parts.n, true, parts.docs, NULL, NULL);
    if (r == 0) {
        *a = (struct answer){.head = head, .bits = NEW_ARRAY(uint64_t *, q->n + 1)};
        for (size_t i = 0; i < q->n; i++)
            a->bits[i] = look_for(&q->keys[i], &head->head, &parts);
        q->n_answers++;
        for (size_t i = 0; i < parts.n; i++)
            textindex_release(mail, parts.docs[i]);
    }
    free(parts.docs);
    VEC_DONE(&parts);
    return r;
}

/* --- all of them ----------------------------------------------------------------------------- */

static void look_in_all(struct textindex_query *q, const struct textindex_segments *segments)
{
    struct mail *mail = q->account->mail;
    CLEANUP_FREE struct textindex_id *ids = NEW_ARRAY(struct textindex_id, segments->n + 1);
    CLEANUP_FREE struct textindex_doc **heads = NEW_ARRAY(struct textindex_doc *, segments->n + 1);
    uint32_t version = text_version();

    for (size_t i = 0; i < segments->n; i++)
        ids[i] = (struct textindex_id){TEXTINDEX_HEAD, segments->items[i]};
    if (textindex_load(mail, q->account->id, ids, segments->n, true, heads, NULL, NULL) < 0)
        return;
    q->answers = NEW_ARRAY(struct answer, segments->n + 1);
    for (size_t i = 0; i < segments->n; i++)
        if (heads[i] &&
            (heads[i]->head.text_version != version || look_in_segment(q, heads[i]) < 0))
            textindex_release(mail, heads[i]);
}

struct textindex_query *textindex_query_new(struct account *account, const struct slice *keys,
                                            const enum text_where *where, size_t n)
{
    struct textindex_query *q = NEW(struct textindex_query);
    CLEANUP(textindex_segments_done) struct textindex_segments segments = {0};
    bool any = true;

    q->account = account_ref(account);
    q->n = MIN(n, (size_t)TEXTINDEX_KEYS_MAX);
    for (size_t i = 0; i < q->n; i++) {
        key_init(&q->keys[i], keys[i], where[i]);
        any = any && q->keys[i].any;
    }
    if (!any && account->mail->settings.index_after > 0 &&
        textindex_segments(account->mail, account->id, STORE_ANY, &segments, NULL) == 0)
        look_in_all(q, &segments);
    return q;
}

/* Ids come in ascending order most often, so the next one is where the last one was. */
static bool find_message(struct answer *a, uint64_t id, uint32_t *ret)
{
    const struct textindex_head *h = &a->head->head;
    uint32_t low = 0, high = h->n;

    if (a->hint < h->n && h->ids[a->hint] == id) {
        *ret = a->hint;
        return true;
    }
    if (id < h->ids[0] || id > h->ids[h->n - 1])
        return false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (h->ids[mid] < id)
            low = mid + 1;
        else
            high = mid;
    }
    *ret = low;
    return h->ids[low] == id;
}

static uint64_t bits_of(const struct textindex_query *q, const struct answer *a, uint32_t ordinal)
{
    uint64_t may = UINT64_MAX;

    for (size_t i = 0; i < q->n; i++)
        if (a->bits[i] && !(a->bits[i][ordinal / 64] >> ordinal % 64 & 1))
            may &= ~((uint64_t)1 << i);
    return may;
}

uint64_t textindex_may(struct textindex_query *q, uint64_t message)
{
    uint32_t ordinal;

    for (size_t i = 0; i < q->n_answers; i++) {
        struct answer *a = &q->answers[(q->last + i) % q->n_answers];

        if (!find_message(a, message, &ordinal))
            continue;
        a->hint = ordinal + 1;
        q->last = (q->last + i) % q->n_answers;
        return bits_of(q, a, ordinal);
    }
    q->unknown++;
    return UINT64_MAX;
}

void textindex_query_free(struct textindex_query *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->n_answers; i++) {
        for (size_t k = 0; k < q->n; k++)
            free(q->answers[i].bits[k]);
        free(q->answers[i].bits);
        textindex_release(q->account->mail, q->answers[i].head);
    }
    free(q->answers);
    if (q->unknown >= (uint64_t)q->account->mail->settings.index_after)
        textindex_wanted(q->account);
    account_unref(q->account);
    free(q);
}
