/* SPDX-License-Identifier: MPL-2.0 */
/* A header block is kept until the parser has understood it, its encoding is put right, and it goes
 * out. The body of a binary leaf then goes through base64 in lines of 57 octets. The line end in
 * front of a boundary belongs to the boundary, so the last line needs none. */
#include "lib/mime/recode.h"

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/header.h"
#include "lib/mime/parse.h"
#include "lib/mime/scan.h"

#define LINE_OCTETS 57 /* 76 characters: RFC 2045 section 6.8 */
#define HEADER_MAX  ((size_t)1 << 20)

struct recode {
    struct mime_parser *parser;
    int (*out)(void *ctx, struct slice bytes);
    void *ctx;
    int result;
    struct buf header;   /* of the part whose header block is coming in */
    bool header_is_over; /* that block is too large to be kept: it passes as it is */
    bool encoding, any;  /* within a body that becomes base64; a line of it is out */
    uint8_t line[LINE_OCTETS];
    size_t n;
};

static void give(struct recode *r, struct slice s)
{
    if (r->result == 0 && s.n)
        r->result = r->out(r->ctx, s);
}

static void give_as_it_is(struct recode *r, struct slice s)
{
    if (r->result == 0 && s.n && memchr(s.p, 0, s.n))
        r->result = -ERR_INVALID;
    give(r, s);
}

/* --- bodies ------------------------------------------------------------------------------------
 */

static void give_line(struct recode *r)
{
    struct buf b = buf_make(LINE_OCTETS * 2);

    if (r->any)
        buf_add_str(&b, "\r\n");
    base64_encode(&b, slice_of(r->line, r->n));
    give(r, buf_slice(&b));
    buf_done(&b);
    r->any = true;
    r->n = 0;
}

static void encode(struct recode *r, struct slice s)
{
    while (s.n) {
        size_t n = MIN(s.n, LINE_OCTETS - r->n);

        memcpy(r->line + r->n, s.p, n);
        r->n += n;
        s = slice_skip(s, n);
        if (r->n == LINE_OCTETS)
            give_line(r);
    }
}

static void end_body(struct recode *r)
{
    if (r->encoding && r->n)
        give_line(r);
    r->encoding = r->any = false;
}

/* --- headers -----------------------------------------------------------------------------------
 */

/* Where the word "binary" stands in the field that the parser has gone by; false: nowhere. */
static bool find_binary(struct slice block, size_t *ret_at, size_t *ret_n)
{
    CLEANUP(buf_done) struct buf token = buf_make(HEADER_MAX);
    struct header_reader reader = header_reader_of(block);
    struct header_field f;
    const uint8_t *from;

    while (header_next(&reader, &f)) {
        struct scan s = scan_of(f.value);

        if (!slice_ieq(f.name, S("Content-Transfer-Encoding")))
            continue;
        scan_cfws(&s);
        from = s.p;
        token.n = 0;
        if (scan_token(&s, &token) == 0 && slice_ieq(buf_slice(&token), S("binary"))) {
            *ret_at = (size_t)(from - block.p);
            *ret_n = token.n;
            return true;
        }
    }
    return false;
}

/* The block with the encoding replaced; false: as it is. */
static bool give_header(struct recode *r, const char *encoding)
{
    struct slice block = buf_slice(&r->header);
    size_t at, n;

    if (!find_binary(block, &at, &n)) {
        give_as_it_is(r, block);
        return false;
    }
    give_as_it_is(r, slice_sub(block, 0, at));
    give(r, slice_str(encoding));
    give_as_it_is(r, slice_skip(block, at + n));
    return true;
}

static void on_header(void *ctx, const struct mime_part *part)
{
    struct recode *r = ctx;
    bool leaf = part->kind == MIME_LEAF && !part->opaque && !slice_ieq(part->type, S("message"));

    end_body(r);
    if (part->encoding != MIME_BINARY || r->header_is_over) {
        give_as_it_is(r, buf_slice(&r->header));
    } else {
        r->encoding = give_header(r, leaf ? "base64" : "8bit") && leaf;
    }
    r->header_is_over = false;
    buf_reset(&r->header, 64 << 10);
}

static void on_bytes(void *ctx, const struct mime_part *part, enum mime_bytes kind, struct slice s)
{
    struct recode *r = ctx;

    if (kind == MIME_BYTES_BODY && r->encoding) {
        encode(r, s);
        return;
    }
    end_body(r);
    if (kind != MIME_BYTES_HEADER || r->header_is_over) {
        give_as_it_is(r, s);
        return;
    }
    buf_add_slice(&r->header, s);
    if (!buf_full(&r->header))
        return;
    give_as_it_is(r, buf_slice(&r->header));
    give_as_it_is(r, s);
    buf_reset(&r->header, 0);
    r->header_is_over = true;
}

/* --- the whole ---------------------------------------------------------------------------------
 */

struct recode *recode_new(int (*out)(void *ctx, struct slice bytes), void *ctx)
{
    struct recode *r = NEW(struct recode);
    struct mime_sink sink = {.ctx = r, .header = on_header, .bytes = on_bytes};

    r->out = out;
    r->ctx = ctx;
    r->header = buf_make(HEADER_MAX);
    r->parser = mime_parser_new(NULL, &sink);
    return r;
}

int recode_feed(struct recode *r, struct slice bytes)
{
    if (r->result == 0)
        mime_parser_feed(r->parser, bytes);
    return r->result;
}

int recode_finish(struct recode *r)
{
    bool at_end;

    mime_parser_finish(r->parser);
    at_end = r->encoding && (r->any || r->n);
    end_body(r);
    if (at_end)
        give(r, S("\r\n"));
    give_as_it_is(r, buf_slice(&r->header));
    return r->result;
}

void recode_free(struct recode *r)
{
    if (!r)
        return;
    mime_parser_free(r->parser);
    buf_done(&r->header);
    free(r);
}
