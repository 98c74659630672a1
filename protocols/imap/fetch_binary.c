/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/fetch_binary.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define CHUNK ((size_t)48 << 10) /* of the encoded section */

static enum mime_encoding encoding_of(const struct mdigest_section *s)
{
    /* RFC 2045 section 6.4: multipart and message parts have none, whatever they say */
    return s->kind == MIME_LEAF ? s->encoding : MIME_BINARY;
}

void fetch_binary_begin(struct fetch_binary *b, const struct fetch_part *p,
                        const struct mdigest_section *s, uint64_t from, uint64_t count,
                        const struct binary_mark *mark)
{
    *b = (struct fetch_binary){
        .at = {.message = p->message, .offset = s->body_offset},
        .len = s->body_len,
        .from = from,
        .to = count > UINT64_MAX - from ? UINT64_MAX : from + count,
        .in = buf_make(2 * CHUNK),
        .out = buf_make(2 * CHUNK),
    };
    transfer_begin(&b->at.transfer, encoding_of(s));
    if (mark->message == p->message && mark->offset == s->body_offset && mark->out <= from &&
        mark->transfer.encoding == b->at.transfer.encoding)
        b->at = *mark;
    b->window = b->at;
}

/* Decodes the next chunk into b->out, which is decoded octets [at.out before, at.out after). */
static int next_chunk(struct fetch_binary *b, struct fetch_part *p, struct error *err)
{
    size_t n = (size_t)MIN(b->len - b->at.pos, (uint64_t)CHUNK);
    int r;

    b->in.n = b->out.n = 0;
    r = message_read(p->reader, b->at.offset + b->at.pos, n, &b->in, err);
    if (r < 0)
        return r;
    if (b->in.n != n)
        return error_set(err, ERR_INTERNAL, "A message is shorter than its digest says");
    transfer_feed(&b->at.transfer, &b->out, buf_slice(&b->in));
    b->at.pos += n;
    if (b->at.pos == b->len)
        transfer_end(&b->at.transfer, &b->out);
    b->at.out += b->out.n;
    return 0;
}

/* What of the chunk is in the window. */
static struct slice in_window(const struct fetch_binary *b)
{
    uint64_t start = b->at.out - b->out.n;
    uint64_t from = MAX(b->from, start), to = MIN(b->to, b->at.out);

    return from < to ? slice_sub(buf_slice(&b->out), (size_t)(from - start), (size_t)(to - start))
                     : (struct slice){0};
}

static uint64_t count_lines(struct slice s)
{
    uint64_t n = 0;

    for (ssize_t at; (at = slice_find(s, '\n')) >= 0; n++)
        s = slice_skip(s, (size_t)at + 1);
    return n;
}

int fetch_binary_scan(struct fetch_binary *b, struct fetch_part *p, int64_t until_ms,
                      struct error *err)
{
    while (b->at.pos < b->len && b->at.out < b->to) {
        struct slice s;
        int r;

        if (clock_mono_ms() >= until_ms)
            return 0;
        if (b->at.out <= b->from)
            b->window = b->at;
        r = next_chunk(b, p, err);
        if (r < 0)
            return r;
        s = in_window(b);
        b->nul = b->nul || (s.n && memchr(s.p, 0, s.n));
        b->size += s.n;
        if (b->counts_lines)
            b->lines += count_lines(s);
    }
    b->at = b->window;
    return 1;
}

int fetch_binary_read(struct fetch_binary *b, struct fetch_part *p, struct buf *out,
                      struct error *err)
{
    struct slice s;
    int r;

    if (b->at.pos == b->len)
        return error_set(err, ERR_INTERNAL, "A part has become shorter");
    /* where a client's next piece will begin: the state before the chunk that ends this one */
    b->window = b->at;
    r = next_chunk(b, p, err);
    if (r < 0)
        return r;
    s = in_window(b);
    buf_add_slice(out, s);
    return (int)s.n;
}

const struct binary_mark *fetch_binary_mark(const struct fetch_binary *b)
{
    return b->at.out <= b->to ? &b->at : &b->window;
}

void fetch_binary_done(struct fetch_binary *b)
{
    buf_done(&b->in);
    buf_done(&b->out);
    b->at.message = 0;
}
