/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/scan.h"

#define A SCAN_ATEXT
#define T SCAN_TOKEN
#define B (SCAN_ATEXT | SCAN_TOKEN)

const uint8_t scan_class[256] = {
    ['!'] = B,         ['#'] = B,         ['$'] = B,         ['%'] = B,         ['&'] = B,
    ['\''] = B,        ['*'] = B,         ['+'] = B,         ['-'] = B,         ['.'] = T,
    ['/'] = A,         ['='] = A,         ['?'] = A,         ['^'] = B,         ['_'] = B,
    ['`'] = B,         ['{'] = B,         ['|'] = B,         ['}'] = B,         ['~'] = B,
    ['0' ... '9'] = B, ['A' ... 'Z'] = B, ['a' ... 'z'] = B, [128 ... 255] = B,
};

#undef A
#undef T
#undef B

/* What encloses, and what a backslash does in it. */
struct enclosure {
    int open; /* nests; -1: cannot be inside */
    bool nests;
    uint8_t close;
    bool keep_backslash;
};

static void put(struct buf *out, const uint8_t *from, const uint8_t *to)
{
    if (out && to > from)
        buf_add(out, from, (size_t)(to - from));
}

/* One special octet inside an enclosure; *start is where the octets begin that are not copied yet.
 * Returns false if the backslash is the last octet. */
static bool enclosed_special(struct scan *s, struct buf *out, const struct enclosure *e,
                             const uint8_t **start)
{
    uint8_t c = *s->p;

    if (c == '\0') {
        if (s->mark_nul) {
            put(out, *start, s->p);
            if (out)
                buf_add_str(out, "\xEF\xBF\xBD");
            *start = s->p + 1;
        }
    } else if (c == '\n') {
        /* folding: the line end goes, the blank behind it stays */
        put(out, *start, s->p > *start && s->p[-1] == '\r' ? s->p - 1 : s->p);
        *start = s->p + 1;
    } else if (c == '\\') {
        if (s->p + 1 >= s->end)
            return false;
        /* obs-qp may have CR, LF or NUL here; they keep their own meaning */
        if (s->p[1] != '\r' && s->p[1] != '\n' && s->p[1] != '\0') {
            put(out, *start, e->keep_backslash ? s->p + 1 : s->p);
            *start = ++s->p;
        }
    }
    return true;
}

/* Behind the opening octet, up to and with the closing one. */
static int enclosed(struct scan *s, struct buf *out, const struct enclosure *e)
{
    const uint8_t *start = s->p;
    int level = 1;

    for (; s->p < s->end; s->p++) {
        uint8_t c = *s->p;

        if (c == e->close) {
            if (--level == 0) {
                put(out, start, s->p++);
                return s->p < s->end;
            }
        } else if (c == e->open) {
            if (!e->nests)
                return -1;
            level++;
        } else if (!enclosed_special(s, out, e, &start)) {
            s->p = s->end;
            return -1;
        }
    }
    return -1;
}

int scan_cfws(struct scan *s)
{
    static const struct enclosure comment = {.open = '(', .nests = true, .close = ')'};

    for (; s->p < s->end;) {
        if (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n') {
            s->p++;
        } else if (*s->p == '(') {
            s->p++;
            if (s->comment)
                s->comment->n = 0;
            if (enclosed(s, s->comment, &comment) < 0)
                return -1;
        } else {
            return 1;
        }
    }
    return 0;
}

int scan_atom(struct scan *s, struct buf *out)
{
    const uint8_t *start = s->p;

    if (!scan_at_atext(s))
        return -1;
    while (scan_at_atext(s))
        s->p++;
    put(out, start, s->p);
    return scan_cfws(s);
}

int scan_dot_atom(struct scan *s, struct buf *out)
{
    const uint8_t *start;
    int ret;

    for (;;) {
        if (!scan_at_atext(s))
            return -1;
        start = s->p;
        while (scan_at_atext(s))
            s->p++;
        put(out, start, s->p);
        if (s->p == s->end)
            return 0;
        ret = scan_cfws(s);
        if (ret <= 0)
            return ret;
        if (*s->p != '.')
            return 1;
        s->p++;
        buf_add_byte(out, '.');
        if (scan_cfws(s) <= 0)
            return -1;
    }
}

int scan_token(struct scan *s, struct buf *out)
{
    const uint8_t *start = s->p;

    while (s->p < s->end && (scan_class[*s->p] & SCAN_TOKEN))
        s->p++;
    put(out, start, s->p);
    return s->p < s->end ? scan_cfws(s) : 0;
}

int scan_quoted_string(struct scan *s, struct buf *out)
{
    static const struct enclosure quotes = {.open = -1, .close = '"'};
    int ret;

    s->p++;
    ret = enclosed(s, out, &quotes);
    return ret < 0 ? -1 : scan_cfws(s);
}

static int atom_with_dots(struct scan *s, struct buf *out)
{
    const uint8_t *start = s->p;

    while (s->p < s->end && (*s->p == '.' || (scan_class[*s->p] & SCAN_ATEXT)))
        s->p++;
    put(out, start, s->p);
    return s->p < s->end ? scan_cfws(s) : 0;
}

int scan_phrase(struct scan *s, struct buf *out)
{
    int ret;

    if (s->p >= s->end)
        return 0;
    if (*s->p == '.')
        return -1;
    for (;;) {
        ret = *s->p == '"' ? scan_quoted_string(s, out) : atom_with_dots(s, out);
        if (ret <= 0)
            return ret;
        if (!scan_at_atext(s) && *s->p != '"' && *s->p != '.')
            return scan_cfws(s);
        buf_add_byte(out, ' ');
    }
}

int scan_domain(struct scan *s, struct buf *out)
{
    static const struct enclosure brackets = {.open = '[', .close = ']', .keep_backslash = true};
    int ret;

    s->p++;
    if (scan_cfws(s) <= 0)
        return -1;
    if (*s->p != '[')
        return scan_dot_atom(s, out);
    s->p++;
    buf_add_byte(out, '[');
    ret = enclosed(s, out, &brackets);
    if (ret < 0)
        return -1;
    buf_add_byte(out, ']');
    return scan_cfws(s);
}
