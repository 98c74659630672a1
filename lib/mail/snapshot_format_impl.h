/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of snapshot_format.h share: a version byte, then one zstd frame. */
#pragma once

#include "lib/base/buf.h"
#include "lib/mail/snapshot_format.h"
#include "lib/mail/state_impl.h"

#define SEGMENT_RAW_MAX  ((size_t)16 << 20)
#define MANIFEST_RAW_MAX ((size_t)16 << 20)

/* Appends to out; out is full if it does not fit. */
void pack(uint8_t version, const struct buf *raw, struct buf *out);
/* raw->max is the limit. -ERR_INTERNAL: damaged, of a newer version, too large; `what` is for the
 * sentence. */
int unpack(const char *what, uint8_t version, struct slice bytes, struct buf *raw,
           struct error *err) MUST_USE;
int damaged(const char *what, struct error *err);
uint32_t cursor_u32(struct cursor *in); /* a varint below 2^32, else bad */

struct manifest {
    struct state *st; /* nothing loaded by us */
    struct manifest_mark older;
    struct segment_ref *segments;
    size_t n_segments;
};
/* Is there a segment with this key and extent? */
bool manifest_names(const struct manifest *m, const struct segment_ref *ref);
