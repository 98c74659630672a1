/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/part.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mime/header.h"
#include "lib/mime/scan.h"
#include "lib/mime/transfer.h"

#define PARAMS_MAX 128 /* of one field; the rest is ignored */
/* Parameters of a message are not read when its tree has this many octets: thousands of parts with
 * a hundred parameters each are not mail. */
#define TREE_MAX         ((size_t)10 << 20)
#define CONTINUATION_MAX 1000000 /* beyond it a section number is no number */

/* name*3*=value while its brothers are not joined yet */
struct piece {
    struct slice key, value;
    uint32_t index;
    bool extended;
};

struct params_reader {
    struct arena *arena;
    struct buf *scratch;
    VEC(struct mime_param) params;
    VEC(struct piece) pieces;
};

static struct slice take(struct params_reader *r)
{
    struct slice s = arena_slice(r->arena, buf_slice(r->scratch));

    r->scratch->n = 0;
    return s;
}

/* value := token / quoted-string; "name==?utf-8?..." is taken as people mean it. */
static int read_value(struct scan *s, struct buf *out)
{
    int ret = scan_cfws(s);

    if (ret <= 0)
        return ret;
    if (*s->p == '"')
        return scan_quoted_string(s, out);
    if (*s->p != '=')
        return scan_token(s, out);
    while (s->p < s->end && !strchr("; \t\r\n", *s->p))
        buf_add_byte(out, *s->p++);
    return 1;
}

/* ";" attribute "=" value. 1: read; 0: the end; -1: broken, the scan may stand anywhere. */
static int read_param(struct params_reader *r, struct scan *s, struct mime_param *ret)
{
    if (s->p >= s->end)
        return 0;
    if (*s->p != ';')
        return -1;
    s->p++;
    if (scan_cfws(s) <= 0)
        return -1;
    r->scratch->n = 0;
    if (scan_token(s, r->scratch) <= 0 || *s->p != '=')
        return -1;
    s->p++;
    ret->name = take(r);
    if (read_value(s, r->scratch) < 0)
        return -1;
    ret->value = take(r);
    return 1;
}

/* "name*", "name*2" and "name*2*" (RFC 2231 sections 3 and 4). */
static bool as_piece(const struct mime_param *p, struct piece *ret)
{
    ssize_t star = slice_find(p->name, '*');
    size_t i;

    if (star < 0)
        return false;
    *ret = (struct piece){.key = slice_sub(p->name, 0, (size_t)star), .value = p->value};
    i = (size_t)star;
    if (i + 1 < p->name.n) {
        for (i++; i < p->name.n && byte_is_digit(p->name.p[i]); i++) {
            ret->index = ret->index * 10 + (p->name.p[i] - '0');
            if (ret->index > CONTINUATION_MAX)
                return false;
        }
    }
    ret->extended = i < p->name.n && p->name.p[i] == '*';
    if (ret->extended)
        i++;
    return i == p->name.n;
}

static int piece_order(const void *pa, const void *pb)
{
    const struct piece *a = pa, *b = pb;
    int ret = slice_cmp(a->key, b->key);

    return ret ? ret : (a->index > b->index) - (a->index < b->index);
}

static void add_escaped(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%')
            buf_add_str(out, "%25");
        else
            buf_add_byte(out, s.p[i]);
    }
}

/* Pieces [from, to) have one name and come without a gap: one parameter. */
static void join_pieces(struct params_reader *r, size_t from, size_t to, bool extended)
{
    struct piece *p = r->pieces.items;
    struct mime_param *param = VEC_PUSH(&r->params);

    r->scratch->n = 0;
    buf_add_slice(r->scratch, p[from].key);
    if (extended)
        buf_add_byte(r->scratch, '*');
    param->name = take(r);
    if (extended && !p[from].extended)
        buf_add_str(r->scratch, "''");
    for (size_t i = from; i < to; i++) {
        if (extended && !p[i].extended)
            add_escaped(r->scratch, p[i].value);
        else
            buf_add_slice(r->scratch, p[i].value);
    }
    param->value = take(r);
}

static void keep_pieces_apart(struct params_reader *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct piece *p = &r->pieces.items[i];
        struct mime_param *param = VEC_PUSH(&r->params);

        r->scratch->n = 0;
        buf_add_slice(r->scratch, p->key);
        buf_add_byte(r->scratch, '*');
        buf_add_u64(r->scratch, p->index);
        if (p->extended)
            buf_add_byte(r->scratch, '*');
        *param = (struct mime_param){take(r), p->value};
    }
}

static void merge_pieces(struct params_reader *r)
{
    struct piece *p = r->pieces.items;
    size_t n = r->pieces.n, i, j;
    bool gap, extended;

    if (n == 0)
        return;
    qsort(p, n, sizeof *p, piece_order);
    for (i = 0; i < n; i = j) {
        gap = extended = false;
        for (j = i; j < n && slice_ieq(p[i].key, p[j].key); j++) {
            gap |= p[j].index != j - i;
            extended |= p[j].extended;
        }
        if (gap)
            keep_pieces_apart(r, i, j);
        else
            join_pieces(r, i, j, extended);
    }
}

static struct mime_params read_params(struct arena *a, struct buf *scratch, struct scan *s)
{
    struct params_reader r = {.arena = a, .scratch = scratch};
    struct mime_params ret = {0};
    struct mime_param param;
    struct piece piece;
    int got;

    while (r.params.n + r.pieces.n < PARAMS_MAX && a->used < TREE_MAX &&
           (got = read_param(&r, s, &param)) != 0) {
        if (got < 0) {
            if (s->p >= s->end)
                break;
            s->p++; /* go on behind what is broken */
        } else if (as_piece(&param, &piece)) {
            *VEC_PUSH(&r.pieces) = piece;
        } else {
            *VEC_PUSH(&r.params) = param;
        }
    }
    merge_pieces(&r);
    scratch->n = 0;
    if (r.params.n > 0) {
        ret.n = r.params.n;
        ret.items = arena_array(a, ret.n, sizeof *ret.items);
        memcpy(ret.items, r.params.items, ret.n * sizeof *ret.items);
    }
    VEC_DONE(&r.params);
    VEC_DONE(&r.pieces);
    return ret;
}

/* type "/" subtype, then ";" or the end. False: it is broken; *ret_type is how much of out is a
 * type nevertheless. */
static bool read_type(struct scan *s, struct buf *out, size_t *ret_type)
{
    int ret;

    out->n = *ret_type = 0;
    if (scan_cfws(s) <= 0)
        return false;
    ret = scan_token(s, out);
    if (ret == 0)
        *ret_type = out->n; /* a word alone: "text" */
    if (ret <= 0 || out->n == 0 || *s->p != '/')
        return false;
    s->p++;
    *ret_type = out->n;
    if (scan_cfws(s) > 0 && scan_token(s, out) >= 0 && out->n > *ret_type &&
        (s->p == s->end || *s->p == ';'))
        return true;
    *ret_type = 0;
    return false;
}

static void content_type(struct arena *a, struct buf *scratch, struct mime_part *part,
                         struct slice value)
{
    struct scan s = scan_of(value);
    struct slice both;
    size_t type;
    bool whole;

    if (part->has_type)
        return;
    part->has_type = true;
    whole = read_type(&s, scratch, &type);
    both = arena_slice(a, buf_slice(scratch));
    part->type = slice_sub(both, 0, type);
    part->subtype = whole ? slice_skip(both, type) : S("");
    if (whole)
        part->params = read_params(a, scratch, &s);
}

static void content_encoding(struct arena *a, struct buf *scratch, struct mime_part *part,
                             struct slice value)
{
    struct scan s = scan_of(value);

    if (part->encoding_text.p)
        return;
    scratch->n = 0;
    scan_cfws(&s);
    if (scan_token(&s, scratch) == 0 && scratch->n > 0) {
        part->encoding_text = arena_slice(a, buf_slice(scratch));
        part->encoding = transfer_by_name(part->encoding_text);
    }
}

static void content_disposition(struct arena *a, struct buf *scratch, struct mime_part *part,
                                struct slice value)
{
    struct scan s = scan_of(value);

    if (part->disposition_params.n > 0)
        return;
    scratch->n = 0;
    scan_cfws(&s);
    if (scan_token(&s, scratch) < 0)
        return;
    part->disposition = arena_slice(a, buf_slice(scratch));
    part->disposition_params = read_params(a, scratch, &s);
}

static void content_language(struct arena *a, struct buf *scratch, struct mime_part *part,
                             struct slice value)
{
    struct scan s = scan_of(value);
    VEC(struct slice) tags = {0};

    if (part->languages)
        return;
    scan_cfws(&s);
    while (tags.n < PARAMS_MAX && a->used < TREE_MAX) {
        scratch->n = 0;
        if (scan_atom(&s, scratch) < 0)
            break;
        *VEC_PUSH(&tags) = arena_slice(a, buf_slice(scratch));
        if (scan_peek(&s) != ',')
            break;
        s.p++;
        scan_cfws(&s);
    }
    if (tags.n > 0) {
        part->languages = arena_array(a, tags.n, sizeof *tags.items);
        part->language_count = tags.n;
        memcpy(part->languages, tags.items, tags.n * sizeof *tags.items);
    }
    VEC_DONE(&tags);
}

/* A field whose whole value counts; the first one wins. */
static void plain(struct slice *to, struct slice value)
{
    if (!to->p)
        *to = value.n > 0 ? value : S("");
}

static void content_field(struct arena *a, struct buf *scratch, struct mime_part *part,
                          struct slice what, struct slice value)
{
    if (slice_ieq(what, S("type")))
        content_type(a, scratch, part, value);
    else if (slice_ieq(what, S("transfer-encoding")))
        content_encoding(a, scratch, part, value);
    else if (slice_ieq(what, S("disposition")))
        content_disposition(a, scratch, part, value);
    else if (slice_ieq(what, S("id")))
        plain(&part->id, value);
    else if (slice_ieq(what, S("description")))
        plain(&part->description, value);
    else if (slice_ieq(what, S("md5")))
        plain(&part->md5, value);
    else if (slice_ieq(what, S("location")))
        plain(&part->location, value);
    else if (slice_ieq(what, S("language")))
        content_language(a, scratch, part, value);
}

static void classify(struct mime_part *part, struct slice *ret_boundary)
{
    const struct mime_param *boundary;

    *ret_boundary = (struct slice){0};
    if (!part->has_type) {
        /* RFC 2046 section 5.1.5: the default in a digest is message/rfc822, else text/plain. */
        if (part->parent && part->parent->is_digest)
            part->kind = MIME_MESSAGE;
        else
            part->is_text = true;
    } else if (slice_ieq(part->type, S("text"))) {
        part->is_text = true;
    } else if (slice_ieq(part->type, S("message"))) {
        if (slice_ieq(part->subtype, S("rfc822")))
            part->kind = MIME_MESSAGE;
    } else if (slice_ieq(part->type, S("multipart")) && part->subtype.n == 0) {
        part->opaque = true;
    } else if (slice_ieq(part->type, S("multipart"))) {
        part->kind = MIME_MULTIPART;
        part->is_digest = slice_ieq(part->subtype, S("digest"));
        boundary = mime_param_find(&part->params, S("boundary"));
        if (boundary) {
            *ret_boundary = slice_sub(boundary->value, 0, PART_BOUNDARY_MAX);
            if (!ret_boundary->p)
                *ret_boundary = S("");
        }
    }
}

/* The message says nowhere that it is MIME (RFC 2045 section 4): it is plain text. */
static void forget(struct mime_part *part)
{
    static const struct mime_params none;

    part->encoding = MIME_7BIT;
    part->params = part->disposition_params = none;
    part->encoding_text = part->id = part->description = (struct slice){0};
    part->md5 = part->location = part->disposition = (struct slice){0};
    part->languages = NULL;
    part->language_count = 0;
}

void part_read_header(struct arena *a, struct buf *scratch, struct mime_part *part,
                      struct slice *ret_boundary)
{
    struct header_reader r = header_reader_of(part->header);
    struct header_field f;
    bool is_mime = part->parent && part->parent->kind == MIME_MULTIPART;

    while (header_next(&r, &f)) {
        if (f.name.n > 8 && slice_istarts(f.name, S("content-")))
            content_field(a, scratch, part, slice_skip(f.name, 8), f.value);
        else
            is_mime |= slice_ieq(f.name, S("mime-version"));
    }
    if (!is_mime && !part->has_type)
        forget(part);
    classify(part, ret_boundary);
}

const struct mime_param *mime_param_find(const struct mime_params *params, struct slice name)
{
    struct slice have;

    for (size_t i = 0; i < params->n; i++) {
        have = params->items[i].name;
        if (have.n == name.n + 1 && have.p[name.n] == '*')
            have.n--;
        if (slice_ieq(have, name))
            return &params->items[i];
    }
    return NULL;
}
