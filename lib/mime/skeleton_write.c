/* SPDX-License-Identifier: MPL-2.0 */
/* The format, version 1 (varints as in lib/base/bytes.h):
 *
 *   u8 version, u8 flags (0), varint dictionary (0: none), varint size of the message, runs
 *   run: u8 0, varint n, n octets                               literal
 *        u8 1, varint n, hash                                   blob of n octets as they are
 *        u8 2, varint n, hash, varint line, u8 nl, varint col   blob to be encoded in base64
 *
 * Flags other than 0, and runs of other kinds, are for later (encrypted blobs, other codings): who
 * does not know them must not guess, so a reader refuses them.
 *
 * The writer's memory: `body` holds up to BODY_MAX of the leaf that is being read, `decoded` one
 * piece, `runs` and `over` what is inline or waits to be a blob of other bytes. */
#include "lib/mime/skeleton.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mime/base64_form.h"
#include "lib/mime/skeleton_format.h"

/* Octets of a base64 leaf that are looked at at once: a piece in lines of 48 characters or more. */
#define BODY_MAX ((size_t)1536 << 10)
/* Line ends before the text that are passed over. Less than SKELETON_BLOB_MIN - BASE64_LINE_MAX, so
 * that the form is guessed from the same octets however the input is cut. */
#define EMPTY_LINES_MAX 64
/* A shorter front that decodes is not worth a blob of its own. */
#define DECODED_MIN 4096

enum mode {
    MODE_OTHER,  /* not in a leaf */
    MODE_SMALL,  /* in a leaf that has not reached SKELETON_BLOB_MIN */
    MODE_BASE64, /* it has, and is to be decoded */
    MODE_RAW,
};

struct skeleton_writer {
    skeleton_blob_fn *blob;
    void *ctx;
    int status;
    uint64_t size;

    struct buf runs;
    size_t inline_left;
    struct buf literal; /* the literal run being made */
    struct buf over;    /* other bytes beyond what is kept inline */

    enum mode mode;
    const struct mime_part *part; /* the leaf */
    struct buf body, decoded;
    struct base64_form form;
    bool form_known;
};

struct skeleton_writer *skeleton_writer_new(skeleton_blob_fn *blob, void *ctx)
{
    struct skeleton_writer *w = NEW(struct skeleton_writer);

    w->blob = blob;
    w->ctx = ctx;
    w->inline_left = SKELETON_INLINE_MAX;
    w->runs = w->literal = w->over = w->body = w->decoded = buf_make(BUF_MAX_DEFAULT);
    return w;
}

void skeleton_writer_free(struct skeleton_writer *w)
{
    if (!w)
        return;
    buf_done(&w->runs);
    buf_done(&w->literal);
    buf_done(&w->over);
    buf_done(&w->body);
    buf_done(&w->decoded);
    free(w);
}

int skeleton_writer_status(const struct skeleton_writer *w)
{
    return w->status;
}

static void literal_flush(struct skeleton_writer *w)
{
    if (w->literal.n == 0)
        return;
    buf_add_byte(&w->runs, SKELETON_LITERAL);
    buf_add_string(&w->runs, buf_slice(&w->literal));
    w->literal.n = 0;
}

static void blob_put(struct skeleton_writer *w, uint8_t kind, struct slice bytes)
{
    uint8_t hash[SKELETON_HASH];

    literal_flush(w);
    if (w->status == 0)
        w->status = w->blob(w->ctx, bytes, hash);
    if (w->status < 0)
        return;
    w->status = 0;
    buf_add_byte(&w->runs, kind);
    buf_add_varint(&w->runs, bytes.n);
    buf_add(&w->runs, hash, sizeof hash);
}

static void over_flush(struct skeleton_writer *w)
{
    if (w->over.n > 0)
        blob_put(w, SKELETON_RAW, buf_slice(&w->over));
    w->over.n = 0;
}

/* Bytes that are no large leaf: inline as long as there is room, then blobs. */
static void other_add(struct skeleton_writer *w, struct slice s)
{
    size_t n = w->over.n > 0 ? 0 : MIN(s.n, w->inline_left);

    buf_add(&w->literal, s.p, n);
    w->inline_left -= n;
    for (s = slice_skip(s, n); s.n > 0; s = slice_skip(s, n)) {
        n = MIN(s.n, SKELETON_PIECE - w->over.n);
        buf_add(&w->over, s.p, n);
        if (w->over.n == SKELETON_PIECE)
            over_flush(w);
    }
}

static void raw_put(struct skeleton_writer *w, struct slice s)
{
    if (s.n < SKELETON_BLOB_MIN) {
        other_add(w, s);
        return;
    }
    over_flush(w);
    blob_put(w, SKELETON_RAW, s);
}

/* Is it the same when it is encoded again? Windows, so that no second copy of all is needed. */
static bool encodes_back(const struct base64_form *f, struct slice decoded, struct slice text)
{
    struct buf again = buf_make(128 << 10);
    bool same = base64_form_size(f, decoded.n) == text.n;

    for (size_t at = 0, n; same && at < text.n; at += n) {
        n = MIN(text.n - at, (size_t)64 << 10);
        again.n = 0;
        same = base64_form_encode(f, decoded, at, at + n, &again) && again.n == n &&
               memcmp(again.p, text.p + at, n) == 0;
    }
    buf_done(&again);
    return same;
}

static void base64_put(struct skeleton_writer *w, const struct base64_form *f)
{
    over_flush(w);
    blob_put(w, SKELETON_BASE64, buf_slice(&w->decoded));
    if (w->status < 0)
        return;
    buf_add_varint(&w->runs, f->line);
    buf_add_byte(&w->runs, f->nl);
    buf_add_varint(&w->runs, f->col);
}

/* Empty lines before the text, then its form. */
static void base64_begin(struct skeleton_writer *w)
{
    size_t n = 0;

    while (n < EMPTY_LINES_MAX && (w->body.p[n] == '\r' || w->body.p[n] == '\n'))
        n++;
    other_add(w, slice_of(w->body.p, n));
    buf_consume(&w->body, n);
    if (base64_form_guess(slice_of(w->body.p, BASE64_LINE_MAX + 2), &w->form))
        w->form_known = true;
    else
        w->mode = MODE_RAW;
}

/* One piece off the front of the body. What cannot be given back exactly ends the decoding of this
 * leaf: the rest of it is stored as it is. */
static void base64_piece(struct skeleton_writer *w)
{
    struct slice text = buf_slice(&w->body);
    uint32_t col;
    size_t n;

    w->decoded.n = 0;
    n = base64_form_decode(&w->form, text, SKELETON_PIECE, &w->decoded, &col);
    if (w->decoded.n < SKELETON_PIECE)
        w->mode = MODE_RAW;
    if (w->decoded.n < DECODED_MIN ||
        !encodes_back(&w->form, buf_slice(&w->decoded), slice_sub(text, 0, n))) {
        w->mode = MODE_RAW;
        return;
    }
    base64_put(w, &w->form);
    w->form.col = col;
    buf_consume(&w->body, n);
}

/* Takes pieces off the body while it has more than it may keep; all of it at the leaf's end. */
static void body_drain(struct skeleton_writer *w, bool end)
{
    if (w->mode == MODE_BASE64 && !w->form_known)
        base64_begin(w);
    while (w->mode == MODE_BASE64 && (w->body.n >= BODY_MAX || (end && w->body.n > 0)))
        base64_piece(w);
    while (w->mode == MODE_RAW && w->body.n >= SKELETON_PIECE) {
        raw_put(w, slice_of(w->body.p, SKELETON_PIECE));
        buf_consume(&w->body, SKELETON_PIECE);
    }
}

static void leaf_end(struct skeleton_writer *w)
{
    if (w->mode == MODE_OTHER)
        return;
    if (w->mode != MODE_SMALL)
        body_drain(w, true);
    if (w->mode == MODE_SMALL)
        other_add(w, buf_slice(&w->body));
    else if (w->body.n > 0)
        raw_put(w, buf_slice(&w->body));
    w->body.n = 0;
    w->mode = MODE_OTHER;
    w->part = NULL;
}

static void leaf_begin(struct skeleton_writer *w, const struct mime_part *part)
{
    w->part = part;
    w->mode = MODE_SMALL;
    w->form_known = false;
}

static void leaf_add(struct skeleton_writer *w, struct slice s)
{
    size_t room, n;

    for (; s.n > 0; s = slice_skip(s, n)) {
        room = BODY_MAX - MIN(w->body.n, BODY_MAX);
        n = MIN(s.n, room ? room : 1);
        buf_add(&w->body, s.p, n);
        if (w->mode == MODE_SMALL && w->body.n >= SKELETON_BLOB_MIN)
            w->mode = w->part->encoding == MIME_BASE64 ? MODE_BASE64 : MODE_RAW;
        if (w->mode != MODE_SMALL)
            body_drain(w, false);
    }
}

void skeleton_writer_bytes(struct skeleton_writer *w, const struct mime_part *part,
                           enum mime_bytes kind, struct slice s)
{
    if (w->status < 0)
        return;
    w->size += s.n;
    if (w->mode != MODE_OTHER && (kind != MIME_BYTES_BODY || w->part != part))
        leaf_end(w);
    if (kind != MIME_BYTES_BODY) {
        other_add(w, s);
        return;
    }
    if (w->mode == MODE_OTHER)
        leaf_begin(w, part);
    leaf_add(w, s);
}

int skeleton_writer_finish(struct skeleton_writer *w, struct buf *out)
{
    leaf_end(w);
    over_flush(w);
    literal_flush(w);
    if (w->status < 0)
        return w->status;
    buf_add_byte(out, SKELETON_VERSION);
    buf_add_byte(out, 0);
    buf_add_varint(out, 0);
    buf_add_varint(out, w->size);
    buf_add_slice(out, buf_slice(&w->runs));
    return 0;
}
