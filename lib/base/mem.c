/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void out_of_memory(size_t n)
{
    fprintf(stderr, "out of memory (%zu bytes asked for)\n", n);
    abort();
}

void *mem_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);

    if (!p)
        out_of_memory(n);
    return p;
}

void *mem_zalloc(size_t n)
{
    return mem_realloc0(n, 1);
}

/* What is freed at the end of a heap stays there, for the next who asks. */
void mem_make_room(size_t n)
{
    void *volatile p = malloc(n); /* volatile: else the compiler takes the pair away */

    free(p);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    void *q;

    if (n == 0 || size == 0)
        n = size = 1;
    q = reallocarray(p, n, size);
    if (!q)
        out_of_memory(n);
    return q;
}

void *mem_realloc0(size_t n, size_t size)
{
    void *p = n && size ? calloc(n, size) : calloc(1, 1);

    if (!p)
        out_of_memory(n);
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

void *mem_dup(const void *p, size_t n)
{
    void *q = mem_alloc(n);

    if (n)
        memcpy(q, p, n);
    return q;
}

char *mem_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        out_of_memory(0);
    va_end(ap);
    return s;
}

void mem_free_ptr(void *pp)
{
    free(*(void **)pp);
    *(void **)pp = NULL;
}

void mem_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
