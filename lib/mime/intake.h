/* SPDX-License-Identifier: MPL-2.0 */
/* A message on its way in: bytes are fed once, in any cuts; digest and skeleton come out.
 *
 * This is what deliveries and APPEND use. It drives the parser, the skeleton writer and the preview
 * together. Memory: 40 KB for usual mail, 6 MB for large attachments, below 48 MB for the most
 * hostile message. One thread at a time.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/mime/mdigest.h"
#include "lib/mime/skeleton.h"

struct intake;

/* blob NULL: no skeleton is made (a parse for the digest alone). limits NULL: the defaults. */
struct intake *intake_new(skeleton_blob_fn *blob, void *ctx, const struct mime_limits *limits);
/* 0, or what the blob function failed with (then stop). */
int intake_feed(struct intake *in, struct slice bytes) MUST_USE;
/* Appends digest and skeleton (each may be NULL). 0, or what the blob function failed with. Once.
 */
int intake_finish(struct intake *in, struct buf *ret_digest, struct buf *ret_skeleton) MUST_USE;
/* After finish: the tree, until intake_free. */
const struct mime_part *intake_root(const struct intake *in);
void intake_free(struct intake *in); /* NULL is fine */
