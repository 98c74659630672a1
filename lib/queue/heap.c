/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/heap.h"

#include "lib/base/mem.h"

static size_t *place_of(const struct heap *h, void *thing)
{
    return (size_t *)(void *)((char *)thing + h->place);
}

static void set(struct heap *h, size_t at, void *thing)
{
    h->items[at] = thing;
    *place_of(h, thing) = at;
}

static void rise(struct heap *h, size_t at)
{
    void *thing = h->items[at];

    for (; at > 1 && h->before(thing, h->items[at / 2]); at /= 2)
        set(h, at, h->items[at / 2]);
    set(h, at, thing);
}

static void sink(struct heap *h, size_t at)
{
    void *thing = h->items[at];
    size_t child;

    for (; (child = at * 2) <= h->n; at = child) {
        if (child < h->n && h->before(h->items[child + 1], h->items[child]))
            child++;
        if (!h->before(h->items[child], thing))
            break;
        set(h, at, h->items[child]);
    }
    set(h, at, thing);
}

void heap_put(struct heap *h, void *thing)
{
    size_t at = *place_of(h, thing);

    if (at == 0) {
        if (h->n + 2 > h->cap) {
            h->cap = h->cap ? h->cap * 2 : 16;
            h->items = mem_realloc(h->items, h->cap, sizeof *h->items);
        }
        at = ++h->n;
        set(h, at, thing);
    }
    rise(h, at);
    sink(h, *place_of(h, thing));
}

void heap_remove(struct heap *h, void *thing)
{
    size_t at = *place_of(h, thing);
    void *last;

    if (at == 0)
        return;
    *place_of(h, thing) = 0;
    last = h->items[h->n--];
    if (last == thing)
        return;
    set(h, at, last);
    rise(h, at);
    sink(h, *place_of(h, last));
}

void heap_done(struct heap *h)
{
    free(h->items);
    h->items = NULL;
    h->n = h->cap = 0;
}
