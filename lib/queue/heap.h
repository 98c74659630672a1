/* SPDX-License-Identifier: MPL-2.0 */
/* heap: things in order of something, the first at hand; what is in it may leave at any time.
 *
 * It holds pointers; each thing keeps its place in the heap in a size_t of its own, at `place`
 * bytes from its start: 0 is in no heap. Not for several threads at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct heap {
    bool (*before)(const void *a, const void *b);
    size_t place;
    void **items; /* [1] is the first */
    size_t n, cap;
};

static inline void *heap_first(const struct heap *h)
{
    return h->n ? h->items[1] : NULL;
}

/* Puts it in, or where it belongs by now if it is in already. */
void heap_put(struct heap *h, void *thing);
/* Takes it out, if it is in. */
void heap_remove(struct heap *h, void *thing);
void heap_done(struct heap *h);
