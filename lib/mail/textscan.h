/* SPDX-License-Identifier: MPL-2.0 */
/* textscan: which texts are in which messages, read and looked through on several threads.
 *
 *     scan = textscan_begin(account, keys, where, n_keys, messages, n);
 *     for each i: textscan_get(scan, i, until, &found, &err)
 *     textscan_free(scan)
 *
 * The messages are cut into pieces of a few; whoever asks takes one piece after the other, and so
 * do helpers on threads of mail's own (mail-scan), each of which goes to the end of the queue after
 * every piece: many searches share them evenly, and none has more than TEXTSCAN_HELPERS. Reading is
 * part of a piece, so with a store that is waited for several reads are under way at once.
 *
 * An answer is a function of message and keys: who has found it, and in which order, does not show.
 * Memory: the contents of one piece for each thread (TEXTSCAN_PIECE_BYTES), through the cache.
 */
#pragma once

#include "lib/mail/message.h"
#include "lib/mime/text.h"

#define TEXTSCAN_HELPERS     3
#define TEXTSCAN_PIECE       16 /* messages */
#define TEXTSCAN_PIECE_AWAY  32 /* of a store that is waited for: fewer round trips */
#define TEXTSCAN_PIECE_BYTES ((uint64_t)256 << 10) /* about: a piece has one message at least */

struct textscan;
struct textscan_message {
    uint64_t id, size;
};

/* As text_search_new for the keys; all is copied. Does not block. */
struct textscan *textscan_begin(struct account *account, const struct slice *keys,
                                const enum text_where *where, size_t n_keys,
                                const struct textscan_message *messages, size_t n) MUST_USE;
/* What is in message i: bit k of *ret_found: key k. Works on pieces meanwhile, and waits for those
 * that others work on. 1; 0: it is `until` (clock_mono_ms()) and not known yet; -ERR_NOTFOUND: the
 * message is gone; -ERR_UNAVAILABLE, -ERR_INTERNAL. */
int textscan_get(struct textscan *scan, size_t i, int64_t until, uint64_t *ret_found,
                 struct error *err) MUST_USE;
/* Any time: what has not been looked at will not be. Does not wait. NULL is fine. */
void textscan_free(struct textscan *scan);
