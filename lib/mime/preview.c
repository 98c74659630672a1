/* SPDX-License-Identifier: MPL-2.0 */
/* Previews (RFC 8970): the first text of a message in 200 characters. The first octets of the first
 * text part are kept while the message passes by; plain text wins over HTML that came before it. */
#include <stdlib.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/charset.h"
#include "lib/mime/header.h"
#include "lib/mime/text.h"
#include "lib/mime/transfer.h"

#define RAW_PLAIN     4096  /* octets of a body that are looked at */
#define RAW_HTML      32768 /* the same of HTML, which starts with styles */
#define PREVIEW_CHARS 200
#define TAG_MAX       16 /* octets of a tag's name */
#define ENTITY_MAX    10

struct text_preview {
    const struct mime_part *part; /* the text chosen so far */
    bool html, closed;            /* closed: a later body is not looked at */
    struct buf raw;
};

struct text_preview *text_preview_new(void)
{
    struct text_preview *t = NEW(struct text_preview);

    t->raw = buf_make(RAW_HTML);
    return t;
}

void text_preview_free(struct text_preview *t)
{
    if (!t)
        return;
    buf_done(&t->raw);
    free(t);
}

static bool is_attachment(const struct mime_part *part)
{
    return slice_ieq(part->disposition, S("attachment"));
}

void text_preview_header(struct text_preview *t, const struct mime_part *part)
{
    bool html = slice_ieq(part->subtype, S("html"));

    if (!part->is_text || is_attachment(part) || t->closed)
        return;
    /* the first text, or the first plain text if that was HTML or empty */
    if (t->part && (!t->html || html) && slice_trim(buf_slice(&t->raw)).n > 0)
        return;
    t->part = part;
    t->html = html;
    buf_reset(&t->raw, RAW_HTML);
}

void text_preview_bytes(struct text_preview *t, const struct mime_part *part, enum mime_bytes kind,
                        struct slice s)
{
    size_t want = t->html ? RAW_HTML : RAW_PLAIN;

    if (kind != MIME_BYTES_BODY || part != t->part || t->raw.n >= want)
        return;
    buf_add_slice(&t->raw, slice_sub(s, 0, want - t->raw.n));
    t->closed = !t->html && t->raw.n >= want;
}

/* Appends text with white space joined, up to the limit of characters. */
struct line {
    struct buf *out;
    size_t chars, start;
    bool space;
};

static bool line_full(const struct line *l)
{
    return l->chars >= PREVIEW_CHARS;
}

static bool is_white(uint32_t c)
{
    return c <= ' ' || c == 0x7F || c == 0xA0 || c == 0xFEFF || (c >= 0x2000 && c <= 0x200F) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000 || c == 0x34F ||
           c == 0xAD;
}

static void line_add(struct line *l, uint32_t c)
{
    if (is_white(c)) {
        l->space = l->out->n > l->start;
        return;
    }
    if (l->space && l->chars + 1 < PREVIEW_CHARS) {
        buf_add_byte(l->out, ' ');
        l->chars++;
    }
    l->space = false;
    utf8_add(l->out, c);
    l->chars++;
}

static const struct {
    char name[8];
    uint16_t code;
} entities[] = {
    {"amp", '&'},      {"lt", '<'},        {"gt", '>'},       {"quot", '"'},     {"apos", '\''},
    {"nbsp", 0xA0},    {"copy", 0xA9},     {"reg", 0xAE},     {"auml", 0xE4},    {"ouml", 0xF6},
    {"uuml", 0xFC},    {"Auml", 0xC4},     {"Ouml", 0xD6},    {"Uuml", 0xDC},    {"szlig", 0xDF},
    {"eacute", 0xE9},  {"egrave", 0xE8},   {"agrave", 0xE0},  {"ccedil", 0xE7},  {"euro", 0x20AC},
    {"ndash", 0x2013}, {"mdash", 0x2014},  {"lsquo", 0x2018}, {"rsquo", 0x2019}, {"ldquo", 0x201C},
    {"rdquo", 0x201D}, {"hellip", 0x2026}, {"bull", 0x2022},  {"middot", 0xB7},  {"zwnj", 0x200C},
};

static uint32_t entity_number(struct slice digits)
{
    bool hex = digits.n > 0 && byte_lower(digits.p[0]) == 'x';
    uint32_t c = 0;

    for (size_t i = hex; i < digits.n; i++) {
        uint8_t d = byte_lower(digits.p[i]);

        if (byte_is_digit(d))
            c = c * (hex ? 16 : 10) + (d - '0');
        else if (hex && d >= 'a' && d <= 'f')
            c = c * 16 + (d - 'a' + 10);
        else
            return 0;
        if (c > 0x10FFFF)
            return 0;
    }
    return c >= 0xD800 && c < 0xE000 ? 0 : c;
}

/* "&name;" at the front of s: its character, and its length; 0 if it is none. */
static uint32_t entity(struct slice s, size_t *ret_n)
{
    ssize_t end = slice_find(slice_sub(s, 0, ENTITY_MAX), ';');
    struct slice name;

    if (end < 2)
        return 0;
    name = slice_sub(s, 1, (size_t)end);
    *ret_n = (size_t)end + 1;
    if (name.p[0] == '#')
        return entity_number(slice_skip(name, 1));
    for (size_t i = 0; i < ARRAY_LEN(entities); i++) {
        if (slice_eq(name, slice_str(entities[i].name)))
            return entities[i].code;
    }
    return 0;
}

/* Behind a comment, declaration or tag that starts at `at`. */
static size_t tag_end(struct slice s, size_t at)
{
    ssize_t i;
    uint8_t quote = 0;

    if (slice_starts(slice_skip(s, at), S("<!--"))) {
        i = slice_search(slice_skip(s, at + 4), S("-->"));
        return i < 0 ? s.n : at + 4 + (size_t)i + 3;
    }
    for (at++; at < s.n; at++) {
        if (quote) {
            if (s.p[at] == quote)
                quote = 0;
        } else if (s.p[at] == '>') {
            return at + 1;
        } else if ((s.p[at] == '"' || s.p[at] == '\'') && s.p[at - 1] == '=') {
            quote = s.p[at];
        }
    }
    return s.n;
}

static struct slice tag_name(struct slice s, size_t at)
{
    size_t from = at + 1, n;

    for (n = 0; n < TAG_MAX && from + n < s.n; n++) {
        uint8_t c = s.p[from + n];

        if (!byte_is_alpha(c) && !byte_is_digit(c) && !(n == 0 && c == '/'))
            break;
    }
    return slice_sub(s, from, from + n);
}

/* What an element hides up to its end tag; NULL: nothing. */
static const char *hidden_until(struct slice name)
{
    static const struct {
        const char *name, *end;
    } hidden[] = {
        {"style", "</style"},
        {"script", "</script"},
        {"title", "</title"},
    };

    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        if (slice_ieq(name, slice_str(hidden[i].name)))
            return hidden[i].end;
    }
    return NULL;
}

static size_t find_end_tag(struct slice s, size_t at, struct slice end)
{
    for (ssize_t i; at < s.n; at += (size_t)i + 1) {
        i = slice_find(slice_skip(s, at), '<');
        if (i < 0)
            return s.n;
        if (slice_istarts(slice_skip(s, at + (size_t)i), end))
            return at + (size_t)i;
    }
    return s.n;
}

static bool inline_tag(struct slice name)
{
    static const char *const names[] = {"b", "i", "u", "a", "em", "strong", "span", "font", "tt"};

    if (name.n > 0 && name.p[0] == '/')
        name = slice_skip(name, 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_ieq(name, slice_str(names[i])))
            return true;
    }
    return false;
}

static size_t html_tag(struct line *l, struct slice s, size_t at)
{
    struct slice name = tag_name(s, at);
    const char *end = hidden_until(name);
    size_t next = tag_end(s, at);

    if (!inline_tag(name))
        line_add(l, ' ');
    return end ? find_end_tag(s, next, slice_str(end)) : next;
}

static void html_text(struct line *l, struct slice s)
{
    size_t n;
    uint32_t c;
    int32_t code;

    for (size_t at = 0; at < s.n && !line_full(l); at += n) {
        if (s.p[at] == '<' && at + 1 < s.n &&
            (byte_is_alpha(s.p[at + 1]) || strchr("/!?", s.p[at + 1]))) {
            n = html_tag(l, s, at) - at;
            continue;
        }
        if (s.p[at] == '&' && (c = entity(slice_skip(s, at), &n)) > 0) {
            line_add(l, c);
            continue;
        }
        code = utf8_next(slice_skip(s, at), &n);
        line_add(l, code < 0 ? 0xFFFD : (uint32_t)code);
    }
}

static void plain_text(struct line *l, struct slice s)
{
    size_t n;
    int32_t code;

    for (size_t at = 0; at < s.n && !line_full(l); at += n) {
        code = utf8_next(slice_skip(s, at), &n);
        line_add(l, code < 0 ? 0xFFFD : (uint32_t)code);
    }
}

void text_preview_finish(struct text_preview *t, struct buf *out)
{
    struct buf octets = buf_make(BUF_MAX_DEFAULT), utf8 = buf_make(BUF_MAX_DEFAULT);
    struct line line = {.out = out, .start = out->n};
    const struct mime_param *charset;
    struct transfer transfer;
    struct charset *cs;

    if (!t->part)
        return;
    charset = mime_param_find(&t->part->params, S("charset"));
    transfer_begin(&transfer, t->part->encoding);
    transfer_feed(&transfer, &octets, buf_slice(&t->raw));
    /* not the ends of transfer and charset: what the cut tore is left out */
    cs = charset_open(charset ? charset->value : S("us-ascii"));
    charset_to_utf8(cs, &utf8, buf_slice(&octets), false);
    charset_close(cs);
    if (t->html)
        html_text(&line, buf_slice(&utf8));
    else
        plain_text(&line, buf_slice(&utf8));
    buf_done(&octets);
    buf_done(&utf8);
}
