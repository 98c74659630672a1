/* SPDX-License-Identifier: MPL-2.0 */
/* Bytes: `slice` is borrowed, `buf` (buf.h) is owned, `cursor` reads one with a sticky error.
 *
 * A slice may hold any bytes, NUL included, and is not NUL-terminated. {NULL, 0} is the empty
 * slice. Whoever keeps a slice longer than a call says in his header what it points into.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

struct slice {
    const uint8_t *p;
    size_t n;
};

/* For printf's "%.*s". */
#define SLICE_FMT(s) (int)((s).n), (const char *)((s).n ? (const char *)(s).p : "")
#define S(literal)   ((struct slice){(const uint8_t *)(literal), sizeof(literal) - 1})

static inline struct slice slice_of(const void *p, size_t n)
{
    return (struct slice){(const uint8_t *)p, n};
}

static inline struct slice slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* Bytes [from, to) with both ends clamped to the slice. */
static inline struct slice slice_sub(struct slice s, size_t from, size_t to)
{
    if (to > s.n)
        to = s.n;
    if (from > to)
        from = to;
    return (struct slice){s.p ? s.p + from : s.p, to - from};
}

static inline struct slice slice_skip(struct slice s, size_t n)
{
    return slice_sub(s, n, s.n);
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII letters without regard to case; all other bytes as they are. */
bool slice_ieq(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_istarts(struct slice s, struct slice prefix);
/* memcmp order, the shorter first; <0, 0, >0. */
int slice_cmp(struct slice a, struct slice b);
/* Index of the first such byte, or -1. */
ssize_t slice_find(struct slice s, uint8_t byte);
/* Index of the first such run of bytes, or -1; an empty needle is found at 0. */
ssize_t slice_search(struct slice s, struct slice needle);
/* Without leading and trailing space, tab, CR, LF. */
struct slice slice_trim(struct slice s);
/* A malloc'd NUL-terminated copy; bytes after an inner NUL are out of a C string's reach. */
char *slice_dup(struct slice s);
/* Decimal digits only, at least one; false on anything else or overflow above `max`. */
bool slice_to_u64(struct slice s, uint64_t max, uint64_t *ret);

static inline bool byte_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static inline bool byte_is_alpha(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static inline uint8_t byte_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static inline uint8_t byte_upper(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? c & ~0x20 : c;
}

/* A bounded reader for binary values of our own (records, segments, digests). After the first read
 * past the end `bad` is set and every read gives 0 or an empty slice: check it once, at the end. */
struct cursor {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct cursor cursor_of(struct slice s)
{
    return (struct cursor){s.p, s.p + s.n, false};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return c->bad ? 0 : (size_t)(c->end - c->p);
}

uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);
/* LEB128, at most 10 bytes; a longer or overflowing one is bad. */
uint64_t cursor_varint(struct cursor *c);
/* Zigzag-coded signed varint. */
int64_t cursor_svarint(struct cursor *c);
/* The next n bytes, borrowed from what the cursor reads. */
struct slice cursor_bytes(struct cursor *c, size_t n);
/* A varint length, then as many bytes. */
struct slice cursor_string(struct cursor *c);

static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}
