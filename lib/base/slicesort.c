/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/slicesort.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

void slicesort_begin(struct slicesort *s, const void **items, size_t n, slicesort_order *order,
                     const void *ctx)
{
    *s = (struct slicesort){.items = items, .n = n, .width = 1, .order = order, .ctx = ctx};
    if (n > 1)
        s->other = mem_realloc(NULL, n, sizeof *s->other);
}

/* Two runs that stand in order already are moved as they are; so is one that has no partner. */
static void move_runs(struct slicesort *s, const void **from, const void **to, size_t end)
{
    memcpy(to + s->left, from + s->left, (end - s->left) * sizeof *from);
    s->left = end;
}

static void merge_one(struct slicesort *s, const void **from, const void **to, size_t middle,
                      size_t end)
{
    size_t a = s->left + s->a, b = middle + s->b, at = a + s->b;

    if (b == end || (a < middle && s->order(s->ctx, from[a], from[b]) <= 0)) {
        to[at] = from[a];
        s->a++;
    } else {
        to[at] = from[b];
        s->b++;
    }
    if (at + 1 == end) {
        s->left = end;
        s->a = s->b = 0;
    }
}

static void next_width(struct slicesort *s)
{
    s->width *= 2;
    s->left = 0;
    s->in_other = !s->in_other;
}

bool slicesort_step(struct slicesort *s, size_t work)
{
    for (; s->width < s->n && work > 0; work--) {
        const void **from = s->in_other ? s->other : s->items;
        const void **to = s->in_other ? s->items : s->other;
        size_t middle = MIN(s->left + s->width, s->n), end = MIN(middle + s->width, s->n);

        if (s->left == s->n)
            next_width(s);
        else if (s->a + s->b == 0 &&
                 (middle == end || s->order(s->ctx, from[middle - 1], from[middle]) <= 0))
            move_runs(s, from, to, end);
        else
            merge_one(s, from, to, middle, end);
    }
    if (s->width < s->n)
        return false;
    if (s->in_other)
        memcpy(s->items, s->other, s->n * sizeof *s->items);
    s->in_other = false;
    return true;
}

void slicesort_done(struct slicesort *s)
{
    free(s->other);
    s->other = NULL;
}
