/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/sort_order.h"

#include <stdlib.h>

bool sort_is_text(enum sort_word word)
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

uint64_t sort_lead(const struct gathered *f, const struct criterion *c)
{
    uint8_t bytes[8] = {0};
    struct slice text;
    uint64_t lead;

    if (sort_is_text(c->word)) {
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

    if (sort_is_text(c->word)) {
        cmp = slice_cmp(text_of(l, c->word), text_of(r, c->word));
    } else {
        a = number_of(l, c->word);
        b = number_of(r, c->word);
        cmp = (a > b) - (a < b);
    }
    return c->reverse ? -cmp : cmp;
}

int sort_compare(const struct criterion *criteria, size_t n, const struct gathered *l,
                 const struct gathered *r)
{
    int cmp = (l->lead > r->lead) - (l->lead < r->lead);

    for (size_t i = 0; i < n && cmp == 0; i++)
        cmp = compare_by(&criteria[i], l, r);
    return cmp;
}

/* --- ranking -----------------------------------------------------------------------------------
 */

struct ranking {
    const struct criterion *criteria;
    size_t n_criteria;
    struct sortkeys_mailbox *keys;
    VEC(struct gathered *) items;
};

struct ranking *ranking_new(const struct criterion *criteria, size_t n,
                            struct sortkeys_mailbox *keys)
{
    struct ranking *k = NEW(struct ranking);

    k->criteria = criteria;
    k->n_criteria = n;
    k->keys = keys;
    return k;
}

void ranking_free(struct ranking *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->items.n; i++)
        free(k->items.items[i]);
    VEC_DONE(&k->items);
    sortkeys_close(k->keys);
    free(k);
}

void ranking_append(struct ranking *k, const struct gathered *f)
{
    *VEC_PUSH(&k->items) = mem_dup(f, sizeof *f);
}

/* What is equal stays in the order of uids, which is that of the numbers. */
static bool is_before(const struct ranking *k, const struct gathered *l, const struct gathered *r)
{
    int cmp = sort_compare(k->criteria, k->n_criteria, l, r);

    return cmp ? cmp < 0 : l->m.uid < r->m.uid;
}

static size_t place_of(const struct ranking *k, const struct gathered *f)
{
    size_t low = 0, high = k->items.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (is_before(k, k->items.items[middle], f))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int ranking_insert(struct ranking *k, struct account *account, const struct message *m,
                   uint32_t *ret_place, struct error *err)
{
    struct gathered f = {.m = *m};
    size_t at;
    int r = 0;

    if (k->items.n >= RANKING_MAX)
        return error_set(err, ERR_LIMIT, "Too many results");
    if (k->keys)
        r = sortkeys_get(k->keys, account, &m, 1, &f.keys, err);
    if (r < 0)
        return r;
    f.lead = sort_lead(&f, &k->criteria[0]);
    at = place_of(k, &f);
    (void)VEC_PUSH(&k->items);
    memmove(k->items.items + at + 1, k->items.items + at,
            (k->items.n - 1 - at) * sizeof *k->items.items);
    k->items.items[at] = mem_dup(&f, sizeof f);
    *ret_place = (uint32_t)at + 1;
    return 0;
}

uint32_t ranking_remove(struct ranking *k, uint32_t uid)
{
    for (size_t i = 0; i < k->items.n; i++) {
        if (k->items.items[i]->m.uid != uid)
            continue;
        free(k->items.items[i]);
        memmove(k->items.items + i, k->items.items + i + 1,
                (k->items.n - 1 - i) * sizeof *k->items.items);
        k->items.n--;
        return (uint32_t)i + 1;
    }
    return 0;
}
