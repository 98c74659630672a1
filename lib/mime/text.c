/* SPDX-License-Identifier: MPL-2.0 */
/* The message is parsed again and its text goes, mapped, through a window in which each key that is
 * still looked for is sought; what a match may have begun in stays in the window. A match does not
 * go over from one field or part to the next. */
#include "lib/mime/text.h"

#include <stdlib.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uversion.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/address.h"
#include "lib/mime/charset.h"
#include "lib/mime/header.h"
#include "lib/mime/transfer.h"

#define KEYS_MAX       64
#define WINDOW         16384
#define TEXT_RULES     1  /* count up when something here changes what is found */
#define DECOMPOSED_MAX 32 /* UTF-16 units that one character becomes; the longest takes 18 */

struct text_walk {
    struct mime_parser *parser;
    struct text_sink sink;
    struct buf window, octets, utf8;
    enum text_where where;        /* what is in the window */
    const struct mime_part *part; /* whose body is being read */
    struct transfer transfer;
    struct charset *cs;
};

struct key {
    struct buf text; /* mapped */
    enum text_where where;
};

struct text_search {
    struct text_walk *walk;
    struct key keys[KEYS_MAX];
    size_t n, longest;
    uint64_t found, all;
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

#define EACH(byte) ((uint64_t)0x0101010101010101u * (byte))

/* Maps ASCII, eight bytes at a time; gives how many it has done. */
static size_t casemap_ascii(uint8_t *to, const uint8_t *p, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t w, from_a, behind_z;

        memcpy(&w, p + i, sizeof w);
        if (w & EACH(0x80))
            break;
        from_a = w + EACH(0x80 - 'a'); /* bit 7: the byte is 'a' or more */
        behind_z = w + EACH(0x7f - 'z');
        w ^= (from_a & ~behind_z & EACH(0x80)) >> 2;
        memcpy(to + i, &w, sizeof w);
    }
    for (; i < n && p[i] < 0x80; i++)
        to[i] = byte_upper(p[i]);
    return i;
}

void text_casemap(struct buf *out, struct slice utf8)
{
    uint8_t *to = buf_reserve(out, utf8.n);
    size_t i = 0, n;
    int32_t c;

    while (i < utf8.n && to) {
        n = casemap_ascii(to, utf8.p + i, utf8.n - i);
        i += n;
        out->n += n;
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

/* Is it what address_list_text would make of it? */
static bool plain_addresses(struct slice value)
{
    size_t ats = 0, commas = 0;

    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < ' ' || value.p[i] >= 0x7f || strchr("()\"\\:;=[]", value.p[i]))
            return false;
        ats += value.p[i] == '@';
        commas += value.p[i] == ',';
    }
    return ats == commas + 1;
}

bool text_addresses_contain(struct slice value, struct slice key_utf8)
{
    struct arena arena = {0};
    struct buf text = buf_make(BUF_MAX_DEFAULT);
    bool found;

    if (plain_addresses(value))
        return text_contains(value, key_utf8);
    address_list_text(&text, address_list_parse(&arena, value));
    found = text_contains(buf_slice(&text), key_utf8);
    buf_done(&text);
    arena_done(&arena);
    return found;
}

/* --- the walk --------------------------------------------------------------------------------- */

static bool walk_done(const struct text_walk *w)
{
    return w->sink.done && w->sink.done(w->sink.ctx);
}

static void window_look(struct text_walk *w)
{
    size_t keep = w->sink.look(w->sink.ctx, w->where, buf_slice(&w->window), false);

    if (w->window.n > keep)
        buf_consume(&w->window, w->window.n - keep);
}

static void window_end(struct text_walk *w)
{
    w->sink.look(w->sink.ctx, w->where, buf_slice(&w->window), true);
    w->window.n = 0;
}

static void body_add(struct text_walk *w, bool last)
{
    charset_to_utf8(w->cs, &w->utf8, buf_slice(&w->octets), last);
    text_casemap(&w->window, buf_slice(&w->utf8));
    w->octets.n = w->utf8.n = 0;
    if (last)
        window_end(w);
    else if (w->window.n >= WINDOW)
        window_look(w);
}

static void body_end(struct text_walk *w)
{
    if (!w->part)
        return;
    transfer_end(&w->transfer, &w->octets);
    body_add(w, true);
    charset_close(w->cs);
    w->cs = NULL;
    w->part = NULL;
}

static void body_begin(struct text_walk *w, const struct mime_part *part)
{
    const struct mime_param *charset = mime_param_find(&part->params, S("charset"));

    w->part = part;
    w->where = TEXT_BODIES;
    w->window.n = 0;
    transfer_begin(&w->transfer, part->encoding);
    w->cs = charset_open(charset ? charset->value : S("us-ascii"));
}

static void on_header(void *ctx, const struct mime_part *part)
{
    struct text_walk *w = ctx;
    struct header_reader r = header_reader_of(part->header);
    struct header_field f;

    body_end(w);
    if (!(w->sink.where & TEXT_HEADERS))
        return;
    w->where = TEXT_HEADERS;
    w->window.n = 0;
    while (header_next(&r, &f) && !walk_done(w)) {
        w->utf8.n = 0;
        buf_add_slice(&w->utf8, f.name);
        if (f.name.n > 0)
            buf_add_str(&w->utf8, ": ");
        header_decode(&w->utf8, f.value);
        buf_add_str(&w->utf8, "\r\n");
        text_casemap(&w->window, buf_slice(&w->utf8));
        if (w->window.n >= WINDOW)
            window_look(w);
    }
    w->utf8.n = 0;
    window_end(w);
}

static void on_bytes(void *ctx, const struct mime_part *part, enum mime_bytes kind, struct slice s)
{
    struct text_walk *w = ctx;

    if (kind != MIME_BYTES_BODY) {
        body_end(w);
        return;
    }
    if (!(w->sink.where & TEXT_BODIES) || (!part->is_text && !slice_ieq(part->type, S("message"))))
        return;
    if (w->part != part) {
        body_end(w);
        body_begin(w, part);
    }
    for (struct slice some; s.n > 0; s = slice_skip(s, some.n)) {
        some = slice_sub(s, 0, WINDOW);
        transfer_feed(&w->transfer, &w->octets, some);
        body_add(w, false);
    }
}

struct text_walk *text_walk_new(const struct text_sink *sink)
{
    struct text_walk *w = NEW(struct text_walk);
    struct mime_sink mime = {.ctx = w, .header = on_header, .bytes = on_bytes};

    w->sink = *sink;
    w->window = w->octets = w->utf8 = buf_make(BUF_MAX_DEFAULT);
    w->parser = mime_parser_new(NULL, &mime);
    return w;
}

void text_walk_feed(struct text_walk *w, struct slice message_bytes)
{
    if (!walk_done(w))
        mime_parser_feed(w->parser, message_bytes);
}

void text_walk_finish(struct text_walk *w)
{
    if (!walk_done(w))
        mime_parser_finish(w->parser);
    body_end(w);
}

void text_walk_free(struct text_walk *w)
{
    if (!w)
        return;
    if (w->cs)
        charset_close(w->cs);
    mime_parser_free(w->parser);
    buf_done(&w->window);
    buf_done(&w->octets);
    buf_done(&w->utf8);
    free(w);
}

uint32_t text_version(void)
{
    UVersionInfo icu;

    u_getVersion(icu);
    return (uint32_t)TEXT_RULES << 24 | (uint32_t)icu[0] << 16 | (uint32_t)icu[1] << 8 | icu[2];
}

/* --- searching -------------------------------------------------------------------------------- */

static size_t search_look(void *ctx, enum text_where where, struct slice text, bool last)
{
    struct text_search *t = ctx;

    (void)last;
    for (size_t i = 0; i < t->n; i++) {
        if ((t->keys[i].where & where) && !(t->found >> i & 1) &&
            slice_search(text, buf_slice(&t->keys[i].text)) >= 0)
            t->found |= (uint64_t)1 << i;
    }
    return t->longest > 0 ? t->longest - 1 : 0;
}

static bool search_done(void *ctx)
{
    return text_search_done(ctx);
}

struct text_search *text_search_new(const struct slice *keys, const enum text_where *where,
                                    size_t n)
{
    struct text_search *t = NEW(struct text_search);
    struct text_sink sink = {.ctx = t, .look = search_look, .done = search_done};

    t->n = MIN(n, (size_t)KEYS_MAX);
    t->all = t->n == 64 ? UINT64_MAX : ((uint64_t)1 << t->n) - 1;
    for (size_t i = 0; i < t->n; i++) {
        t->keys[i].text = buf_make(BUF_MAX_DEFAULT);
        t->keys[i].where = where[i];
        sink.where |= where[i];
        text_casemap(&t->keys[i].text, keys[i]);
        t->longest = MAX(t->longest, t->keys[i].text.n);
        if (t->keys[i].text.n == 0)
            t->found |= (uint64_t)1 << i;
    }
    t->walk = text_walk_new(&sink);
    return t;
}

void text_search_feed(struct text_search *t, struct slice message_bytes)
{
    text_walk_feed(t->walk, message_bytes);
}

bool text_search_done(const struct text_search *t)
{
    return t->found == t->all;
}

uint64_t text_search_finish(struct text_search *t)
{
    text_walk_finish(t->walk);
    return t->found;
}

void text_search_free(struct text_search *t)
{
    if (!t)
        return;
    text_walk_free(t->walk);
    for (size_t i = 0; i < t->n; i++)
        buf_done(&t->keys[i].text);
    free(t);
}
