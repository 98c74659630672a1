/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/transfer.h"

#include "lib/base/mem.h"
#include "lib/mime/base64_form.h"

void transfer_begin(struct transfer *t, enum mime_encoding encoding)
{
    *t = (struct transfer){.encoding = encoding};
}

/* Quanta are read one after the other; what comes behind a padding starts a new one, so that joined
 * encodings are read in full. */
static void base64_feed(struct transfer *t, struct buf *out, struct slice in)
{
    uint8_t *to = buf_reserve(out, in.n / 4 * 3 + 4), *start = to;
    int v;

    if (!to)
        return;
    for (size_t i = 0; i < in.n; i++) {
        v = base64_values[in.p[i]];
        if (v < 0) {
            if (in.p[i] == '=')
                t->nbits = 0;
            continue;
        }
        t->bits = t->bits << 6 | (uint32_t)v;
        t->nbits += 6;
        if (t->nbits >= 8) {
            t->nbits -= 8;
            *to++ = (uint8_t)(t->bits >> t->nbits);
        }
    }
    out->n += (size_t)(to - start);
}

static int hex(uint8_t c)
{
    if (byte_is_digit(c))
        return c - '0';
    c = byte_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static void held_release(struct transfer *t, struct buf *out)
{
    buf_add(out, t->held, t->nheld);
    t->nheld = 0;
}

/* A "=" is held: it waits for two digits, or for blanks and a line end. */
static void qp_escape_byte(struct transfer *t, struct buf *out, uint8_t c)
{
    int first = t->nheld > 1 ? hex(t->held[1]) : -1, v = hex(c);

    if (t->nheld == 2 && first >= 0) {
        if (v >= 0) {
            buf_add_byte(out, (uint8_t)(first << 4 | v));
            t->nheld = 0;
            return;
        }
    } else if (c == '\n') {
        t->nheld = 0; /* a soft line break */
        return;
    } else if ((t->nheld == 1 && v >= 0) || is_blank(c) || c == '\r') {
        if (t->nheld < sizeof t->held) {
            t->held[t->nheld++] = c;
            return;
        }
    }
    held_release(t, out); /* it is no escape: let it pass */
    if (c == '=' || is_blank(c))
        t->held[t->nheld++] = c;
    else
        buf_add_byte(out, c);
}

static void qp_byte(struct transfer *t, struct buf *out, uint8_t c)
{
    if (t->nheld > 0 && t->held[0] == '=') {
        qp_escape_byte(t, out, c);
    } else if (is_blank(c) || c == '\r') {
        if (t->nheld == sizeof t->held)
            held_release(t, out);
        t->held[t->nheld++] = c;
    } else if (c == '\n') {
        /* RFC 2045 rule 3: blanks at the end of a line were added on the way */
        if (t->nheld > 0 && t->held[t->nheld - 1] == '\r')
            buf_add_byte(out, '\r');
        t->nheld = 0;
        buf_add_byte(out, c);
    } else {
        held_release(t, out);
        if (c == '=')
            t->held[t->nheld++] = c;
        else
            buf_add_byte(out, c);
    }
}

static bool qp_plain(uint8_t c)
{
    return c != '=' && c != ' ' && c != '\t' && c != '\r' && c != '\n';
}

static void qp_feed(struct transfer *t, struct buf *out, struct slice in)
{
    for (size_t i = 0, from; i < in.n;) {
        if (t->nheld == 0 || t->held[0] != '=') {
            for (from = i; i < in.n && qp_plain(in.p[i]);)
                i++;
            if (i > from) {
                held_release(t, out);
                buf_add(out, in.p + from, i - from);
            }
        }
        if (i < in.n)
            qp_byte(t, out, in.p[i++]);
    }
}

void transfer_feed(struct transfer *t, struct buf *out, struct slice in)
{
    if (t->encoding == MIME_BASE64)
        base64_feed(t, out, in);
    else if (t->encoding == MIME_QP)
        qp_feed(t, out, in);
    else
        buf_add_slice(out, in);
}

void transfer_end(struct transfer *t, struct buf *out)
{
    /* a "=" at the very end is a soft line break without its line end */
    if (t->nheld == 1 && t->held[0] == '=')
        t->nheld = 0;
    held_release(t, out);
}

enum mime_encoding transfer_by_name(struct slice token)
{
    static const struct {
        struct slice name;
        enum mime_encoding encoding;
    } names[] = {
        {S("7bit"), MIME_7BIT},           {S("8bit"), MIME_8BIT},     {S("binary"), MIME_BINARY},
        {S("quoted-printable"), MIME_QP}, {S("base64"), MIME_BASE64},
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_ieq(token, names[i].name))
            return names[i].encoding;
    }
    return MIME_UNKNOWN;
}

void transfer_q_word(struct buf *out, struct slice in)
{
    int a, b;

    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '_') {
            buf_add_byte(out, ' ');
        } else if (in.p[i] == '=' && i + 2 < in.n && (a = hex(in.p[i + 1])) >= 0 &&
                   (b = hex(in.p[i + 2])) >= 0) {
            buf_add_byte(out, (uint8_t)(a << 4 | b));
            i += 2;
        } else {
            buf_add_byte(out, in.p[i]);
        }
    }
}
