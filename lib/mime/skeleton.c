/* SPDX-License-Identifier: MPL-2.0 */
/* Reading; the format stands in skeleton_write.c. */
#include "lib/mime/skeleton.h"

#include "lib/base/mem.h"
#include "lib/mime/base64_form.h"
#include "lib/mime/skeleton_format.h"

struct run {
    uint8_t kind;
    uint64_t size; /* octets of the message that it stands for */
    struct slice literal;
    const uint8_t *hash;
    uint32_t stored;
    struct base64_form form;
};

static int read_form(struct cursor *c, struct base64_form *ret)
{
    uint64_t line = cursor_varint(c), col;

    ret->nl = cursor_u8(c);
    col = cursor_varint(c);
    if (line > BASE64_LINE_MAX || ret->nl < 1 || ret->nl > 2)
        return -ERR_INVALID;
    /* without line ends the column only counts on, and means nothing */
    if (line > 0 && col > line)
        return -ERR_INVALID;
    ret->line = (uint32_t)line;
    ret->col = line ? (uint32_t)col : 0;
    return 0;
}

/* 1: read; 0: the end; <0. */
static int next_run(struct cursor *c, struct run *ret)
{
    uint64_t stored;

    if (cursor_left(c) == 0)
        return c->bad ? -ERR_INVALID : 0;
    *ret = (struct run){.kind = cursor_u8(c)};
    if (ret->kind == SKELETON_LITERAL) {
        ret->literal = cursor_string(c);
        ret->size = ret->literal.n;
        return c->bad ? -ERR_INVALID : 1;
    }
    if (ret->kind != SKELETON_RAW && ret->kind != SKELETON_BASE64)
        return -ERR_UNAVAILABLE;
    stored = cursor_varint(c);
    ret->hash = cursor_bytes(c, SKELETON_HASH).p;
    if (c->bad || stored == 0 || stored > SKELETON_STORED_MAX)
        return -ERR_INVALID;
    ret->stored = (uint32_t)stored;
    ret->size = stored;
    if (ret->kind == SKELETON_BASE64) {
        if (read_form(c, &ret->form) < 0 || c->bad)
            return -ERR_INVALID;
        ret->size = base64_form_size(&ret->form, ret->stored);
    }
    return 1;
}

int skeleton_open(struct skeleton *ret, struct slice bytes)
{
    struct cursor c = cursor_of(bytes);
    struct skeleton sk = {.bytes = bytes};
    struct run run;
    uint64_t sum = 0;
    int got;

    if (cursor_u8(&c) != SKELETON_VERSION || cursor_u8(&c) != 0)
        return c.bad ? -ERR_INVALID : -ERR_UNAVAILABLE;
    if (cursor_varint(&c) != 0)
        return -ERR_UNAVAILABLE;
    sk.size = cursor_varint(&c);
    if (c.bad)
        return -ERR_INVALID;
    sk.runs_at = (size_t)(c.p - bytes.p);
    while ((got = next_run(&c, &run)) > 0) {
        sum += run.size;
        sk.blobs += run.kind != SKELETON_LITERAL;
    }
    if (got < 0)
        return got;
    if (sum != sk.size)
        return -ERR_INVALID;
    *ret = sk;
    return 0;
}

bool skeleton_next_blob(const struct skeleton *sk, size_t *pos, struct skeleton_ref *ret)
{
    struct cursor c = cursor_of(slice_skip(sk->bytes, sk->runs_at + *pos));
    const uint8_t *start = c.p;
    struct run run;

    while (next_run(&c, &run) > 0) {
        if (run.kind == SKELETON_LITERAL)
            continue;
        *pos += (size_t)(c.p - start);
        *ret = (struct skeleton_ref){run.hash, run.stored};
        return true;
    }
    return false;
}

/* Octets [from, to) of one run. */
static int run_read(const struct run *run, uint64_t from, uint64_t to, skeleton_fetch_fn *fetch,
                    void *ctx, struct buf *out)
{
    struct slice bytes = run->literal;
    int ret;

    if (run->kind != SKELETON_LITERAL) {
        ret = fetch(ctx, run->hash, &bytes);
        if (ret < 0)
            return ret;
        if (bytes.n != run->stored)
            return -ERR_INTERNAL;
    }
    if (run->kind == SKELETON_BASE64)
        return base64_form_encode(&run->form, bytes, from, to, out) ? 0 : -ERR_LIMIT;
    buf_add_slice(out, slice_sub(bytes, from, to));
    return buf_full(out) ? -ERR_LIMIT : 0;
}

int skeleton_read(const struct skeleton *sk, uint64_t offset, uint64_t len,
                  skeleton_fetch_fn *fetch, void *ctx, struct buf *out)
{
    struct cursor c = cursor_of(slice_skip(sk->bytes, sk->runs_at));
    uint64_t at = 0, end = len > UINT64_MAX - offset ? UINT64_MAX : offset + len;
    struct run run;
    int ret;

    for (; at < end && next_run(&c, &run) > 0; at += run.size) {
        if (at + run.size <= offset)
            continue;
        ret = run_read(&run, MAX(at, offset) - at, MIN(at + run.size, end) - at, fetch, ctx, out);
        if (ret < 0)
            return ret;
    }
    return 0;
}
