/* SPDX-License-Identifier: MPL-2.0 */
/* Retention: messages that have been in their mailbox for longer than they may are expunged.
 *
 * How long that is says the first of these that is set: the mailbox's value VALUE_EXPIRE_MS, the
 * account's, and what the caller gives (the domain's or the server's). "0" means for ever, and
 * ends the search. What counts is how long the message has been in that mailbox (SAVEDATE), by the
 * store's clock; a copy or a move begins anew.
 *
 * It is an ordinary expunge record through the committer (I31): clients are told, MODSEQ rises,
 * quota falls, undelete works. So any node may do it at any time, several at once too: who comes
 * second finds nothing to do.
 */
#pragma once

#include "lib/mail/mail.h"

#define EXPIRE_NEVER 0

/* One account, now. standard_ms: where neither the mailbox nor the account says anything;
 * EXPIRE_NEVER: then nothing is expunged. *ret_expunged: messages. Loads the oldest messages of
 * mailboxes that have a limit, and no others. Blocks. 0; -ERR_NOTFOUND: no such account;
 * -ERR_UNAVAILABLE, -ERR_UNKNOWN_OUTCOME: come again. */
int expire_account(struct mail *mail, uint64_t account, int64_t standard_ms, uint64_t *ret_expunged,
                   struct error *err) MUST_USE;
