/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"

#define BUF_FIRST 128

void buf_done(struct buf *b)
{
    free(b->p);
    *b = buf_make(b->max);
}

void buf_reset(struct buf *b, size_t keep)
{
    if (b->cap_now > keep) {
        buf_done(b);
        return;
    }
    b->n = 0;
    b->full = false;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    size_t want, cap;

    if (b->full || n > b->max || b->n > b->max - n) {
        b->full = true;
        return NULL;
    }
    want = b->n + n;
    if (want > b->cap_now || !b->p) {
        cap = b->cap_now ? b->cap_now + b->cap_now / 2 : BUF_FIRST;
        if (cap < want)
            cap = want;
        if (cap > b->max && want <= b->max)
            cap = b->max;
        b->p = mem_realloc(b->p, cap, 1);
        b->cap_now = cap;
    }
    return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = buf_reserve(b, n);

    if (!to)
        return;
    if (n)
        memcpy(to, p, n);
    b->n += n;
}

void buf_add_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.p, s.n);
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_byte(struct buf *b, uint8_t c)
{
    uint8_t *to = buf_reserve(b, 1);

    if (!to)
        return;
    *to = c;
    b->n++;
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    uint8_t digits[20];
    size_t i = sizeof digits;

    do {
        digits[--i] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v);
    buf_add(b, digits + i, sizeof digits - i);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    uint8_t *to;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    /* one more for the NUL that vsnprintf writes; it is not counted */
    if (n >= 0 && b->n + (size_t)n <= b->max) {
        b->max++;
        to = buf_reserve(b, (size_t)n + 1);
        b->max--;
        if (to) {
            vsnprintf((char *)to, (size_t)n + 1, fmt, again);
            b->n += (size_t)n;
        }
    } else {
        b->full = true;
    }
    va_end(again);
}

void buf_add_be16(struct buf *b, uint16_t v)
{
    uint8_t x[2];

    put_be16(x, v);
    buf_add(b, x, sizeof x);
}

void buf_add_be32(struct buf *b, uint32_t v)
{
    uint8_t x[4];

    put_be32(x, v);
    buf_add(b, x, sizeof x);
}

void buf_add_be64(struct buf *b, uint64_t v)
{
    uint8_t x[8];

    put_be64(x, v);
    buf_add(b, x, sizeof x);
}

void buf_add_varint(struct buf *b, uint64_t v)
{
    uint8_t x[10];
    size_t n = 0;

    while (v >= 0x80) {
        x[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    x[n++] = (uint8_t)v;
    buf_add(b, x, n);
}

void buf_add_svarint(struct buf *b, int64_t v)
{
    buf_add_varint(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void buf_add_string(struct buf *b, struct slice s)
{
    buf_add_varint(b, s.n);
    buf_add_slice(b, s);
}

void buf_consume(struct buf *b, size_t n)
{
    if (n > b->n)
        n = b->n;
    b->n -= n;
    if (b->n)
        memmove(b->p, b->p + n, b->n);
}

const char *buf_cstr(struct buf *b)
{
    if (b->n == b->cap_now) {
        b->cap_now = b->n + 1 + b->n / 2;
        b->p = mem_realloc(b->p, b->cap_now, 1);
    }
    b->p[b->n] = '\0';
    return (const char *)b->p;
}
