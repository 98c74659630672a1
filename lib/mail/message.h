/* SPDX-License-Identifier: MPL-2.0 */
/* Messages: from a stream of bytes to digest, content and blobs, and back to the same bytes (I33).
 *
 * Writing: a message_writer is fed the bytes as they come; large parts leave it as blobs while it
 * is fed (they are stored from the feeding thread, at once), so that it never holds a whole large
 * message. message_writer_finish gives a `prepared` message: digest, content (skeleton, zstd), the
 * hashes of its blobs with the store time at which each was seen alive, its size, and the SHA-256
 * of all its bytes. A prepared message may be handed to intents of many accounts (LMTP: parsed
 * once); the committer stores it per account under a new message id, with its links.
 *
 * Reading: digests come in batches (FETCH ENVELOPE of 1,000 messages is one read), contents by
 * range.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/mail/mail.h"
#include "lib/mime/mdigest.h"

struct message_writer;
struct message_writer *message_writer_new(struct mail *mail);
/* Blocks when a blob is full and goes to the store. -ERR_TOOBIG above settings.message_max;
 * -ERR_UNAVAILABLE. After a failure only free is of use. */
int message_writer_feed(struct message_writer *w, struct slice bytes, struct error *err) MUST_USE;
uint64_t message_writer_size(const struct message_writer *w); /* octets fed so far */
/* Consumes the writer's contents; free it all the same. */
int message_writer_finish(struct message_writer *w, struct prepared **ret_prepared,
                          struct error *err) MUST_USE;
void message_writer_free(struct message_writer *w);

/* The per-recipient lines that LMTP puts before a message (Return-Path, Delivered-To, Received)
 * differ between accounts, the rest does not: a copy of `base` with `head` (whole header lines,
 * CRLF) in front. Cheap: shares blobs. The delivery hash is the caller's, over the bytes as they
 * came in. */
int prepared_with_head(struct prepared *base, struct slice head, struct prepared **ret_prepared,
                       struct error *err) MUST_USE;
struct prepared *prepared_ref(struct prepared *p);
void prepared_unref(struct prepared *p);
uint64_t prepared_size(const struct prepared *p);
/* Bytes of memory that it holds: large parts are in the store already. */
size_t prepared_memory(const struct prepared *p);
void prepared_hash(const struct prepared *p,
                   uint8_t ret_sha256[32]); /* of all bytes of the writer's message */

/* Digests of some messages of an account: ret_digests[i] for ids[i], valid while *ret_hold is held.
 * A message that is gone has an empty slice (I9). Cached. Blocks on what is not in memory. */
struct hold;
int message_digests(struct account *account, const uint64_t *ids, size_t n,
                    struct slice *ret_digests, struct hold **ret_hold, struct error *err) MUST_USE;
void hold_release(struct hold *hold);
/* Some of what it holds was not in memory before. NULL is fine: false. */
bool hold_has_read(const struct hold *hold);

/* Has digests and contents of some messages in memory (blobs not among them), in few reads, for
 * message_digests and message_open, as long as *ret_hold is held. For messages that are known to be
 * small (MESSAGE_SMALL). What is gone or cannot be read is left out. Blocks. -ERR_UNAVAILABLE. */
#define MESSAGE_SMALL ((uint64_t)256 << 10)
int message_read_ahead(struct account *account, const uint64_t *ids, size_t n,
                       struct hold **ret_hold, struct error *err) MUST_USE;

/* A message's content open for reading; keeps at most a few MB in memory, whatever its size. */
struct message_reader;
/* -ERR_NOTFOUND: no such message (expunged and removed); -ERR_UNAVAILABLE; -ERR_INTERNAL: damage.
 */
int message_open(struct account *account, uint64_t id, struct message_reader **ret_reader,
                 struct error *err) MUST_USE;
uint64_t message_size(const struct message_reader *r);
/* Appends bytes [offset, offset + n) to out, clamped to the message. Any ranges in any order;
 * forward is fast. */
int message_read(struct message_reader *r, uint64_t offset, size_t n, struct buf *out,
                 struct error *err) MUST_USE;
void message_close(struct message_reader *r);
