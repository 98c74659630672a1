/* SPDX-License-Identifier: MPL-2.0 */
/* Contents in the store: what the committer, the sweeps and fsck need beyond message.h.
 *
 * A message's document (STORE_MESSAGES):
 *   head   version, tag (whose insert it was), hashes of its blobs, digest
 *   body   format (plain or zstd; room for dictionaries and encryption), the head lines that were
 *          put before it for this account, the skeleton
 * A blob's document (STORE_BLOBS):
 *   head   version, alive or dying, where the bytes are (here; room for other places)
 *   body   format, the bytes
 *
 * The rule that makes shared blobs safe without counters or locks (docs/log.md, tests/model/
 * blob_model.py): a record may name a message only if its links are stored and each of its blobs
 * was seen alive by a majority read or by one's own acknowledged insert or revival, and all this
 * (id made, message, links, sights) lies within the guard (12 h) of store time, in any order.
 */
#pragma once

#include "lib/mail/mail.h"

#define MESSAGE_TAG_SIZE 12

/* Caches, sights and compression contexts of one process; part of struct mail. */
struct content;
/* guard_ms, horizon_ms, content_cache_bytes, message_max are read from settings. */
struct content *content_new(struct store *store, const struct mail_settings *settings);
void content_free(struct content *content);
/* mail.c: the mail's own. */
struct content *mail_content(struct mail *mail);
/* The latest store time this node heard of; monotone. Replies raise it. */
int64_t content_clock(const struct content *content);
void content_heard(struct content *content, int64_t store_time);
/* The same with the time that has passed since, 999 ms at most: MongoDB's goes by seconds. Only for
 * what is to lie in the order in which it was made; it decides nothing. */
int64_t content_clock_fine(const struct content *content);

/* --- for the committer ------------------------------------------------------------------------ */

/* How many items content_items fills in for this message: itself and its links. */
size_t content_item_count(const struct prepared *p);
/* Items for store_insert: first the message (STORE_MESSAGES), then its links. Bytes that are not
 * the prepared message's own are taken from the arena. group and after are 0; the caller sets them.
 */
void content_items(const struct prepared *p, uint64_t account, uint64_t message,
                   const uint8_t tag[MESSAGE_TAG_SIZE], struct arena *arena,
                   struct store_item *ret_items);
/* Is the document at this head the insert with that tag? */
bool content_is_own(struct slice head, const uint8_t tag[MESSAGE_TAG_SIZE]);
/* Oldest and newest store time at which the message's blobs were seen alive. False: one of them was
 * never (or too long ago to be remembered): content_look. No blobs: true and 0, 0. */
bool content_sights(struct content *content, const struct prepared *p, int64_t *ret_oldest,
                    int64_t *ret_newest);
/* Looks for the blobs again (and revives dying ones), for sights that are recent. Blocks.
 * -ERR_UNAVAILABLE; -ERR_CANCELLED: a blob is gone and its bytes are not here any more: the intent
 * is refused. */
int content_look(struct content *content, const struct prepared *p, struct error *err) MUST_USE;

/* --- for sweeps and fsck ------------------------------------------------------------------------
 */

/* The keys of the links of a message, from its document's head; n * 32 bytes in the arena.
 * -ERR_INTERNAL: damaged. */
int content_links(struct slice head, uint64_t account, uint64_t message, struct arena *arena,
                  struct slice **ret_keys, size_t *ret_n, struct error *err) MUST_USE;

/* One piece of the walk through blobs and links in the order of their hashes: starts at *cursor
 * (all zero at first), looks at up to `limit` hashes, moves *cursor on. Any node, any time, no
 * lock. Blocks. 1: more to come; 0: the end was reached (cursor is all zero again). */
struct content_swept {
    uint64_t blobs_seen, marked, deleted, links_removed;
};
int content_sweep(struct content *content, uint8_t cursor[32], size_t limit,
                  struct content_swept *swept, struct error *err) MUST_USE;

/* Reads a whole message back and checks every blob's hash (I27), the skeleton and the digest. 0;
 * -ERR_NOTFOUND; -ERR_INTERNAL with what is wrong; -ERR_UNAVAILABLE. */
int content_verify(struct content *content, uint64_t account, uint64_t message,
                   struct error *err) MUST_USE;
/* Forgets what is cached of a message (it was removed). */
void content_forget(struct content *content, uint64_t account, uint64_t message);
