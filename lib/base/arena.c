/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/arena.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"

#define ARENA_BLOCK     4000 /* payload of an ordinary block; with its head and malloc's one page */
#define ARENA_BLOCK_MAX ((size_t)64 << 10) /* blocks double up to this in an arena that grows */

struct arena_block {
    struct arena_block *next;
    size_t n, cap;
    max_align_t data[];
};

static struct arena_block *block_new(struct arena *a, size_t need)
{
    size_t usual = a->blocks ? MIN(a->blocks->cap * 2, ARENA_BLOCK_MAX) : ARENA_BLOCK;
    size_t cap = MAX(need, usual);
    struct arena_block *b = mem_alloc(sizeof *b + cap);

    b->n = 0;
    b->cap = cap;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

void *arena_raw(struct arena *a, size_t n)
{
    struct arena_block *b = a->blocks;
    size_t need = (n + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    void *p;

    if (need < n)
        abort();
    if (!b || b->cap - b->n < need)
        b = block_new(a, need);
    p = (char *)b->data + b->n;
    b->n += need;
    a->used += n;
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    return memset(arena_raw(a, n), 0, n);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes))
        abort();
    return arena_alloc(a, bytes);
}

struct slice arena_slice(struct arena *a, struct slice s)
{
    return slice_of(arena_str(a, s), s.n);
}

char *arena_str(struct arena *a, struct slice s)
{
    char *copy = arena_raw(a, s.n + 1);

    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = 0;
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *s;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    s = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
    if (n >= 0)
        vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

void arena_reset(struct arena *a)
{
    struct arena_block *b = a->blocks, *next;

    a->blocks = NULL;
    a->used = 0;
    for (; b; b = next) {
        next = b->next;
        if (!a->blocks && b->cap == ARENA_BLOCK) {
            b->n = 0;
            b->next = NULL;
            a->blocks = b;
        } else {
            free(b);
        }
    }
}

void arena_done(struct arena *a)
{
    struct arena_block *b = a->blocks, *next;

    for (; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (struct arena){0};
}
