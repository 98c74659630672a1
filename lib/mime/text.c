/* SPDX-License-Identifier: MPL-2.0 */
/* The message is parsed again and its text goes, mapped, through a window in which each key that is
 * still looked for is sought; what a match may have begun in stays in the window. A match does not
 * go over from one field or part to the next. */
#include "lib/mime/text.h"

#include <stdlib.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/charset.h"
#include "lib/mime/header.h"
#include "lib/mime/transfer.h"

#define KEYS_MAX       64
#define WINDOW         16384
#define DECOMPOSED_MAX 32 /* UTF-16 units that one character becomes; the longest takes 18 */

struct key {
    struct buf text; /* mapped */
    enum text_where where;
};

struct text_search {
    struct mime_parser *parser;
    struct key keys[KEYS_MAX];
    size_t n, longest;
    uint64_t found, all;

    struct buf window, octets, utf8;
    enum text_where where;        /* what is in the window */
    const struct mime_part *part; /* whose body is being read */
    struct transfer transfer;
    struct charset *cs;
};

static void casemap_other(struct buf *out, uint32_t c)
{
    UErrorCode status = U_ZERO_ERROR;
    const UNormalizer2 *nfkd = unorm2_getNFKDInstance(&status);
    UChar units[DECOMPOSED_MAX];
    UChar32 title = u_totitle((UChar32)c), d;
    int32_t n;

    n = U_SUCCESS(status) ? unorm2_getDecomposition(nfkd, title, units, DECOMPOSED_MAX, &status)
                          : -1;
    if (n < 0 || U_FAILURE(status)) {
        utf8_add(out, (uint32_t)title);
        return;
    }
    for (int32_t i = 0; i < n;) {
        U16_NEXT(units, i, n, d);
        utf8_add(out, (uint32_t)u_totitle(d));
    }
}

void text_casemap(struct buf *out, struct slice utf8)
{
    uint8_t *to = buf_reserve(out, utf8.n);
    size_t i = 0, n;
    int32_t c;

    while (i < utf8.n && to) {
        for (; i < utf8.n && utf8.p[i] < 0x80; i++)
            *to++ = byte_upper(utf8.p[i]);
        out->n = (size_t)(to - out->p);
        if (i == utf8.n)
            return;
        c = utf8_next(slice_skip(utf8, i), &n);
        if (c < 0)
            utf8_add(out, 0xFFFD);
        else
            casemap_other(out, (uint32_t)c);
        i += n;
        to = buf_reserve(out, utf8.n - i);
    }
}

bool text_contains(struct slice utf8, struct slice key_utf8)
{
    struct buf text = buf_make(BUF_MAX_DEFAULT), key = buf_make(BUF_MAX_DEFAULT);
    bool found;

    text_casemap(&text, utf8);
    text_casemap(&key, key_utf8);
    found = slice_search(buf_slice(&text), buf_slice(&key)) >= 0;
    buf_done(&text);
    buf_done(&key);
    return found;
}

bool text_field_contains(struct slice value, struct slice key_utf8)
{
    struct buf text = buf_make(BUF_MAX_DEFAULT);
    bool found;

    header_decode(&text, value);
    found = text_contains(buf_slice(&text), key_utf8);
    buf_done(&text);
    return found;
}

static void window_look(struct text_search *t)
{
    struct slice window = buf_slice(&t->window);
    size_t keep = t->longest > 0 ? t->longest - 1 : 0;

    for (size_t i = 0; i < t->n; i++) {
        if ((t->keys[i].where & t->where) && !(t->found >> i & 1) &&
            slice_search(window, buf_slice(&t->keys[i].text)) >= 0)
            t->found |= (uint64_t)1 << i;
    }
    if (window.n > keep)
        buf_consume(&t->window, window.n - keep);
}

static void window_end(struct text_search *t)
{
    window_look(t);
    t->window.n = 0;
}

static void body_add(struct text_search *t, bool last)
{
    charset_to_utf8(t->cs, &t->utf8, buf_slice(&t->octets), last);
    text_casemap(&t->window, buf_slice(&t->utf8));
    t->octets.n = t->utf8.n = 0;
    if (last)
        window_end(t);
    else if (t->window.n >= WINDOW)
        window_look(t);
}

static void body_end(struct text_search *t)
{
    if (!t->part)
        return;
    transfer_end(&t->transfer, &t->octets);
    body_add(t, true);
    charset_close(t->cs);
    t->cs = NULL;
    t->part = NULL;
}

static void body_begin(struct text_search *t, const struct mime_part *part)
{
    const struct mime_param *charset = mime_param_find(&part->params, S("charset"));

    t->part = part;
    t->where = TEXT_BODIES;
    t->window.n = 0;
    transfer_begin(&t->transfer, part->encoding);
    t->cs = charset_open(charset ? charset->value : S("us-ascii"));
}

static void on_header(void *ctx, const struct mime_part *part)
{
    struct text_search *t = ctx;
    struct header_reader r = header_reader_of(part->header);
    struct header_field f;

    body_end(t);
    t->where = TEXT_HEADERS;
    t->window.n = 0;
    while (header_next(&r, &f) && !text_search_done(t)) {
        t->utf8.n = 0;
        buf_add_slice(&t->utf8, f.name);
        if (f.name.n > 0)
            buf_add_str(&t->utf8, ": ");
        header_decode(&t->utf8, f.value);
        buf_add_str(&t->utf8, "\r\n");
        text_casemap(&t->window, buf_slice(&t->utf8));
        if (t->window.n >= WINDOW)
            window_look(t);
    }
    t->utf8.n = 0;
    window_end(t);
}

static void on_bytes(void *ctx, const struct mime_part *part, enum mime_bytes kind, struct slice s)
{
    struct text_search *t = ctx;

    if (kind != MIME_BYTES_BODY) {
        body_end(t);
        return;
    }
    if (!part->is_text && !slice_ieq(part->type, S("message")))
        return;
    if (t->part != part) {
        body_end(t);
        body_begin(t, part);
    }
    for (struct slice some; s.n > 0; s = slice_skip(s, some.n)) {
        some = slice_sub(s, 0, WINDOW);
        transfer_feed(&t->transfer, &t->octets, some);
        body_add(t, false);
    }
}

struct text_search *text_search_new(const struct slice *keys, const enum text_where *where,
                                    size_t n)
{
    struct text_search *t = NEW(struct text_search);
    struct mime_sink sink = {.ctx = t, .header = on_header, .bytes = on_bytes};

    t->n = MIN(n, (size_t)KEYS_MAX);
    t->all = t->n == 64 ? UINT64_MAX : ((uint64_t)1 << t->n) - 1;
    t->window = t->octets = t->utf8 = buf_make(BUF_MAX_DEFAULT);
    for (size_t i = 0; i < t->n; i++) {
        t->keys[i].text = buf_make(BUF_MAX_DEFAULT);
        t->keys[i].where = where[i];
        text_casemap(&t->keys[i].text, keys[i]);
        t->longest = MAX(t->longest, t->keys[i].text.n);
        if (t->keys[i].text.n == 0)
            t->found |= (uint64_t)1 << i;
    }
    t->parser = mime_parser_new(NULL, &sink);
    return t;
}

void text_search_feed(struct text_search *t, struct slice message_bytes)
{
    if (!text_search_done(t))
        mime_parser_feed(t->parser, message_bytes);
}

bool text_search_done(const struct text_search *t)
{
    return t->found == t->all;
}

uint64_t text_search_finish(struct text_search *t)
{
    if (!text_search_done(t))
        mime_parser_finish(t->parser);
    body_end(t);
    return t->found;
}

void text_search_free(struct text_search *t)
{
    if (!t)
        return;
    if (t->cs)
        charset_close(t->cs);
    mime_parser_free(t->parser);
    for (size_t i = 0; i < t->n; i++)
        buf_done(&t->keys[i].text);
    buf_done(&t->window);
    buf_done(&t->octets);
    buf_done(&t->utf8);
    free(t);
}
