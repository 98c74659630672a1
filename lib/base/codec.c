/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/codec.h"

#include "lib/base/mem.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, struct slice in)
{
    uint8_t *to = buf_reserve(out, (in.n + 2) / 3 * 4);
    size_t i = 0;
    uint32_t v;

    if (!to)
        return;
    for (; i + 3 <= in.n; i += 3) {
        v = (uint32_t)in.p[i] << 16 | (uint32_t)in.p[i + 1] << 8 | in.p[i + 2];
        *to++ = (uint8_t)base64_digits[v >> 18];
        *to++ = (uint8_t)base64_digits[v >> 12 & 63];
        *to++ = (uint8_t)base64_digits[v >> 6 & 63];
        *to++ = (uint8_t)base64_digits[v & 63];
    }
    if (i < in.n) {
        v = (uint32_t)in.p[i] << 16 | (i + 1 < in.n ? (uint32_t)in.p[i + 1] << 8 : 0);
        *to++ = (uint8_t)base64_digits[v >> 18];
        *to++ = (uint8_t)base64_digits[v >> 12 & 63];
        *to++ = i + 1 < in.n ? (uint8_t)base64_digits[v >> 6 & 63] : '=';
        *to++ = '=';
    }
    out->n = (size_t)(to - out->p);
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (byte_is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct buf *out, struct slice in)
{
    size_t pad = 0;

    if (in.n % 4)
        return -ERR_INVALID;
    while (pad < 2 && pad < in.n && in.p[in.n - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < in.n; i += 4) {
        size_t digits = i + 4 == in.n ? 4 - pad : 4;
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            int d = k < digits ? base64_value(in.p[i + k]) : 0;

            if (d < 0)
                return -ERR_INVALID;
            v = v << 6 | (uint32_t)d;
        }
        if ((digits == 3 && v & 0xff) || (digits == 2 && v & 0xffff))
            return -ERR_INVALID;
        for (size_t k = 0; k + 1 < digits; k++)
            buf_add_byte(out, (uint8_t)(v >> (16 - 8 * k)));
    }
    return buf_full(out) ? -ERR_LIMIT : 0;
}

int base64url_decode(struct buf *out, struct slice in)
{
    CLEANUP(buf_done) struct buf text = buf_make(in.n + 4);

    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];

        if (c == '+' || c == '/' || c == '=')
            return -ERR_INVALID;
        buf_add_byte(&text, c == '-' ? '+' : c == '_' ? '/' : c);
    }
    while (text.n % 4 && text.n % 4 != 1)
        buf_add_byte(&text, '=');
    return base64_decode(out, buf_slice(&text));
}

void hex_encode(struct buf *out, struct slice in)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < in.n; i++) {
        buf_add_byte(out, (uint8_t)digits[in.p[i] >> 4]);
        buf_add_byte(out, (uint8_t)digits[in.p[i] & 15]);
    }
}

static int hex_value(uint8_t c)
{
    if (byte_is_digit(c))
        return c - '0';
    c = byte_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(struct buf *out, struct slice in)
{
    if (in.n % 2)
        return -ERR_INVALID;
    for (size_t i = 0; i < in.n; i += 2) {
        int high = hex_value(in.p[i]), low = hex_value(in.p[i + 1]);

        if (high < 0 || low < 0)
            return -ERR_INVALID;
        buf_add_byte(out, (uint8_t)(high << 4 | low));
    }
    return buf_full(out) ? -ERR_LIMIT : 0;
}

int32_t utf8_next(struct slice s, size_t *ret_n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = s.p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
    uint32_t v;

    *ret_n = 1;
    if (n == 1)
        return c;
    if (n == 0 || c > 0xf4 || n > s.n)
        return -1;
    v = c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return -1;
        v = v << 6 | (s.p[i] & 0x3f);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return -1;
    *ret_n = n;
    return (int32_t)v;
}

bool utf8_valid(struct slice s)
{
    size_t n;

    for (; s.n; s = slice_skip(s, n))
        if (utf8_next(s, &n) < 0)
            return false;
    return true;
}

void utf8_add(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_add_byte(out, (uint8_t)c);
        return;
    }
    if (c < 0x800) {
        buf_add_byte(out, (uint8_t)(0xc0 | c >> 6));
    } else if (c < 0x10000) {
        buf_add_byte(out, (uint8_t)(0xe0 | c >> 12));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    } else {
        buf_add_byte(out, (uint8_t)(0xf0 | c >> 18));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    }
    buf_add_byte(out, (uint8_t)(0x80 | (c & 0x3f)));
}

static int mutf7_value(uint8_t c)
{
    return c == ',' ? 63 : c == '/' ? -1 : base64_value(c);
}

/* One "&...-" after its "&"; *ret_n: bytes read, the "-" included. */
static int mutf7_decode_run(struct buf *out, struct slice in, size_t *ret_n)
{
    uint32_t bits = 0, high = 0;
    unsigned have = 0;
    size_t i = 0;

    for (; i < in.n && in.p[i] != '-'; i++) {
        int d = mutf7_value(in.p[i]);
        uint32_t unit;

        if (d < 0)
            return -ERR_INVALID;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have < 16)
            continue;
        have -= 16;
        unit = bits >> have & 0xffff;
        bits &= (1u << have) - 1;
        if (high) {
            if (unit < 0xdc00 || unit > 0xdfff)
                return -ERR_INVALID;
            utf8_add(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
            high = 0;
        } else if (unit >= 0xd800 && unit <= 0xdbff) {
            high = unit;
        } else if ((unit >= 0xdc00 && unit <= 0xdfff) || (unit >= 0x20 && unit <= 0x7e)) {
            return -ERR_INVALID;
        } else {
            utf8_add(out, unit);
        }
    }
    if (i == in.n || i == 0 || high || have >= 6 || bits)
        return -ERR_INVALID;
    *ret_n = i + 1;
    return 0;
}

int mutf7_decode(struct buf *out, struct slice in)
{
    bool after_run = false;
    size_t n;

    while (in.n) {
        uint8_t c = in.p[0];

        in = slice_skip(in, 1);
        if (c < 0x20 || c > 0x7e)
            return -ERR_INVALID;
        if (c != '&') {
            buf_add_byte(out, c);
            after_run = false;
        } else if (in.n && in.p[0] == '-') {
            buf_add_byte(out, '&');
            in = slice_skip(in, 1);
            after_run = false;
        } else {
            /* two runs in a row would be encoded as one */
            if (after_run || mutf7_decode_run(out, in, &n) < 0)
                return -ERR_INVALID;
            in = slice_skip(in, n);
            after_run = true;
        }
    }
    return buf_full(out) ? -ERR_LIMIT : 0;
}

static char mutf7_digit(uint32_t v)
{
    return v == 63 ? ',' : base64_digits[v];
}

struct mutf7_run {
    uint32_t bits;
    unsigned have;
    bool open;
};

static void mutf7_unit(struct buf *out, struct mutf7_run *run, uint32_t unit)
{
    if (!run->open)
        buf_add_byte(out, '&');
    run->open = true;
    run->bits = run->bits << 16 | unit;
    run->have += 16;
    while (run->have >= 6) {
        run->have -= 6;
        buf_add_byte(out, (uint8_t)mutf7_digit(run->bits >> run->have & 63));
    }
    run->bits &= (1u << run->have) - 1;
}

static void mutf7_close(struct buf *out, struct mutf7_run *run)
{
    if (!run->open)
        return;
    if (run->have)
        buf_add_byte(out, (uint8_t)mutf7_digit(run->bits << (6 - run->have) & 63));
    buf_add_byte(out, '-');
    *run = (struct mutf7_run){0};
}

int mutf7_encode(struct buf *out, struct slice in)
{
    struct mutf7_run run = {0};
    size_t n;

    for (; in.n; in = slice_skip(in, n)) {
        int32_t c = utf8_next(in, &n);

        if (c < 0)
            return -ERR_INVALID;
        if (c >= 0x20 && c <= 0x7e) {
            mutf7_close(out, &run);
            buf_add_byte(out, (uint8_t)c);
            if (c == '&')
                buf_add_byte(out, '-');
        } else if (c < 0x10000) {
            mutf7_unit(out, &run, (uint32_t)c);
        } else {
            mutf7_unit(out, &run, 0xd800 + ((uint32_t)(c - 0x10000) >> 10));
            mutf7_unit(out, &run, 0xdc00 + ((uint32_t)(c - 0x10000) & 0x3ff));
        }
    }
    mutf7_close(out, &run);
    return buf_full(out) ? -ERR_LIMIT : 0;
}
