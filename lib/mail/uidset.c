/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/uidset.h"

#include "lib/base/mem.h"

void uidset_done(struct uidset *s)
{
    VEC_DONE(s);
}

void uidset_clear(struct uidset *s)
{
    s->n = 0;
}

size_t uidset_search(const struct uidset *s, uint32_t uid)
{
    size_t low = 0, high = s->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (s->items[mid].last < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void uidset_add(struct uidset *s, uint32_t uid)
{
    uidset_add_range(s, uid, uid);
}

/* Swallows all ranges from `at` on that [first, last] meets or touches. */
static void merge_at(struct uidset *s, size_t at, uint32_t first, uint32_t last)
{
    size_t end = at;

    while (end < s->n && (uint64_t)s->items[end].first <= (uint64_t)last + 1)
        end++;
    if (end == at) {
        VEC_RESERVE(s, s->n + 1);
        memmove(s->items + at + 1, s->items + at, (s->n - at) * sizeof *s->items);
        s->items[at] = (struct uid_range){first, last};
        s->n++;
        return;
    }
    s->items[at].first = MIN(first, s->items[at].first);
    s->items[at].last = MAX(last, s->items[end - 1].last);
    memmove(s->items + at + 1, s->items + end, (s->n - end) * sizeof *s->items);
    s->n -= end - at - 1;
}

void uidset_add_range(struct uidset *s, uint32_t first, uint32_t last)
{
    struct uid_range *tail = s->n ? &s->items[s->n - 1] : NULL;

    if (first > last || !last)
        return;
    first = MAX(first, 1u);
    if (!tail || (uint64_t)first > (uint64_t)tail->last + 1) {
        *VEC_PUSH(s) = (struct uid_range){first, last};
    } else if (first >= tail->first) {
        tail->last = MAX(tail->last, last);
    } else {
        merge_at(s, uidset_search(s, first > 1 ? first - 1 : 1), first, last);
    }
}

void uidset_add_all(struct uidset *s, const struct uidset *other)
{
    for (size_t i = 0; i < other->n; i++)
        uidset_add_range(s, other->items[i].first, other->items[i].last);
}

void uidset_remove(struct uidset *s, uint32_t uid)
{
    size_t at = uidset_search(s, uid);
    struct uid_range *r = s->items + at;

    if (at == s->n || r->first > uid)
        return;
    if (r->first == r->last) {
        memmove(r, r + 1, (s->n - at - 1) * sizeof *r);
        s->n--;
    } else if (r->first == uid) {
        r->first++;
    } else if (r->last == uid) {
        r->last--;
    } else {
        VEC_RESERVE(s, s->n + 1);
        r = s->items + at;
        memmove(r + 1, r, (s->n - at) * sizeof *r);
        s->n++;
        r[0].last = uid - 1;
        r[1].first = uid + 1;
    }
}

bool uidset_has(const struct uidset *s, uint32_t uid)
{
    size_t at = uidset_search(s, uid);

    return at < s->n && s->items[at].first <= uid;
}

uint64_t uidset_count(const struct uidset *s)
{
    uint64_t count = 0;

    for (size_t i = 0; i < s->n; i++)
        count += (uint64_t)s->items[i].last - s->items[i].first + 1;
    return count;
}

struct uidset uidset_copy(const struct uidset *s)
{
    struct uidset copy = {.n = s->n, .cap = s->n};

    if (s->n)
        copy.items = mem_dup(s->items, s->n * sizeof *s->items);
    return copy;
}

struct uidset uidset_and(const struct uidset *a, const struct uidset *b)
{
    struct uidset both = {0};

    for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
        uint32_t first = MAX(a->items[i].first, b->items[j].first);
        uint32_t last = MIN(a->items[i].last, b->items[j].last);

        if (first <= last)
            uidset_add_range(&both, first, last);
        if (a->items[i].last < b->items[j].last)
            i++;
        else
            j++;
    }
    return both;
}

struct uidset uidset_minus(const struct uidset *a, const struct uidset *b)
{
    struct uidset rest = {0};
    size_t j = 0;

    for (size_t i = 0; i < a->n; i++) {
        uint64_t from = a->items[i].first, last = a->items[i].last;

        while (j < b->n && b->items[j].last < from)
            j++;
        for (size_t k = j; k < b->n && b->items[k].first <= last; k++) {
            if (b->items[k].first > from)
                uidset_add_range(&rest, (uint32_t)from, b->items[k].first - 1);
            from = (uint64_t)b->items[k].last + 1;
        }
        if (from <= last)
            uidset_add_range(&rest, (uint32_t)from, (uint32_t)last);
    }
    return rest;
}

void uidset_print(const struct uidset *s, struct buf *out)
{
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            buf_add_byte(out, ',');
        buf_add_u64(out, s->items[i].first);
        if (s->items[i].last == s->items[i].first)
            continue;
        buf_add_byte(out, ':');
        buf_add_u64(out, s->items[i].last);
    }
}

/* Each range as its distance from the end of the one before (from 0 for the first) and length - 1.
 * Ranges that touch would be one, so a distance is at least 2, the first at least 1. */
void uidset_encode(const struct uidset *s, struct buf *out)
{
    uint32_t before = 0;

    buf_add_varint(out, s->n);
    for (size_t i = 0; i < s->n; i++) {
        buf_add_varint(out, s->items[i].first - before);
        buf_add_varint(out, s->items[i].last - s->items[i].first);
        before = s->items[i].last;
    }
}

static bool decode_range(struct cursor *in, uint64_t before, bool is_first, struct uid_range *ret)
{
    uint64_t gap = cursor_varint(in), more = cursor_varint(in);

    if (in->bad || gap < (is_first ? 1 : 2) || gap > UINT32_MAX || more > UINT32_MAX)
        return false;
    if (before + gap + more > UINT32_MAX)
        return false;
    ret->first = (uint32_t)(before + gap);
    ret->last = (uint32_t)(before + gap + more);
    return true;
}

static int decode_into(struct uidset *s, struct cursor *in, struct arena *arena)
{
    uint64_t n = cursor_varint(in), before = 0;

    *s = (struct uidset){0};
    if (in->bad || n > cursor_left(in) / 2)
        return -ERR_INTERNAL;
    if (n && arena)
        s->items = arena_array(arena, (size_t)n, sizeof *s->items);
    else if (n)
        VEC_RESERVE(s, (size_t)n);
    for (; s->n < n; s->n++) {
        if (!decode_range(in, before, s->n == 0, &s->items[s->n]))
            return -ERR_INTERNAL;
        before = s->items[s->n].last;
    }
    return 0;
}

int uidset_decode(struct uidset *s, struct cursor *in)
{
    int r = decode_into(s, in, NULL);

    if (r < 0)
        uidset_done(s);
    return r;
}

int uidset_decode_arena(struct uidset *s, struct cursor *in, struct arena *arena)
{
    int r = decode_into(s, in, arena);

    if (r < 0)
        *s = (struct uidset){0};
    return r;
}

struct uidset_iter uidset_iter(const struct uidset *s)
{
    return (struct uidset_iter){.set = s, .next = s->n ? s->items[0].first : 0};
}

bool uidset_next(struct uidset_iter *i, uint32_t *ret_uid)
{
    if (i->range >= i->set->n)
        return false;
    *ret_uid = (uint32_t)i->next;
    if (i->next++ == i->set->items[i->range].last && ++i->range < i->set->n)
        i->next = i->set->items[i->range].first;
    return true;
}
