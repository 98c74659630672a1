/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/flagset.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/build.h"

#define HASH_FUNCTION(key, n, hash) (hash) = (unsigned)hash_keyed(slice_of(key, n))
#include <uthash.h>

/* Pages double: page p holds PAGE_FIRST << p sets, so an index leads to its place without a lock
 * and nothing ever moves. */
#define PAGE_FIRST 64u
#define PAGES      26

struct entry {
    struct flagset set;
    UT_hash_handle hh; /* by text */
};

struct keyword {
    struct slice text;  /* as first seen */
    struct slice lower; /* the key */
    UT_hash_handle hh;
};

struct flagsets {
    _Atomic uint32_t refs;
    _Atomic uint32_t count;
    _Atomic(struct flagset **) pages[PAGES];
    pthread_mutex_t lock;
    struct arena arena;
    struct entry *by_text;
    struct keyword *keywords;
};

/* In the order in which they are shown. */
static const struct {
    uint8_t flag;
    const char *name;
} system_flags[] = {
    {FLAG_ANSWERED, "\\Answered"}, {FLAG_FLAGGED, "\\Flagged"}, {FLAG_DELETED, "\\Deleted"},
    {FLAG_SEEN, "\\Seen"},         {FLAG_DRAFT, "\\Draft"},
};

int keyword_cmp(struct slice a, struct slice b)
{
    size_t n = MIN(a.n, b.n);

    for (size_t i = 0; i < n; i++) {
        int d = (int)byte_lower(a.p[i]) - (int)byte_lower(b.p[i]);

        if (d)
            return d;
    }
    return (a.n > b.n) - (a.n < b.n);
}

bool keyword_valid(struct slice keyword)
{
    if (!keyword.n || keyword.n > KEYWORD_MAX)
        return false;
    for (size_t i = 0; i < keyword.n; i++) {
        uint8_t c = keyword.p[i];

        /* RFC 3501 section 9: an atom has no atom-specials: ( ) { SP CTL % * " \ ] */
        if (c <= ' ' || c >= 0x7f || strchr("(){%*\"\\]", c))
            return false;
    }
    return true;
}

static int compare_keywords(const void *a, const void *b)
{
    return keyword_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

size_t keywords_sort(struct slice *keywords, size_t n)
{
    size_t kept = 0;

    /* By insertion where it is short: stable, so that the first spelling is the one that stays. */
    for (size_t i = 1; n <= KEYWORDS_PER_MESSAGE && i < n; i++)
        for (size_t j = i; j && compare_keywords(&keywords[j - 1], &keywords[j]) > 0; j--) {
            struct slice swap = keywords[j];

            keywords[j] = keywords[j - 1];
            keywords[j - 1] = swap;
        }
    if (n > KEYWORDS_PER_MESSAGE)
        qsort(keywords, n, sizeof *keywords, compare_keywords);
    for (size_t i = 0; i < n; i++)
        if (!kept || keyword_cmp(keywords[kept - 1], keywords[i]))
            keywords[kept++] = keywords[i];
    return kept;
}

bool flagset_has_keyword(const struct flagset *s, struct slice keyword)
{
    size_t low = 0, high = s->n_keywords;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = keyword_cmp(s->keywords[mid], keyword);

        if (!d)
            return true;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

struct flagsets *flagsets_new(void)
{
    struct flagsets *t = NEW(struct flagsets);

    t->refs = 1;
    pthread_mutex_init(&t->lock, NULL);
    flagsets_intern(t, 0, NULL, 0); /* index 0: no flags */
    return t;
}

struct flagsets *flagsets_ref(struct flagsets *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void flagsets_unref(struct flagsets *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    HASH_CLEAR(hh, t->by_text);
    HASH_CLEAR(hh, t->keywords);
    for (size_t i = 0; i < PAGES; i++)
        free(t->pages[i]);
    arena_done(&t->arena);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static unsigned page_of(uint32_t index, uint32_t *ret_at)
{
    unsigned page = 31u - (unsigned)__builtin_clz(index / PAGE_FIRST + 1);

    *ret_at = index - PAGE_FIRST * ((1u << page) - 1);
    return page;
}

const struct flagset *flagsets_at(const struct flagsets *t, uint32_t index)
{
    uint32_t at;
    unsigned page = page_of(index, &at);

    return atomic_load_explicit(&t->pages[page], memory_order_acquire)[at];
}

size_t flagsets_count(const struct flagsets *t)
{
    return atomic_load_explicit(&t->count, memory_order_acquire);
}

size_t flagsets_bytes(const struct flagsets *t)
{
    struct flagsets *lockable = (struct flagsets *)t;
    size_t bytes;

    pthread_mutex_lock(&lockable->lock);
    bytes = t->arena.used;
    pthread_mutex_unlock(&lockable->lock);
    return bytes;
}

const struct flagset *flagmemo_get(const struct flagmemo *m, uint32_t index)
{
    return index < m->n ? m->items[index] : NULL;
}

void flagmemo_put(struct flagmemo *m, uint32_t index, const struct flagset *made)
{
    if (index >= m->n) {
        size_t n = MAX((size_t)index + 1, m->n * 2);

        m->items = mem_realloc(m->items, n, sizeof *m->items);
        memset(m->items + m->n, 0, (n - m->n) * sizeof *m->items);
        m->n = n;
    }
    m->items[index] = made;
}

void flagmemo_done(struct flagmemo *m)
{
    free(TAKE(m->items));
    m->n = 0;
}

static struct slice make_text(struct arena *arena, uint8_t system, const struct slice *keywords,
                              size_t n)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(system_flags); i++)
        if (system & system_flags[i].flag) {
            buf_add_str(&b, b.n ? " " : "");
            buf_add_str(&b, system_flags[i].name);
        }
    for (size_t i = 0; i < n; i++) {
        buf_add_str(&b, b.n ? " " : "");
        buf_add_slice(&b, keywords[i]);
    }
    return arena_slice(arena, buf_slice(&b));
}

static struct slice lower_case(struct arena *arena, struct slice s)
{
    uint8_t *p = arena_alloc(arena, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = byte_lower(s.p[i]);
    return slice_of(p, s.n);
}

static struct keyword *find_keyword(const struct flagsets *t, struct slice lower)
{
    struct keyword *found;

    HASH_FIND(hh, t->keywords, lower.p, lower.n, found);
    return found;
}

static void learn_keyword(struct flagsets *t, struct slice text)
{
    struct slice lower = lower_case(&t->arena, text);
    struct keyword *k;

    if (find_keyword(t, lower))
        return;
    k = ARENA_NEW(&t->arena, struct keyword);
    k->text = text;
    k->lower = lower;
    HASH_ADD_KEYPTR(hh, t->keywords, k->lower.p, k->lower.n, k);
}

static void place(struct flagsets *t, struct flagset *set)
{
    uint32_t at;
    unsigned page = page_of(set->index, &at);
    struct flagset **sets = atomic_load_explicit(&t->pages[page], memory_order_relaxed);

    if (!sets)
        sets = mem_realloc0((size_t)PAGE_FIRST << page, sizeof *sets);
    sets[at] = set;
    atomic_store_explicit(&t->pages[page], sets, memory_order_release);
    atomic_store_explicit(&t->count, set->index + 1, memory_order_release);
}

static const struct flagset *add_set(struct flagsets *t, uint8_t system,
                                     const struct slice *keywords, size_t n, struct slice text)
{
    struct entry *e = ARENA_NEW(&t->arena, struct entry);
    size_t at = text.n;

    e->set.index = t->count;
    e->set.system = system;
    e->set.text = arena_slice(&t->arena, text);
    e->set.n_keywords = n;
    e->set.keywords = arena_array(&t->arena, n, sizeof *e->set.keywords);
    /* the text ends with the keywords, a space before each */
    for (size_t i = n; i; at -= keywords[--i].n + 1)
        e->set.keywords[i - 1] = slice_sub(e->set.text, at - keywords[i - 1].n, at);
    for (size_t i = 0; i < n; i++)
        learn_keyword(t, e->set.keywords[i]);
    HASH_ADD_KEYPTR(hh, t->by_text, e->set.text.p, e->set.text.n, e);
    place(t, &e->set);
    return &e->set;
}

const struct flagset *flagsets_intern(struct flagsets *t, uint8_t system,
                                      const struct slice *keywords, size_t n)
{
    struct arena scratch = {0};
    struct slice text = make_text(&scratch, system & FLAGS_ALL, keywords, n);
    const struct flagset *set;
    struct entry *e;

    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->by_text, text.p, text.n, e);
    set = e ? &e->set : add_set(t, system & FLAGS_ALL, keywords, n, text);
    pthread_mutex_unlock(&t->lock);
    arena_done(&scratch);
    return set;
}

static bool is_among(const struct flags *flags, struct slice keyword)
{
    struct flagset set = {.keywords = flags->keywords, .n_keywords = flags->n_keywords};

    return flagset_has_keyword(&set, keyword);
}

/* One step of a merge of two sorted lists; what `a` has is taken before its like in `b`. */
static struct slice merge_next(const struct slice *a, size_t n_a, size_t *i, const struct slice *b,
                               size_t n_b, size_t *j)
{
    int d = *i == n_a ? 1 : *j == n_b ? -1 : keyword_cmp(a[*i], b[*j]);

    if (d == 0)
        ++*j;
    return d <= 0 ? a[(*i)++] : b[(*j)++];
}

const struct flagset *flagsets_change(struct flagsets *t, const struct flagset *old,
                                      const struct flags *add, const struct flags *remove)
{
    static const struct flags none;
    VEC(struct slice) keywords = {0};
    const struct flagset *set;
    uint8_t system;

    add = add ? add : &none;
    remove = remove ? remove : &none;
    system = (uint8_t)((old->system | add->system) & ~remove->system);
    if (!add->n_keywords && !remove->n_keywords && system == old->system)
        return old;
    for (size_t i = 0, j = 0; i < old->n_keywords || j < add->n_keywords;) {
        struct slice k =
            merge_next(old->keywords, old->n_keywords, &i, add->keywords, add->n_keywords, &j);

        if (!is_among(remove, k))
            *VEC_PUSH(&keywords) = k;
    }
    set = flagsets_intern(t, system, keywords.items, keywords.n);
    VEC_DONE(&keywords);
    return set;
}

bool flagsets_keyword(const struct flagsets *t, struct slice keyword, struct slice *ret)
{
    struct flagsets *lockable = (struct flagsets *)t;
    struct arena scratch = {0};
    struct slice lower = lower_case(&scratch, keyword);
    struct keyword *k;

    pthread_mutex_lock(&lockable->lock);
    k = find_keyword(t, lower);
    pthread_mutex_unlock(&lockable->lock);
    arena_done(&scratch);
    if (k)
        *ret = k->text;
    return k != NULL;
}

size_t flagsets_keywords_count(const struct flagsets *t)
{
    struct flagsets *lockable = (struct flagsets *)t;
    size_t n;

    pthread_mutex_lock(&lockable->lock);
    n = HASH_COUNT(t->keywords);
    pthread_mutex_unlock(&lockable->lock);
    return n;
}

void flagsets_each_keyword(const struct flagsets *t, void (*f)(void *ctx, struct slice keyword),
                           void *ctx)
{
    struct flagsets *lockable = (struct flagsets *)t;

    pthread_mutex_lock(&lockable->lock);
    for (struct keyword *k = t->keywords; k; k = k->hh.next)
        f(ctx, k->text);
    pthread_mutex_unlock(&lockable->lock);
}
