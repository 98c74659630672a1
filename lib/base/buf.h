/* SPDX-License-Identifier: MPL-2.0 */
/* buf: owned bytes that grow, up to a cap that is given when the buffer is made.
 *
 * Invariants: n <= cap_now; p is NULL only while cap_now is 0. What would go past `max` is not
 * appended, and `full` is set and stays: a writer appends all it has and the caller looks at
 * buf_full() once. (curl's dynbuf and git's strbuf are worth reading.)
 */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct buf {
    uint8_t *p;
    size_t n;       /* bytes in use */
    size_t cap_now; /* bytes allocated */
    size_t max;     /* bytes it may ever hold */
    bool full;      /* something did not fit; sticky until buf_reset */
};

#define BUF_MAX_DEFAULT ((size_t)256 << 20)

static inline struct buf buf_make(size_t max)
{
    return (struct buf){.max = max};
}

/* Frees the memory; the buffer is empty and usable again with the same cap. */
void buf_done(struct buf *b);
/* Empties it and keeps the memory, unless more than `keep` bytes are allocated. */
void buf_reset(struct buf *b, size_t keep);

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->p, b->n);
}

static inline bool buf_full(const struct buf *b)
{
    return b->full;
}

/* Room for n more bytes at b->p + b->n, or NULL (and full). Then add to b->n what was written. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_slice(struct buf *b, struct slice s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_byte(struct buf *b, uint8_t c);
void buf_add_u64(struct buf *b, uint64_t v); /* decimal */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_add_be16(struct buf *b, uint16_t v);
void buf_add_be32(struct buf *b, uint32_t v);
void buf_add_be64(struct buf *b, uint64_t v);
void buf_add_varint(struct buf *b, uint64_t v);
void buf_add_svarint(struct buf *b, int64_t v);
void buf_add_string(struct buf *b, struct slice s); /* varint length, then the bytes */
/* Takes n bytes away at the front. */
void buf_consume(struct buf *b, size_t n);
/* A final NUL that does not count, for use as a C string; never NULL. */
const char *buf_cstr(struct buf *b);
