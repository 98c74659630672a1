/* SPDX-License-Identifier: MPL-2.0 */
/* A message with binary parts, as one that IMAP4rev1 can show (RFC 3516 sections 4.4 and 6): parts
 * of Content-Transfer-Encoding binary become base64, the multiparts around them 8bit. All else
 * passes as it came, octet by octet.
 *
 * Streams: memory is the parser's and one header block. One thread at a time.
 */
#pragma once

#include "lib/base/bytes.h"
#include "lib/base/err.h"

struct recode;

/* out is given what comes out, in order; not 0: it failed, and is not called again. */
struct recode *recode_new(int (*out)(void *ctx, struct slice bytes), void *ctx);
/* 0; -ERR_INVALID: a NUL where no base64 can take it (a header, or a part with another encoding);
 * or what `out` failed with. */
int recode_feed(struct recode *r, struct slice bytes) MUST_USE;
/* The same, at the end of the message. */
int recode_finish(struct recode *r) MUST_USE;
void recode_free(struct recode *r); /* NULL is fine */
