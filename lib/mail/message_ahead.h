/* SPDX-License-Identifier: MPL-2.0 */
/* Reading ahead: while a batch of messages is written to a client, or searched, the next one is
 * read into the cache on a thread of mail's jobs. Nothing depends on it: whoever needs the messages
 * asks for them as always, and finds them in memory. So being late, being wrong about what comes
 * next, and failing cost time only.
 *
 * As a rule only from a store that is waited for. Reading from one inside this process is work for
 * a core, and was measured: another core that does it for a thread that has enough to do costs as
 * much as it saves, since the bytes then go from the one's cache to the other's. It is worth it
 * where that thread mostly waits (for a client's next command), or has far more to do with the
 * bytes than reading them.
 */
#pragma once

#include "lib/mail/message.h"

struct message_ahead;

/* Begins to read the digests of `ids`, and the contents (as message_read_ahead does) of `small`,
 * which may be empty. The caller holds the account. Does not block. NULL: not from this store. */
struct message_ahead *message_ahead_begin(struct account *account, const uint64_t *ids, size_t n,
                                          const uint64_t *small, size_t n_small);
/* The same from any store; never NULL. */
struct message_ahead *message_ahead_begin_any(struct account *account, const uint64_t *ids,
                                              size_t n, const uint64_t *small,
                                              size_t n_small) MUST_USE;
/* Waits until it is read; what no thread has begun yet is given up. It stays in memory until
 * message_ahead_end. NULL is fine. */
void message_ahead_wait(struct message_ahead *ahead);
/* The same, and lets go. True: something had to be read, so that it is worth to go on. NULL is
 * fine: false. */
bool message_ahead_end(struct message_ahead *ahead);
