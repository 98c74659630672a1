/* SPDX-License-Identifier: MPL-2.0 */
/* Encoded words (RFC 2047), read as they come and not as they should be: within quotes and words,
 * longer than 75 octets, with blanks inside, with characters split over two words. */
#include "lib/base/codec.h"
#include "lib/mime/charset.h"
#include "lib/mime/header.h"
#include "lib/mime/transfer.h"

#define CHARSET_NAME_MAX 64

struct word {
    struct slice charset, text;
    bool q;     /* else base64 */
    size_t end; /* behind "?=" */
};

struct reader {
    struct slice s;
    struct buf *out;
    struct buf octets;  /* of the word that is decoded */
    struct charset *cs; /* of the word before, as long as only blanks followed */
    struct slice cs_name;
    bool no_more_ends; /* no "?=" is left: do not look again */
};

/* "?=" at or behind `at`. */
static bool find_end(struct reader *r, size_t at, size_t *ret)
{
    ssize_t i;

    if (r->no_more_ends)
        return false;
    i = slice_search(slice_skip(r->s, at), S("?="));
    if (i < 0) {
        r->no_more_ends = true;
        return false;
    }
    *ret = at + (size_t)i;
    return true;
}

/* "=?" charset ["*" language] "?" ("Q" / "B") "?" text "?=" at `at`. */
static bool word_at(struct reader *r, size_t at, struct word *ret)
{
    struct slice rest = slice_skip(r->s, at + 2);
    ssize_t n = slice_find(slice_sub(rest, 0, CHARSET_NAME_MAX), '?'), star;
    size_t text, end;
    uint8_t kind;

    if (n <= 0 || (size_t)n + 2 >= rest.n || rest.p[n + 2] != '?')
        return false;
    kind = byte_lower(rest.p[n + 1]);
    if (kind != 'q' && kind != 'b')
        return false;
    ret->q = kind == 'q';
    ret->charset = slice_sub(rest, 0, (size_t)n);
    star = slice_find(ret->charset, '*');
    if (star >= 0)
        ret->charset.n = (size_t)star;
    text = at + 2 + (size_t)n + 3;
    if (!find_end(r, text, &end))
        return false;
    ret->text = slice_sub(r->s, text, end);
    ret->end = end + 2;
    return true;
}

static void charset_finish(struct reader *r)
{
    if (r->cs) {
        charset_to_utf8(r->cs, r->out, (struct slice){0}, true);
        charset_close(r->cs);
        r->cs = NULL;
    }
}

/* CR, LF and NUL that an encoded word brings in. */
static void clean(struct buf *out, size_t from)
{
    for (size_t i = from; i < out->n; i++) {
        if (out->p[i] == '\r' || out->p[i] == '\n' || out->p[i] == '\0')
            out->p[i] = ' ';
    }
}

static void word_decode(struct reader *r, const struct word *w)
{
    struct transfer t;
    size_t was = r->out->n;

    r->octets.n = 0;
    if (w->q) {
        transfer_q_word(&r->octets, w->text);
    } else {
        transfer_begin(&t, MIME_BASE64);
        transfer_feed(&t, &r->octets, w->text);
        transfer_end(&t, &r->octets);
    }
    if (r->cs && !slice_ieq(r->cs_name, w->charset))
        charset_finish(r);
    if (!r->cs) {
        r->cs = charset_open(w->charset);
        r->cs_name = w->charset;
    }
    charset_to_utf8(r->cs, r->out, buf_slice(&r->octets), false);
    clean(r->out, was);
}

static bool all_blank(struct slice s)
{
    return slice_trim(s).n == 0;
}

static void add_plain(struct reader *r, struct slice s)
{
    charset_finish(r);
    r->octets.n = 0;
    header_unfold(&r->octets, s);
    charset_convert(r->out, S(""), buf_slice(&r->octets));
}

static bool plain_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= 0x80 || s.p[i] < ' ' || (s.p[i] == '=' && i + 1 < s.n && s.p[i + 1] == '?'))
            return false;
    }
    return true;
}

void header_decode(struct buf *out, struct slice value)
{
    struct reader r = {.s = value, .out = out, .octets = buf_make(BUF_MAX_DEFAULT)};
    struct word w;
    size_t from = 0, at = 0;
    ssize_t eq;

    if (plain_ascii(value)) {
        buf_add_slice(out, value);
        return;
    }
    while ((eq = slice_search(slice_skip(value, at), S("=?"))) >= 0) {
        at += (size_t)eq;
        if (!word_at(&r, at, &w)) {
            at += 2;
            continue;
        }
        /* RFC 2047 section 6.2: white space between two encoded words is not shown */
        if (at > from && !(r.cs && all_blank(slice_sub(value, from, at))))
            add_plain(&r, slice_sub(value, from, at));
        word_decode(&r, &w);
        at = from = w.end;
    }
    charset_finish(&r);
    if (from < value.n)
        add_plain(&r, slice_skip(value, from));
    buf_done(&r.octets);
}

static int hex(uint8_t c)
{
    if (byte_is_digit(c))
        return c - '0';
    c = byte_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void percent_decode(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            buf_add_byte(out, (uint8_t)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2])));
            i += 2;
        } else {
            buf_add_byte(out, s.p[i]);
        }
    }
}

void param_text(struct buf *out, const struct mime_param *param)
{
    struct buf octets = buf_make(BUF_MAX_DEFAULT);
    struct slice v = param->value, charset = {0};
    size_t was = out->n;
    ssize_t quote;

    if (param->name.n == 0 || param->name.p[param->name.n - 1] != '*') {
        header_decode(out, v);
        return;
    }
    quote = slice_find(v, '\'');
    if (quote >= 0) {
        charset = slice_sub(v, 0, (size_t)quote);
        v = slice_skip(v, (size_t)quote + 1);
        quote = slice_find(v, '\'');
        if (quote >= 0)
            v = slice_skip(v, (size_t)quote + 1);
    }
    percent_decode(&octets, v);
    charset_convert(out, charset, buf_slice(&octets));
    clean(out, was);
    buf_done(&octets);
}
