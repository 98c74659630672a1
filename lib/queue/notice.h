/* SPDX-License-Identifier: MPL-2.0 */
/* notice: what a sender is told of his message: bounces, delay warnings, reports of success.
 *
 * A notice is a multipart/report (RFC 3462, RFC 3464): sentences for a person, a part for programs,
 * and the message or its header; with internationalised addresses in the forms of RFC 6533. It is
 * made of what the entry holds, so whoever makes it again makes the same bytes; and it goes into
 * the sender's account under a hash of (queue id, entry, number, kind), so that it is there once
 * however often it is made.
 */
#pragma once

#include "lib/mail/mail.h"
#include "lib/queue/change.h"

struct notice {
    enum queue_notice kind;
    uint32_t number;
    const struct queue_found *about; /* its targets with this kind and number are meant */
    const char *hostname;
    int64_t until_ms;    /* delays: when we shall give up */
    uint64_t return_max; /* octets of a message that is returned whole */
};

/* Appends the whole message. Reads the body: blocks. -ERR_UNAVAILABLE; a body that is gone is left
 * out. */
int notice_write(const struct notice *notice, struct queue *queue, struct buf *out,
                 struct error *err) MUST_USE;

void notice_hash(const struct notice *notice, uint8_t ret_hash[static DELIVERY_HASH_SIZE]);

/* Into the INBOX of the account, once. 0: it is there; -ERR_NOPERM: there is no such account (any
 * more); -ERR_QUOTA, -ERR_LIMIT, -ERR_TOOBIG: it takes none now; -ERR_UNAVAILABLE,
 * -ERR_UNKNOWN_OUTCOME: again. */
int notice_deliver(struct mail *mail, uint64_t account,
                   const uint8_t hash[static DELIVERY_HASH_SIZE], struct slice message,
                   struct error *err) MUST_USE;
