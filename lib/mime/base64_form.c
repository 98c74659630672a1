/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/base64_form.h"

#define X            BASE64_NONE
#define PAD          BASE64_PAD
#define ENCODE_SLACK 64

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const int8_t base64_values[256] = {
    [0 ... '*'] = X,
    ['+'] = 62,
    [',' ... '.'] = X,
    ['/'] = 63,
    ['0'] = 52,
    53,
    54,
    55,
    56,
    57,
    58,
    59,
    60,
    61,
    [':' ... '<'] = X,
    ['='] = PAD,
    ['>' ... '@'] = X,
    ['A'] = 0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    ['[' ... '`'] = X,
    ['a'] = 26,
    27,
    28,
    29,
    30,
    31,
    32,
    33,
    34,
    35,
    36,
    37,
    38,
    39,
    40,
    41,
    42,
    43,
    44,
    45,
    46,
    47,
    48,
    49,
    50,
    51,
    ['{' ... 255] = X,
};

bool base64_form_guess(struct slice text, struct base64_form *ret)
{
    ssize_t lf = slice_find(text, '\n');

    *ret = (struct base64_form){.nl = 1};
    if (lf < 0)
        return text.n > 0;
    if (lf > 0 && text.p[lf - 1] == '\r') {
        ret->nl = 2;
        lf--;
    }
    ret->line = (uint32_t)lf;
    return lf > 0 && lf <= BASE64_LINE_MAX;
}

/* Where a decoder stands in the text: `at` is the octet to be read, `col` its column. */
struct position {
    size_t at;
    uint32_t col;
};

/* The next character's value, X or PAD; a line end before it is read with it. */
static int next_value(const struct base64_form *f, struct slice text, struct position *p)
{
    if (f->line > 0 && p->col == f->line) {
        if (f->nl == 2) {
            if (p->at >= text.n || text.p[p->at] != '\r')
                return X;
            p->at++;
        }
        if (p->at >= text.n || text.p[p->at] != '\n')
            return X;
        p->at++;
        p->col = 0;
    }
    if (p->at >= text.n)
        return X;
    p->col++;
    return base64_values[text.p[p->at++]];
}

/* One quantum of four characters into three octets; how many of them count, 0 if it is none. A
 * padded one must have its unused bits zero, as an encoder makes them. */
static size_t quantum(const struct base64_form *f, struct slice text, struct position *p,
                      uint8_t *to)
{
    int v[4];
    uint32_t bits;

    for (int i = 0; i < 4; i++) {
        v[i] = next_value(f, text, p);
        if (v[i] == X || (v[i] == PAD && i < 2) || (i == 3 && v[2] == PAD && v[3] != PAD))
            return 0;
    }
    bits = (uint32_t)v[0] << 18 | (uint32_t)v[1] << 12 | (uint32_t)(v[2] < 0 ? 0 : v[2]) << 6 |
           (uint32_t)(v[3] < 0 ? 0 : v[3]);
    to[0] = (uint8_t)(bits >> 16);
    to[1] = (uint8_t)(bits >> 8);
    to[2] = (uint8_t)bits;
    if (v[2] == PAD)
        return (bits & 0xFFFF) == 0 ? 1 : 0;
    if (v[3] == PAD)
        return (bits & 0xFF) == 0 ? 2 : 0;
    return 3;
}

/* Whole quanta within the line, the usual case. */
static size_t quanta_in_line(struct slice text, struct position *p, size_t n, uint8_t *to)
{
    const uint8_t *s = text.p + p->at;
    size_t i;

    for (i = 0; i < n; i++, s += 4, to += 3) {
        int a = base64_values[s[0]], b = base64_values[s[1]], c = base64_values[s[2]],
            d = base64_values[s[3]];
        uint32_t bits;

        if ((a | b | c | d) < 0)
            break;
        bits = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | (uint32_t)d;
        to[0] = (uint8_t)(bits >> 16);
        to[1] = (uint8_t)(bits >> 8);
        to[2] = (uint8_t)bits;
    }
    p->at += i * 4;
    p->col += (uint32_t)(i * 4);
    return i;
}

size_t base64_form_decode(const struct base64_form *f, struct slice text, size_t max,
                          struct buf *out, uint32_t *ret_col)
{
    struct position p = {0, f->col}, good;
    size_t left = max, n, room;
    uint8_t *to;

    for (good = p; left >= 3; good = p) {
        room = f->line == 0 ? text.n - p.at : f->line - p.col;
        n = room < text.n - p.at ? room / 4 : (text.n - p.at) / 4;
        n = n < left / 3 ? n : left / 3;
        to = buf_reserve(out, (n + 1) * 3);
        if (!to)
            break;
        n = quanta_in_line(text, &p, n, to);
        out->n += n * 3;
        left -= n * 3;
        if (n > 0)
            continue;
        n = quantum(f, text, &p, to);
        out->n += n;
        if (n < 3) {
            if (n > 0)
                good = p;
            break;
        }
        left -= 3;
    }
    *ret_col = f->line ? good.col : 0;
    return good.at;
}

static uint64_t characters(size_t n)
{
    return ((uint64_t)n + 2) / 3 * 4;
}

/* Line ends before character k, the one right before it with them. */
static uint64_t breaks(const struct base64_form *f, uint64_t k)
{
    return f->line ? (f->col + k) / f->line : 0;
}

uint64_t base64_form_size(const struct base64_form *f, size_t n)
{
    uint64_t c = characters(n);

    return c ? c + breaks(f, c - 1) * f->nl : 0;
}

/* The first quantum whose characters reach behind octet `from`. */
static uint64_t quantum_at(const struct base64_form *f, uint64_t count, uint64_t from)
{
    uint64_t low = 0, high = count, middle, k;

    while (low + 1 < high) {
        middle = low + (high - low) / 2;
        k = middle * 4;
        if (k + breaks(f, k ? k - 1 : 0) * f->nl <= from)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void encode_quantum(struct slice decoded, uint64_t q, uint8_t to[4])
{
    const uint8_t *s = decoded.p + q * 3;
    size_t n = decoded.n - q * 3;
    uint32_t bits = (uint32_t)s[0] << 16;

    if (n > 1)
        bits |= (uint32_t)s[1] << 8;
    if (n > 2)
        bits |= s[2];
    to[0] = (uint8_t)alphabet[bits >> 18];
    to[1] = (uint8_t)alphabet[bits >> 12 & 63];
    to[2] = n > 1 ? (uint8_t)alphabet[bits >> 6 & 63] : '=';
    to[3] = n > 2 ? (uint8_t)alphabet[bits & 63] : '=';
}

static uint8_t *line_end(const struct base64_form *f, uint8_t *to)
{
    if (f->nl == 2)
        *to++ = '\r';
    *to++ = '\n';
    return to;
}

bool base64_form_encode(const struct base64_form *f, struct slice decoded, uint64_t from,
                        uint64_t to, struct buf *out)
{
    uint64_t count = characters(decoded.n) / 4, q = quantum_at(f, count, from), k = q * 4, at, col;
    uint8_t *start, *p, four[4];

    if (from >= to || to > base64_form_size(f, decoded.n))
        return from >= to;
    at = k ? k + breaks(f, k - 1) * f->nl : 0;
    col = k && f->line ? (f->col + k - 1) % f->line + 1 : f->col;
    /* a quantum may have a line end before each of its characters, and `at` is a bit before from */
    if (to - from > out->max - out->n) {
        out->full = true;
        return false;
    }
    out->max += ENCODE_SLACK; /* what is beyond `to` is written and not counted */
    start = p = buf_reserve(out, (size_t)(to - at) + 16);
    out->max -= ENCODE_SLACK;
    if (!start)
        return false;
    for (; q < count && at + (uint64_t)(p - start) < to; q++) {
        encode_quantum(decoded, q, four);
        if (f->line == 0 || col + 4 <= f->line) {
            memcpy(p, four, 4);
            p += 4;
            col += 4;
            continue;
        }
        for (int i = 0; i < 4; i++) {
            if (col == f->line) {
                p = line_end(f, p);
                col = 0;
            }
            *p++ = four[i];
            col++;
        }
    }
    memmove(start, start + (from - at), (size_t)(to - from));
    out->n += (size_t)(to - from);
    return true;
}
