/* SPDX-License-Identifier: MPL-2.0 */
/* The skeleton of a message: its literal bytes, and references to blobs for what is large.
 *
 * Writing. A parser drives the writer (skeleton_writer_bytes is a mime_sink's `bytes`). The body of
 * a leaf of SKELETON_BLOB_MIN octets or more goes out as blobs; base64 is stored decoded, cut every
 * SKELETON_PIECE octets, where encoding it again with the noted line length and line end gives the
 * very same bytes (this is done and compared for each piece), all else raw. Other bytes are kept
 * inline up to SKELETON_INLINE_MAX in all, beyond which they are blobs too, so that memory stays
 * below 6 MB for any message.
 *
 * Reading. skeleton_open checks all lengths, so that reads cannot leave the value. Invariant I33:
 * what is read is byte for byte what was written.
 *
 * Format: version, flags (none yet: place for encryption), dictionary (0; place for it), size of
 * the message, then runs. See skeleton.c.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/mime/parse.h"

#define SKELETON_BLOB_MIN   16384
#define SKELETON_PIECE      1048575 /* decoded; a multiple of 3 */
#define SKELETON_INLINE_MAX (256 * 1024)
#define SKELETON_HASH       32

/* Stores a blob and says its hash (SHA-256 of the bytes). 0 or -ERR_x, which the writer then
 * reports at its end; bytes are the callee's for the call only. */
typedef int skeleton_blob_fn(void *ctx, struct slice bytes, uint8_t ret_hash[SKELETON_HASH]);

struct skeleton_writer;
struct skeleton_writer *skeleton_writer_new(skeleton_blob_fn *blob, void *ctx);
void skeleton_writer_bytes(struct skeleton_writer *w, const struct mime_part *part,
                           enum mime_bytes kind, struct slice s);
/* 0 so far, or the first failure of the blob function. */
int skeleton_writer_status(const struct skeleton_writer *w) MUST_USE;
/* Appends the skeleton. 0, or what the blob function failed with. Once. */
int skeleton_writer_finish(struct skeleton_writer *w, struct buf *out) MUST_USE;
void skeleton_writer_free(struct skeleton_writer *w);

/* Borrows the bytes it was opened on. */
struct skeleton {
    struct slice bytes;
    size_t runs_at;
    uint64_t size;  /* of the message, octets */
    uint32_t blobs; /* references (a hash may be there more than once) */
};

/* 0; -ERR_INVALID: damaged; -ERR_UNAVAILABLE: written by a newer version. */
int skeleton_open(struct skeleton *ret, struct slice bytes) MUST_USE;

/* The next blob reference; *pos starts at 0. False at the end. */
struct skeleton_ref {
    const uint8_t *hash; /* SKELETON_HASH bytes within the skeleton */
    uint32_t stored;     /* octets of the blob */
};
bool skeleton_next_blob(const struct skeleton *sk, size_t *pos, struct skeleton_ref *ret);

/* The bytes of a blob; they must stay until the next call. 0 or -ERR_x. */
typedef int skeleton_fetch_fn(void *ctx, const uint8_t hash[SKELETON_HASH], struct slice *ret);

/* Appends octets [offset, offset + len) of the message, as many as there are. 0, what fetch failed
 * with, -ERR_INTERNAL if a blob has another length than noted, -ERR_LIMIT if out is full. Only the
 * blobs that the range touches are fetched. */
int skeleton_read(const struct skeleton *sk, uint64_t offset, uint64_t len,
                  skeleton_fetch_fn *fetch, void *ctx, struct buf *out) MUST_USE;
