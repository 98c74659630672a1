/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/bytes.h"

#include <stdlib.h>

#include "lib/base/mem.h"

bool slice_ieq(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (byte_lower(a.p[i]) != byte_lower(b.p[i]))
            return false;
    return true;
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_eq(slice_sub(s, 0, prefix.n), prefix);
}

bool slice_istarts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_ieq(slice_sub(s, 0, prefix.n), prefix);
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n ? memcmp(a.p, b.p, n) : 0;

    return d ? d : (a.n > b.n) - (a.n < b.n);
}

ssize_t slice_find(struct slice s, uint8_t byte)
{
    const uint8_t *at = s.n ? memchr(s.p, byte, s.n) : NULL;

    return at ? at - s.p : -1;
}

/* glibc's memmem skips over text by the needle's length; for short ones it goes byte by byte. */
#define SHORT_NEEDLE 16

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

/* Where, in the 16 places from p on, a needle begins: its first and last bytes stand where they
 * should, and then the rest is compared. 16: nowhere. */
static size_t search_16(const uint8_t *p, struct slice needle)
{
    bytes16 first, last, hits;
    words2 any;

    memcpy(&first, p, sizeof first);
    memcpy(&last, p + needle.n - 1, sizeof last);
    hits = (bytes16)((first == needle.p[0]) & (last == needle.p[needle.n - 1]));
    any = (words2)hits;
    if (!(any[0] | any[1]))
        return 16;
    for (size_t i = 0; i < 16; i++)
        if (hits[i] && memcmp(p + i, needle.p, needle.n) == 0)
            return i;
    return 16;
}

ssize_t slice_search(struct slice s, struct slice needle)
{
    const uint8_t *at;
    size_t from = 0;

    if (!needle.n)
        return 0;
    if (needle.n > 1 && needle.n <= SHORT_NEEDLE)
        for (; from + 16 + needle.n - 1 <= s.n; from += 16) {
            size_t i = search_16(s.p + from, needle);

            if (i < 16)
                return (ssize_t)(from + i);
        }
    at = s.n ? memmem(s.p + from, s.n - from, needle.p, needle.n) : NULL;
    return at ? at - s.p : -1;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice s)
{
    while (s.n && is_blank(s.p[0]))
        s = slice_skip(s, 1);
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

char *slice_dup(struct slice s)
{
    char *copy = mem_alloc(s.n + 1);

    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

bool slice_to_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!byte_is_digit(s.p[i]))
            return false;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s.p[i] - '0', &v))
            return false;
        if (v > max)
            return false;
    }
    *ret = v;
    return true;
}

struct slice cursor_bytes(struct cursor *c, size_t n)
{
    struct slice s = {c->p, n};

    if (c->bad || n > (size_t)(c->end - c->p)) {
        c->bad = true;
        return (struct slice){NULL, 0};
    }
    c->p += n;
    return s;
}

uint8_t cursor_u8(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 1);

    return s.n ? s.p[0] : 0;
}

uint16_t cursor_be16(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 2);

    return s.n ? get_be16(s.p) : 0;
}

uint32_t cursor_be32(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 4);

    return s.n ? get_be32(s.p) : 0;
}

uint64_t cursor_be64(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 8);

    return s.n ? get_be64(s.p) : 0;
}

uint64_t cursor_varint(struct cursor *c)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = cursor_u8(c);

        if (shift == 63 && b > 1)
            break;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return c->bad ? 0 : v;
    }
    c->bad = true;
    return 0;
}

int64_t cursor_svarint(struct cursor *c)
{
    uint64_t v = cursor_varint(c);

    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

struct slice cursor_string(struct cursor *c)
{
    uint64_t n = cursor_varint(c);

    if (n > cursor_left(c)) {
        c->bad = true;
        return (struct slice){NULL, 0};
    }
    return cursor_bytes(c, (size_t)n);
}
