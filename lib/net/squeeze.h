/* SPDX-License-Identifier: MPL-2.0 */
/* squeeze: DEFLATE in both directions of one connection (RFC 1951, for RFC 4978), and next to no
 * memory while it is idle.
 *
 * zlib wants 260 KB to compress and 40 KB to expand. Neither is there while nothing goes on
 * (squeeze_rest):
 *
 *   out   every piece ends with a sync flush, that is, at a byte and between two blocks; a fresh
 *         compressor goes on from there, as blocks need not refer to what was before them
 *   in    the client may refer to the last 32 KB that it sent, so these are kept, packed; between
 *         two blocks there is no other state but two bits at most of the last byte
 *
 * If the client stops within a block the expander is kept.
 *
 * A few bytes can become megabytes: squeeze_read gives as many as there is room for, and what is
 * not expanded yet waits; who holds it reads nothing from the client meanwhile.
 *
 * Threads: squeeze_write on one thread, the others on one thread; squeeze_rest while neither works.
 */
#pragma once

#include <sys/types.h>

#include "lib/base/buf.h"

struct squeeze;

struct squeeze *squeeze_new(void);
void squeeze_free(struct squeeze *s); /* NULL is fine */

/* Appends the bytes, compressed and flushed. */
void squeeze_write(struct squeeze *s, struct slice bytes, struct buf *out);

/* Bytes from the client, to be expanded. */
void squeeze_feed(struct squeeze *s, struct slice bytes);
/* Up to n expanded bytes; 0: more must be fed; -ERR_INVALID: damaged, or the stream has ended. */
ssize_t squeeze_read(struct squeeze *s, uint8_t *to, size_t n) MUST_USE;
/* Would squeeze_read give something (or fail) without more being fed? */
bool squeeze_waits(const struct squeeze *s);

/* Gives memory back; all works on as before. */
void squeeze_rest(struct squeeze *s);
/* Is there memory to be given back? */
bool squeeze_is_awake(const struct squeeze *s);
